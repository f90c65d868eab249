"""Tests that use what the whole run shares run in its event loop: in it live the zone and the MXs."""

from pathlib import Path

import pytest
from pytest_asyncio import is_async_test

from tests.fixtures.process import Process

Process.forked = True
SHARED = {"names", "system", "make_system", "mx"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder that need it."""
    here = Path(__file__).parent
    for item in items:
        shares = isinstance(item, pytest.Function) and SHARED & set(item.fixturenames)
        if shares and here in item.path.parents and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
