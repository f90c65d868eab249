"""From bytes to replies: read leniently, within bounds, the same however the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.connect.replies import AFTER_DOT, ORDINARY, Bounds, ReplyReader, Step
from jetpost.mail.reply import Reply

OK = Reply(250, None, ("ok",))


def read(*parts: bytes, bounds: Bounds = ORDINARY, ended: bool = False) -> list[Reply | Step | None]:
    """What a reader makes of the parts: replies, and why it stopped when that is not for want of bytes."""
    reader, heard = ReplyReader(), list[Reply | Step | None]()
    for part in parts:
        reader.feed(part)
        while (step := reader.next(bounds)) is not Step.WAIT:
            if step is not Step.TURN:
                heard.append(step)
            if step is Step.ENDLESS:
                return heard
    return [*heard, reader.end()] if ended else heard


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 ok\r\n", [OK]),
        (b"250 ok\n", [OK]),
        (b"250 ok\r\r\n", [OK]),
        (b"250\tok\r\n", [OK]),
        (b"250ok\r\n", [OK]),
        (b"250\r\n", [Reply(250, None, ("",))]),
        (b"250 \r\n", [Reply(250, None, ("",))]),
        (b" \t250 ok\r\n", [OK]),
        (b"\0\x00250 ok\r\n", [OK]),
        (b"\xef\xbb\xbf250 ok\r\n", [OK]),
        (b"250 o\0k\r\n", [Reply(250, None, ("o?k",))]),
        (b"250 \xff\r\n", [Reply(250, None, ("\N{REPLACEMENT CHARACTER}",))]),
        (b"250 2.1.0 ok\r\n", [Reply.heard(250, ("2.1.0 ok",))]),
        (b"250-a\r\n250 b\r\n", [Reply(250, None, ("a", "b"))]),
        (b"250-a\r\nno code\r\n250 b\r\n", [Reply(250, None, ("a", "b"))]),
        (b"250-a\r\n550 b\r\n", [Reply(550, None, ("a", "b"))]),
        (b"550-a\r\n250-b\r\n250 c\r\n", [Reply(250, None, ("a", "b", "c"))]),
        (b"\r\n250 ok\r\n", [OK]),
        (b"hello\r\n250 ok\r\n", [OK]),
        (b"2026-11-26 22:00:01 said\r\n250 ok\r\n", [OK]),
        (b"250.1.2.3 says\r\n250 ok\r\n", [OK]),
        (b"2500 ok\r\n250 ok\r\n", [OK]),
        (b"100 ok\r\n999 ok\r\n000 ok\r\n250 ok\r\n", [OK]),
        (b"25\r\n250 ok\r\n", [OK]),
        (b"250 ok\r\n354 go\r\n", [OK, Reply(354, None, ("go",))]),
        (b"250-a\r\n", []),
        (b"250 ok", []),
        (b"250 ok\r", []),
    ],
)
def test_what_counts_as_a_reply(data: bytes, replies: list[Reply]) -> None:
    assert read(data) == replies
    assert read(*(data[place : place + 1] for place in range(len(data)))) == replies


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"250 ok", 250),
        (b"250", 250),
        (b"250-a\r\n", 250),
        (b"250-a\r\n55", 250),
        (b"250-a\r\n550 b", 550),
        (b"550-a\r\nnonsense", 550),
        (b"25", None),
        (b"hello\r\n", None),
        (b"", None),
    ],
)
def test_a_reply_that_was_begun_counts_when_nothing_more_comes(data: bytes, code: int | None) -> None:
    (last,) = read(data, ended=True)
    assert (last.code if isinstance(last, Reply) else last) == code


@pytest.mark.parametrize("endless", [b"250-x\r\n", b"\r\n", b"x", b"250 ", b"hello\r\n", b"\0", b"250-" + b"x" * 3000])
@pytest.mark.parametrize("bounds", [ORDINARY, AFTER_DOT])
def test_what_has_no_end_is_given_up_and_keeps_little(endless: bytes, bounds: Bounds) -> None:
    reader = ReplyReader()
    piece = endless * (16 * 1024 // len(endless))
    for _ in range(bounds.size // len(piece) + 2):
        reader.feed(piece)
        while (step := reader.next(bounds)) is Step.TURN:
            assert reader.unread <= len(piece)
        if step is Step.ENDLESS:
            break
        assert step is Step.WAIT
        assert reader.unread <= 2048
    assert step is Step.ENDLESS
    last = reader.end()
    assert (last is not None) == endless.startswith(b"250")
    if last is not None:
        assert last.code == 250
        assert sum(len(line) for line in last.text) <= 32 * 1024
        assert len(last.text) <= 256
    assert reader.is_clean


@pytest.mark.parametrize(
    "long", [b"250 " + b"x" * 70_000, b"250-x\r\n" * 1500 + b"250 x", b"250-" + b"x" * 70_000 + b"\r\n250 x"]
)
def test_of_a_long_reply_the_code_counts(long: bytes) -> None:
    (reply,) = read(long + b"\r\n")
    assert isinstance(reply, Reply)
    assert reply.code == 250
    assert len("".join(reply.text)) <= 2048


def test_a_turn_is_short_however_many_lines_there_are() -> None:
    reader = ReplyReader()
    reader.feed(b"\n" * 1000)
    assert reader.next(ORDINARY) is Step.TURN
    assert reader.unread >= 700


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_replies_are_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(data)]
    parts = [data[begin:end] for begin, end in itertools.pairwise(places)]
    assert read(*parts, ended=True) == read(data, ended=True)


LINES = st.sampled_from([b"250-a", b"250 b", b"550 c", b"junk", b"", b"354 d", b"451-e", b"250", b"999 f", b"25"])


@given(st.lists(LINES, max_size=20), st.lists(st.integers(0, 200), max_size=6))
def test_the_last_code_is_heard_if_the_host_said_one_at_all(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\r\n".join(lines)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[begin:end] for begin, end in itertools.pairwise(places)]
    replies = [reply for reply in read(*parts, ended=True) if isinstance(reply, Reply)]
    codes = [int(line[:3]) for line in lines if len(line) >= 3 and line[:3] in (b"250", b"550", b"354", b"451")]
    assert [reply.code for reply in replies][-1:] == codes[-1:]
