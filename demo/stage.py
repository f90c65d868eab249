"""Where the demo plays: a DNS server and three MXs on loopback, and Jetpost itself, started with `jetpost up`."""

import smtplib
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import yaml

from jetpost.up import state
from jetpost.up.probe import free_port
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Ports, Surroundings, configuration
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script, greylist
from tests.fixtures.process import Process, is_ready, samples
from tests.fixtures.users import PASSWORD, USER, write_users
from tests.fixtures.zone import ServedZone, served

RETRY_S = 2.0
"""So that nobody has to wait; in production it is minutes."""
Samples = dict[tuple[str, str, str], float]
"""Values by service, metric and labels."""


@dataclass
class Stage:
    """Everything that runs while the demo does."""

    folder: Path
    zone: ServedZone
    certificates: Certificates
    dest: Mx
    grey: Mx
    home: Mx
    up: Process
    submissions_port: int

    def submit(self, message: EmailMessage) -> None:
        """Hand a message in as any mail client does: TLS, AUTH, DATA."""
        context = self.certificates.client()
        with smtplib.SMTP_SSL("localhost", self.submissions_port, context=context, timeout=30) as client:
            client.login(USER, PASSWORD)
            client.send_message(message)

    async def samples(self) -> Samples:
        """All counters of all processes."""
        running = state.read(self.folder / "data")
        found: Samples = {}
        for process, where in (running.processes if running else {}).items():
            for name, labels, value in await samples(where.http_port) if where.http_port else ():
                if name.endswith("_total") and name.startswith("jetpost_"):
                    told = ", ".join(f"{label}={labels[label]}" for label in sorted(labels))
                    found[process.partition("-")[0], name, told] = value
        return found

    async def ready(self) -> None:
        """Wait until every service of Jetpost says so."""

        async def all_ready() -> bool:
            assert self.up.exit_status is None, self.up.log_tail()
            running = state.read(self.folder / "data")
            ports = [where.http_port for where in running.processes.values() if where.http_port] if running else []
            return len(ports) >= 3 and all([await is_ready(port) for port in ports])

        await eventually_asked(all_ready, f"Jetpost is ready; see {self.up.log_file}", within_s=60)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Set everything up; take everything down, whatever happens."""
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="jetpost-demo-")))
        zone = await running.enter_async_context(served())
        port = free_port()
        certificates = Certificates(folder)
        dest = Mx("mx.dest.test", loopback_address(), port, Script(replies={"nobody": "550 5.1.1 no such user here"}))
        dest.script.tls = certificates.server()
        grey = Mx("mx.grey.test", loopback_address(), port, Script(replies={"RCPT": greylist()}))
        home = Mx("mx.home.test", loopback_address(), port)
        for mx in (dest, grey, home):
            await running.enter_async_context(mx)
            zone.add(mx.name, a=[mx.address])
            zone.add(mx.name.removeprefix("mx."), mx=[(10, mx.name)])
        ports = Ports()
        around = Surroundings(zone.address, certificates, port, write_users(folder / "users"))
        values = configuration(around, ports, {"delivery.retry.first_s": RETRY_S, "delivery.retry.spread": 0.0})
        configuration_file, data = folder / "jetpost.yaml", folder / "data"
        configuration_file.write_text(yaml.safe_dump(values))
        jetpost = Path(sys.executable).parent / "jetpost"
        command = [str(part) for part in (jetpost, "up", "--config", configuration_file, "--data", data)]
        up = Process("jetpost up", command, folder / "jetpost.log")
        running.push_async_callback(up.stop)
        up.launch()
        built = Stage(folder, zone, certificates, dest, grey, home, up, ports.submissions)
        try:
            await built.ready()
            yield built
        except AssertionError as error:
            raise AssertionError(f"{error}\n\nThe last lines of its log:\n{up.log_tail()}") from None
