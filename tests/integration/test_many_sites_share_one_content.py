"""A message for a hundred sites is written to the disk once."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER

SITES = [f"of-a-hundred-{number}.test" for number in range(100)]
CONTENT = LETTER + (b"x" * 78 + b"\r\n") * 2500


async def test_a_message_for_a_hundred_sites_is_written_once_and_arrives_everywhere(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    system = await make_system(delivery=0)
    hosts = [await mx(site) for site in SITES]

    async with system.relaying() as client:
        assert (await client.transact("ann@home.test", [f"bob@{site}" for site in SITES], CONTENT)).code == 250

    stored = (await system.streams())["MAIL"]
    assert stored["messages"] == 100
    assert stored["bytes"] < len(CONTENT)
    await system.scale_delivery(1)
    for host, site in zip(hosts, SITES, strict=True):
        assert (await host.received(f"bob@{site}")).below_trace == CONTENT
    await system.empty()
