"""Real peers from Debian beside a real Jetpost: a Postfix as destination, swaks as mail client, Prometheus."""

import asyncio
import os
import pwd
import shutil
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from pytest_asyncio import is_async_test

from bench.postfix import Postfix
from tests.end_to_end.dovecot import Dovecot
from tests.fixtures.addresses import loopback_address
from tests.fixtures.configuration import Surroundings
from tests.fixtures.system import System
from tests.fixtures.users import PASSWORD, USER
from tests.fixtures.watched import WINDOW_S, Watched, watching
from tests.fixtures.zone import ServedZone

Swaks = Callable[..., Awaitable[str]]
DOVECOT_USERS = ("bob@ours.test", "carl@ours.test")
_PATIENCE_S = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; they share one event loop, in which the zone lives."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.end_to_end)
            if is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def needs(program: str) -> str:
    """The path of a program from Debian; the test is skipped when it is not installed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed; .ci/run says which packages are needed")
    return path


@pytest.fixture(scope="session")
def mailauth() -> Path:
    """The folder in which it is installed."""
    needs("node")
    folder = os.environ.get("MAILAUTH")
    if folder is None:
        pytest.skip("needs mailauth in the folder $MAILAUTH; tests/end_to_end/mailauth/build installs it")
    return Path(folder)


class Mailboxes:
    """A Postfix that keeps mail for some users of some domains, and refuses everybody else. It insists on TLS."""

    def __init__(
        self, folder: Path, surroundings: Surroundings, *users: str, more: Mapping[str, str] | None = None
    ) -> None:
        """`more` are parameters of Postfix."""
        keeper = pwd.getpwnam("nobody")
        self.address = loopback_address()
        self._folder = folder / "mail"
        self._folder.mkdir()
        os.chown(self._folder, keeper.pw_uid, keeper.pw_gid)
        parameters = {
            "virtual_mailbox_domains": ", ".join({user.partition("@")[2] for user in users}),
            "virtual_mailbox_base": str(self._folder),
            "virtual_mailbox_maps": "inline:{" + ", ".join(f"{{{user} = {user}/}}" for user in users) + "}",
            "virtual_uid_maps": f"static:{keeper.pw_uid}",
            "virtual_gid_maps": f"static:{keeper.pw_gid}",
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_cert_file": str(surroundings.certificates.certificate_file),
            "smtpd_tls_key_file": str(surroundings.certificates.key_file),
            "smtpd_tls_received_header": "yes",
            **(more or {}),
        }
        self.postfix = Postfix(folder, parameters, host=self.address, port=surroundings.mx_port)

    def of(self, user: str) -> list[bytes]:
        """The messages in a user's maildir; files end their lines with LF."""
        return [file.read_bytes() for file in (self._folder / user / "new").glob("*")]


@pytest.fixture(scope="session")
def mailboxes(surroundings: Surroundings, names: ServedZone) -> Iterator[Mailboxes]:
    """A real Postfix with mailboxes for bob@postfix.test and ann@author.test, published in the zone as their MX."""
    with kept_mail(surroundings, names, "bob@postfix.test", "ann@author.test") as mailboxes:
        yield mailboxes


@contextmanager
def kept_mail(
    surroundings: Surroundings, names: ServedZone, *users: str, more: Mapping[str, str] | None = None
) -> Iterator[Mailboxes]:
    """A running Postfix with mailboxes for `users`, published in the zone as MX of their domains."""
    needs("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix must be started by root")
    # Not below pytest's own folder: that is closed to the users as whom Postfix's programs run.
    folder = Path(tempfile.mkdtemp(prefix="jetpost-postfix-"))
    folder.chmod(0o755)
    domains = {user.partition("@")[2] for user in users}
    try:
        mailboxes = Mailboxes(folder, surroundings, *users, more=more)
        for domain in domains:
            names.add(f"mx.{domain}", a=[mailboxes.address])
            names.add(domain, mx=[(10, f"mx.{domain}")])
        with mailboxes.postfix:
            yield mailboxes
    finally:
        for domain in domains:
            names.remove(domain)
            names.remove(f"mx.{domain}")
        shutil.rmtree(folder)


@contextmanager
def public_folder(prefix: str) -> Iterator[Path]:
    """A folder that other users reach: pytest's own is closed to them."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    """A real Dovecot with mailboxes for DOVECOT_USERS."""
    program = needs("dovecot")
    if os.geteuid() != 0:
        pytest.skip("Dovecot must be started by root")
    with public_folder("jp-dovecot-") as folder, Dovecot(program, folder, *DOVECOT_USERS) as dovecot:
        yield dovecot


@pytest.fixture
def swaks(system: System) -> Swaks:
    """Submit a message with swaks, over STARTTLS and with AUTH; what it printed."""
    program = needs("swaks")

    async def submit(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(program, "--server", f"localhost:{system.ports.submission}", "--helo", "client.test"),
            *("--tls", "--tls-verify", "--tls-ca-path", str(system.surroundings.certificates.ca_file)),
            *("--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD),
            *arguments,
            stdout=PIPE,
            stderr=STDOUT,
        )
        async with asyncio.timeout(_PATIENCE_S):
            printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        return printed.decode()

    return submit


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def watched(
    surroundings: Surroundings, names: ServedZone, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Watched]:
    """A system under traffic, and a Prometheus that has watched it for two windows."""
    folder = tmp_path_factory.mktemp("watched")
    async with watching(needs("prometheus"), surroundings, names, folder, 2 * WINDOW_S) as watched:
        yield watched
