"""A message of which not all has arrived: its framing, the observers of its content, and where the content goes."""

from ingress.content.facts import Facts, HeaderReader, Measure, Observer, facts_of
from ingress.content.framing import DotStuffed
from ingress.content.intake import Intake
from jetpost.mail.header import Header
from jetpost.queue.model.entry import QueueId
from jetpost.sign.body_hash import BodyHash
from jetpost.sign.dkim import Signable, signable


class Receiving:
    """Takes one message, piece by piece, until it has `ended`."""

    def __init__(
        self, queue_id: QueueId, intake: Intake, most_line_bytes: int, body_hash: BodyHash | None = None
    ) -> None:
        """`body_hash` is there when the message is to be signed."""
        self.queue_id = queue_id
        self.intake = intake
        self._framing = DotStuffed()
        self._measured = Measure(most_line_bytes)
        self._header = HeaderReader()
        self._body_hash = body_hash
        observers = (self._measured, self._header)
        self._observers: tuple[Observer, ...] = observers if body_hash is None else (*observers, body_hash)

    @property
    def ended(self) -> bool:
        """Whether all has arrived."""
        return self._framing.ended

    @property
    def held_bytes(self) -> int:
        """What is in memory of the message."""
        held = self.intake.held_bytes + self._framing.held_bytes
        return held + sum([observer.held_bytes for observer in self._observers])

    def take(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        content = self._framing.feed(data)
        if content:
            for observer in self._observers:
                observer.observe(content)
            self.intake.take(content)

    def rest(self) -> bytes:
        """What followed the end of the message, once; it is given away."""
        rest, self._framing.rest = self._framing.rest, b""
        return rest

    def header(self) -> Header:
        """The header of the content that has ended."""
        return self._header.header()

    def signable(self) -> Signable | None:
        """What there is to sign of the content that has ended, once; None when it is not to be signed."""
        return None if self._body_hash is None else signable(self.header(), self._body_hash)

    def facts(self) -> Facts:
        """What there is to say about the content that has ended."""
        return facts_of(self._measured, self.header())
