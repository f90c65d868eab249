"""Which checks run when, in order: the first objection counts. A new check is a file of `policy/` and a line here."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, NamedTuple, TypeVar

from ingress.policy import content, relay, sender, size
from ingress.policy.request import ContentRequest, PolicyRequest
from ingress.policy.verdict import Refuse, Verdict

LONGEST_LOOK_S = 60.0
"""After so long the checks of a stage have failed: clients wait for 5 minutes (RFC 5321, 4.5.3.2)."""
Asked = TypeVar("Asked")


class Looking(NamedTuple, Generic[Asked]):
    """A check that needs facts from elsewhere: it looks, which may wait, and then judges."""

    look: Callable[[Asked], Awaitable[Any]]
    """Has a time-out of its own; LONGEST_LOOK_S is for one that forgot it. What it raises is answered with 451."""
    judge: Callable[[Asked, Any], Verdict]
    """Pure."""


Judge = Callable[[Asked], Verdict]
"""A check of what is known already. Pure."""


class Checks(Generic[Asked]):
    """The checks of one stage. Where none looks, the verdict is there at once; else it is a coroutine."""

    def __init__(self, *checks: Judge[Asked] | Looking[Asked]) -> None:
        self.checks = checks
        self._judges = tuple([check for check in checks if not isinstance(check, Looking)])
        self.looks = len(self._judges) < len(checks)

    def __call__(self, asked: Asked) -> Verdict | Coroutine[Any, Any, Verdict]:
        """The first objection."""
        if self.looks:
            return self._in_time(asked)
        for judge in self._judges:
            if (verdict := judge(asked)) is not None:
                return verdict
        return None

    async def verdict(self, asked: Asked) -> Verdict:
        """The first objection, to who can wait for it."""
        verdict = self(asked)
        return verdict if verdict is None or isinstance(verdict, Refuse) else await verdict

    async def _in_time(self, asked: Asked) -> Verdict:
        async with asyncio.timeout(LONGEST_LOOK_S):
            for check in self.checks:
                verdict = check.judge(asked, await check.look(asked)) if isinstance(check, Looking) else check(asked)
                if verdict is not None:
                    return verdict
        return None


class Stages(NamedTuple):
    """The checks at each moment of a session."""

    connect: Checks[PolicyRequest] = Checks()
    """Before the client hears 220. Refused, it hears the reply, and the connection ends."""
    helo: Checks[PolicyRequest] = Checks()
    mail: Checks[PolicyRequest] = Checks(sender.protected, sender.authenticated, size.declared_size)
    rcpt: Checks[PolicyRequest] = Checks(relay.no_literal, relay.permitted, size.recipients)
    content: Checks[ContentRequest] = Checks(
        content.small_enough, content.strict_lines, content.no_nul, content.short_lines, content.no_loop
    )


STAGES = Stages()
"""What every listener checks."""
