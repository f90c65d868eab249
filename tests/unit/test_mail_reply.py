"""What of a stranger's reply is kept."""

import pytest

from jetpost.mail.reply import EnhancedStatus, Reply

STATUS = EnhancedStatus(5, 1, 1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ((), ()),
        (("no such user",), ("no such user",)),
        (("x" * 999,), ("x" * 999,)),
        (("x" * 5000,), ("x" * 1000 + "…",)),
        (("x" * 600, "y" * 600, "z"), ("x" * 600, "y" * 399 + "…")),
        (("é" * 5000,), ("é" * 500 + "…",)),
        (("a" + "é" * 5000,), ("a" + "é" * 499 + "…",)),
    ],
)
def test_a_reply_is_cut_to_what_is_worth_keeping(text: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert Reply(550, STATUS, text).brief() == Reply(550, STATUS, kept)


def test_empty_lines_count_too() -> None:
    assert len(Reply(550, STATUS, ("",) * 10_000).brief().text) <= 1001
