"""`queue.shards`: the queue in several streams, each message in one of them."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import greylist


async def test_two_shards_deliver_retry_and_bounce_like_one(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.shards": 2})
    dest = await mx("sharded.test", replies={"bob": "550 5.1.1 no such user", "carl": greylist()})
    home = await mx("home-of-shards.test")
    count = 20  # by chance all in one shard: once in half a million runs

    async with system.submitting() as client:
        for number in range(count):
            to = [f"u{number}@sharded.test"]
            assert (await client.transact(f"s{number}@home-of-shards.test", to, LETTER)).code == 250
    to = ["bob@sharded.test", "carl@sharded.test"]
    await system.submit("ann@home-of-shards.test", to, LETTER)

    await dest.received_all(count + 1)
    await dest.received("carl@sharded.test")
    await home.received("ann@home-of-shards.test")
    await system.empty()
    assert len(dest.messages) == count + 1
    assert len(home.messages) == 1
    streams = await system.streams()
    assert sorted(streams) == ["MAIL", "MAIL-1"]
    assert all(stream["last_seq"] for stream in streams.values())
