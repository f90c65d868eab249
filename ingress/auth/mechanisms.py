"""SASL exchanges as generators: they yield a challenge or a question to the backends, and are sent the answer. Pure.

They return what the backends found, or the refusal of an exchange that went wrong.
"""

import base64
import binascii
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple, TypeVar

from ingress.auth.identity import Finding, Wrong
from jetpost.mail.reply import EnhancedStatus, Reply


class Credentials(NamedTuple):
    """A name and the password that shall prove it. Never logged."""

    user: str
    password: str


Question = Credentials
"""What a mechanism asks the backends."""

T = TypeVar("T")
_Steps = Generator[str | Question, str | Finding, T]

Exchange = _Steps[Finding | Reply]
"""Challenges out and responses in, both in base64 as they travel (RFC 4954, 4); questions out, findings in."""

CANCELLED = Reply(501, EnhancedStatus(5, 7, 0), ("Authentication cancelled",))
_NOT_BASE64 = Reply(501, EnhancedStatus(5, 5, 2), ("Cannot decode the response",))
_MALFORMED = Reply(501, EnhancedStatus(5, 5, 2), ("Malformed response",))
_USER_NAME = base64.b64encode(b"Username:").decode()
_PASSWORD = base64.b64encode(b"Password:").decode()


def plain(initial: str) -> Exchange:
    """PLAIN: `[authzid] NUL authcid NUL password` (RFC 4616, 2). `initial` is empty when there was none."""
    response = _decoded_initial(initial) if initial else _decoded((yield from _challenged("")))
    if isinstance(response, Reply):
        return response
    parts = response.split("\0")
    if len(parts) != 3 or not parts[1]:
        return _MALFORMED
    acting_as, user, password = parts
    return (yield from _asked(Credentials(user, password))) if acting_as in {"", user} else Wrong()


def login(initial: str) -> Exchange:
    """LOGIN: name, then password, each asked for (draft-murchison-sasl-login). `initial` may be the name."""
    user = _decoded_initial(initial) if initial else _decoded((yield from _challenged(_USER_NAME)))
    if isinstance(user, Reply):
        return user
    password = _decoded((yield from _challenged(_PASSWORD)))
    return password if isinstance(password, Reply) else (yield from _asked(Credentials(user, password)))


MECHANISMS: Mapping[str, Callable[[str], Exchange]] = {"PLAIN": plain, "LOGIN": login}
"""What AUTH can offer, in the order of EHLO: each is offered where a backend can do it."""


def _challenged(challenge: str) -> _Steps[str]:
    """The response to a challenge."""
    response = yield challenge
    assert isinstance(response, str)
    return response


def _asked(question: Question) -> _Steps[Finding]:
    """What the backends found."""
    finding = yield question
    assert not isinstance(finding, str)
    return finding


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
