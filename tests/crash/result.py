"""What a run shows, for whoever wants to see the evidence."""

from collections import Counter
from typing import NamedTuple

from tests.crash.account import LAG_S, MACHINE, Account, Duplicate, Outage

_MOST_LINES = 40


class Result(NamedTuple):
    """A run of a load, counted."""

    account: Account
    outages: tuple[Outage, ...]
    began: float
    """When the load began and ended, on the clock of all times in the account."""
    ended: float
    emptied: float
    """When the queue was empty, and when every content was swept; 0: it was not."""
    swept: float
    longest_pause_s: float
    """The longest time in which the tests' own process had no turn: a slow machine is seen here."""
    by_reference: int
    """Accepted messages whose content was kept beside the queue."""
    parked: int
    """Times an entry was parked, as far as the processes lived to tell."""
    evidence: tuple[str, ...]
    """What the processes logged about the copies too many that nothing explains."""

    def __str__(self) -> str:
        account = self.account
        kinds = Counter(f"{outage.kind} {outage.how}" for outage in self.outages)
        lines = [
            f"  {', '.join(f'{kind} × {count}' for kind, count in kinds.items()) or 'nothing killed'};"
            f" {self.ended - self.began:.0f} s of load, {self.covered:.0%} of it in a window",
            f"  afterwards  queue empty {self._after(self.emptied)}, contents swept {self._after(self.swept)};"
            f" the longest pause of this process was {self.longest_pause_s:.1f} s",
            f"  accepted    {account.accepted} messages for {account.delivered + account.bounced} recipients;"
            f" {self.by_reference} by reference, {self.parked} times parked, {account.in_doubt} transactions in doubt",
            f"  delivered   {account.delivered}",
            f"  bounced     {account.bounced}",
            *([f"  discarded   {account.discarded}"] if account.discarded else []),
            f"  duplicates  {len(account.duplicates)}",
            *self._listed([self._told(duplicate) for duplicate in account.duplicates]),
            f"  faults      {len(account.faults) or 'none'}",
            *self._listed(account.faults),
            *self._listed(self.evidence),
        ]
        return "\n".join(lines)

    @property
    def duplicates(self) -> list[Duplicate]:
        """The copies too many for which the processes answer: a machine that stood still makes some as well."""
        return [duplicate for duplicate in self.account.duplicates if not duplicate.why.startswith(MACHINE)]

    @property
    def covered(self) -> float:
        """The part of the run in which something was away, or within LAG_S."""
        covered, until = 0.0, self.began
        for outage in sorted(self.outages, key=lambda outage: outage.began):
            end = min(outage.ended, self.ended)
            covered += max(end - max(outage.began - LAG_S, until), 0)
            until = max(until, end)
        return covered / max(self.ended - self.began, 1e-9)

    def _after(self, time: float) -> str:
        return f"after {time - self.ended:.0f} s" if time else "never"

    def _told(self, duplicate: Duplicate) -> str:
        first, second = (
            f"transaction {copy.transaction} at {copy.at - self.began:.3f} s from {copy.source}"
            for copy in (duplicate.first, duplicate.second)
        )
        return f"{duplicate.recipient}: {first}, {second}; {duplicate.why or 'NOTHING explains it'}"

    @staticmethod
    def _listed(lines: list[str] | tuple[str, ...]) -> list[str]:
        more = [f"    … and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
        return [*(f"    {line}" for line in lines[:_MOST_LINES]), *more]
