"""A content on its way in: in memory while it is small, into the queue's large content while it arrives."""

from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.mail.content import Content, Inline
from jetpost.queue.content.large import LargeContent, Writer
from jetpost.queue.storage.answer import Unavailable, unavailable


class Intake:
    """Takes one message's content, piece by piece. `finish` or `abandon` ends it."""

    def __init__(self, large: LargeContent, content_id: str, *, inline_bytes: int, most_bytes: int) -> None:
        self._large = large
        self._content_id = content_id
        self._inline_bytes = inline_bytes
        self._most_bytes = most_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._unstored = 0
        self._writer: Writer | None = None
        self._trouble: Unavailable | None = None

    def take(self, data: bytes) -> None:
        """Take a piece. What cannot be kept is let go."""
        self._size += len(data)
        if self._trouble is not None or self._size > self._most_bytes:
            self._pieces.clear()
            self._unstored = 0
        else:
            self._pieces.append(data)
            self._unstored += len(data)

    @property
    def held_bytes(self) -> int:
        """What is in memory of it."""
        return self._unstored + (0 if self._writer is None else self._writer.held_bytes)

    @property
    def is_full(self) -> bool:
        """Whether there is more than memory should hold: time to `store`."""
        return self._size > self._inline_bytes and bool(self._pieces)

    async def store(self) -> None:
        """Write what was taken to the queue's large content; as slow as that is."""
        if self._writer is None:
            self._writer = self._large.writer(self._content_id)
        pieces, self._pieces = self._pieces, []
        try:
            for piece in pieces:
                self._unstored -= len(piece)
                await self._writer.write(piece)
        except (Unreachable, ApiError) as error:
            self._trouble = unavailable(error)

    async def finish(self) -> Content | Unavailable:
        """The whole content, on disk when it is a reference; or why there is none."""
        if self.is_full:
            await self.store()
        if self._trouble is not None:
            return self._trouble
        if self._writer is None:
            return Inline(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        try:
            return await self._writer.finish()
        except (Unreachable, ApiError) as error:
            return unavailable(error)

    async def abandon(self) -> None:
        """The message will not be accepted: leave nothing behind."""
        self._pieces.clear()
        if self._writer is not None:
            await self._writer.abandon()
