"""Who may compute: a few at once, clients in turn, and no slot is lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ingress.auth.slots import Slots


async def test_a_client_with_many_wishes_waits_behind_one_with_a_single_wish() -> None:
    slots, served, go_on = Slots(1), list[str](), asyncio.Event()

    async def compute(client: str) -> None:
        async with slots.slot(client):
            await go_on.wait()
            served.append(client)

    tasks = [asyncio.create_task(compute("greedy")) for _ in range(20)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(compute(client)) for client in ("ann", "bob")]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*tasks)
    assert max(served.index("ann"), served.index("bob")) <= 4
    assert len(served) == 22


@given(
    at_once=st.integers(1, 3),
    wishes=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["ends", "is cancelled", "raises"])), max_size=20
    ),
)
def test_no_slot_is_lost_and_none_too_many_is_given(at_once: int, wishes: list[tuple[str, str]]) -> None:
    async def run() -> None:
        slots, busy, most = Slots(at_once), 0, 0

        async def compute(client: str, fate: str) -> None:
            nonlocal busy, most
            async with slots.slot(client):
                busy += 1
                most = max(most, busy)
                try:
                    await asyncio.sleep(0)
                    if fate == "raises":
                        raise ValueError(client)
                finally:
                    busy -= 1

        tasks = [asyncio.create_task(compute(*wish)) for wish in wishes]
        for number, (task, (_, fate)) in enumerate(zip(tasks, wishes, strict=True)):
            if fate == "is cancelled":
                for _ in range(number % 3):
                    await asyncio.sleep(0)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= at_once
        async with asyncio.timeout(10), asyncio.TaskGroup() as again:
            for client in "abc":
                again.create_task(compute(client, "ends"))

    asyncio.run(run())
