"""The image: a failure comes with what the containers have said."""

from collections.abc import Generator

import pytest

from tests.fixtures.containers import Network


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add it while they are there."""
    report = yield
    network = getattr(item, "funcargs", {}).get("network")
    if report.failed and isinstance(network, Network):
        try:
            report.sections.append(("containers", network.situation()))
        except AssertionError as error:
            report.sections.append(("containers", str(error)))
    return report
