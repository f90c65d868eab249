"""However often a client is refused, the log has a line for it and the reason now and then; each refusal is counted."""

import pytest

from tests.conftest import MakeSystem
from tests.fixtures.client import RawClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSIONS, REFUSALS = 20, 15


async def test_one_line_for_a_client_and_a_reason(make_system: MakeSystem) -> None:
    system = await make_system({"log.repeat_after_s": 600})
    (ingress,) = system.ingress
    for number in range(SESSIONS):
        client = await RawClient.connect("127.0.0.1", system.ports.relay, source="127.0.0.7")
        await client.reply()
        data = b"EHLO x\r\n" + b"".join(b"V%d%d\r\n" % (number, each) for each in range(REFUSALS)) + b"QUIT\r\n"
        await client.send(data)
        await client.rest()
        await client.aclose()
    refused = [line for line in ingress.log_lines() if line["event"] == "refused"]
    assert [line["reason"] for line in refused] == ["sequence"]
    assert await ingress.metric("jetpost_ingress_rejections_total", reason="sequence") == SESSIONS * REFUSALS
    for _ in range(SESSIONS):
        client = await RawClient.connect("127.0.0.1", system.ports.relay, source="127.0.0.7")
        await client.reply()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await client.is_closed()
        await client.aclose()
    ended = [line for line in ingress.log_lines() if line["event"] == "connection rejected"]
    assert [line["reason"] for line in ended] == ["protocol"]
