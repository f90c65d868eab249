"""What the first bytes of nats-server's files say: each change is seen, and no write that was cut off is one."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpost.store.full_disk import Volume, has_room, is_off, kept_error, says_off
from jetpost.store.head import HEAD_BYTES, Head, damage, is_whole, seal
from jetpost.store.highwayhash import sum64

STREAM, NUMBER = "MAIL", 7
TIME = 1_790_000_000_000_000_000


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "536ec222de567a90"),
        (1, "78ddcdc7aa43ab7e"),
        (2, "623db5b09a56d0b8"),
        (3, "803d468aabef6b5c"),
        (4, "da7e009368a405f2"),
        (15, "3bf349a4863f7940"),
        (16, "32b87ef98934abcf"),
        (17, "e2c0c5c8d267fe19"),
        (31, "685a03cf7c00c79f"),
        (32, "fc80d5ecd964c9a0"),
        (33, "fc8131a03cf7902c"),
        (63, "a03921bfe9eb8eab"),
        (64, "ffa6d24c5d2c5475"),
    ],
)
def test_the_hash_is_that_of_its_reference(size: int, told: str) -> None:
    assert sum64(bytes(range(32)), bytes(range(size))).hex() == told


def record(sequence: int, subject: bytes, headers: bytes, content: bytes) -> bytes:
    """As nats-server writes it."""
    key = hashlib.sha256(f"{STREAM}-{NUMBER}".encode()).digest()
    length = 22 + len(subject) + (4 + len(headers) if headers else 0) + len(content) + 8
    head = struct.pack("<LQQH", length | (1 << 31 if headers else 0), sequence, TIME + sequence, len(subject))
    told = struct.pack("<L", len(headers)) if headers else b""
    return head + subject + told + headers + content + sum64(key, head[4:20] + subject + headers + content)


def judged(block: bytes, *, is_last: bool) -> str | None:
    return damage(Head(block[:HEAD_BYTES], block[-8:], len(block), STREAM, NUMBER, is_last))


SUBJECTS = st.sampled_from([b"", b"mail.ready.dest_test.06h0jkw6zaagde2zfy", b"x" * 300])
HEADERS = st.sampled_from([b"", b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n"])
RECORDS = st.lists(st.tuples(SUBJECTS, HEADERS, st.binary(max_size=200)), min_size=1, max_size=4)


def written(records: list[tuple[bytes, bytes, bytes]]) -> list[bytes]:
    return [record(number, *each) for number, each in enumerate(records, 41)]


@given(RECORDS, st.booleans())
def test_what_was_written_is_sound(records: list[tuple[bytes, bytes, bytes]], is_last: bool) -> None:
    assert judged(b"".join(written(records)), is_last=is_last) is None


@given(RECORDS, st.data())
def test_a_last_block_may_end_anywhere(records: list[tuple[bytes, bytes, bytes]], data: st.DataObject) -> None:
    block = b"".join(written(records))
    block = block[: data.draw(st.integers(0, len(block)))]
    assert judged(block, is_last=True) is None
    if block and len(block) < len(written(records)[0]):
        assert judged(block, is_last=False) is not None, "nothing follows what was cut off"


@given(RECORDS, st.integers(1, 5 * HEAD_BYTES))
def test_zeros_that_a_power_cut_leaves_are_no_damage(records: list[tuple[bytes, bytes, bytes]], size: int) -> None:
    assert judged(bytes(size), is_last=True) is None
    assert judged(b"".join(written(records)) + bytes(size), is_last=True) is None
    assert judged(bytes(size), is_last=False) is not None


@given(RECORDS, st.booleans(), st.data())
def test_each_byte_of_the_first_record_counts(
    records: list[tuple[bytes, bytes, bytes]], is_last: bool, data: st.DataObject
) -> None:
    begins = written(records)
    block = bytearray(b"".join(begins))
    # The lengths of subject and headers are no part of the hash: nats-server does not see those either.
    subject, headers, _ = records[0]
    unseen = {20, 21, *(range(22 + len(subject), 26 + len(subject)) if headers else ())}
    at = data.draw(st.integers(0, len(begins[0]) - 1).filter(lambda at: at not in unseen))
    block[at] ^= data.draw(st.integers(1, 255))
    assert judged(bytes(block), is_last=is_last) is not None


@given(RECORDS, st.binary(min_size=22, max_size=100))
def test_other_bytes_are_no_record(records: list[tuple[bytes, bytes, bytes]], noise: bytes) -> None:
    block = b"".join(written(records))
    overwritten = noise + block[len(noise) :]
    if overwritten[: len(noise)] != block[: len(noise)] and not noise.startswith(b"cmp\x01"):
        assert judged(overwritten, is_last=False) is not None


CONFIGURATION = b'{"name":"MAIL","subjects":["mail.>"],"storage":"file"}'


def test_a_configuration_has_its_own_checksum() -> None:
    assert seal("MAIL", CONFIGURATION) != seal("EVENTS", CONFIGURATION)
    assert seal("MAIL", CONFIGURATION) != seal("MAIL", CONFIGURATION[:-1])


@given(st.integers(0, len(CONFIGURATION) - 1))
def test_a_part_of_a_configuration_is_none(length: int) -> None:
    assert is_whole("MAIL", CONFIGURATION)
    assert not is_whole("EVENTS", CONFIGURATION)
    assert not is_whole("MAIL", CONFIGURATION[:length])
    assert not is_whole("MAIL", CONFIGURATION[:length].ljust(len(CONFIGURATION), b"\0"))
    assert not any(is_whole("MAIL", other) for other in (b"[]", b"{}", b"null", b'"MAIL"', b"\xff"))


NO_ROOM = "JetStream stream '$G > MAIL' write error: write /data/msgs/6.blk: no space left on device"


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([NO_ROOM], True),
        (["JetStream stream '$G > MAIL' write error: write /data/msgs/6.blk: disk quota exceeded"], True),
        (["JetStream stream '$G > MAIL' is not current: node write error: sync x: no space left on device"], True),
        (["JetStream consumer 'a > b > c' is not current: consumer write error: no space left on device"], True),
        (["JetStream meta layer write error: write x: no space left on device"], True),
        (["JetStream not enabled (10076)"], True),
        (["JetStream stream '$G > A' could not be recovered", NO_ROOM], True),
        (["JetStream stream '$G > MAIL' could not be recovered"], False),
        (["JetStream stream '$G > MAIL' write error: write x: input/output error"], False),
        (["JetStream has not established contact with a meta leader"], False),
        (["JetStream is not current with the meta leader"], False),
        (["JetStream is still recovering meta layer"], False),
        (["JetStream stream '$G > MAIL' is not current: stream catching up"], False),
        (["JetStream stream '$G > MAIL' is not current: group node unhealthy"], False),
        (["connection refused"], False),
        ([], False),
    ],
)
def test_one_state_is_that_of_a_disk_that_was_full(errors: list[str], kept: bool) -> None:
    health = {"status": "error", "errors": [{"type": "STREAM", "error": each} for each in errors]}
    assert (kept_error(health) is not None) is kept


@pytest.mark.parametrize(
    ("kept", "off"),
    [
        ("JetStream not enabled (10076)", True),
        (NO_ROOM, False),
        ("JetStream meta layer write error: write x: no space left on device", False),
    ],
)
def test_a_server_of_a_cluster_switches_jetstream_off(kept: str, off: bool) -> None:
    assert says_off(kept) is off


@pytest.mark.parametrize(
    ("enabled", "raft", "off"),
    [
        (True, {"$SYS": {"_meta_": {"state": "FOLLOWER"}, "S-R3F-AN7vMt5z": {}}}, False),
        # The metadata group has ended, and the stream is being reset.
        (True, {}, False),
        (False, {"$SYS": {"S-R3F-AN7vMt5z": {}}}, False),
        (False, {"$SYS": {"S-R3F-AN7vMt5z": {}}, "MAIL": {}}, False),
        (False, {"$SYS": {}}, True),
        (False, {}, True),
        (None, {}, False),
        (False, None, False),
    ],
)
def test_jetstream_is_off_when_the_account_has_none_and_no_raft_group_is_left(
    enabled: bool | None, raft: object, off: bool
) -> None:
    assert is_off({"account_detail": {"account_name": "$G", "jetstream_enabled": enabled}}, raft) is off


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(), it),
        max_leaves=4,
    )
)
def test_whatever_a_server_says_is_read(health: object) -> None:
    assert kept_error(health) is None
    assert kept_error({"errors": health}) is None
    assert kept_error({"errors": [health]}) is None
    assert not is_off(health, health)
    assert not is_off({"account_detail": health}, health)


@pytest.mark.parametrize(
    ("volume", "has"),
    [
        (Volume(20 * 2**30, 2**30, 10**6, 10**6), True),
        (Volume(20 * 2**30, 2**26, 10**6, 10**6), True),
        (Volume(20 * 2**30, 2**26 - 1, 10**6, 10**6), False),
        (Volume(20 * 2**30, 0, 10**6, 10**6), False),
        (Volume(100 * 2**20, 11 * 2**20, 10**6, 10**6), True),
        (Volume(100 * 2**20, 9 * 2**20, 10**6, 10**6), False),
        (Volume(20 * 2**30, 2**30, 10**6, 0), False),
        (Volume(20 * 2**30, 2**30, 0, 0), True),
    ],
)
def test_room_is_more_than_one_write_fails_for(volume: Volume, has: bool) -> None:
    assert has_room(volume) is has
