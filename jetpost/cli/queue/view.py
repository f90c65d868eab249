"""How the queue looks on a screen, and as JSON. Entries in, tables and records out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from rich.table import Column, Table
from rich.text import Text

from jetpost.cli.terminal import visible
from jetpost.mail.outcome import Discarded, Outcome
from jetpost.mail.reply import EnhancedStatus
from jetpost.queue.listing import Depth
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.names import BadName, DomainToken, domain_of
from jetpost.queue.model.states import State
from jetpost.queue.model.unreadable import Unreadable
from jetpost.queue.storage.shard import Found, StoredEntry

Entries = Sequence[tuple[int, Found]]
"""Entries, unreadable ones among them, with the number of the shard they lie in."""

_LIVE = tuple(state for state in State if state is not State.DONE)
_STATUS_FIELDS = set(EnhancedStatus.__struct_fields__)
_MOST_RECIPIENTS = 3
TABLE_WIDTH = 120
"""Columns of the screen from which on entries are shown as a table."""


class Shown(NamedTuple):
    """An entry with the header of its message."""

    stored: StoredEntry
    header: str


def depth_table(depth: Depth) -> Table:
    """Domains by states, the deepest first, with sums."""
    table = Table("domain", title="Queue", title_justify="left")
    for state in _LIVE:
        table.add_column(state.value, justify="right")
    totals: dict[DomainToken, int] = {}
    for (_, token), number in depth.by_state_and_domain.items():
        totals[token] = totals.get(token, 0) + number
    for token in sorted(totals, key=lambda token: (-totals[token], token)):
        counts = [depth.by_state_and_domain.get((state, token), 0) for state in _LIVE]
        table.add_row(_plain(_domain(token)), *(str(count or "·") for count in counts))
    table.add_section()
    table.add_row("all", *(str(depth.by_state.get(state, 0)) for state in _LIVE), style="bold")
    return table


def depth_record(depth: Depth) -> dict[str, Any]:
    """The same for programs."""
    domains: dict[str, dict[str, int]] = {}
    for (state, token), number in sorted(depth.by_state_and_domain.items()):
        domains.setdefault(_domain(token), {})[state.value] = number
    return {"states": {state.value: depth.by_state.get(state, 0) for state in _LIVE}, "domains": domains} | (
        {"strange": depth.strange} if depth.strange else {}
    )


def entries_view(entries: Entries, now: datetime, width: int) -> Table | Text:
    """The entries in a table; on a narrower screen in lines, so that each queue id can be copied whole."""
    rows = [_cells(found.entry, now) for _, found in entries if not isinstance(found, Unreadable)]
    if width < TABLE_WIDTH:
        return Text("\n").join(_lines(row) for row in rows)
    queue_id = Column("queue id", no_wrap=True)
    table = Table(queue_id, "state", "age", "tries", "next", "size", "from", "to", "last failure")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(entry: Entry, now: datetime) -> tuple[Text, ...]:
    envelope = entry.envelope
    first = ", ".join(recipient.address for recipient in envelope.recipients[:_MOST_RECIPIENTS])
    more = len(envelope.recipients) - _MOST_RECIPIENTS
    texts = (
        entry.queue_id,
        entry.state.value,
        _age(now - entry.arrived),
        str(entry.attempts),
        _age(entry.due - now) if entry.due else "",
        _size(entry.size),
        envelope.reverse_path or "<>",
        first + (f" and {more} more" if more > 0 else ""),
        _failure(entry),
    )
    return tuple(map(_plain, texts))


def _lines(cells: tuple[Text, ...]) -> Text:
    queue_id, state, age, tries, due, size, sender, to, failure = cells
    first = Text("  ").join(
        [queue_id, state, age, Text("tries ") + tries, *([Text("next ") + due] if due else []), size]
    )
    lines = [first, Text("    ") + sender + Text(" → ") + to, *([Text("    ") + failure] if failure else [])]
    return Text("\n").join(lines)


def unreadable_lines(entries: Entries, now: datetime) -> Text:
    """A line for each that cannot be read, with the reason in full."""
    text = Text()
    for _, found in entries:
        if isinstance(found, Unreadable):
            state = found.state.value if found.state else "no state"
            about = f"{found.queue_id}  {state}  {_age(now - found.since)}  {_size(len(found.payload))}  "
            text.append_text(_plain(f"{about}unreadable: {found.why}")).append("\n")
    return text


def entry_record(stored: Found) -> dict[str, Any]:
    """An entry for programs, without its content."""
    if isinstance(stored, Unreadable):
        return {
            "queue_id": stored.queue_id,
            "state": stored.state.value if stored.state else None,
            "domain": _domain(stored.domain_token) if stored.domain_token else None,
            "sequence": stored.sequence,
            "size": len(stored.payload),
            "subject": stored.came_from,
            "since": stored.since.isoformat(),
            "unreadable": stored.why,
        }
    entry = stored.entry
    return {
        "queue_id": entry.queue_id,
        "state": entry.state.value,
        "domain": entry.domain,
        "sequence": stored.sequence,
        "size": entry.size,
        "arrived": entry.arrived.isoformat(),
        "expires": entry.expires.isoformat(),
        "due": entry.due.isoformat() if entry.due else None,
        "attempts": entry.attempts,
        "envelope": _plain_data(entry.envelope),
        "last": _plain_data(entry.last),
        "failures": _plain_data(entry.failures),
        "reason": entry.reason,
    }


def _plain_data(value: Any) -> Any:
    """What is stored, for programs: a status code as everybody writes it, `4.7.8` (RFC 3463)."""

    def written(data: Any) -> Any:
        if isinstance(data, dict):
            if data.keys() == _STATUS_FIELDS:
                return str(msgspec.convert(data, EnhancedStatus))
            return {key: written(each) for key, each in data.items()}
        return type(data)(map(written, data)) if isinstance(data, list | tuple) else data

    return written(msgspec.to_builtins(value))


def shown_record(shown: Shown | Unreadable) -> dict[str, Any]:
    """An entry with the header of its message, for programs."""
    if isinstance(shown, Unreadable):
        return entry_record(shown)
    return {**entry_record(shown.stored), "header": shown.header}


def unreadable_text(found: Unreadable) -> Text:
    """What is known of a message that is no entry; never its payload."""
    facts = [
        ("queue id", found.queue_id),
        ("state", f"{found.state.value if found.state else 'none'} (sequence {found.sequence})"),
        ("unreadable", found.why),
        ("subject", found.came_from),
        ("since", f"{found.since:%Y-%m-%d %H:%M:%S} UTC"),
        ("headers", ", ".join(sorted(found.headers))),
        ("payload", f"{len(found.payload)} bytes"),
    ]
    return _facts(facts)


def _facts(facts: Sequence[tuple[str, str]]) -> Text:
    text = Text()
    for name, value in facts:
        text.append(f"{name:>12}  ", style="dim").append_text(_plain(value)).append("\n")
    return text


def full_text(shown: Shown) -> Text:
    """Everything about one entry but the body of its message."""
    sequence, entry = shown.stored.sequence, shown.stored.entry
    origin = entry.envelope.origin
    facts = [
        ("queue id", entry.queue_id),
        ("state", f"{entry.state.value} (sequence {sequence})" + (f": {entry.reason}" if entry.reason else "")),
        ("domain", entry.domain),
        ("from", entry.envelope.reverse_path or "<>"),
        *(("to", recipient.address) for recipient in entry.envelope.recipients),
        ("arrived", f"{entry.arrived:%Y-%m-%d %H:%M:%S} UTC, expires {entry.expires:%Y-%m-%d %H:%M:%S} UTC"),
        ("client", f"{origin.client_name} [{origin.client_address}] with {origin.protocol} {origin.identity}".rstrip()),
        ("attempts", str(entry.attempts) + (f", next {entry.due:%Y-%m-%d %H:%M:%S} UTC" if entry.due else "")),
        ("size", f"{entry.size} bytes"),
        *([("last failure", _outcome(entry.last))] if entry.last else []),
        *(("failed", f"{recipient.address}: {_outcome(outcome)}") for recipient, outcome in entry.failures),
    ]
    text = _facts(facts).append("\n")
    for line in (entry.trace + shown.header).replace("\r\n", "\n").split("\n"):
        text.append_text(_plain(line.expandtabs())).append("\n")
    return text


def _failure(entry: Entry) -> str:
    if entry.failures:
        return _outcome(entry.failures[0][1])
    return _outcome(entry.last) if entry.last else entry.reason


def _outcome(outcome: Outcome) -> str:
    reply = None if isinstance(outcome, Discarded) else outcome.reply
    said = str(reply) if reply else getattr(outcome, "why", "")
    return f"{said} ({outcome.host})" if outcome.host else said


def _domain(domain_token: DomainToken) -> str:
    """The domain of a token; a token of none stays as it is."""
    try:
        return domain_of(domain_token)
    except BadName:
        return domain_token


def _plain(text: str) -> Text:
    """Text from the outside: no markup, no control sequence for the terminal."""
    return Text(visible(text))


def _age(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds} s"


def _size(count: int) -> str:
    for size, unit in ((10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
