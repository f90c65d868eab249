"""Whether each message that got a 250 was delivered or bounced exactly once. Pure: what was seen, and what it proves.

A copy too many is a fault unless the death of a certain process at a certain moment explains it. There are four ways
in which the design allows one (`docs/states.md`), and each leaves its own trace:

- a delivery process was killed between the host's 250 and the settlement: the first copy came from that very process,
  which did not live to log what became of it, and the next from another;
- a nats-server was away when the ack was on its way, or forgot it, or forgot who had claimed the entry: the message was
  handed in before the server was back, and its first copy came while the server was away, at most LAG_S before, or
  before the claims it had forgotten were settled or lost, at most ACK_WAIT_S after;
- the client never heard the 250: the copies belong to two transactions of its, the first of which had sent its final
  dot and was waiting when ingress or a nats-server was away;
- the whole machine stood still for longer than claims are confirmed: the tests' own process had no turn either. It
  counts as a nats-server that was away.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

LAG_S = 0.5
"""How long before an outage something may have happened that was not on disk yet: an ack that was not written.
Milliseconds as a rule; this is for a machine that is overloaded."""
UNSETTLED_S = 5.0
"""How long before a kill a host may have said 250 while the killed process had not settled it. Milliseconds as a rule,
and what was settled is in its log; more would be a process that hangs."""
ACK_WAIT_S = 8.0
"""`queue.ack_wait_s` of these runs. So long after a nats-server is back an entry may be delivered to two processes: who
had claimed it is still at it, and the server may have forgotten that, or not heard of it, and have given it to
another."""
STILL_S = ACK_WAIT_S / 3
"""So often a process tells the server that it is at an entry. A machine that stands still for longer ends claims."""
MACHINE = "machine"
"""The kind of an outage in which everything stood still."""
_FORGETFUL = frozenset({"nats-server", MACHINE})
"""Who may give an entry to two processes."""


class Fate(StrEnum):
    """What must become of a recipient."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    DISCARDED = "discarded"


class Transaction(NamedTuple):
    """A message on its way from a client to ingress, with its final dot sent: accepted, or in doubt."""

    message: int
    number: int
    """The how-manieth time the client sends this message."""
    fates: Mapping[str, Fate]
    """Each recipient, and what the hosts will make of it."""
    dot: float
    """When the final dot was sent; all times are those of one clock, in seconds."""
    ended: float
    """When the reply was there, or the hope of one had gone."""
    accepted: bool
    """Whether the client heard 250. If not, the queue has the message or not: nobody knows."""
    refused: bool = False
    """Whether the client heard 4xx: what is stored of it all the same is removed, maybe in the middle of an attempt."""


class Copy(NamedTuple):
    """What a host took about one recipient: the message, or a DSN about it."""

    message: int
    transaction: int
    recipient: str
    dsn: str
    """The Message-ID of the DSN that says that it failed; empty when this is the message itself."""
    intact: bool
    """Whether it is, byte for byte, what the client sent; a DSN, whether it came to the sender."""
    begun: float
    """When the host heard of it."""
    at: float
    """When the host took it."""
    source: str
    """The address it came from: that of one life of one delivery process."""
    attempted: tuple[str, str]
    """The queue id and the recipient that a delivery process logs about it."""


class Outage(NamedTuple):
    """A process that was away."""

    kind: str
    """ingress, delivery, bouncer, nats-server or machine."""
    how: str
    """killed, cut off, replaced, paused."""
    source: str
    """The address a delivery process sent from until then."""
    began: float
    """When it was killed."""
    ended: float
    """When everything was ready again."""

    def covers(self, begun: float, ended: float, *, early_s: float = LAG_S, late_s: float = 0) -> bool:
        """Whether something that took so long was under way in its window, `early_s` before or `late_s` after."""
        return begun <= self.ended + late_s and self.began - early_s <= ended


class Duplicate(NamedTuple):
    """A copy too many."""

    recipient: str
    first: Copy
    second: Copy
    why: str
    """What explains it; empty: nothing does."""


class Account(NamedTuple):
    """The sum of a run."""

    accepted: int
    """Messages with a 250."""
    in_doubt: int
    """Transactions without a reply to their final dot; the client sent the message again."""
    delivered: int
    """Recipients of those messages who have one."""
    bounced: int
    """Recipients about whom the sender has a DSN."""
    duplicates: tuple[Duplicate, ...]
    faults: tuple[str, ...]
    """What must not be. A line each."""
    discarded: int = 0
    """Recipients of those messages who were to have nothing, and have nothing."""


def balance(
    transactions: Iterable[Transaction],
    copies: Iterable[Copy],
    outages: Sequence[Outage],
    settled: Mapping[tuple[str, str], int],
) -> Account:
    """Hold what arrived against what was handed in.

    `settled` says of each queue id and recipient how often a delivery process logged that it was delivered.
    """
    handed_in = {(transaction.message, transaction.number): transaction for transaction in transactions}
    arrived: dict[tuple[int, int], dict[str, list[Copy]]] = {key: defaultdict(list) for key in handed_in}
    faults = []
    for copy in sorted(copies, key=lambda copy: copy.at):
        transaction = handed_in.get((copy.message, copy.transaction))
        if transaction is None or copy.recipient not in transaction.fates:
            faults.append(f"from nowhere: {copy}")
            continue
        if not copy.intact:
            faults.append(f"changed on its way: {copy}")
        arrived[copy.message, copy.transaction][copy.recipient].append(copy)
    for key, transaction in handed_in.items():
        faults += _wrong(transaction, arrived[key], outages)
    duplicates = (*_twice(handed_in, arrived, outages, settled), *_sent_again(handed_in, arrived, outages))
    faults += [f"a duplicate that nothing explains: {one}" for one in duplicates if not one.why]
    accepted = [transaction for transaction in handed_in.values() if transaction.accepted]
    fates = [_fates(arrived[one.message, one.number].get(name, [])) for one in accepted for name in one.fates]
    return Account(
        accepted=len(accepted),
        in_doubt=len(handed_in) - len(accepted),
        delivered=sum(Fate.DELIVERED in those for those in fates),
        bounced=sum(Fate.BOUNCED in those for those in fates),
        duplicates=duplicates,
        faults=tuple(faults),
        discarded=sum(
            fate is Fate.DISCARDED and not arrived[one.message, one.number].get(name)
            for one in accepted
            for name, fate in one.fates.items()
        ),
    )


def _fates(copies: Iterable[Copy]) -> set[Fate]:
    return {Fate.BOUNCED if copy.dsn else Fate.DELIVERED for copy in copies}


def _wrong(transaction: Transaction, arrived: Mapping[str, Sequence[Copy]], outages: Sequence[Outage]) -> Iterator[str]:
    """Whom the transaction failed, apart from duplicates."""
    may_be_withdrawn = transaction.refused and any(
        outage.kind in _FORGETFUL and outage.covers(transaction.dot, transaction.ended) for outage in outages
    )
    name = f"message {transaction.message}, transaction {transaction.number}"
    if not transaction.accepted and not arrived:
        return  # it was not stored
    for recipient, fate in transaction.fates.items():
        copies = arrived.get(recipient, [])
        became = _fates(copies)
        if not became and (may_be_withdrawn or fate is Fate.DISCARDED):
            continue
        if not became:
            yield f"lost: {name} for {recipient}" if transaction.accepted else f"stored in part: {name}, no {recipient}"
        elif len(became) > 1:
            yield f"delivered and bounced: {name} for {recipient}"
        elif fate not in became:
            yield f"not {fate}: {name} for {recipient}"
        if len({copy.dsn for copy in copies if copy.dsn}) > 1:
            yield f"two DSNs: {name} for {recipient}"


def _twice(
    handed_in: Mapping[tuple[int, int], Transaction],
    arrived: Mapping[tuple[int, int], Mapping[str, Sequence[Copy]]],
    outages: Sequence[Outage],
    settled: Mapping[tuple[str, str], int],
) -> Iterator[Duplicate]:
    """Copies too many of one transaction: delivery sent them."""
    for key, recipients in arrived.items():
        for recipient, copies in recipients.items():
            is_unsettled = settled.get(copies[0].attempted, 0) < len(copies)
            for first, second in pairwise(copies):
                why = _redelivered(handed_in[key], first, second, outages, is_unsettled=is_unsettled)
                yield Duplicate(recipient, first, second, why)


def _redelivered(
    transaction: Transaction, first: Copy, second: Copy, outages: Sequence[Outage], *, is_unsettled: bool
) -> str:
    """What makes delivery send a message that a host has; empty: nothing we know of.

    `is_unsettled`: a process that delivered it did not log that.
    """
    for outage in outages:
        if second.at < outage.began:
            continue
        what = f"{outage.kind} was {outage.how} {_about(outage.began - first.at)} the first"
        killed = is_unsettled and outage.kind == "delivery" and outage.source == first.source != second.source
        if killed and outage.covers(first.begun, first.at, early_s=UNSETTLED_S):
            return f"its {what}"
        away = outage.kind in _FORGETFUL and transaction.dot <= outage.ended
        if away and outage.covers(first.begun, first.at, late_s=ACK_WAIT_S):
            return what
    return ""


def _about(seconds: float) -> str:
    return f"{seconds:.3f} s after" if seconds > 0 else f"{-seconds:.3f} s before"


def _sent_again(
    handed_in: Mapping[tuple[int, int], Transaction],
    arrived: Mapping[tuple[int, int], Mapping[str, Sequence[Copy]]],
    outages: Sequence[Outage],
) -> Iterator[Duplicate]:
    """Copies of a transaction in doubt, where a later one of the same message arrived as well: the client sent both."""
    earlier: dict[tuple[int, str], Copy] = {}
    for message, number in sorted(handed_in):
        for recipient, copies in arrived[message, number].items():
            before = earlier.get((message, recipient))
            if before is not None:
                why = _left_in_doubt(handed_in[message, before.transaction], outages)
                yield Duplicate(recipient, before, copies[0], why)
            earlier[message, recipient] = copies[0]


def _left_in_doubt(transaction: Transaction, outages: Sequence[Outage]) -> str:
    """What left its client without a 250; empty: nothing we know of."""
    if transaction.accepted:
        return ""
    for outage in outages:
        if outage.kind in _FORGETFUL | {"ingress"} and outage.covers(transaction.dot, transaction.ended):
            return f"its client had no 250 and sent it again: {outage.kind} was {outage.how}"
    return ""
