"""Passwords from their files, read again when they change."""

from pathlib import Path

from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

_MOST_PASSWORD = 64 * 1024

log = logger(__name__)


class Unreadable(Exception):  # noqa: N818 — a reason, for the connection that needs the password
    """A file has no password, and never had one."""


class _Known:
    """A password as it was read."""

    def __init__(self, read: Stamp | None, password: str) -> None:
        self.stamp = read
        self.password = password


class Passwords:
    """The passwords of a process."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def read(self, path: str, name: str) -> tuple[Stamp | None, str]:
        """The password of the credentials called `name`, and what its file looked like.

        The previous ones while the file cannot be read. Unreadable: there are none.
        """
        file = Path(path)
        now, known = stamp(file), self._known.get(path)
        if known is not None and known.stamp == now:
            return now, known.password
        try:
            password = password_in(file)
        except (OSError, ValueError) as error:
            why = f"cannot read password file {file}: {reason_of(error)}"
            log.warning("cannot read password file", credentials=name, error=why, limited_by=(why,))
            if known is None:
                raise Unreadable(why) from error
            return known.stamp, known.password
        self._known[path] = _Known(now, password)
        return now, password


def password_in(file: Path) -> str:
    """The password in a file; OSError, or ValueError when there is none that a host could be told."""
    with file.open("rb") as opened:
        password = opened.read(_MOST_PASSWORD).decode().rstrip("\r\n")
    if not password or "\0" in password:
        raise ValueError("it has a NUL character" if password else "it is empty")
    return password
