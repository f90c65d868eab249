"""Tasks have owners, and owners end them."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

_AGAIN_S = 0.2


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until they have ended; what they raised is nobody's business any more.

    Cancels again and again: before Python 3.12 `asyncio.wait_for` swallows a cancellation that arrives together with
    the result it waits for (cpython #86296), and a task that loops would go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        for task in ended:
            if not task.cancelled():
                task.exception()


async def finish(tasks: Collection[asyncio.Task[Any]], patience_s: float) -> None:
    """Let `tasks` come to their end; those that do not within `patience_s` are ended."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        await end(late)
