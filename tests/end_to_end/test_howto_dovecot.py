"""`docs/howto/dovecot.md`, literally: its settings of Dovecot, its configuration, its commands.

What differs is where ingress listens, as tests have ports of their own.
"""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE

import pytest
import yaml

from tests.conftest import MakeSystem
from tests.end_to_end.conftest import needs, public_folder
from tests.end_to_end.dovecot import Dovecot
from tests.fixtures.eventually import eventually
from tests.fixtures.howto import HowTo
from tests.fixtures.zone import ServedZone

PAGE = HowTo("dovecot")
PATIENCE_S = 60


def dovecot_settings() -> str:
    """The lines of step 2."""
    (found,) = re.findall(r"^( +)(protocols = .*?\n\1\}\n)", PAGE.text, re.MULTILINE | re.DOTALL)
    return re.sub(rf"^{found[0]}", "", found[1], flags=re.MULTILINE)


async def test_mail_is_delivered_to_a_dovecot_as_the_page_says(make_system: MakeSystem, names: ServedZone) -> None:
    if os.geteuid() != 0:
        pytest.skip("Dovecot must be started by root")
    ingress, route = PAGE.configurations[:2]
    (listener,) = ingress["ingress"]["listeners"]
    (host,) = route["delivery"]["routes"][0]["action"]["hosts"]
    settings = dovecot_settings()
    with (
        public_folder("jp-dovecot-") as folder,
        Dovecot(needs("dovecot"), folder, "bob@example.org", lmtp=(settings, 24)) as dovecot,
    ):
        names.add(host["host"], a=[dovecot.address])
        await eventually(lambda: dovecot.is_listening, "Dovecot listens on port 24")
        system = await make_system({"delivery.routes": route["delivery"]["routes"]})
        configuration = yaml.safe_load(system.configuration_file.read_text())
        configuration["ingress"]["listeners"] = [{**listener, "host": "127.0.0.1", "port": system.ports.relay}]
        system.configuration_file.write_text(yaml.safe_dump(configuration))
        await system.ingress[0].restart()

        (send,), (events,) = PAGE.commands("jetpost", "send"), PAGE.commands("jetpost", "events")
        followed = await jetpost(*events, "--config", str(system.configuration_file))
        send[send.index("mx.example.org:2525")] = f"localhost:{system.ports.relay}"
        sent = await jetpost(*send, "--ca", str(system.surroundings.certificates.ca_file))
        async with asyncio.timeout(PATIENCE_S):
            printed, _ = await sent.communicate()
            assert sent.returncode == 0, printed.decode()
            assert followed.stdout is not None
            line = b""
            while b"delivered" not in line:
                line = await followed.stdout.readline()
                assert line, "it ended"
        followed.terminate()
        await followed.wait()
        await system.empty()
        (message,) = await asyncio.to_thread(dovecot.by_imap, "bob@example.org")
        names.remove(host["host"])
    assert b"bob@example.org" in line
    assert message.startswith(b"Return-Path: <you@elsewhere.example>")


async def jetpost(*words: str) -> asyncio.subprocess.Process:
    """A command of the page, running."""
    assert words[0] == "jetpost"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, stdout=PIPE, stderr=asyncio.subprocess.STDOUT
    )
