"""What every change must pass has a budget of minutes, and nothing in it may take longer."""

import re
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci"
MINUTES = {
    "prepare": 12,
    "lint": 2,
    "test": 8,
    "unit-others": 5,
    "demo": 2,
    "crash": 15,
    "hostile": 3,
    "end-to-end": 8,
    "chart": 6,
    "image": 6,
    "node": 18,
    "bench": 3,
}
"""What takes longer is shortened, or goes to `make soak`."""
_STEP = re.compile(r"^\s*step (\S+) (\S+) (.+)$", re.MULTILINE)


def limits(script: str) -> dict[str, float]:
    """Minutes by step."""
    return {name: float(minutes) for minutes, name, _ in _STEP.findall((CI / script).read_text())}


def test_each_step_has_its_minutes_and_no_more() -> None:
    steps = limits("run")

    assert steps.keys() == MINUTES.keys()
    assert {name: minutes for name, minutes in steps.items() if minutes > MINUTES[name]} == {}
    assert sum(MINUTES.values()) < 90


def test_nothing_runs_beside_the_steps() -> None:
    """What is no step has no limit: below the first, all there is are steps, settings and the summary."""
    _, *below = (CI / "run").read_text().partition("\nstep ")
    lines = "".join(below).strip().splitlines()

    assert [line for line in lines if not re.match(r"step |export |#|summary$", line)] == []


def test_each_long_step_has_a_limit_too() -> None:
    assert limits("soak").keys() == {"test", "nats-server", "crash", "image-suite", "hostile", "bench"}


@pytest.mark.parametrize(
    ("steps", "status", "summary"),
    [
        ("step 1 quick true", 0, ["quick: passed"]),
        ("step 0.005 slow sleep 60; step 1 next true", 1, ["slow: FAILED (status 124)", "next: passed"]),
        ("step 0.005 child bash -c 'sleep 60; true'", 1, ["child: FAILED (status 124)"]),
        ("step 1 wrong bash -c 'exit 3'; step 1 next true", 1, ["wrong: FAILED (status 3)", "next: passed"]),
        ("step 1 skipped bash -c 'unskipped echo 1 skipped in 3 s'", 1, ["skipped: FAILED (status 1)"]),
        ("step 1 whole bash -c 'unskipped echo 1 passed in 3 s'", 0, ["whole: passed"]),
    ],
)
def test_a_step_ends_with_its_minutes(steps: str, status: int, summary: list[str]) -> None:
    script = f"set -euo pipefail; . {CI}/steps; {steps}; summary"

    bash = ["/bin/bash", "-c", script]
    done = subprocess.run(bash, capture_output=True, text=True, timeout=50, check=False)  # noqa: S603 — our own words

    _, _, printed = done.stdout.partition("=== summary")
    assert done.returncode == status
    assert [re.sub(r" +\d+ s +", ": ", line) for line in printed.splitlines()[1:]] == summary
