"""The users file: a name and an argon2 hash a line, `name:$argon2id$…`. Lines that begin with `#` are comments."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

_HASHER = PasswordHasher()


def read_users(file: Path) -> dict[str, str]:
    """The hashes by name. OSError when the file cannot be read, ValueError with the line when one is malformed."""
    users = {}
    for number, line in enumerate(_lines(file), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.partition(":")
        if not name or not hashed.startswith("$argon2"):
            raise ValueError(f"{file}:{number}: must be `name:argon2-hash`; `jetpost user add` writes such lines")
        users[name] = hashed
    return users


def set_password(file: Path, name: str, password: str) -> bool:
    """Add user `name`, or change the password; True when the user is new. The file is made when there is none."""
    if not name.isprintable() or not name.strip() or ":" in name or name.startswith(("#", "\ufeff")):
        raise ValueError("a user name is printable and not empty, has no colon, and does not begin with #")
    line = f"{name}:{hashed(password)}"
    known = file.exists() and name in read_users(file)

    def change(lines: list[str]) -> list[str]:
        return [line if _is_of(name, old) else old for old in lines] if known else [*lines, line]

    _rewrite(file, change)
    return not known


def hashed(password: str) -> str:
    """The argon2 hash of `password`, with a salt of its own."""
    return _HASHER.hash(password)


def remove_user(file: Path, name: str) -> bool:
    """Forget user `name`; False when there is none of that name."""
    if name not in read_users(file):
        return False
    _rewrite(file, lambda lines: [line for line in lines if not _is_of(name, line)])
    return True


def is_right(known: str, password: str) -> bool:
    """Whether `known` is the hash of `password`. By design it takes time and 64 MiB: never call it in an event loop."""
    try:
        return _HASHER.verify(known, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False


def _lines(file: Path) -> list[str]:
    """The lines of the file; `str.splitlines` would break them at characters that may stand in a name."""
    text = file.read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def _is_of(name: str, line: str) -> bool:
    return line.partition(":")[0] == name


def _rewrite(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Put a changed copy in the file's place, so that whoever reads sees the old one or the new one."""
    lines = _lines(file) if file.exists() else []
    descriptor, name = tempfile.mkstemp(dir=_led_to(file).parent, prefix=f".{file.name}.")
    copy = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in change(lines))
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists():
            found = file.stat()
            copy.chmod(found.st_mode & 0o777)
            _keep_owner(copy, found)
        copy.replace(_led_to(file))
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _keep_owner(copy: Path, found: os.stat_result) -> None:
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(copy, found.st_uid, found.st_gid)


def _led_to(file: Path) -> Path:
    """The file behind links. OSError, before Python 3.13 RuntimeError: they lead to themselves."""
    try:
        return file.resolve(strict=True)
    except FileNotFoundError:
        return file.resolve()
