"""The hash of a body: the same as an independent implementation's, whatever the pieces it is made from."""

import hashlib
import itertools

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import example, given
from hypothesis import strategies as st

from jetpost.sign.body_hash import BodyHash
from jetpost.sign.canonical import relaxed_field

TEXTS = st.lists(st.sampled_from([b"\r\n", b"\r\n", b" ", b"\t", b" \r\n", b".", b"a", b"\xc3\xa4", b"\0", b"  "]))
BODIES = TEXTS.map(b"".join)
HEADER = b"From: ann@example.org\r\nSubject: x\r\n\r\n"
EMPTY = hashlib.sha256(b"").digest()


def body_hash(content: bytes, cuts: list[int] | None = None) -> bytes:
    """The hash of a content that is observed in pieces."""
    places = [0, *sorted(min(cut, len(content)) for cut in cuts or []), len(content)]
    hashing = BodyHash()
    for start, end in itertools.pairwise(places):
        hashing.observe(content[start:end])
    return hashing.digest()


def canonical(body: bytes) -> bytes:
    """What dkimpy hashes of a body as it goes out: with a CRLF at its end."""
    found: bytes = Relaxed.canonicalize_body(body if body.endswith(b"\r\n") else body + b"\r\n")
    return found


@given(BODIES)
@example(b"\r\n \t\r\n")
@example(b"no end of line")
@example(b"a \t")
@example(b"a" + b"\r\n" * 100)
@example(b"\r\n" * 100 + b"a")
def test_it_is_what_another_implementation_makes(body: bytes) -> None:
    assert body_hash(HEADER + body) == hashlib.sha256(canonical(body)).digest()


@given(BODIES, st.lists(st.integers(0, 100), max_size=12))
def test_the_pieces_make_no_difference(body: bytes, cuts: list[int]) -> None:
    assert body_hash(HEADER + body, cuts) == body_hash(HEADER + body)


@given(BODIES)
def test_every_border_of_two_pieces_makes_no_difference(body: bytes) -> None:
    content = HEADER + body

    assert {body_hash(content, [cut]) for cut in range(len(content))} <= {body_hash(content)}
    assert body_hash(content, list(range(len(content)))) == body_hash(content)


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=12))
def test_no_content_breaks_it(content: bytes, cuts: list[int]) -> None:
    assert len(body_hash(content, cuts)) == 32


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"From: a",
        b"From: a\r\n",
        b"From: a\r\n\r\n",
        b"From: a\r\n\r\n\r\n\r\n",
        b"From: a\r\n\r\n \t\r\n \r\n",
        b"\r\n",
        b"\r\n\r\n",
    ],
)
def test_nothing_is_the_hash_of_nothing(content: bytes) -> None:
    assert body_hash(content) == EMPTY


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b"\r\nx", b"x\r\n"),
        (b"From: a\r\n\r\nx", b"x\r\n"),
        (b"From: a\r\n\r\n\r\nx\r\n\r\n", b"\r\nx\r\n"),
        (b"From: a\r\n\r\n.\r\n..\r\n", b".\r\n..\r\n"),
        (b"From: a\r\n\r\n C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),  # RFC 6376, 3.4.5
    ],
)
def test_a_body(content: bytes, body: bytes) -> None:
    assert body_hash(content) == hashlib.sha256(body).digest()


def test_it_keeps_nothing_of_a_long_run() -> None:
    """Of white space, and of empty lines that may be the last ones."""
    hashing = BodyHash()
    hashing.observe(HEADER)
    for piece in (b" " * 100_000, b"\t" * 100_000, b"\r\n" * 100_000, b"x" * 100_000):
        for _ in range(3):
            hashing.observe(piece)
            assert len(hashing._held) <= 2


NAMES = st.sampled_from([b"Subject", b"suBJect", b"X"])
VALUES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b":", b"\xc3\xa4"])).map(b"".join)


@given(NAMES, VALUES)
@example(b"Subject", b"\r\n\t x")
@example(b"Subject", b"")
def test_a_field_is_what_another_implementation_makes(name: bytes, value: bytes) -> None:
    ((other_name, other_value),) = Relaxed.canonicalize_headers([(name, value + b"\r\n")])

    assert relaxed_field(name.lower(), value) + b"\r\n" == other_name + b":" + other_value
