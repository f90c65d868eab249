"""SASL mechanisms as a client (RFC 4422): exchanges of responses and challenges, in one table. Pure."""

import hashlib
import hmac
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

from delivery.route.endpoint import WITH_PASSWORDS


class Secret(NamedTuple):
    """What a client proves to know."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Secret(user={self.user!r})"


Exchange = Generator[bytes | None, bytes, None]
"""Yields responses and is sent challenges. The first response goes with AUTH itself; None: the host speaks first."""


def _plain(secret: Secret) -> Exchange:
    """RFC 4616: authorization identity (none), user, password."""
    yield f"\0{secret.user}\0{secret.password}".encode()


def _login(secret: Secret) -> Exchange:
    """The user at the first challenge, the password at the second, whatever they say (draft-murchison-sasl-login)."""
    yield None
    yield secret.user.encode()
    yield secret.password.encode()


def _cram_md5(secret: Secret) -> Exchange:
    """RFC 2195: the user, and the challenge hashed under the password."""
    challenge = yield None
    digest = hmac.new(secret.password.encode(), challenge, hashlib.md5).hexdigest()
    yield f"{secret.user} {digest}".encode()


def _xoauth2(secret: Secret) -> Exchange:
    """Google's and Microsoft's own: the password is an access token. An error is a challenge, and the answer empty."""
    yield f"user={secret.user}\1auth=Bearer {secret.password}\1\1".encode()
    yield b""


def _oauthbearer(secret: Secret) -> Exchange:
    """RFC 7628: the password is an access token. An error is a challenge, and the answer one byte (3.2.3)."""
    user = secret.user.replace("=", "=3D").replace(",", "=2C")
    yield f"n,a={user},\1auth=Bearer {secret.password}\1\1".encode()
    yield b"\1"


MECHANISMS: Mapping[str, Callable[[Secret], Exchange]] = {
    "PLAIN": _plain,
    "LOGIN": _login,
    "CRAM-MD5": _cram_md5,
    "XOAUTH2": _xoauth2,
    "OAUTHBEARER": _oauthbearer,
}


def chosen(offered: str, wanted: Sequence[str]) -> str | None:
    """The mechanism to use with a host that offers these (the parameters of AUTH in EHLO); None: none of `wanted`.

    `wanted` are names in order; empty: WITH_PASSWORDS.
    """
    words = offered.upper().replace("=", " ").split()  # some hosts write AUTH=LOGIN
    return next((name for name in wanted or WITH_PASSWORDS if name in words), None)
