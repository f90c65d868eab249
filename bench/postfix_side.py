"""Postfix, tuned for this load: no limit that matters, no look-up, nothing on the way that Jetpost does not do."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import psutil

from bench.destination import NAME, PASSWORD, USER
from bench.opendkim import signing
from bench.postfix import Postfix
from bench.side import Destination, Phase, Way

_TUNED = {
    # Accept as fast as possible, whatever the queue manager does.
    "in_flow_delay": "0s",
    "smtpd_client_connection_count_limit": "0",
    # Processes are not replaced while it runs (default: after 100 sessions).
    "max_use": "100000",
    "smtputf8_enable": "no",
    # As many connections to the one destination as Jetpost makes, from the start; reused on demand (the default).
    "initial_destination_concurrency": "20",
    "smtp_destination_concurrency_limit": "20",
}
# Accepted mail is fsynced into the queue and stays there: the queue manager does not even look at it.
_HOLD = {"smtpd_data_restrictions": "check_client_access static:HOLD"}


class PostfixSystem:
    """A running Postfix and its processes."""

    def __init__(self, postfix: Postfix, queue: Path, milters: Mapping[int, str]) -> None:
        """`milters` are other processes that it needs."""
        self._milters = milters
        self.host = postfix.host
        self.port = postfix.port
        self._master = psutil.Process(postfix.pid)
        self._queue = queue

    def processes(self) -> dict[int, str]:
        """The master and its children, by program, and its milters."""
        own = {process.pid: process.name() for process in (self._master, *self._master.children(recursive=True))}
        return {**own, **self._milters}

    async def queued(self) -> int:
        """Files in its queue."""
        folders = ("incoming", "active", "deferred", "hold")
        return sum(1 for folder in folders for file in (self._queue / folder).rglob("*") if file.is_file())


_VERIFIED = {
    "smtp_tls_security_level": "secure",
    "smtp_tls_secure_cert_match": NAME,
    "smtp_tls_connection_reuse": "yes",
}
_AUTHENTICATED = {
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_security_options": "noanonymous",
    "smtp_sasl_mechanism_filter": "plain",
}


@asynccontextmanager
async def postfix(folder: Path, phase: Phase, sink: Destination) -> AsyncIterator[PostfixSystem]:
    """Postfix as a relay to the sink."""
    nexthop = f"[{sink.host}]:{sink.port}"
    parameters = {**_TUNED, "relayhost": nexthop, **(_HOLD if phase is Phase.ACCEPTANCE else {})}
    if sink.way in (Way.TLS, Way.AUTH):
        parameters |= {**_VERIFIED, "smtp_tls_CAfile": str(sink.ca_file)}
    if sink.way is Way.AUTH:
        passwords = f"inline:{{ {{ {nexthop} = {USER}:{PASSWORD} }} }}"
        parameters |= {**_AUTHENTICATED, "smtp_sasl_password_maps": passwords}
    async with signing(folder) if sink.way is Way.DKIM else nullcontext() as opendkim:
        if opendkim is not None:
            parameters |= {"smtpd_milters": f"inet:127.0.0.1:{opendkim.port}", "milter_default_action": "tempfail"}
        instance = Postfix(folder, parameters)
        await asyncio.to_thread(instance.start)
        try:
            yield PostfixSystem(instance, folder / "queue", {opendkim.pid: "opendkim"} if opendkim else {})
        finally:
            await asyncio.to_thread(instance.stop)
