"""What JetStream answers when it does not do what was asked: its error numbers, in one table. Pure."""

import json
from enum import IntEnum
from typing import Any


class ErrorNumber(IntEnum):
    """`err_code` of nats-server, as far as it decides something here; the names follow its `errors.json`."""

    ACCOUNT_RESOURCES_EXCEEDED = 10002
    CLUSTER_NOT_AVAILABLE = 10008
    """The cluster, or the stream, has no leader that the answering server knows."""
    CONSUMER_NOT_FOUND = 10014
    INSUFFICIENT_RESOURCES = 10023
    MEMORY_RESOURCES_EXCEEDED = 10028
    NO_MESSAGE_FOUND = 10037
    SEQUENCE_NOT_FOUND = 10043
    STORAGE_RESOURCES_EXCEEDED = 10047
    MESSAGE_DELETE_FAILED = 10057
    """Also: the message is not there any more."""
    STREAM_NOT_FOUND = 10059
    WRONG_LAST_SEQUENCE = 10071
    """The expected last sequence is not that of the last message."""
    STORE_FAILED = 10077
    PURGE_FAILED = 10110
    MAX_STREAM_BYTES_EXCEEDED = 10122
    WRONG_LAST_SEQUENCE_CONSTANT = 10164
    """A message before this one is still being applied to the cluster."""
    ATOMIC_PUBLISH_DISABLED = 10174
    INCOMPLETE_BATCH = 10176
    """Also when the server refused a message in the middle of the batch, which it tells nobody."""
    DUPLICATE_MESSAGE = 10201
    MEMBER_CHANGE_IN_FLIGHT = 10202
    TOO_MANY_ATOMIC_BATCHES = 10210
    TOO_MANY_BATCHES = 10211


class ApiError(Exception):
    """JetStream said no: `err_code` is its number (10071 wrong last sequence, …)."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class Unreachable(Exception):  # noqa: N818 — a state of the world, named as one
    """JetStream did not answer: disconnected, no leader, or the question timed out. The request may have been done."""


def answer_of(data: bytes) -> dict[str, Any]:
    """The JSON answer of a JetStream API; ApiError when it is an error, Unreachable when it is no JSON."""
    try:
        answer: dict[str, Any] = json.loads(data)
    except ValueError as no_json:
        raise Unreachable(f"no answer of JetStream: {data[:80]!r}") from no_json
    if error := answer.get("error"):
        raise ApiError(int(error.get("code", 0)), int(error.get("err_code", 0)), str(error.get("description", "")))
    return answer
