"""nats-py is as `jetpost/jetstream/nats_client.py` knows it: what it does not document may change with any version."""

import hashlib
import inspect
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol import parser

from jetpost.jetstream.nats_client import NatsClient, _Listener

ROOT = Path(__file__).parents[2]
KNOWN: dict[str, tuple[Callable[..., Any], str]] = {
    "Client._connect_to_server": (Client._connect_to_server, "0d0f1549e3c0"),
    "Client._process_err": (Client._process_err, "ce9cf936d078"),
    "Client._process_op_err": (Client._process_op_err, "acd65b629e0d"),
    "Client._process_headers": (Client._process_headers, "ca0789e9c10e"),
    "Client._process_msg": (Client._process_msg, "7f81fa67e0dc"),
    "Client._send_publish": (Client._send_publish, "51130d12fbf5"),
    "Client._send_command": (Client._send_command, "96280d77d786"),
    "Client._flush_pending": (Client._flush_pending, "75a3c7a6b24a"),
    "Client._flusher": (Client._flusher, "bf0588cd9df0"),
    "Client.close": (Client.close, "d929913227bb"),
    "Client._close": (Client._close, "e2d01167a2e2"),
    "Client.subscribe": (Client.subscribe, "7e1cfeec96a5"),
    "TcpTransport.__init__": (TcpTransport.__init__, "a1bf37931ce5"),
    "TcpTransport.connect": (TcpTransport.connect, "5e24524720b3"),
    "TcpTransport.connect_tls": (TcpTransport.connect_tls, "918f1479dcb0"),
    "TcpTransport.write": (TcpTransport.write, "ae683ae9704e"),
    "TcpTransport.writelines": (TcpTransport.writelines, "10981be45872"),
    "Parser.parse": (parser.Parser.parse, "aedb7ae887ce"),
}
"""What is overridden or relied on, with the start of the SHA-256 of its source, white space apart."""


def fingerprint(part: Callable[..., Any]) -> str:
    return hashlib.sha256("".join(inspect.getsource(part).split()).encode()).hexdigest()[:12]


def test_the_minor_version_is_pinned() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (pin,) = (it for it in wanted if it.startswith("nats-py"))

    major, minor, *_ = version("nats-py").split(".")
    assert pin == f"nats-py>={major}.{minor},<{major}.{int(minor) + 1}"


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_not_documented_is_as_it_was(name: str) -> None:
    part, known = KNOWN[name]

    assert fingerprint(part) == known, (
        f"nats-py {version('nats-py')} has changed {name}, which jetpost/jetstream/nats_client.py relies on. Read what "
        "changed, mend that file, run tests/integration/test_nats_is_refused.py and test_no_answer_is_awaited_from_a_"
        f"dead_server.py, and write {fingerprint(part)!r} here."
    )


async def test_a_listener_hears_every_message_at_once() -> None:
    """Where nats-py resolves a future, it asks `cancelled()` and calls `set_result()`, for each message."""
    heard: list[Msg] = []
    client = NatsClient()
    client._subs[1] = Subscription(client, 1, "subject", future=_Listener(heard.append))  # type: ignore[arg-type]

    await client._process_msg(1, b"subject", b"", b"first", b"")
    await client._process_msg(1, b"subject", b"", b"second", b"")

    assert [message.data for message in heard] == [b"first", b"second"], "nats-py hands over in another way"


async def test_a_subject_may_have_a_form_feed() -> None:
    """The parser of nats-py takes our expressions, by these names."""
    heard: list[Msg] = []
    client = NatsClient()
    client._subs[1] = Subscription(client, 1, ">", future=_Listener(heard.append))  # type: ignore[arg-type]

    await parser.Parser(client).parse(b"MSG one\x0cword 1 5\r\nhello\r\nMSG two 1 reply 2\r\nhi\r\n")

    assert [(it.subject, it.reply, it.data) for it in heard] == [("one\x0cword", "", b"hello"), ("two", "reply", b"hi")]


async def test_what_waits_is_what_nats_py_would_write() -> None:
    """`write_now` empties what the flusher of nats-py would write: a list of bytes and a count of them."""
    client = NatsClient()

    assert (client._pending, client._pending_data_size, client._transport) == ([], 0, None)
    client.write_now()  # not connected: nothing to do
