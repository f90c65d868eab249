"""Events, metrics and log lines may fail: the 250 is said and the outcome recorded all the same, and only once."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from delivery.attempt.attempt import attempt
from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.context import DeliveryContext
from delivery.deliver import conclude
from delivery.record import record
from delivery.route.mx import MxHost, Route
from ingress.accept import Acceptance, Submission, accept
from ingress.content.facts import Facts
from ingress.policy.limits import Limits
from ingress.session.command import Destination, LocalHost, client_name, destination, sender
from ingress.session.session import Session, Transaction, envelope_of, origin_of
from ingress.stages import STAGES
from jetpost.events.publish import Events, EventsSettings
from jetpost.events.record import Event
from jetpost.mail.address import domain_of
from jetpost.mail.content import Reference
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Deferred, Delivered
from jetpost.mail.reply import EnhancedStatus, Reply
from jetpost.queue.listing import show
from jetpost.queue.model.entry import fresh_queue_id
from jetpost.queue.model.states import State
from jetpost.queue.queue import Queue
from jetpost.telemetry.best_effort import FAILED
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.mx import Mx
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import PLENTY, fresh, opened
from tests.fixtures.searched import Asking, at_most, searched

LATER = Deferred(EnhancedStatus(4, 2, 1), "later")
UNENCODABLE = "a lone surrogate \ud800"

ascii_labels = st.from_regex(r"[a-z0-9_](?:[a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
domains = st.lists(ascii_labels, min_size=1, max_size=6).map(".".join) | st.text(min_size=1, max_size=12)
literals = st.from_regex(r"\[(?:IPv6:)?[!-Z^-~]{1,60}\]", fullmatch=True)
atoms = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,40}(?:\.[a-z+=]{1,20})?", fullmatch=True)
quoted = st.from_regex(r'"(?:[ !#-\[\]-~]|\\[ -~]){0,30}"', fullmatch=True)
local_parts = atoms | quoted | st.text(min_size=1, max_size=30)
addresses = st.tuples(local_parts, domains | domains | literals).map("@".join)
names = st.from_regex(r"[A-Za-z0-9_.:+-]{1,255}|\[[A-Za-z0-9.:%-]{1,100}\]", fullmatch=True)
parameters = st.sampled_from(["", " BODY=8BITMIME", " SIZE=5 RET=HDRS ENVID=a+2Bb", " AUTH=<>", " ENVID=+C3+A4"])
originals = st.sampled_from(["", " ORCPT=rfc822;a+2Bb@c.test", r" ORCPT=utf-8;\x{E4}@b.test", " NOTIFY=FAILURE,DELAY"])
identities = st.text(max_size=300)


class Unwilling(Events):
    """Takes no event."""

    def tell(self, event: Event) -> None:
        """Fail as a bug would."""
        raise RuntimeError(f"no room for {event.queue_id}")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


async def test_whatever_is_accepted_is_stored_and_what_is_stored_is_accepted(server: NatsServer) -> None:
    ask = Asking()
    async with opened(server) as queue:
        acceptance = acceptance_of(queue, Events(queue._jetstream, EventsSettings(), "ingress"))

        @at_most(120)
        @example("x", "ann@home.test", ["bob@a_0123456.test"], "", "", "", 1)
        @example("x", "ann@my_company.test", ["bob@my_company.test", "bob@x.test"], "", "", "", 1)
        @example("x", "ann@a_ffffff.test", ["bob@[IPv6:_ffffff]", "c@[_0123456]"], "", "", "é\ud800", 10**9)
        @given(
            *(names, addresses | st.just(""), st.lists(addresses, min_size=1, max_size=3)),
            *(parameters, originals, identities, st.integers(0, 10**12)),
        )
        def search(name: str, by: str, to: list[str], said: str, each: str, identity: str, size: int) -> None:
            submission = submitted(name, by, to, said, each, identity, size)
            if submission is None:
                return
            is_accepted, stored = ask(outcome(submission, acceptance))
            domains = {domain_of(it.address) for it in submission.envelope.recipients}
            assert stored == (len(domains) if is_accepted else 0)

        await searched(search)


async def test_an_event_that_fails_takes_no_250_back(server: NatsServer) -> None:
    async with opened(server) as queue:
        acceptance = acceptance_of(queue, Unwilling(queue._jetstream, EventsSettings(), "ingress"))
        submission = submitted("client.test", "ann@home.test", ["bob@dest.test"], "", "", "ann", 5)
        assert submission is not None
        before = FAILED.labels("event")._value.get()

        assert await outcome(submission, acceptance) == (True, 1)

        assert FAILED.labels("event")._value.get() == before + 1


async def test_an_event_that_fails_ends_neither_an_outcome_nor_the_others(server: NatsServer) -> None:
    async with opened(server) as queue:
        events = Unwilling(queue._jetstream, EventsSettings(), "delivery")
        entry = fresh()
        # A queue id from elsewhere, too long for an exemplar of Prometheus.
        entry = msgspec.structs.replace(entry, queue_id=f"{entry.queue_id}-{'b1' * 80}")

        record(entry, dict.fromkeys(entry.envelope.recipients, delivered()), (), datetime.now(UTC), events)


async def test_an_event_that_cannot_be_encoded_does_not_hold_up_the_others(server: NatsServer) -> None:
    async with opened(server) as queue:
        events = Events(queue._jetstream, EventsSettings(flush_s=0.01), "delivery")
        telling = asyncio.create_task(events.run())
        heard: list[bytes] = []
        await queue._jetstream.listen("events.*", lambda message: heard.extend(message.data.splitlines()))
        entry, now = fresh(), datetime.now(UTC)

        record(entry, {Recipient("a@dest.test"): msgspec.structs.replace(LATER, why=UNENCODABLE)}, (), now, events)
        record(entry, {Recipient("b@dest.test"): LATER}, (), now, events)
        await events.aclose()
        await telling

        assert ["b@dest.test" in line.decode() for line in heard] == [True]


async def test_a_successor_that_cannot_be_encoded_is_no_second_attempt(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        consumer = await queue.consumer(State.READY, max_claims=1, max_bytes=PLENTY).start()
        claim = await anext(consumer)
        due = datetime.now(UTC) + timedelta(hours=1)
        last = msgspec.structs.replace(LATER, why=UNENCODABLE)

        assert not await queue.settle(claim, [claim.entry.moved(State.RETRY, due=due, last=last)])

        async def is_held() -> bool:
            return [found.entry.state for _, found in await show(queue, claim.entry.queue_id)] == [State.HELD]

        await eventually_asked(is_held, "it is held, and nothing else is left of it")
        await consumer.stop()


async def test_a_bug_in_the_middle_of_an_attempt_leaves_what_was_settled_before() -> None:
    recipients = tuple(Recipient(f"{name}@dest.test") for name in ("ann", "bob"))
    content = Reference("c1", 4)
    entry = msgspec.structs.replace(fresh(content=content).for_recipients(recipients))
    reads = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1
        yield b"x\r\n"
        if reads > 1:
            raise RuntimeError("a bug")

    async with Mx("mx.dest.test") as host:
        route = Route((MxHost(host.name, (host.address,), host.port),))
        settings = AttemptSettings(recipients_per_transaction=1)
        pool = Pool(settings, "jetpost.test", most=10)
        made = await attempt(entry, route, chunks, pool, settings)
        await pool.aclose()

        assert [type(made.outcomes[recipient]) for recipient in recipients] == [Delivered, Deferred]
        assert [message.recipients for message in host.messages] == [("ann@dest.test",)]


def delivered() -> Delivered:
    return Delivered(Reply(250, None, ("taken",)), "mx.dest.test")


def acceptance_of(queue: Queue, events: Events) -> Acceptance:
    return Acceptance(
        queue,
        events,
        "jetpost.test",
        Limits(),
        STAGES,
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        entropy=lambda: random.getrandbits(42),
    )


def submitted(name: str, by: str, to: list[str], said: str, each: str, identity: str, size: int) -> Submission | None:
    """A message as the commands of a session make it; None when one of them is refused."""
    who = client_name(name)
    reverse_path = sender(f"FROM:<{by}> SMTPUTF8{said}")
    local_host = LocalHost("jetpost.test", "")
    answers = [destination(f"TO:<{address}>{each}", local_host=local_host, smtputf8=True) for address in to]
    destinations = [answer for answer in answers if isinstance(answer, Destination)]
    if isinstance(who, Reply) or isinstance(reverse_path, Reply) or not destinations:
        return None
    session = Session("192.0.2.1", client_name=who, extended=True, identity=identity)
    facts = Facts(size, 0, has_date=True, has_message_id=True, bare=False, nul=False, long_line=False)
    queue_id = fresh_queue_id(datetime.now(UTC), random.getrandbits(42))
    envelope = envelope_of(Transaction(reverse_path, destinations), origin_of(session, "relay", smtputf8=True))
    return Submission(queue_id, envelope, facts, completes_header=False)


async def outcome(submission: Submission, acceptance: Acceptance) -> tuple[bool, int]:
    """Whether the client hears 250, and how many entries of the message are stored."""
    intake = acceptance.intake(submission.queue_id, [domain_of(it.address) for it in submission.envelope.recipients])
    intake.take(b"Subject: x\r\n\r\nx\r\n")
    try:
        answer = await accept(submission, intake, acceptance)
        is_accepted = isinstance(answer, Reply) and answer.code == 250
    except Exception:  # the session answers 451
        is_accepted = False
    about = await acceptance.queue._jetstream.api(
        "STREAM.INFO.MAIL", {"subjects_filter": f"mail.*.*.{submission.queue_id}"}
    )
    return is_accepted, len(about["state"].get("subjects", {}))


class Looking(Events):
    """Notes whether anything was still to be written to NATS when it was told of an event."""

    unwritten: int = -1

    def tell(self, event: Event) -> None:
        """Look before this event is to be written as well."""
        self.unwritten = self._jetstream.nc.pending_data_size
        super().tell(event)


async def test_what_is_logged_as_delivered_has_left_the_process_as_an_ack(server: NatsServer) -> None:
    """A kill right behind the log line must not bring the entry back."""
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        consumer = await queue.consumer(State.READY, max_claims=1, max_bytes=PLENTY).start()
        claim = await anext(aiter(consumer))
        events = Looking(queue._jetstream, EventsSettings(), "delivery")
        context = cast("DeliveryContext", SimpleNamespace(queue=queue, events=events, now=lambda: datetime.now(UTC)))
        delivered = Delivered(Reply(250, None, ("taken",)), "mx.test")
        await conclude(claim, dict.fromkeys(claim.entry.envelope.recipients, delivered), (), context)
        assert events.unwritten == 0
