"""SPF and DMARC of the table of sender zones, by mailauth: it agrees with us, or the difference is explained."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fixtures.sender_zones import CASES

KNOWN: Mapping[str, tuple[list[str | None], str]] = {
    "a tag twice": (
        ["pass", "pass", "reject"],
        "mailauth takes the last of two tags unless it is strict; RFC 6376, 3.2, which RFC 9989, 4.7 refers to,"
        " makes such a record invalid",
    ),
}
"""What mailauth says where it differs, and why we do not follow."""


@pytest.fixture(scope="module")
def answers(mailauth: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    """SPF, DMARC and policy of each case."""
    asked = tmp_path_factory.mktemp("mailauth") / "cases.json"
    asked.write_text(json.dumps([case._asdict() for case in CASES.values()]))
    command = ["node", str(Path(__file__).parent / "mailauth/sender.js"), str(asked)]
    environment = {**os.environ, "NODE_PATH": str(mailauth / "node_modules")}
    done = subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)  # noqa: S603
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_mailauth_agrees(name: str, answers: dict[str, list[str | None]]) -> None:
    case = CASES[name]
    expected = KNOWN[name][0] if name in KNOWN else [case.spf, case.dmarc, case.policy]

    assert answers[name] == expected


def test_every_known_difference_is_one() -> None:
    for name, (says, why) in KNOWN.items():
        assert why
        assert says != [CASES[name].spf, CASES[name].dmarc, CASES[name].policy]
