"""The backend `users_file`: names and argon2 hashes in a file, what was right remembered for a while."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ingress.auth.identity import Finding, Identity, Unavailable, Unknown, Wrong
from ingress.auth.mechanisms import Credentials, Question
from ingress.auth.slots import Slots
from jetpost.config.section import ReadableFile, Section
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.users import is_right, read_users
from jetpost.watched import Stamp, stamp

# A user who is unknown takes as long as one whose password is wrong: names cannot be found by the clock.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$SmV0cG9zdCBub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
_MOST_REMEMBERED = 10_000

log = logger(__name__)


class UsersFileSettings(Section):
    """Users in a file that `jetpost user add` writes."""

    kind: Literal["users_file"]
    path: ReadableFile
    """The file. A changed file counts from the next AUTH on."""
    cache_s: Annotated[float, Field(ge=0)] = 60
    """How long a correct password is remembered (as a keyed hash, in memory). So a client that connects for every
    message does not need an argon2 computation each time. 0: not at all."""
    at_once: Annotated[int, Field(ge=1, le=64)] = 2
    """Argon2 computations at the same time; each takes a thread and 64 MiB. Clients that wait take turns by address."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        read_users(self.path)
        return self

    def backend(self) -> "UsersFile":
        """The backend with these settings."""
        return UsersFile(self)


class UsersFile:
    """Checks credentials against the file."""

    mechanisms = frozenset({"PLAIN", "LOGIN"})

    def __init__(self, settings: UsersFileSettings) -> None:
        self._settings = settings
        self._slots = Slots(settings.at_once)
        self._stamp: Stamp | None = None
        self._users: dict[str, str] = {}
        self._was_never_read = True
        self._remembered = Remembered(settings.cache_s)

    async def answer(self, question: Question, client: str = "") -> Finding:
        """Whether the password is the user's. The event loop goes on meanwhile."""
        self._refresh(self._settings.path)
        if self._was_never_read:
            return Unavailable("the users file was never read")
        user = question.user
        if self._remembered.knows(question):
            return Identity(user)
        remembered = self._remembered
        hashed = self._users.get(user)
        async with self._slots.slot(client):
            right = await asyncio.to_thread(is_right, hashed or _NOBODY, question.password)
        if hashed is None:
            return Unknown()
        if not right:
            return Wrong()
        remembered.add(question)  # of the file as it was read: a change forgets it
        return Identity(user)

    def _refresh(self, file: Path) -> None:
        now = stamp(file)
        if now is not None and now == self._stamp:
            return
        try:
            self._users, self._stamp = read_users(file), now
        except (OSError, ValueError) as error:
            why = reason_of(error)
            log.warning("cannot read the users file, keeping the previous users", error=why, limited_by=(why,))
            return
        self._was_never_read = False
        self._remembered = Remembered(self._settings.cache_s)


class Remembered:
    """Credentials that were right lately, as hashes under a key that dies with the process."""

    def __init__(self, for_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._for_s = for_s
        self._clock = clock
        self._key = os.urandom(32)
        self._until: dict[bytes, float] = {}

    def knows(self, credentials: Credentials) -> bool:
        """Whether they were added less than `for_s` ago."""
        return self._until.get(self._hash(credentials), 0) > self._clock()

    def add(self, credentials: Credentials) -> None:
        """Remember them."""
        if len(self._until) >= _MOST_REMEMBERED:
            self._until.clear()
        self._until[self._hash(credentials)] = self._clock() + self._for_s

    def _hash(self, credentials: Credentials) -> bytes:
        user = credentials.user.encode()
        told = len(user).to_bytes(4, "big") + user + credentials.password.encode()
        return hashlib.blake2b(told, key=self._key, digest_size=32).digest()
