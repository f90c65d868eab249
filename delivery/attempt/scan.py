"""A look into the content before it goes to a host that cannot take everything: what of it is ASCII."""

from collections.abc import AsyncIterator, Callable

from delivery.attempt.commands import Seen

Chunks = Callable[[], AsyncIterator[bytes]]
"""The content from its beginning, a chunk at a time."""
_HEADER_END = b"\r\n\r\n"


async def scan(chunks: Chunks, *, whole: bool) -> Seen:
    """What of the header is ASCII and, with `whole`, of the content beyond it. Reads no further than it must.

    ContentMissing, Unreachable or ApiError when the content cannot be read.
    """
    header_is_ascii, is_ascii, in_header, tail = True, True, True, b""
    async for chunk in chunks():
        is_ascii = is_ascii and chunk.isascii()
        if in_header:
            joined = tail + chunk
            header, end, _ = joined.partition(_HEADER_END)
            header_is_ascii = header_is_ascii and header.isascii()
            in_header, tail = not end, joined[1 - len(_HEADER_END) :]
        if not in_header and not (whole and is_ascii):
            break
    return Seen(header_is_ascii, is_ascii)
