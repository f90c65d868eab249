"""Whether a file of nats-server is what its name says, from its first bytes: values in, a reason out.

After nats-server's `filestore.go` (2.15.3). A block is a row of records: length (4 bytes; the top bit: it has
headers), sequence (8), time (8), length of the subject (2), subject, headers, content, and a hash over all but the
length. When the state file (`index.db`) is not that of the last stop, the server reads the blocks one after the other
and cuts each off at its first bad record: a block whose first record is bad is lost as a whole.
"""

import hashlib
import json
import struct
from dataclasses import dataclass

from jetpost.store.highwayhash import sum64

HEAD_BYTES = 16 * 1024
"""How much of a block is looked at. The hash of a first record that is longer is not compared."""
_record = struct.Struct("<LQQH")
_HAS_HEADERS = 1 << 31
_HASH_BYTES = 8
_LONGEST_RECORD = 32 * 1024 * 1024
_EARLIEST, _LATEST = 1_500_000_000_000_000_000, 4_000_000_000_000_000_000
"""Between 2017 and 2096 (nanoseconds): when a record that lacks its end was begun."""
_MOST_GUESSES = 4
_COMPRESSED = b"cmp\x01"


@dataclass(frozen=True)
class Head:
    """The beginning of a block."""

    data: bytes
    """The first `HEAD_BYTES`, or all there are."""
    tail: bytes
    """The last bytes, as many as a hash has."""
    size: int
    """Bytes of the file."""
    stream: str
    """The stream, or Raft group, that the block belongs to."""
    number: int
    """Its number: `7.blk` is block 7."""
    is_last: bool
    """Nothing was written after it: its last record may be torn, and was acknowledged to nobody then."""


def damage(head: Head) -> str | None:
    """Why nats-server would throw the block's records away; None: it would not.

    Of a compressed block nothing is known.
    """
    data = head.data
    if not head.size or data.startswith(_COMPRESSED):
        return None
    if len(data) < _record.size:
        return None if head.is_last else "ends within its first record"
    length, sequence, time, subject = _record.unpack_from(data)
    has_headers, length = bool(length & _HAS_HEADERS), length & ~_HAS_HEADERS
    least = _record.size + subject + (4 if has_headers else 0) + _HASH_BYTES
    # A power cut leaves zeros where a write was under way.
    torn = head.is_last and not head.tail.strip(b"\0")
    if length < least or length > _LONGEST_RECORD:
        return None if torn and not data.strip(b"\0") else "does not begin with a record"
    if length > head.size:
        begun = head.is_last and _EARLIEST <= time < _LATEST
        return None if begun and not _has_another_length(head, sequence) else "ends within its first record"
    if length > len(data) or _is_record(head, length):
        return None
    return None if torn and length == head.size else "begins with a record whose checksum is wrong"


def _is_record(head: Head, length: int) -> bool:
    """Whether the first `length` bytes, which are there, are a record with the right checksum."""
    data = head.data
    told, _, _, subject = _record.unpack_from(data)
    headers, end = _record.size + subject, length - _HASH_BYTES
    begins = headers + (4 if told & _HAS_HEADERS else 0)
    sealed = data[4:20] + data[_record.size : headers] + data[begins:end]
    return sum64(_block_key(head.stream, head.number), sealed) == data[end:length]


def _has_another_length(head: Head, sequence: int) -> bool:
    """Whether a record that seems to lack its end has one before: its length alone is wrong."""
    data, following = head.data, struct.pack("<Q", sequence + 1 & (1 << 64) - 1)
    ends = [head.size] if head.size <= len(data) else []
    found = data.find(following, _record.size)
    while found >= 0 and len(ends) < _MOST_GUESSES:
        ends.append(found - 4)
        found = data.find(following, found + 1)
    return any(_is_record(head, end) for end in ends)


def seal(stream: str, configuration: bytes) -> bytes:
    """What `meta.sum` must be for the `meta.inf` of this stream: the server leaves out a stream with another."""
    return sum64(hashlib.sha256(stream.encode()).digest(), configuration).hex().encode()


def is_whole(stream: str, configuration: bytes) -> bool:
    """Whether `meta.inf` is a configuration of this stream from its beginning to its end.

    nats-server replaces it as a whole, and then `meta.sum`; killed in between, it would leave the stream out for good.
    """
    try:
        told = json.loads(configuration)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("name") == stream and "storage" in told


def _block_key(stream: str, number: int) -> bytes:
    return hashlib.sha256(f"{stream}-{number}".encode()).digest()
