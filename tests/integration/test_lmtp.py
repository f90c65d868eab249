"""LMTP (RFC 2033): each recipient has a reply of its own after the final dot, and is settled by that reply alone."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.attempt.attempt import Attempt
from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.connect.timeouts import Timeouts
from delivery.route.endpoint import ConnectionTerms, Dialect
from delivery.security.requirement import TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced, Deferred, Delivered
from tests.conftest import MakeMx, MakeSystem
from tests.fixtures import attempts
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import DROP, EXTENSIONS, SILENCE, TAKE_AND_DROP, Script
from tests.fixtures.raw_host import RawHost, leaving, saying
from tests.fixtures.searched import Asking, at_most, searched

TERMS = ConnectionTerms(tls=TlsMode.NONE, dialect=Dialect.LMTP)
CODES = {250: Delivered, 450: Deferred, 550: Bounced, 552: Bounced, 421: Deferred, 354: Deferred}


def recipients(count: int) -> tuple[Recipient, ...]:
    return tuple(Recipient(f"u{number}@dest.test") for number in range(count))


async def tried(host: attempts.Running, to: tuple[Recipient, ...], settings: AttemptSettings | None = None) -> Attempt:
    """One attempt at a mailbox server."""
    settings = settings or AttemptSettings(idle_s=0)
    pool = Pool(settings, "jetpost.test", most=10)
    try:
        return await attempts.tried_with(pool, [host], attempts.entry(Inline(LETTER), *to), settings, TERMS)
    finally:
        await pool.aclose()


def expected(said: bytes, count: int) -> list[type]:
    """What follows from the bytes after the final dot. Of the last line, its code is enough (RFC 5321, 4.2.1)."""
    codes = [int(code) for code in re.findall(rb"(?m)^([2-5][0-9]{2})(?:[ \r]|$)", said)]
    outcomes: list[type] = [CODES[code] for code in codes]
    return outcomes + [Deferred] * (count - len(codes))


replies = st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=6)


async def test_each_recipient_is_settled_by_its_own_reply_wherever_the_connection_breaks() -> None:
    asking = Asking()

    @at_most(120)
    @given(replies, st.data(), st.sampled_from([("PIPELINING",), (), ("PIPELINING", "CHUNKING"), ("CHUNKING",)]))
    def search(codes: list[int], data: st.DataObject, extensions: tuple[str, ...]) -> None:
        whole = b"".join(b"%d 2.0.0 about this one\r\n" % code for code in codes)
        said = whole[: data.draw(st.integers(0, len(whole)))]

        async def outcomes() -> list[type]:
            to = recipients(len(codes))
            async with RawHost("lmtp.test", does={"DOT": leaving(said)}, extensions=extensions) as host:
                made = await tried(host, to)
            assert len(host.copies) == 1  # nobody who has the message gets it again in the same attempt
            return [type(made.outcomes[recipient]) for recipient in to]

        assert asking(outcomes()) == expected(said, len(codes))

    await searched(search)


@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["in a group", "one by one"])
async def test_only_accepted_recipients_have_a_reply(extensions: tuple[str, ...]) -> None:
    script = Script(
        lmtp=True,
        extensions=extensions,
        replies={"u1": "550 5.1.1 no such user", "DOT u2": "552 5.2.2 full", "DOT u3": "452 4.2.2 nearly full"},
    )
    async with Mx("lmtp.test", loopback_address(), script=script) as host:
        made = await tried(host, to := recipients(5))

    assert [type(made.outcomes[it]) for it in to] == [Delivered, Bounced, Bounced, Deferred, Delivered]
    assert [message.recipients for message in host.messages] == [("u0@dest.test",), ("u4@dest.test",)]
    assert (host.heard["LHLO"], host.heard["EHLO"], host.heard["HELO"]) == (1, 0, 0)


async def test_a_server_that_wants_content_for_nobody_gets_none() -> None:
    says = {"RCPT": b"550 5.1.1 no such user\r\n"}
    async with RawHost("lmtp.test", says=says) as host:
        made = await tried(host, to := recipients(2))

    assert [type(made.outcomes[it]) for it in to] == [Bounced, Bounced]
    assert host.copies == []


async def test_a_server_that_owes_replies_is_not_waited_for_without_end() -> None:
    script = Script(lmtp=True, replies={"DOT u1": SILENCE})
    settings = AttemptSettings.model_construct(timeouts=Timeouts.model_construct(final_dot_s=0.3), idle_s=0)
    async with Mx("lmtp.test", loopback_address(), script=script) as host:
        made = await tried(host, to := recipients(3), settings)

    assert [type(made.outcomes[it]) for it in to] == [Delivered, Deferred, Deferred]


@pytest.mark.parametrize("extra", [b"550 5.1.1 nobody", b"250 ok", b"452 full", b"421 bye", b"354 more", b"5"])
@pytest.mark.parametrize("together", [True, False], ids=["at once", "later"])
async def test_a_server_that_replies_once_too_often_says_nothing_about_the_next_message(
    extra: bytes, together: bool
) -> None:
    replies = b"250 2.0.0 ok\r\n550 5.2.1 closed\r\n"
    parts = (replies + extra + b"\r\n",) if together else (replies, extra + b"\r\n")
    settings = AttemptSettings(idle_s=60)
    pool = Pool(settings, "jetpost.test", most=10)
    async with RawHost("lmtp.test", does={"DOT": saying(*parts)}) as host:
        try:
            for _ in range(3):
                entry = attempts.entry(Inline(LETTER), *(to := recipients(2)))
                made = await attempts.tried_with(pool, [host], entry, settings, TERMS)
                assert [type(made.outcomes[it]) for it in to] == [Delivered, Bounced]
                await eventually(lambda: pool.idle == 0, "the connection is given up")
        finally:
            await pool.aclose()
    assert len(host.copies) == 3


@pytest.mark.parametrize("answer", [b"250 2.0.0 ok\r\n", b"354 go\r\n250 ok\r\n250 ok\r\n", b"220-x\r\n"])
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["in a group", "one by one"])
async def test_a_server_that_answers_data_with_nonsense_delivers_nothing(
    answer: bytes, extensions: tuple[str, ...]
) -> None:
    """It never said 354, or spoke before the content had ended: whatever it said then is no reply to the content."""
    timeouts = Timeouts.model_construct(data_s=0.3, final_dot_s=0.3)
    settings = AttemptSettings.model_construct(timeouts=timeouts, idle_s=0)
    async with RawHost("lmtp.test", says={"DATA": answer}, extensions=extensions) as host:
        made = await tried(host, to := recipients(2), settings)

    assert Delivered not in {type(made.outcomes[it]) for it in to}
    assert set(made.outcomes) == set(to)


async def test_a_server_that_speaks_smtp_only_is_not_spoken_to_in_smtp() -> None:
    async with RawHost("smtp.test", says={"LHLO": b"500 5.5.1 what?\r\n"}) as host:
        made = await tried(host, to := recipients(1))

    assert isinstance(made.outcomes[to[0]], Deferred)
    assert host.heard["HELO"] == host.heard["MAIL"] == 0


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "unix socket"])
async def test_a_route_leads_to_a_mailbox_server(
    make_system: MakeSystem, mx: MakeMx, tmp_path: Path, unix: bool
) -> None:
    home = await mx(f"home-of-lmtp{int(unix)}.test")
    address = str(tmp_path / "lmtp.sock") if unix else loopback_address()
    script = Script(
        lmtp=True, replies={"DOT bob": "550 5.2.1 closed", "DOT carl": ("452 4.2.2 full",), "DOT eve": (TAKE_AND_DROP,)}
    )
    async with Mx("lmtp.test", address, script=script) as server:
        hosts = {"socket": address} if unix else {"hosts": [{"host": address, "port": server.port}]}
        routes = [{"name": "mailboxes", "match": {"recipients": ["ours.test"]}, "action": {"kind": "lmtp", **hosts}}]
        system = await make_system({"delivery.routes": routes})
        to = [f"{name}@ours.test" for name in ("ann", "bob", "carl", "dora", "eve", "frank")]

        await system.submit(home.name.replace("mx1.", "ann@"), to, LETTER)

        await home.received(home.name.replace("mx1.", "ann@"))
        await system.empty()
        received = {address: len(server.to(address)) for address in to}
        # Eve's reply was lost, so she has it twice; Frank's never came, so he got it with the next attempt.
        assert received == dict(zip(to, (1, 0, 1, 1, 2, 1), strict=True))


async def test_a_mailbox_server_is_verified_and_authenticated_to(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    (password := tmp_path / "password").write_text("hunter2")
    script = Script(lmtp=True, tls=certificates.server(), users={"jet": "hunter2"})
    async with Mx("lmtp.test", "127.0.0.1", script=script) as server:
        action = {
            "kind": "lmtp",
            "hosts": [{"host": "127.0.0.1", "port": server.port}],
            "tls": "starttls",
            "ca_file": str(certificates.ca_file),
            "auth": {"user": "jet", "password_file": str(password)},
        }
        system = await make_system({"delivery.routes": [{"name": "mailboxes", "action": action}]})

        await system.submit("ann@home.test", ["bob@ours.test"], LETTER)

        message = await server.received("bob@ours.test")
        assert message.identity == "jet"
        assert message.tls


async def test_kill_9_among_the_replies_loses_nobody(make_system: MakeSystem) -> None:
    script = Script(lmtp=True, replies={"DOT bob": (SILENCE,)})
    async with Mx("lmtp.test", loopback_address(), script=script) as server:
        hosts = [{"host": server.address, "port": server.port}]
        action = {"kind": "lmtp", "hosts": hosts}
        system = await make_system({"delivery.routes": [{"name": "mailboxes", "action": action}]})
        to = [f"{name}@ours.test" for name in ("ann", "bob", "carl")]
        await system.submit("ann@home.test", to, LETTER)
        await eventually(lambda: server.to("ann@ours.test") and script.said["DOT bob"], "one reply is out")

        await system.delivery[0].restart()

        await system.empty()
        # Ann's reply was heard, but not settled: the kill explains her second copy.
        assert [len(server.to(address)) for address in to] == [2, 1, 1]


async def test_kill_9_between_two_hosts_of_a_route_loses_nobody(make_system: MakeSystem) -> None:
    first = Script(replies={"MAIL": DROP})
    # None has the message yet when the process is killed: each copy after that is the first.
    second = Script(replies={"DATA": (SILENCE,) * 5})
    async with (
        Mx("first.test", loopback_address(), script=first) as one,
        Mx("second.test", loopback_address(), script=second) as two,
    ):
        hosts = [{"host": it.address, "port": it.port, "preference": n} for n, it in enumerate((one, two))]
        action = {"kind": "hosts", "tls": "none", "hosts": hosts}
        system = await make_system({"delivery.routes": [{"name": "smart", "action": action}]})
        to = [f"u{number}@d{number}.test" for number in range(5)]
        for recipient in to:
            await system.submit("ann@home.test", [recipient], LETTER)
        await eventually(lambda: one.heard["MAIL"] and two.heard["DATA"] == 5, "the second host is tried")

        await system.delivery[0].restart()

        await system.empty()
        assert [len(two.to(recipient)) for recipient in to] == [1] * 5
        assert not one.messages
