"""50 MB pass through, byte for byte, and are reported on: that costs no process more than a few chunks."""

import hashlib
from collections.abc import Callable

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.client import stuffed
from tests.fixtures.letters import LETTER

SIZE = 50 * 1024 * 1024
LINE = b"." + b"0123456789" * 7 + b"\r\n"
ALLOWED_BYTES = 32 * 1024 * 1024
"""What a process may grow by. The message is larger, so nobody can hold it."""


@pytest.mark.slow
async def test_fifty_megabytes_arrive_byte_for_byte_in_bounded_memory(
    make_system: MakeSystem, mx: MakeMx, record_property: Callable[[str, object], None]
) -> None:
    system = await make_system()
    dest, home = await mx("large.test"), await mx("home-of-large.test")
    content = LETTER + LINE * (SIZE // len(LINE))
    before = {service.name: service.memory_peak_bytes() for service in system.services}

    async with system.relaying() as client:  # without AUTH, as argon2 alone takes 64 MB
        to = ["bob@large.test", "carl@elsewhere-large.test"]  # no such domain: the bouncer has the message, too
        assert (await client.transact("ann@home-of-large.test", to, stuffed(content))).code == 250
    message = await dest.received("bob@large.test", within_s=60)
    dsn = await home.received("ann@home-of-large.test", within_s=60)
    await system.empty()

    assert dsn.delivery_status("carl@elsewhere-large.test")["Action"] == "failed"
    assert hashlib.sha256(message.below_trace).digest() == hashlib.sha256(content).digest()
    for service in [*system.services, *system.servers]:
        peak = service.memory_peak_bytes()
        record_property(f"peak_bytes_{service.name}", peak)
        print(f"{service.name}: peak {peak / 1e6:.0f} MB")  # noqa: T201 — a measurement to DSN
    for service in system.services:
        assert service.memory_peak_bytes() - before[service.name] < ALLOWED_BYTES, service.name
