"""What a nats-server says about itself at its monitoring URL (`http` or `https`)."""

import asyncio
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jetpost import http_client
from jetpost.client_tls import ca_hint, verifying
from jetpost.jetstream.settings import Nats
from jetpost.reason import reason_of

PATIENCE_S = 5.0
_LONGEST_VERSION = 40
_LONGEST_ERROR = 500
_WRITE_ERROR = "write error:"
_LONGEST_BYTES = 4 * 1024 * 1024


class Silent(Exception):  # noqa: N818 — a state of the world, named as one
    """The server cannot be asked now, or who answers is no nats-server: the reason. It may be different in a moment."""


class Facts(NamedTuple):
    """A server whose JetStream runs."""

    version: str
    syncs_always: bool
    """Whether it fsyncs before it acknowledges."""
    stored: int
    """Bytes it has stored."""
    room: int
    """Bytes it may store."""
    expires: float | None
    """When the certificate that it shows ceases to be valid (Unix time); None without TLS."""


async def ask(url: str, settings: Nats) -> Facts:
    """The facts about the server that `url` monitors. Silent: it cannot be asked now, for whatever reason."""
    with _silent():
        async with asyncio.timeout(PATIENCE_S):
            tls = _tls(url, settings)
            jetstream, certificate = await _get(f"{url}/jsz?config=true", tls)
            about, _ = await _get(f"{url}/varz", tls)
        return _facts(jetstream, about, certificate)
    raise AssertionError  # unreachable: the block returns, or raises


async def ask_time(url: str, settings: Nats) -> datetime:
    """What time it is for the server that `url` monitors. Silent: it cannot be asked now, for whatever reason."""
    with _silent():
        async with asyncio.timeout(PATIENCE_S):
            about, _ = await _get(f"{url}/varz", _tls(url, settings))
        # Nine decimals, of which datetime knows six; the zone is the server's own.
        said = re.sub(r"(\.\d{6})\d*", r"\1", str(about.get("now")))
        return datetime.fromisoformat(said).astimezone(UTC)
    raise AssertionError  # unreachable, as above


def _tls(url: str, settings: Nats) -> ssl.SSLContext | None:
    # The files of a CA are renewed, too: they are read each time.
    return (settings.tls_context() or verifying()) if url.startswith("https:") else None


@contextmanager
def _silent() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Silent(f"no answer within {PATIENCE_S:g} s") from None
    except RecursionError:
        raise Silent("no nats-server answers there") from None
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise Silent(reason_of(error) + ca_hint(error)) from error


async def write_error(url: str, settings: Nats) -> str | None:
    """Why the server that `url` monitors cannot write to its disk; None when it can, or cannot be asked.

    It keeps the first error of a stream until it is restarted, and says nothing to who publishes.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            health, _ = await _get(f"{url}/healthz", _tls(url, settings), besides="503")
    except (OSError, ValueError, EOFError, RecursionError):  # TimeoutError is an OSError
        return None
    said = health.get("error")
    return said[:_LONGEST_ERROR] if isinstance(said, str) and _WRITE_ERROR in said else None


def _facts(jetstream: dict[str, Any], about: dict[str, Any], certificate: Mapping[str, Any]) -> Facts:
    """ValueError when these are no answers of a nats-server whose JetStream runs."""
    version, config = about.get("version"), jetstream.get("config")
    if not isinstance(version, str):
        raise ValueError("no nats-server answers there")  # noqa: TRY004 — an answer like any other
    if jetstream.get("disabled") or not isinstance(config, dict):
        # Also while a server starts or leaves: it answers here before and after it has its streams.
        raise ValueError("its JetStream does not run")
    return Facts(
        version=version[:_LONGEST_VERSION],
        syncs_always=config.get("sync_always") is True,
        stored=_count(jetstream.get("storage")),
        room=_count(config.get("max_storage")),
        expires=ssl.cert_time_to_seconds(certificate["notAfter"]) if "notAfter" in certificate else None,
    )


def _count(said: Any) -> int:
    return said if isinstance(said, int) and 0 <= said < 1 << 63 else 0


async def _get(url: str, tls: ssl.SSLContext | None, besides: str = "200") -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The JSON object at `url`, and the certificate that was shown. OSError or ValueError: there is none.

    It comes with the status 200, or the one `besides` it.
    """
    said = await http_client.get(url, tls=tls, most_bytes=_LONGEST_BYTES)
    if str(said.status) not in {"200", besides}:
        raise ValueError(f"it answers {said.status}")
    try:
        answer = json.loads(said.body)
    except ValueError:
        raise ValueError("it breaks off its answer, or it is no nats-server") from None
    if not isinstance(answer, dict):
        raise ValueError("no nats-server answers there")  # noqa: TRY004 — an answer like any other
    return answer, said.certificate
