"""What is generated is current, and what the documents name is there."""

import json
import re
from pathlib import Path

import pytest
import yaml

from docs import chart
from docs.generate import DOCS, PAGES, Page
from docs.pages import WHO
from jetpost.queue.model.states import MOVES

ROOT = DOCS.parent
LONGEST_SENTENCE = 25
"""Words."""
PROSE = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *chart.CHART.glob("*.md")])
SHORT = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/words.md",
    "docs/benchmarks.md",
    "docs/features.md",
    "docs/states.md",
    "docs/howto/*.md",
    "docs/runbooks/*.md",
    "docs/reference/*.md",
    "deploy/helm/*/*.md",
)
"""The pages in which every sentence is short."""
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:docs|jetpost|ingress|delivery|bouncer|tests|deploy)/[\w./-]+)`")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.path.name} {page.part}".strip())
def test_a_generated_page_is_current(page: Page) -> None:
    assert page.written() == page.wanted(), "run `make generate`"


def test_each_legal_move_says_who_makes_it() -> None:
    assert set(WHO) == {(state, following) for state, followings in MOVES.items() for following in followings}


def test_what_a_page_links_to_is_there() -> None:
    links = [(path, link) for path in PROSE for link in LINK.findall(path.read_text())]
    assert [(name(path), link) for path, link in links if not (path.parent / link).exists()] == []


def test_the_files_that_a_page_names_are_there() -> None:
    paths = [(path, named) for path in PROSE for named in PATH.findall(path.read_text())]
    assert [(name(path), named) for path, named in paths if not (ROOT / named).exists()] == []


def test_each_change_has_its_file() -> None:
    """One that is there is named as a file, one to come in italics: it is to be corrected when the file is made."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Where a change goes")[2].partition("\n## ")[0]
    named = re.findall(r"^\| [^|]+ \| ([`*])([\w/.]+\.py)\1 \|$", table, re.MULTILINE)

    assert len(named) == table.count("\n| ") - 1
    assert [path for mark, path in named if (ROOT / path).exists() != (mark == "`")] == []


def test_each_safety_mechanism_names_its_file_and_its_test() -> None:
    page = (DOCS / "states.md").read_text(encoding="utf-8")
    table = page.partition("## Safety mechanisms")[2].partition("\n## ")[0]
    named = re.findall(r"\| `([\w/]+\.py)` \| `([\w/]+\.py)::(\w+)` \|$", table, re.MULTILINE)

    assert len(named) == table.count("\n| ") - 1
    for file, tests, test in named:
        assert (ROOT / file).exists(), file
        assert f"def {test}(" in (ROOT / tests).read_text(encoding="utf-8"), test


def test_each_value_of_the_chart_has_a_comment() -> None:
    assert [value.path for value in chart.values() if not value.about] == []


def prose(page: str) -> list[str]:
    """The paragraphs, list items and table cells of `page`, without code blocks; a code span is one word."""
    text = re.sub(r"^ *```.*?^ *```$|<!--.*?-->", "", page, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"(?<=\n\n)(?: {4}.*(?:\n|\Z)|\n(?= {4}))+", "\n", text)
    text = re.sub(r"`[^`]*`|\{\{.*?\}\}", "X", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.split(r"\n\s*\n|\n(?=\s*(?:[-*#|]|\d+\.)\s?)|(?<!\\)\|", text)


def long_sentences(text: str) -> list[str]:
    """The sentences of `text` with more than 25 words. A colon and a semicolon end none."""
    sentences = [each for block in prose(text) for each in re.split(r"(?<=[.!?])[*_)]*\s+", block)]
    return [each for each in sentences if len(re.findall(r"\w\S*", each)) > LONGEST_SENTENCE]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("w " * 25, 0),
        ("w " * 26, 1),
        ("w\n" * 26, 1),
        ("w " * 25 + "w; w", 1),
        ("**" + "w " * 20 + "w.** " + "w " * 20, 0),
        ("- " + "w " * 20 + "\n- " + "w " * 20, 0),
        ("1. w\n   " + "w " * 26, 1),
        ("| " + "w " * 20 + "| " + "w " * 20 + "|", 0),
        ("| w | " + "w " * 26 + "|", 1),
        ("# w\n\n    " + "w " * 26 + "\n\nw", 0),
        ("w\n\n```sh\n" + "w " * 26 + "\n```\n", 0),
        ("`" + "w " * 26 + "`", 0),
        ("[" + "w " * 26 + "](w)", 1),
    ],
)
def test_a_long_sentence_is_found_and_code_is_none(text: str, found: int) -> None:
    assert len(long_sentences(text)) == found


def test_each_sentence_of_a_page_is_short() -> None:
    for pattern in SHORT:
        pages = list(ROOT.glob(pattern))
        assert pages, pattern
        found = {name(path): long_sentences(path.read_text(encoding="utf-8")) for path in pages}
        assert {path: sentences for path, sentences in found.items() if sentences} == {}


def test_each_value_of_the_chart_is_described_in_short_sentences() -> None:
    for value in chart.values():
        assert value.about.endswith("."), value.path
        assert len(value.about.split()) > 2, value.path
        assert long_sentences(value.about) == [], value.path


@pytest.mark.parametrize("path", sorted(chart.CHART.glob("alerts/*.yaml")), ids=name)
def test_each_alert_is_described_in_short_sentences(path: Path) -> None:
    annotations = yaml.safe_load(path.read_text(encoding="utf-8"))["annotations"]

    for text in (annotations["summary"], annotations["description"]):
        assert text.rstrip().endswith(".")
        assert long_sentences(text) == []


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
