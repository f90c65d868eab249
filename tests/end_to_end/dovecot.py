"""A Dovecot of one's own: takes mail over LMTP, serves it by IMAP and POP3, and checks passwords for a Postfix."""

import imaplib
import os
import poplib
import pwd
import socket
import subprocess
from pathlib import Path
from typing import Self

from jetpost.up.probe import free_port
from tests.fixtures.addresses import loopback_address

PASSWORD = "correct horse"
_PATIENCE_S = 30
_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
listen = {address}
ssl = no
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%u
{tokens}
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service auth {{
  inet_listener {{
    address = {address}
    port = {auth}
  }}
}}
{lmtp_settings}"""
_LMTP = """\
protocols = imap pop3 lmtp
service lmtp {{
  inet_listener lmtp {{
    address = {address}
    port = {lmtp}
  }}
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
"""
_TOKENS = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2
}}
"""
_INTROSPECTION = """\
introspection_mode = post
introspection_url = {url}
active_attribute = active
active_value = true
username_attribute = username
"""


class Dovecot:
    """A running Dovecot with these users: `with Dovecot(program, folder, "bob@ours.test") as dovecot: …`.

    Needs to be root. `folder` must be reachable for others, and its path short: sockets lie in it. `introspection` is
    the URL at which access tokens are checked (RFC 7662). `lmtp` are other settings for LMTP, and the port they name.
    """

    def __init__(
        self, program: str, folder: Path, *users: str, introspection: str = "", lmtp: tuple[str, int] = ("", 0)
    ) -> None:
        self.address = loopback_address()
        lmtp_settings, port = lmtp
        self.lmtp, self.imap, self.pop3, self.auth = port or free_port(), free_port(), free_port(), free_port()
        self.socket = folder / "lmtp"
        self._program, self._folder = program, folder
        keeper = pwd.getpwnam("nobody")
        (folder / "mail").mkdir()
        os.chown(folder / "mail", keeper.pw_uid, keeper.pw_gid)
        (folder / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users))
        (folder / "oauth2").write_text(_INTROSPECTION.format(url=introspection))
        self._file = folder / "dovecot.conf"
        self._file.write_text(
            _CONFIGURATION.format(
                folder=folder,
                mechanisms="plain login cram-md5" + " xoauth2 oauthbearer" * bool(introspection),
                tokens=_TOKENS.format(folder=folder) if introspection else "",
                address=self.address,
                uid=keeper.pw_uid,
                gid=keeper.pw_gid,
                imap=self.imap,
                pop3=self.pop3,
                auth=self.auth,
                lmtp_settings=lmtp_settings or _LMTP.format(folder=folder, address=self.address, lmtp=self.lmtp),
            )
        )

    def __enter__(self) -> Self:
        command = [self._program, "-F", "-c", str(self._file)]
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 — our own words
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE_S)

    @property
    def is_listening(self) -> bool:
        """Whether it takes connections; AssertionError when it has ended."""
        assert self._process.poll() is None, (self._folder / "output").read_text()
        for port in (self.lmtp, self.imap, self.pop3, self.auth):
            with socket.socket() as trying:
                if trying.connect_ex((self.address, port)):
                    return False
        return True

    def by_imap(self, user: str) -> list[bytes]:
        """What a user's INBOX has, read by IMAP."""
        with imaplib.IMAP4(self.address, self.imap, timeout=_PATIENCE_S) as client:
            client.login(user, PASSWORD)
            client.select("INBOX", readonly=True)
            _, (numbers,) = client.search(None, "ALL")
            fetched = [client.fetch(number.decode(), "(BODY.PEEK[])")[1][0] for number in numbers.split()]
        return [part[1] for part in fetched if isinstance(part, tuple)]

    def by_pop3(self, user: str) -> list[bytes]:
        """The same, read by POP3."""
        client = poplib.POP3(self.address, self.pop3, timeout=_PATIENCE_S)
        try:
            client.user(user)
            client.pass_(PASSWORD)
            count, _ = client.stat()
            return [b"".join(line + b"\r\n" for line in client.retr(number + 1)[1]) for number in range(count)]
        finally:
            client.quit()
