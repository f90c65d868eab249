"""The form of an entry: its record in a header, or in front of the content when it is too large for one."""

from datetime import UTC, datetime, timedelta

import pytest

from jetpost.mail.content import Inline, Reference
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.queue.model.entry import ENVELOPE_HEADER, RECORD_BYTES_HEADER, DomainToken, Entry, QueueId, is_entry

NOW = datetime(2026, 11, 25, tzinfo=UTC)
CONTENT = Inline(b"Subject: hello\r\n\r\n{}\r\n")
MOST_HEADER_BYTES = 65_535


def entry(recipients: int, content: Inline | Reference = CONTENT) -> Entry:
    to = tuple(Recipient(f"bob-{number}@dest.test", orcpt="rfc822;é@x.test") for number in range(recipients))
    return Entry.fresh(
        queue_id=QueueId("06h0"),
        domain_token=DomainToken("dest_test"),
        envelope=Envelope(reverse_path="ann@home.test", recipients=to, origin=Origin("127.0.0.1", "c.test", "ESMTP")),
        content=content,
        trace="",
        now=NOW,
        lifetime=timedelta(days=5),
    )


def test_a_record_that_fits_travels_in_its_header() -> None:
    headers, payload = entry(2).message()
    assert headers == {ENVELOPE_HEADER: entry(2).encode()[0]}
    assert payload == CONTENT.data


@pytest.mark.parametrize("content", [CONTENT, Reference("06h0", 10**6), Inline(b"")], ids=["inline", "large", "empty"])
@pytest.mark.parametrize("recipients", [1, 600, 1000])
def test_whatever_is_stored_fits_and_is_read_again(recipients: int, content: Inline | Reference) -> None:
    headers, payload = entry(recipients, content).message()
    assert sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) < MOST_HEADER_BYTES
    assert is_entry(headers)
    assert Entry.read(entry(recipients).subject, headers, payload) == entry(recipients, content)


def test_what_is_no_entry_is_said_to_be_none() -> None:
    assert not is_entry({"Nats-TTL": "86400s"})
    for headers, payload in (({}, b"{}"), ({RECORD_BYTES_HEADER: "x"}, b"{}"), ({RECORD_BYTES_HEADER: "2"}, b"{}")):
        with pytest.raises(ValueError, match=r"unreadable|invalid"):
            Entry.read("mail.ready.dest_test.06h0", headers, payload)
