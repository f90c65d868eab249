"""The author's domain: of whatever may stand in a From field."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.header import parse
from jetpost.sign.author import MOST_FROM_BYTES, author_domain, authors_of


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (" ann@b.test", "b.test"),
        (" Ann <ann@B.Test>", "b.test"),
        (" Ann\r\n <ann@b.test>", "b.test"),
        (" <ann@b.test>", "b.test"),
        (' "x, <z@other.test>" <ann@b.test>', "b.test"),
        (" (z@other.test) ann@b.test (z@other.test)", "b.test"),
        (r" (a \) (nested z@other.test) ) ann@b.test", "b.test"),
        (' ("z@other.test>) ann@b.test', "b.test"),
        (" z@other.test <ann@b.test>", "b.test"),
        (' "z@other.test"@b.test', "b.test"),
        (r' "a\"b@other.test" <ann@b.test>', "b.test"),
        (" ann@b.test, Bob <bob@B.test>", "b.test"),
        (" Us: ann@b.test, bob@b.test;", "b.test"),
        (" ann@b.test,, (nobody) ,", "b.test"),
        (" <ann@b.test > (Ann)", "b.test"),
        (" ann(a)@(b)b.(c)test", "b.test"),
        (r' "a\"@other.test,<z@other.test>"@b.test', "b.test"),
        (" =?utf-8?q?ann?=@b.test", "b.test"),
        (' "" <ann@b.test>', "b.test"),
        (" ann+tag=z%other.test@b.test", "b.test"),
        (" Nobody:;, ann@b.test", "b.test"),
        (" <@x.test,@y.test:ann@b.test>", "b.test"),
        (" ann @ b . test", "b.test"),
        (" =?utf-8?q?z=40other.test?= <ann@b.test>", "b.test"),
        (" nobody, ann@b.test", "b.test"),
        (" ann@bücher.test", "xn--bcher-kva.test"),
        (" Änn <änn@b.test>", "b.test"),
        ("", ""),
        (" nobody", ""),
        (" <>", ""),
        (" Nobody:;", ""),
        (" ann@", ""),
        (" ann@-", ""),
        (" ann@[192.0.2.1]", ""),
        # Several authors' domains: no signature is everybody's.
        (" ann@b.test, z@other.test", ""),
        (" Us: ann@b.test, z@other.test;", ""),
        (" Us: ann@b.test;, Others: z@other.test;", ""),
        (" ann@b.test, z@www.b.test", ""),
        (" ann@b.test, z@-", ""),
        # What one receiver reads as one mailbox, and another as another one.
        (" <ann@b.test><z@other.test>", ""),
        (" <ann@b.test> <z@other.test>", ""),
        (" <ann@b.test> z@other.test", ""),
        (" <ann@b.test", ""),
        (" ann@b.test>", ""),
        (" <<ann@b.test>>", ""),
        (" ann@b.test@other.test", ""),
        (" <ann@b.test,z@other.test>", ""),
        (' ann@"b.test"', ""),
        (' ann@b."test"', ""),
        (' "ann@b.test', ""),
        (" ann@b.test (", ""),
        (" ann@b.test )", ""),
        (r" ann\@other.test@b.test", ""),
        (" ann@b.test\\", ""),
        (" @b.test", ""),
        (" <@b.test>", ""),
        (" ann@b.test\xa0.other", ""),
        (" ann@b.test\u2028", ""),
        (" ann@b..test", ""),
        (" ann@.b.test", ""),
        (" =?utf-8?q?ann=40b=2Etest?=", ""),
        (" =?utf-8?q?=3Cann=40b=2Etest=3E?= <z@other.test>", "other.test"),
        (" ann@xn--b-.test\0", ""),
        (" ann@\0b.test", ""),
    ],
)
def test_the_authors_domain(value: str, domain: str) -> None:
    assert author_domain(value.encode()) == domain


PARTS = st.sampled_from(["(", ")", "<", ">", '"', "\\", ",", ";", ":", "@", "a", "b.test", " ", "\r\n ", "é", "[", "]"])


@given(st.one_of(st.lists(PARTS).map(lambda parts: "".join(parts).encode()), st.binary()))
def test_no_field_breaks_it(value: bytes) -> None:
    assert not set(author_domain(value)) & set(" \r\n\t<>@;=")


@given(st.lists(PARTS).map("".join))
def test_the_quick_way_and_the_whole_one_say_the_same(value: str) -> None:
    """A comment leads to the whole one."""
    assert author_domain(value.encode()) == author_domain(f"(a comment){value}".encode())


MAILBOXES = st.sampled_from(["ann@b.test", "Ann <ann@b.test>", '"z@other.test" <ann@b.test>', "(z@x.test) ann@b.test"])
OTHERS = st.sampled_from(["z@other.test", "Z <z@other.test>", '"ann@b.test" <z@other.test>', "(a@b.test) z@other.test"])


@given(st.lists(MAILBOXES, min_size=1, max_size=5), st.lists(OTHERS, max_size=2), st.randoms(use_true_random=False))
def test_a_domain_signs_only_if_it_is_every_authors(ours: list[str], others: list[str], chance: Random) -> None:
    mailboxes = ours + others
    chance.shuffle(mailboxes)

    assert author_domain(f" {', '.join(mailboxes)}".encode()) == ("" if others else "b.test")


HOW_LONG = 200_000


@pytest.mark.parametrize(
    "value",
    [
        b" a@b.test" + b" " * HOW_LONG + b"x",
        b" " * HOW_LONG + b"<a@b.test" + b" " * HOW_LONG,
        b" <" + b" " * HOW_LONG + b"a@b.test",
        b" " + b"a" * HOW_LONG + b"@b.test",
        b" a@" + b"b" * HOW_LONG + b" x",
        b" a@" + b"b." * HOW_LONG,
        b" " + b"a " * HOW_LONG + b"@b.test",
        b' "' + b'\\"' * HOW_LONG,
        b" " + b'"\\' * HOW_LONG,
        b" " + b"(" * HOW_LONG,
        b" " + b"()" * HOW_LONG,
        b" " + b"<>" * HOW_LONG,
        b" " + b"a@b.test," * (HOW_LONG // 9),
        b" " + b"@b.test:" * (HOW_LONG // 8) + b"a@b.test",
        b" " + b"\r\n " * HOW_LONG + b"a@b.test" + b"\r\n " * HOW_LONG + b"x",
        " " + "é" * HOW_LONG + "@" + "ü" * HOW_LONG,
    ],
    ids=range(16),
)
@pytest.mark.timeout(20)
def test_a_long_field_takes_no_long_time(value: bytes | str) -> None:
    """The time that it takes is proportional to its length: else this would take minutes."""
    assert isinstance(author_domain(value if isinstance(value, bytes) else value.encode()), str)


def test_a_thousand_mailboxes_of_one_domain_have_it() -> None:
    value = ",\r\n ".join(f'"Nr. {number}" <u{number}@b.test>' for number in range(1000))

    assert author_domain(f" {value}".encode()) == "b.test"
    assert author_domain(f" {value}, z@other.test".encode()) == ""


@pytest.mark.parametrize(
    ("header", "fields", "domains"),
    [
        (b"From: ann@b.test, z@other.test\r\nfrom : c@B.test", 2, ("b.test", "other.test")),
        (b"From: <ann@b.test><z@other.test>", 1, ()),
        (b"From: ann@b.test (" + b"x" * MOST_FROM_BYTES + b")", 1, ()),
        (b"To: ann@b.test", 0, ()),
    ],
)
def test_the_authors_of_a_header(header: bytes, fields: int, domains: tuple[str, ...]) -> None:
    assert authors_of(parse(header)) == (fields, domains)
