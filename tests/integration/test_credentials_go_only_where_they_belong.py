"""A password is sent inside verified TLS or not at all, whatever the host, or who stands between, says."""

import ssl
from pathlib import Path

import pytest

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms, Login
from delivery.security.requirement import PUBLIC_CAS, TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Deferred
from tests.fixtures import attempts
from tests.fixtures.certificates import Certificates
from tests.fixtures.letters import LETTER
from tests.fixtures.raw_host import RawHost

NAME = "smart.test"
OFFER = b"250-smart.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
WITHOUT_TLS = b"250-smart.test\r\n250 AUTH PLAIN LOGIN\r\n"
WITHOUT_AUTH = b"250-smart.test\r\n250 PIPELINING\r\n"

CASES: dict[str, tuple[dict[str, bytes], bool]] = {
    "AUTH is offered before TLS alone": ({"EHLO": OFFER, "TLS EHLO": WITHOUT_AUTH}, True),
    "STARTTLS is taken out of the offer": ({"EHLO": WITHOUT_TLS}, True),
    "STARTTLS is refused": ({"EHLO": OFFER, "STARTTLS": b"502 5.5.1 no\r\n"}, True),
    "STARTTLS is put off": ({"EHLO": OFFER, "STARTTLS": b"454 4.7.0 not now\r\n"}, True),
    "the offer inside is said in clear": (
        {"EHLO": OFFER, "TLS EHLO": WITHOUT_AUTH, "STARTTLS": b"220 go\r\n" + WITHOUT_TLS},
        True,
    ),
    "EHLO is refused inside": ({"EHLO": OFFER, "TLS EHLO": b"500 what?\r\n"}, True),
    "the certificate is of an unknown CA": ({"EHLO": OFFER, "TLS EHLO": WITHOUT_TLS}, False),
}


@pytest.mark.parametrize("case", CASES)
async def test_no_password_is_sent_and_the_mail_is_kept(case: str, tmp_path: Path) -> None:
    says, is_known = CASES[case]
    certificates = Certificates(tmp_path, NAME)
    (password := tmp_path / "password").write_text("hunter2")
    login = Login("smart", "jet", str(password))
    verified = str(certificates.ca_file) if is_known else PUBLIC_CAS
    terms = ConnectionTerms(tls=TlsMode.REQUIRED, verified=verified, login=login)
    settings = AttemptSettings(idle_s=0)
    pool = Pool(settings, "jetpost.test", most=10)
    context: ssl.SSLContext = certificates.server()
    async with RawHost(NAME, says=says, tls=context) as host:
        try:
            made = await attempts.tried_with(pool, [host], attempts.entry(Inline(LETTER)), settings, terms)
        finally:
            await pool.aclose()

    assert isinstance(made.outcomes[attempts.BOB], Deferred), made.outcomes
    assert host.heard["AUTH"] == host.heard["MAIL"] == 0
    assert not host.copies
