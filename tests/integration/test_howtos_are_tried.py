"""Two how-tos, literally: their commands are run, and their configuration is checked, and sends or signs mail.

What differs is where things are: files lie in a folder of the test, and hosts have its ports and its CA.
"""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jetpost.config.load import load
from jetpost.process.dkim.settings import Dkim
from jetpost.process.signing import Signer
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.dkim import rsa_pem, verdicts
from tests.fixtures.howto import HowTo, run
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.users import USER
from tests.fixtures.zone import ServedZone

SMART_HOST, SIGN, DOVECOT = HowTo("smart-host"), HowTo("sign-your-domain"), HowTo("dovecot")
LETTER = b"From: Ann <ann@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
CHART_ONLY = {"credentialsSecret", "secrets", "create"}
"""Values of the chart that are no configuration."""
MADE_ELSEWHERE = ("service-account.json", "certificate_file")
"""Their routes are tried in tests/chart/test_howto_smart_host.py."""


def own(value: Any, folder: Path) -> Any:
    """The same with the files in `folder`, which are made."""
    moved = json.loads(json.dumps(value).replace("/etc/jetpost", str(folder)))
    for name in re.findall(rf'"{folder}/([^"]+)"', json.dumps(moved)):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.suffix and file.parent == folder:
            file.mkdir(exist_ok=True)  # dkim.folder
        elif not file.exists():
            file.write_bytes(rsa_pem() if name.endswith((".pem", ".json")) else b"secret\n")
            file.chmod(0o600)
    return moved


def configured(page: HowTo) -> list[dict[str, Any]]:
    """What is a configuration, of a file or below `config` of the chart."""
    found = [it.get("config", it) for it in page.configurations if "kind" not in it]
    found = [it for it in found if not any(CHART_ONLY & set(section) for section in it.values())]
    return [it for it in found if not any(file in json.dumps(it) for file in MADE_ELSEWHERE)]


@pytest.mark.parametrize("given", [*configured(SMART_HOST), *configured(SIGN), *configured(DOVECOT)], ids="-".join)
def test_each_configuration_of_the_pages_is_valid(
    given: dict[str, Any], certificates: Certificates, tmp_path: Path
) -> None:
    whole = {"hostname": "mx.example.org", **own(given, tmp_path)}
    if "ingress" in whole:  # a step of a page that comes after it has a certificate
        tls = {"certificate": certificates.certificate_file, "key": certificates.key_file}
        whole["ingress"]["tls"] = {name: str(file) for name, file in tls.items()}
    (file := tmp_path / "jetpost.yaml").write_text(yaml.safe_dump(whole))

    load(file, {})  # as `jetpost config check` does


async def test_a_smart_host_is_set_up_as_the_page_says(
    make_system: MakeSystem, names: ServedZone, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path, "smtp.example.net")
    script = Script(tls=certificates.server(), users={"jetpost": "hunter2"})
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/upstream").write_text("hunter2\n")
    async with Mx("smtp.example.net", loopback_address(), script=script) as host:
        names.add("smtp.example.net", a=[host.address])
        given = own(SMART_HOST.configurations[0], tmp_path)
        action = given["delivery"]["routes"][0]["action"]
        assert action["hosts"][0]["port"] == 587
        action |= {"hosts": [{"host": "smtp.example.net", "port": host.port}], "ca_file": str(certificates.ca_file)}
        system = await make_system({"delivery.routes": given["delivery"]["routes"]})
        (tmp_path / "jetpost.yaml").write_bytes(system.configuration_file.read_bytes())

        (check,) = SMART_HOST.commands("jetpost", "config", "check")
        checked = await asyncio.to_thread(run, check, tmp_path, os.environ)
        assert checked.status == 0, checked.printed
        (explain,) = SMART_HOST.commands("jetpost", "route", "explain")
        explained = await asyncio.to_thread(run, explain, tmp_path, os.environ)
        assert explained.status == 0, explained.printed
        assert all(it in explained.printed for it in ("upstream", "smtp.example.net", host.address)), explained.printed
        assert "hunter2" not in explained.printed
        assert host.connections == 0

        await system.submit("ann@example.org", ["bob@example.com"], LETTER)
        message = await host.received("bob@example.com")
        names.remove("smtp.example.net")
    assert message.identity == "jetpost"
    assert message.tls


def made_keys(below: Path) -> tuple[Path, str]:
    """The folder with the keys that the page makes, and what its commands print."""
    (_, name), *_ = SIGN.commands("mkdir")
    (folder := below / name).mkdir()
    printed = ""
    for command in SIGN.commands("jetpost", "dkim", "new"):
        made = run(command, below, os.environ)
        assert made.status == 0, made.printed
        printed += made.printed
    return folder, printed


async def test_a_domain_is_signed_as_the_page_says(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone, tmp_path: Path
) -> None:
    dest = await mx("dest-of-howto.test")
    folder, printed = await asyncio.to_thread(made_keys, tmp_path)
    records = published(names, printed)
    assert list(records) == [b"rsa2026._domainkey.example.org.", b"ed2026._domainkey.example.org."]
    assert all(oct(file.stat().st_mode & 0o777) == "0o600" for file in folder.glob("*.pem"))
    given = next(it for it in SIGN.configurations if "folder" in it.get("dkim", {}))
    system = await make_system({"dkim": {**given["dkim"], "folder": str(folder)}})
    (tmp_path / "jetpost.yaml").write_bytes(system.configuration_file.read_bytes())

    (check, *_) = [it for it in SIGN.commands("jetpost", "dkim", "check") if "--queue" not in it]
    checked = await asyncio.to_thread(run, check, tmp_path, os.environ)
    await system.submit("ann@example.org", [f"{USER}@dest-of-howto.test"], LETTER)

    message = await dest.received(f"{USER}@dest-of-howto.test")
    assert verdicts(message.content, records) == [True, True]
    assert checked.status == 0, checked.printed
    assert checked.printed.count("matches") == 2
    for name in records:
        names.remove(name.decode())


def published(names: ServedZone, printed: str) -> dict[bytes, bytes]:
    """The printed lines of a zone file, in the zone; what they say by name."""
    records = {}
    for name, strings in re.findall(r"^(\S+) IN TXT \( (.*) \)$", printed, re.MULTILINE):
        texts = re.findall(r'"([^"]*)"', strings)
        names.add(name, txt=["".join(texts)])
        records[name.encode()] = "".join(texts).encode()
    return records


def test_files_of_a_secret_have_the_names_that_sign(tmp_path: Path) -> None:
    """What `--from-file` of the page says becomes the folder of the keys."""
    (folder,) = {
        option.split("=")[1]
        for command in SIGN.commands("kubectl")
        for option in command
        if option.startswith("--from-file=")
    }
    made, _ = made_keys(tmp_path)
    assert made == tmp_path / folder
    (secret := tmp_path / "secret").mkdir()
    for file in made.iterdir():
        assert re.fullmatch(r"[-._a-zA-Z0-9]+", file.name)  # what Kubernetes takes for the key of a Secret
        (secret / file.name).write_bytes(file.read_bytes())

    signer = Signer(Dkim.model_validate({"folder": secret}))

    assert {(key.domain, key.selector) for key in signer.published_keys()} == {
        ("example.org", "rsa2026"),
        ("example.org", "ed2026"),
    }
