"""Whoever speaks another protocol hears one reply and is gone, and no command behind its first line is obeyed."""

import asyncio
import http.client
from contextlib import suppress

import pytest

from tests.conftest import MakeMx
from tests.fixtures.client import RawClient
from tests.fixtures.letters import LETTER
from tests.fixtures.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMTP = (
    b"EHLO web.test\r\nMAIL FROM:<web@home.test>\r\nRCPT TO:<victim@web.test>\r\nDATA\r\n" + LETTER + b".\r\nQUIT\r\n"
)
HEADS = {
    "http": b"POST / HTTP/1.1\r\nHost: mx.test\r\nContent-Length: 9999\r\n\r\n",
    "unknown method": b"INVENTED / HTTP/1.1\r\n\r\n",
    "long": b"POST /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "field": b"Content-Type: text/plain\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "socks": b"\x05\x01\x00",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "proxy 2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    "after a mistake": b"\r\nGET / HTTP/1.0\r\n\r\n",
    "after a greeting": b"EHLO web.test\r\nPOST / HTTP/1.1\r\n\r\n",
    "in a transaction": b"EHLO web.test\r\nMAIL FROM:<a@home.test>\r\nGET / HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("waits", [True, False])
async def test_the_session_ends_with_one_reply(system: System, head: bytes, *, waits: bool) -> None:
    before = await system.ingress[0].metrics()
    client = await RawClient.connect("127.0.0.1", system.ports.relay)
    if waits:
        assert (await client.reply()).code == 220
    with suppress(ConnectionError):
        await client.send(head + SMTP)
    with suppress(ConnectionError):  # what was not read any more may take the last words with it
        said = await client.rest()
        assert said.count(b"\r\n421 4.7.0 This is SMTP") + said.startswith(b"421 4.7.0") == 1, said
        assert b"354" not in said
    await client.aclose()
    after = await system.ingress[0].metrics()
    name = "jetpost_ingress_messages_accepted_total"
    assert after.get(name, 0) == before.get(name, 0)
    assert await system.ingress[0].metric("jetpost_ingress_rejections_total", reason="protocol") >= 1


async def test_no_web_page_sends_mail(system: System, mx: MakeMx) -> None:
    dest = await mx("web.test")

    def post(method: str) -> None:
        page = http.client.HTTPConnection("127.0.0.1", system.ports.relay, timeout=30)
        with suppress(http.client.HTTPException, OSError):
            page.request(method, "/", body=SMTP, headers={"Content-Type": "text/plain"})
            page.getresponse().read()
        page.close()

    for method in ("POST", "PUT", "PROPFIND"):
        await asyncio.to_thread(post, method)
    await system.submit("me@home.test", ["honest@web.test"], LETTER)
    await dest.received("honest@web.test")
    await system.empty()
    assert [message.recipients for message in dest.messages] == [("honest@web.test",)]


async def test_it_ends_behind_tls_and_within_an_exchange_of_auth(system: System) -> None:
    context = system.surroundings.certificates.client()
    for ahead in ([], ["EHLO web.test", "AUTH LOGIN"]):
        client = await RawClient.connect("127.0.0.1", system.ports.submissions, context)
        await client.reply()
        for line in ahead:
            await client.say(line)
        assert (await client.say("Host: mx.test")).code == 421
        assert await client.is_closed()
        await client.aclose()
