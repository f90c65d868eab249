"""Lines and bytes out of what arrives in any pieces."""

from hypothesis import given
from hypothesis import strategies as st

from ingress.session.lines import MOST_LINE_BYTES, OVERLONG, LineBuffer

_LINES = st.lists(st.binary(max_size=60).filter(lambda line: b"\r" not in line and b"\n" not in line), max_size=6)


def read_lines(arrived: LineBuffer) -> list[bytes]:
    lines = list[bytes]()
    while (line := arrived.line()) is not None:
        lines.append(line)
    return lines


@given(_LINES, st.lists(st.integers(min_value=1, max_value=400)))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\r\n" for line in lines)
    arrived, read, start = LineBuffer(), list[bytes](), 0
    for end in [*sorted(cuts), len(data)]:
        arrived.put(data[start:end])
        start = max(start, end)
        read += read_lines(arrived)

    assert read == lines
    assert len(arrived) == 0


def test_a_line_that_is_not_whole_waits() -> None:
    arrived = LineBuffer()
    arrived.put(b"NOOP\r")
    assert arrived.line() is None
    arrived.put(b"\nQ")
    assert arrived.line() == b"NOOP"
    assert arrived.line() is None


def test_an_overlong_line_holds_no_memory_and_spares_the_next() -> None:
    arrived = LineBuffer()
    for _ in range(100):
        arrived.put(b"x" * 10_000)
        assert arrived.line() is None
        assert len(arrived) <= MOST_LINE_BYTES
    arrived.put(b"\r")
    assert arrived.line() is None
    arrived.put(b"\nNOOP\r\n")

    assert read_lines(arrived) == [OVERLONG, b"NOOP"]


def test_the_longest_line_is_one() -> None:
    longest = b"x" * (MOST_LINE_BYTES - 2)
    arrived = LineBuffer()
    arrived.put(longest + b"\r\n" + longest + b"x\r\n")

    assert read_lines(arrived) == [longest, OVERLONG]


def test_what_is_put_back_comes_first() -> None:
    arrived = LineBuffer()
    arrived.put(b"body\r\n.\r\nQUIT\r\n")
    data = arrived.all()
    assert arrived.line() is None
    arrived.put(b"NOOP\r\n")
    arrived.put_back(data[9:])

    assert read_lines(arrived) == [b"QUIT", b"NOOP"]
