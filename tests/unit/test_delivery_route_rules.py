"""Which route a message takes: the first rule that matches."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.config import Delivery
from delivery.route.actions.kinds import Host, ToHosts
from delivery.route.actions.presets import PRESETS
from delivery.route.endpoint import ConnectionTerms
from delivery.route.hosts import Located, ordered, route_to
from delivery.route.mx import MxHost, Route
from delivery.route.rules import Facts, Rule, Table
from delivery.security.requirement import PUBLIC_CAS, TlsMode
from jetpost.config.load import ConfigurationError, check, configuration_model
from jetpost.dns.answer import Failed, Found, NoData, NoDomain
from jetpost.mail.outcome import Deferred

FACTS = Facts("dest.test", "home.test", "ann", "submission", 1000)
MODEL = configuration_model(("delivery",))


def rule(name: str = "r", **match: Any) -> Rule:
    return Rule.model_validate({"name": name, "match": match, "action": {"kind": "discard"}})


@pytest.mark.parametrize(
    ("match", "facts", "matches"),
    [
        ({}, FACTS, True),
        ({"recipients": ["dest.test"]}, FACTS, True),
        ({"recipients": ["DEST.test"]}, FACTS, True),
        ({"recipients": ["other.test", "dest.test"]}, FACTS, True),
        ({"recipients": ["other.test"]}, FACTS, False),
        ({"recipients": ["dest.test"]}, FACTS._replace(domain="a.dest.test"), False),
        ({"recipients": ["*.dest.test"]}, FACTS._replace(domain="a.dest.test"), True),
        ({"recipients": ["*.dest.test"]}, FACTS._replace(domain="b.a.dest.test"), True),
        ({"recipients": ["*.dest.test"]}, FACTS, False),
        ({"recipients": ["*.dest.test"]}, FACTS._replace(domain="xdest.test"), False),
        ({"recipients": ["*.test"]}, FACTS, True),
        ({"recipients": ["bücher.test"]}, FACTS._replace(domain="xn--bcher-kva.test"), True),
        ({"recipients": ["*.bücher.test"]}, FACTS._replace(domain="a.xn--bcher-kva.test"), True),
        ({"senders": ["home.test"]}, FACTS, True),
        ({"senders": ["*.home.test"]}, FACTS, False),
        ({"senders": ["home.test"]}, FACTS._replace(sender=""), False),
        ({"senders": ["<>"]}, FACTS._replace(sender=""), True),
        ({"senders": ["<>"]}, FACTS, False),
        ({"senders": ["<>", "home.test"]}, FACTS, True),
        ({"identities": ["ann"]}, FACTS, True),
        ({"identities": ["Ann"]}, FACTS, False),
        ({"identities": ["ann"]}, FACTS._replace(identity=""), False),
        ({"listeners": ["submission"]}, FACTS, True),
        ({"listeners": ["relay"]}, FACTS, False),
        ({"min_bytes": 1000}, FACTS, True),
        ({"min_bytes": 1001}, FACTS, False),
        ({"max_bytes": 1000}, FACTS, True),
        ({"max_bytes": 999}, FACTS, False),
        ({"max_bytes": "1kB"}, FACTS, True),
        ({"recipients": ["dest.test"], "identities": ["ann"], "max_bytes": 2000}, FACTS, True),
        ({"recipients": ["dest.test"], "identities": ["bob"]}, FACTS, False),
    ],
)
def test_a_rule_matches_when_each_of_its_keys_does(match: dict[str, Any], facts: Facts, matches: bool) -> None:
    assert (Table([rule(**match)]).first(facts) is not None) is matches


def test_the_first_rule_that_matches_counts() -> None:
    table = Table([rule("other", recipients=["other.test"]), rule("home", senders=["home.test"]), rule("rest")])

    assert [it and it.name for it in (table.first(FACTS), table.first(FACTS._replace(sender="x.test")))] == [
        "home",
        "rest",
    ]
    assert Table([]).first(FACTS) is None


labels = st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(domains, domains)
def test_a_wildcard_is_for_the_domains_below_and_for_no_other(domain: str, above: str) -> None:
    found = Table([rule(recipients=[f"*.{above}"])]).first(FACTS._replace(domain=domain))

    assert (found is not None) == domain.endswith(f".{above}")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=8),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=8, max_size=8),
)
def test_every_host_is_tried_once_in_order_of_preference(
    wanted: Sequence[tuple[int, int]], draws: Sequence[float]
) -> None:
    hosts = [
        Host(host=f"h{n}.test", preference=preference, weight=weight) for n, (preference, weight) in enumerate(wanted)
    ]
    drawn = iter(draws)

    found = ordered(hosts, lambda: next(drawn))

    assert sorted(it.host for it in found) == sorted(it.host for it in hosts)
    assert [it.preference for it in found] == sorted(it.preference for it in hosts)
    for place, host in enumerate(found):
        equals = [it for it in found[place:] if it.preference == host.preference]
        assert host.weight or not any(it.weight for it in equals)  # 0 comes after the others


def test_hosts_are_first_as_often_as_their_weight_says() -> None:
    hosts = [Host(host="one.test", weight=1), Host(host="three.test", weight=3)]
    shares = [ordered(hosts, lambda n=n: n / 100)[0].host for n in range(100)]  # type: ignore[misc]

    assert shares.count("three.test") == 75


def test_a_host_without_an_address_is_left_out_and_never_bounces_mail() -> None:
    one, two = Host(host="one.test", port=2525), Host(host="two.test")
    found = [Located(one, Found(("127.0.0.2",), 1), NoData(1)), Located(two, NoDomain(1), NoDomain(1))]

    def planned(located: Sequence[Located]) -> Route | Deferred:
        return route_to(
            "r", located, ConnectionTerms(), usual_port=587, prefer="any", addresses_max=4, draw=lambda: 0.0
        )

    left_out = (MxHost("two.test", (), 587), "two.test has no address in DNS")
    assert planned(found) == Route((MxHost("one.test", ("127.0.0.2",), 2525),), unusable=(left_out,))
    for nothing in (NoDomain(1), NoData(1), Failed("SERVFAIL")):
        deferred = planned([Located(two, nothing, nothing)])
        assert isinstance(deferred, Deferred)
        assert "route r" in deferred.why
        assert "two.test" in deferred.why


HOSTS = {"kind": "hosts", "hosts": [{"host": "smart.test"}]}
PIN = "A" * 43 + "="
SHOWN = {"certificate_file": __file__, "key_file": __file__}


def problems(*routes: dict[str, Any]) -> list[str]:
    """What is said about these routes, with `name: rN` and a match of their own when they have none."""
    usual = [{"name": f"r{number}", "match": {"recipients": [f"d{number}.test"]}} for number in range(len(routes))]
    given = {"delivery": {"routes": [{**left, **right} for left, right in zip(usual, routes, strict=True)]}}
    with pytest.raises(ConfigurationError) as caught:
        check(json.dumps(given), {}, MODEL, name="jetpost.yaml")
    return [problem.removeprefix("jetpost.yaml:1: delivery.routes") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ([{}], ".0 (r0).action: is required"),
        ([{"action": {}}], ".0 (r0).action: needs a `kind`, one of "),
        ([{"action": {"kind": "host"}}], ".0 (r0).action: `kind` must be one of "),
        ([{"action": {"kind": "hosts"}}], ".0 (r0).action: hosts: is required, or a `preset`"),
        ([{"action": {"kind": "hosts", "hosts": []}}], ".0 (r0).action: hosts: is required, or a `preset`"),
        ([{"action": {"kind": "hosts", "preset": "aws"}}], ".0 (r0).action: preset: must be one of microsoft-365, "),
        ([{"action": {**HOSTS, "preset": "sendgrid"}}], ".0 (r0).action: hosts: `preset` sets them"),
        ([{"action": {"kind": "hosts", "preset": "amazon-ses"}}], ".0 (r0).action: region: it is required"),
        ([{"action": {"kind": "hosts", "preset": "brevo", "region": "x"}}], ".0 (r0).action: region: it is"),
        ([{"action": {"kind": "hosts", "hosts": [{}]}}], ".0 (r0).action.hosts.0.host: is required"),
        (
            [{"action": {"kind": "hosts", "hosts": [{"host": "a b"}]}}],
            ".0 (r0).action.hosts.0.host: must be the name of a host or an IP address, got `a b`",
        ),
        (
            [{"action": {"kind": "hosts", "hosts": [{"host": "a.test:25"}]}}],
            ".0 (r0).action.hosts.0.host: must be the name of a host",
        ),
        (
            [{"action": {"kind": "hosts", "hosts": [{"host": "a.test", "port": 0}]}}],
            ".0 (r0).action.hosts.0.port: must be at least 1, got `0`",
        ),
        (
            [{"action": {"kind": "hosts", "hosts": [{"host": "a.test"}, {"host": "A.test.", "port": 25}]}}],
            ".0 (r0).action: hosts: a.test port 25 is there twice",
        ),
        ([{"action": {**HOSTS, "tls": "yes"}}], ".0 (r0).action.tls: must be "),
        ([{"action": {**HOSTS, "prot": 25}}], ".0 (r0).action.prot: unknown key"),
        (
            [{"action": {**HOSTS, "ca_file": "/no/such.pem"}}],
            ".0 (r0).action.ca_file: cannot read /no/such.pem: No such file or directory",
        ),
        ([{"action": {**HOSTS, "ca_file": __file__, "tls": "none"}}], ".0 (r0).action: ca_file: nothing is verified"),
        ([{"action": {**HOSTS, "ca_file": __file__, "verify": False}}], ".0 (r0).action: ca_file: nothing is verified"),
        (
            [{"action": {**HOSTS, "tls": "none", "auth": {"user": "u", "password_file": __file__}}}],
            ".0 (r0).action: auth: credentials are not sent without TLS",
        ),
        (
            [{"action": {**HOSTS, "tls": "opportunistic", "auth": {"user": "u", "password_file": __file__}}}],
            ".0 (r0).action: auth: `tls: opportunistic` may go on without TLS",
        ),
        ([{"action": {**HOSTS, "pins": ["x"]}}], ".0 (r0).action.pins.0: must be the SHA-256 digest of a public key"),
        ([{"action": {**HOSTS, "pins": [PIN], "verify": False}}], ".0 (r0).action: pins: nothing is verified"),
        ([{"action": {**HOSTS, "pins": [PIN], "tls": "opportunistic"}}], ".0 (r0).action: pins: nothing is verified"),
        ([{"action": {**HOSTS, "certificate_file": __file__}}], ".0 (r0).action: certificate_file: it goes with"),
        ([{"action": {**HOSTS, "key_file": __file__}}], ".0 (r0).action: certificate_file: it goes with"),
        ([{"action": {**HOSTS, **SHOWN, "tls": "none"}}], ".0 (r0).action: certificate_file: it is shown in TLS only"),
        ([{"action": {**HOSTS, **SHOWN, "tls": "opportunistic"}}], ".0 (r0).action: certificate_file: it is shown"),
        ([{"action": {**HOSTS, "insecure_auth": True}}], ".0 (r0).action: insecure_auth: "),
        (
            [{"action": {**HOSTS, "insecure_auth": True, "auth": {"user": "u", "password_file": __file__}}}],
            ".0 (r0).action: insecure_auth: ",
        ),
        ([{"action": {**HOSTS, "auth": {"user": "u"}}}], ".0 (r0).action.auth: password_file: is required, or `oauth`"),
        (
            [{"action": {**HOSTS, "auth": {"user": "u", "password_file": "/no/such"}}}],
            ".0 (r0).action.auth.password_file: cannot read /no/such: No such file or directory",
        ),
        (
            [{"action": {**HOSTS, "auth": {"user": "u", "password_file": __file__, "mechanisms": ["NTLM"]}}}],
            ".0 (r0).action.auth.mechanisms.0: must be 'PLAIN'",
        ),
        ([{"action": {"kind": "lmtp"}}], ".0 (r0).action: hosts: set either `hosts` or `socket`"),
        ([{"action": {**HOSTS, "kind": "lmtp", "socket": "/lmtp"}}], ".0 (r0).action: hosts: set either"),
        ([{"action": {"kind": "lmtp", "socket": "lmtp"}}], ".0 (r0).action.socket: "),
        ([{"action": {"kind": "lmtp", "socket": "/lmtp", "tls": "starttls"}}], ".0 (r0).action: tls: a unix socket"),
        ([{"action": {"kind": "fail", "status": "4.7.1"}}], ".0 (r0).action.status: "),
        ([{"action": {"kind": "fail", "text": "a\nb"}}], ".0 (r0).action.text: "),
        ([{"action": {"kind": "discard"}, "fallback": HOSTS}], ".0 (r0): fallback: `kind: discard` has no hosts"),
        ([{"action": HOSTS, "fallback": {"kind": "fail"}}], ".0 (r0).fallback: `kind` must be one of "),
        ([{"action": HOSTS, "name": "Not A Name"}], ".0 (Not A Name).name: "),
        ([{"action": HOSTS, "match": {"recipients": ["*"]}}], ".0 (r0).match.recipients.0: must be a domain such as"),
        ([{"action": HOSTS, "match": {"recipients": ["a@b.test"]}}], ".0 (r0).match.recipients.0: must be a domain"),
        ([{"action": HOSTS, "match": {"recipients": ["*.a.*.test"]}}], ".0 (r0).match.recipients.0: must be a domain"),
        ([{"action": HOSTS, "match": {"senders": ["x y"]}}], ".0 (r0).match.senders.0: must be a domain"),
        ([{"action": HOSTS, "match": {"min_bytes": 2, "max_bytes": 1}}], ".0 (r0).match: max_bytes: it is less than"),
        ([{"action": HOSTS, "match": {"to": []}}], ".0 (r0).match.to: unknown key"),
        ([{"action": HOSTS}, {"action": HOSTS, "name": "r0"}], ": route r0: name: another route has this name"),
        (
            [{"action": HOSTS, "match": {}}, {"action": HOSTS}],
            ": route r0: match: it matches all messages, so no route",
        ),
        (
            [{"action": HOSTS}, {"action": HOSTS, "match": {"recipients": ["d0.test"]}}],
            ": route r1: match: an earlier route has the same match",
        ),
    ],
)
def test_a_wrong_table_is_refused_by_route_and_key(routes: list[dict[str, Any]], problem: str) -> None:
    (said,) = problems(*routes)

    assert said.startswith(problem)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_hosts_tls_and_mechanisms(tmp_path: Path, name: str) -> None:
    (password := tmp_path / "password").write_text("secret\n")
    preset = PRESETS[name]
    action = {"kind": "hosts", "preset": name, "auth": {"user": "u", "password_file": str(password)}}
    action |= {"region": "eu-west-1"} if "{region}" in preset.host else {}

    (made,) = Delivery.model_validate({"routes": [{"name": "r", "action": action}]}).routes

    assert made.action.kind == "hosts"
    (host,) = made.action.hosts
    assert (host.host, host.port) == (preset.host.replace("{region}", "eu-west-1"), preset.port)
    terms = made.action.terms("r", "")
    assert terms.tls is TlsMode.REQUIRED
    assert terms.verified == PUBLIC_CAS
    assert terms.implicit is (preset.tls == "implicit")
    assert terms.login is not None
    assert terms.login.mechanisms == preset.mechanisms


def test_pins_without_a_ca_file_take_the_place_of_cas() -> None:
    def terms(**changes: Any) -> ConnectionTerms:
        (made,) = Delivery.model_validate({"routes": [{"name": "r", "action": {**HOSTS, **changes}}]}).routes
        assert isinstance(made.action, ToHosts)
        return made.action.terms("r", "")

    pinned = terms(pins=[PIN, "B" * 42 + "A=", PIN])
    assert (pinned.verified, pinned.pins) == ("", (PIN, "B" * 42 + "A="))
    assert pinned == terms(pins=["B" * 42 + "A=", PIN])
    assert terms(pins=[PIN], ca_file=__file__).verified == __file__
    assert terms(**SHOWN).client == (__file__, __file__)
    assert terms(**SHOWN).verified == PUBLIC_CAS


def test_the_usual_ports_follow_from_tls_and_auth(tmp_path: Path) -> None:
    (password := tmp_path / "password").write_text("secret\n")
    auth = {"user": "u", "password_file": str(password)}
    ports = []
    for action in (HOSTS, {**HOSTS, "tls": "implicit"}, {**HOSTS, "auth": auth}):
        (made,) = Delivery.model_validate({"routes": [{"name": "r", "action": action}]}).routes
        assert made.action.kind == "hosts"
        ports.append(made.action.usual_port)

    assert ports == [25, 465, 587]
