"""Requests for access tokens from the files that they need. It reads and signs: for a thread, or for a command."""

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from delivery.route.endpoint import TokenSource
from jetpost.reason import reason_of

if TYPE_CHECKING:
    from delivery.connect.auth.oauth.request import Request

_MOST_BYTES = 64 * 1024


def prepared(source: TokenSource, refresh_token: bytes | None = None) -> "Request":
    """What to post for a token; with `refresh_token` in place of the one in the file.

    OSError, ValueError: a file is of no use.
    """
    # Only those who have such credentials need what signs JWTs.
    from delivery.connect.auth.oauth.request import request  # noqa: PLC0415

    contents = {file: _read(file) for file in source.files}
    if refresh_token is not None:
        contents[source.refresh_token_file] = refresh_token
    return request(source, contents, now=time.time(), jti=str(uuid.uuid4()))


def trouble(source: TokenSource) -> str:
    """Why no request can be made now; empty: one can."""
    try:
        prepared(source)
    except (OSError, ValueError) as error:
        return reason_of(error)
    return ""


def _read(file: str) -> bytes:
    with Path(file).open("rb") as opened:
        return opened.read(_MOST_BYTES)
