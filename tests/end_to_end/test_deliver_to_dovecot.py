"""A message to a local domain goes to a real Dovecot over LMTP, and is read there by IMAP and by POP3."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.end_to_end.conftest import needs
from tests.end_to_end.dovecot import Dovecot
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER

USERS = ("bob@ours.test", "carl@ours.test")


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    """A real Dovecot with mailboxes for bob@ours.test and carl@ours.test."""
    program = needs("dovecot")
    if os.geteuid() != 0:
        pytest.skip("Dovecot must be started by root")
    folder = Path(tempfile.mkdtemp(prefix="jp-dovecot-"))
    folder.chmod(0o755)
    try:
        with Dovecot(program, folder, *USERS) as dovecot:
            yield dovecot
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "unix socket"])
async def test_mail_for_a_local_domain_is_read_by_imap_and_pop3(
    make_system: MakeSystem, mx: MakeMx, dovecot: Dovecot, unix: bool
) -> None:
    home = await mx(f"author{int(unix)}.test")
    author = home.name.replace("mx1.", "ann@")
    action: dict[str, Any] = {"kind": "lmtp", "hosts": [{"host": dovecot.address, "port": dovecot.lmtp}]}
    if unix:
        action = {"kind": "lmtp", "socket": str(dovecot.socket)}
    routes = [{"name": "mailboxes", "match": {"recipients": ["ours.test"]}, "action": action}]
    system = await make_system({"delivery.routes": routes})

    await eventually(lambda: dovecot.is_listening, "Dovecot listens")
    await system.submit(author, [*USERS, "nobody-here@ours.test"], LETTER)

    dsn = await home.received(author)
    await system.empty()
    assert dsn.delivery_status("nobody-here@ours.test")["Status"].startswith("5.1.1")
    for user in USERS:
        by_imap = await asyncio.to_thread(dovecot.by_imap, user)
        by_pop3 = await asyncio.to_thread(dovecot.by_pop3, user)
        assert len(by_imap) == 1
        assert by_imap == by_pop3
        assert by_imap[0].startswith(f"Return-Path: <{author}>".encode())
        assert by_imap[0].endswith(LETTER)
