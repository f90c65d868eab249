"""One mail transaction: MAIL, RCPT for each recipient, DATA, the content, the final dot (RFC 5321, 3.3).

Where the host offers PIPELINING the commands go out together (RFC 2920); the replies are judged the same way.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from delivery.attempt.classify import ConnectionBroke, Phase, Scope, Step, classify, outcome
from delivery.attempt.connection import Connection
from delivery.attempt.timeouts import Timeouts
from jetpost.jetstream import ApiError, Unreachable
from jetpost.mail.content import DotStuffer, Inline
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered, Outcome
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.entry import Entry
from jetpost.queue.large import ContentMissing

Chunks = Callable[[], AsyncIterator[bytes]]
_TOO_BIG = EnhancedStatus(5, 3, 4)
_NEEDS_UTF8 = EnhancedStatus(5, 6, 7)
_CONTENT_AWAY = EnhancedStatus(4, 3, 0)


@dataclass
class Result:
    """What one transaction came to."""

    outcomes: dict[Recipient, Outcome] = field(default_factory=dict)
    """Recipients that are settled with this host's word."""
    elsewhere: dict[Recipient, Deferred] = field(default_factory=dict)
    """Recipients for whom the next host is to be tried, and what to say when there is none."""
    again: list[Recipient] = field(default_factory=list)
    """Recipients for a further transaction: the host took no more of them in this one."""
    heard: bool = False
    """Whether the host answered at all; a kept connection may have died before."""
    lost_in_group: bool = False
    """Whether the host answered the first of a group of commands and then no more: its PIPELINING may be a lie."""


async def transact(
    connection: Connection, entry: Entry, recipients: list[Recipient], chunks: Chunks, timeouts: Timeouts
) -> Result:
    """Hand `entry` over for `recipients`. Never raises but for cancellation."""
    transaction = _Transaction(connection, entry, recipients, timeouts)
    if (impossible := transaction.impossible()) is not None:
        return Result(dict.fromkeys(recipients, impossible), heard=True)
    connection.transactions += 1
    if await transaction.envelope():
        await transaction.content(chunks)
    return transaction.result


class _Transaction:
    def __init__(self, connection: Connection, entry: Entry, recipients: list[Recipient], timeouts: Timeouts) -> None:
        self.result = Result()
        self._connection = connection
        self._entry = entry
        self._recipients = recipients
        self._timeouts = timeouts
        self._trace = entry.trace.encode()
        self._accepted: list[Recipient] = []

    def impossible(self) -> Bounced | None:
        """Why this host can never take the message, as far as its EHLO says."""
        extensions = self._connection.extensions
        limit = extensions.get("SIZE", "")
        size = len(self._trace) + self._entry.size
        if limit.isdigit() and 0 < int(limit) < size:
            said = f"{self._connection.name} takes messages of up to {limit} octets, this one has {size}"
            return Bounced(_TOO_BIG, said, None, self._connection.name)
        if "SMTPUTF8" not in extensions and self._needs_utf8():
            said = f"{self._connection.name} does not support internationalized mail (SMTPUTF8)"
            return Bounced(_NEEDS_UTF8, said, None, self._connection.name)
        return None

    def _needs_utf8(self) -> bool:
        """Whether an address or the header is internationalized; the client's flag alone does not count (RFC 6531)."""
        envelope, content = self._entry.envelope, self._entry.content
        if not envelope.reverse_path.isascii() or not all(one.address.isascii() for one in self._recipients):
            return True
        header = content.octets.partition(b"\r\n\r\n")[0] if isinstance(content, Inline) else b""
        return envelope.smtputf8 and not header.isascii()

    def _mail(self) -> str:
        envelope, extensions = self._entry.envelope, self._connection.extensions
        words = [f"MAIL FROM:<{envelope.reverse_path}>"]
        if "SIZE" in extensions:
            words.append(f"SIZE={len(self._trace) + self._entry.size}")
        if "8BITMIME" in extensions and envelope.body:
            words.append(f"BODY={envelope.body}")
        if "SMTPUTF8" in extensions and envelope.smtputf8:
            words.append("SMTPUTF8")
        return " ".join(words)

    async def envelope(self) -> bool:
        """MAIL, RCPT and DATA; whether the host now waits for content that is to be sent."""
        return await (self._grouped() if "PIPELINING" in self._connection.extensions else self._one_by_one())

    async def _grouped(self) -> bool:
        lines = [self._mail(), *(f"RCPT TO:<{one.address}>" for one in self._recipients), "DATA"]
        self._connection.send("".join(f"{line}\r\n" for line in lines).encode())
        # All replies are read, whatever the first ones say (RFC 2920, 3.1).
        mail = await self._reply(self._timeouts.mail_s)
        rcpts = [await self._reply(self._timeouts.rcpt_s) for _ in self._recipients]
        data = await self._reply(self._timeouts.data_s)
        self.result.lost_in_group = isinstance(mail, Reply) and isinstance(data, ConnectionBroke)
        if not _is_positive(mail):
            self._all(Phase.MAIL, mail)
        else:
            for recipient, answer in zip(self._recipients, rcpts, strict=True):
                self._rcpt(recipient, answer)
        if self._accepted and _goes_ahead(data):
            return True
        self._unwelcome(Phase.DATA, data)
        if _goes_ahead(data):
            # Nobody is left, but the host waits for content: an empty message for nobody (RFC 2920, 3.1).
            self._connection.send(b".\r\n")
            await self._reply(self._timeouts.final_dot_s)
        await self._reset()
        return False

    async def _one_by_one(self) -> bool:
        mail = await self._command(self._mail(), self._timeouts.mail_s)
        if not _is_positive(mail):
            self._all(Phase.MAIL, mail)
            await self._reset()
            return False
        for recipient in self._recipients:
            self._rcpt(recipient, await self._command(f"RCPT TO:<{recipient.address}>", self._timeouts.rcpt_s))
        if not self._accepted:
            await self._reset()
            return False
        data = await self._command("DATA", self._timeouts.data_s)
        if not _goes_ahead(data):
            self._unwelcome(Phase.DATA, data)
            await self._reset()
            return False
        return True

    async def content(self, chunks: Chunks) -> None:
        """The trace, the content and the final dot; then what the host says to them."""
        connection, stuffer = self._connection, DotStuffer()
        if isinstance(self._entry.content, Inline):
            connection.send(stuffer.feed(self._trace + self._entry.content.octets) + stuffer.end())
        elif await self._stream(chunks, stuffer):
            connection.send(stuffer.end())
        else:
            return
        answer = await self._reply(self._timeouts.final_dot_s)
        if isinstance(answer, Reply) and answer.is_completion:
            self._all_accepted(Delivered(answer, connection.name))
        else:
            self._unwelcome(Phase.FINAL_DOT, answer)

    async def _stream(self, chunks: Chunks, stuffer: DotStuffer) -> bool:
        """The content a chunk at a time; whether all of it went out."""
        try:
            self._connection.send(stuffer.feed(self._trace))
            async for chunk in chunks():
                self._connection.send(stuffer.feed(chunk))
                if (broke := await self._connection.sent(self._timeouts.block_s)) is not None:
                    self._unwelcome(Phase.DATA, broke)
                    return False
        except (ContentMissing, Unreachable, ApiError) as error:
            # Without the final dot the host has no message (RFC 5321, 4.1.1.4).
            self._connection.abort()
            self._all_accepted(Deferred(_CONTENT_AWAY, f"content unavailable: {error}"))
            return False
        return True

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
        elif self._accepted and isinstance(answer, Reply) and answer.code in (452, 552):
            self.result.again.append(recipient)  # too many for this transaction (RFC 5321, 4.5.3.1.10)
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
        if step is Step.NEXT_HOST and isinstance(settled, Deferred):
            self.result.elsewhere[recipient] = settled
        else:
            self.result.outcomes[recipient] = settled
        if scope is Scope.HOST or (isinstance(answer, Reply) and answer.is_positive):
            # Gone, or out of step: a "yes" that is none here answers something that was never asked.
            self._connection.abort()


def _is_positive(answer: Reply | ConnectionBroke) -> bool:
    return isinstance(answer, Reply) and answer.is_completion


def _goes_ahead(answer: Reply | ConnectionBroke) -> bool:
    return isinstance(answer, Reply) and answer.code // 100 == 3
