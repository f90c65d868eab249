"""How much of a content travels with the entries of its message."""

from collections.abc import Iterable

LEAST_INLINE_BYTES = 4096
"""So little travels with every entry: keeping it apart would cost as much."""


def inline_share(domains: Iterable[str], inline_bytes: int) -> int:
    """Bytes up to which a content travels with its entries, one for each of `domains`.

    They go to the disk in one commit, so what they carry in all is bounded by `inline_bytes`.
    """
    return max(inline_bytes // max(len(set(domains)), 1), LEAST_INLINE_BYTES)
