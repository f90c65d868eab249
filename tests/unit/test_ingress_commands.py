"""What may follow what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.session.commands import COMMANDS, advance
from ingress.session.phase import Phase
from jetpost.mail.reply import Reply

P = Phase


@pytest.mark.parametrize(("phase", "verb"), [(phase, verb) for verb, it in COMMANDS.items() for phase in it.phases])
def test_what_the_table_allows_is_allowed(phase: Phase, verb: str) -> None:
    assert advance(phase, verb) is COMMANDS[verb].phases[phase]


@pytest.mark.parametrize(
    ("phase", "verb", "code", "status"),
    [
        (P.CONNECTED, "MAIL", 503, "5.5.1"),
        (P.CONNECTED, "STARTTLS", 503, "5.5.1"),
        (P.CONNECTED, "AUTH", 503, "5.5.1"),
        (P.IDENTIFIED, "RCPT", 503, "5.5.1"),
        (P.IDENTIFIED, "DATA", 503, "5.5.1"),
        (P.SENDER, "DATA", 554, "5.5.1"),
        (P.SENDER, "MAIL", 503, "5.5.1"),
        (P.RECIPIENTS, "AUTH", 503, "5.5.1"),
        (P.RECIPIENTS, "STARTTLS", 503, "5.5.1"),
        (P.IDENTIFIED, "BDAT", 500, "5.5.2"),
        (P.CLOSED, "NOOP", 503, "5.5.1"),
    ],
)
def test_what_is_out_of_place_is_refused(phase: Phase, verb: str, code: int, status: str) -> None:
    refusal = advance(phase, verb)
    assert isinstance(refusal, Reply)
    assert (refusal.code, str(refusal.status)) == (code, status)


def test_starttls_forgets_everything() -> None:
    assert advance(P.IDENTIFIED, "STARTTLS") is P.CONNECTED


@given(st.lists(st.sampled_from(sorted(COMMANDS))))
def test_no_way_leads_to_data_but_through_mail_and_rcpt(verbs: list[str]) -> None:
    phase, accepted = P.CONNECTED, list[str]()
    for verb in verbs:
        following = advance(phase, verb)
        if isinstance(following, Phase):
            phase = following
            accepted.append(verb)
            if verb == "DATA":
                steps = [step for step in accepted if step in {"EHLO", "HELO", "RSET", "STARTTLS", "MAIL", "RCPT"}]
                last = len(steps) - 1 - steps[::-1].index("MAIL")
                assert set(steps[last + 1 :]) == {"RCPT"}
                accepted.clear()
                accepted.append("RSET")
