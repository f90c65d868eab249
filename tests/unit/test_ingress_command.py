"""From a line to what it asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.session.command import Command, Destination, LocalHost, client_name, destination, parse, sender
from jetpost.mail.envelope import Recipient
from jetpost.mail.reply import Reply

OURS = LocalHost("MX.test", "admin@home.test")
NOBODY = LocalHost("mx.test", "")


def code(answer: object) -> tuple[int, str]:
    assert isinstance(answer, Reply), answer
    return answer.code, str(answer.status)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"noop", Command("NOOP", "")),
        (b"Mail FROM:<a@b.test>", Command("MAIL", "FROM:<a@b.test>")),
        (b"EHLO  client.test ", Command("EHLO", "client.test")),
        (b"", Command("", "")),
        (b"AUTH PLAIN " + b"A" * 4000, Command("AUTH", "PLAIN " + "A" * 4000)),
    ],
)
def test_a_line_is_a_verb_and_an_argument(line: bytes, command: Command) -> None:
    assert parse(line, 512) == command


@pytest.mark.parametrize(
    "line", [b"NOOP\nMAIL FROM:<a@b.test>", b"NOOP\r", b"NO\0OP", b"NOOP \xff", b"NOOP " + b"x" * 512]
)
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    assert code(parse(line, 512)) == (500, "5.5.2")


@pytest.mark.parametrize("name", ["client.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "my_laptop"])
def test_a_client_may_call_itself(name: str) -> None:
    assert client_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a(b", "<a>", "a;b", "grün.test", "x" * 256])
def test_a_name_that_could_break_the_trace_field_is_refused(name: str) -> None:
    assert code(client_name(name)) == (501, "5.5.4")


@pytest.mark.parametrize(
    ("argument", "address"),
    [("FROM:<a@b.test>", "a@b.test"), ("from: <A@b.test> SIZE=3", "A@b.test"), ("FROM:<>", "")],
)
def test_mail_names_a_sender(argument: str, address: str) -> None:
    said = sender(argument)
    assert not isinstance(said, Reply)
    assert said.address == address


@pytest.mark.parametrize(
    ("argument", "refusal"),
    [
        ("", (501, "5.1.7")),
        ("TO:<a@b.test>", (501, "5.1.7")),
        ("FROM:a@b.test", (501, "5.1.7")),
        ("FROM:<postmaster>", (501, "5.1.7")),
        ("FROM:<a@b.test>SIZE=3", (501, "5.1.7")),
        ("FROM:<a@b.test> X=1", (555, "5.5.4")),
        ("FROM:<ä@b.test>", (553, "5.6.7")),
    ],
)
def test_mail_that_makes_no_sense_is_refused(argument: str, refusal: tuple[int, str]) -> None:
    assert code(sender(argument)) == refusal


def test_rcpt_keeps_the_case_of_everything() -> None:
    said = destination("to:<Bob@Dest.TEST> notify=FAILURE ORCPT=rfc822;B+2Bb@x", local_host=OURS, smtputf8=False)
    assert not isinstance(said, Reply)
    assert said.recipient == Recipient("Bob@Dest.TEST", ("FAILURE",), "rfc822;B+b@x")
    assert said.domain == "dest.test"


@pytest.mark.parametrize("to", ["<Postmaster>", "<POSTMASTER@mx.TEST>", "<@a.test:postmaster@mx.test>"])
def test_the_postmaster_is_whoever_reads_its_mail(to: str) -> None:
    said = destination(f"TO:{to} NOTIFY=NEVER", local_host=OURS, smtputf8=False)
    assert said == Destination(Recipient("admin@home.test", ("NEVER",)), "home.test", is_local=True)


def test_a_postmaster_elsewhere_is_an_address_like_any_other() -> None:
    said = destination("TO:<postmaster@b.test>", local_host=OURS, smtputf8=False)
    assert said == Destination(Recipient("postmaster@b.test"), "b.test")


def test_where_nobody_reads_the_postmasters_mail_it_is_refused_rather_than_bounced() -> None:
    assert code(destination("TO:<Postmaster>", local_host=NOBODY, smtputf8=False)) == (550, "5.1.1")
    said = destination("TO:<postmaster@mx.test>", local_host=NOBODY, smtputf8=False)
    assert said == Destination(Recipient("postmaster@mx.test"), "mx.test")


@pytest.mark.parametrize(
    ("argument", "refusal"),
    [("TO:<>", (501, "5.1.3")), ("TO:<bob>", (501, "5.1.3")), ("TO:<ö@b.test>", (553, "5.6.7"))],
)
def test_rcpt_that_makes_no_sense_is_refused(argument: str, refusal: tuple[int, str]) -> None:
    assert code(destination(argument, local_host=OURS, smtputf8=False)) == refusal


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_refusal(line: bytes) -> None:
    for prefix in (b"", b"MAIL FROM:<", b"RCPT TO:<a@b.test> "):
        command = parse(prefix + line, 2048)
        if isinstance(command, Command):
            for answer in (
                client_name(command.argument),
                sender(command.argument),
                destination(command.argument, local_host=OURS, smtputf8=True),
            ):
                if isinstance(answer, Reply):
                    assert answer.is_permanent
                    assert answer.wire().count(b"\r\n") == 1
