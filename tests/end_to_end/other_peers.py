"""An Exim and an OpenSMTPD of one's own, with mailboxes for some users, that take mail for others as smart hosts."""

import os
import pwd
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from jetpost.up.probe import free_port
from tests.end_to_end.extracted import FIRST_UID, Extracted
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates

USER, PASSWORD = "jet", "hunter2"
RECIPIENTS = 2
"""So many a transaction has at most."""


class Peer(ABC):
    """A running mail server on loopback that offers STARTTLS: `with Exim(…) as peer: …`. Needs root.

    It keeps mail for `bob@` and `carl@` its own domain, and for everybody elsewhere as a smart host. `tree` has its
    package, extracted; others must reach `folder`.
    """

    name: str
    """Its domain is named after it."""
    users: Sequence[str]
    """System users of its package."""

    def __init__(self, tree: Path, folder: Path, certificates: Certificates, *, port: int = 0) -> None:
        self.domain = f"{self.name}.test"
        self.address, self.port = loopback_address(), port or free_port()
        self._folder, self._mail = folder, folder / "mail"
        keeper = pwd.getpwnam("nobody")
        self._mail.mkdir()
        os.chown(self._mail, keeper.pw_uid, keeper.pw_gid)
        self._certificate, self._key = folder / "certificate.pem", folder / "key.pem"
        shutil.copy(certificates.certificate_file, self._certificate)
        shutil.copy(certificates.key_file, self._key)
        self._program = Extracted(tree, folder, self._command(), users=self.users, files=self._files())

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What runs it in the foreground."""

    @abstractmethod
    def _files(self) -> Mapping[str, str]:
        """Its configuration, by names in /etc."""

    def __enter__(self) -> Self:
        self._program.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._program.__exit__()

    @property
    def is_listening(self) -> bool:
        """Whether it takes connections; AssertionError when it has ended."""
        self._program.insist()
        with socket.socket() as trying:
            return not trying.connect_ex((self.address, self.port))

    @property
    def messages(self) -> list[bytes]:
        """What it has taken, a file for each recipient; files end their lines with LF."""
        return [file.read_bytes() for file in self._mail.glob("new/*")]


class Exim(Peer):
    """Debian's. It is a smart host for who has authenticated, inside TLS."""

    name = "exim"
    users = ("Debian-exim",)

    def _command(self) -> Sequence[str]:
        os.chown(self._key, FIRST_UID, FIRST_UID)
        return ["/usr/sbin/exim4", "-bdf"]

    def _files(self) -> Mapping[str, str]:
        configuration = _EXIM.format(
            domain=self.domain,
            address=self.address,
            port=self.port,
            mail=self._mail,
            own=self._folder / "own",
            certificate=self._certificate,
            key=self._key,
            user=USER,
            password=PASSWORD,
            recipients=RECIPIENTS,
        )
        return {"exim4/exim4.conf": configuration}


class OpenSmtpd(Peer):
    """Debian's. The handshake after its STARTTLS fails (OpenSMTPD 6.8 with OpenSSL 3), so it has no AUTH."""

    name = "opensmtpd"
    users = ("opensmtpd", "opensmtpq")

    def _command(self) -> Sequence[str]:
        return ["/usr/sbin/smtpd", "-d"]

    def _files(self) -> Mapping[str, str]:
        configuration = _OPENSMTPD.format(
            domain=self.domain,
            address=self.address,
            port=self.port,
            mail=self._mail,
            certificate=self._certificate,
            key=self._key,
            recipients=RECIPIENTS,
        )
        return {
            "smtpd.conf": configuration,
            "smtpd/users": f"bob@{self.domain} nobody\ncarl@{self.domain} nobody\n",
            "smtpd/anybody": "@ nobody\n",
            "resolv.conf": "lookup file\n",  # nobody is looked up in DNS
        }


_EXIM = """\
primary_hostname = {domain}
local_interfaces = {address}
daemon_smtp_ports = {port}
spool_directory = {own}
log_file_path = {own}/%slog
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}}}
host_lookup =
rfc1413_hosts =
recipients_max = {recipients}
recipients_max_reject = false
acl_smtp_rcpt = rcpt
acl_smtp_data = data

begin acl
rcpt:
    accept authenticated = *
    accept domains = {domain}
           local_parts = bob : carl
    deny domains = {domain}
         message = there is no such user here
    deny message = relaying is denied
data:
    accept

begin routers
everybody:
    driver = accept
    transport = mailbox

begin transports
mailbox:
    driver = appendfile
    directory = {mail}
    maildir_format
    envelope_to_add
    return_path_add
    user = nobody

begin authenticators
plain:
    driver = plaintext
    public_name = PLAIN
    server_condition = ${{if and {{{{eq {{$auth2}}{{{user}}}}} {{eq {{$auth3}}{{{password}}}}}}}}}
    server_set_id = $auth2
login:
    driver = plaintext
    public_name = LOGIN
    server_prompts = <| Username: | Password:
    server_condition = ${{if and {{{{eq {{$auth1}}{{{user}}}}} {{eq {{$auth2}}{{{password}}}}}}}}}
    server_set_id = $auth1
cram:
    driver = cram_md5
    public_name = CRAM-MD5
    server_secret = ${{if eq {{$auth1}}{{{user}}}{{{password}}}fail}}
    server_set_id = $auth1
"""
_OPENSMTPD = """\
pki {domain} cert "{certificate}"
pki {domain} key "{key}"
table users file:/etc/smtpd/users
table anybody file:/etc/smtpd/anybody
smtp limit max-rcpt {recipients}
listen on {address} port {port} hostname {domain} tls pki {domain}
action "mailbox" maildir "{mail}" virtual <users>
action "relay" maildir "{mail}" virtual <anybody>
match from any for domain "{domain}" action "mailbox"
match from any for any action "relay"
"""
