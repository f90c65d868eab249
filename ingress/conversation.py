"""One session: commands in, replies out. What they mean is decided in `session` and `policy`; here it is done."""

import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from ingress.accept import Acceptance, Submission, accept
from ingress.auth.backend import Backend
from ingress.auth.dialogue import authenticate
from ingress.connections import CLOSING
from ingress.content.intake import Intake
from ingress.content.receiving import Receiving
from ingress.greeting import extensions
from ingress.listener import ListenerSettings
from ingress.policy.judge import judge
from ingress.policy.limits import Limits
from ingress.policy.patience import exhausted
from ingress.policy.verdict import Asked, Refuse
from ingress.rejections import refused, turned_away
from ingress.session.arrived import OVERLONG, Arrived
from ingress.session.command import Command, Destination, LocalHost, client_name, destination, parse, sender
from ingress.session.foreign import foreign_beginning, foreign_command, foreign_response
from ingress.session.phase import VERBS, Phase, advance
from ingress.session.transaction import Session, Transaction, envelope_of, origin_of
from ingress.wire import Wire
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.telemetry.log import logger

_OK = EnhancedStatus(2, 0, 0)
_BAD_SEQUENCE = EnhancedStatus(5, 5, 1)
_INVALID_ARGUMENTS = EnhancedStatus(5, 5, 4)

TURN_COMMANDS = 32
"""Commands of a session that are answered before others have their turn."""
_TURN_S = 0.001
"""How long a turn may take after its first command, which most have alone: they read no clock. The command that was
begun is finished."""

OK = Reply(250, _OK, ("Ok",))
_SENDER_OK = Reply(250, EnhancedStatus(2, 1, 0), ("Ok",))
_RECIPIENT_OK = Reply(250, EnhancedStatus(2, 1, 5), ("Ok",))
_SEND_DATA = Reply(354, None, ("End data with <CR><LF>.<CR><LF>",))
_FORWARD = frozenset({"RCPT", "DATA"})
"""What brings a message nearer, when it is not refused; limits of their own bound how often."""
_READY_FOR_TLS = Reply(220, _OK, ("Ready to start TLS",))
_BYE = Reply(221, _OK, ("Bye",))
_VERIFY = Reply(252, _OK, ("Cannot verify, but will take the message and try",))
_HELP = Reply(214, _OK, ("EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT",))

NOT_SMTP = Reply(421, EnhancedStatus(4, 7, 0), ("This is SMTP, and you speak something else: closing",))

_NO_PARAMETERS = Refuse(Reply(501, _INVALID_ARGUMENTS, ("No parameters allowed",)), "syntax")
_NOT_IMPLEMENTED = Refuse(Reply(502, _BAD_SEQUENCE, ("Not implemented",)), "sequence")
_TLS_ALREADY = Refuse(Reply(503, _BAD_SEQUENCE, ("TLS is on already",)), "sequence")
_TROUBLE = Refuse(Reply(451, EnhancedStatus(4, 3, 0), ("Internal trouble, try again later",)), "internal")

log = logger(__name__)


class SessionContext(NamedTuple):
    """What all sessions of a listener share."""

    listener: ListenerSettings
    local_host: LocalHost
    limits: Limits
    acceptance: Acceptance
    backends: Sequence[Backend]


Answer = Reply | Refuse | None
"""What a command comes to; None: all has been said."""

Work = Coroutine[Any, Any, None]
"""What takes time. ConnectionError when the client is gone, or had to go."""


class Conversation:
    """The dialogue of one session."""

    def __init__(self, wire: Wire, context: SessionContext, session: Session) -> None:
        self.session = session
        self._wire = wire
        self._context = context
        self._receiving: Receiving | None = None
        self.has_more = False
        """Whether the last turn ended before all that had arrived was answered."""
        self._offered: Intake | None = None

    @property
    def is_over(self) -> bool:
        """Whether the client has said QUIT."""
        return self.session.phase is Phase.CLOSED

    @property
    def is_committing(self) -> bool:
        """Whether a message has arrived completely, and what becomes of it is not known yet."""
        return self._offered is not None

    @property
    def held_bytes(self) -> int:
        """About what it keeps in memory: the envelope, and the content as far as it is not on a disk."""
        transaction, receiving = self.session.transaction, self._receiving
        held = 0 if transaction is None else transaction.octets
        if receiving is not None:
            return held + receiving.held_bytes
        return held if self._offered is None else held + self._offered.held_bytes

    def begin(self) -> None:
        """Speak first (RFC 5321, 3.1)."""
        self._wire.say(Reply(220, None, (f"{self._context.local_host.hostname} ESMTP Jetpost",)))

    def proceed(self, arrived: Arrived) -> Work | None:
        """Answer what has arrived, as far as one turn allows: then it `has_more`.

        What takes time is returned, to be done before this is called again.
        """
        session, octets, monotonic = self.session, arrived.octets, self._context.acceptance.monotonic
        answered, until = 0, math.inf
        work: Work | None = None
        self.has_more = False
        while work is None and octets and session.phase is not Phase.CLOSED:
            if answered == 1:
                until = monotonic() + _TURN_S
            elif answered == TURN_COMMANDS or monotonic() > until:
                self.has_more = True
                break
            answered += 1
            if self._receiving is not None:
                work = self._receive(self._receiving, arrived.all(), arrived)
            elif (line := arrived.line()) is not None:
                work = self._hear(line, arrived)
            else:
                self._is_foreign(foreign_beginning(arrived.beginning()))
                break
        return work

    def abandon(self) -> Work | None:
        """The client is gone: what there is to clear up."""
        receiving, self._receiving = self._receiving, None
        self.session.transaction = None
        return None if receiving is None else receiving.intake.abandon()

    async def response(self) -> bytes:
        """The response to a challenge. ConnectionError when none comes, or another protocol speaks."""
        line = await self._wire.line()
        if line is not OVERLONG and self._is_foreign(foreign_response(line)):
            raise ConnectionResetError
        return line

    def _is_foreign(self, protocol: str | None) -> bool:
        """Whether another protocol was found; the session has ended then, with all that was sent ahead."""
        if protocol is None:
            return False
        client, listener = self.session.client_address, self._context.listener.name
        turned_away("protocol", client=client, listener=listener, why=f"{NOT_SMTP} ({protocol})")
        self._wire.hang_up(NOT_SMTP)
        return True

    def _hear(self, line: bytes, arrived: Arrived) -> Work | None:
        command = parse(line, self._context.limits.command_line_bytes)
        is_unknown = isinstance(command, Reply) or command.verb not in VERBS
        if is_unknown and self._is_foreign(foreign_command(arrived.overlong if line is OVERLONG else line)):
            return None
        if isinstance(command, Reply):
            self._refuse(Refuse(command, "syntax"), "")
            return None
        following = advance(self.session.phase, command.verb)
        if isinstance(following, Reply):
            self._refuse(Refuse(following, "sequence"), command.verb)
            return None
        if command.verb in self._IN_TIME:
            return self._obey_in_time(command, following)
        try:
            self._conclude(self._AT_ONCE[command.verb](self, command.argument), command.verb, following)
        except Exception as error:
            self._own_up(command.verb, error)
        return None

    async def _obey_in_time(self, command: Command, following: Phase) -> None:
        try:
            answer = await self._IN_TIME[command.verb](self, command.argument)
            self._conclude(answer, command.verb, following)
        except ConnectionError:
            raise
        except Exception as error:
            self._own_up(command.verb, error)

    def _conclude(self, answer: Answer, verb: str, following: Phase, queue_id: str = "") -> None:
        if isinstance(answer, Refuse):
            self._refuse(answer, verb, queue_id)
            return
        self.session.enter(following)
        if answer is not None:
            self._wire.say(answer)
        if verb not in _FORWARD:
            self.session.fruitless += 1
            self._look_at_patience()

    def _own_up(self, verb: str, error: Exception, queue_id: str = "") -> None:
        """The fault is ours: the client learns that, and no more."""
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
        session.refused(is_recipient=verb == "RCPT", overshoot=self._context.limits.recipients)
        self._look_at_patience()

    def _look_at_patience(self) -> None:
        end = exhausted(self.session, self._context.limits)
        if end is None or self.is_over:
            return
        client, listener = self.session.client_address, self._context.listener.name
        turned_away(end.reason, client=client, listener=listener, why=str(end.reply))
        self._wire.hang_up(end.reply)

    def _ehlo(self, argument: str) -> Answer:
        answer = self._greet(argument, extended=True)
        if isinstance(answer, Refuse):
            return answer
        context = self._context
        return extensions(context.local_host.hostname, self.session, context.listener, context.limits.message_bytes)

    def _helo(self, argument: str) -> Answer:
        return self._greet(argument, extended=False) or Reply(250, None, (self._context.local_host.hostname,))

    def _greet(self, argument: str, *, extended: bool) -> Refuse | None:
        name = client_name(argument)
        if isinstance(name, Reply):
            return Refuse(name, "syntax")
        self.session.client_name, self.session.extended = name, extended
        return None

    async def _starttls(self, argument: str) -> Answer:
        if argument:
            return _NO_PARAMETERS
        if self.session.tls:
            return _TLS_ALREADY
        if self._context.listener.tls != "starttls":
            return _NOT_IMPLEMENTED
        self._wire.say(_READY_FOR_TLS)
        self.session.tls = await self._wire.start_tls()
        return None

    async def _auth(self, argument: str) -> Answer:
        if not self._context.listener.require_auth:
            return _NOT_IMPLEMENTED
        return await authenticate(argument, self.session, self._wire.ask, self.response, self._context.backends)

    def _mail(self, argument: str) -> Answer:
        said = sender(argument)
        if isinstance(said, Reply):
            return Refuse(said, "syntax")
        objection = self._judge(Transaction(said), None)
        if objection is None:
            self.session.transaction = Transaction(said)
        return objection or _SENDER_OK

    def _rcpt(self, argument: str) -> Answer:
        transaction = self.session.transaction
        assert transaction is not None
        said = destination(
            argument, local_host=self._context.local_host, smtputf8=transaction.sender.parameters.smtputf8
        )
        if isinstance(said, Reply):
            return Refuse(said, "syntax")
        objection = self._judge(transaction, said)
        if objection is None:
            transaction.add(said, len(argument))
        return objection or _RECIPIENT_OK

    def _judge(self, transaction: Transaction, said: Destination | None) -> Refuse | None:
        return judge(Asked(self._context.listener, self._context.limits, self.session, transaction, said))

    def _data(self, argument: str) -> Answer:
        if argument:
            return _NO_PARAMETERS
        acceptance, transaction = self._context.acceptance, self.session.transaction
        assert transaction is not None
        queue_id = acceptance.fresh_id()
        intake = acceptance.intake(queue_id, (it.domain for it in transaction.destinations))
        self._receiving = Receiving(queue_id, intake, self._context.limits.text_line_bytes)
        return _SEND_DATA

    def _receive(self, receiving: Receiving, data: bytes, arrived: Arrived) -> Work | None:
        """Take a piece of the message, and what follows its end."""
        try:
            receiving.take(data)
        except Exception as error:
            self._own_up("DATA", error, receiving.queue_id)
            return None
        if receiving.ended:
            self._receiving, self._offered = None, receiving.intake
            arrived.put_back(receiving.rest())
            return self._accept(receiving)
        return self._store(receiving) if receiving.intake.is_full else None

    async def _store(self, receiving: Receiving) -> None:
        try:
            await receiving.intake.store()
        except Exception as error:
            self._own_up("DATA", error, receiving.queue_id)

    async def _accept(self, receiving: Receiving) -> None:
        queue_id, intake = receiving.queue_id, receiving.intake
        try:
            submission = await self._submission(receiving)
            answer = await accept(submission, intake, self._context.acceptance)
            if isinstance(answer, Reply):
                self.session.got_on()
            self.session.enter(Phase.IDENTIFIED)
            self._conclude(answer, "DATA", Phase.IDENTIFIED, queue_id)
        except Exception as error:
            self._own_up("DATA", error, queue_id)
        finally:
            self._offered = None

    async def _submission(self, receiving: Receiving) -> Submission:
        """What the dialogue has said, and what has arrived, as a message."""
        transaction, listener = self.session.transaction, self._context.listener
        assert transaction is not None
        try:
            smtputf8 = transaction.sender.parameters.smtputf8
            envelope = envelope_of(transaction, origin_of(self.session, listener.name, smtputf8=smtputf8))
            return Submission(receiving.queue_id, envelope, receiving.facts(), listener.submission)
        except Exception:
            await receiving.intake.abandon()
            raise

    def _rset(self, argument: str) -> Answer:
        return _NO_PARAMETERS if argument else OK

    def _noop(self, _: str) -> Answer:
        return OK

    def _vrfy(self, _: str) -> Answer:
        return _VERIFY

    def _help(self, _: str) -> Answer:
        return _HELP

    def _expn(self, _: str) -> Answer:
        return _NOT_IMPLEMENTED

    def _quit(self, argument: str) -> Answer:
        return _NO_PARAMETERS if argument else _BYE

    _AT_ONCE: ClassVar[Mapping[str, Callable[["Conversation", str], Answer]]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "RSET": _rset,
        "NOOP": _noop,
        "VRFY": _vrfy,
        "HELP": _help,
        "EXPN": _expn,
        "QUIT": _quit,
    }
    _IN_TIME: ClassVar[Mapping[str, Callable[["Conversation", str], Awaitable[Answer]]]] = {
        "STARTTLS": _starttls,
        "AUTH": _auth,
    }
