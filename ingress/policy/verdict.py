"""What a policy decides."""

from typing import NamedTuple

from jetpost.mail.reply import Reply


class Refuse(NamedTuple):
    """No; the client hears `reply`."""

    reply: Reply
    reason: str
    """One word for metrics and logs."""


Verdict = Refuse | None
"""None: no objection."""
