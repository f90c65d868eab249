from typing import Any

import dns.message
import dns.resolver
import pytest
from pydantic import ValidationError

from jetpost.dns.resolver import Dns, complaint, parse_nameserver, servers_of


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


def test_a_failure_names_each_name_server_and_what_is_wrong_with_it() -> None:
    away = OSError(101, "Network is unreachable")
    errors = [
        ("Do53:192.0.2.1@53", False, 53, away, None),
        ("Do53:192.0.2.1@53", False, 53, away, None),
        ("Do53:2001:db8::1@5353", True, 5353, "SERVFAIL", None),
    ]
    error: Any = dns.resolver.NoNameservers
    failed = error(request=dns.message.make_query("dest.test", "MX"), errors=errors)

    assert complaint(failed) == (
        "name server 192.0.2.1 port 53: Network is unreachable; name server 2001:db8::1 port 5353: SERVFAIL"
    )


def test_each_name_server_can_be_asked_by_itself() -> None:
    servers = ("192.0.2.1", "192.0.2.1:53", "192.0.2.2:5353", "2001:db8::1", "[2001:db8::2]:5353")
    asked = servers_of(Dns(nameservers=servers))

    assert asked == ("192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53", "[2001:db8::2]:5353")
    assert servers_of(Dns(nameservers=asked)) == asked
    assert servers_of(Dns()), "those of /etc/resolv.conf"
