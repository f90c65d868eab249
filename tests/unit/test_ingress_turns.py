"""Turns: in order, few in each pass through the event loop, and none is lost."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.listen.turns import Turns


async def test_who_waits_gets_turns_in_order_and_new_ones_come_behind() -> None:
    turns, had = Turns(), list[str]()

    def go_on(name: str, left: int) -> None:
        had.append(name)
        if left:
            turns.wait(partial(go_on, name, left - 1))

    for name in "abc":
        turns.wait(partial(go_on, name, 2))
    while len(had) < 9:
        await asyncio.sleep(0)
    assert "".join(had) == "abcabcabc"


@given(waiting=st.integers(1, 30), most=st.integers(1, 5))
def test_a_pass_has_no_more_than_it_may(waiting: int, most: int) -> None:
    async def passes() -> list[int]:
        turns, had = Turns(most), list[int]()
        for number in range(waiting):
            turns.wait(partial(had.append, number))
        counts = [0]
        while len(had) < waiting:
            await asyncio.sleep(0)
            counts.append(len(had))
        assert had == list(range(waiting))
        return [after - before for before, after in pairwise(counts)]

    assert max(asyncio.run(passes())) <= most


async def test_a_turn_that_raises_costs_the_others_nothing() -> None:
    turns, had = Turns(), list[int]()
    asyncio.get_running_loop().set_exception_handler(lambda *_: had.append(0))
    turns.wait(lambda: 1 / 0)
    turns.wait(lambda: had.append(1))
    while len(had) < 2:
        await asyncio.sleep(0)
    assert had == [0, 1]


async def test_a_turn_can_be_awaited_and_given_up() -> None:
    turns = Turns(1)
    waiting = [asyncio.create_task(turns.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    async with asyncio.timeout(10):
        await waiting[0]
        await waiting[2]


async def test_one_big_turn_a_pass_begins_at_once_and_none_while_somebody_waits() -> None:
    turns = Turns()
    loop = asyncio.get_running_loop()
    began = loop.time()
    frozen = began
    loop.time = lambda: frozen  # type: ignore[method-assign] # as uvloop's, which stands still during a pass

    assert [turns.is_free(), turns.is_free()] == [True, False]
    frozen = began + 1
    turns.wait(lambda: None)
    assert not turns.is_free()
    await asyncio.sleep(0)
    assert turns.is_free()
