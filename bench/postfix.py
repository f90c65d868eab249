"""A Postfix of one's own, with private folders and a port on loopback; the machine's own is not touched."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from jetpost.up.probe import free_port

_PATIENCE_S = 60

_MAIN = {
    "compatibility_level": "3.6",
    "myhostname": "postfix.test",
    "mydestination": "",
    "mynetworks": "127.0.0.0/8",
    "inet_protocols": "ipv4",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    # Nobody is looked up: neither clients nor hosts.
    "smtpd_peername_lookup": "no",
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
}

_MASTER = """\
{listener} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
tlsproxy  unix - - n - 0 tlsproxy
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
local     unix - n n - - local
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix: `with Postfix(folder, {"relayhost": …}) as postfix: …`. Needs to be root.

    `folder` must be reachable for the user `postfix`. `parameters` come after, and so win over, what is set here.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, str], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port or free_port()
        self.log_file = folder / "log" / "postfix.log"
        self._folder = folder
        self._parameters = parameters

    @property
    def pid(self) -> int:
        """Of the master process, parent of all others."""
        return int((self._folder / "queue/pid/master.pid").read_text())

    def start(self) -> Self:
        """Write the configuration and start; returns when it listens. RuntimeError: it does not start."""
        configuration = self._folder / "etc"
        for name in ("etc", "queue", "data", "log"):
            (self._folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.chown(self._folder / "data", "postfix", "postfix")
        parameters = {
            **_MAIN,
            "queue_directory": str(self._folder / "queue"),
            "data_directory": str(self._folder / "data"),
            "maillog_file": str(self.log_file),
            "maillog_file_prefixes": str(self.log_file.parent),
            **self._parameters,
        }
        lines = [f"{name} = {value}\n" for name, value in parameters.items()]
        (configuration / "main.cf").write_text("".join(lines))
        (configuration / "master.cf").write_text(_MASTER.format(listener=f"{self.host}:{self.port}"))
        self._command("start")
        return self

    def stop(self) -> None:
        """Stop it and its children."""
        self._command("stop")

    def _command(self, verb: str) -> None:
        command = [found("postfix"), "-c", str(self._folder / "etc"), verb]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)  # noqa: S603
        if done.returncode:
            log = self.log_file.read_text() if self.log_file.exists() else ""
            raise RuntimeError(f"postfix {verb} failed:\n{done.stdout}{done.stderr}{log}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def found(name: str) -> str:
    """The path of a program of Postfix; /usr/sbin need not be on the PATH. FileNotFoundError: it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install postfix")
    return path
