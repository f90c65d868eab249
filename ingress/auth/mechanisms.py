"""SASL exchanges as generators: they yield a challenge, are sent the response, and return what it came to."""

import base64
import binascii
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

from jetpost.mail.reply import EnhancedStatus, Reply


class Credentials(NamedTuple):
    """A name and the password that shall prove it. Never logged."""

    user: str
    password: str


Exchange = Generator[str, str, Credentials | Reply]
"""Challenges out and responses in, both in base64 as they travel (RFC 4954, 4)."""

CANCELLED = Reply(501, EnhancedStatus(5, 7, 0), ("Authentication cancelled",))
WRONG = Reply(535, EnhancedStatus(5, 7, 8), ("Authentication credentials invalid",))
_NOT_BASE64 = Reply(501, EnhancedStatus(5, 5, 2), ("Cannot decode the response",))
_MALFORMED = Reply(501, EnhancedStatus(5, 5, 2), ("Malformed response",))
_USER_NAME = base64.b64encode(b"Username:").decode()
_PASSWORD = base64.b64encode(b"Password:").decode()


def plain(initial: str) -> Exchange:
    """PLAIN: `[authzid] NUL authcid NUL password` (RFC 4616, 2). `initial` is empty when there was none."""
    response = _decoded_initial(initial) if initial else _decoded((yield ""))
    if isinstance(response, Reply):
        return response
    parts = response.split("\0")
    if len(parts) != 3 or not parts[1]:
        return _MALFORMED
    acting_as, user, password = parts
    return Credentials(user, password) if acting_as in {"", user} else WRONG


def login(initial: str) -> Exchange:
    """LOGIN: name, then password, each asked for (draft-murchison-sasl-login). `initial` may be the name."""
    user = _decoded_initial(initial) if initial else _decoded((yield _USER_NAME))
    if isinstance(user, Reply):
        return user
    password = _decoded((yield _PASSWORD))
    return password if isinstance(password, Reply) else Credentials(user, password)


MECHANISMS: Mapping[str, Callable[[str], Exchange]] = {"PLAIN": plain, "LOGIN": login}
"""What AUTH offers, in the order of EHLO."""


def _decoded_initial(response: str) -> str | Reply:
    """The response that came with AUTH; `=` is an empty one, which could not be told from none (RFC 4954, 4)."""
    return "" if response == "=" else _decoded(response)


def _decoded(response: str) -> str | Reply:
    if response == "*":
        return CANCELLED
    try:
        return base64.b64decode(response, validate=True).decode()
    except (binascii.Error, ValueError):
        return _NOT_BASE64
