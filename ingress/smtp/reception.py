"""A message on its way in: from DATA to what becomes of it."""

from ingress.accept import Submission, accept
from ingress.content.intake import Intake
from ingress.content.receiving import Receiving
from ingress.policy.relay import may_relay
from ingress.session.session import Session, envelope_of, origin_of
from ingress.smtp.context import Answer, SessionContext
from jetpost.mail.reply import Reply
from jetpost.sign.author import authors_of
from jetpost.sign.body_hash import BodyHash


class Reception:
    """The messages of one session, one at a time."""

    def __init__(self, context: SessionContext, session: Session) -> None:
        self._context = context
        self._session = session
        self._receiving: Receiving | None = None
        self._submitted: Intake | None = None
        self.queue_id = ""
        """Of the message that was announced last."""

    @property
    def is_open(self) -> bool:
        """Whether what arrives is the message."""
        return self._receiving is not None

    @property
    def is_committing(self) -> bool:
        """Whether a message has arrived completely, and what becomes of it is not known yet."""
        return self._submitted is not None

    @property
    def held_bytes(self) -> int:
        """What is in memory of the message."""
        if self._receiving is not None:
            return self._receiving.held_bytes
        return 0 if self._submitted is None else self._submitted.held_bytes

    def begin(self) -> None:
        """The message of the session's transaction follows."""
        acceptance, transaction = self._context.acceptance, self._session.transaction
        assert transaction is not None
        self.queue_id = queue_id = acceptance.fresh_id()
        intake = acceptance.intake(queue_id, (it.domain for it in transaction.destinations))
        # Mail that anybody may hand in is not ours, whatever its From says.
        signs = acceptance.signer is not None and may_relay(self._session, self._context.listener)
        body_hash = BodyHash() if signs else None
        self._receiving = Receiving(queue_id, intake, self._context.limits.text_line_bytes, body_hash)

    def take(self, data: bytes) -> Receiving:
        """Take a piece of the message; once it has ended, `submit` it."""
        receiving = self._receiving
        assert receiving is not None
        receiving.take(data)
        if receiving.ended:
            self._receiving, self._submitted = None, receiving.intake
        return receiving

    async def submit(self, receiving: Receiving) -> Answer:
        """What becomes of the message that has arrived completely. The session goes on after it."""
        session = self._session
        try:
            submission = await self._submission(receiving)
            answer = await accept(submission, receiving.intake, self._context.acceptance)
            if isinstance(answer, Reply):
                session.message_accepted()
            return answer
        finally:
            self._submitted = None

    def abandon(self) -> Receiving | None:
        """Receive no more; what had begun to arrive."""
        receiving, self._receiving = self._receiving, None
        return receiving

    async def _submission(self, receiving: Receiving) -> Submission:
        """What the dialogue has said, and what has arrived, as a message."""
        transaction, listener = self._session.transaction, self._context.listener
        assert transaction is not None
        try:
            smtputf8 = transaction.sender.parameters.smtputf8
            envelope = envelope_of(transaction, origin_of(self._session, listener.name, smtputf8=smtputf8))
            facts, signable = receiving.facts(), receiving.signable()
            authors = authors_of(receiving.header()) if self._checks_sender() else None
            return Submission(receiving.queue_id, envelope, facts, listener.submission, signable, authors)
        except Exception:
            await receiving.intake.abandon()
            raise

    def _checks_sender(self) -> bool:
        """Whether the sender of the message is to be checked: one of ours, who could mend what is wrong."""
        return self._context.acceptance.sender_check is not None and may_relay(self._session, self._context.listener)
