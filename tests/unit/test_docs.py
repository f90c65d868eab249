"""What is generated is current, and what the documents name is there."""

import json
import re
from pathlib import Path

import pytest

from docs import chart
from docs.generate import DOCS, PAGES, Page
from docs.pages import WHO
from jetpost.queue.model.states import MOVES

ROOT = DOCS.parent
PROSE = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *chart.CHART.glob("*.md")])
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:docs|jetpost|ingress|delivery|bouncer|tests|deploy)/[\w./-]+)`")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.path.name} {page.part}".strip())
def test_a_generated_page_is_current(page: Page) -> None:
    assert page.written() == page.wanted(), "run `make generate`"


def test_each_legal_move_says_who_makes_it() -> None:
    assert set(WHO) == {(state, following) for state, followings in MOVES.items() for following in followings}


@pytest.mark.parametrize("path", PROSE, ids=name)
def test_what_a_page_links_to_is_there(path: Path) -> None:
    assert [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PROSE, ids=name)
def test_the_files_that_a_page_names_are_there(path: Path) -> None:
    assert [named for named in PATH.findall(path.read_text()) if not (ROOT / named).exists()] == []


def test_each_value_of_the_chart_has_a_comment() -> None:
    assert [value.path for value in chart.values() if not value.about] == []


def test_the_schema_of_the_chart_knows_each_value_and_no_other() -> None:
    schema = json.loads(chart.schema())

    for value in chart.values():
        here = schema
        for part in value.path.split("."):
            while "$ref" in here:
                here = schema["$defs"][here["$ref"].rpartition("/")[2]]
            assert part in here["properties"], value.path
            here = here["properties"][part]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("decision", sorted((DOCS / "decisions").glob("*.md")), ids=name)
def test_a_decision_fits_on_a_page_and_says_how_it_could_be_wrong(decision: Path) -> None:
    text = decision.read_text()

    assert len(text.split()) <= 450
    assert re.findall(r"^\*\*(.*?)\.\*\*", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "What it costs",
        "How we would notice that it was wrong",
    ]
