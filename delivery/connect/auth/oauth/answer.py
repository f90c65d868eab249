"""What a token endpoint's answer means (RFC 6749, 5.1 and 5.2). Pure."""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeGuard

from delivery.connect.auth.redact import without

_LONGEST_TOKEN = 16 * 1024
"""More than AUTH can transport (RFC 4954, 4: 12288 bytes, in base64)."""
_MOST_TEXT = 300
_CONTROLS = dict.fromkeys((*range(32), 127), "?")
_LONGEST_LIFE_S = 86_400.0
_USUAL_LIFE_S = 600.0
"""Of a token whose issuer does not say it. If it ends earlier, the host's refusal renews it."""
_NOT_NOW = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""Errors of the issuer, not of the credentials (RFC 6749, 4.1.2.1; RFC 8628, 3.5)."""
_ABOUT_CREDENTIALS = frozenset({200, 400, 401, 403})
"""RFC 6749, 5.2 names 400 and 401. Some issuers say 200 and an error."""


class Granted(NamedTuple):
    """An access token."""

    token: str
    life_s: float
    refresh_token: str = ""
    """The one to use from now on; empty: the same as before."""

    def __repr__(self) -> str:
        return f"Granted(life_s={self.life_s})"


class Refused(NamedTuple):
    """The issuer does not accept the credentials, or does not allow what is asked for."""

    why: str


class Failed(NamedTuple):
    """The issuer gives no token now, and this says nothing about the credentials."""

    why: str
    retry_after_s: float = 0
    """How long it wants not to be asked, as far as it says it."""


def understood(status: int, body: bytes, secrets: Collection[str] = ()) -> Granted | Refused | Failed:
    """The meaning of an HTTP response. No text in it has one of `secrets`, which are what the issuer was sent."""
    said = _object(body)
    if status == 200 and said is None:
        return Failed("replied 200 without a JSON object")
    if status == 200 and said is not None and ("access_token" in said or "error" not in said):
        return _granted(said)
    error = said.get("error") if said is not None else None
    if not isinstance(error, str) or not error:
        return Failed(f"replied {status} without a token")
    why = f"replied {status} {_plain(error, secrets)}"
    if said is not None and (description := _plain(said.get("error_description"), secrets)):
        why += f": {description}"
    return Refused(why) if status in _ABOUT_CREDENTIALS and error not in _NOT_NOW else Failed(why)


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _granted(said: Mapping[str, Any]) -> Granted | Failed:
    token, kind = said.get("access_token"), said.get("token_type", "Bearer")
    if not _is_token(token):
        return Failed("replied 200 without an access token that can be used")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return Failed("replied with a token that is no bearer token")
    life_s = _life_s(said.get("expires_in"))
    if life_s <= 0:
        return Failed("replied with a token that has expired")
    again = said.get("refresh_token")
    return Granted(token, life_s, again if _is_token(again) else "")


def _is_token(value: Any) -> TypeGuard[str]:
    """Whether it is one, as RFC 6749, A.12 and A.17 have it; with a space it would be no part of a SASL response."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TOKEN and all("!" <= it <= "~" for it in value)


def _life_s(value: Any) -> float:
    """`expires_in`: some issuers write the number as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _USUAL_LIFE_S
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return _USUAL_LIFE_S
    return min(seconds, _LONGEST_LIFE_S) if not math.isnan(seconds) else _USUAL_LIFE_S


def _plain(text: Any, secrets: Collection[str]) -> str:
    """The printable part of `text` in one line, without secrets."""
    if not isinstance(text, str):
        return ""
    words = without(text, secrets).encode("ascii", "replace").decode().split()
    return " ".join(words)[:_MOST_TEXT].translate(_CONTROLS)
