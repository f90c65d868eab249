"""A message to a local domain goes to a real Dovecot over LMTP, and is read there by IMAP and by POP3."""

import asyncio
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.end_to_end.conftest import DOVECOT_USERS
from tests.end_to_end.dovecot import Dovecot
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER


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
    await system.submit(author, [*DOVECOT_USERS, "nobody-here@ours.test"], LETTER)

    dsn = await home.received(author)
    await system.empty()
    assert dsn.delivery_status("nobody-here@ours.test")["Status"].startswith("5.1.1")
    for user in DOVECOT_USERS:
        by_imap = await asyncio.to_thread(dovecot.by_imap, user)
        by_pop3 = await asyncio.to_thread(dovecot.by_pop3, user)
        assert len(by_imap) == 1
        assert by_imap == by_pop3
        assert by_imap[0].startswith(f"Return-Path: <{author}>".encode())
        assert by_imap[0].endswith(LETTER)
