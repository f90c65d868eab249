"""Which refusals of nats-server are for good, and which pass."""

import pytest

from jetpost.jetstream.errors import ApiError
from jetpost.queue.storage.answer import is_impossible


@pytest.mark.parametrize(
    ("code", "err_code", "why"),
    [
        (400, 10164, "the cluster is still applying the batch that brought the entry, and shows it already"),
        (400, 10174, "the stream has no atomic batches yet"),
        (429, 10210, "too many open batches of the stream"),
        (429, 10211, "too many open batches"),
        (503, 10008, "no leader"),
        (500, 10074, "the stream was not found on this server"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_what_passes_is_tried_again(code: int, err_code: int, why: str, *, alone: bool) -> None:
    assert not is_impossible(ApiError(code, err_code, why), alone=alone)


@pytest.mark.parametrize(
    ("err_code", "why"), [(10097, "header size exceeds maximum allowed of 64k"), (10189, "message schedule is invalid")]
)
def test_what_is_wrong_with_the_entry_itself_is_for_good(err_code: int, why: str) -> None:
    assert is_impossible(ApiError(400, err_code, why), alone=True)


def test_an_incomplete_batch_may_hide_an_impossible_unit_beside_others() -> None:
    error = ApiError(400, 10176, "batch publish is incomplete and was abandoned")
    assert is_impossible(error, alone=False)
    assert not is_impossible(error, alone=True)
