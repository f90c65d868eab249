"""A kept connection carries the next message."""

import pytest

from tests.conftest import MakeMx
from tests.fixtures.letters import LETTER
from tests.fixtures.mx_script import DROP, EXTENSIONS
from tests.fixtures.system import System


async def test_messages_one_after_another_share_a_connection(system: System, mx: MakeMx) -> None:
    dest = await mx("reused.test")

    for number in range(5):
        await system.submit("ann@home.test", [f"u{number}@reused.test"], LETTER)
        await dest.received(f"u{number}@reused.test")

    assert dest.connections == 1


async def test_a_kept_connection_that_the_host_has_closed_costs_nothing(system: System, mx: MakeMx) -> None:
    dest = await mx("impatient.test")
    await system.submit("ann@home.test", ["first@impatient.test"], LETTER)
    await dest.received("first@impatient.test")
    for connection in list(dest.open):
        connection.abort()

    await system.submit("ann@home.test", ["second@impatient.test"], LETTER)

    await dest.received("second@impatient.test")
    assert dest.connections == 2


@pytest.mark.parametrize("answer", ["421 4.4.2 waited for too long", DROP])
@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["in a group", "one by one"])
async def test_a_kept_connection_on_which_the_host_is_leaving_is_no_attempt(
    system: System, mx: MakeMx, answer: str, extensions: tuple[str, ...]
) -> None:
    domain = f"leaving{int(answer == DROP)}{len(extensions)}.test"
    dest = await mx(domain, replies={"MAIL": ("250 2.1.0 ok", answer)}, extensions=extensions)
    spare = await mx(domain, preference=20)
    await system.submit("ann@home.test", [f"first@{domain}"], LETTER)
    await dest.received(f"first@{domain}")

    await system.submit("ann@home.test", [f"second@{domain}"], LETTER)

    await dest.received(f"second@{domain}")
    await system.empty()
    assert dest.connections == 2
    assert spare.connections == 0
    (service,) = system.delivery
    told = [line for line in service.log_lines() if line.get("recipient") == f"second@{domain}"]
    assert [(line["event"], line["attempt"]) for line in told] == [("delivered", 1)]


async def test_a_host_that_leaves_once_it_has_content_is_not_asked_again_at_once(system: System, mx: MakeMx) -> None:
    dest = await mx("took-it.test", replies={"DOT": ("250 2.0.0 taken", DROP)})
    await system.submit("ann@home.test", ["first@took-it.test"], LETTER)
    await dest.received("first@took-it.test")

    await system.submit("ann@home.test", ["second@took-it.test"], LETTER)

    await dest.received("second@took-it.test")
    (service,) = system.delivery
    await system.empty()
    told = [line for line in service.log_lines() if line.get("recipient") == "second@took-it.test"]
    assert [(line["event"], line["attempt"]) for line in told] == [("deferred", 1), ("delivered", 2)]
