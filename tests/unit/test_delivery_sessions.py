"""Kept TLS sessions: so many, the ones used last, and only those of the usual terms."""

import ssl

from delivery.security.contexts import context_for
from delivery.security.sessions import Sessions
from tests.fixtures.certificates import Certificates


def used(server: ssl.SSLContext) -> ssl.SSLObject:
    """The client's end of a connection over which the host has said something, after its tickets."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context_for("").wrap_bio(to_client, to_server, server_hostname="mx.test")
    host = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, host]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    host.write(b"250 ok\r\n")
    client.read(100)
    return client


def test_the_one_used_longest_ago_goes_first(certificates: Certificates) -> None:
    sessions, server = Sessions(2), certificates.server()
    for number in (1, 2):
        sessions.keep(number, used(server))
    assert sessions.get(1) is not None
    sessions.keep(3, used(server))
    assert [sessions.get(number) is not None for number in (1, 2, 3)] == [True, False, True]
    sessions.forget(1)
    sessions.forget(2)
    assert sessions.get(1) is None


def test_a_connection_without_tls_has_none() -> None:
    sessions = Sessions(10)
    sessions.keep(1, None)
    assert sessions.get(1) is None
