"""Another protocol on our port: what it begins with where SMTP is expected. Pure.

A web page can make a browser POST to any address, with SMTP in the body: the commands behind the head of such a
request must never be obeyed. So the first line that belongs to another protocol ends the session. Postfix does the
same (`smtpd_forbidden_commands`, and header fields where it expects a command).
"""

import re

BEGINNING_BYTES = 256
"""How much of a line is looked at: who sends a thousand long ones is to cost little."""

_PROTOCOLS: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        # Methods of RFCs 9110, 9113, 5789, 4918, 3253, 3648, 3744, 4437, 4791, 5323 and 5842, of caches and of UPnP.
        (
            "HTTP",
            (
                rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI|PROPFIND|PROPPATCH|MKCOL|COPY|MOVE|LOCK"
                rb"|UNLOCK|VERSION-CONTROL|REPORT|CHECKOUT|CHECKIN|UNCHECKOUT|MKWORKSPACE|UPDATE|LABEL|MERGE"
                rb"|BASELINE-CONTROL|MKACTIVITY|ORDERPATCH|ACL|MKCALENDAR|MKREDIRECTREF|UPDATEREDIRECTREF|SEARCH|BIND"
                rb"|UNBIND|REBIND|LINK|UNLINK|QUERY|PURGE|BAN|M-SEARCH|NOTIFY|SUBSCRIBE|UNSUBSCRIBE)(?:[ \t]|$)"
            ),
        ),
        # A status line of HTTP or of what took its form.
        ("HTTP", rb"(?:HTTP|RTSP|SIP|ICAP)/[0-9]"),
        ("SSH", rb"SSH-[0-9]"),
        # A field's name has no space in it; the paths of MAIL and RCPT come after one (RFC 5322, 2.2).
        ("header field", rb"[!-9;-~]+[ \t]*:"),
    )
)
_REQUEST = re.compile(rb"[ \t](?:HTTP|RTSP|SIP|ICAP)/[0-9](?:\.[0-9])?[ \t]*$", re.IGNORECASE)
"""How a request line of them ends, whatever its method."""
_REQUEST_BYTES = 24
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_BASE64 = _LETTERS | frozenset(b"0123456789+/=*")
_MISTAKES = frozenset((b"", b".", b"*"))
"""Lines that no command begins with, and SMTP clients send: empty, or the end of a content or of an AUTH exchange that
was refused."""


def foreign_command(line: bytes) -> str | None:
    """The protocol that has sent `line`, which is no command; None: SMTP, with a mistake in it."""
    return None if line in _MISTAKES else _named(line, _LETTERS)


def foreign_response(line: bytes) -> str | None:
    """The protocol that has sent `line` in place of the response to a challenge (base64; RFC 4954, 4)."""
    return _named(line, _BASE64) if line else None


def foreign_beginning(data: bytes) -> str | None:
    """The protocol that has sent the beginning of a line whose end may never come. Only its first byte tells."""
    return None if data[:1] in (b"", b"\r", b"\n", b".", b"*") else _first_byte(data[0], _LETTERS)


def _named(line: bytes, first: frozenset[int]) -> str | None:
    if (found := _first_byte(line[0], first)) is not None:
        return found
    if _REQUEST.search(line[-_REQUEST_BYTES:]):
        return "HTTP"
    beginning = line[:BEGINNING_BYTES]
    return next((name for name, pattern in _PROTOCOLS if pattern.match(beginning)), None)


def _first_byte(byte: int, expected: frozenset[int]) -> str | None:
    if byte in expected:
        return None
    return "text" if 32 <= byte < 127 else "binary"
