"""A process that signs while its keys are replaced: files and DNS decide, and no answer changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from jetpost.dns.resolver import Dns
from jetpost.process.dkim import files
from jetpost.process.dkim.records import DIFFERS, EveryServer, compare_records
from jetpost.process.dkim.settings import Dkim
from jetpost.process.signing import KEYS, UNUSABLE, Signer, signing
from jetpost.sign.dkim import signable_of
from jetpost.sign.key_file import Notes, with_notes
from jetpost.sign.keys import private_key
from jetpost.sign.record import record_text
from jetpost.tasks import end
from tests.fixtures.dkim import ed25519_pem
from tests.fixtures.eventually import eventually
from tests.fixtures.zone import ServedZone, served

NOW = datetime(2027, 1, 15, tzinfo=UTC)
LETTER = signable_of(b"From: ann@a.test\r\n\r\nx\r\n")
RECORD = record_text(private_key(ed25519_pem(1)))
NAME = "new._domainkey.a.test"


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[list[ServedZone]]:
    """Two name servers that need not say the same."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(served()) for _ in range(2)]


def dns(servers: list[ServedZone]) -> Dns:
    return Dns(nameservers=tuple(it.address for it in servers), timeout_s=0.5, lifetime_s=1)


def put(folder: Path, name: str, number: int, *replaces: str, retired: datetime | None = None) -> Path:
    file = folder / f"{name}._domainkey.a.test.pem"
    file.write_bytes(with_notes(ed25519_pem(number), Notes(frozenset(replaces), retired)))
    return file


def settings(folder: Path, **values: Any) -> Dkim:
    return Dkim.model_validate({"folder": folder, "rotation_s": 0.05, "reload_s": 0.05, **values})


def selectors(signer: Signer) -> list[str]:
    return [line.value.partition("; s=")[2].partition(";")[0] for line in signer.sign(LETTER, (), NOW)]


async def test_a_new_key_signs_once_every_name_server_shows_its_record(
    tmp_path: Path, servers: list[ServedZone]
) -> None:
    put(tmp_path, "old", 0)
    signer = Signer(settings(tmp_path))
    assert selectors(signer) == ["old"]
    put(tmp_path, "new", 1, "old")
    assert await signer.refresh()
    found = []

    async with EveryServer(dns(servers)) as every:

        async def look() -> None:
            await signer.look_up(every)
            found.append(selectors(signer))

        await look()  # no record
        servers[0].add(NAME, txt=[RECORD])
        await look()  # one shows it
        servers[1].add(NAME, txt=[record_text(private_key(ed25519_pem(2)))])
        await look()  # the other one shows another key
        servers[1].fail(NAME)
        await look()  # it does not answer
        servers[1].add(NAME, txt=[RECORD])
        await look()  # both show it
        servers[0].silent(NAME)
        await look()  # no answer changes nothing
        servers[0].remove(NAME)
        await look()  # the record is gone

    assert found == [["old"]] * 4 + [["new"]] * 2 + [["old"]]
    assert [KEYS.labels(it)._value.get() for it in ("waiting", "signs", "retired")] == [1, 1, 0]


@pytest.mark.parametrize("is_lost_before", [True, False])
async def test_a_key_whose_predecessor_is_lost_waits_for_its_record(
    tmp_path: Path, servers: list[ServedZone], *, is_lost_before: bool
) -> None:
    """In a process that starts then, and in one that runs."""
    put(tmp_path, "old", 0)
    middle = put(tmp_path, "middle", 2, "old")
    put(tmp_path, "new", 1, "middle")
    if is_lost_before:
        middle.unlink()
    signer = Signer(settings(tmp_path))
    async with EveryServer(dns(servers)) as every:
        assert selectors(signer) == ["old"], "nobody has asked yet"
        await signer.look_up(every)
        middle.unlink(missing_ok=True)
        await signer.refresh()
        assert selectors(signer) == ["old"]
        for it in servers:
            it.add(NAME, txt=[RECORD])
        await signer.look_up(every)
        assert sorted(selectors(signer)) == ["new", "old"]


async def test_each_process_decides_by_itself_and_all_decide_alike(tmp_path: Path, servers: list[ServedZone]) -> None:
    put(tmp_path, "old", 0)
    async with AsyncExitStack() as stack:
        signers = [await stack.enter_async_context(signing(settings(tmp_path), dns(servers))) for _ in range(3)]

        async def all_sign(expected: str) -> None:
            await eventually(
                lambda: all(it is not None and selectors(it) == [expected] for it in signers),
                f"all sign with {expected}",
            )

        put(tmp_path, "new", 1, "old")
        await all_sign("old")
        for server in servers:
            server.add(NAME, txt=[RECORD])
        await all_sign("new")
        # A process that starts now looks before it signs.
        late = await stack.enter_async_context(signing(settings(tmp_path), dns(servers)))
        assert late is not None
        assert selectors(late) == ["new"]


async def test_a_process_that_starts_without_dns_goes_by_the_files(tmp_path: Path, servers: list[ServedZone]) -> None:
    for server in servers:
        server.silent(NAME)
    old = put(tmp_path, "old", 0)
    put(tmp_path, "new", 1, "old")

    async def first() -> list[str]:
        async with signing(settings(tmp_path), dns(servers)) as signer:
            assert signer is not None
            return selectors(signer)

    assert await first() == ["old"]
    put(tmp_path, "old", 0, retired=NOW)
    assert await first() == ["new"]
    old.unlink()
    assert await first() == ["new"]


async def test_another_key_under_the_name_of_the_new_one_waits_again(tmp_path: Path, servers: list[ServedZone]) -> None:
    for server in servers:
        server.add(NAME, txt=[RECORD])
    put(tmp_path, "old", 0)
    put(tmp_path, "new", 1, "old")
    signer = Signer(settings(tmp_path))
    async with EveryServer(dns(servers)) as every:
        await signer.look_up(every)
        assert selectors(signer) == ["new"]

        put(tmp_path, "new", 2, "old")
        assert await signer.refresh()
        assert selectors(signer) == ["old"]
        put(tmp_path, "new", 1, "old")
        assert await signer.refresh()
        await signer.look_up(every)
        assert selectors(signer) == ["new"]


async def test_files_of_a_secret_come_and_go_without_a_restart(tmp_path: Path) -> None:
    """As the kubelet does it: links to files in a folder that is itself replaced by a link."""
    mounted, versions = tmp_path / "mounted", tmp_path / "versions"
    mounted.mkdir()

    def publish(version: str, names: dict[str, bytes]) -> None:
        folder = versions / version
        folder.mkdir(parents=True)
        for name, pem in names.items():
            (folder / f"{name}._domainkey.a.test.pem").write_bytes(pem)
        (mounted / "..new").symlink_to(folder)
        (mounted / "..new").replace(mounted / "..data")
        for name in names:
            link = mounted / f"{name}._domainkey.a.test.pem"
            if not link.is_symlink():
                link.symlink_to(f"..data/{link.name}")
        for link in mounted.glob("[!.]*"):
            if not link.exists():
                link.unlink()

    signer = Signer(settings(mounted))
    assert selectors(signer) == []
    publish("1", {"old": ed25519_pem()})
    assert await signer.refresh()
    assert selectors(signer) == ["old"]
    publish("2", {"old": ed25519_pem(), "other": ed25519_pem(1)})
    assert await signer.refresh()
    assert selectors(signer) == ["old", "other"]
    publish("3", {"other": ed25519_pem(1)})
    assert await signer.refresh()
    assert selectors(signer) == ["other"]
    assert {key.selector for key in signer.published_keys()} == {"other"}


@pytest.mark.parametrize("name", ["bad._domainkey.a.test.pem", "no-name.pem"])
async def test_a_bad_file_in_the_folder_stops_no_other_and_is_told(tmp_path: Path, name: str) -> None:
    put(tmp_path, "old", 0)
    bad = tmp_path / name
    bad.write_bytes(b"nonsense")
    (tmp_path / "README").write_text("not a key, and not told")

    signer = Signer(settings(tmp_path))

    assert selectors(signer) == ["old"]
    assert UNUSABLE.labels(str(bad))._value.get() == 1
    put(tmp_path, "other", 1)
    assert await signer.refresh()
    assert selectors(signer) == ["old", "other"]
    bad.unlink()
    await signer.refresh()
    assert (str(bad),) not in UNUSABLE._metrics


def test_a_folder_has_a_limit_so_memory_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_KEYS", 2)
    for number in range(3):
        put(tmp_path, f"s{number}", number)

    assert selectors(Signer(settings(tmp_path))) == ["s0", "s1"]
    assert UNUSABLE.labels(str(tmp_path))._value.get() == 1


async def test_records_of_keys_that_are_gone_or_wait_are_not_told(tmp_path: Path, servers: list[ServedZone]) -> None:
    put(tmp_path, "old", 0)
    other, new = put(tmp_path, "other", 2), put(tmp_path, "new", 1, "old")
    signer = Signer(settings(tmp_path))
    comparing = asyncio.create_task(compare_records(signer.published_keys, dns(servers), 0.01))

    def told() -> set[str]:
        return {selector for domain, selector in DIFFERS._metrics if domain == "a.test"}

    await eventually(lambda: told() == {"old", "other"}, "what signs is compared")
    other.unlink()
    await signer.refresh()
    await eventually(lambda: told() == {"old"}, "what is gone is forgotten")
    put(tmp_path, "old", 0, retired=NOW)
    await signer.refresh()
    await eventually(lambda: told() == {"old", "new"}, "a replaced key is needed as well")
    assert new.exists()
    await end([comparing])


def test_a_configured_key_in_the_folder_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "rsa2026.pem"
    file.write_bytes(ed25519_pem())
    put(tmp_path, "other", 1)
    keys = [{"domain": "a.test", "selector": "s", "file": file}]

    assert selectors(Signer(settings(tmp_path, keys=keys))) == ["s", "other"]
    assert UNUSABLE.labels(str(file))._value.get() == 0


async def test_a_folder_that_cannot_be_read_takes_no_key_away(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    put(folder, "old", 0)
    signer = Signer(settings(folder))

    folder.rename(tmp_path / "away")
    assert not await signer.refresh()
    assert selectors(signer) == ["old"]
    assert UNUSABLE.labels(str(folder))._value.get() == 1

    (tmp_path / "away").rename(folder)
    await signer.refresh()
    assert selectors(signer) == ["old"]
    assert (str(folder),) not in UNUSABLE._metrics


def test_no_more_keys_of_a_domain_sign_than_verifiers_look_at(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path, f"s{number}", number)

    assert selectors(Signer(settings(tmp_path))) == ["s0", "s1", "s2", "s3"]


def test_the_configuration_may_say_what_a_key_replaces(tmp_path: Path) -> None:
    keys = [
        {"domain": "a.test", "selector": "old", "file": put(tmp_path, "old", 0)},
        {"domain": "a.test", "selector": "new", "file": put(tmp_path, "new", 1), "replaces": ["OLD"]},
    ]

    assert selectors(Signer(Dkim.model_validate({"keys": keys}))) == ["old"]
    with pytest.raises(ValidationError, match="cannot read"):
        Dkim.model_validate({"folder": tmp_path / "missing"})


async def test_a_thousand_keys_that_change_at_once_hold_up_nobody(tmp_path: Path) -> None:
    """The event loop goes on while they are read. One of them is no key."""
    for number in range(1000):
        (tmp_path / f"s._domainkey.d{number}.test.pem").write_bytes(ed25519_pem())
    signer = Signer(settings(tmp_path))
    for number in range(1000):
        (tmp_path / f"s._domainkey.d{number}.test.pem").write_bytes(ed25519_pem(1))
    bad = tmp_path / "s._domainkey.d500.test.pem"
    bad.write_bytes(b"")

    refreshing = asyncio.create_task(signer.refresh())
    turns = 0
    while not refreshing.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 10, "the event loop had turns while the keys were read"
    assert await refreshing
    other = signable_of(b"From: ann@d999.test\r\n\r\nx\r\n")
    assert signer.sign(other, (), NOW)
    assert signer.sign(signable_of(b"From: ann@d500.test\r\n\r\nx\r\n"), (), NOW), "its previous key signs"
    assert UNUSABLE.labels(str(bad))._value.get() == 1
