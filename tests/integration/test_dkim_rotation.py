"""A key is replaced while mail flows: every message verifies, by ingress' signature and by the bouncer's."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jetpost.cli.dkim.commands import dkim_app
from jetpost.sign.key_file import Notes, notes_of, with_notes
from jetpost.sign.keys import private_key
from jetpost.sign.record import record_text
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.dkim import ed25519_pem, verdicts
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.message import Message
from tests.fixtures.mx_script import greylist
from tests.fixtures.process import Service
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

DOMAIN = "jetpost.test"
NEW = f"new._domainkey.{DOMAIN}"
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)


def file(folder: Path, selector: str) -> Path:
    return folder / f"{selector}._domainkey.{DOMAIN}.pem"


async def rotate(system: System) -> Result:
    arguments = ["rotate", DOMAIN, "new", "--kind", "ed25519", "--config", str(system.configuration_file)]
    return await asyncio.to_thread(CliRunner().invoke, dkim_app, arguments)


async def keys_by_state(service: Service) -> list[float]:
    return [await service.metric("jetpost_dkim_keys", state=state) for state in ("waiting", "signs", "retired")]


async def check(system: System) -> str:
    arguments = ["check", DOMAIN, "--queue", "--config", str(system.configuration_file)]
    return (await asyncio.to_thread(CliRunner().invoke, dkim_app, arguments)).stdout


def selector_of(message: Message, folder: Path) -> str:
    """Of its one signature, which verifies."""
    (field,) = message.fields("DKIM-Signature")
    selector = field.partition("; s=")[2].partition(";")[0]
    record = record_text(private_key(file(folder, selector).read_bytes()))
    assert verdicts(message.content, {f"{selector}._domainkey.{DOMAIN}.".encode(): record.encode()}) == [True]
    return selector


@pytest.fixture(autouse=True)
def _gone_from_the_zone(names: ServedZone) -> Iterator[None]:
    yield
    names.remove(NEW)


async def test_a_key_is_replaced_while_mail_flows(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    file(folder, "old").write_bytes(ed25519_pem())
    system = await make_system({"dkim.folder": str(folder), "dkim.reload_s": 0.1, "dkim.rotation_s": 0.1})
    dest = await mx("rotating.test", replies={"nobody": "550 5.1.1 no such user", "later": greylist(10**6)})
    home = await mx("rotating-home.test")
    letter = LETTER.replace(LETTER.partition(b"From: ")[2].partition(b"\r\n")[0], b"ann@jetpost.test")

    async def signers(name: str) -> set[str]:
        """Which keys sign a message and the DSN about it."""
        to, back = f"{name}@rotating.test", f"{name}@rotating-home.test"
        await system.submit(back, [to, "nobody@rotating.test"], letter)
        return {selector_of(it, folder) for it in (await dest.received(to), await home.received(back))}

    async def states(*expected: float) -> bool:
        return await keys_by_state(system.ingress[0]) == await keys_by_state(system.bouncer) == list(expected)

    await system.submit("ann@jetpost.test", ["later@rotating.test"], letter)
    assert await signers("first") == {"old"}

    assert (await rotate(system)).exit_code == 1
    await eventually_asked(lambda: states(1, 1, 0), "ingress and bouncer have read the new key")
    assert await signers("second") == {"old"}

    names.add(NEW, txt=[record_text(private_key(file(folder, "new").read_bytes()))], ttl=0)
    await eventually_asked(lambda: states(0, 1, 1), "ingress and bouncer sign with the new key")
    assert await signers("third") == {"new"}

    assert "keep the records of old until" in (await rotate(system)).stdout
    replaced = notes_of(file(folder, "old").read_bytes())
    assert replaced.retired is not None
    file(folder, "old").write_bytes(with_notes(file(folder, "old").read_bytes(), Notes(retired=LONG_AGO)))

    async def is_kept_for_one() -> bool:
        return "keep the record of old: it signed 1 queued messages" in (await rotate(system)).stdout

    await eventually_asked(is_kept_for_one, "only the deferred message is left")
    assert file(folder, "old").exists()

    assert f"{NEW}: matches; signs, 0 queued messages" in await check(system)
    away = file(folder, "old").rename(tmp_path / "away")
    there_is_no = f"old._domainkey.{DOMAIN}: there is no such key; keep its record, 1 queued messages"
    assert there_is_no in await check(system)
    away.rename(file(folder, "old"))

    dest.script.replies.pop("later")
    assert selector_of(await dest.received("later@rotating.test"), folder) == "old"
    await system.empty()
    done = await rotate(system)
    assert done.exit_code == 0, done.output
    assert f'old._domainkey.{DOMAIN}. IN TXT ( "v=DKIM1; p=" )' in done.stdout
    assert not file(folder, "old").exists()
    assert await signers("fourth") == {"new"}
