"""`jetpost send` hands in a message and says what became of it; `jetpost events` tells the rest of its story."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.eventually import eventually
from tests.fixtures.letters import AWKWARD
from tests.fixtures.process import Process
from tests.fixtures.system import System
from tests.fixtures.users import PASSWORD, USER


async def sent(system: System, *words: str, to: Sequence[str], password: str = PASSWORD) -> tuple[int | None, str]:
    """Run `jetpost send` as a user; its status and output."""
    server = ["--server", f"localhost:{system.ports.submissions}", "--user", USER, "--password-stdin"]
    recipients = [word for address in to for word in ("--to", address)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jetpost", "send", *server, *recipients, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate(password.encode() + b"\n")
    return process.returncode, printed.decode()


def unwrapped(printed: str) -> str:
    """What was printed, without the frame and the line ends that a terminal's width makes."""
    return " ".join(printed.replace("│", " ").split())


def trusting(system: System) -> list[str]:
    return ["--ca", str(system.surroundings.certificates.ca_file), "--from", "ann@home.test"]


@asynccontextmanager
async def following(system: System, folder: Path, *words: str) -> AsyncIterator[Process]:
    """`jetpost events` while the block runs; interrupted like by somebody who has seen enough, it ends in peace."""
    command = [sys.executable, "-m", "jetpost", "events", "--config", str(system.configuration_file), *words]
    process = Process("events", command, folder / "events.log")
    process.launch()
    try:
        yield process
        process.signal(signal.SIGINT)
        assert await process.gone() == 0, process.log_tail()
    finally:
        await process.stop()


async def test_a_message_is_sent_and_arrives(system: System, mx: MakeMx) -> None:
    dest = await mx("sent.test")

    status, printed = await sent(
        system, *trusting(system), "--subject", "Grüße", "--body", "Über alles.", to=["bob@sent.test", "eve@sent.test"]
    )

    assert (status, "queued as" in printed) == (0, True), printed
    message = await dest.received("bob@sent.test")
    assert message.recipients == ("bob@sent.test", "eve@sent.test")
    assert message.fields("To") == ["bob@sent.test, eve@sent.test"]


async def test_a_file_is_sent_as_it_is(system: System, mx: MakeMx, tmp_path: Path) -> None:
    dest = await mx("filed.test")
    file = tmp_path / "awkward.eml"
    file.write_bytes(AWKWARD)

    assert (await sent(system, *trusting(system), "--file", str(file), to=["bob@filed.test"]))[0] == 0

    assert (await dest.received("bob@filed.test")).below_trace == AWKWARD


async def test_an_internationalized_address_is_sent_to(system: System, mx: MakeMx) -> None:
    dest = await mx("xn--fr-xka.test")

    status, printed = await sent(system, *trusting(system), to=["jürgen@für.test"])

    assert status == 0, printed
    assert (await dest.received_all(1))[0].recipients == ("jürgen@für.test",)


@pytest.mark.parametrize(
    ("words", "to", "password", "told"),
    [
        ([], "bob@sent.test", "wrong", "refused the user or the password: 535"),
        ([], "bob@[127.0.0.1]", PASSWORD, "bob@[127.0.0.1] was refused: 550"),
        (["--file", "README.md"], "bob@sent.test>\nRSET", PASSWORD, "is no address"),
        (["--file", "README.md"], "bob@sent.test, eve@sent.test", PASSWORD, "is no address"),
        (["--file", "README.md"], "Bob <bob@sent.test>", PASSWORD, "is no address"),
        (["--file", "/no/such/file"], "bob@sent.test", PASSWORD, "/no/such/file"),
        (["--subject", "two\nlines"], "bob@sent.test", PASSWORD, "there is no message to send"),
        (["--ca", "/etc/hostname"], "bob@sent.test", PASSWORD, "--ca"),
        (["--server", "localhost:1"], "bob@sent.test", PASSWORD, "cannot submit to localhost:1"),
        (["--server", "localhost"], "bob@sent.test", PASSWORD, "expected HOST:PORT"),
    ],
)
async def test_what_goes_wrong_is_a_sentence(
    system: System, words: list[str], to: str, password: str, told: str
) -> None:
    status, printed = await sent(system, *trusting(system), *words, to=[to], password=password)

    assert status in {1, 2}
    assert told in unwrapped(printed)
    assert "Traceback" not in printed


async def test_a_server_nobody_vouches_for_is_not_trusted(system: System) -> None:
    status, printed = await sent(system, "--from", "ann@home.test", to=["bob@sent.test"])

    assert (status, "name its CA with --ca" in printed) == (1, True)


@pytest.mark.parametrize(
    ("port", "tls", "told"),
    [
        ("submission", "implicit", "does not begin with TLS: try --tls starttls or --tls none"),
        ("submissions", "starttls", "sent no greeting: it may begin with TLS, try --tls implicit"),
        ("submissions", "none", "sent no greeting: it may begin with TLS, try --tls implicit"),
        ("submission", "none", "may offer AUTH only over TLS: try --tls starttls"),
    ],
)
async def test_another_kind_of_tls_is_proposed(make_system: MakeSystem, port: str, tls: str, told: str) -> None:
    system = await make_system({"ingress.limits.handshake_s": 1})
    server = ["--server", f"localhost:{getattr(system.ports, port)}", "--tls", tls]

    status, printed = await sent(system, *trusting(system), *server, to=["bob@sent.test"])

    assert status == 1
    assert told in unwrapped(printed), printed


async def test_a_server_without_starttls(mx: MakeMx, system: System) -> None:
    plain = await mx("plain.test")
    server = ["--server", f"{plain.address}:{plain.port}", "--tls", "starttls"]

    status, printed = await sent(system, *trusting(system), *server, to=["bob@sent.test"])

    assert status == 1
    assert "offers no STARTTLS: try --tls implicit on its other port, or --tls none" in unwrapped(printed), printed


async def test_what_happens_to_a_message_is_told_as_it_happens(system: System, mx: MakeMx, tmp_path: Path) -> None:
    await mx("followed.test", replies={"bob": "550 5.1.1 no such user"})
    await mx("home-of-followed.test")
    sender = "ann@home-of-followed.test"

    async with following(system, tmp_path, "--json", "--since", "1h") as events:
        reply = await system.submit(sender, ["bob@followed.test", "eve@followed.test"], AWKWARD)
        queue_id = reply.text[0].rpartition(" ")[2]

        def story() -> set[tuple[str, str]] | None:
            lines = [line for line in events.log_lines() if line["queue_id"].startswith(queue_id)]
            told = {(line["event"], line.get("recipient", line["queue_id"])) for line in lines}
            return told if len(told) >= 5 else None

        told = await eventually(story, "the events are told")
        dsn_id = next(who for what, who in told if what == "received" and who != queue_id)
        assert told == {
            ("received", queue_id),
            ("delivered", "eve@followed.test"),
            ("bounced", "bob@followed.test"),
            ("received", dsn_id),
            ("delivered", sender),
        }


async def test_one_kind_of_event_is_told_for_people(system: System, mx: MakeMx, tmp_path: Path) -> None:
    await mx("read.test", replies={"bob": "550 5.1.1 no such user"})
    await system.submit("ann@home.test", ["bob@read.test", "eve@read.test"], AWKWARD)

    async with following(system, tmp_path, "--event", "bounced", "--since", "1h") as events:
        line = await eventually(
            lambda: next(
                (line for line in events.log_file.read_text().split("\n")[:-1] if "bob@read.test" in line), ""
            ),
            "the bounce is told",
        )
        assert "bounced" in line
        assert "(5.1.1)" in line
        assert "eve@read.test" not in events.log_file.read_text()


@pytest.mark.parametrize(
    ("words", "told"), [(["--since", "soon"], "such as 15m"), (["--event", "lost"], "there are received, delivered")]
)
async def test_a_question_that_makes_no_sense_is_refused(system: System, words: list[str], told: str) -> None:
    status, printed = await system.command("events", *words)

    assert (status, told in unwrapped(printed)) == (2, True), printed
