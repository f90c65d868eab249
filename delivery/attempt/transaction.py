"""One mail transaction: MAIL, RCPT for each recipient, DATA or BDAT, the content (RFC 5321, 3.3; RFC 3030).

Where the host offers PIPELINING the commands go out together (RFC 2920); the replies are judged the same way.
"""

from dataclasses import dataclass, field

from delivery.attempt.commands import (
    Seen,
    asks_for_ascii,
    asks_for_ascii_header,
    mail_command,
    obstacle,
    rcpt_command,
    size,
)
from delivery.attempt.config import AttemptSettings
from delivery.attempt.content import Answer, Heard, Unavailable, hand_over
from delivery.attempt.framing import OneChunk
from delivery.attempt.scan import Chunks, scan
from delivery.classify.phases import ConnectionBroke, Phase, Scope, Step, classify, outcome
from delivery.classify.throttling import is_throttling
from delivery.connect.connection import Connection
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.mail.content import DotStuffer
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered, Outcome
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.content.large import ContentMissing
from jetpost.queue.model.entry import Entry
from jetpost.reason import reason_of

_CONTENT_AWAY = EnhancedStatus(4, 3, 0)
_NOT_KNOWN = frozenset({500, 501, 502, 503, 504})
"""To BDAT: the command, not the message, is refused (RFC 5321, 4.2.4)."""


@dataclass
class Result:
    """What one transaction came to."""

    outcomes: dict[Recipient, Outcome] = field(default_factory=dict)
    """Recipients that are settled with this host's word."""
    elsewhere: dict[Recipient, Deferred] = field(default_factory=dict)
    """Recipients for whom the next host is to be tried, and what to say when there is none."""
    impossible: dict[Recipient, Bounced] = field(default_factory=dict)
    """Recipients for whom the next host is to be tried, as this one can never take the message (its EHLO says so)."""
    again: list[Recipient] = field(default_factory=list)
    """Recipients for a further transaction: the host took no more of them in this one."""
    heard: bool = False
    """Whether the host answered at all; a kept connection may have died before."""
    stale: bool = False
    """Whether the host had already left when MAIL came (421, or no reply): it has said nothing about this message."""
    distrusted: set[str] = field(default_factory=set)
    """Extensions that the host offers and may not have: the connection broke, or it did not know the command."""
    throttled: dict[Recipient, Deferred] = field(default_factory=dict)
    """Recipients that are deferred because the host is sent too much, where that makes a difference."""


async def transact(
    connection: Connection,
    entry: Entry,
    recipients: list[Recipient],
    chunks: Chunks,
    settings: AttemptSettings,
    *,
    obeys: bool = False,
) -> Result:
    """Hand `entry` over for `recipients`. Never raises but for cancellation.

    `obeys`: replies are searched for the host's word that it is sent too much.
    """
    transaction = _Transaction(connection, entry, recipients, settings, obeys=obeys)
    match await transaction.obstacle(chunks):
        case Bounced() as never:
            return Result(impossible=dict.fromkeys(recipients, never), heard=True)
        case Deferred() as unavailable:
            return Result(dict.fromkeys(recipients, unavailable), heard=True)
        case None:
            pass
    connection.transactions += 1
    if await transaction.envelope():
        await transaction.content(chunks)
    return transaction.result


class _Transaction:
    def __init__(
        self,
        connection: Connection,
        entry: Entry,
        recipients: list[Recipient],
        settings: AttemptSettings,
        *,
        obeys: bool,
    ) -> None:
        self.result = Result()
        self._connection = connection
        self._entry = entry
        self._recipients = recipients
        self._settings = settings
        self._timeouts = settings.timeouts
        self._obeys = obeys
        self._chunking = settings.chunking and "CHUNKING" in connection.extensions
        self._accepted: list[Recipient] = []

    async def obstacle(self, chunks: Chunks) -> Bounced | Deferred | None:
        """Why this host is not to get the message at all, as far as its EHLO and the content say."""
        extensions, eight_bit = self._connection.extensions, self._settings.eight_bit
        whole, seen = asks_for_ascii(extensions, eight_bit), Seen()
        if whole or asks_for_ascii_header(self._entry, extensions):
            try:
                seen = await scan(chunks, whole=whole)
            except (ContentMissing, Unreachable, ApiError) as error:
                return Deferred(_CONTENT_AWAY, f"content unavailable: {reason_of(error)}")
        name = self._connection.name
        return obstacle(self._entry, self._recipients, name, extensions, eight_bit=eight_bit, seen=seen)

    async def envelope(self) -> bool:
        """MAIL, RCPT and, unless BDAT is used, DATA; whether there is content to be sent now."""
        return await (self._grouped() if "PIPELINING" in self._connection.extensions else self._one_by_one())

    async def _grouped(self) -> bool:
        extensions = self._connection.extensions
        rcpts = (rcpt_command(recipient, extensions) for recipient in self._recipients)
        # No BDAT: a host that refuses all recipients may read the bytes behind it as commands.
        lines = (mail_command(self._entry, extensions), *rcpts, *(() if self._chunking else ("DATA",)))
        self._connection.send("".join(f"{line}\r\n" for line in lines).encode(), replies=len(lines))
        # All replies are read, whatever the first ones say (RFC 2920, 3.1).
        mail = await self._reply(self._timeouts.mail_s)
        answers = [await self._reply(self._timeouts.rcpt_s) for _ in self._recipients]
        data = None if self._chunking else await self._reply(self._timeouts.data_s)
        self.result.stale = _is_gone(mail)
        if not self.result.stale and isinstance(answers[-1] if data is None else data, ConnectionBroke):
            self.result.distrusted.add("PIPELINING")
        if not _is_positive(mail):
            self._all(Phase.MAIL, mail)
        else:
            for recipient, answer in zip(self._recipients, answers, strict=True):
                self._rcpt(recipient, answer)
        if data is None:
            return await self._insist_on_recipients()
        if self._accepted and _goes_ahead(data):
            return True
        self._unwelcome(Phase.DATA, data)
        if _goes_ahead(data):
            # Nobody is left, but the host waits for content: an empty message for nobody (RFC 2920, 3.1). Over LMTP it
            # would have no reply, and 354 is wrong (RFC 2033, 4.2).
            if self._connection.is_lmtp:
                self._connection.abort()
                return False
            self._connection.send(b".\r\n")
            await self._reply(self._timeouts.final_dot_s)
        await self._reset()
        return False

    async def _one_by_one(self) -> bool:
        extensions = self._connection.extensions
        mail = await self._command(mail_command(self._entry, extensions), self._timeouts.mail_s)
        if not _is_positive(mail):
            self.result.stale = _is_gone(mail)
            self._all(Phase.MAIL, mail)
            await self._reset()
            return False
        for recipient in self._recipients:
            answer = await self._command(rcpt_command(recipient, extensions), self._timeouts.rcpt_s)
            self._rcpt(recipient, answer)
        if not await self._insist_on_recipients():
            return False
        if self._chunking:
            return True
        data = await self._command("DATA", self._timeouts.data_s)
        if not _goes_ahead(data):
            self._unwelcome(Phase.DATA, data)
            await self._reset()
            return False
        return True

    async def content(self, chunks: Chunks) -> None:
        """The trace, the content and its end; then what the host says to them."""
        replies = len(self._accepted) if self._connection.is_lmtp else 1
        framing = OneChunk(size(self._entry)) if self._chunking else DotStuffer()
        heard = await hand_over(self._connection, self._entry, chunks, self._timeouts, framing, replies=replies)
        if self._chunking and isinstance(heard, Heard) and self._failed_with_chunking(heard.answers):
            return
        match heard:
            case Unavailable(why=why):
                self._all_accepted(Deferred(_CONTENT_AWAY, why))
            case Heard(Phase.END_OF_DATA, answers) if self._connection.is_lmtp:
                self._one_for_each(answers)
            case Heard(Phase.END_OF_DATA, (Reply(is_completion=True) as answer,)):
                self.result.heard = True
                self._all_accepted(Delivered(answer, self._connection.name))
            case Heard(phase, answers):
                self.result.heard = self.result.heard or isinstance(answers[0], Reply)
                self._unwelcome(phase, answers[0])

    def _failed_with_chunking(self, answers: tuple[Answer, ...]) -> bool:
        """Whether the host offers CHUNKING and does not know BDAT: it has no message, and gets it again with DATA."""
        if all(isinstance(it, Reply) and it.code in _NOT_KNOWN for it in answers):
            self._connection.abort()  # it may read the content as commands
            self.result.again += self._accepted
            self._accepted = []
        elif not any(isinstance(it, ConnectionBroke) for it in answers):
            return False
        self.result.distrusted.add("CHUNKING")
        return not self._accepted

    async def _insist_on_recipients(self) -> bool:
        """Whether there is one; else the transaction is over."""
        if not self._accepted:
            await self._reset()
        return bool(self._accepted)

    def _one_for_each(self, answers: tuple[Answer, ...]) -> None:
        """LMTP: each recipient has a reply of its own, also when the connection broke in the middle of them."""
        for recipient, answer in zip(self._accepted, answers, strict=True):
            self.result.heard = self.result.heard or isinstance(answer, Reply)
            if isinstance(answer, Reply) and answer.is_completion:
                self.result.outcomes[recipient] = Delivered(answer, self._connection.name)
            else:
                self._judge(Phase.END_OF_DATA, recipient, answer)
        self._accepted = []

    async def _reply(self, timeout_s: float) -> Reply | ConnectionBroke:
        answer = await self._connection.reply(timeout_s)
        self.result.heard = self.result.heard or isinstance(answer, Reply)
        return answer

    async def _command(self, line: str, timeout_s: float) -> Reply | ConnectionBroke:
        self._connection.send(f"{line}\r\n".encode())
        return await self._reply(timeout_s)

    async def _reset(self) -> None:
        """After a transaction that did not reach its end the connection is to be as new."""
        if self._connection.usable:
            await self._command("RSET", self._timeouts.mail_s)

    def _rcpt(self, recipient: Recipient, answer: Reply | ConnectionBroke) -> None:
        if _is_positive(answer):
            self._accepted.append(recipient)
        elif self._accepted and _are_too_many(answer):
            self.result.again.append(recipient)
        else:
            self._judge(Phase.RCPT, recipient, answer)

    def _all(self, phase: Phase, answer: Reply | ConnectionBroke) -> None:
        for recipient in self._recipients:
            self._judge(phase, recipient, answer)

    def _unwelcome(self, phase: Phase, answer: Reply | ConnectionBroke) -> None:
        for recipient in self._accepted:
            self._judge(phase, recipient, answer)
        self._accepted = []

    def _all_accepted(self, settled: Outcome) -> None:
        self.result.outcomes |= dict.fromkeys(self._accepted, settled)
        self._accepted = []

    def _judge(self, phase: Phase, recipient: Recipient, answer: Reply | ConnectionBroke) -> None:
        scope, step = classify(phase, answer)
        settled = outcome(phase, answer, self._connection.name)
        if self._obeys and isinstance(settled, Deferred):
            of_recipient = phase is Phase.RCPT or (phase is Phase.END_OF_DATA and self._connection.is_lmtp)
            if is_throttling(phase, answer, of_recipient=of_recipient):
                self.result.throttled[recipient] = settled
        if step is Step.NEXT_HOST and isinstance(settled, Deferred):
            self.result.elsewhere[recipient] = settled
        else:
            self.result.outcomes[recipient] = settled
        if scope is Scope.HOST or (isinstance(answer, Reply) and answer.is_positive):
            # Gone, or out of step: a "yes" that is none here answers something that was never asked.
            self._connection.abort()


def _is_positive(answer: Reply | ConnectionBroke) -> bool:
    return isinstance(answer, Reply) and answer.is_completion


def _are_too_many(answer: Reply | ConnectionBroke) -> bool:
    """Whether a reply to RCPT is about the recipients before it (RFC 5321, 4.5.3.1.10; RFC 3463, 3.6: X.5.3)."""
    if isinstance(answer, ConnectionBroke) or answer.is_positive:
        return False
    status = answer.status
    return answer.code in (452, 552) or (status is not None and (status.subject, status.detail) == (5, 3))


def _is_gone(answer: Reply | ConnectionBroke) -> bool:
    return isinstance(answer, ConnectionBroke) or answer.code == 421


def _goes_ahead(answer: Reply | ConnectionBroke) -> bool:
    return isinstance(answer, Reply) and answer.code // 100 == 3
