"""Which checks run when: in order, the first objection counts, and only what looks takes time."""

import asyncio
from typing import Any

import pytest

from ingress.policy.limits import Limits
from ingress.policy.request import ListenerPolicy, PolicyRequest
from ingress.policy.verdict import Refuse, Verdict
from ingress.session.session import Session
from ingress.stages import STAGES, Checks, Looking
from jetpost.mail.reply import EnhancedStatus, Reply

ASKED = PolicyRequest(ListenerPolicy(), Limits(), Session("192.0.2.1"))
FIRST, SECOND = (Refuse(Reply(550, EnhancedStatus(5, 7, 1), (text,)), text) for text in ("first", "second"))


def objects(refusal: Refuse) -> Any:
    return lambda _: refusal


def agrees(_: PolicyRequest) -> Verdict:
    return None


async def look(asked: PolicyRequest) -> str:
    await asyncio.sleep(0)
    return asked.session.client_address


def lists(refusal: Refuse) -> Looking[PolicyRequest]:
    """A check that objects to the client that was found."""
    return Looking(look, lambda asked, found: refusal if found == asked.session.client_address else None)


def unlisted(_: PolicyRequest, found: str) -> Verdict:
    return FIRST if found == "" else None


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ((), None),
        ((agrees,), None),
        ((agrees, objects(FIRST), objects(SECOND)), FIRST),
        ((Looking(look, unlisted),), None),
        ((lists(FIRST), objects(SECOND)), FIRST),
        ((objects(FIRST), lists(SECOND)), FIRST),
        ((agrees, Looking(look, unlisted), objects(SECOND)), SECOND),
    ],
)
async def test_the_first_objection_counts(checks: tuple[Any, ...], verdict: Verdict) -> None:
    assert await Checks[PolicyRequest](*checks).verdict(ASKED) == verdict


async def test_nobody_looks_after_an_objection() -> None:
    looked: list[str] = []

    async def note(asked: PolicyRequest) -> None:
        looked.append(asked.session.client_address)

    checks = Checks[PolicyRequest](objects(FIRST), Looking(note, lambda *_: None))

    assert (await checks.verdict(ASKED), looked) == (FIRST, [])


@pytest.mark.parametrize("stage", [STAGES.connect, STAGES.helo, STAGES.mail, STAGES.rcpt, STAGES.content])
def test_no_stage_waits_while_no_check_looks(stage: Checks[Any]) -> None:
    assert not stage.looks
