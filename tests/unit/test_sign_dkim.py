"""Signatures of messages, verified by an independent implementation."""

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.header import MOST_FIELDS, MOST_HEADER_BYTES, HeaderLine, parse, text_of
from jetpost.sign.author import author_domain
from jetpost.sign.canonical import relaxed_field
from jetpost.sign.dkim import NO_AUTHOR, NO_KEY, TOO_MANY_FIELDS, Unsigned, signable_of, signatures
from jetpost.sign.keys import KeyRing, SigningKey
from tests.fixtures.dkim import records, signing_keys, verdicts
from tests.fixtures.searched import at_most

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
KEYS = signing_keys()
PUBLISHED = records(*KEYS)
ADDED = (
    HeaderLine("Received", "from x ([127.0.0.1])\r\n\tby y with ESMTP\r\n\tid z; Fri, 27 Nov 2026 12:00:00 +0000"),
    HeaderLine("Date", "Fri, 27 Nov 2026 12:00:00 +0000"),
    HeaderLine("Message-ID", "<z@y>"),
)
LETTER = b"From: Ann <ann@example.org>\r\nTo: bob@b.test\r\nSubject: A letter\r\n\r\nA line.\r\n"


def signed(content: bytes, added: tuple[HeaderLine, ...] = ()) -> bytes:
    """The message as it goes out."""
    made = signatures(signable_of(content), added, KeyRing(KEYS), NOW)
    assert not isinstance(made, Unsigned), made
    return text_of((*made, *added)).encode() + content


@pytest.mark.parametrize(
    "content",
    [
        LETTER,
        b"from: ann@example.org\r\n\r\n",
        b"from: ann@example.org\r\n\r\n\r\n\r\n",
        b"from: ann@example.org\r\n",
        LETTER + b"\r\n\r\n\r\n",
        LETTER + b".\r\n..\r\n.\r\n",
        LETTER + b" trailing \t \r\n\t\r\n \r\n",
        LETTER + b"\xff\x80 8-bit\r\n",
        LETTER + b"x" * 7000 + b"\r\n",
        "From: Änn <änn@example.org>\r\nSubject: Grüße an  alle\r\n\r\nÄ\r\n".encode(),
        b"From:\r\n\tAnn\r\n <ann@example.org>\r\nSubject:\r\n\t folded right after the colon \r\n\r\nx\r\n",
        b"From:ann@example.org\r\nSubject:\r\nTo:bob@b.test\r\n\r\nx\r\n",
        b"From: ann@example.org\r\nTo: a@b.test\r\nTo: c@b.test\r\nSubject: x\r\nSubject: y\r\n\r\nx\r\n",
    ],
)
def test_both_signatures_verify(content: bytes) -> None:
    assert verdicts(signed(content), PUBLISHED) == [True, True]
    assert verdicts(signed(content, ADDED), PUBLISHED) == [True, True]


NAMES = st.sampled_from(["To", "Subject", "CC", "X-Other", "List-Id", "Received", "References", "Content-Type"])
WORDS = st.sampled_from(["a", " ", "\t", "\r\n ", "\r\n\t", ":", ";", "é", "=?utf-8?q?x?="])
FIELDS = st.tuples(NAMES, st.lists(WORDS).map("".join)).map(lambda field: f"{field[0]}: x{field[1]}x\r\n")
LINES = st.lists(st.sampled_from(["a", " ", "\t", ".", "é", "\r\n"])).map("".join)


@at_most(100)
@given(st.lists(FIELDS, max_size=8).map("".join), LINES)
def test_whatever_the_message_both_signatures_verify(fields: str, body: str) -> None:
    content = f"{fields}From: ann@example.org\r\n\r\n{body}\r\n".encode()

    assert verdicts(signed(content, ADDED), PUBLISHED) == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message + b"more\r\n",
        lambda message: message.replace(b"A line", b"Another line"),
        lambda message: message.replace(b"Subject: A letter", b"Subject: A changed letter"),
        lambda message: b"Subject: On top\r\n" + message,
        lambda message: b"From: mallory@b.test\r\n" + message,
        lambda message: b"Reply-To: mallory@b.test\r\n" + message,
        lambda message: b"Content-Type: text/html\r\n" + message,
        lambda message: message.replace(b"Date:", b"X-Date:"),
    ],
)
def test_a_change_breaks_both(change: Callable[[bytes], bytes]) -> None:
    assert verdicts(change(signed(LETTER, ADDED)), PUBLISHED) == [False, False]


@pytest.mark.parametrize(
    "above", [b"Received: from a by b; now\r\n", b"Return-Path: <x@y.test>\r\n", b"X-Spam: no\r\n"]
)
def test_what_hosts_on_the_way_put_above_breaks_neither(above: bytes) -> None:
    assert verdicts(above + signed(LETTER, ADDED), PUBLISHED) == [True, True]


def test_a_mailing_list_may_name_itself_unless_the_message_does() -> None:
    assert verdicts(b"List-Id: <l.b.test>\r\n" + signed(LETTER), PUBLISHED) == [True, True]
    letter = b"List-Unsubscribe: <https://example.org/u>\r\n" + LETTER
    assert verdicts(b"List-Unsubscribe: <https://b.test>\r\n" + signed(letter), PUBLISHED) == [False, False]


def tags(field: str) -> dict[str, str]:
    return {name.strip(): "".join(text.split()) for name, _, text in (it.partition("=") for it in field.split(";"))}


def test_the_tags() -> None:
    made = signatures(signable_of(LETTER), ADDED, KeyRing(KEYS), NOW)
    assert not isinstance(made, Unsigned)
    rsa, ed25519 = (tags(line.value) for line in made)

    assert (rsa["a"], rsa["s"], ed25519["a"], ed25519["s"]) == ("rsa-sha256", "r", "ed25519-sha256", "e")
    assert (rsa["v"], rsa["c"], rsa["d"]) == ("1", "relaxed/relaxed", "example.org")
    assert rsa["t"] == str(int(NOW.timestamp()))
    assert set(rsa) == {"v", "a", "c", "d", "s", "t", "bh", "h", "b"}  # no `l=`: what is appended is not signed
    names = rsa["h"].split(":")
    present = {"from", "to", "subject", "date", "message-id"}
    absent = {"cc", "reply-to", "mime-version", "content-type", "content-transfer-encoding"}
    assert {name: names.count(name) for name in names} == dict.fromkeys(present, 2) | dict.fromkeys(absent, 1)
    assert all(len(part) <= 78 for line in made for part in f"{line.name}: {line.value}".split("\r\n"))


def test_a_field_is_signed_only_once_it_is_there() -> None:
    letter = (
        b"List-Unsubscribe: <https://example.org/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + LETTER
    )
    made = signatures(signable_of(letter), (), KeyRing(KEYS), NOW)
    assert not isinstance(made, Unsigned)
    names = tags(made[0].value)["h"].split(":")

    assert names.count("list-unsubscribe") == names.count("list-unsubscribe-post") == 2  # RFC 8058, 4
    assert not {"received", "return-path", "bcc", "dkim-signature", "list-id"} & set(names)


def test_equal_messages_have_equal_signatures() -> None:
    assert signed(LETTER) == signed(LETTER)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Subject: x\r\n\r\nx\r\n", NO_AUTHOR),
        (b"From: a@example.org\r\nFrom: b@example.org\r\n\r\nx\r\n", NO_AUTHOR),
        (b"From: a@b.test\r\n\r\nx\r\n", NO_KEY),
        (b"From: nobody\r\n\r\nx\r\n", NO_AUTHOR),
        (b"From:\r\n\r\nx\r\n", NO_AUTHOR),
        (b"From: a@example.org, b@b.test\r\n\r\nx\r\n", NO_AUTHOR),
        (b"From: a@example.org\r\nfrom : b@b.test\r\n\r\nx\r\n", NO_AUTHOR),
        (b"X: y\r\n From: a@example.org\r\n\r\nx\r\n", NO_AUTHOR),
        (b"Resent-From: a@example.org\r\n\r\nx\r\n", NO_AUTHOR),
        (b"Subject: x\r\n\r\nFrom: a@example.org\r\n", NO_AUTHOR),
        (b"X: y\r\n" * MOST_FIELDS + b"From: a@example.org\r\n\r\nx\r\n", TOO_MANY_FIELDS),
        (b"From: a@example.org\r\n" + b"To: b@b.test\r\n" * 200 + b"\r\nx\r\n", TOO_MANY_FIELDS),
        (b"From: a@example.org\r\nX: " + b"y" * MOST_HEADER_BYTES + b"\r\n\r\nx\r\n", TOO_MANY_FIELDS),
    ],
)
def test_what_cannot_be_signed_says_why(content: bytes, why: Unsigned) -> None:
    assert signatures(signable_of(content), (), KeyRing(KEYS), NOW) == why


ODD = st.sampled_from(
    ["a@b.test", "c@example.org", "<", ">", "(", ")", '"', "\\", ",", ";", ":", "@", " ", "\r\n ", "é", "q"]
)


@given(st.lists(ODD).map("".join))
def test_a_default_key_signs_for_no_message_without_one_author(value: str) -> None:
    """And no field breaks it: there are signatures, or a reason."""
    content = f"From: {value}\r\n\r\nx\r\n".encode()
    made = signatures(signable_of(content), (), KeyRing(KEYS, "example.org"), NOW)

    assert isinstance(made, Unsigned) == (author_domain(f" {value}".encode()) == "")
    if isinstance(made, Unsigned):
        assert made is NO_AUTHOR


def test_the_example_of_rfc_8463() -> None:
    """Appendix A: its signature is made from its hashed fields by its key."""
    letter = (
        b"From: Joe SixPack <joe@football.example.com>\r\n"
        b"To: Suzie Q <suzie@shopping.example.net>\r\n"
        b"Subject: Is dinner ready?\r\n"
        b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
        b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
        b"\r\n"
        b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    )
    field = (
        b" v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
        b" d=football.example.com; i=@football.example.com;\r\n"
        b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
        b" subject : date : message-id : from : subject : date;\r\n"
        b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        b" b="
    )
    message = signable_of(letter)
    hashed = hashlib.sha256()
    for name, text in zip(*parse(letter.partition(b"\r\n\r\n")[0]), strict=True):
        hashed.update(relaxed_field(name, text.partition(b":")[2]) + b"\r\n")
    hashed.update(relaxed_field(b"dkim-signature", field))
    secret = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = SigningKey("football.example.com", "brisbane", Ed25519PrivateKey.from_private_bytes(secret))

    assert base64.b64encode(message.body_hash) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    assert base64.b64encode(key.sign(hashed.digest())) == (
        b"/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
    )
