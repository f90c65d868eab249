"""SPF and DMARC records: macros by the RFC's examples, and nothing that is published breaks or holds the reader."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.header import parse as parse_header
from jetpost.sender.dmarc.record import (
    Placed,
    Policy,
    Record,
    governing,
    is_dmarc,
    next_domain,
    only_record,
    organizational,
    policy_for,
)
from jetpost.sender.dmarc.record import parse as parse_dmarc
from jetpost.sender.spf import macros
from jetpost.sender.spf.record import Malformed, is_spf
from jetpost.sender.spf.record import Record as SpfRecord
from jetpost.sender.spf.record import parse as parse_spf
from jetpost.sign.author import MOST_FROM_BYTES, Authors, authors_of

VALUES = {
    **macros.values_for(ip_address("192.0.2.3"), "strong-bad@email.example.com", "helo.test"),
    "d": "email.example.com",
    "p": "unknown",
    "t": "0",
}
IPV6 = {**macros.values_for(ip_address("2001:db8::cb01"), "strong-bad@email.example.com", ""), "d": "email.example.com"}
EXAMPLES = {
    "%{s}": "strong-bad@email.example.com",
    "%{o}": "email.example.com",
    "%{d}": "email.example.com",
    "%{d4}": "email.example.com",
    "%{d3}": "email.example.com",
    "%{d2}": "example.com",
    "%{d1}": "com",
    "%{dr}": "com.example.email",
    "%{d2r}": "example.email",
    "%{l}": "strong-bad",
    "%{l-}": "strong.bad",
    "%{lr}": "strong-bad",
    "%{lr-}": "bad.strong",
    "%{l1r-}": "strong",
    "%{ir}.%{v}._spf.%{d2}": "3.2.0.192.in-addr._spf.example.com",
    "%{lr-}.lp._spf.%{d2}": "bad.strong.lp._spf.example.com",
    "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}": "3.2.0.192.in-addr.strong.lp._spf.example.com",
    "%{d2}.trusted-domains.example.net": "example.com.trusted-domains.example.net",
    "%%%_%-": "% %20",
}
"""RFC 7208, 7.4."""


@pytest.mark.parametrize("text", EXAMPLES)
def test_macros(text: str) -> None:
    assert macros.is_macro_string(text)
    assert macros.expand(text, VALUES) == EXAMPLES[text]


def test_macros_of_an_ipv6_client() -> None:
    nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    assert macros.expand("%{ir}.%{v}._spf.%{d2}", IPV6) == f"{nibbles}.ip6._spf.example.com"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("example.com", True),
        ("example.com.", True),
        ("%{d}", True),
        ("x.%{d2}", True),
        ("example", False),
        ("", False),
        ("example.123", False),
        ("example.1-1", True),
        ("example.-a", False),
        ("example.a-", False),
        ("a b.com", False),
        ("%{x}.com", False),
        ("%{d0}.com", False),
        ("%{d}%", False),
        ("%{c}.com", False),
        ("ex%{d}ample.com", True),
        ("x.%%{d}", False),
        ("%{d" + "-." * 100 + "}", True),
        ("exämple.com", False),
    ],
)
def test_domain_specs(text: str, is_one: bool) -> None:
    assert macros.is_domain_spec(text) is is_one


LONG = 16_000
HOSTILE = {
    "a long label": "v=spf1 a:x." + "a" * LONG + "! -all",
    "delimiters of a macro": "v=spf1 exists:%{d" + "-" * LONG + "}",
    "digits of a macro": "v=spf1 exists:%{d" + "1" * LONG + "}.test -all",
    "digits of a prefix": "v=spf1 a/" + "1" * LONG + " -all",
    "digits of a network": "v=spf1 ip4:192.0.2.1/" + "1" * LONG + " -all",
    "digits of an IPv6 prefix": "v=spf1 ip6:::/" + "9" * LONG,
    "slashes": "v=spf1 a:x" + "/1" * (LONG // 2) + "x",
    "many terms": "v=spf1" + " a" * (LONG // 2),
    "many macros": "v=spf1 exists:" + "%{s}" * (LONG // 4) + ".test",
    "open macros": "v=spf1 exists:" + "%{" * (LONG // 2),
    "equals signs": "v=spf1 " + "a=" * (LONG // 2),
    "spaces": "v=spf1" + " " * LONG,
    "dots": "v=spf1 a:" + "." * LONG,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_read_to_its_end(name: str) -> None:
    record = parse_spf(HOSTILE[name])

    if isinstance(record, SpfRecord):
        values = {**VALUES, "s": ".".join("abcdefgh" * 8) + "@x.test"}
        for mechanism in record.mechanisms:
            assert len(macros.expand_domain(mechanism.domain, values)) <= 253 or "." not in mechanism.domain


TERMS = "a mx ip4: ip6: include: exists: redirect= exp= all - ~ ? %{ } d / 1 192.0.2.1 ::1 x.test . = ptr %% %_ r s é ;"
WORDS = st.sampled_from([*TERMS.split(), "\n"])


@given(st.one_of(st.text(), st.lists(st.one_of(WORDS, st.just(" "))).map("".join)))
def test_no_spf_record_breaks_the_reader(text: str) -> None:
    whole = f"v=spf1 {text}"
    assert is_spf(whole)
    record = parse_spf(whole)
    if isinstance(record, Malformed):
        assert record.why
        return
    for spec in (record.redirect, record.explanation, *(it.domain for it in record.mechanisms)):
        assert macros.expand_domain(spec, VALUES) is not None


TAGS = st.lists(
    st.tuples(
        st.sampled_from(["p", "sp", "np", "adkim", "aspf", "psd", "t", "rua", "pct", "x", ""]),
        st.one_of(st.sampled_from(["none", "quarantine", "reject", "s", "r", "y", "n", "mailto:a@b"]), st.text()),
    )
)


@given(TAGS)
def test_no_dmarc_record_breaks_the_reader(tags: list[tuple[str, str]]) -> None:
    text = "v=DMARC1; " + "; ".join(f"{name}={value}" for name, value in tags)
    assert is_dmarc(text)
    record = parse_dmarc(text)
    if record is None:
        return
    placed = Placed("org.test", record)
    for domain in ("org.test", "a.org.test"):
        policy = policy_for(domain, placed, exists=False)
        assert (policy is None) == (record.policy is None)
    assert only_record([text, "other", text]) is None


DOMAINS = st.lists(st.sampled_from(["a", "b", "cc"]), min_size=1, max_size=12).map(".".join)


@given(DOMAINS, st.data())
def test_the_walk_ends_and_the_organization_is_the_domain_or_above_it(domain: str, data: st.DataObject) -> None:
    asked = [domain]
    while following := next_domain(asked[-1]):
        asked.append(following)
    marks = data.draw(st.lists(st.sampled_from([None, True, False]), min_size=len(asked), max_size=len(asked)))
    there = data.draw(st.lists(st.booleans(), min_size=len(asked), max_size=len(asked)))
    found = []
    for name, mark, is_there in zip(asked, marks, there, strict=True):
        if is_there:
            found.append(Placed(name, Record(Policy.NONE, is_psd=mark)))
            if mark is not None:
                break

    above = organizational(domain, found)

    assert len(asked) <= 8
    assert f".{domain}".endswith(f".{above}")
    placed = governing(domain, found)
    assert placed is None or placed in found
    assert placed is not None or not found or found[0].domain != domain


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"From: ann@A.test\r\n", Authors(1, ("a.test",))),
        (b"from : Ann <ann@a.test>\r\nFROM: b@b.test\r\n", Authors(2, ("a.test", "b.test"))),
        (b'From: a@a.test, "b@c.test" <b@a.test>\r\n', Authors(1, ("a.test",))),
        (b"From: Friends: a@a.test, b@b.test;\r\n", Authors(1, ("a.test", "b.test"))),
        (b"From: nobody\r\n", Authors(1, ())),
        (b"From:\r\n", Authors(1, ())),
        (b"Subject: x\r\n", Authors(0, ())),
        ("From: ann@bücher.example\r\n".encode(), Authors(1, ("xn--bcher-kva.example",))),
        (b"From: " + b"a@b.test, " * MOST_FROM_BYTES + b"\r\n", Authors(1, ())),
    ],
)
def test_the_authors_of_a_message(block: bytes, expected: Authors) -> None:
    assert authors_of(parse_header(block)) == expected
