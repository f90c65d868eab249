"""The header lines we put above the untouched content: the trace field, and what a submission lacked."""

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import lru_cache
from ipaddress import ip_address

from jetpost.mail.envelope import Origin
from jetpost.mail.header import HeaderLine


def received(origin: Origin, *, by: str, queue_id: str, recipient: str, now: datetime) -> HeaderLine:
    """The `Received` field, folded (RFC 5321, 4.4; RFC 3848; RFC 6531, 4.3).

    `recipient` is empty when there are several: naming one would tell it about the others (RFC 5321, 7.6).
    """
    comment = f" ({origin.tls})" if origin.tls else ""
    meant_for = f" for <{recipient}>" if recipient else ""
    return HeaderLine(
        "Received",
        f"from {origin.client_name} ({address_literal(origin.client_address)})\r\n"
        f"\tby {by} with {origin.protocol}{comment}\r\n"
        f"\tid {queue_id}{meant_for};\r\n"
        f"\t{date_time(now)}",
    )


def protocol(*, extended: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """The `with` keyword: SMTP, ESMTP, ESMTPSA … (RFC 3848), UTF8SMTP … (RFC 6531, 4.3)."""
    if not extended:
        return "SMTP"
    return f"{'UTF8SMTP' if smtputf8 else 'ESMTP'}{'S' if tls else ''}{'A' if authenticated else ''}"


def fix_ups(*, date: bool, message_id: bool, by: str, queue_id: str, now: datetime) -> tuple[HeaderLine, ...]:
    """The fields a submitted message lacks: `Date`, `Message-ID` (RFC 6409, 8.1 and 8.2); never for a relayed one."""
    missing_date = (HeaderLine("Date", date_time(now)),) if date else ()
    return (*missing_date, HeaderLine("Message-ID", f"<{queue_id}@{by}>")) if message_id else missing_date


def date_time(now: datetime) -> str:
    """`now` (with its zone) as RFC 5322, 3.3 writes it, whatever the locale."""
    offset = int((now.utcoffset() or now - now).total_seconds()) // 60
    # Equal moments in different zones are one key to a cache, so the zone goes apart from the clock.
    return _date_time(now.replace(microsecond=0, tzinfo=None), offset)


@lru_cache(maxsize=16)
def _date_time(wall: datetime, offset: int) -> str:
    """For the wall clock of a zone that is `offset` minutes ahead of UTC: many messages share a second."""
    return format_datetime(wall.replace(tzinfo=timezone(timedelta(minutes=offset))))


def address_literal(address: str) -> str:
    """An IP `address` as an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321, 4.1.3)."""
    if ":" not in address:
        return f"[{address}]"
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return f"[{mapped}]" if mapped else f"[IPv6:{parsed}]"
