"""The ingress service: listen, talk, accept; when told to stop, drain."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from ingress.accept import Acceptance, SenderCheck
from ingress.auth.backend import Backend, mechanisms_of
from ingress.config import Ingress
from ingress.listen.connections import Connections
from ingress.listen.listener import listen
from ingress.session.command import LocalHost
from ingress.smtp.context import SessionContext
from ingress.smtp.ehlo import offers_of
from ingress.smtp.protocol import SmtpProtocol
from ingress.stages import STAGES
from jetpost.config.load import Settings
from jetpost.dns.resolver import Dns
from jetpost.process.context import service_context
from jetpost.process.dkim.settings import Dkim
from jetpost.process.run import Lifecycle
from jetpost.process.signing import Signer, signing
from jetpost.process.tls import Reloading
from jetpost.tasks import end
from jetpost.telemetry.log import logger

log = logger(__name__)


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Accept mail until told to stop; then drain."""
    config = settings.of(Ingress)
    for remark in config.remarks():
        log.warning("configuration", remark=remark)
    async with (
        service_context(settings, lifecycle, "ingress") as (_, queue, events),
        signing(settings.of(Dkim), settings.of(Dns)) as signer,
        _sender_check(config, settings, signer) as sender_check,
    ):
        acceptance = Acceptance(
            queue=queue,
            events=events,
            hostname=settings.hostname,
            limits=config.limits,
            stages=STAGES,
            now=queue.clock.now,
            monotonic=time.monotonic,
            entropy=lambda: random.getrandbits(42),
            signer=signer,
            sender_check=sender_check,
        )
        connections = Connections(config.limits)
        async with _open_doors(config, acceptance, connections):
            lifecycle.ready_when("queue", queue.trouble)
            await lifecycle.stopping.wait()
        log.info("draining", connections=connections.sessions, patience_s=config.drain_s)
        await connections.drain(config.drain_s)


@asynccontextmanager
async def _sender_check(
    config: Ingress, settings: Settings, signer: Signer | None
) -> AsyncIterator[SenderCheck | None]:
    """What checks senders while the block runs; None when that is off."""
    if config.sender_check.mode == "off":
        yield None
        return
    from ingress.verify.sender_check import sender_checker  # noqa: PLC0415 — off, it costs not even its import

    signs_for = signer.signs_for if signer is not None else lambda _: ()
    async with sender_checker(
        config.sender_check, settings.of(Dns), signs_for, time.monotonic, hostname=settings.hostname
    ) as checker:
        yield checker


@asynccontextmanager
async def _open_doors(config: Ingress, acceptance: Acceptance, connections: Connections) -> AsyncIterator[None]:
    """Listen everywhere while the block runs; afterwards nobody new gets in, and who is in may stay."""
    local_host = LocalHost(acceptance.hostname, config.postmaster)
    backends: list[Backend] = [settings.backend() for settings in config.auth.backends]
    async with AsyncExitStack() as open_doors:
        tls = None
        if config.tls is not None:
            reloading = Reloading(config.tls)
            watching = asyncio.create_task(reloading.run(), name="certificate")
            open_doors.push_async_callback(end, [watching])
            tls = reloading.context
        for listener in config.listeners:
            offers = offers_of(listener, mechanisms_of(backends))
            context = SessionContext(listener, local_host, config.limits, STAGES, acceptance, backends, offers)
            listening = listen(
                listener,
                partial(SmtpProtocol, context, connections, tls),
                connections,
                tls,
                reuse_port=config.reuse_port,
                handshake_s=config.limits.handshake_s,
            )
            await open_doors.enter_async_context(listening)
        yield
