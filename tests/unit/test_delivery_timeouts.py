"""How long content may take."""

import pytest

from delivery.connect.timeouts import Timeouts

TIMEOUTS = Timeouts(block_s=180, slowest_bytes_per_s=10_000)


@pytest.mark.parametrize(("size", "seconds"), [(0, 180), (1_000_000, 180), (3_600_000, 360), (25_000_000, 2500)])
def test_content_has_time_by_its_size_and_never_less_than_a_block(size: int, seconds: float) -> None:
    assert TIMEOUTS.content_s(size) == seconds
