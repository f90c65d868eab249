"""What the answers of token issuers mean, also those that no issuer should give."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.connect.auth.oauth.answer import Failed, Granted, Refused, understood

SECRET = "s3cret/+ value"


def said(status: int = 200, **fields: Any) -> Granted | Refused | Failed:
    return understood(status, json.dumps(fields).encode(), (SECRET,))


def granted(**fields: Any) -> Granted | Refused | Failed:
    return said(access_token="abc", token_type="Bearer", **fields)


@pytest.mark.parametrize(
    ("expires_in", "life_s"),
    [
        (3600, 3600),
        ("3599", 3599),  # Microsoft's first version of its endpoint
        (3599.5, 3599.5),
        (None, 600),
        (True, 600),
        ("soon", 600),
        ([], 600),
        ({}, 600),
        ("nan", 600),
        ("", 600),
        (10**400, 600),
        ("inf", 86_400),
        (10**12, 86_400),
    ],
)
def test_a_token_lives_as_long_as_is_said_within_bounds(expires_in: Any, life_s: float) -> None:
    assert granted(expires_in=expires_in) == Granted("abc", life_s)


def test_without_an_end_a_token_lives_ten_minutes() -> None:
    assert granted() == Granted("abc", 600)


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER"])
def test_a_bearer_token_is_one_however_it_is_written(kind: str) -> None:
    assert said(access_token="abc", token_type=kind, expires_in=1) == Granted("abc", 1)


@pytest.mark.parametrize(("again", "kept"), [("r2", "r2"), ("", ""), (None, ""), (5, ""), ("a\nb", ""), ({}, "")])
def test_another_refresh_token_is_taken_if_it_is_one(again: Any, kept: str) -> None:
    assert granted(expires_in=60, refresh_token=again) == Granted("abc", 60, kept)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said(), "without an access token that can be used"),
        (said(access_token=""), "without an access token"),
        (said(access_token=5), "without an access token"),
        (said(access_token=None), "without an access token"),
        (said(access_token=["a"]), "without an access token"),
        (said(access_token="a b"), "without an access token"),
        (said(access_token="a\1auth=b"), "without an access token"),
        (said(access_token="a\r\nMAIL FROM:<>"), "without an access token"),
        (said(access_token="ä"), "without an access token"),
        (said(access_token="a" * 20_000), "without an access token"),
        (said(access_token="abc", token_type="mac"), "no bearer token"),
        (said(access_token="abc", token_type=None), "no bearer token"),
        (granted(expires_in=0), "has expired"),
        (granted(expires_in=-5), "has expired"),
        (granted(expires_in="-inf"), "has expired"),
        (understood(200, b""), "replied 200 without a JSON object"),
        (understood(200, b"access_token=abc&expires=5"), "without a JSON object"),
        (understood(200, b"[1]"), "without a JSON object"),
        (understood(200, b"\xff\xfe{"), "without a JSON object"),
        (understood(200, b"[" * 60_000), "without a JSON object"),
        (understood(302, b""), "replied 302 without a token"),
        (understood(404, b"<html>"), "replied 404 without a token"),
        (understood(400, b"<html>"), "replied 400 without a token"),
        (said(400), "replied 400 without a token"),
        (said(200, error=5), "replied 200 without a token"),
        (said(400, error=5), "replied 400 without a token"),
        (said(400, error=""), "replied 400 without a token"),
        (said(429, error="too_many", error_description="slow down"), "replied 429 too_many: slow down"),
        (said(503, error="temporarily_unavailable"), "replied 503 temporarily_unavailable"),
        (said(400, error="temporarily_unavailable"), "replied 400 temporarily_unavailable"),
        (said(500, error="invalid_client"), "replied 500 invalid_client"),
    ],
)
def test_what_says_nothing_about_the_credentials_is_a_failure_of_the_issuer(answer: Any, why: str) -> None:
    assert isinstance(answer, Failed)
    assert why in answer.why


@pytest.mark.parametrize("status", [200, 400, 401, 403])
@pytest.mark.parametrize(
    "error",
    [
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "unauthorized_client",
        "invalid_request",
        "interaction_required",
    ],
)
def test_an_error_about_the_credentials_refuses_them(status: int, error: str) -> None:
    assert said(status, error=error, error_description="AADSTS1: no\r\n\tTrace: 5\0") == Refused(
        f"replied {status} {error}: AADSTS1: no Trace: 5?"
    )


@pytest.mark.parametrize("quoted", [SECRET, "s3cret%2F%2B%20value", "s3cret%2F%2B+value"])
def test_what_an_issuer_quotes_of_a_secret_is_left_out(quoted: str) -> None:
    told = said(401, error=f"invalid_client {quoted}", error_description=f"{quoted} is no secret of {quoted}")
    assert told == Refused("replied 401 invalid_client ***: *** is no secret of ***")


def test_what_an_issuer_says_is_told_within_bounds() -> None:
    told = said(400, error="e" * 10_000, error_description="d" * 10_000)
    assert isinstance(told, Refused)
    assert len(told.why) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(["access_token", "token_type", "expires_in", "refresh_token", "error", "error_description"]), JSON
)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=200)
    | JSON.map(lambda it: json.dumps(it).encode())
    | FIELDS.map(lambda it: json.dumps(it).encode()),
)
def test_every_answer_has_a_meaning(status: int, body: bytes) -> None:
    match understood(status, body):
        case Granted(token=token, life_s=life_s):
            assert status == 200
            assert token.isascii()
            assert token.isprintable()
            assert " " not in token
            assert 0 < life_s <= 86_400
        case Refused(why=why) | Failed(why=why):
            assert status != 200 or "replied" in why
            assert why.isascii()
            assert why.isprintable()


def test_no_token_is_shown_by_a_repr() -> None:
    assert "abc" not in repr(Granted("abc", 5, "abcd"))
