"""OpenDKIM as a milter that signs, beside Postfix."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from jetpost.up.probe import free_port
from tests.fixtures.dkim import rsa_pem
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.process import Process
from tests.fixtures.verifiers import listens

_CONFIGURATION = """\
Mode s
Socket inet:{port}@127.0.0.1
Background no
Syslog no
Domain home.test
Selector bench
KeyFile {key}
RequireSafeKeys no
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
"""


class OpenDkim(Process):
    """It signs what clients on loopback send from home.test."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        (file := folder / "opendkim.conf").write_text(
            _CONFIGURATION.format(port=self.port, key=private_key_file(folder))
        )
        super().__init__("opendkim", [program, "-f", "-x", str(file)], folder / "opendkim.log")


def private_key_file(folder: Path) -> Path:
    """A file with a key of RSA-2048, which is the same in all folders."""
    (file := folder / "dkim.pem").write_bytes(rsa_pem())
    file.chmod(0o600)
    return file


@asynccontextmanager
async def signing(folder: Path) -> AsyncIterator[OpenDkim]:
    """It runs while the block does. FileNotFoundError: it is not installed."""
    program = shutil.which("opendkim") or shutil.which("opendkim", path="/usr/sbin")
    if program is None:
        raise FileNotFoundError("opendkim is not installed: apt-get install opendkim")
    opendkim = OpenDkim(program, folder)
    opendkim.launch()
    try:
        await eventually_asked(lambda: listens(opendkim, opendkim.port), "opendkim listens")
        yield opendkim
    finally:
        await opendkim.stop()
