"""Names in the queue: every way there and back."""

import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.mail.address import a_labels, path
from jetpost.mail.address import domain_of as domain_of_address
from jetpost.queue.model.entry import Entry
from jetpost.queue.model.names import (
    BadName,
    DomainToken,
    QueueId,
    consumer_name,
    domain_of,
    dsn_id,
    fresh_queue_id,
    is_queue_id,
    token_of,
)
from tests.fixtures.accepted import ACCEPTED, DOMAINS
from tests.fixtures.queue import fresh

TOKEN = re.compile(r"[a-z0-9_=-]+")
MOST_TOKEN = 3 * 254
MOST_NAME = 255
QUEUE_IDS = st.builds(
    fresh_queue_id,
    st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 — a bound
    st.integers(0, 2**42 - 1),
)


@pytest.mark.parametrize(
    ("domain", "token"),
    [
        ("dest.test", "dest_test"),
        ("Dest.TEST", "dest_test"),
        ("a-b.xn--grn-ioa.test", "a-b_xn--grn-ioa_test"),
        ("my_company.test", "my=5fcompany_test"),
        ("a_0123456.test", "a=5f0123456_test"),
        ("_dmarc.5f.test", "=5fdmarc_5f_test"),
        ("[127.0.0.1]", "=5b127_0_0_1=5d"),
        ("[ipv6:2001:db8::1]", "=5bipv6=3a2001=3adb8=3a=3a1=5d"),
        ("", "=00"),
    ],
)
def test_tokens_as_earlier_versions_wrote_them_are_read(domain: str, token: str) -> None:
    assert token_of(domain) == token
    assert domain_of(token) == domain.lower()


@given(DOMAINS)
def test_a_domain_comes_back_from_its_token(domain: str) -> None:
    domain_token = token_of(domain)
    assert domain_of(domain_token) == domain
    assert TOKEN.fullmatch(domain_token)
    assert len(domain_token) <= MOST_TOKEN
    assert token_of(domain.upper()) == domain_token


@given(ACCEPTED)
def test_the_domain_of_an_address_is_that_of_its_path(accepted: object) -> None:
    assert isinstance(accepted, tuple)
    address, domain = accepted
    assert domain_of_address(address) == domain
    assert domain.startswith("[") or not domain or a_labels(domain) == domain
    assert path(f"<{address}>") == ((address, domain), "")


@given(st.text(max_size=80))
def test_any_text_comes_back_from_a_legal_token(text: str) -> None:
    assert TOKEN.fullmatch(token_of(text))
    assert text == "\0" or domain_of(token_of(text)) == "".join(it.lower() if it.isascii() else it for it in text)


@given(st.one_of(st.text(max_size=40), st.text(st.sampled_from("=0123456789abcdef_-."), max_size=20)))
def test_what_is_no_token_is_refused_by_name_and_no_domain_has_two_tokens(token: str) -> None:
    try:
        domain = domain_of(token)
    except BadName:
        return
    assert token_of(domain) == token


@pytest.mark.parametrize(
    "token", ["", "*", ">", "a.b", "a b", "=", "=5", "=5F", "=61", "=2e", "A", "é", "=ff", "=5fffffffffff=", "a\n"]
)
def test_garbage_is_no_domain_token(token: str) -> None:
    with pytest.raises(BadName):
        domain_of(token)


@given(st.lists(DOMAINS, min_size=2, max_size=5, unique=True))
def test_each_domain_has_a_consumer_and_dsns_of_its_own(domains: list[str]) -> None:
    tokens = [token_of(domain) for domain in domains]
    for names in ([consumer_name("parked", it) for it in tokens], [dsn_id(QueueId("06h0"), it) for it in tokens]):
        assert len(set(names)) == len(domains)
        assert all(TOKEN.fullmatch(name) and len(name) <= MOST_NAME for name in names)


def test_a_long_token_has_a_name_that_no_short_one_has() -> None:
    long = token_of(".".join(["_" * 60] * 4))
    assert len(long) > MOST_NAME
    name = consumer_name("parked", long)
    assert name.startswith(f"parked-{long[:100]}")
    with pytest.raises(BadName):
        domain_of(name.removeprefix("parked-"))
    assert consumer_name("parked", DomainToken("a" * 248)) == f"parked-{'a' * 248}"  # as earlier versions named it


@given(QUEUE_IDS, DOMAINS, st.integers(1, 10**6))
def test_ids_that_derive_from_a_queue_id_are_queue_ids(queue_id: QueueId, domain: str, attempt: int) -> None:
    part = msgspec.structs.replace(fresh(), queue_id=queue_id, domain_token=token_of(domain))
    derived = [queue_id, part.part(f"b{attempt}").queue_id, part.part(f"b{attempt}").dsn_id(), part.dsn_id()]
    assert len(set(derived)) == len(derived)
    assert all(is_queue_id(it) and it.partition("-")[0] == queue_id for it in derived)


@given(
    st.lists(
        st.tuples(DOMAINS, QUEUE_IDS, st.sampled_from(["", "-b1", "-b12", "-b2-d0123456789abcdef0123"])),
        min_size=2,
        max_size=4,
        unique=True,
    )
)
def test_each_entry_has_a_reference_of_its_own(entries: list[tuple[str, str, str]]) -> None:
    assert len({f"{token_of(domain)}-{queue_id}{derived}" for domain, queue_id, derived in entries}) == len(entries)


@pytest.mark.parametrize("token", ["", "*", ">", "a.b", "A", "a b", "-", "a-", "é", "0" * 300, "06h0\n"])
def test_garbage_is_no_queue_id(token: str) -> None:
    assert not is_queue_id(token)


@given(ACCEPTED, DOMAINS)
def test_an_entry_for_whatever_is_accepted_is_read_as_it_was_written(accepted: object, domain: str) -> None:
    assert isinstance(accepted, tuple)
    entry = fresh(domain or "dest.test", sender=accepted[0])
    headers, payload = entry.message()
    assert all("\r" not in value and "\n" not in value and value == value.strip() for value in headers.values())
    read = Entry.read(entry.subject, headers, payload)
    assert read == entry
    assert read.domain == (domain or "dest.test")
    assert entry.expires - entry.arrived == timedelta(days=5)
