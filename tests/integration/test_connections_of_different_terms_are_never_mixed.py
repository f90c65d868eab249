"""Two routes to the same host never share a connection unless all that they ask of it is the same."""

import ssl
from collections import defaultdict
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms, Dialect, Endpoint, Grant, Login, TokenSource
from delivery.security.pins import pin_of
from delivery.security.requirement import ClientCertificate, TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.envelope import Recipient
from jetpost.mail.outcome import Delivered
from tests.fixtures.attempts import entry, on_uvloop, tried_with
from tests.fixtures.certificates import Certificates
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.searched import at_most
from tests.integration.test_pinned_keys_and_client_certificates import OTHER, Issued

PASSWORD = "hunter2"
T = TypeVar("T")
TOKENS = TokenSource(Grant.CLIENT_CREDENTIALS, "https://issuer.test/token", "")
NOT_BY_SOCKETS = {"implicit"}
"""TLS before SMTP is on another port of a host: only the keys are compared."""


def options(folder: Path, certificates: Certificates) -> dict[str, list[Any]]:
    """Values of each part of the terms, all of which the host takes."""
    one, two, other_ca = folder / "one", folder / "two", folder / "ca.pem"
    for file in (one, two):
        file.write_text(PASSWORD)
    other_ca.write_bytes(certificates.ca_file.read_bytes())
    pin = pin_of(ssl.PEM_cert_to_DER_cert(certificates.certificate_file.read_text().partition("\n\n")[0]))
    login = Login("a", "jet", str(one), (), without_tls=True)
    return {
        "source": ["", "127.0.0.1", "127.0.0.2"],
        "tls": list(TlsMode),
        "implicit": [False],
        "verified": ["", str(certificates.ca_file), str(other_ca)],
        "pins": [(), (pin,), tuple(sorted((pin, OTHER)))],
        "client": [None, _client(folder, "x"), _client(folder, "y")],
        "login": [
            login,
            login._replace(name="b"),
            login._replace(user="boat"),
            login._replace(password_file=str(two)),
            login._replace(mechanisms=("LOGIN",)),
        ],
        "dialect": list(Dialect),
    }


def _client(folder: Path, name: str) -> ClientCertificate:
    (folder / name).mkdir(exist_ok=True)
    return Issued("jetpost.test").client(folder / name)


def test_every_part_is_tried(tmp_path: Path, certificates: Certificates) -> None:
    tried = options(tmp_path, certificates)
    assert set(tried) == set(ConnectionTerms._fields)
    assert {part for part, values in tried.items() if len(values) < 2} == NOT_BY_SOCKETS


def test_each_part_and_each_part_of_a_part_is_in_the_key() -> None:
    login, client = Login("a", "jet", "/p"), ClientCertificate("/c", "/k")
    base = Endpoint("smart.test", "192.0.2.1", 587, ConnectionTerms(login=login, client=client))
    terms = base.terms
    changed = [
        *_each_changed(terms),
        *(terms._replace(login=it) for it in _each_changed(login)),
        *(terms._replace(client=it) for it in _each_changed(client)),
        *(terms._replace(login=login._replace(tokens=it)) for it in (TOKENS, *_each_changed(TOKENS))),
    ]
    endpoints = [base, *(base._replace(terms=it) for it in changed)]
    endpoints += [it for it in _each_changed(base) if it.terms == base.terms]
    assert len(set(endpoints)) == len(endpoints)


def _each_changed(whole: T) -> list[T]:
    """The same with another value in one part, for each of its parts."""
    replaced: Any = whole
    return [replaced._replace(**{part: object()}) for part in replaced._fields]


def test_terms_that_differ_in_one_part_never_share_a_connection(tmp_path: Path, certificates: Certificates) -> None:
    values = options(tmp_path, certificates)

    @at_most(40)
    @given(st.data())
    def search(data: st.DataObject) -> None:
        base = {part: data.draw(st.sampled_from(of_part), part) for part, of_part in values.items()}
        part = data.draw(st.sampled_from(sorted(set(values) - NOT_BY_SOCKETS)), "differs in")
        other = {**base, part: data.draw(st.sampled_from([it for it in values[part] if it != base[part]]))}
        order = data.draw(st.lists(st.integers(0, 1), min_size=3, max_size=5))
        on_uvloop(_never_share([ConnectionTerms(**base), ConnectionTerms(**other)], order, certificates))

    search()


async def _never_share(terms: list[ConnectionTerms], order: list[int], certificates: Certificates) -> None:
    script = Script(tls=certificates.server(), users={"jet": PASSWORD, "boat": PASSWORD})
    settings = AttemptSettings(idle_s=60)
    async with Mx("localhost", "127.0.0.1", script=script) as host:
        pool = Pool(settings, "jetpost.test", most=10)
        for number in order:
            message = entry(Inline(LETTER), Recipient(f"terms{number}@dest.test"))
            (outcome,) = (await tried_with(pool, [host], message, settings, terms[number])).outcomes.values()
            assert isinstance(outcome, Delivered)
        await pool.aclose()

        by_connection: defaultdict[int, set[str]] = defaultdict(set)
        for received in host.messages:
            by_connection[received.connection].update(received.recipients)
        assert all(len(recipients) == 1 for recipients in by_connection.values())
        assert host.connections == len(set(order))  # and each is reused
