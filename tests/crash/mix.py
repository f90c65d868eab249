"""Mail of all kinds, and hosts that make of each recipient what its name says. Pure, but for the hosts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.conftest import MakeMx
from tests.crash.account import ACK_WAIT_S, Copy, Fate
from tests.fixtures.message import Message
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import DROP, Script, greylist

HOME = "crash-home.test"
"""Where the senders are, and the DSNs go."""
DOMAINS = {"one": "crash-one.test", "two": "crash-two.test", "slow": "crash-slow.test"}
_SLOW_S = 0.2
"""How long the slow domain thinks about each message."""

INLINE_BYTES = 16 * 1024
SMALL, LARGE = 1_000, 150_000
"""Bytes. A large one is kept by reference, in two chunks."""
SETTINGS = {
    "queue.inline_bytes": INLINE_BYTES,
    "queue.ack_wait_s": ACK_WAIT_S,
    # What the crashes leave in CONTENT is gone soon; twice as long as a commit may take (`queue.commit_timeout_s`).
    "queue.sweep_s": 2,
    "queue.sweep_age_s": 30,
    # Longer than any election: what is this late the servers have forgotten.
    "delivery.retry_late_s": 60,
    "delivery.retry.first_s": 1.5 * ACK_WAIT_S,  # as in production: a retry is due when its predecessor has come again
    "delivery.retry.cap_s": 1.5 * ACK_WAIT_S,
    "delivery.lanes.first_connections": 2,
    "delivery.lanes.connections_per_domain": 4,
    "delivery.lanes.waiting_per_domain": 5,
}
"""Configuration with which all of this happens: large contents are large, and a burst for a slow domain is parked."""

_BURST, _BEFORE, _ROUND = 40, 60, 400
"""So many in a row, after so many of each round, are for the slow domain: early enough for a run with one kill."""
_KINDS: tuple[tuple[str, int], ...] = (
    ("ann@one", SMALL),
    ("ann@two", SMALL),
    ("nobody@one", SMALL),
    ("ann@one", SMALL),
    ("grey@one", SMALL),
    ("ann@two", SMALL),
    ("ann@one bob@one nobody@one grey@one", SMALL),
    ("ann@one", SMALL),
    ("ann@one ann@two", SMALL),
    ("ann@one", LARGE),
    ("ann@two", SMALL),
    ("nobody@one grey@two", SMALL),
    ("ann@one", SMALL),
    ("nobody@one nobody@two ann@two", SMALL),
    ("ann@two", SMALL),
    ("ann@one nobody@one grey@one ann@two nobody@two", LARGE),
    ("ann@one", SMALL),
    ("ann@one ann@slow", SMALL),
    ("ann@two", SMALL),
)

_WORDS: Mapping[str, tuple[str, str | tuple[str, ...]]] = {
    "nobody": ("", "550 5.1.1 no such user"),
    "grey": ("", greylist()),
    # Over LMTP, after the final dot: the reply about one recipient of several.
    "full": ("DOT ", "552 5.2.2 mailbox full"),
    "busy": ("DOT ", ("452 4.2.0 not now",)),
    "broken": ("DOT ", (DROP,)),
}
"""Words that recipients begin with, and what hosts say to them: at RCPT, or behind a prefix of the script's keys."""
_REFUSED = frozenset({"nobody", "full"})

_MARK = re.compile(rb"^Subject: message (\d+), transaction (\d+)\r$", re.MULTILINE)
_QUEUE_ID = re.compile(rb"^\tid ([^;\s]+)", re.MULTILINE)
_DSN = re.compile(rb"^Message-ID: <([^>]+)>\r$", re.MULTILINE)
_ABOUT = re.compile(rb"^Final-Recipient: rfc822; (\S+)\r$", re.MULTILINE)


class Letter(NamedTuple):
    """One message as a client has it."""

    number: int
    fates: Mapping[str, Fate]
    """Its recipients, and what becomes of each."""
    size: int

    @property
    def sender(self) -> str:
        """Each message has one of its own, so that its DSNs are told apart."""
        return f"sender{self.number}@{HOME}"

    def content(self, transaction: int) -> bytes:
        """The bytes that the client sends in its how-manieth transaction for this message; no line needs stuffing."""
        head = f"Subject: message {self.number}, transaction {transaction}\r\n\r\n".encode()
        return head + (b"x" * 70 + b"\r\n") * (self.size // 72)


class Mix(NamedTuple):
    """What is sent: kinds of messages in turn."""

    domains: Mapping[str, str]
    """By the words that stand for them in `kinds`."""
    kinds: Sequence[tuple[str, int]]
    """The recipients of a message, and its size."""
    burst: str
    """To whom many go in a row."""
    ends: Mapping[str, Fate] = {}
    """What becomes of everybody at a domain; elsewhere the name of the recipient says it."""

    def letter(self, number: int) -> Letter:
        """The message that has this number: sizes, domains and fates come in turn."""
        is_burst = _BEFORE <= number % _ROUND < _BEFORE + _BURST
        to, size = (self.burst, SMALL) if is_burst else self.kinds[number % len(self.kinds)]
        names = (name.split("@") for name in to.split())
        return Letter(
            number, {f"{word}{number}@{self.domains[domain]}": self._fate(word, domain) for word, domain in names}, size
        )

    def _fate(self, word: str, domain: str) -> Fate:
        return self.ends.get(domain) or (Fate.BOUNCED if word in _REFUSED else Fate.DELIVERED)


@dataclass(frozen=True)
class Hosts:
    """Where the mail of a mix goes: the hosts of its domains, and of the senders' own."""

    mix: Mix
    scripts: Mapping[str, Script]
    """What the hosts of a domain say, by its name."""
    domains: Sequence[Mx]
    home: Mx

    @classmethod
    async def started(cls, mx: MakeMx) -> "Hosts":
        """Three domains with an MX each, running, and in the zone."""
        slow = {DOMAINS["slow"]: {"DOT": _SLOW_S}}
        running = {domain: await mx(domain, delays=slow.get(domain, {})) for domain in DOMAINS.values()}
        scripts = {domain: host.script for domain, host in running.items()}
        return cls(Mix(DOMAINS, _KINDS, "ann@slow"), scripts, tuple(running.values()), await mx(HOME))

    def expect(self, letter: Letter) -> None:
        """Know what to say to the recipients of a letter; see `_WORDS`."""
        for recipient in letter.fates:
            local, _, domain = recipient.partition("@")
            key, reply = _WORDS.get(local.rstrip("0123456789"), ("", ""))
            if reply and domain in self.scripts:
                self.scripts[domain].replies[key + local] = reply

    def copies(self) -> Iterator[Copy]:
        """Everything that came, by recipient."""
        for host in self.domains:
            for message in host.messages:
                yield from self._taken(message)
        for message in self.home.messages:
            yield from self._reported(message)

    def _marked(self, message: Message) -> tuple[Letter, int]:
        """The letter it is, or is about, and the client's transaction it came in by."""
        found = _MARK.search(message.content)
        assert found is not None, message.content[:2000]
        return self.mix.letter(int(found[1])), int(found[2])

    def _taken(self, message: Message) -> Iterator[Copy]:
        letter, transaction = self._marked(message)
        intact = message.below_trace == letter.content(transaction) and message.reverse_path == letter.sender
        for recipient in message.recipients:
            attempted = (_queue_id(message), recipient)
            yield Copy(
                letter.number, transaction, recipient, "", intact, message.begun, message.at, message.source, attempted
            )

    def _reported(self, message: Message) -> Iterator[Copy]:
        letter, transaction = self._marked(message)
        dsn = _DSN.search(message.content)
        assert dsn is not None, message.content[:2000]
        queue_id = dsn[1].decode().rpartition("@")[0]
        intact = message.recipients == (letter.sender,) and not message.reverse_path
        for recipient in _ABOUT.findall(message.content):
            yield Copy(
                letter.number,
                transaction,
                recipient.decode(),
                dsn[1].decode(),
                intact,
                message.begun,
                message.at,
                message.source,
                (queue_id, letter.sender),
            )


def _queue_id(message: Message) -> str:
    """The queue id in the Received field that ingress put on top."""
    found = _QUEUE_ID.search(message.content)
    assert found is not None, message.content[:2000]
    return found[1].decode()
