"""The parameters of MAIL and RCPT, and xtext, both ways (RFC 5321, 4.1.2; RFC 3461, 4; RFC 6533, 3).

Keywords are compared without case; values keep theirs: ENVID and ORCPT belong to the client.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jetpost.mail.reply import EnhancedStatus, Reply

_INVALID_ARGUMENTS = EnhancedStatus(5, 5, 4)
_MOST_ENVID = 100
_MOST_ORCPT = 500
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_UTF8_XTEXT = re.compile(r"(?:[^\x00-\x20\x7f+=\\]|\\x\{[0-9A-F]{2,6}\}|\+[0-9A-F]{2})*")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_HEXADECIMAL = re.compile(r"\+([0-9A-F]{2})")
_BLANKS = re.compile(r"[ \t]+")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]+")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


class MailParameters(NamedTuple):
    """What followed the reverse-path."""

    size: int = 0
    """The bytes the client announces (RFC 1870, 6); 0 when it does not."""
    body: str = ""
    """7BIT or 8BITMIME (RFC 6152); empty when not given."""
    smtputf8: bool = False
    ret: str = ""
    """FULL or HDRS (RFC 3461, 4.3)."""
    envid: str = ""
    """Decoded (RFC 3461, 4.4)."""
    auth: str = ""
    """Who submitted it first, decoded; `<>` when unknown (RFC 4954, 5). Checked for form, never believed."""


class RcptParameters(NamedTuple):
    """What followed a forward-path."""

    notify: tuple[str, ...] = ()
    """NEVER, or any of SUCCESS, FAILURE and DELAY (RFC 3461, 4.1)."""
    orcpt: str = ""
    """`addr-type;address`, decoded (RFC 3461, 4.2)."""


def xtext(text: str) -> str:
    """`text` as xtext: what is not printable ASCII, `+` and `=` become `+HH` (RFC 3461, 4)."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode()
    )


def from_xtext(text: str) -> str | None:
    """What the xtext `text` stands for; None when it is no xtext, or when it hides a control character."""
    if not _XTEXT.fullmatch(text):
        return None
    data = _HEXADECIMAL.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")
    try:
        return _printable(data.decode())
    except UnicodeDecodeError:
        return None


def utf8_xtext(text: str) -> str:
    r"""`text` as utf-8-addr-xtext, which is pure ASCII: `\x{HH}` for what is special or beyond it (RFC 6533, 3)."""
    return "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):02X}}}"
        for character in text
    )


def original_recipient(text: str) -> str | None:
    """The decoded ORCPT value `text`, `addr-type;address`; None when it is malformed (RFC 3461, 4.2; RFC 6533, 3)."""
    kind, separator, encoded = text.partition(";")
    if not separator or not encoded or not _ADDRESS_TYPE.fullmatch(kind):
        return None
    address = _from_utf8_xtext(encoded) if kind.lower() == "utf-8" else from_xtext(encoded)
    return None if address is None else f"{kind};{address}"


def orcpt_value(orcpt: str) -> str:
    """A decoded `addr-type;address` as the value of ORCPT: the opposite of `original_recipient`."""
    kind, _, address = orcpt.partition(";")
    return f"{kind};{utf8_xtext(address) if kind.lower() == 'utf-8' else xtext(address)}"


def upper(word: str) -> str:
    """`word` with ASCII letters in upper case: `ſize` is no SIZE, though `str.upper` says so."""
    return word.upper() if word.isascii() else word


def mail_parameters(text: str) -> MailParameters | Reply:
    """The parameters in `text`, what followed the reverse-path; or the refusal (RFC 5321, 4.1.1.11)."""
    found = _parsed(text, _MAIL)
    return found if isinstance(found, Reply) else MailParameters(**found)


def rcpt_parameters(text: str) -> RcptParameters | Reply:
    """The parameters in `text`, what followed a forward-path; or the refusal (RFC 5321, 4.1.1.11)."""
    found = _parsed(text, _RCPT)
    return found if isinstance(found, Reply) else RcptParameters(**found)


def _parsed(text: str, known: Mapping[str, "_Reading"]) -> dict[str, Any] | Reply:
    found: dict[str, Any] = {}
    for word in _BLANKS.split(text.strip(" \t")) if text.strip(" \t") else ():
        keyword, separator, value = word.partition("=")
        keyword = upper(keyword)
        reading = known.get(keyword)
        if reading is None:
            return Reply(555, _INVALID_ARGUMENTS, (f"{_shown(keyword)} is not supported here",))
        meant = reading(value if separator else None)
        name = keyword.lower()
        if meant is None or name in found:
            return Reply(501, _INVALID_ARGUMENTS, (f"{keyword}: {'given twice' if name in found else 'bad value'}",))
        found[name] = meant
    return found


_Reading = Callable[[str | None], Any]
"""From the value (None: there was no `=`) to what it means; None: it is malformed."""


def _size(value: str | None) -> int | None:
    return int(value) if value and len(value) <= 20 and value.isascii() and value.isdigit() else None


def _one_of(*words: str) -> _Reading:
    return lambda value: upper(value) if value and upper(value) in words else None


def _no_value(value: str | None) -> bool | None:
    return True if value is None else None


def _envid(value: str | None) -> str | None:
    return (from_xtext(value) or None) if value and len(value) <= _MOST_ENVID else None


def _auth(value: str | None) -> str | None:
    return (from_xtext(value) or None) if value else None


def _notify(value: str | None) -> tuple[str, ...] | None:
    words = tuple(upper(value or "").split(","))
    return words if words == ("NEVER",) or (_NOTIFY.issuperset(words) and len(set(words)) == len(words)) else None


def _orcpt(value: str | None) -> str | None:
    return original_recipient(value) if value and len(value) <= _MOST_ORCPT else None


_MAIL: Mapping[str, _Reading] = {
    "SIZE": _size,
    "BODY": _one_of("7BIT", "8BITMIME"),
    "SMTPUTF8": _no_value,
    "RET": _one_of("FULL", "HDRS"),
    "ENVID": _envid,
    "AUTH": _auth,
}
_RCPT: Mapping[str, _Reading] = {"NOTIFY": _notify, "ORCPT": _orcpt}


def _from_utf8_xtext(text: str) -> str | None:
    if not _UTF8_XTEXT.fullmatch(text):
        return None
    points = [int(point, 16) for point in _EMBEDDED.findall(text)]
    if any(point > 0x10FFFF or 0xD800 <= point <= 0xDFFF for point in points):
        return None
    if text.isascii() and "\\" not in text:
        return from_xtext(text)
    return _printable(_EMBEDDED.sub(lambda found: chr(int(found[1], 16)), text))


def _printable(text: str) -> str | None:
    """`text` unless it could break the line of a header or command it is written to one day."""
    return None if any(character < " " or "\x7f" <= character <= "\x9f" for character in text) else text


def _shown(keyword: str) -> str:
    """A keyword of a stranger, cut and cleaned for a reply."""
    return "".join(character for character in keyword[:40] if "!" <= character <= "~")
