"""Words that were replaced by standard terms do not come back: in code, documents and chart."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("jetpost", "ingress", "delivery", "bouncer", "docs", "deploy", "demo", "bench", "tests")
SUFFIXES = {".py", ".md", ".yaml", ".tpl", ".txt"}


class Word(NamedTuple):
    """A word that was replaced."""

    pattern: str
    instead: str
    exempt: tuple[str, ...] = ()
    """Files in which it means something else."""


WORDS = (
    Word(
        r"(?<![a-z])[Ss]ites?(?![a-z])",
        "domain: the recipient domain; group: an MX set",
        # The names of before, which are refused.
        ("jetpost/config/explain.py", "tests/unit/test_config_renamed.py", "tests/chart/test_refused_values.py"),
    ),
    Word(r"\boctets?\b", "bytes", ("bench/hostile/attack.py",)),  # the four parts of an IPv4 address
    Word(r"(?<![a-z])revenants?(?![a-z])", "redelivered although settled"),
    Word(r"(?<![a-z])(?:made|makes?)[ _]good(?![a-z])", "replaced by deleting the entry"),
    Word(r"(?<![a-z])[Ww]ear(?:y|ied)(?![a-z])", "near quarantine"),
    Word(r"(?<![a-z])(?:two|one|other|another|second|first)[ _]hands?(?![a-z])", "process"),
    Word(r"(?<![a-z])[Hh]and(?:s|ed|ing)?[ _-]backs?(?![a-z])", "NAK"),
    Word(
        r"\bclass (?:Lying|Desk|House|Doorway|Place|Life|World|Terms|Asked|Ourselves|Offer|Taker|Memory|Room)\b",
        "the standard term for what it is",
    ),
    Word(r"(?<![a-z])turned[ _]away(?![a-z])", "rejected"),
    Word(r"(?<![a-z])finished[ _]elsewhere(?![a-z])", "already settled by another process"),
    Word(r"\bNDRs?\b", "DSN"),
    Word(r"\bguarded\b", "conditional; stored with an expected last sequence"),
)
RECORD = "CHANGELOG.md"
"""The list of renamed words."""


def files() -> Iterator[tuple[str, str]]:
    """The texts that people write and read, by name."""
    here = Path(__file__)
    for path in [*ROOT.glob("*.md"), *(each for folder in FOLDERS for each in (ROOT / folder).rglob("*"))]:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in SUFFIXES and path.is_file() and path != here and name != RECORD:
            yield name, path.read_text(encoding="utf-8")


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.instead)
def test_a_word_that_was_replaced_does_not_come_back(word: Word) -> None:
    found = [
        f"{name}: {line.strip()[:100]}"
        for name, text in files()
        if name not in word.exempt and re.search(word.pattern, text)
        for line in text.splitlines()
        if re.search(word.pattern, line)
    ]
    assert found == [], f"write instead: {word.instead}"
