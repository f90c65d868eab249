"""What a person reads in a DSN. Pure."""

from collections.abc import Sequence
from datetime import datetime

from bouncer.decide import Failure
from jetpost.mail.outcome import Bounced

MEANINGS = {
    (1, 1): "This address does not exist there. Check it for typing errors.",
    (1, 2): "The domain after the @ does not exist. Check it for typing errors.",
    (1, 3): "The address is not written in a form that mail systems understand.",
    (1, 6): "The mailbox has moved and left no forwarding address.",
    (1, 10): "The domain says that it receives no mail at all. Check it for typing errors.",
    (2, 1): "The mailbox exists but is switched off.",
    (2, 2): "The mailbox is full. Try again when its owner had time to make room.",
    (2, 3): "The message is too large for this mailbox.",
    (3, 4): "The message is too large for the recipient's mail system. Send less, or a link to it.",
    (4, 1): "The recipient's mail system could not be reached.",
    (4, 2): "The connection to the recipient's mail system kept breaking.",
    (4, 3): "The internet's directory (DNS) gave no answer about the recipient's domain.",
    (4, 4): "The recipient's domain names no mail server that could be used.",
    (4, 6): "The message was going round in circles.",
    (4, 7): "Time ran out before the message could be delivered.",
    (6, 3): "The recipient's mail system takes plain 7-bit content only, and this message has more.",
    (6, 7): "The recipient's mail system does not understand addresses in this script.",
    (7, 1): "The recipient's mail system does not accept this message: its rules forbid it.",
    (7, 5): "No connection with the required encryption could be made.",
}
"""Subject and detail of an enhanced status code (RFC 3463) → a sentence for people."""
_LONGEST = 500
"""Characters of what a server said: a line of mail has an end (RFC 5322, 2.1.1)."""
_SUBJECTS = {
    1: "There is a problem with the address.",
    2: "There is a problem with the recipient's mailbox.",
    3: "There is a problem with the recipient's mail system.",
    4: "There was a problem on the way to the recipient's mail system.",
    5: "The two mail systems did not understand each other.",
    6: "The recipient's mail system does not accept this kind of content.",
    7: "The recipient's mail system refused the message because of its rules.",
}


def subject(failures: Sequence[Failure]) -> str:
    """The DSN's subject line."""
    if all(failure.outcome.expired for failure in failures):
        return "Message not delivered: gave up trying"
    return "Message not delivered" if len(failures) == 1 else f"Message not delivered to {len(failures)} recipients"


def explanation(failures: Sequence[Failure], *, arrived: datetime, hostname: str, queue_id: str, contact: str) -> str:
    """The human part: who did not get it, why, what that means, and how to ask about it. Lines end in LF."""
    lines = [
        f"This is the mail system at {hostname}.",
        "",
        f"Your message of {arrived:%d %B %Y, %H:%M} UTC could not be delivered to:",
    ]
    for failure in failures:
        lines += ["", f"  {failure.recipient.address}", *(f"    {line}" for line in _reasons(failure.outcome))]
    lines += ["", "Nobody will try again. What is below is for mail systems and their operators."]
    lines += contact.splitlines()
    lines += ["", f"Reference: {queue_id}", ""]
    return "\n".join(lines)


def meaning(outcome: Bounced) -> str:
    """What the status means, in a sentence."""
    status = outcome.status
    known = MEANINGS.get((status.subject, status.detail)) or _SUBJECTS.get(status.subject)
    return known or "The recipient's mail system refused the message."


def _reasons(outcome: Bounced) -> list[str]:
    reasons = [meaning(outcome)]
    if outcome.expired:
        reasons.append("It was tried again and again until its time was over.")
    if outcome.reply is not None and outcome.host:
        reasons.append(f"{outcome.host} said: {_one_line(str(outcome.reply))}")
    else:
        reasons.append(f"What happened: {_one_line(outcome.why)}")
    return reasons


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
