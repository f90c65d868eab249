import pytest
from pydantic import ValidationError

from jetpost.dns.resolver import Dns, parse_nameserver


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.53", "192.0.2.53", 53),
        ("192.0.2.53:5353", "192.0.2.53", 5353),
        ("2001:db8::53", "2001:db8::53", 53),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353),
    ],
)
def test_how_a_name_server_is_written(text: str, address: str, port: int) -> None:
    assert parse_nameserver(text) == (address, port)


@pytest.mark.parametrize(
    "text", ["", "ns.dest.test", "192.0.2.53:dns", "192.0.2.53:0", "192.0.2.53:70000", "[::1", "::1]:53"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="nameservers"):
        Dns(nameservers=(text,))


def test_the_shortest_time_must_not_exceed_the_longest() -> None:
    with pytest.raises(ValidationError, match="ttl_min_s"):
        Dns(ttl_min_s=10, ttl_max_s=5)
