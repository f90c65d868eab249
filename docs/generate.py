"""Writes the generated parts of the documents from the code: `python -m docs.generate`, or `make generate`.

Whole pages lie in `docs/reference/`; in a page written by hand a part stands between `<!-- generated: NAME … -->` and
`<!-- end -->`. A test compares what is written with what would be.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from docs import chart, pages, rooms
from docs.dashboards.every import DASHBOARDS
from docs.dashboards.panel import grafana

DOCS = Path(__file__).parent


class Page(NamedTuple):
    """A generated page, or the generated part of one."""

    path: Path
    make: Callable[[], str]
    part: str = ""
    """The name of the part; empty when the whole page is generated."""

    def written(self) -> str:
        """What the page says now; empty when it is not there."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def wanted(self) -> str:
        """What the page should say."""
        if not self.part:
            return self.make()
        mark = f"<!-- generated: {self.part} by `make generate` -->"
        pattern = re.compile(rf"{re.escape(mark)}\n.*?<!-- end -->", re.DOTALL)
        return pattern.sub(lambda _: f"{mark}\n\n{self.make()}\n<!-- end -->", self.written())


PAGES: tuple[Page, ...] = (
    Page(DOCS / "states.md", pages.states, part="states"),
    Page(DOCS / "architecture.md", rooms.diagrams, part="rooms"),
    Page(DOCS / "reference/configuration.md", pages.configuration),
    Page(DOCS / "reference/metrics.md", pages.metrics),
    Page(DOCS / "reference/replies.md", pages.replies),
    Page(DOCS / "reference/events.md", pages.events),
    Page(DOCS / "reference/subjects.md", pages.subjects),
    Page(DOCS / "reference/cli.md", pages.commands),
    Page(DOCS / "reference/findings.md", pages.findings),
    Page(chart.CHART / "values.schema.json", chart.schema),
    Page(chart.CHART / "README.md", chart.page),
    *(Page(chart.CHART / f"dashboards/{each.name}.json", partial(grafana, each)) for each in DASHBOARDS),
)
"""Everything that is generated."""


def main() -> None:
    """Write every page again."""
    for page in PAGES:
        page.path.parent.mkdir(parents=True, exist_ok=True)
        page.path.write_text(page.wanted(), encoding="utf-8")


if __name__ == "__main__":
    main()
