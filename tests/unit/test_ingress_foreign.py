"""What is taken for another protocol, and what is SMTP with a mistake in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.session.command import Command, parse
from ingress.session.commands import COMMANDS
from ingress.session.foreign import foreign_beginning, foreign_command, foreign_response
from ingress.session.lines import MOST_LINE_BYTES, OVERLONG, LineBuffer

HTTP = [
    b"GET / HTTP/1.1",
    b"POST / HTTP/1.1",
    b"post /mail HTTP/1.1",
    b"PUT /x HTTP/1.0",
    b"HEAD / HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"DELETE /x HTTP/1.1",
    b"PATCH /x HTTP/1.1",
    b"CONNECT mx.test:25 HTTP/1.1",
    b"TRACE / HTTP/1.1",
    b"PROPFIND /dav HTTP/1.1",
    b"PROPPATCH /dav HTTP/1.1",
    b"MKCOL /dav HTTP/1.1",
    b"COPY /a HTTP/1.1",
    b"MOVE /a HTTP/1.1",
    b"LOCK /a HTTP/1.1",
    b"UNLOCK /a HTTP/1.1",
    b"REPORT /a HTTP/1.1",
    b"M-SEARCH * HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET /",
    b"GET\t/",
    b"GET",
    b"INVENTED /path HTTP/1.1",
    b"QUITX /a b HTTP/1.1 ",
    b"HTTP/1.1 200 OK",
    b"ANNOUNCE rtsp://x RTSP/1.0",
    b"REGISTER sip:x SIP/2.0",
]
HEADER_FIELDS = [
    b"Host: x",
    b"host:x",
    b"Content-Type : text/plain",
    b"Received: from a",
    b"X:",
    b"EHLO:",
    b"MAILFROM:<a@b>",
]
OTHERS = [
    b"\x16\x03\x01\x02\x00\x01",  # ClientHello
    b"\x80\x2e\x01\x03\x01",  # ClientHello of SSL 2
    b"SSH-2.0-OpenSSH_9.2",
    b"\x03\x00\x00\x13\x0e\xe0",  # RDP
    b"\x04\x01\x00\x19",  # SOCKS 4
    b"\x05\x01\x00",  # SOCKS 5
    b"*3",  # Redis
    b"$4",
    b"+OK",
    b"\x00\x01\x00\x08",  # STUN
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL
    b"\x10\x0c\x00\x04MQTT",
    b"\x7fELF",
    b'{"jsonrpc": "2.0"}',
    b"<?xml version='1.0'?>",
    b"\0\r",
    b" folded",
    b"\tfolded",
    b"250 Ok",
    b"..",
    "ЕHLO x".encode(),
]
SMTP = [
    *(b"", b".", b"*", b"HELO x", b"EHLO x", b"EHLO [IPv6:::1]", b"mail from:<a@b.test>", b"MAIL FROM: <a@b.test>"),
    *(b"RCPT TO:<a@b.test>", b"DATA", b"RSET", b"NOOP", b"NOOP Host: x", b"VRFY a:b", b"HELP", b"EXPN all", b"QUIT"),
    *(b"AUTH PLAIN AGFubgBzZWNyZXQ=", b"STARTTLS", b"BDAT 5 LAST", b"ETRN x", b"XCLIENT NAME=x", b"WHAT", b"WHAT a:b"),
    *(b"SEND FROM:<a@b.test>", b"SOML FROM:<a@b.test>", b"SAML FROM:<a@b.test>", b"TURN", b"GETX /", b"POSTAL code"),
    *(b'MAIL FROM:<"a HTTP/1.1"@b.test>', b"dXNlcg==", b"NO\0OP", b"x" * 3000),
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2",  # who is no load balancer hears 500, and speaks for itself
]


@pytest.mark.parametrize("line", [*HTTP, *HEADER_FIELDS, *OTHERS])
def test_another_protocol_is_known_by_its_first_line(line: bytes) -> None:
    assert foreign_command(line) is not None


@pytest.mark.parametrize("line", SMTP)
def test_a_mistake_in_smtp_is_no_other_protocol(line: bytes) -> None:
    assert foreign_command(line) is None
    assert foreign_beginning(line) is None


@pytest.mark.parametrize("line", [*HTTP, *HEADER_FIELDS])
def test_no_command_is_among_them(line: bytes) -> None:
    command = parse(line, 2048)
    assert not isinstance(command, Command) or command.verb not in COMMANDS


@pytest.mark.parametrize("line", [*HTTP, *HEADER_FIELDS, b"\x16\x03\x01", b"{}", b"<a>"])
def test_another_protocol_is_known_within_an_exchange_of_auth(line: bytes) -> None:
    assert foreign_response(line) is not None


@pytest.mark.parametrize("line", [b"", b"*", b"=", b"AGFubgBzZWNyZXQ=", b"+/9a", b"0123", b"not base64"])
def test_a_response_is_base64(line: bytes) -> None:
    assert foreign_response(line) is None


@given(line=st.binary(max_size=80).filter(lambda data: b"\r\n" not in data))
def test_the_beginning_of_a_line_says_no_more_than_the_line(line: bytes) -> None:
    """Else the pieces in which a line comes would make a difference."""
    if foreign_beginning(line) is not None:
        assert foreign_command(line) == foreign_beginning(line)


@pytest.mark.parametrize("pieces", [1, 2, 3, 20_000])
def test_how_an_overlong_line_began_is_known(pieces: int) -> None:
    data = b"POST /" + b"x" * (MOST_LINE_BYTES + 100) + b" HTTP/1.1\r\nNOOP\r\n"
    arrived = LineBuffer()
    size = -(-len(data) // pieces)
    lines = []
    for start in range(0, len(data), size):
        arrived.put(data[start : start + size])
        while (line := arrived.line()) is not None:
            lines.append(line)
    assert lines == [OVERLONG, b"NOOP"]
    assert foreign_command(arrived.overlong) == "HTTP"
