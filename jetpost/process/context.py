"""What every service lives from: the connection, the queue and the events, opened in order, closed on every path."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple, TypeVar

from jetpost.config.load import Settings
from jetpost.events.publish import Events, EventsSettings
from jetpost.jetstream.connection import JetStream, connected
from jetpost.jetstream.settings import Nats
from jetpost.process.run import Lifecycle
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.queue import Queue, opened

T = TypeVar("T")


class ServiceContext(NamedTuple):
    """Open while its block runs."""

    jetstream: JetStream
    queue: Queue
    events: Events


@asynccontextmanager
async def service_context(settings: Settings, lifecycle: Lifecycle, service: str) -> AsyncIterator[ServiceContext]:
    """Connect, open the queue, begin to publish events.

    Whatever fails, here or in the block, and wherever the process is told to stop: what was opened is closed, the last
    first. Stopped: told to stop before all was open. Unsafe: the queue would not keep its promise.
    """
    async with AsyncExitStack() as stack:

        async def enter(context: AbstractAsyncContextManager[T]) -> T:
            # In one task: what it opens is on the stack before anybody can give up waiting for it.
            return await lifecycle.unless_stopping(stack.enter_async_context(context))

        jetstream = await enter(connected(settings.of(Nats), service, lifecycle.waits_for))
        events = Events(jetstream, settings.of(EventsSettings), service)
        stack.push_async_callback(events.aclose)  # after the queue: what happens while that is closed is told
        queue = await enter(opened(jetstream, settings.of(QueueSettings), lifecycle.waits_for))
        lifecycle.needs(queue.tasks)
        events.begin()
        yield ServiceContext(jetstream, queue, events)
