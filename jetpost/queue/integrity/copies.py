"""The copies of a stream in a cluster: one that has lost messages does not lead while another may have them.

A nats-server that was killed in the middle of a write says that the end of its copy is lost. It says so until its next
start, also when the other servers have given it those messages again. And a copy that has really lost messages shows
none of them to the consumers while its server leads. So the word of one leader is a doubt about its copy, and a loss is
what no copy has.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from prometheus_client import Gauge

from jetpost.jetstream.connection import JetStream
from jetpost.jetstream.errors import ApiError, ErrorNumber, Unreachable
from jetpost.jetstream.streams import about
from jetpost.queue.integrity.losses import Ranges, common, ranges
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger

REPLICA_SUSPECT = Gauge(
    "jetpost_queue_replica_suspect",
    "1 for an hour after a server's replica of a stream seemed to lack messages, else 0. Labels: `stream`, `server`.",
    ["stream", "server"],
)
_TOLD_S = 3600.0
_FORGOTTEN_S = 120.0
"""A server that has started again since may not have to be doubted any more."""
_MOST_ASKED = 1000
RUNBOOK = "docs/runbooks/replica-may-be-incomplete.md"
EVERYTHING: Ranges = ((1, 1 << 63),)

log = logger(__name__)


class Doubt(NamedTuple):
    """What one copy may have lost."""

    at: float
    lost: Ranges
    why: str | None
    """None: it has fewer messages than the copy that led before, which may be right."""


class Copies:
    """The copies of a stream, as this process saw their servers lead."""

    def __init__(self, jetstream: JetStream, stream: str) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._doubts: dict[str, Doubt] = {}
        self._trusted: str | None = None
        """Whose copy was looked at last, and not doubted."""

    def is_new(self, leader: str) -> bool:
        """Whether this leader's copy was not looked at yet: its details are asked for."""
        return leader != self._trusted

    def follows_another(self, leader: str, noted: str) -> bool:
        """Whether another led at the look before, or when the stream was `noted`, and this one is not trusted yet."""
        return self.is_new(leader) and bool({noted, self._trusted} - {"", None, leader})

    def trust(self, leader: str, now: float) -> None:
        """This leader's copy is as good as any."""
        self._trusted = leader
        for server in [name for name, doubt in self._doubts.items() if name == leader or now - doubt.at > _TOLD_S]:
            del self._doubts[server]
            REPLICA_SUSPECT.labels(self._stream, server).set(0)

    async def absent(self, lost: Ranges) -> Ranges:
        """What of `lost` the leader does not have. Unreachable or ApiError: nobody can say."""
        if sum(end - start + 1 for start, end in lost) > _MOST_ASKED:
            return lost
        sequences = [number for start, end in lost for number in range(start, end + 1)]
        return ranges([number for number in sequences if not await self._has(number)])

    async def _has(self, sequence: int) -> bool:
        try:
            await self._jetstream.api(f"STREAM.MSG.GET.{self._stream}", {"seq": sequence})
        except ApiError as error:
            if error.err_code not in {ErrorNumber.NO_MESSAGE_FOUND, ErrorNumber.SEQUENCE_NOT_FOUND}:
                raise
            return False
        return True

    async def another_leads(self, answer: Mapping[str, Any], doubt: Doubt) -> bool:
        """Doubt the leader's copy: whether a copy is left that is not doubted. As soon as it is current it leads."""
        leader = leader_of(answer)
        self._doubts[leader] = doubt
        REPLICA_SUSPECT.labels(self._stream, leader).set(1)
        others = [
            replica
            for replica in answer["cluster"].get("replicas") or ()
            if not replica.get("offline") and self._doubt(replica["name"], doubt.at) is None
        ]
        if current := [replica["name"] for replica in others if replica.get("current")]:
            await self._step_down(leader, current[0], doubt.why or "fewer messages than the leader before")
        return bool(others)

    async def _step_down(self, leader: str, successor: str, why: str) -> None:
        try:
            if leader_of(await about(self._jetstream, self._stream)) != leader:  # another process was quicker
                return
            wanted = {"placement": {"preferred": successor}}
            await self._jetstream.api(f"STREAM.LEADER.STEPDOWN.{self._stream}", wanted)
        except (Unreachable, ApiError) as error:
            log.debug("leader does not step down", stream=self._stream, server=leader, error=reason_of(error))
            return
        told = {"stream": self._stream, "server": leader, "successor": successor}
        log.warning("replica may have lost messages", **told, reason=why, runbook=RUNBOOK)

    def lost_by_all(self, answer: Mapping[str, Any], now: float) -> str | None:
        """Why all copies are doubted, when there is something that none of them has."""
        names = {leader_of(answer), *(replica["name"] for replica in answer["cluster"].get("replicas") or ())}
        doubts = [doubt for name in names if (doubt := self._doubt(name, now)) is not None]
        if not common([doubt.lost for doubt in doubts]):
            return None
        return next((doubt.why for doubt in doubts if doubt.why is not None), None)

    def _doubt(self, server: str, now: float) -> Doubt | None:
        doubt = self._doubts.get(server)
        return doubt if doubt is not None and now - doubt.at < _FORGOTTEN_S else None


def leader_of(answer: Mapping[str, Any]) -> str:
    """The server that leads the stream, from STREAM.INFO."""
    return str(answer["cluster"].get("leader", ""))
