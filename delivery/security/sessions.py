"""TLS sessions of opportunistic TLS, to be resumed on the next connection (RFC 8446, 2.2)."""

import ssl
from collections import OrderedDict
from collections.abc import Hashable


class Sessions:
    """The last session of at most `most` hosts, about 5 KB each; the one used longest ago goes first.

    On a resumed connection the host shows no certificate: whoever verifies hosts keeps no sessions of them. TLS 1.2 has
    none here either, as the key of the host's tickets decrypts such connections.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, ssl.SSLSession] = OrderedDict()

    def get(self, host: Hashable) -> ssl.SSLSession | None:
        """The session to offer to `host`."""
        session = self._kept.get(host)
        if session is not None:
            self._kept.move_to_end(host)
        return session

    def keep(self, host: Hashable, tls: ssl.SSLObject | None) -> None:
        """Keep the session of a connection to `host` that has been used, so that its ticket has come."""
        if tls is None or tls.version() != "TLSv1.3":
            return
        session = tls.session
        if session is None or not session.has_ticket:
            return
        self._kept[host] = session
        self._kept.move_to_end(host)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, host: Hashable) -> None:
        """The host may have failed because of it."""
        self._kept.pop(host, None)
