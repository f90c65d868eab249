"""AUTH PLAIN and LOGIN."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.auth.identity import Finding, Identity, Unavailable, Unknown, Wrong
from ingress.auth.mechanisms import CANCELLED, MECHANISMS, Credentials
from ingress.auth.users_file import Remembered
from jetpost.mail.reply import Reply


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


KNOWN = Identity("ann")


def exchanged(mechanism: str, initial: str, responses: Sequence[str], finding: Finding = KNOWN) -> Any:
    """What was asked of the backends, if anything, and what it came to."""
    exchange, asked, left = MECHANISMS[mechanism](initial), None, list(responses)
    try:
        step = next(exchange)
        while True:
            if isinstance(step, Credentials):
                asked = step
                step = exchange.send(finding)
            else:
                step = exchange.send(left.pop(0))
    except StopIteration as ended:
        return asked, ended.value


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
    assert exchanged(mechanism, initial, responses) == (Credentials("ann", "a secret"), KNOWN)


@pytest.mark.parametrize("finding", [KNOWN, Unknown(), Wrong(), Unavailable("the directory is away")])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_the_backends_find_is_what_it_comes_to(mechanism: str, finding: Finding) -> None:
    responses = [encoded("\0ann\0x")] if mechanism == "PLAIN" else [encoded("ann"), encoded("x")]
    assert exchanged(mechanism, "", responses, finding) == (Credentials("ann", "x"), finding)


@pytest.mark.parametrize(
    ("mechanism", "initial", "responses", "code"),
    [
        ("PLAIN", "", ["*"], CANCELLED.code),
        ("LOGIN", "", [encoded("ann"), "*"], CANCELLED.code),
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
    asked, refusal = exchanged(mechanism, initial, responses)
    assert asked is None
    assert isinstance(refusal, Reply)
    assert refusal.code == code


def test_nobody_acts_as_another() -> None:
    assert exchanged("PLAIN", encoded("bob\0ann\0a secret"), []) == (None, Wrong())


@given(
    st.sampled_from(sorted(MECHANISMS)), st.text(max_size=40), st.lists(st.text(max_size=40), min_size=2, max_size=2)
)
def test_any_responses_are_credentials_or_a_refusal(mechanism: str, initial: str, responses: list[str]) -> None:
    asked, result = exchanged(mechanism, initial, responses)
    assert result is KNOWN if asked else isinstance(result, Wrong) or result.is_permanent


def test_credentials_are_remembered_for_a_while_and_only_as_they_were() -> None:
    now = [100.0]
    remembered = Remembered(60, lambda: now[0])
    remembered.add(Credentials("ann", "a secret"))

    assert remembered.knows(Credentials("ann", "a secret"))
    assert not remembered.knows(Credentials("ann", "a secre"))
    assert not remembered.knows(Credentials("anna", " secret"))
    now[0] += 60
    assert not remembered.knows(Credentials("ann", "a secret"))
