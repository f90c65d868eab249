"""One session: commands in, replies out. What they mean is decided in `session` and `policy`; here it is done."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from prometheus_client import Counter

from ingress.accept import Desk, Offer, accept
from ingress.auth.backend import ATTEMPTS, Backend, identify
from ingress.auth.exchange import CANCELLED, MECHANISMS, WRONG, Credentials, Exchange
from ingress.connections import CLOSING
from ingress.listener import ListenerSettings
from ingress.policy.judge import judge
from ingress.policy.verdict import Asked, Refuse
from ingress.session.body import Body
from ingress.session.command import TOO_LONG, Command, Destination, client_name, destination, parse, sender
from ingress.session.phase import Phase, advance
from ingress.session.transaction import Session, Transaction
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.process.log import logger

REJECTIONS = Counter(
    "jetpost_ingress_rejections_total", "Refused commands and messages. Labels: `reason` is one word.", ["reason"]
)

_OK = EnhancedStatus(2, 0, 0)
_BAD_SEQUENCE = EnhancedStatus(5, 5, 1)
_INVALID_ARGUMENTS = EnhancedStatus(5, 5, 4)
_POLICY = EnhancedStatus(4, 7, 0)

OK = Reply(250, _OK, ("Ok",))
_SENDER_OK = Reply(250, EnhancedStatus(2, 1, 0), ("Ok",))
_RECIPIENT_OK = Reply(250, EnhancedStatus(2, 1, 5), ("Ok",))
_SEND_DATA = Reply(354, None, ("End data with <CR><LF>.<CR><LF>",))
_READY_FOR_TLS = Reply(220, _OK, ("Ready to start TLS",))
_AUTHENTICATED = Reply(235, EnhancedStatus(2, 7, 0), ("Authentication successful",))
_BYE = Reply(221, _OK, ("Bye",))
_VERIFY = Reply(252, _OK, ("Cannot verify, but will take the message and try",))
_HELP = Reply(214, _OK, ("EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT",))

_NO_PARAMETERS = Refuse(Reply(501, _INVALID_ARGUMENTS, ("No parameters allowed",)), "syntax")
_NOT_IMPLEMENTED = Refuse(Reply(502, _BAD_SEQUENCE, ("Not implemented",)), "sequence")
_TLS_ALREADY = Refuse(Reply(503, _BAD_SEQUENCE, ("TLS is on already",)), "sequence")
_ONCE = Refuse(Reply(503, _BAD_SEQUENCE, ("Authenticated already",)), "sequence")
_NEEDS_TLS = Refuse(Reply(538, EnhancedStatus(5, 7, 11), ("Encryption required: say STARTTLS first",)), "tls")
_MECHANISM = Refuse(Reply(504, _INVALID_ARGUMENTS, ("Unrecognized authentication mechanism",)), "syntax")
_AUTH_TOO_LONG = Reply(500, EnhancedStatus(5, 5, 6), ("Authentication exchange line is too long",))
_TROUBLE = Refuse(Reply(451, EnhancedStatus(4, 3, 0), ("Internal trouble, try again later",)), "internal")
_TOO_MANY_ERRORS = Reply(421, _POLICY, ("Too many errors",))
_TOO_MANY_FAILURES = Reply(421, _POLICY, ("Too many failed authentications",))

log = logger(__name__)


class House(NamedTuple):
    """What all sessions of a listener share."""

    listener: ListenerSettings
    desk: Desk
    backends: Sequence[Backend]


class Wire(Protocol):
    """The connection, as the conversation sees it. ConnectionError when it has ended."""

    async def line(self) -> bytes | None:
        """The next line without its CRLF; None when it was longer than any may be."""

    async def octets(self) -> bytes:
        """What has arrived, at least one octet."""

    def unread(self, octets: bytes) -> None:
        """Put back what belongs to the next command."""

    def say(self, reply: Reply) -> None:
        """Send a reply together with those that follow at once."""

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and end now."""

    def ask(self, challenge: str) -> None:
        """Send a challenge of an AUTH exchange (RFC 4954, 4)."""

    async def start_tls(self) -> str:
        """Say what is to be said, forget what was heard, shake hands; TLS version and cipher (RFC 3207, 4.2)."""


Answer = Reply | Refuse | None
"""What a command comes to; None: all has been said."""


class Conversation:
    """The dialogue of one session."""

    def __init__(self, wire: Wire, house: House, session: Session) -> None:
        self.session = session
        self._wire = wire
        self._house = house

    async def hold(self) -> None:
        """Answer commands until the client leaves, or has to."""
        limits = self._house.desk.limits
        self._wire.say(Reply(220, None, (f"{self._house.desk.hostname} ESMTP Jetpost",)))
        while self.session.phase is not Phase.CLOSED:
            line = await self._wire.line()
            command = TOO_LONG if line is None else parse(line, limits.command_line_bytes)
            if isinstance(command, Reply):
                self._refuse(Refuse(command, "syntax"), "")
                continue
            try:
                await self._obey(command)
            except ConnectionError:
                raise
            except Exception:
                # The one place that catches everything: the client learns that it was not its fault, and no more.
                log.exception("command failed", verb=command.verb, client=self.session.client_address)
                self._refuse(_TROUBLE, command.verb)
                # Nothing is known of where the client stands: in the middle of its data, what follows are no commands.
                self._wire.hang_up(CLOSING)

    async def _obey(self, command: Command) -> None:
        following = advance(self.session.phase, command.verb)
        if isinstance(following, Reply):
            self._refuse(Refuse(following, "sequence"), command.verb)
            return
        answer = await self._DO[command.verb](self, command.argument)
        if isinstance(answer, Refuse):
            self._refuse(answer, command.verb)
            return
        self.session.enter(following)
        if answer is not None:
            self._wire.say(answer)

    def _refuse(self, refusal: Refuse, verb: str) -> None:
        session, limits = self.session, self._house.desk.limits
        REJECTIONS.labels(refusal.reason).inc()
        log.info(
            "refused",
            verb=verb,
            reason=refusal.reason,
            reply=str(refusal.reply),
            client=session.client_address,
            listener=self._house.listener.name,
        )
        self._wire.say(refusal.reply)
        # "Later" is nobody's mistake: beyond the limit of recipients a client may hear it many times in a row.
        session.errors += refusal.reply.is_permanent
        if session.errors >= limits.command_errors:
            self._wire.hang_up(_TOO_MANY_ERRORS)
        elif session.auth_failures >= limits.auth_failures:
            self._wire.hang_up(_TOO_MANY_FAILURES)

    async def _ehlo(self, argument: str) -> Answer:
        answer = self._greet(argument, extended=True)
        if isinstance(answer, Refuse):
            return answer
        session, listener = self.session, self._house.listener
        lines = [
            f"{self._house.desk.hostname} greets {session.client_name}",
            "PIPELINING",
            f"SIZE {self._house.desk.limits.message_bytes}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if listener.tls == "starttls" and not session.tls:
            lines.append("STARTTLS")
        if listener.require_auth and session.tls and not session.identity:
            lines.append(f"AUTH {' '.join(MECHANISMS)}")
        return Reply(250, None, tuple(lines))

    async def _helo(self, argument: str) -> Answer:
        return self._greet(argument, extended=False) or Reply(250, None, (self._house.desk.hostname,))

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
        if self._house.listener.tls != "starttls":
            return _NOT_IMPLEMENTED
        self._wire.say(_READY_FOR_TLS)
        self.session.tls = await self._wire.start_tls()
        return None

    async def _auth(self, argument: str) -> Answer:
        if not self._house.listener.require_auth:
            return _NOT_IMPLEMENTED
        if not self.session.tls:
            return _NEEDS_TLS
        if self.session.identity:
            return _ONCE
        mechanism, _, initial = argument.partition(" ")
        begin = MECHANISMS.get(mechanism.upper())
        if begin is None:
            return _MECHANISM
        outcome = await self._exchange(begin(initial.strip(" ")))
        if isinstance(outcome, Credentials):
            self.session.identity = await identify(outcome, self._house.backends) or ""
            outcome = _AUTHENTICATED if self.session.identity else WRONG
        ATTEMPTS.labels({_AUTHENTICATED: "ok", WRONG: "wrong"}.get(outcome, "broken")).inc()
        if outcome.is_positive:
            return outcome
        self.session.auth_failures += outcome is not CANCELLED
        return Refuse(outcome, "auth")

    async def _exchange(self, exchange: Exchange) -> Credentials | Reply:
        try:
            challenge = next(exchange)
            while True:
                self._wire.ask(challenge)
                response = await self._wire.line()
                if response is None:
                    return _AUTH_TOO_LONG
                challenge = exchange.send(response.decode("ascii", "replace"))
        except StopIteration as ended:
            outcome: Credentials | Reply = ended.value
            return outcome

    async def _mail(self, argument: str) -> Answer:
        said = sender(argument)
        if isinstance(said, Reply):
            return Refuse(said, "syntax")
        objection = self._judge(Transaction(said), None)
        if objection is None:
            self.session.transaction = Transaction(said)
        return objection or _SENDER_OK

    async def _rcpt(self, argument: str) -> Answer:
        transaction = self.session.transaction
        assert transaction is not None
        said = destination(
            argument, hostname=self._house.desk.hostname, smtputf8=transaction.sender.parameters.smtputf8
        )
        if isinstance(said, Reply):
            return Refuse(said, "syntax")
        objection = self._judge(transaction, said)
        if objection is None:
            transaction.destinations.append(said)
        return objection or _RECIPIENT_OK

    def _judge(self, transaction: Transaction, said: Destination | None) -> Refuse | None:
        return judge(Asked(self._house.listener, self._house.desk.limits, self.session, transaction, said))

    async def _data(self, argument: str) -> Answer:
        if argument:
            return _NO_PARAMETERS
        transaction, desk = self.session.transaction, self._house.desk
        assert transaction is not None
        queue_id = desk.fresh_id()
        intake, body = desk.intake(queue_id), Body(desk.limits.text_line_bytes)
        self._wire.say(_SEND_DATA)
        try:
            while not body.ended:
                await intake.take(body.feed(await self._wire.octets()))
        except BaseException:
            await intake.abandon()
            raise
        self._wire.unread(body.rest)
        listener = self._house.listener
        offer = Offer(queue_id, self.session, transaction, listener.name, listener, body.facts())
        answer = await accept(offer, intake, desk)
        self.session.enter(Phase.IDENTIFIED)
        return answer

    async def _rset(self, argument: str) -> Answer:
        return _NO_PARAMETERS if argument else OK

    async def _noop(self, _: str) -> Answer:
        return OK

    async def _vrfy(self, _: str) -> Answer:
        return _VERIFY

    async def _help(self, _: str) -> Answer:
        return _HELP

    async def _expn(self, _: str) -> Answer:
        return _NOT_IMPLEMENTED

    async def _quit(self, argument: str) -> Answer:
        return _NO_PARAMETERS if argument else _BYE

    _DO: ClassVar[Mapping[str, Callable[["Conversation", str], Awaitable[Answer]]]] = {
        "EHLO": _ehlo,
        "HELO": _helo,
        "STARTTLS": _starttls,
        "AUTH": _auth,
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
