"""An entry that takes every process down with it is held, and released by hand when the cause is gone."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER


async def test_what_never_comes_to_an_outcome_is_held_until_it_is_released(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system({"queue.quarantine_after": 2, "queue.ack_wait_s": 2})
    (delivery,) = system.delivery
    dest = await mx("poison.test", delays={"DOT": 3600.0})
    await system.submit("ann@home.test", ["bob@poison.test"], LETTER)
    for attempt in (1, 2):
        await eventually(lambda: dest.heard["DATA"] >= attempt, f"attempt {attempt} is under way")  # noqa: B023
        await delivery.restart()
    await system.queued("held")
    dest.script.delays.clear()

    assert await system.command("queue", "release", "nonesuch") == (1, "nonesuch is not held\n")
    status, printed = await system.command("queue", "release", "--all")

    assert (status, printed.endswith(" is released\n")) == (0, True), printed
    await dest.received("bob@poison.test")
    await system.empty()


async def test_release_wants_to_know_what(make_system: MakeSystem) -> None:
    system = await make_system()
    status, printed = await system.command("queue", "release")
    assert (status, "--all" in printed) == (2, True)
