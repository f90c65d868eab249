"""What a message asks of a host, and the commands that hand it over as far as the host's EHLO goes. Pure."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from delivery.connect.extensions import Extensions
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Bounced
from jetpost.mail.parameters import orcpt_value, xtext
from jetpost.mail.reply import EnhancedStatus
from jetpost.queue.model.entry import Entry

_SIZE = re.compile(r"[0-9]{1,20}")
"""What RFC 1870 has for a limit; `str.isdigit` takes more than `int` does."""
_TOO_BIG = EnhancedStatus(5, 3, 4)
_NEEDS_8_BITS = EnhancedStatus(5, 6, 3)
_NEEDS_UTF8 = EnhancedStatus(5, 6, 7)


class EightBit(StrEnum):
    """What becomes of a message with bytes beyond ASCII at a host that does not offer 8BITMIME."""

    SEND = "send"
    BOUNCE = "bounce"


class Seen(NamedTuple):
    """What a look at the content has shown."""

    header_is_ascii: bool = True
    is_ascii: bool = True


def size(entry: Entry) -> int:
    """Bytes that go out for `entry`, its trace and CRLFs included (RFC 1870, 3)."""
    return len(entry.trace.encode()) + entry.size


def asks_for_ascii_header(entry: Entry, extensions: Extensions) -> bool:
    """Whether the header must be looked at before the message goes to such a host.

    The client's SMTPUTF8 alone does not count: a message that does not use it may go (RFC 6531, 3.2).
    """
    return entry.envelope.smtputf8 and "SMTPUTF8" not in extensions


def asks_for_ascii(extensions: Extensions, eight_bit: EightBit) -> bool:
    """Whether the whole content must be looked at before the message goes to such a host (RFC 6152, 3)."""
    return eight_bit is EightBit.BOUNCE and "8BITMIME" not in extensions


def obstacle(
    entry: Entry,
    recipients: Sequence[Recipient],
    host: str,
    extensions: Extensions,
    *,
    eight_bit: EightBit,
    seen: Seen,
) -> Bounced | None:
    """Why `host` can never take the message, as far as its EHLO says; None when it can.

    `seen` counts as far as `asks_for_ascii_header` and `asks_for_ascii` want to know.
    """
    limit, needed = extensions.get("SIZE", ""), size(entry)
    if _SIZE.fullmatch(limit) and 0 < int(limit) < needed:
        return Bounced(_TOO_BIG, f"{host} takes messages of up to {limit} bytes, this one has {needed}", None, host)
    addresses = (entry.envelope.reverse_path, *(recipient.address for recipient in recipients))
    header_fits = seen.header_is_ascii or not asks_for_ascii_header(entry, extensions)
    if "SMTPUTF8" not in extensions and not (header_fits and all(address.isascii() for address in addresses)):
        return Bounced(_NEEDS_UTF8, f"{host} does not support internationalized mail (SMTPUTF8)", None, host)
    if asks_for_ascii(extensions, eight_bit) and not seen.is_ascii:
        return Bounced(_NEEDS_8_BITS, f"{host} takes 7-bit content only (it offers no 8BITMIME)", None, host)
    return None


def mail_command(entry: Entry, extensions: Extensions) -> str:
    """MAIL with the parameters that the host understands (RFC 5321, 4.1.1.2; RFC 3461, 5.2.1)."""
    envelope = entry.envelope
    words = [f"MAIL FROM:<{envelope.reverse_path}>"]
    if "SIZE" in extensions:
        words.append(f"SIZE={size(entry)}")
    if "8BITMIME" in extensions and envelope.body:
        words.append(f"BODY={envelope.body}")
    if "SMTPUTF8" in extensions and envelope.smtputf8:
        words.append("SMTPUTF8")
    if "DSN" in extensions:
        words += [f"RET={envelope.ret}"] if envelope.ret else []
        words += [f"ENVID={xtext(envelope.envid)}"] if envelope.envid else []
    return " ".join(words)


def rcpt_command(recipient: Recipient, extensions: Extensions) -> str:
    """RCPT with the parameters that the host understands (RFC 5321, 4.1.1.3; RFC 3461, 5.2.1)."""
    words = [f"RCPT TO:<{recipient.address}>"]
    if "DSN" in extensions:
        words += [f"NOTIFY={','.join(recipient.notify)}"] if recipient.notify else []
        words += [f"ORCPT={orcpt_value(recipient.orcpt)}"] if recipient.orcpt else []
    return " ".join(words)
