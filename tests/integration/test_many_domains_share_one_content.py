"""A message for a hundred domains is written to the disk once."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER

DOMAINS = [f"of-a-hundred-{number}.test" for number in range(100)]
CONTENT = LETTER + (b"x" * 78 + b"\r\n") * 2500


async def test_a_message_for_a_hundred_domains_is_written_once_and_arrives_everywhere(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    system = await make_system(delivery=0)
    hosts = [await mx(domain) for domain in DOMAINS]

    async with system.relaying() as client:
        assert (await client.transact("ann@home.test", [f"bob@{domain}" for domain in DOMAINS], CONTENT)).code == 250

    stored = (await system.streams())["MAIL"]
    assert stored["messages"] == 100
    assert stored["bytes"] < len(CONTENT)
    await system.scale_delivery(1)
    for host, domain in zip(hosts, DOMAINS, strict=True):
        assert (await host.received(f"bob@{domain}")).below_trace == CONTENT
    await system.empty()
