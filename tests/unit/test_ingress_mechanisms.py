"""AUTH PLAIN and LOGIN."""

import base64
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.auth.mechanisms import CANCELLED, MECHANISMS, WRONG, Credentials
from ingress.auth.users_file import Remembered
from jetpost.mail.reply import Reply


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def outcome(mechanism: str, initial: str, responses: Sequence[str]) -> Credentials | Reply:
    exchange = MECHANISMS[mechanism](initial)
    try:
        next(exchange)
        for response in responses:
            exchange.send(response)
    except StopIteration as ended:
        result: Credentials | Reply = ended.value
        return result
    raise AssertionError("the exchange has not ended")


@pytest.mark.parametrize(
    ("mechanism", "initial", "responses"),
    [
        ("PLAIN", encoded("\0ann\0a secret"), []),
        ("PLAIN", encoded("ann\0ann\0a secret"), []),
        ("PLAIN", "", [encoded("\0ann\0a secret")]),
        ("LOGIN", "", [encoded("ann"), encoded("a secret")]),
        ("LOGIN", encoded("ann"), [encoded("a secret")]),
    ],
)
def test_credentials_are_understood(mechanism: str, initial: str, responses: Sequence[str]) -> None:
    assert outcome(mechanism, initial, responses) == Credentials("ann", "a secret")


@pytest.mark.parametrize(
    ("mechanism", "initial", "responses", "code"),
    [
        ("PLAIN", "", ["*"], CANCELLED.code),
        ("LOGIN", "", [encoded("ann"), "*"], CANCELLED.code),
        ("PLAIN", encoded("bob\0ann\0a secret"), [], WRONG.code),
        ("PLAIN", "=", [], 501),
        ("PLAIN", "not base64!", [], 501),
        ("PLAIN", encoded("ann a secret"), [], 501),
        ("PLAIN", encoded("\0\0a secret"), [], 501),
        ("PLAIN", "", ["="], 501),
        ("PLAIN", "", [""], 501),
        ("PLAIN", encoded("\0ann\0a secret") + " ", [], 501),
        ("PLAIN", encoded("\0ann\0a secret").rstrip("="), [], 501),
        ("LOGIN", "=", ["="], 501),
        ("LOGIN", "", ["%"], 501),
        ("PLAIN", base64.b64encode(b"\0\xff\0\xfe").decode(), [], 501),
    ],
)
def test_nonsense_is_refused(mechanism: str, initial: str, responses: Sequence[str], code: int) -> None:
    refusal = outcome(mechanism, initial, responses)
    assert isinstance(refusal, Reply)
    assert refusal.code == code


@given(
    st.sampled_from(sorted(MECHANISMS)), st.text(max_size=40), st.lists(st.text(max_size=40), min_size=2, max_size=2)
)
def test_any_responses_are_credentials_or_a_refusal(mechanism: str, initial: str, responses: list[str]) -> None:
    result = outcome(mechanism, initial, responses)
    assert isinstance(result, Credentials) or result.is_permanent


def test_credentials_are_remembered_for_a_while_and_only_as_they_were() -> None:
    now = [100.0]
    remembered = Remembered(60, lambda: now[0])
    remembered.add(Credentials("ann", "a secret"))

    assert remembered.knows(Credentials("ann", "a secret"))
    assert not remembered.knows(Credentials("ann", "a secre"))
    assert not remembered.knows(Credentials("anna", " secret"))
    now[0] += 60
    assert not remembered.knows(Credentials("ann", "a secret"))
