"""Which networks let everybody in, and which are too wide to be one's own. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

Network = IPv4Network | IPv6Network

_V4, _V6 = 4, 6
_BITS_OF_IPV4 = 32
_MAPPED = IPv6Network("::ffff:0:0/96")
_TRANSLATED = (_MAPPED, IPv6Network("64:ff9b::/96"))
"""IPv6 addresses that stand for IPv4 ones: RFC 4291, 2.5.5.2, and RFC 6052, 2.1."""

_NOT_PUBLIC: dict[int, tuple[Network, ...]] = {
    _V4: tuple(
        IPv4Network(it)
        for it in (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
            *("203.0.113.0/24", "224.0.0.0/3"),
        )
    ),
    _V6: tuple(IPv6Network(it) for it in ("::/3", "4000::/2", "8000::/1")),
}
"""Addresses that no client on the Internet has (RFC 6890); those of IPv6 are outside 2000::/3 (RFC 4291, 2.4)."""

_WIDEST = {_V4: 8, _V6: 16}
"""The widest prefix that may be the own networks of somebody."""


def unmapped(network: Network) -> Network:
    """`::ffff:192.0.2.0/120` as 192.0.2.0/24, since clients are compared by their IPv4 address."""
    return _as_ipv4(network) if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED) else network


def all_clients(networks: Iterable[Network]) -> str:
    """Of which family all public addresses are in `networks`, alone or together: `IPv4` or `IPv6`; "" for neither."""
    return next((f"IPv{version}" for version in _NOT_PUBLIC if _is_whole(version, networks)), "")


def too_wide(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Those that have public addresses, and more of them than anybody's own network; neighbours count together."""
    return tuple(
        network
        for version, hidden in _NOT_PUBLIC.items()
        for network in _together(version, networks)
        if network.prefixlen < _WIDEST[version] and not _is_within(network, hidden)
    )


def _is_whole(version: int, networks: Iterable[Network]) -> bool:
    found = _together(version, networks)
    return bool(found) and _together(version, [*found, *_NOT_PUBLIC[version]])[0].prefixlen == 0


def _together(version: int, networks: Iterable[Network]) -> list[Network]:
    judged = (
        _as_ipv4(it) if isinstance(it, IPv6Network) and any(map(it.subnet_of, _TRANSLATED)) else it for it in networks
    )
    return list(collapse_addresses([it for it in judged if it.version == version]))  # type: ignore[type-var]


def _as_ipv4(network: IPv6Network) -> IPv4Network:
    address = int(network.network_address) & (2**_BITS_OF_IPV4 - 1)
    return IPv4Network((address, network.prefixlen - (network.max_prefixlen - _BITS_OF_IPV4)))


def _is_within(network: Network, others: Iterable[Network]) -> bool:
    return any(network.subnet_of(it) for it in others)  # type: ignore[arg-type]
