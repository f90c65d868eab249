"""One session: commands in, replies out; which comes next, what is refused, and when it is enough."""

import math
from collections.abc import Coroutine
from types import NoneType
from typing import Any

from ingress.content.receiving import Receiving
from ingress.listen.connections import CLOSING
from ingress.policy.error_limit import exhausted
from ingress.policy.verdict import Refuse
from ingress.rejections import connection_rejected, refused
from ingress.session.command import parse
from ingress.session.commands import COMMANDS, advance
from ingress.session.foreign import foreign_beginning, foreign_command, foreign_response
from ingress.session.lines import OVERLONG, LineBuffer
from ingress.session.phase import Phase
from ingress.session.session import Session
from ingress.session.wire import Wire
from ingress.smtp.commands import HANDLERS, Commands
from ingress.smtp.context import Answer, Answering, SessionContext
from ingress.smtp.reception import Reception
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.telemetry.log import logger

TURN_COMMANDS = 32
"""Commands of a session that are answered before others have their turn."""
_TURN_S = 0.001
"""How long a turn may take after its first command, which most have alone: they read no clock. The command that was
begun is finished."""

NOT_SMTP = Reply(421, EnhancedStatus(4, 7, 0), ("This is SMTP, and you speak something else: closing",))

_NO_PARAMETERS = Refuse(Reply(501, EnhancedStatus(5, 5, 4), ("No parameters allowed",)), "syntax")
_TROUBLE = Refuse(Reply(451, EnhancedStatus(4, 3, 0), ("Internal trouble, try again later",)), "internal")

_AT_ONCE = (Reply, Refuse, NoneType)

log = logger(__name__)

Work = Coroutine[Any, Any, None]
"""What takes time. ConnectionError when the client is gone, or had to go."""


class Dialogue:
    """The dialogue of one session."""

    def __init__(self, wire: Wire, context: SessionContext, session: Session) -> None:
        self.session = session
        self._wire = wire
        self._context = context
        self._reception = Reception(context, session)
        self._commands = Commands(wire, context, session, self._reception, self.response)
        self.has_more = False
        """Whether the last turn ended before all that had arrived was answered."""

    @property
    def is_over(self) -> bool:
        """Whether the client has said QUIT."""
        return self.session.phase is Phase.CLOSED

    @property
    def is_committing(self) -> bool:
        """Whether a message has arrived completely, and what becomes of it is not known yet."""
        return self._reception.is_committing

    @property
    def held_bytes(self) -> int:
        """About what it keeps in memory: the envelope, and the content as far as it is not on a disk."""
        transaction = self.session.transaction
        return self._reception.held_bytes + (0 if transaction is None else transaction.held_bytes)

    def begin(self) -> Work | None:
        """Speak first (RFC 5321, 3.1); what takes time is returned."""
        answer = self._commands.connect()
        if not isinstance(answer, _AT_ONCE):
            return self._begin_in_time(answer)
        self._begun(answer)
        return None

    def proceed(self, lines: LineBuffer) -> Work | None:
        """Answer what has arrived, as far as one turn allows: then it `has_more`.

        What takes time is returned, to be done before this is called again.
        """
        session, unread, monotonic = self.session, lines.unread, self._context.acceptance.monotonic
        answered, until = 0, math.inf
        work: Work | None = None
        self.has_more = False
        while work is None and unread and session.phase is not Phase.CLOSED:
            if answered == 1:
                until = monotonic() + _TURN_S
            elif answered == TURN_COMMANDS or monotonic() > until:
                self.has_more = True
                break
            answered += 1
            if self._reception.is_open:
                work = self._receive(lines)
            elif (line := lines.line()) is not None:
                work = self._hear(line, lines)
            else:
                self._is_foreign(foreign_beginning(lines.beginning()))
                break
        return work

    def abandon(self) -> Work | None:
        """The client is gone: what there is to clear up."""
        receiving = self._reception.abandon()
        self.session.transaction = None
        return None if receiving is None else receiving.intake.abandon()

    async def response(self) -> bytes:
        """The response to a challenge. ConnectionError when none comes, or another protocol speaks."""
        line = await self._wire.line()
        if line is not OVERLONG and self._is_foreign(foreign_response(line)):
            raise ConnectionResetError
        return line

    async def _begin_in_time(self, answering: Answering) -> None:
        try:
            self._begun(await answering)
        except Exception as error:
            self._internal_error("", error)

    def _begun(self, answer: Answer) -> None:
        if isinstance(answer, Reply):
            self._wire.say(answer)
        elif answer is not None:
            self._reject(answer)

    def _reject(self, refusal: Refuse, about: str = "") -> None:
        """End the session, with all that was sent ahead."""
        client, listener = self.session.client_address, self._context.listener.name
        connection_rejected(refusal.reason, client=client, listener=listener, why=f"{refusal.reply}{about}")
        self._wire.hang_up(refusal.reply)

    def _is_foreign(self, protocol: str | None) -> bool:
        """Whether another protocol was found; the session has ended then."""
        if protocol is None:
            return False
        self._reject(Refuse(NOT_SMTP, "protocol"), f" ({protocol})")
        return True

    def _hear(self, line: bytes, lines: LineBuffer) -> Work | None:
        said = parse(line, self._context.limits.command_line_bytes)
        if isinstance(said, Reply) or said.verb not in COMMANDS:
            if self._is_foreign(foreign_command(lines.overlong if line is OVERLONG else line)):
                return None
            if isinstance(said, Reply):
                self._refuse(Refuse(said, "syntax"), "")
                return None
        verb, argument = said
        following = advance(self.session.phase, verb)
        if isinstance(following, Reply):
            self._refuse(Refuse(following, "sequence"), verb)
            return None
        if argument and not COMMANDS[verb].takes_parameters:
            self._refuse(_NO_PARAMETERS, verb)
            return None
        try:
            answer = HANDLERS[verb](self._commands, argument)
            if not isinstance(answer, _AT_ONCE):
                return self._answer_in_time(answer, verb, following)
            self._conclude(answer, verb, following)
        except Exception as error:
            self._internal_error(verb, error)
        return None

    async def _answer_in_time(self, answering: Answering, verb: str, following: Phase, queue_id: str = "") -> None:
        try:
            self._conclude(await answering, verb, following, queue_id)
        except ConnectionError:
            raise
        except Exception as error:
            self._internal_error(verb, error, queue_id)

    def _conclude(self, answer: Answer, verb: str, following: Phase, queue_id: str = "") -> None:
        if isinstance(answer, Refuse):
            self._refuse(answer, verb, queue_id)
            return
        self.session.enter(following)
        if answer is not None:
            self._wire.say(answer)
        if COMMANDS[verb].is_counted:
            self.session.commands_without_message += 1
            self._end_if_exhausted()

    def _receive(self, lines: LineBuffer) -> Work | None:
        """Take a piece of the message, and what follows its end."""
        queue_id = self._reception.queue_id
        try:
            receiving = self._reception.take(lines.all())
        except Exception as error:
            self._internal_error("DATA", error, queue_id)
            return None
        if receiving.ended:
            lines.put_back(receiving.rest())
            return self._submit(receiving)
        return self._store(receiving) if receiving.intake.is_full else None

    async def _submit(self, receiving: Receiving) -> None:
        try:
            answer = await self._reception.submit(receiving)
            self.session.enter(Phase.IDENTIFIED)
            self._conclude(answer, "DATA", Phase.IDENTIFIED, receiving.queue_id)
        except Exception as error:
            self._internal_error("DATA", error, receiving.queue_id)

    async def _store(self, receiving: Receiving) -> None:
        try:
            await receiving.intake.store()
        except Exception as error:
            self._internal_error("DATA", error, receiving.queue_id)

    def _internal_error(self, verb: str, error: Exception, queue_id: str = "") -> None:
        """Our error: the client learns that, and no more."""
        log.error("command failed", verb=verb, client=self.session.client_address, queue_id=queue_id, exc_info=error)
        self._refuse(_TROUBLE, verb, queue_id)
        # Nothing is known of where the client stands: in the middle of its data, what follows are no commands.
        self._wire.hang_up(CLOSING)

    def _refuse(self, refusal: Refuse, verb: str, queue_id: str = "") -> None:
        session = self.session
        refused(
            refusal,
            verb=verb,
            client=session.client_address,
            listener=self._context.listener.name,
            queue_id=queue_id,
        )
        self._wire.say(refusal.reply)
        # "Later" is nobody's mistake: beyond the limit of recipients a client may hear it many times in a row.
        session.errors += refusal.reply.is_permanent
        session.command_refused(is_recipient=verb == "RCPT", overshoot=self._context.limits.recipients)
        self._end_if_exhausted()

    def _end_if_exhausted(self) -> None:
        end = exhausted(self.session, self._context.limits)
        if end is not None and not self.is_over:
            self._reject(end)
