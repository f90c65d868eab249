"""The content and its end, and what the host says to them, or already before (RFC 5321, 3.3 and 4.1.1.4).

The end is the final dot, or the last byte of a chunk (RFC 3030).
"""

import math
from collections.abc import AsyncIterator
from typing import NamedTuple

from delivery.attempt.commands import size
from delivery.attempt.framing import Framing, OneChunk, WrongSize
from delivery.attempt.scan import Chunks
from delivery.classify.phases import ConnectionBroke, Phase
from delivery.connect.connection import Connection
from delivery.connect.timeouts import Timeouts
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.mail.content import Inline
from jetpost.mail.reply import Reply
from jetpost.queue.content.large import ContentMissing
from jetpost.queue.model.entry import Entry
from jetpost.reason import reason_of

_PIECE = 64 * 1024
"""Bytes written together: as many as wait in memory for a host that does not read."""
_UNKNOWN_COMMAND = frozenset({500, 502})
"""To BDAT: there is no such command (RFC 5321, 4.2.4). What the host says then answers lines of the content."""

Answer = Reply | ConnectionBroke


class Heard(NamedTuple):
    """What the host said, and how far the content had come."""

    phase: Phase
    """DATA before the end was sent, else END_OF_DATA."""
    answers: tuple[Answer, ...]
    """One about all recipients; or after the final dot as many as were asked for, in the order of recipients."""


class Unavailable(NamedTuple):
    """The content could not be read: the host has no message."""

    why: str


async def hand_over(
    connection: Connection, entry: Entry, chunks: Chunks, timeouts: Timeouts, framing: Framing, *, replies: int = 1
) -> Heard | Unavailable:
    """Send trace and content in their `framing`. A host that refuses before the end is not sent the rest.

    `replies` is how many follow the end: over LMTP one for each accepted recipient (RFC 2033, 4.2).
    """
    connection.give(timeouts.content_s(size(entry)))
    connection.begin_content()
    last = b""
    try:
        if isinstance(entry.content, Inline) and entry.content.size <= _PIECE:
            last = framing.feed(entry.trace.encode() + entry.content.data)
        else:
            async for piece in _pieces(entry, chunks):
                # One is kept back, to go out with the end.
                if last:
                    connection.write(last)
                if (said := await connection.sent(timeouts.block_s)) is not None:
                    connection.abort()
                    return Heard(Phase.DATA, (_too_early(said),))
                last = framing.feed(piece)
        last += framing.end()
    except (ContentMissing, WrongSize, Unreachable, ApiError) as error:
        connection.abort()  # without the end the host has no message (RFC 5321, 4.1.1.4)
        return Unavailable(f"content unavailable: {reason_of(error)}")
    if (said := await connection.sent(timeouts.block_s)) is not None:
        connection.abort()
        return Heard(Phase.DATA, (_too_early(said),))
    connection.give(math.inf)  # the host may have the message now: leaving earlier would double it
    connection.end_content(last, replies=replies)
    first = await connection.reply(timeouts.final_dot_s)
    is_unknown = isinstance(framing, OneChunk) and isinstance(first, Reply) and first.code in _UNKNOWN_COMMAND
    if replies == 1 or is_unknown:
        return Heard(Phase.END_OF_DATA, (first,))
    # Each has its time, and all of them have a bound: a host that is slow with every recipient is not waited for.
    connection.give(timeouts.final_dot_s)
    return Heard(
        Phase.END_OF_DATA, (first, *[await connection.reply(timeouts.final_dot_s) for _ in range(replies - 1)])
    )


async def _pieces(entry: Entry, chunks: Chunks) -> AsyncIterator[bytes]:
    trace = entry.trace.encode()
    if isinstance(entry.content, Inline):
        data = entry.content.data
        yield trace + data[:_PIECE]
        for begin in range(_PIECE, len(data), _PIECE):
            yield data[begin : begin + _PIECE]
        return
    yield trace
    async for chunk in chunks():
        for begin in range(0, len(chunk), _PIECE):
            yield chunk[begin : begin + _PIECE]


def _too_early(said: Reply | ConnectionBroke) -> Reply | ConnectionBroke:
    """A "yes" to content that has not ended is no answer."""
    if isinstance(said, Reply) and said.is_positive:
        return ConnectionBroke(f"said {said.code} before the content had ended")
    return said
