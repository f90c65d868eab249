"""The preStop hook of the chart's nats-servers, run beside three of them: never a second one while one is absent."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from tests.chart.test_bundled_nats import Node, Rendered, cluster
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.process import Process

__all__ = ["cluster"]
pytestmark = [pytest.mark.chart, pytest.mark.asyncio(loop_scope="session")]


def waits(hook: Process, reason: str) -> bool:
    """Whether a hook has said that it waits for this."""
    assert hook.exit_status is None, hook.log_tail()
    return reason in hook.log_tail()


async def lame(node: Node) -> bool:
    """Whether a server has begun to stop: it takes no more clients."""
    answer = await node.asked("/healthz?js-server-only=true")
    return answer is None


@contextlib.asynccontextmanager
async def asked_to_stop(node: Node, within_s: float = 300) -> AsyncIterator[Process]:
    """The hook of a node while the block runs."""
    hook = node.hook(within_s)
    try:
        yield hook
    finally:
        if hook.exit_status is None:
            await hook.kill()


async def test_it_waits_while_another_one_hangs(cluster: Rendered) -> None:
    hung, asked, _ = cluster.nodes
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        async with asked_to_stop(asked) as hook:
            await eventually(lambda: waits(hook, f"{hung.pod} is absent"), "it waits")
            assert not await lame(asked)
            os.kill(hung.pid, signal.SIGCONT)
            assert await hook.gone() == 0, hook.log_tail()
            await asked.gone()
    finally:
        os.kill(hung.pid, signal.SIGCONT)


async def test_it_waits_while_another_one_is_gone_and_no_longer_than_its_time(cluster: Rendered) -> None:
    lost, asked, _ = cluster.nodes
    await lost.kill()
    async with asked_to_stop(asked, within_s=12) as hook:
        await eventually(lambda: waits(hook, f"{lost.pod} is absent"), "it waits")
        assert await hook.gone() == 0, hook.log_tail()
        assert "its grace period ends" in hook.log_tail()
        assert (asked.folder / "preStop.log.copy").read_text().strip() in hook.log_tail()
        await asked.gone()


async def test_it_waits_although_it_stood_still_for_some_seconds(cluster: Rendered) -> None:
    lost, asked, _ = cluster.nodes
    await lost.kill()
    asked.signal(signal.SIGSTOP)
    try:
        async with asked_to_stop(asked) as hook:
            await eventually(lambda: waits(hook, "slow to answer"), "it is asked again")
            asked.signal(signal.SIGCONT)
            await eventually(lambda: waits(hook, f"{lost.pod} is absent"), "it waits")
            assert not await lame(asked)
    finally:
        asked.signal(signal.SIGCONT)


async def test_of_two_that_are_asked_at_once_one_stops(cluster: Rendered) -> None:
    _, one, other = cluster.nodes
    async with asked_to_stop(one) as first, asked_to_stop(other) as second:
        hooks = {one.pod: (one, first), other.pod: (other, second)}
        await eventually(lambda: first.exit_status == 0 or second.exit_status == 0, "one is told to stop")
        (gone, _), (stays, hook) = sorted(hooks.values(), key=lambda it: it[1].exit_status is None)
        await gone.gone()
        await eventually(lambda: waits(hook, f"{gone.pod} is absent"), "the other one waits")
        assert not await lame(stays)
        gone.launch()
        assert await hook.gone() == 0, hook.log_tail()
        await stays.gone()


async def test_all_that_are_asked_at_once_stop_at_once(cluster: Rendered) -> None:
    hooks = [node.hook() for node in cluster.nodes]
    for hook, node in zip(hooks, cluster.nodes, strict=True):
        assert await hook.gone() == 0, hook.log_tail()
        await node.gone()
        assert "grace period" not in hook.log_tail()


async def test_one_that_does_not_serve_is_not_held(cluster: Rendered) -> None:
    """A hung server, and one that has not begun, while another is gone: their stop takes nothing away."""
    hung, lost, _ = cluster.nodes
    await lost.kill()
    async with asked_to_stop(lost) as hook:
        assert await hook.gone() == 0
        assert "does not answer" in hook.log_tail()
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        async with asked_to_stop(hung) as hook:
            assert await hook.gone() == 0
            assert "does not answer" in hook.log_tail()
    finally:
        os.kill(hung.pid, signal.SIGCONT)


async def test_a_broken_consumer_stops_nobody(cluster: Rendered) -> None:
    broken, asked, _ = cluster.nodes
    connection = await cluster.connect()
    jetstream = connection.jetstream()
    await jetstream.add_stream(StreamConfig(name="S", subjects=["s"], num_replicas=3))
    await jetstream.add_consumer("S", ConsumerConfig(durable_name="C", num_replicas=3))
    await connection.close()
    await broken.stop()
    break_consumer(broken.folder / "data")
    broken.launch()

    async def is_broken() -> bool:
        answer = await broken.told("/healthz?details=true")
        return [error["type"] for error in json.loads(answer or "{}").get("errors", [])] == ["CONSUMER"]

    await eventually_asked(is_broken, "its consumer is broken and nothing else")
    assert not await broken.is_well()
    async with asked_to_stop(asked) as hook:
        assert await hook.gone() == 0, hook.log_tail()
        await asyncio.wait_for(asked.gone(), 60)
    assert "waits" not in hook.log_tail()


def break_consumer(data: Path) -> None:
    """A file where the consumer's folder should be."""
    (folder,) = data.glob("jetstream/*/streams/S/obs/C")
    folder.rename(folder.with_name("moved"))
    folder.write_text("")


async def test_a_lone_server_waits_for_nobody(cluster: Rendered) -> None:
    lone = cluster.nodes[0]
    alone = [word for word in lone.hook_words() if "=https" not in word or word.startswith(lone.pod)]
    hook = Process("preStop", alone, lone.folder / "alone.log")
    hook.environment = lone.environment
    hook.launch()
    assert await hook.gone() == 0, hook.log_tail()
    await lone.gone()
