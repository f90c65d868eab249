"""The framing of a content after DATA: where it ends, and the content without dot-stuffing. Pure.

Only CRLF.CRLF ends a message (RFC 5321, 4.1.1.4). Fed in any pieces, the result is the same; no loop over lines.
"""

_END = b"\r\n.\r\n"
_SMALL_BYTES = 1024
_STUFFED = b"\r\n."


class DotStuffed:
    """One content as it arrives. Feed it until it has `ended`.

    No piece that comes out ends between a CR and its LF.
    """

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        """What followed the end of the message: the next commands of a client that pipelines."""
        # The message begins at the beginning of a line, as if a CRLF went before: the rules below need no exception.
        self._held = b"\r\n"
        self._small = bytearray()
        self._is_first = True

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the connection; the content they complete.

        Small pieces are collected first: who sends packets of one byte costs little more time and memory than others.
        """
        data = self._collected(data)
        if not data:
            return b""
        data = self._held + data
        end = data.find(_END)
        if end >= 0:
            self.ended = True
            self.rest = data[end + len(_END) :]
            content = data[: end + 2]
        else:
            held = _beginning_of_an_end(data)
            self._held = data[len(data) - held :]
            content = data[: len(data) - held]
        if _STUFFED in content:
            content = content.replace(_STUFFED, b"\r\n")
        if self._is_first and content:
            self._is_first = False
            content = content[2:]
        return content

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory of the message."""
        return len(self._small)

    def _collected(self, data: bytes) -> bytes:
        """`data` and the small pieces before it, once there is enough or the end is there; empty before."""
        small = self._small
        if not small and (len(data) >= _SMALL_BYTES or _END in data):
            return data
        searched = max(len(small) - len(_END) + 1, 0)
        small += data
        if len(small) < _SMALL_BYTES and small.find(_END, searched) < 0 and _END not in self._held + small[:4]:
            return b""
        data = bytes(small)
        small.clear()
        return data


def _beginning_of_an_end(data: bytes) -> int:
    """How many bytes at the end of `data` may turn out to begin the end of the message."""
    return next((length for length in (4, 3, 2, 1) if data.endswith(_END[:length])), 0)
