"""`jetpost probe` sends a message through the whole system and sees it arrive, or says why not."""

import asyncio
import sys

from jetpost.up.probe import free_port
from tests.conftest import MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

DOMAIN = "probe.ours.test"


async def probing(
    system: System, domain: str, listen: str, *options: str, within_s: int = 60
) -> tuple[int | None, str]:
    """Exit status and output of the command."""
    command = [sys.executable, "-m", "jetpost", "probe", f"--server=127.0.0.1:{system.ports.relay}", *options]
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--domain={domain}",
        f"--listen={listen}",
        f"--within={within_s}",
        f"--reachable={listen}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def made(make_system: MakeSystem) -> System:
    """A system whose relay takes mail for the probe's domain alone, from anybody."""
    return await make_system({"ingress.listeners.2.relay_networks": [], "ingress.listeners.2.domains": [DOMAIN]})


async def test_a_probe_arrives_through_the_whole_system(make_system: MakeSystem, names: ServedZone) -> None:
    system = await made(make_system)
    address = loopback_address()
    # An address and no MX, as a Service of Kubernetes has in the cluster's DNS (RFC 5321, 5.1).
    names.add(DOMAIN, a=[address])

    status, printed = await probing(system, DOMAIN, f"{address}:{system.surroundings.mx_port}")

    assert status == 0, printed
    assert "accepted after" in printed
    assert "delivered after" in printed


async def test_a_probe_goes_over_starttls_and_insists_on_the_certificates_name(
    make_system: MakeSystem, names: ServedZone
) -> None:
    system = await make_system(
        {
            "ingress.listeners.2.relay_networks": [],
            "ingress.listeners.2.domains": [DOMAIN],
            "ingress.listeners.2.tls": "starttls",
            "ingress.listeners.2.require_tls": True,
        }
    )
    address = loopback_address()
    names.add(DOMAIN, a=[address])
    listen = f"{address}:{system.surroundings.mx_port}"
    # The server's own certificate, which somebody else has signed, as a Secret has it.
    trusted = f"--ca={system.surroundings.certificates.certificate_file}"

    status, printed = await probing(system, DOMAIN, listen, "--name=localhost", trusted)
    assert (status, "delivered after" in printed) == (0, True), printed

    for options, said in (
        (("--name=other.test", trusted), "Hostname mismatch"),
        (("--name=localhost",), "certificate verify failed"),
        ((), "530"),
    ):
        status, printed = await probing(system, DOMAIN, listen, *options)
        assert (status, said in printed) == (1, True), printed


async def test_a_probe_says_what_failed(make_system: MakeSystem, names: ServedZone) -> None:
    system = await made(make_system)

    status, printed = await probing(system, "elsewhere.test", f"127.0.0.1:{free_port()}")
    assert (status, "Relaying denied" in printed) == (1, True), printed

    names.add(DOMAIN, a=[loopback_address()])
    status, printed = await probing(system, DOMAIN, f"127.0.0.1:{free_port()}", within_s=2)
    assert (status, "not delivered" in printed) == (1, True), printed
