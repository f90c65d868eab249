"""The keys of a process: read again when their files change, and never replaced by what is no key."""

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from jetpost.config.load import ConfigurationError, load
from jetpost.dns.answer import Answer, Failed, Found, NoData, NoDomain
from jetpost.dns.resolver import Dns
from jetpost.process.dkim import files
from jetpost.process.dkim.records import DIFFERS, compare_records, judge
from jetpost.process.dkim.settings import Dkim, DkimKey
from jetpost.process.signing import UNSIGNED, UNUSABLE, Signer
from jetpost.sign.dkim import signable_of
from jetpost.sign.keys import SigningKey, private_key
from jetpost.sign.record import record_text
from jetpost.tasks import end
from tests.fixtures.dkim import ed25519_pem, rsa_pem
from tests.fixtures.eventually import eventually
from tests.fixtures.zone import ServedZone
from tests.fixtures.zone import zone as a_zone

zone = a_zone
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LETTER = b"From: ann@example.org\r\n\r\nx\r\n"


def settings(*files: Path, **values: object) -> Dkim:
    keys = [{"domain": "example.org", "selector": f"s{number}", "file": file} for number, file in enumerate(files)]
    return Dkim.model_validate({"keys": keys, **values})


def signature(signer: Signer) -> str:
    """Of one message by the first key."""
    return signer.sign(signable_of(LETTER), (), NOW)[0].value


def unusable(file: Path) -> float:
    return float(UNUSABLE.labels(str(file))._value.get())


async def test_a_changed_file_counts_from_the_next_look_on(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(ed25519_pem())
    signer = Signer(settings(file))
    before = signature(signer)
    assert not await signer.refresh()

    file.write_bytes(rsa_pem())
    assert signature(signer) == before
    assert await signer.refresh()

    assert "a=rsa-sha256" in signature(signer)


@pytest.mark.parametrize("content", [None, b"", b"nonsense", rsa_pem()[:700], b"x" * 100_000])
async def test_a_file_that_is_no_key_changes_nothing_until_it_is_one(tmp_path: Path, content: bytes | None) -> None:
    file, other = tmp_path / "key", tmp_path / "other"
    file.write_bytes(ed25519_pem())
    other.write_bytes(ed25519_pem(1))
    signer = Signer(settings(file, other))
    before = signature(signer)

    file.unlink()
    if content is not None:
        file.write_bytes(content)
    for _ in range(2):
        assert not await signer.refresh()
        assert signature(signer) == before
        assert (unusable(file), unusable(other)) == (1, 0)

    file.write_bytes(ed25519_pem())
    assert await signer.refresh()
    assert signature(signer) == before
    assert unusable(file) == 0


KEEPING, NONE = "cannot use DKIM key, keeping previous", "cannot use DKIM key, there is no previous"


@pytest.mark.parametrize("content", [b"", b"nonsense", rsa_pem()[:700], rsa_pem(bits=1024), b"Retired: x\n"])
@pytest.mark.parametrize("was_good", [True, False])
async def test_a_bad_file_is_told_once_for_each_change(tmp_path: Path, content: bytes, *, was_good: bool) -> None:
    """Looked at again and again, by each process."""
    file = tmp_path / "s._domainkey.example.org.pem"
    file.write_bytes(ed25519_pem() if was_good else content)
    with capture_logs() as lines:
        signer = Signer(Dkim.model_validate({"folder": tmp_path}))
        file.write_bytes(content)
        for _ in range(5):
            await signer.refresh()
        told = [it for it in lines if it["log_level"] == "warning"]
        assert [it["event"] for it in told] == [KEEPING if was_good else NONE] * len(told)
        assert len(told) in ({1} if was_good else {1, 2}), "written once or twice"
        assert all("http" not in it["error"] and it["file"] == str(file) for it in told)

        file.write_bytes(content + b"\n")
        for _ in range(3):
            await signer.refresh()
        assert len([it for it in lines if it["log_level"] == "warning"]) == len(told) + 1
        file.write_bytes(ed25519_pem(1))
        assert await signer.refresh()
        file.write_bytes(content)
        for _ in range(3):
            await signer.refresh()
    last = [it for it in lines if it["log_level"] == "warning"][len(told) + 1 :]
    assert [it["event"] for it in last] == [KEEPING]


@pytest.mark.parametrize("name", ["rsa.pem", "a b._domainkey.example.org.pem"])
async def test_a_file_of_another_name_is_told_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ed25519_pem())
    with capture_logs() as lines:
        signer = Signer(Dkim.model_validate({"folder": tmp_path}))
        for _ in range(5):
            await signer.refresh()
    assert [it["event"] for it in lines] == [NONE]


async def test_of_many_bad_files_some_are_named(tmp_path: Path) -> None:
    """Thousands of keys may become unreadable at once."""
    files = [tmp_path / f"s{number}._domainkey.example.org.pem" for number in range(25)]
    for file in files:
        file.write_bytes(ed25519_pem())
    signer = Signer(Dkim.model_validate({"folder": tmp_path}))
    with capture_logs() as lines:
        for file in files:
            file.write_bytes(b"nonsense")
        for _ in range(3):
            await signer.refresh()
    assert [it["event"] for it in lines] == [KEEPING] * 10 + ["cannot use more DKIM keys"]
    assert lines[-1]["keys"] == 15
    assert [unusable(file) for file in files] == [1] * 25


async def test_a_folder_that_is_gone_is_told_once(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "s._domainkey.example.org.pem").write_bytes(ed25519_pem())
    signer = Signer(Dkim.model_validate({"folder": folder}))
    folder.rename(tmp_path / "away")
    with capture_logs() as lines:
        for _ in range(5):
            await signer.refresh()
    folders = [it for it in lines if it["file"] == str(folder)]
    assert [it["event"] for it in folders] == [KEEPING]
    assert len(lines) <= 2


async def test_a_secret_that_kubernetes_replaces_is_read(tmp_path: Path) -> None:
    """The file is a link into a folder that is itself replaced by a link."""
    for number in range(2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "key").write_bytes(ed25519_pem(number))
    (tmp_path / "data").symlink_to("v0")
    (tmp_path / "key").symlink_to("data/key")
    signer = Signer(settings(tmp_path / "key"))
    before = signature(signer)

    (tmp_path / "next").symlink_to("v1")
    (tmp_path / "next").replace(tmp_path / "data")

    assert await signer.refresh()
    assert signature(signer) != before


async def test_a_file_that_takes_long_to_read_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_bytes(ed25519_pem())
    signer = Signer(settings(file))
    reading, may_end = threading.Event(), threading.Event()
    read = files.load

    def slow(path: Path) -> object:
        reading.set()
        assert may_end.wait(60)
        return read(path)

    monkeypatch.setattr(files, "load", slow)
    file.write_bytes(ed25519_pem(1))
    refreshing = asyncio.create_task(signer.refresh())
    await eventually(reading.is_set, "the file is being read")

    before = signature(signer)
    may_end.set()

    assert await refreshing
    assert signature(signer) != before


def test_a_default_signs_for_all_others(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(ed25519_pem())
    other = signable_of(b"From: ann@b.test\r\n\r\nx\r\n")
    before = UNSIGNED.labels("key")._value.get()

    assert not Signer(settings(tmp_path / "key")).sign(other, (), NOW)
    assert UNSIGNED.labels("key")._value.get() == before + 1
    assert Signer(settings(tmp_path / "key", default_domain="Example.org")).sign(other, (), NOW)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "it is no private key in PEM"), (rsa_pem(bits=1024), "RSA keys have 2048 to 4096 bits, this one has 1024")],
)
@pytest.mark.parametrize("service", ["ingress", "bouncer"])
def test_a_bad_key_stops_the_start_with_its_reason(tmp_path: Path, service: str, content: bytes, why: str) -> None:
    key, file = tmp_path / "key", tmp_path / "jetpost.yaml"
    key.write_bytes(content)
    file.write_text(f"dkim:\n  keys:\n    - {{domain: a.test, selector: s, file: {key}}}\n")

    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, sections=(service,))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}:3: dkim.keys.0: cannot use {key}: {why}")


def test_delivery_needs_no_keys(tmp_path: Path) -> None:
    file = tmp_path / "jetpost.yaml"
    file.write_text("dkim:\n  keys:\n    - {domain: a.test, selector: s, file: /no/such/key}\n")

    load(file, {}, sections=("delivery",))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"keys": [{"selector": "s0"}, {"selector": "S0"}]}, "same domain and selector"),
        ({"keys": [{"selector": f"s{number}"} for number in range(5)]}, "more than 4 keys"),
        ({"default_domain": "b.test"}, "there is no key of b.test"),
        ({"default_domain": "-"}, "must be a domain"),
        ({"keys": [{"domain": "-"}]}, "must be a domain"),
        ({"keys": [{"selector": "a b"}]}, "must be a name"),
        ({"keys": [{"selector": "x;d=b.test"}]}, "must be a name"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    (tmp_path / "key").write_bytes(ed25519_pem())
    usual = {"domain": "example.org", "selector": "s", "file": tmp_path / "key"}
    keys = changes.pop("keys", [{}])
    assert isinstance(keys, list)

    with pytest.raises(ValidationError, match=why):
        Dkim.model_validate({"keys": [{**usual, **key} for key in keys], **changes})


def test_a_domain_may_be_written_in_its_own_letters(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(ed25519_pem())

    key = DkimKey.model_validate({"domain": "Bücher.test", "selector": "S", "file": tmp_path / "key"})

    assert (key.domain, key.selector) == ("xn--bcher-kva.test", "s")


@pytest.mark.parametrize(
    ("answer", "differs"),
    [
        (Found((record_text(private_key(ed25519_pem())),), 60), 0),
        (Found((record_text(private_key(ed25519_pem(1))),), 60), 1),
        (NoData(60), 1),
        (NoDomain(60), 1),
        (Failed("SERVFAIL"), 1),
    ],
)
def test_a_record_that_does_not_match_is_told_and_no_answer_changes_nothing(
    answer: Answer[str], differs: float
) -> None:
    key = SigningKey("example.org", "s", private_key(ed25519_pem()))
    judge(key, NoData(60))

    judge(key, answer)

    assert DIFFERS.labels("example.org", "s")._value.get() == differs
    judge(key, Failed("SERVFAIL"))
    assert DIFFERS.labels("example.org", "s")._value.get() == differs


async def test_keys_are_compared_with_what_dns_says(tmp_path: Path, zone: ServedZone) -> None:
    (tmp_path / "key").write_bytes(ed25519_pem())
    signer = Signer(Dkim.model_validate({"keys": [{"domain": "c.test", "selector": "s", "file": tmp_path / "key"}]}))
    gauge = DIFFERS.labels("c.test", "s")
    dns = Dns(nameservers=(zone.address,), ttl_min_s=0, ttl_max_s=0)
    comparing = asyncio.create_task(compare_records(signer.published_keys, dns, 0.01))

    await eventually(lambda: gauge._value.get() == 1, "there is no record")
    zone.add("s._domainkey.c.test", txt=[record_text(private_key(ed25519_pem()))], ttl=0)
    await eventually(lambda: gauge._value.get() == 0, "the record matches")
    await end([comparing])
