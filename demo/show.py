"""What the demo shows, readable at a glance."""

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.stage import Samples
from tests.fixtures.message import Message

_terminal = Console()
console = Console(width=min(_terminal.width, 120) if _terminal.is_terminal else 100)


def scene(number: int, happened: str, *told: RenderableType) -> None:
    """One thing that happened, with its evidence."""
    console.print(Panel(Group(*told), title=f"[bold green]✓ {number}  {happened}", title_align="left", padding=(0, 1)))


def facts(**named: str) -> Table:
    """Facts, one a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in named.items():
        table.add_row(name.replace("_", " "), Text(" ".join(fact.split())))
    return table


def report(message: Message, recipient: str) -> Group:
    """A delivery status notification: what a person reads, and what a program reads."""
    status = message.delivery_status(recipient)
    return Group(
        facts(MAIL_FROM=f"<{message.reverse_path}>", Subject=message.fields("Subject")[0]),
        Rule("for a person", style="dim"),
        Text(message.dsn_text.strip()),
        Rule("for a program", style="dim"),
        Text("\n".join(f"{name}: {value}" for name, value in status.items())),
    )


def moved(before: Samples, after: Samples) -> Table:
    """The counters that moved."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("process")
    table.add_column("metric", overflow="fold")
    for title in ("before", "after"):
        table.add_column(title, justify="right")
    for (service, metric, labels), value in sorted(after.items()):
        earlier = before.get((service, metric, labels), 0)
        if value != earlier:
            table.add_row(service, f"{metric} [dim]{escape(labels)}", f"{earlier:g}", f"[bold]{value:g}")
    return table
