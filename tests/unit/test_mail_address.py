"""Paths as SMTP writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.address import Path, a_labels, domain_of, path


@pytest.mark.parametrize(
    ("text", "address", "domain"),
    [
        ("<>", "", ""),
        ("<ann@home.test>", "ann@home.test", "home.test"),
        ("<Ann.B@Home.TEST>", "Ann.B@Home.TEST", "home.test"),
        ("<postmaster>", "postmaster", ""),
        ("<PostMaster>", "PostMaster", ""),
        ("<@a.test,@b.test:ann@home.test>", "ann@home.test", "home.test"),
        ('<"a b"@home.test>', '"a b"@home.test', "home.test"),
        ('<"a>b@c"@home.test>', '"a>b@c"@home.test', "home.test"),
        (r'<"a\"b"@home.test>', r'"a\"b"@home.test', "home.test"),
        ("<ann+tag@home.test>", "ann+tag@home.test", "home.test"),
        ("<ann@[192.0.2.1]>", "ann@[192.0.2.1]", "[192.0.2.1]"),
        ("<jürgen@grün.test>", "jürgen@grün.test", "xn--grn-ioa.test"),
        ("<ann@under_score.test>", "ann@under_score.test", "under_score.test"),
        (f"<{'a' * 100}@home.test>", f"{'a' * 100}@home.test", "home.test"),
    ],
)
def test_a_path_is_read(text: str, address: str, domain: str) -> None:
    assert path(text) == (Path(address, domain), "")


def test_what_follows_a_path_is_left() -> None:
    assert path("<ann@home.test> SIZE=1") == (Path("ann@home.test", "home.test"), " SIZE=1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann@home.test",
        "<ann>",
        "<@home.test>",
        "<ann@>",
        "<ann@home..test>",
        "<ann@-home.test>",
        "<.ann@home.test>",
        "<a..b@home.test>",
        "<a b@home.test>",
        "<a\tb@home.test>",
        "<ann@home.test",
        "<ann@[192.0.2.1>",
        "<dest.test!victim>",
        "<ann@home@home.test>",
        "<ann@ho me.test>",
        f"<{'a' * 250}@home.test>",
        f"<ann@{'a' * 64}.test>",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    assert path(text) is None


@given(st.text(max_size=80))
def test_any_text_is_a_path_or_none(text: str) -> None:
    found = path(f"<{text}>")
    if found is not None:
        assert not set(found[0].address) & set("\r\n\0")
        assert domain_of(found[0].address) == found[0].domain


@pytest.mark.parametrize(
    ("domain", "labels"),
    [
        ("Home.Test", "home.test"),
        ("GRÜN.test", "xn--grn-ioa.test"),
        ("", None),
        ("a..b", None),
        ("a." * 127 + "b", None),
    ],
)
def test_a_domain_becomes_a_labels(domain: str, labels: str | None) -> None:
    assert a_labels(domain) == labels
