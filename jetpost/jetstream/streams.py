"""Streams: made, completed, and looked at. One provisioner, which never takes away what protects mail."""

from typing import Any

from jetpost.config.refused import Unsafe
from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, ErrorNumber, Unreachable

_DROPPING = ("max_bytes", "max_msgs", "max_msgs_per_subject", "max_age", "max_msg_size")
"""Limits at which a stream drops what it has, or takes no more of what it must."""


async def ensure(jetstream: JetStream, wanted: dict[str, Any], section: str, *, may_shrink: bool = False) -> None:
    """Make the stream `wanted`, or bring the existing one to it. Repeatable, by several processes at a time.

    Unsafe when what it has would be kept less safely, or dropped sooner, than now. `may_shrink`: a stream whose loss
    costs no mail follows its settings in both directions. `section` of the configuration is where they come from.
    """
    name = wanted["name"]
    try:
        existing = (await jetstream.api(f"STREAM.INFO.{name}"))["config"]
    except ApiError as error:
        if error.err_code != ErrorNumber.STREAM_NOT_FOUND:
            raise
        try:
            await jetstream.api(f"STREAM.CREATE.{name}", wanted)
        except ApiError:
            # Another process may have made it at the same moment, in which case it is there now.
            await jetstream.api(f"STREAM.INFO.{name}")
        return
    grown = {**existing, **wanted}
    if not may_shrink:
        if lost := shrunk(existing, wanted, section):
            raise Unsafe(f"stream {name}: {lost}")
        grown["max_age"] = max(existing.get("max_age", 0), wanted.get("max_age", 0))
    if grown != existing:
        await jetstream.api(f"STREAM.UPDATE.{name}", grown)


def shrunk(existing: dict[str, Any], wanted: dict[str, Any], section: str) -> str | None:
    """What of the safety of `existing` would be less in `wanted`, or is wrong already; None when nothing is."""
    if existing["num_replicas"] > wanted["num_replicas"]:
        return (
            f"it has {existing['num_replicas']} replicas, {section}.replicas asks for {wanted['num_replicas']}: "
            f"set {section}.replicas to {existing['num_replicas']}"
        )
    for key in ("retention", "storage"):
        if existing[key] != wanted[key]:
            return f"{key} is {existing[key]}, must be {wanted[key]}; it was not made by Jetpost"
    dropping = [limit for limit in _DROPPING if existing.get(limit, -1) > 0 and limit not in wanted]
    if dropping:
        return f"it has {', '.join(dropping)}, which would drop queued mail: remove that, and set {section}.max_bytes"
    if existing.get("no_ack"):
        return "it has no_ack: nothing would confirm what is stored"
    return None


async def stream_names(jetstream: JetStream) -> list[str]:
    """The name of every stream. Unreachable or ApiError when nobody answers."""
    names: list[str] = []
    while True:
        page = await jetstream.api("STREAM.NAMES", {"offset": len(names)})
        names += page["streams"] or []
        if not page["streams"] or len(names) >= page["total"]:
            return names


async def about(
    jetstream: JetStream, stream: str, subjects: str | None = None, offset: int = 0, *, details: bool = False
) -> dict[str, Any]:
    """The leader's word about `stream` (STREAM.INFO), with the counts of the subjects that match `subjects`.

    `details`: also each sequence that is deleted, and those that are lost.

    While there is no leader a replica answers, which may know less: Unreachable, like no answer. ApiError: refused.
    """
    question: dict[str, Any] | None = None
    if subjects is not None:
        question = {"subjects_filter": subjects, "offset": offset}
    elif details:
        question = {"deleted_details": True}
    answer = await jetstream.api(f"STREAM.INFO.{stream}", question)
    cluster = answer.get("cluster")
    if cluster is not None and not cluster.get("leader") and answer["config"]["num_replicas"] > 1:
        raise Unreachable(f"{stream} has no leader")
    return answer


async def ends_at(jetstream: JetStream, name: str) -> int | None:
    """The last sequence of a stream; None: there is none of that name. Unreachable or ApiError: nobody can say."""
    try:
        return int((await about(jetstream, name))["state"]["last_seq"])
    except ApiError as error:
        if error.err_code != ErrorNumber.STREAM_NOT_FOUND:
            raise
        return None
