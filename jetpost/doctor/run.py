"""Checks side by side, each within its time: one that waits for a silent server holds no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from jetpost.doctor.finding import Finding, error
from jetpost.reason import reason_of


class Check(NamedTuple):
    """A check to be run."""

    about: str
    """For people, when it does not come to its end: `SPF of dest.test`."""
    run: Callable[[], Awaitable[list[Finding]]]


async def run_checks(checks: Sequence[Check], within_s: float) -> list[Finding]:
    """The findings of all checks, in their order; `within_s` is the time of each, and so of all of them."""
    found = await asyncio.gather(*(_one(check, within_s) for check in checks))
    return [finding for findings in found for finding in findings]


async def _one(check: Check, within_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(within_s):
            return await check.run()
    except TimeoutError:
        return [error("unfinished", check.about, f"no result within {within_s:g} s")]
    except Exception as problem:
        return [error("unfinished", check.about, f"the check failed: {reason_of(problem)}")]
