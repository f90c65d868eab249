"""What a GET or a POST makes of whatever answers."""

import asyncio

import pytest

from jetpost.http_client import get, post_form

MOST_BYTES = 1000
ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "HTTP/1.0, until it closes": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
    "a length": (b"HTTP/1.1 503 Later\r\nContent-Length: 5\r\n\r\nhello", 503, b"hello"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, b"hello"),
    "an interim response": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, b""),
    "just as much as it may": (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * MOST_BYTES, 200, b"x" * MOST_BYTES),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no HTTP server"),
    "another protocol": (b"220 mx.test ESMTP\r\n", "no HTTP server"),
    "empty lines": (b"\r\n" * 50, "no HTTP server"),
    "a header without end": (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000, "no HTTP server"),
    "an upgrade": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no HTTP server"),
    "half a header": (b"HTTP/1.1 200 OK\r\nContent-", "breaks off"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "breaks off"),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhel", "breaks off"),
    "more than it may": (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (MOST_BYTES + 1), "no end"),
}


async def asked(answer: bytes) -> tuple[int, bytes, list[bytes]]:
    """The status and the body, and what the server was asked."""
    questions = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        questions.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await get(f"http://127.0.0.1:{port}/a?b=c", most_bytes=MOST_BYTES)
    return said.status, said.body, questions


@pytest.mark.parametrize(("answer", "status", "body"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_its_status_and_its_body(answer: bytes, status: int, body: bytes) -> None:
    got_status, got_body, questions = await asked(answer)
    assert (got_status, got_body) == (status, body)
    assert questions[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(("answer", "why"), REFUSED.values(), ids=REFUSED)
async def test_what_is_no_answer_is_an_error_that_says_why(answer: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        await asked(answer)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "ftp://127.0.0.1/",
        "http://",
        "http:///x",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\x7f",
        "http://127.0.0.1/é",
        "http://[::1/",
    ],
)
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        await get(url, most_bytes=MOST_BYTES)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 120", 120),
        ("retry-after:  0", 0),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("Retry-After: -5", 0),
        ("Retry-After: 1.5", 0),
        ("Retry-After: 99999999999999999999", 0),
        ("Retry-After: \xb2", 0),
        ("X: y", 0),
    ],
)
async def test_how_long_a_server_wants_not_to_be_asked(header: str, seconds: int) -> None:
    answer = f"HTTP/1.1 429 X\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        said = await get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", most_bytes=MOST_BYTES)
    assert (said.status, said.retry_after_s) == (429, seconds)


async def test_a_form_is_posted_as_one() -> None:
    heard = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append((head.decode(), await reader.readexactly(21)))
        writer.write(b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token?x=y"
        said = await post_form(url, {"a": "b c", "d": "e&=é"}, headers={"Accept": "x/y"}, most_bytes=MOST_BYTES)
    (head, body), lines = heard[0], heard[0][0].split("\r\n")
    assert (said.status, said.body) == (400, b"{}")
    assert head.startswith("POST /token?x=y HTTP/1.1\r\nHost: 127.0.0.1:")
    assert {"Accept: x/y", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 21"} <= set(lines)
    assert body == b"a=b+c&d=e%26%3D%C3%A9"


async def test_nobody_answers_is_an_os_error() -> None:
    async with await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    with pytest.raises(OSError):
        await get(f"http://127.0.0.1:{port}/", most_bytes=MOST_BYTES)
