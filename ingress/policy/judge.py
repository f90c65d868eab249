"""The policies in order. The first objection counts; adding a policy is a file and a line here."""

from collections.abc import Callable

from ingress.content.facts import Facts
from ingress.policy import content, relay, sender, size
from ingress.policy.limits import Limits
from ingress.policy.verdict import Asked, Verdict

MAIL_POLICIES: tuple[Callable[[Asked], Verdict], ...] = (sender.protected, sender.authenticated, size.declared_size)
RCPT_POLICIES: tuple[Callable[[Asked], Verdict], ...] = (relay.no_literal, relay.permitted, size.recipients)
CONTENT_POLICIES: tuple[Callable[[Facts, Limits], Verdict], ...] = (
    content.small_enough,
    content.strict_lines,
    content.no_nul,
    content.short_lines,
    content.no_loop,
)


def judge(asked: Asked) -> Verdict:
    """The first objection to this MAIL, or to this RCPT."""
    policies = MAIL_POLICIES if asked.destination is None else RCPT_POLICIES
    for policy in policies:
        if (verdict := policy(asked)) is not None:
            return verdict
    return None


def judge_content(facts: Facts, limits: Limits) -> Verdict:
    """The first objection to a content that has arrived."""
    for policy in CONTENT_POLICIES:
        if (verdict := policy(facts, limits)) is not None:
            return verdict
    return None
