"""The queue when its servers are killed, full, unsafe or changed under it."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from jetpost.config.refused import Unsafe
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.settings import Nats
from jetpost.mail.content import Inline
from jetpost.queue.content.large import ContentMissing
from jetpost.queue.listing import depth
from jetpost.queue.model.entry import shard_of
from jetpost.queue.model.states import State
from jetpost.queue.queue import Committed, Queue
from jetpost.queue.storage.answer import Unavailable
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.nats import NatsServer
from tests.fixtures.queue import PLENTY, fresh, opened


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


async def test_when_nats_is_away_the_client_hears_451_readiness_goes_and_it_heals(server: NatsServer) -> None:
    async with opened(server, commit_timeout_s=1) as queue:
        await server.kill()
        refused = await queue.enqueue([fresh()])
        assert isinstance(refused, Unavailable)
        assert (refused.reply.code, str(refused.reply.status)) == (451, "4.3.0")
        assert queue.trouble() is not None
        await server.start()
        await eventually(lambda: queue.trouble() is None, "the queue is usable again")
        assert await queue.enqueue([fresh()]) == Committed()


async def test_an_acceptance_waits_out_a_short_restart(server: NatsServer) -> None:
    async with opened(server, commit_timeout_s=30) as queue:
        await server.kill()
        waiting = asyncio.create_task(queue.enqueue([fresh()]))
        await server.start()
        assert await waiting == Committed()


async def test_when_the_queue_is_full_the_client_hears_452_and_it_heals(server: NatsServer) -> None:
    async with opened(server, max_bytes=20_000) as queue:
        await queue.enqueue([fresh(content=Inline(b"x" * 30_000))])
        await eventually(lambda: queue.trouble() is not None, "the queue is full")
        refused = await queue.enqueue([fresh()])
        assert isinstance(refused, Unavailable)
        assert (refused.reply.code, str(refused.reply.status)) == (452, "4.3.1")
        consumer = await queue.consumer(State.READY, max_claims=10, max_bytes=PLENTY).start()
        await queue.settle(await anext(consumer), [])
        await eventually(lambda: queue.trouble() is None, "there is room again")
        assert await queue.enqueue([fresh()]) == Committed()


async def test_a_killed_server_that_forgot_its_acks_causes_no_second_attempt(server: NatsServer) -> None:
    async with opened(server) as queue:
        for _ in range(20):
            await asyncio.gather(*(queue.enqueue([fresh()]) for _ in range(20)))
        consumer = await queue.consumer(State.READY, max_claims=1000, max_bytes=PLENTY).start()
        seen = []
        for _ in range(400):
            claim = await anext(consumer)
            seen.append(claim.sequence)
            await queue.settle(claim, [])
        await server.restart()  # within the 0.1 s in which the server remembers acks in memory alone
        await queue.enqueue([last := fresh()])
        claim = await anext(consumer)
        assert claim.entry == last
        await queue.settle(claim, [])
        await eventually_asked(lambda: _is_empty(queue), "nothing is left")
        assert len(set(seen)) == 400


async def test_a_deleted_consumer_is_made_again(server: NatsServer) -> None:
    async with opened(server) as queue:
        consumer = await queue.consumer(State.READY, max_claims=10, max_bytes=PLENTY).start()
        await queue.enqueue([fresh()])
        await queue.settle(await anext(consumer), [])
        await queue.shards[0].jetstream.api("CONSUMER.DELETE.MAIL.ready")
        await queue.enqueue([entry := fresh()])
        assert (await anext(consumer)).entry == entry


async def test_a_server_that_may_answer_before_fsync_is_refused(tmp_path: Path) -> None:
    lazy = NatsServer(tmp_path)
    lazy._configuration_file.write_text(lazy._configuration_file.read_text().replace("sync_interval: always", ""))
    async with lazy:
        with pytest.raises(Unsafe, match="sync_interval"):
            async with opened(lazy):
                pass
        async with opened(lazy, allow_unsafe_durability=True) as queue:
            assert await queue.enqueue([fresh()]) == Committed()


async def test_a_server_that_is_down_is_asked_when_it_is_back(server: NatsServer, tmp_path: Path) -> None:
    """So a pod may start while a node is being replaced; a node that comes back unsafe stops acceptance."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = NatsServer(folder, "other")
    async with opened(server, server.monitoring_url, other.monitoring_url) as queue:
        assert await queue.enqueue([fresh()]) == Committed()
        conf = other._configuration_file.read_text()
        other._configuration_file.write_text(conf.replace("sync_interval: always", ""))
        await other.start()
        await eventually(lambda: "sync_interval" in (queue.trouble() or ""), "the unsafe server is noticed")
        refused = await queue.enqueue([fresh()])
        assert isinstance(refused, Unavailable)
        assert refused.reply.code == 451
        await other.stop()


async def test_a_server_that_breaks_off_its_answer_is_one_that_is_down(server: NatsServer) -> None:
    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        writer.close()

    dying = await asyncio.start_server(break_off, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{dying.sockets[0].getsockname()[1]}"
    async with dying, opened(server, server.monitoring_url, url) as queue:
        assert await queue.enqueue([fresh()]) == Committed()
        assert queue.trouble() is None


async def test_a_server_whose_jetstream_does_not_run_is_no_reason_to_refuse(server: NatsServer, tmp_path: Path) -> None:
    """So answers a server that is being replaced, for a moment before and after it has its streams."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = NatsServer(folder, "other")
    other._configuration_file.write_text(f"listen: 127.0.0.1:{other.port}\nhttp: 127.0.0.1:{other.monitoring_port}\n")
    other.launch()
    await eventually_asked(lambda: other.monitor("varz"), "it answers")
    try:
        async with opened(server, server.monitoring_url, other.monitoring_url) as queue:
            assert await queue.enqueue([fresh()]) == Committed()
    finally:
        await other.stop()


async def test_provisioning_is_repeatable(server: NatsServer) -> None:
    async with opened(server) as queue:
        api = queue.shards[0].jetstream.api
        before = (await api("STREAM.INFO.MAIL"))["config"]
        async with opened(server):
            assert (await api("STREAM.INFO.MAIL"))["config"] == before


@pytest.mark.parametrize(
    "limit",
    [{"max_bytes": 10**6}, {"max_msgs": 10}, {"max_age": 10**15}, {"max_msgs_per_subject": 1}, {"max_msg_size": 1000}],
    ids="".join,
)
async def test_a_stream_that_would_drop_mail_is_refused(server: NatsServer, limit: dict[str, int]) -> None:
    jetstream = await JetStream.connect(Nats(servers=(server.url,)), "test")
    ours = {"name": "MAIL", "subjects": ["mail.*.*.*"], "retention": "workqueue", "storage": "file"}
    await jetstream.api("STREAM.CREATE.MAIL", {**ours, **limit})
    await jetstream.close()
    with pytest.raises(Unsafe, match="".join(limit)):
        async with opened(server):
            pass


async def test_a_number_of_shards_that_would_strand_mail_is_refused(server: NatsServer) -> None:
    async with opened(server, shards=3) as queue:
        entry = next(it for it in iter(fresh, None) if shard_of(it.queue_id, 3) == 2)
        await queue.enqueue([entry])
    for shards in (1, 2):
        with pytest.raises(Unsafe, match="there is mail in MAIL-2: set it to 3"):
            async with opened(server, shards=shards):
                pass
    async with opened(server, shards=3) as queue:
        consumer = await queue.consumer(State.READY, max_claims=1, max_bytes=PLENTY).start()
        claim = await anext(consumer)
        # A tombstone is left, which is no mail.
        dsn = msgspec.structs.replace(fresh("home.test"), queue_id=claim.entry.dsn_id())
        await queue.settle(claim, [dsn])
        await queue.settle(await anext(consumer), [])
    async with opened(server, shards=1) as queue:
        assert await queue.enqueue([fresh()]) == Committed()


async def test_a_server_whose_messages_are_smaller_than_entries_is_refused(tmp_path: Path) -> None:
    narrow = NatsServer(tmp_path)
    narrow._configuration_file.write_text(narrow._configuration_file.read_text().replace("8MB", "1MB"))
    async with narrow:
        with pytest.raises(Unsafe, match="max_payload of nats-server is 1048576"):
            async with opened(narrow):
                pass


async def test_shards_can_be_raised_while_mail_is_queued(server: NatsServer) -> None:
    async with opened(server) as queue:
        await queue.enqueue([early := fresh()])
    async with opened(server, shards=3) as queue:
        later = [fresh() for _ in range(30)]
        for entry in later:
            await queue.enqueue([entry])
        assert {shard_of(entry.queue_id, 3) for entry in later} == {0, 1, 2}
        consumer = await queue.consumer(State.READY, max_claims=100, max_bytes=PLENTY).start()
        found = set()
        for _ in range(31):
            claim = await anext(consumer)
            found.add(claim.entry.queue_id)
            await queue.settle(claim, [])
        assert found == {early.queue_id, *(entry.queue_id for entry in later)}


async def test_large_content_is_kept_once_and_goes_with_its_last_entry(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(700_001)
    async with opened(server) as queue:
        first = fresh()
        writer = queue.content.writer(first.queue_id)
        for start in range(0, len(data), 50_000):
            await writer.write(data[start : start + 50_000])
        reference = await writer.finish()
        first = msgspec.structs.replace(first, content=reference)
        second = msgspec.structs.replace(fresh("other.test", reference), queue_id=first.queue_id)
        await queue.enqueue([first, second])
        consumer = await queue.consumer(State.READY, max_claims=10, max_bytes=PLENTY).start()
        for _ in range(2):
            claim = await anext(consumer)
            assert b"".join([chunk async for chunk in queue.content.chunks(claim.entry.content)]) == data
            await queue.settle(claim, [])
        await eventually_asked(lambda: _has_no_content(queue), "the chunks have gone")
        monkeypatch.setattr("jetpost.queue.content.large.DEPOSED_S", 0.1)
        with pytest.raises(ContentMissing):
            async for _ in queue.content.chunks(reference):
                pass


async def test_a_chunk_that_a_replica_does_not_have_yet_is_the_leaders(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(300_000)

    async def lags_behind(_: object) -> None:
        return None

    async with opened(server) as queue:
        writer = queue.content.writer("06h0lagging")
        await writer.write(data)
        reference = await writer.finish()
        monkeypatch.setattr(queue.content, "_direct", lags_behind)

        assert b"".join([chunk async for chunk in queue.content.chunks(reference)]) == data


async def _is_empty(queue: Queue) -> bool:
    return (await depth(queue)).by_state == {}


async def _has_no_content(queue: Queue) -> bool:
    info = await queue.shards[0].jetstream.api("STREAM.INFO.CONTENT")
    return bool(info["state"]["messages"] == 0)
