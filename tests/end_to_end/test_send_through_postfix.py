"""A real Postfix is the smart host: it asks for AUTH (Dovecot knows the users) over verified TLS, and throttles."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.postfix import Postfix
from tests.conftest import MakeSystem
from tests.end_to_end.conftest import DOVECOT_USERS, needs, public_folder
from tests.end_to_end.dovecot import PASSWORD, Dovecot
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.eventually import eventually
from tests.fixtures.issuer import TokenIssuer
from tests.fixtures.letters import LETTER
from tests.fixtures.zone import ServedZone

NAME = "upstream.test"
USER = DOVECOT_USERS[0]
PAUSE_S = 2
"""How long Postfix counts messages for its limit."""


class Upstream:
    """A Postfix that takes mail for `anywhere.test` from who has authenticated over TLS, two messages at a time."""

    def __init__(self, folder: Path, dovecot: Dovecot, certificates: Certificates) -> None:
        keeper = pwd.getpwnam("nobody")
        self.address = loopback_address()
        self.mail = folder / "mail"
        self.mail.mkdir()
        os.chown(self.mail, keeper.pw_uid, keeper.pw_gid)
        parameters = {
            "virtual_mailbox_domains": "anywhere.test",
            "virtual_mailbox_base": str(self.mail),
            "virtual_mailbox_maps": "static:all/",
            "virtual_uid_maps": f"static:{keeper.pw_uid}",
            "virtual_gid_maps": f"static:{keeper.pw_gid}",
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_auth_only": "yes",
            "smtpd_tls_cert_file": str(certificates.certificate_file),
            "smtpd_tls_key_file": str(certificates.key_file),
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": f"inet:{dovecot.address}:{dovecot.auth}",
            "smtpd_sasl_authenticated_header": "yes",
            "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_client_event_limit_exceptions": "",
            "smtpd_client_message_rate_limit": "2",
            "anvil_rate_time_unit": f"{PAUSE_S}s",
        }
        self.postfix = Postfix(folder, parameters, host=self.address)

    @property
    def messages(self) -> list[bytes]:
        """What it has taken."""
        return [file.read_bytes() for file in (self.mail / "all" / "new").glob("*")]


@pytest.fixture(autouse=True)
def _gone_from_the_zone(names: ServedZone) -> Iterator[None]:
    yield
    names.remove(NAME)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_a_postfix_that_asks_for_auth_and_throttles_gets_every_message_once(
    make_system: MakeSystem, names: ServedZone, dovecot: Dovecot, tmp_path: Path, mechanism: str
) -> None:
    needs("postfix")
    certificates = Certificates(tmp_path, NAME)
    (password := tmp_path / "password").write_text(f"{PASSWORD}\n")
    await eventually(lambda: dovecot.is_listening, "Dovecot listens")
    with public_folder("jetpost-upstream-") as folder:
        upstream = Upstream(folder, dovecot, certificates)
        names.add(NAME, a=[upstream.address])
        with upstream.postfix as postfix:
            action: dict[str, Any] = {
                "kind": "hosts",
                "hosts": [{"host": NAME, "port": postfix.port}],
                "ca_file": str(certificates.ca_file),
                "auth": {"user": USER, "password_file": str(password), "mechanisms": [mechanism]},
            }
            system = await make_system({"delivery.routes": [{"name": "upstream", "action": action}]})
            count = 6
            for number in range(count):
                await system.submit("ann@home.test", [f"u{number}@anywhere.test"], LETTER)

            await system.empty()
            messages = await eventually(lambda: all_of(upstream, count), "Postfix has delivered all")

    assert len(messages) == count
    assert all(f"(Authenticated sender: {USER})".encode() in message for message in messages)
    lines = [line for service in system.delivery for line in service.log_lines() if line["event"] == "deferred"]
    assert any("too much mail" in line["why"] for line in lines)


TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")


async def test_a_postfix_whose_dovecot_checks_access_tokens_takes_mail_with_those_of_its_issuer(
    make_system: MakeSystem, names: ServedZone, tmp_path: Path
) -> None:
    """Dovecot asks the issuer about each token (RFC 7662). A revoked one is replaced, and a long one arrives whole."""
    needs("postfix")
    program = needs("dovecot")
    certificates = Certificates(tmp_path, NAME)
    (secret := tmp_path / "secret").write_text("of the client\n")
    issuer = TokenIssuer(clients={"app": "of the client"}, user=USER, token_chars=3000)
    with public_folder("jetpost-upstream-") as folder, public_folder("jp-dovecot-") as of_dovecot:
        async with issuer:
            with Dovecot(program, of_dovecot, introspection=issuer.introspection_url) as dovecot:
                await eventually(lambda: dovecot.is_listening, "Dovecot listens")
                upstream = Upstream(folder, dovecot, certificates)
                names.add(NAME, a=[upstream.address])
                with upstream.postfix as postfix:
                    oauth = {"kind": "client_credentials", "token_url": issuer.url, "client_id": "app"}
                    auth = {"user": USER, "oauth": {**oauth, "client_secret_file": str(secret)}}
                    action: dict[str, Any] = {
                        "kind": "hosts",
                        "hosts": [{"host": NAME, "port": postfix.port}],
                        "ca_file": str(certificates.ca_file),
                    }
                    routes = [
                        {
                            "name": mechanism.lower(),
                            "match": {"senders": [f"{mechanism}.test"]},
                            "action": {**action, "auth": {**auth, "mechanisms": [mechanism]}},
                        }
                        for mechanism in TOKEN_MECHANISMS
                    ]
                    system = await make_system({"delivery.routes": routes, "delivery.attempt.idle_s": 0})
                    for count in (2, 4):
                        for mechanism in TOKEN_MECHANISMS:
                            await system.submit(f"ann@{mechanism}.test", [f"u{count}@anywhere.test"], LETTER)
                        messages = await eventually(lambda n=count: all_of(upstream, n), "Postfix has delivered all")  # type: ignore[misc]
                        issuer.tokens[USER] = "another"  # Dovecot hears that ours is not active
                    await system.empty()
                log = postfix.log_file.read_text(encoding="utf-8")

    assert all(f"(Authenticated sender: {USER})".encode() in message for message in messages)
    assert [log.count(f"sasl_method={mechanism}, ") for mechanism in TOKEN_MECHANISMS] == [2, 2]
    assert len(issuer.issued) == 2
    (service,) = system.delivery
    assert not any(token in str(service.log_lines()) for token in issuer.issued)


def all_of(upstream: Upstream, count: int) -> list[bytes]:
    """The messages, once there are so many."""
    messages = upstream.messages
    return messages if len(messages) >= count else []
