"""The delivery status notification: `multipart/dsn` of RFC 3462 (now 6522) and RFC 3464. Pure.

The same entry makes the same DSN however often it is built, but for the Date of its making. The queue knows
it by its id and takes it once: a bouncer that repeats itself after a crash says nothing new.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime

from bouncer.decide import Dsn, Failure
from bouncer.dsn.text import explanation, subject
from jetpost.mail.parameters import utf8_xtext
from jetpost.queue.model.entry import Entry

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r\n[ \t]+)?(<[^<>\r\n]{1,900}>)", re.IGNORECASE | re.MULTILINE)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]+")
_TO_ESCAPE = re.compile(r'(["\\])')
_LONGEST = 900


@dataclass(frozen=True)
class ReportingMta:
    """Who DSNs, and when."""

    hostname: str
    name: str
    contact: str
    now: datetime


def build(entry: Entry, dsn: Dsn, returned: bytes, *, whole: bool, mta: ReportingMta) -> bytes:
    """The DSN about `entry`, with CRLF line ends.

    `returned` is the original message when `whole`, else its header block; both with our trace above.
    """
    boundary = hashlib.blake2s(f"{entry.domain_token}.{entry.queue_id}".encode(), digest_size=12).hexdigest()
    international = not all(failure.recipient.address.isascii() for failure in dsn.failures)
    parts = (
        _text(entry, dsn, mta),
        _status(entry, dsn.failures, mta, international=international),
        _returned(returned, whole=whole, international=international),
    )
    delimiter = f"--{boundary}".encode()
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
    return _header(entry, dsn, returned, mta, boundary, is_ascii=body.isascii()) + b"\r\n" + body


def header_block(data: bytes) -> bytes:
    """The header of a message, its blank line left out; what is left of one that was cut off in the middle."""
    return data if (end := data.find(b"\r\n\r\n")) < 0 else data[: end + 2]


def _header(entry: Entry, dsn: Dsn, returned: bytes, mta: ReportingMta, boundary: str, *, is_ascii: bool) -> bytes:
    lines = [
        f"From: {_display(mta.name)}<MAILER-DAEMON@{mta.hostname}>",
        f"To: <{dsn.to}>",
        f"Subject: {subject(dsn.failures)}",
        f"Date: {format_datetime(mta.now)}",
        f"Message-ID: <{entry.dsn_id()}@{mta.hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    if not is_ascii:
        lines.append("Content-Transfer-Encoding: 8bit")
    if (found := _MESSAGE_ID.search(header_block(returned))) is not None and found[1].isascii():
        original = found[1].decode("ascii")
        lines += [f"In-Reply-To: {original}", f"References: {original}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _display(name: str) -> str:
    """A name as From may have it: quoted (RFC 5322, 3.2.4), or encoded on lines of their own (RFC 2047, 2)."""
    if name.isascii():
        return '"' + _TO_ESCAPE.sub(r"\\\1", name) + '" '
    return Header(name, "utf-8", header_name="From").encode(linesep="\r\n") + "\r\n "


def _text(entry: Entry, dsn: Dsn, mta: ReportingMta) -> bytes:
    text = explanation(
        dsn.failures,
        arrived=entry.arrived,
        hostname=mta.hostname,
        queue_id=entry.queue_id,
        contact=mta.contact,
    )
    encoded = text.replace("\n", "\r\n").encode()
    transfer = "7bit" if encoded.isascii() else "8bit"
    head = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
    return head.encode() + encoded


def _status(entry: Entry, failures: Sequence[Failure], mta: ReportingMta, *, international: bool) -> bytes:
    """The machine-readable part: one group for the message, then one for each recipient (RFC 3464, 2.1)."""
    about = [
        f"Reporting-MTA: dns; {mta.hostname}",
        f"Arrival-Date: {format_datetime(entry.arrived)}",
        f"X-Jetpost-Queue-Id: {entry.queue_id}",
    ]
    if entry.envelope.envid:
        about.insert(0, f"Original-Envelope-Id: {_given(entry.envelope.envid, international=international)}")
    groups = ["".join(f"{line}\r\n" for line in about)]
    for failure in failures:
        fields = _fields(failure, entry, international=international)
        groups.append("".join(f"{line}\r\n" for line in fields))
    kind = "message/global-delivery-status" if international else "message/delivery-status"
    transfer = "8bit" if international else "7bit"
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
    return (head + "\r\n".join(groups)).encode("utf-8", "replace")


def _fields(failure: Failure, entry: Entry, *, international: bool) -> list[str]:
    recipient, outcome = failure
    kind = "utf-8" if international and not recipient.address.isascii() else "rfc822"
    fields = []
    if recipient.orcpt:
        address_type, _, address = recipient.orcpt.partition(";")
        fields.append(f"Original-Recipient: {address_type};{_given(address, international=international)}")
    fields += [
        f"Final-Recipient: {kind}; {recipient.address}",
        "Action: failed",
        f"Status: {outcome.status}",
    ]
    if outcome.host:
        fields.append(f"Remote-MTA: dns; {outcome.host}")
    if outcome.reply is not None:
        fields.append(f"Diagnostic-Code: smtp; {_safe(str(outcome.reply))}")
    else:
        fields.append(f"Diagnostic-Code: x-jetpost; {_safe(outcome.why)}")
    if entry.attempted is not None:
        fields.append(f"Last-Attempt-Date: {format_datetime(entry.attempted)}")
    return fields


def _given(text: str, *, international: bool) -> str:
    """What the sender gave as xtext, decoded (RFC 3461, 4.2 and 4.4); beyond ASCII as the form allows (RFC 6533, 3)."""
    return text if text.isascii() or international else utf8_xtext(text)


def _returned(returned: bytes, *, whole: bool, international: bool) -> bytes:
    """The third part. A header block says that it is one, so that nobody takes it for the message."""
    utf8 = international or not header_block(returned).isascii()
    kind = ("message/global" if utf8 else "message/rfc822") if whole else "text/rfc822-headers"
    if not whole and utf8:
        kind = "message/global-headers"
    transfer = "7bit" if returned.isascii() else "8bit"
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n".encode() + returned


def _safe(text: str) -> str:
    """One line of printable ASCII: what a remote server says must not become a field of ours."""
    return _UNSAFE.sub(" ", text).encode("ascii", "replace").decode()[:_LONGEST]
