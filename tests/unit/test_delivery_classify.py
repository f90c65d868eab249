"""What an unwelcome answer means: each cell of the table, and what goes beyond it."""

import pytest

from delivery.classify.phases import RULES, ConnectionBroke, Phase, Scope, Step, classify, outcome
from jetpost.mail.outcome import Bounced, Deferred
from jetpost.mail.reply import EnhancedStatus, Reply

BROKE = ConnectionBroke("reset")


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_follows_its_row(phase: Phase) -> None:
    rule = RULES[phase]
    assert classify(phase, Reply(451)) == (rule.scope, rule.on_4yz)
    assert classify(phase, Reply(550)) == (rule.scope, rule.on_5yz)
    assert classify(phase, BROKE) == (rule.scope, rule.on_break)


@pytest.mark.parametrize(
    ("phase", "answer", "scope", "step"),
    [
        (Phase.GREETING, Reply(554), Scope.HOST, Step.NEXT_HOST),
        (Phase.MAIL, Reply(530), Scope.MESSAGE, Step.NEXT_HOST),
        (Phase.RCPT, Reply(530), Scope.RECIPIENT, Step.DEFER),
        (Phase.DATA, Reply(530), Scope.MESSAGE, Step.DEFER),
        (Phase.END_OF_DATA, Reply(530), Scope.MESSAGE, Step.BOUNCE),
        (Phase.AUTH, Reply(535), Scope.HOST, Step.NEXT_HOST),
        (Phase.RCPT, Reply(550), Scope.RECIPIENT, Step.BOUNCE),
        (Phase.RCPT, Reply(421), Scope.HOST, Step.NEXT_HOST),
        (Phase.RCPT, Reply(552), Scope.RECIPIENT, Step.DEFER),
        (Phase.MAIL, Reply(451), Scope.MESSAGE, Step.NEXT_HOST),
        (Phase.DATA, BROKE, Scope.MESSAGE, Step.NEXT_HOST),
        (Phase.END_OF_DATA, Reply(554), Scope.MESSAGE, Step.BOUNCE),
        (Phase.END_OF_DATA, Reply(421), Scope.HOST, Step.DEFER),
        (Phase.END_OF_DATA, BROKE, Scope.MESSAGE, Step.DEFER),  # no second host: it may have the message
        (Phase.END_OF_DATA, Reply(354), Scope.MESSAGE, Step.DEFER),  # makes no sense here
    ],
)
def test_what_an_unwelcome_answer_means(
    phase: Phase, answer: Reply | ConnectionBroke, scope: Scope, step: Step
) -> None:
    assert classify(phase, answer) == (scope, step)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("answer", [Reply(451), Reply(550), Reply(421), BROKE])
def test_only_a_bounce_is_final(phase: Phase, answer: Reply | ConnectionBroke) -> None:
    settled = outcome(phase, answer, "mx.dest.test")
    _, step = classify(phase, answer)
    assert isinstance(settled, Bounced if step is Step.BOUNCE else Deferred)
    assert settled.status.klass == (5 if step is Step.BOUNCE else 4)
    assert settled.host == "mx.dest.test"


def test_the_hosts_own_status_is_kept_and_a_missing_one_is_general() -> None:
    told = Reply(550, EnhancedStatus(5, 1, 1), ("no such user",))
    assert outcome(Phase.RCPT, told, "mx").status == EnhancedStatus(5, 1, 1)
    assert outcome(Phase.RCPT, Reply(550, None, ("no",)), "mx").status == EnhancedStatus(5, 0, 0)


@pytest.mark.parametrize(
    ("phase", "status"), [(Phase.CONNECT, "4.4.1"), (Phase.STARTTLS, "4.7.5"), (Phase.MAIL, "4.4.2")]
)
def test_a_connection_that_broke_has_a_status_that_says_where(phase: Phase, status: str) -> None:
    assert str(outcome(phase, BROKE, "mx").status) == status
