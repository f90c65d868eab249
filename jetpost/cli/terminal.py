"""Texts of strangers on an operator's terminal: they move no cursor, and change no colour. Pure."""

import re

_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029]")


def visible(text: str) -> str:
    """`text` with a replacement character for each that is not printable."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def visible_json(text: str) -> str:
    r"""JSON without the control characters that it may contain as they are; as `\u0085` they mean the same."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
