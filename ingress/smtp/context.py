"""What the sessions of a listener share."""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from ingress.accept import Acceptance
from ingress.auth.backend import Backend
from ingress.listen.listener import ListenerSettings
from ingress.policy.limits import Limits
from ingress.policy.verdict import Refuse
from ingress.session.command import LocalHost
from ingress.stages import Stages
from jetpost.mail.reply import Reply


class SessionContext(NamedTuple):
    """What all sessions of a listener share."""

    listener: ListenerSettings
    local_host: LocalHost
    limits: Limits
    stages: Stages
    acceptance: Acceptance
    backends: Sequence[Backend]
    offers: Mapping[str, str]
    """The extensions with a command of their own."""


Answer = Reply | Refuse | None
"""What a command comes to; None: all has been said."""

Answering = Coroutine[Any, Any, Answer]
"""An answer that takes time. ConnectionError when the client is gone, or had to go."""
