"""One question over HTTP, GET or POST, whose answer is bounded in bytes. Its caller bounds the time."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import h11

_READ_BYTES = 65536
_HTTP = b"HTTP/"
_MOST_DIGITS = 10


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    body: bytes
    certificate: Mapping[str, Any]
    """What the server showed, as `ssl.SSLSocket.getpeercert` has it; empty without TLS."""
    retry_after_s: int = 0
    """How long it wants not to be asked (RFC 9110, 10.2.3, as seconds); 0: it does not say."""


async def get(url: str, *, tls: ssl.SSLContext | None = None, most_bytes: int) -> Answer:
    """GET `url`, with `tls` when it is https. Follows no redirect.

    OSError: nobody answers. ValueError: it is no such URL, or what answers does not speak HTTP, or says more than
    `most_bytes`.
    """
    return await _ask("GET", url, {}, b"", tls, most_bytes)


async def post_form(
    url: str,
    form: Mapping[str, str],
    *,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None = None,
    most_bytes: int,
) -> Answer:
    """POST `form` to `url`, as `application/x-www-form-urlencoded`. Otherwise like `get`. No error quotes the form."""
    body = urlencode(form).encode()
    about = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
    return await _ask("POST", url, {**headers, **about}, body, tls, most_bytes)


async def _ask(
    method: str, url: str, headers: Mapping[str, str], body: bytes, tls: ssl.SSLContext | None, most_bytes: int
) -> Answer:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it is no URL like http://host:8222")
    port = parts.port or (80 if tls is None else 443)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [("Host", parts.netloc.rpartition("@")[2]), ("Connection", "close"), *headers.items()]
    try:
        request = h11.Request(method=method, target=target, headers=lines)
    except h11.LocalProtocolError:
        raise ValueError("a URL has no spaces and no control characters") from None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        certificate = writer.get_extra_info("peercert") or {}
        connection = h11.Connection(h11.CLIENT)
        for part in (request, *([h11.Data(data=body)] if body else ()), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        status, said, retry_after_s = await _response(connection, reader, most_bytes)
    finally:
        writer.transport.abort()
    return Answer(status, said, certificate, retry_after_s)


async def _response(
    connection: h11.Connection, reader: asyncio.StreamReader, most_bytes: int
) -> tuple[int, bytes, int]:
    status, body, heard, retry_after_s = 0, bytearray(), b"", 0
    try:
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    data = await reader.read(_READ_BYTES)
                    heard = heard or data[: len(_HTTP)]
                    connection.receive_data(data)
                case h11.Response(status_code=status, headers=headers):
                    said = next((value for name, value in headers if name == b"retry-after"), b"")
                    retry_after_s = int(said) if said.isdigit() and len(said) < _MOST_DIGITS else 0
                case h11.Data(data=data):
                    body += data
                    if len(body) > most_bytes:
                        raise ValueError("what comes has no end")
                case h11.EndOfMessage():
                    return status, bytes(body), retry_after_s
                case h11.InformationalResponse():
                    pass
                case _:
                    raise ValueError("no HTTP server answers there")
    except h11.RemoteProtocolError as error:
        breaks_off = reader.at_eof() and heard == _HTTP
        raise ValueError("it breaks off its answer" if breaks_off else "no HTTP server answers there") from error
