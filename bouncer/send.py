"""A DSN becomes a message like any other: a fresh entry with a null reverse-path."""

from datetime import datetime, timedelta

from bouncer.config import Bouncer
from bouncer.decide import Dsn
from bouncer.dsn.build import ReportingMta, build, header_block
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.mail.header import MOST_HEADER_BYTES
from jetpost.process.signing import Signer
from jetpost.queue.model.accepted import entries_of
from jetpost.queue.model.entry import Entry
from jetpost.queue.queue import Queue
from jetpost.sign.dkim import signable_of


async def compose(
    entry: Entry,
    dsn: Dsn,
    queue: Queue,
    config: Bouncer,
    hostname: str,
    now: datetime,
    signer: Signer | None = None,
) -> Entry:
    """The entry of the DSN about `entry`. Its queue id follows from the entry's: made twice, it is queued once.

    ContentMissing and Unreachable come from reading what is returned to the sender.
    """
    whole = entry.envelope.ret != "HDRS" and entry.size <= config.return_full_bytes
    returned = entry.trace.encode() + await _read(entry, queue, whole=whole)
    if not whole:
        returned = header_block(returned)
    mta = ReportingMta(hostname, config.sender_name, config.contact, now)
    data = build(entry, dsn, returned, whole=whole, mta=mta)
    envelope = Envelope(
        reverse_path="",
        recipients=(Recipient(dsn.to),),
        origin=Origin(client_address="", client_name=hostname, protocol="", listener="bouncer"),
        body="" if data.isascii() else "8BITMIME",
        smtputf8=not dsn.to.isascii(),
    )
    lifetime = timedelta(seconds=queue.settings.lifetime_s)
    header = () if signer is None else signer.sign(signable_of(data), (), now)
    (made,) = entries_of(entry.dsn_id(), envelope, Inline(data), header, now=now, lifetime=lifetime)
    return made


async def _read(entry: Entry, queue: Queue, *, whole: bool) -> bytes:
    """The content, or as many chunks of it as the header takes."""
    data = b""
    async for chunk in queue.content.chunks(entry.content):
        data += chunk
        if not whole and (b"\r\n\r\n" in data or len(data) > MOST_HEADER_BYTES):
            break
    return data
