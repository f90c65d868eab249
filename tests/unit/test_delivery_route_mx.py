import ipaddress
from collections.abc import Callable, Sequence
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.route.mx import (
    HostAnswers,
    MxHost,
    Preference,
    Route,
    arrange,
    exchanges,
    is_host_name,
    literal,
    order,
    route,
)
from jetpost.dns.answer import Answer, Failed, Found, MxRecord, NoData, NoDomain
from jetpost.mail.outcome import Bounced, Deferred

OWN = "us.home.test"
AWAY = Failed("name server 192.0.2.53 port 53: SERVFAIL")
MUTE = Failed("no answer within 10 s", timed_out=True)
A = Found(("192.0.2.1",), 60)
AAAA = Found(("2001:db8::1",), 60)


def drawn(*numbers: float) -> Callable[[], float]:
    return cycle(numbers or (0.5,)).__next__


def mx(*records: tuple[int, str]) -> Found[MxRecord]:
    return Found(tuple(MxRecord(*record) for record in records), 60)


@pytest.mark.parametrize(
    ("records", "numbers", "names"),
    [
        ([(20, "b"), (10, "a"), (30, "c")], [0.5], ("a", "b", "c")),
        ([(10, "a"), (10, "b")], [0.1, 0.2], ("a", "b")),
        ([(10, "a"), (10, "b")], [0.2, 0.1], ("b", "a")),
        ([(20, "c"), (10, "a"), (10, "b")], [0.0, 0.2, 0.1], ("b", "a", "c")),
        ([(10, "a"), (20, "a")], [0.5], ("a",)),
        # Our own host, and all that is not better, goes.
        ([(10, "a"), (20, OWN), (20, "b"), (30, "c")], [0.5], ("a",)),
        ([(10, "a"), (20, OWN), (30, OWN)], [0.5], ("a",)),
        ([(10, OWN), (10, "a"), (20, "b")], [0.5], ()),
    ],
)
def test_hosts_are_tried_by_preference_and_shuffled_among_equals(
    records: list[tuple[int, str]], numbers: list[float], names: tuple[str, ...]
) -> None:
    ordered = order([MxRecord(*record) for record in records], OWN.upper(), drawn(*numbers))
    assert tuple(record.exchange for record in ordered) == names


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefg"))),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1),
)
def test_every_host_is_tried_once_and_none_before_a_better_one(
    records: list[tuple[int, str]], numbers: list[float]
) -> None:
    names = [record.exchange for record in order([MxRecord(*record) for record in records], OWN, drawn(*numbers))]
    best = {name: min(preference for preference, other in records if other == name) for _, name in records}
    assert sorted(names) == sorted(best)
    assert [best[name] for name in names] == sorted(best.values())


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (mx((10, "mx1.dest.test"), (20, "mx2.dest.test")), ("mx1.dest.test", "mx2.dest.test")),
        (NoData(60), ("dest.test",)),
        # Addresses and malformed names are no hosts, nor is a null MX beside another one (RFC 7505, 3).
        (mx((5, "192.0.2.1"), (6, "[192.0.2.1]"), (7, "-mx"), (8, ""), (10, "mx1.dest.test")), ("mx1.dest.test",)),
    ],
)
def test_which_hosts_an_mx_answer_names(answer: Answer[MxRecord], names: tuple[str, ...]) -> None:
    found = exchanges("Dest.Test", answer, OWN, drawn())
    assert not isinstance(found, Deferred | Bounced)
    assert tuple(record.exchange for record in found) == names


@pytest.mark.parametrize(
    ("answer", "kind", "status", "why"),
    [
        (AWAY, Deferred, "4.4.3", "SERVFAIL"),
        (MUTE, Deferred, "4.4.3", "no answer within"),
        (NoDomain(60), Bounced, "5.1.2", "does not exist"),
        (mx((0, "")), Bounced, "5.1.10", "null MX"),
        (mx((10, "192.0.2.1"), (20, "")), Bounced, "5.4.4", "no valid host"),
        (mx((10, OWN), (20, "mx2.dest.test")), Bounced, "5.4.6", "loops back"),
    ],
)
def test_why_an_mx_answer_names_no_hosts(
    answer: Answer[MxRecord], kind: type[Deferred | Bounced], status: str, why: str
) -> None:
    outcome = exchanges("dest.test", answer, OWN, drawn())
    assert isinstance(outcome, Deferred | Bounced)
    assert (type(outcome), str(outcome.status)) == (kind, status)
    assert why in outcome.why


def test_our_own_name_without_mx_records_is_a_loop() -> None:
    outcome = exchanges(OWN, NoData(60), OWN, drawn())
    assert isinstance(outcome, Bounced)
    assert str(outcome.status) == "5.4.6"


def routed(*hosts: HostAnswers, implicit: bool = False, addresses_max: int = 4) -> Route | Deferred | Bounced:
    return route(
        "dest.test", hosts, implicit=implicit, prefer="ipv4", addresses_max=addresses_max, port=2525, draw=drawn()
    )


@pytest.mark.parametrize(
    ("hosts", "usable"),
    [
        ([("a", A, AAAA)], [("a", ("192.0.2.1", "2001:db8::1"))]),
        ([("a", A, NoData(60)), ("b", NoData(60), AAAA)], [("a", ("192.0.2.1",)), ("b", ("2001:db8::1",))]),
        ([("a", A, AWAY)], [("a", ("192.0.2.1",))]),
        ([("a", NoDomain(60), NoDomain(60)), ("b", A, NoData(60))], [("b", ("192.0.2.1",))]),
        ([("a", MUTE, MUTE), ("b", A, NoData(60))], [("b", ("192.0.2.1",))]),
    ],
)
def test_hosts_with_addresses_are_used(
    hosts: list[tuple[str, Answer[str], Answer[str]]], usable: list[tuple[str, tuple[str, ...]]]
) -> None:
    expected = Route(tuple(MxHost(name, addresses, 2525) for name, addresses in usable))
    assert routed(*(HostAnswers(name, 10, *answers) for name, *answers in hosts)) == expected


@pytest.mark.parametrize(
    ("hosts", "implicit", "kind", "status"),
    [
        ([("a", NoDomain(60), NoDomain(60)), ("b", NoData(60), NoData(60))], False, Bounced, "5.4.4"),
        ([("dest.test", NoData(60), NoData(60))], True, Bounced, "5.1.2"),
        ([("a", NoDomain(60), NoDomain(60)), ("b", AWAY, NoData(60))], False, Deferred, "4.4.3"),
        ([("a", NoData(60), MUTE)], False, Deferred, "4.4.3"),
        ([("dest.test", AWAY, AWAY)], True, Deferred, "4.4.3"),
    ],
)
def test_without_addresses_there_is_no_route(
    hosts: list[tuple[str, Answer[str], Answer[str]]], implicit: bool, kind: type[Deferred | Bounced], status: str
) -> None:
    outcome = routed(*(HostAnswers(name, 10, *answers) for name, *answers in hosts), implicit=implicit)
    assert isinstance(outcome, Deferred | Bounced)
    assert (type(outcome), str(outcome.status)) == (kind, status)


@pytest.mark.parametrize(
    ("preferences", "left"),
    [
        ({"us": 10, "a": 10, "b": 20}, None),
        ({"a": 10, "us": 20, "b": 20, "c": 30}, ["a"]),
        ({"a": 10, "b": 20}, ["a", "b"]),
        ({"us": 0}, None),
    ],
)
def test_a_host_at_an_address_of_ours_goes_with_all_that_is_not_better(
    preferences: dict[str, int], left: list[str] | None
) -> None:
    ours = Found(("192.0.2.250", "192.0.2.99"), 60)
    hosts = [HostAnswers(name, at, ours if name == "us" else A, NoData(60)) for name, at in preferences.items()]
    own = frozenset({"192.0.2.99"})
    outcome = route("dest.test", hosts, implicit=False, own=own, prefer="any", addresses_max=4, port=25, draw=drawn())
    if left is None:
        assert isinstance(outcome, Bounced)
        assert str(outcome.status) == "5.4.6"
    else:
        assert isinstance(outcome, Route)
        assert [host.name for host in outcome.hosts] == left


def test_of_many_addresses_some_are_tried_from_both_families() -> None:
    many = HostAnswers("a", 10, Found(tuple(f"192.0.2.{n}" for n in range(9)), 60), Found(("2001:db8::1",), 60))
    outcome = routed(many, addresses_max=3)
    assert isinstance(outcome, Route)
    assert [ipaddress.ip_address(address).version for address in outcome.hosts[0].addresses] == [4, 6, 4]


@pytest.mark.parametrize(
    ("prefer", "numbers", "addresses"),
    [
        ("ipv4", [0.1, 0.2, 0.3], ("4a", "6a", "4b")),
        ("ipv4", [0.2, 0.1, 0.3], ("4b", "6a", "4a")),
        ("ipv6", [0.1, 0.2, 0.3], ("6a", "4a", "4b")),
        ("any", [0.1, 0.2, 0.3, 0.4], ("6a", "4a", "4b")),
        ("any", [0.1, 0.2, 0.3, 0.6], ("4a", "6a", "4b")),
    ],
)
def test_addresses_are_shuffled_and_the_families_take_turns(
    prefer: Preference, numbers: Sequence[float], addresses: tuple[str, ...]
) -> None:
    assert arrange(["4a", "4b"], ["6a"], prefer, drawn(*numbers)) == addresses


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1", "dest..test", "", "dest_.test."])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    outcome = literal(domain)
    assert isinstance(outcome, Bounced)
    assert str(outcome.status) == "5.1.2"


@pytest.mark.parametrize("domain", ["dest.test", "Dest.Test", "xn--bcher-kva.test", "3com.test", "localhost"])
def test_a_domain_is_not_refused(domain: str) -> None:
    assert literal(domain) is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("mx.dest.test", True),
        ("mx_1.dest.test", True),
        ("1.dest.test", True),
        ("x" * 63 + ".test", True),
        ("x" * 64 + ".test", False),
        (".".join(["x" * 49] * 5) + ".x", True),
        (".".join(["x" * 49] * 5) + ".test", False),
        ("mx-.dest.test", False),
        ("-mx.dest.test", False),
        ("mx dest.test", False),
        ("mx.dest.test\n", False),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
        ("", False),
    ],
)
def test_what_a_host_name_looks_like(name: str, is_one: bool) -> None:
    assert is_host_name(name) is is_one


@pytest.mark.parametrize(
    ("source", "addresses"),
    [("", {"192.0.2.1", "2001:db8::1"}), ("127.0.0.1", {"192.0.2.1"}), ("::1", {"2001:db8::1"})],
)
def test_only_addresses_of_the_family_of_the_source_are_tried(source: str, addresses: set[str]) -> None:
    host = HostAnswers("mx.test", 10, Found(("192.0.2.1",), 0), Found(("2001:db8::1",), 0))
    found = route(
        "d.test", [host], implicit=False, source=source, prefer="any", addresses_max=4, port=25, draw=lambda: 0
    )
    assert isinstance(found, Route)
    assert set(found.hosts[0].addresses) == addresses


def test_mail_for_hosts_of_the_other_family_waits() -> None:
    host = HostAnswers("mx.test", 10, NoData(0), Found(("2001:db8::1",), 0))
    found = route(
        "d.test", [host], implicit=True, source="127.0.0.1", prefer="any", addresses_max=4, port=25, draw=lambda: 0
    )
    assert isinstance(found, Deferred)
    assert found.why == "no MX host of d.test has an address that can be reached from 127.0.0.1"
