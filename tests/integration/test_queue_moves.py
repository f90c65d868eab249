"""The queue's promises about moves, against a real nats-server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from jetpost.mail.content import Content
from jetpost.queue.claims.claim import Claim
from jetpost.queue.claims.consume import Consumer
from jetpost.queue.listing import depth, entries, show
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.states import State
from jetpost.queue.model.transition import publication, succession
from jetpost.queue.operate import release
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Refused
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import ACK_WAIT_S, PLENTY, fresh, opened


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


async def consuming(queue: Queue, state: State = State.READY) -> Consumer:
    return await queue.consumer(state, max_claims=1000, max_bytes=PLENTY).start()


async def claimed(queue: Queue, state: State = State.READY) -> Claim:
    """The next entry of `state`, by a consumer of its own that takes no other."""
    consumer = await consuming(queue, state)
    claim = await anext(consumer)
    await consumer.stop()
    return claim


async def test_all_entries_of_a_message_are_stored_or_none(server: NatsServer) -> None:
    async with opened(server) as queue:
        first = fresh()
        other = msgspec.structs.replace(fresh("other.test"), queue_id=first.queue_id)
        assert await queue.enqueue([first, other]) == Committed()
        assert [found.entry for _, found in await show(queue, first.queue_id)] == [first, other]


async def test_an_enqueue_in_doubt_can_be_repeated_even_when_the_entry_is_finished(server: NatsServer) -> None:
    async with opened(server) as queue:
        entry = fresh()
        await queue.enqueue([entry])
        assert await queue.enqueue([entry]) == Committed()
        await queue.settle(await claimed(queue), [])
        await eventually_asked(lambda: _is_empty(queue), "the entry has gone")
        assert await queue.enqueue([entry]) == Committed()
        assert await _is_empty(queue)


MOVES_UNDER_THE_SAME_KEY: dict[str, Callable[[Entry], Entry]] = {
    "parked": lambda entry: entry.moved(State.PARKED),
    "retried": lambda entry: entry.moved(State.RETRY, attempts=1, due=datetime.now(UTC) + timedelta(seconds=0.5)),
    "stored again": lambda entry: entry.moved(State.READY),
    "stored again after a claim without an outcome": lambda entry: entry.moved(State.READY, claims=1),
    "held": lambda entry: entry.moved(State.HELD, reason="an operator wants to see it"),
}


@pytest.mark.parametrize(
    ("move", "can_purge"), [*((move, True) for move in MOVES_UNDER_THE_SAME_KEY), ("parked", False)]
)
async def test_a_predecessor_without_its_ack_is_not_attempted_after_its_successor_was_delivered(
    server: NatsServer, move: str, can_purge: bool
) -> None:
    async with opened(server) as killed, opened(server) as alive:
        await killed.enqueue([fresh()])
        ready = await claimed(killed)
        successor = MOVES_UNDER_THE_SAME_KEY[move](ready.entry)
        await killed._moves.claimed(ready, [successor])  # killed here, before its ack
        if successor.state is State.HELD:
            await _released(alive)
        delivered = await claimed(alive, State.PARKED if successor.state is State.PARKED else State.READY)
        assert delivered.sequence > ready.sequence
        if not can_purge:
            await _deny_purge(alive)

        await alive.settle(delivered, [])

        killed._consumers.clear()  # the dead send no in-progress acks
        rival = await consuming(alive)
        await eventually_asked(lambda: _is_empty(alive), "the predecessor has gone as well")
        assert rival.claims == []


async def _released(queue: Queue) -> None:
    for number, found in await entries(queue, state=State.HELD):
        assert await release(queue, queue.shards[number], found)


async def _deny_purge(queue: Queue) -> None:
    api = queue.shards[0].jetstream.api
    config = (await api("STREAM.INFO.MAIL"))["config"]
    await api("STREAM.UPDATE.MAIL", {**config, "deny_purge": True, "allow_rollup_hdrs": False})


async def test_what_a_killed_server_kept_of_an_enqueue_is_completed(server: NatsServer) -> None:
    async with opened(server) as queue:
        first = fresh()
        other = msgspec.structs.replace(fresh("other.test"), queue_id=first.queue_id)
        # The server was killed between two writes of the batch, and found the first again …
        await queue._committers[0].commit((publication(queue.shards[0], first, 0),))
        # … so the repeated batch is refused, and what is missing is stored all the same.
        assert await queue.enqueue([first, other]) == Committed()
        assert [found.entry for _, found in await show(queue, first.queue_id)] == [first, other]


async def test_what_a_killed_server_kept_of_a_move_is_completed(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        claim = await claimed(queue)
        retry = claim.entry.moved(State.RETRY, attempts=1, due=datetime.now(UTC) + timedelta(hours=1))
        bounce = claim.entry.part("b1").moved(State.BOUNCE)
        unit = succession(claim.shard, claim.entry, claim.sequence, [retry, bounce])
        await queue._committers[0].commit(unit[:1])
        await queue.settle(claim, [retry, bounce])
        await eventually_asked(lambda: _holds(queue, {State.RETRY: 1, State.BOUNCE: 1}), "each successor stands once")


async def test_a_deferred_entry_comes_back_when_it_is_due_with_its_history(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        consumer = await consuming(queue)
        claim = await anext(consumer)
        due = datetime.now(UTC) + timedelta(seconds=1)
        await queue.settle(claim, [claim.entry.moved(State.RETRY, attempts=1, due=due)])
        await eventually_asked(lambda: _holds(queue, {State.RETRY: 1}), "it waits for its time")
        again = await anext(consumer)
        assert datetime.now(UTC) >= due
        assert (again.entry.queue_id, again.entry.attempts) == (claim.entry.queue_id, 1)
        assert again.entry.content == claim.entry.content


async def test_a_move_repeated_after_a_crash_is_refused(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        claim = await claimed(queue)
        retry = claim.entry.moved(State.RETRY, attempts=1, due=datetime.now(UTC) + timedelta(hours=1))
        bounce = claim.entry.part("b1").moved(State.BOUNCE)
        unit = succession(claim.shard, claim.entry, claim.sequence, [retry, bounce])
        await queue.settle(claim, [retry, bounce])
        assert await queue._committers[0].commit(unit) == Refused()
        await eventually_asked(lambda: _holds(queue, {State.RETRY: 1, State.BOUNCE: 1}), "each successor stands once")


async def test_one_refused_unit_does_not_take_the_others_of_its_batch_along(server: NatsServer) -> None:
    async with opened(server) as queue:
        taken = fresh()
        await queue.enqueue([taken])
        shard = queue.shards[0]
        repeated = (publication(shard, taken, 0), publication(shard, fresh("other.test"), 0))
        fine = (publication(shard, fresh(), 0), publication(shard, fresh(), 0))
        committer = queue._committers[0]
        first = committer.commit(repeated)
        answers = [await answer for answer in [first, committer.commit(fine)]]
        assert isinstance(answers[0], Refused)
        assert not isinstance(answers[1], Refused)


async def test_a_dsn_is_queued_once_though_the_bounce_comes_back_after_it_was_delivered(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        claim = await claimed(queue)
        await queue.settle(claim, [claim.entry.moved(State.BOUNCE)])
        bounce = await claimed(queue, State.BOUNCE)
        dsn = msgspec.structs.replace(fresh("home.test"), queue_id=bounce.entry.dsn_id())
        # The bouncer dies between batch and ack …
        unit = succession(bounce.shard, bounce.entry, bounce.sequence, [dsn])
        await queue._committers[0].commit(unit)
        await queue.settle(await claimed(queue), [])
        await eventually_asked(lambda: _holds(queue, {State.BOUNCE: 1}), "the DSN has been delivered")
        # … and another one repeats its move.
        await queue.settle(bounce, [dsn])
        await eventually_asked(lambda: _is_empty(queue), "there is no second DSN")


async def test_an_entry_whose_holder_died_after_the_move_is_acknowledged_and_not_attempted(server: NatsServer) -> None:
    async with opened(server) as dying:
        await dying.enqueue([fresh()])
        claim = await claimed(dying)
        parked = claim.entry.moved(State.PARKED)
        await dying._committers[0].commit(succession(claim.shard, claim.entry, claim.sequence, [parked]))
    async with opened(server) as living:
        consumer = await consuming(living)
        await eventually_asked(lambda: _holds(living, {State.PARKED: 1}), "the predecessor is acknowledged")
        assert consumer.claims == []


async def test_an_entry_whose_delivery_the_server_has_forgotten_is_acknowledged_and_not_attempted(
    server: NatsServer,
) -> None:
    """As after a `kill -9` of the server: it delivers the predecessor once more, and says that it is the first time."""
    async with opened(server) as dying:
        await dying.enqueue([fresh()])
        claim = await claimed(dying)
        parked = claim.entry.moved(State.PARKED)
        await dying._committers[0].commit(succession(claim.shard, claim.entry, claim.sequence, [parked]))
        await claim.shard.jetstream.api("CONSUMER.DELETE.MAIL.ready")
    async with opened(server) as living:
        consumer = await consuming(living)
        await eventually_asked(lambda: _holds(living, {State.PARKED: 1}), "the predecessor is acknowledged")
        assert consumer.claims == []


async def test_a_claim_is_kept_alive_for_as_long_as_the_work_takes(server: NatsServer) -> None:
    async with opened(server) as queue, opened(server) as other:
        await queue.enqueue([fresh(), fresh("other.test")][:1])
        claim = await claimed(queue)
        rival = await consuming(other)
        deadline = datetime.now(UTC) + timedelta(seconds=3 * ACK_WAIT_S)
        await eventually_asked(lambda: _passed(deadline), "three times ack_wait have passed")
        assert rival.claims == []
        await queue.settle(claim, [])


async def test_what_a_dead_process_held_goes_to_another_one(server: NatsServer) -> None:
    async with opened(server) as dying:
        await dying.enqueue([fresh()])
        await claimed(dying)
    async with opened(server) as living:
        claim = await claimed(living)
        assert claim.times_delivered > 1


async def test_an_entry_with_a_nak_is_taken_by_another_process_at_once(server: NatsServer) -> None:
    async with opened(server, ack_wait_s=600) as leaving, opened(server, ack_wait_s=600) as staying:
        await leaving.enqueue([fresh()])
        claim = await claimed(leaving)
        rival = await consuming(staying)
        await leaving.nak(claim)
        assert (await anext(rival)).entry == claim.entry


async def test_of_all_that_have_an_entry_one_stores_it_again(server: NatsServer) -> None:
    """And it is claimed anew by one, with the claims that came to no outcome."""
    async with opened(server) as one, opened(server) as other:
        await one.enqueue([fresh()])
        (beat,) = (task for task in one.tasks if task.get_name() == "queue beat")
        beat.cancel()
        first = await claimed(one)
        second = await claimed(other)
        assert not second.entry.claims
        assert (second.claims, second.is_shared) == (2, True)
        assert first.is_shared, "it has not told the server of itself for longer than `ack_wait`"

        await asyncio.gather(one.store_again(first), other.store_again(second))

        again = await claimed(other)
        assert again.sequence > second.sequence
        assert again.claims in {1, 2}, "the claim before this one, if the server had counted it, and this one"
        assert not again.is_shared
        assert not await other.is_open(second)
        await other.settle(again, [])
        await eventually_asked(lambda: _is_empty(other), "nothing else is left")


async def test_an_unclaimed_entry_is_moved_with_the_same_expected_sequence(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        ((_, found),) = await entries(queue)
        held = found.entry.moved(State.HELD, reason="by hand")
        assert await queue.move(queue.shards[0], found, [held])
        assert not await queue.move(queue.shards[0], found, [held])
        assert (await depth(queue)).by_state == {State.HELD: 1}


async def _is_empty(queue: Queue) -> bool:
    return await _holds(queue, {})


async def _holds(queue: Queue, expected: dict[State, int]) -> bool:
    return (await depth(queue)).by_state == expected


async def _passed(deadline: datetime) -> bool:
    return datetime.now(UTC) >= deadline


async def test_an_unconfirmed_ack_is_replaced_by_deleting_the_entry(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        claim = await claimed(queue)
        claim.acknowledge_to = "$JS.ACK.away"  # as when the consumer's leader has just gone
        await queue.settle(claim, [])
    async with opened(server) as other:
        assert await _is_empty(other)
        about = await other.shards[0].jetstream.api("CONSUMER.INFO.MAIL.ready")
        assert about["num_ack_pending"] == 0


def _deferred(claim: Claim) -> Entry:
    return claim.entry.moved(State.RETRY, attempts=1, due=datetime.now(UTC) + timedelta(hours=1))


async def _claimed_by_both(one: Queue, other: Queue, entry: Entry) -> tuple[Claim, Claim]:
    """Two claims of one entry: `one`'s is taken for dead while it stands still, and comes back to life."""
    await one.enqueue([entry])
    first = await claimed(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one, "_consumers", [])  # nobody beats
        second = await claimed(other)
    assert second.sequence == first.sequence
    return first, second


@pytest.mark.parametrize("delivered_first", [True, False])
async def test_what_one_process_has_delivered_is_not_retried_by_another(
    server: NatsServer, delivered_first: bool
) -> None:
    """Neither what the other has deferred before, nor what it defers after."""
    async with opened(server) as one, opened(server) as other:
        first, second = await _claimed_by_both(one, other, fresh(content=await _stored_content(one)))
        if delivered_first:
            await one.settle(first, [])
        await other.settle(second, [_deferred(second)])
        if not delivered_first:
            await one.settle(first, [])
        assert await _is_empty(one)
        await eventually_asked(lambda: _has_no_content(one), "nobody needs the content")


async def test_what_the_second_process_has_delivered_is_not_retried_by_the_first(server: NatsServer) -> None:
    async with opened(server) as one, opened(server) as other:
        first, second = await _claimed_by_both(one, other, fresh())
        await one.settle(first, [_deferred(first)])
        await other.settle(second, [])
        assert await _is_empty(one)


async def test_content_stays_for_the_successor_of_another_process(server: NatsServer) -> None:
    """What the first makes of it refers to nothing; the other has put it off, and will need the content."""
    async with opened(server) as one, opened(server) as other:
        first, second = await _claimed_by_both(one, other, fresh(content=await _stored_content(one)))
        await other.settle(second, [_deferred(second)])
        await one.settle(first, [msgspec.structs.replace(fresh("home.test"), queue_id=first.entry.dsn_id())])
        assert await _holds(one, {State.RETRY: 1})
        retry = second.entry.moved(State.RETRY)
        assert b"".join([chunk async for chunk in one.content.chunks(retry.content)]).endswith(b"hello\r\n")


async def _not_now(names: list[str]) -> None:
    return


async def test_a_late_deletion_removes_the_successor_of_another_process(server: NatsServer) -> None:
    async with opened(server) as one, opened(server) as other:
        await one.enqueue([fresh()])
        claim = await claimed(one)
        claim.acknowledge_to = "$JS.ACK.away"  # to a server that is cut off
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one._acks, "_end_by_deleting", _not_now)  # it cannot be deleted there, either
            await one.settle(claim, [])
            again = await claimed(other)
            await other.settle(again, [_deferred(again)])
        await eventually_asked(lambda: _is_empty(one), "nobody is to have it again")


async def test_only_a_contested_end_leaves_a_tombstone(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        claim = await claimed(queue)
        assert not claim.is_contested
        await queue.settle(claim, [])
        await eventually_asked(lambda: _stream_is_empty(queue), "nothing is left")


async def test_the_queue_is_closed_when_its_acks_are_confirmed(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([fresh() for _ in range(200)])
        consumer = await consuming(queue)
        claims = [await anext(consumer) for _ in range(200)]
        await asyncio.gather(*(queue.settle(claim, []) for claim in claims))
    async with opened(server) as other:
        assert await _is_empty(other)


async def test_what_decides_over_mail_is_asked_of_the_leader(server: NatsServer) -> None:
    """A replica that lags behind may serve a direct get: it would call a finished entry open, or a content unneeded."""
    async with opened(server) as dying:
        content = await _stored_content(dying)
        await dying.enqueue([fresh(content=content)])
        claim = await claimed(dying)
        parked = claim.entry.moved(State.PARKED)
        await dying._committers[0].commit(succession(claim.shard, claim.entry, claim.sequence, [parked]))
    async with opened(server) as living:
        for name in ("MAIL", "CONTENT"):
            config = (await living.shards[0].jetstream.api(f"STREAM.INFO.{name}"))["config"]
            await living.shards[0].jetstream.api(f"STREAM.UPDATE.{name}", {**config, "allow_direct": False})
        consumer = await consuming(living)
        await eventually_asked(lambda: _holds(living, {State.PARKED: 1}), "the predecessor is acknowledged")
        assert consumer.claims == []
        await living.settle(await claimed(living, State.PARKED), [])
        await eventually_asked(lambda: _has_no_content(living), "the content has gone")


async def test_an_entry_that_has_ended_elsewhere_can_be_settled(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetpost.queue.claims.moves.DEPOSED_S", 0.1)
    async with opened(server) as queue:
        await queue.enqueue([fresh()])
        claim = await claimed(queue)
        await claim.shard.delete(claim.sequence)
        assert await queue.settle(claim, [claim.entry.moved(State.PARKED)])
        assert await _is_empty(queue)


async def _stream_is_empty(queue: Queue) -> bool:
    return bool((await queue.shards[0].jetstream.api("STREAM.INFO.MAIL"))["state"]["messages"] == 0)


async def _stored_content(queue: Queue) -> Content:
    writer = queue.content.writer("06h0content")
    await writer.write(b"Subject: hello\r\n\r\nhello\r\n")
    return await writer.finish()


async def _has_no_content(queue: Queue) -> bool:
    return bool((await queue.shards[0].jetstream.api("STREAM.INFO.CONTENT"))["state"]["messages"] == 0)
