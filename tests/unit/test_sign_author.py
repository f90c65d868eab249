"""The author's domain: of whatever may stand in a From field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.sign.author import author_domain


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
        (" ann@b.test, z@other.test", "b.test"),
        (" Us: ann@b.test, z@other.test;", "b.test"),
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
    ],
)
def test_the_authors_domain(value: str, domain: str) -> None:
    assert author_domain(value.encode()) == domain


PARTS = st.sampled_from(["(", ")", "<", ">", '"', "\\", ",", ";", ":", "@", "a", "b.test", " ", "\r\n ", "é", "[", "]"])


@given(st.one_of(st.lists(PARTS).map(lambda parts: "".join(parts).encode()), st.binary()))
def test_no_field_breaks_it(value: bytes) -> None:
    assert not set(author_domain(value)) & set(" \r\n\t<>@;=")
