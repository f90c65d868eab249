"""SPF and DMARC of the table of sender zones, by mailauth: it agrees with us, or the difference is explained."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jetpost.dns.resolver import Dns, Resolver
from jetpost.sender.spf.evaluate import check_host
from tests.fixtures.dmarc import verdict
from tests.fixtures.sender_zones import CASES
from tests.fixtures.sender_zones_by_chance import ByChance, cases
from tests.fixtures.zone import served

KNOWN: Mapping[str, tuple[list[str | None], str]] = {
    "a tag twice": (
        ["pass", "pass", "reject"],
        "mailauth takes the last of two tags unless it is strict; RFC 6376, 3.2, which RFC 9989, 4.7 refers to,"
        " makes such a record invalid",
    ),
}
"""What mailauth says where it differs, and why we do not follow."""


class Answer(NamedTuple):
    """What is said about a case: SPF, DMARC and policy, and the reason for SPF."""

    verdicts: list[str | None]
    why: str


def asked(mailauth: Path, folder: Path, cases: Sequence[Any], *options: str) -> list[Answer]:
    """What mailauth says about each case."""
    (file := folder / "cases.json").write_text(json.dumps([case._asdict() for case in cases]))
    command = ["node", str(Path(__file__).parent / "mailauth/sender.js"), str(file), *options]
    environment = {**os.environ, "NODE_PATH": str(mailauth / "node_modules")}
    done = subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)  # noqa: S603
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [Answer(answer[:3], answer[3]) for answer in answers]


@pytest.fixture(scope="module")
def answers(mailauth: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    """SPF, DMARC and policy of each case of the table."""
    said = asked(mailauth, tmp_path_factory.mktemp("mailauth"), list(CASES.values()))
    return {name: answer.verdicts for name, answer in zip(CASES, said, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_mailauth_agrees(name: str, answers: dict[str, list[str | None]]) -> None:
    case = CASES[name]
    expected = KNOWN[name][0] if name in KNOWN else [case.spf, case.dmarc, case.policy]

    assert answers[name] == expected


def test_every_known_difference_is_one() -> None:
    for name, (says, why) in KNOWN.items():
        assert why
        assert says != [CASES[name].spf, CASES[name].dmarc, CASES[name].policy]


@pytest.mark.parametrize("seed", range(3))
async def test_mailauth_agrees_about_zones_by_chance(seed: int, mailauth: Path, tmp_path: Path) -> None:
    """By the letter of the RFCs, but for two things that they leave open."""
    drawn = list(cases(seed, 150))
    theirs = asked(mailauth, tmp_path, drawn, "strict")
    ours = [await judged(case) for case in drawn]

    different = [
        (mine, yours, case)
        for case, mine, yours in zip(drawn, ours, theirs, strict=True)
        if mine.verdicts != yours.verdicts and not is_left_open(mine, yours)
    ]

    assert different == []
    assert len({it.verdicts[0] for it in ours}) >= 6, "nearly every result of SPF is among them"


async def judged(case: ByChance) -> Answer:
    """What we say."""
    async with served() as zone:
        for name, fields in case.zone.items():
            zone.add(name, **fields)
        resolver = Resolver(Dns(nameservers=(zone.address,), timeout_s=10, lifetime_s=20, failure_ttl_s=0))
        try:
            by_spf = await check_host(resolver, case.ip, case.mail_from)
            passed = case.mail_from if by_spf.result == "pass" else ""
            found = await verdict(resolver, case.author, passed, case.dkim)
        finally:
            await resolver.aclose()
    return Answer([str(by_spf.result), str(found.result), found.policy and str(found.policy)], by_spf.why)


def is_left_open(ours: Answer, theirs: Answer) -> bool:
    """Which look-ups count as void (docs/decisions/0027), and what to say of a policy that depends on a failed one."""
    void = "without an answer" in ours.why or "void" in theirs.why.lower()
    spf, dmarc, policy = zip(ours.verdicts, theirs.verdicts, strict=True)
    if spf[0] != spf[1]:
        return void and "permerror" in spf
    return dmarc[0] == dmarc[1] and policy[0] is None
