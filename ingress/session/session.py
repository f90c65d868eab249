"""What is known of a session and of its mail transaction so far."""

from dataclasses import dataclass, field

from ingress.session.command import Destination, Sender
from ingress.session.phase import Phase
from jetpost.mail.envelope import Envelope, Origin
from jetpost.mail.trace import protocol

_RECIPIENTS_OF_A_COMMAND = 100
"""So many accepted recipients that led to no message count as one command that led nowhere."""
_RECIPIENT_BYTES = 600
"""About what a recipient takes up beside the text it was told in."""
_IN_TRANSACTION = frozenset({Phase.SENDER, Phase.RECIPIENTS, Phase.DATA})


@dataclass(slots=True)
class Transaction:
    """From MAIL to the final dot."""

    sender: Sender
    destinations: list[Destination] = field(default_factory=list)
    held_bytes: int = 0
    """About what the recipients take up in memory."""

    def add(self, destination: Destination, told_bytes: int) -> None:
        """One more recipient, told in so many bytes."""
        self.destinations.append(destination)
        self.held_bytes += _RECIPIENT_BYTES + 2 * told_bytes


@dataclass(slots=True)
class Session:
    """One connection."""

    client_address: str
    """The peer's IP address."""
    tls: str = ""
    """TLS version and cipher; empty on a plain connection."""
    phase: Phase = Phase.CONNECTED
    client_name: str = ""
    """What the client called itself."""
    extended: bool = False
    """Whether it said EHLO rather than HELO."""
    identity: str = ""
    """The authenticated user; empty when nobody authenticated."""
    transaction: Transaction | None = None
    errors: int = 0
    """Commands refused so far."""
    auth_failures: int = 0
    commands_without_message: int = 0
    """Commands since the last accepted message that brought none nearer."""
    refused_recipients: int = 0
    """Recipients refused since then."""

    def command_refused(self, *, is_recipient: bool, overshoot: int) -> None:
        """A command was refused. Clients may be told of so many recipients in `overshoot` before that counts.

        Beyond the limit of recipients clients go on to the end of their list, as Postfix allows as well
        (`smtpd_recipient_overshoot_limit`).
        """
        self.refused_recipients += is_recipient
        if not is_recipient or self.refused_recipients > overshoot:
            self.commands_without_message += 1

    def message_accepted(self) -> None:
        """A message was accepted: the client may ask for as much again."""
        self.commands_without_message = self.refused_recipients = 0
        self.transaction = None

    def enter(self, phase: Phase) -> None:
        """Go on to `phase`; what the new phase does not know of is forgotten."""
        self.phase = phase
        if phase not in _IN_TRANSACTION:
            if self.transaction is not None:
                self.commands_without_message += len(self.transaction.destinations) // _RECIPIENTS_OF_A_COMMAND
            self.transaction = None
        if phase is Phase.CONNECTED:
            self.client_name, self.extended, self.identity = "", False, ""

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL was accepted and nothing has ended it."""
        return self.transaction is not None


def origin_of(session: Session, listener: str, *, smtputf8: bool) -> Origin:
    """Who hands the message in, whence and how protected."""
    return Origin(
        client_address=session.client_address,
        client_name=session.client_name,
        protocol=protocol(
            extended=session.extended,
            tls=bool(session.tls),
            authenticated=bool(session.identity),
            smtputf8=smtputf8,
        ),
        tls=session.tls,
        identity=session.identity,
        listener=listener,
    )


def envelope_of(transaction: Transaction, origin: Origin) -> Envelope:
    """The transaction as an envelope. A recipient named twice gets one copy."""
    parameters = transaction.sender.parameters
    return Envelope(
        reverse_path=transaction.sender.address,
        recipients=tuple(dict.fromkeys(destination.recipient for destination in transaction.destinations)),
        origin=origin,
        body=parameters.body,
        smtputf8=parameters.smtputf8,
        envid=parameters.envid,
        ret=parameters.ret,
    )
