"""What each command does. What it means is decided in `session` and `policy`."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ingress.auth.dialogue import Response, authenticate
from ingress.policy.request import PolicyRequest
from ingress.policy.verdict import Refuse, Verdict
from ingress.session.command import client_name, destination, sender
from ingress.session.commands import COMMANDS, HELP
from ingress.session.session import Session, Transaction
from ingress.session.wire import Wire
from ingress.smtp.context import Answer, Answering, SessionContext
from ingress.smtp.ehlo import extensions, not_now
from ingress.smtp.reception import Reception
from jetpost.mail.reply import EnhancedStatus, Reply

_OK = EnhancedStatus(2, 0, 0)
OK = Reply(250, _OK, ("Ok",))
_SENDER_OK = Reply(250, EnhancedStatus(2, 1, 0), ("Ok",))
_RECIPIENT_OK = Reply(250, EnhancedStatus(2, 1, 5), ("Ok",))
_SEND_DATA = Reply(354, None, ("End data with <CR><LF>.<CR><LF>",))
_READY_FOR_TLS = Reply(220, _OK, ("Ready to start TLS",))
_BYE = Reply(221, _OK, ("Bye",))
_VERIFY = Reply(252, _OK, ("Cannot verify, but will take the message and try",))
_NOT_IMPLEMENTED = Refuse(Reply(502, EnhancedStatus(5, 5, 1), ("Not implemented",)), "sequence")


class Commands:
    """Carries the commands of one session out. Each method gets the rest of the line after its verb."""

    def __init__(
        self, wire: Wire, context: SessionContext, session: Session, reception: Reception, response: Response
    ) -> None:
        self._wire = wire
        self._context = context
        self._session = session
        self._reception = reception
        self._response = response

    def connect(self) -> Answer | Answering:
        """The client has connected: the greeting (RFC 5321, 3.1)."""
        greeting = Reply(220, None, (f"{self._context.local_host.hostname} ESMTP Jetpost",))
        return _unless(self._context.stages.connect(self._request()), lambda: greeting)

    def ehlo(self, argument: str) -> Answer | Answering:
        """Greeted by who knows extensions."""
        return self._greet(argument, extended=True)

    def helo(self, argument: str) -> Answer | Answering:
        """Greeted by who knows none."""
        return self._greet(argument, extended=False)

    def starttls(self, _: str) -> Answer | Answering:
        """Shake hands (RFC 3207)."""
        return not_now(COMMANDS["STARTTLS"], self._session, self._context.offers) or self._shake_hands()

    def auth(self, argument: str) -> Answer | Answering:
        """Find out who the client is (RFC 4954)."""
        context, session = self._context, self._session
        return not_now(COMMANDS["AUTH"], session, context.offers) or authenticate(
            argument, session, self._wire.ask, self._response, context.backends
        )

    def mail(self, argument: str) -> Answer | Answering:
        """Begin a transaction."""
        said = sender(argument)
        if isinstance(said, Reply):
            return Refuse(said, "syntax")
        transaction = Transaction(said)

        def begin() -> Answer:
            self._session.transaction = transaction
            return _SENDER_OK

        return _unless(self._context.stages.mail(self._request(transaction)), begin)

    def rcpt(self, argument: str) -> Answer | Answering:
        """Name a recipient."""
        transaction = self._session.transaction
        assert transaction is not None
        smtputf8 = transaction.sender.parameters.smtputf8
        said = destination(argument, local_host=self._context.local_host, smtputf8=smtputf8)
        if isinstance(said, Reply):
            return Refuse(said, "syntax")
        to = said

        def add() -> Answer:
            transaction.add(to, len(argument))
            return _RECIPIENT_OK

        context = self._context
        asked = PolicyRequest(context.listener, context.limits, self._session, transaction, said)
        return _unless(context.stages.rcpt(asked), add)

    def data(self, _: str) -> Answer | Answering:
        """The message follows."""
        self._reception.begin()
        return _SEND_DATA

    def rset(self, _: str) -> Answer | Answering:
        """Forget the transaction; so the next phase does."""
        return OK

    def noop(self, _: str) -> Answer | Answering:
        """Nothing."""
        return OK

    def vrfy(self, _: str) -> Answer | Answering:
        """Whether there is a mailbox: nobody is told (RFC 5321, 7.3)."""
        return _VERIFY

    def help(self, _: str) -> Answer | Answering:
        """Name the commands."""
        return HELP

    def expn(self, _: str) -> Answer | Answering:
        """Who is on a list: there are none."""
        return _NOT_IMPLEMENTED

    def quit(self, _: str) -> Answer | Answering:
        """The client leaves."""
        return _BYE

    def _request(self, transaction: Transaction | None = None) -> PolicyRequest:
        return PolicyRequest(self._context.listener, self._context.limits, self._session, transaction)

    def _greet(self, argument: str, *, extended: bool) -> Answer | Answering:
        name, context, session = client_name(argument), self._context, self._session
        if isinstance(name, Reply):
            return Refuse(name, "syntax")
        said = name

        def greeted() -> Answer:
            session.client_name, session.extended = said, extended
            hostname = context.local_host.hostname
            if not extended:
                return Reply(250, None, (hostname,))
            return extensions(hostname, session, context.limits.message_bytes, context.offers)

        return _unless(context.stages.helo(self._request()), greeted)

    async def _shake_hands(self) -> Answer:
        self._wire.say(_READY_FOR_TLS)
        self._session.tls = await self._wire.start_tls()
        return None


def _unless(verdict: Verdict | Coroutine[Any, Any, Verdict], then: Callable[[], Answer]) -> Answer | Answering:
    """The objection, or what comes `then`; at once, unless the verdict takes time."""
    if verdict is None:
        return then()
    return verdict if isinstance(verdict, Refuse) else _unless_in_time(verdict, then)


async def _unless_in_time(verdict: Coroutine[Any, Any, Verdict], then: Callable[[], Answer]) -> Answer:
    return await verdict or then()


HANDLERS: Mapping[str, Callable[[Commands, str], Answer | Answering]] = {
    verb: getattr(Commands, command.handler) for verb, command in COMMANDS.items()
}
"""Every verb has what carries it out."""
