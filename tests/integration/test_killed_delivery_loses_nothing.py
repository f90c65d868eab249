"""What a killed delivery process had claimed is delivered by the next one; what it had finished is not sent again."""

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import SILENCE


async def test_an_attempt_cut_short_by_kill_9_is_made_again(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system()
    dest = await mx("cut-short.test", replies={"DATA": (SILENCE,)})
    await system.submit("ann@home.test", ["bob@cut-short.test"], LETTER)
    await eventually(lambda: dest.heard["DATA"], "the attempt is under way")

    await system.delivery[0].restart()

    assert (await dest.received("bob@cut-short.test")).below_trace == LETTER
    await system.empty()
    assert len(dest.messages) == 1


async def test_another_process_takes_over(make_system: MakeSystem, mx: MakeMx) -> None:
    system = await make_system(delivery=2)
    dest = await mx("taken-over.test", replies={"DATA": (SILENCE,)})
    await system.submit("ann@home.test", ["bob@taken-over.test"], LETTER)
    await eventually(lambda: dest.heard["DATA"], "the attempt is under way")

    for service in system.delivery:  # one of them has it; both are never away at a time
        await service.restart()

    await dest.received("bob@taken-over.test")
    await system.empty()
    assert len(dest.messages) == 1
