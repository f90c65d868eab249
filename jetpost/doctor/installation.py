"""What can be said of this installation: certificate, nats-servers, clock, ports and upstreams, as findings."""

import asyncio
import pkgutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from jetpost.config.refused import Unsafe
from jetpost.dns.answer import Failed, Found
from jetpost.dns.resolver import Resolver
from jetpost.doctor.finding import Finding, error, ok, skipped, unchecked, warning
from jetpost.jetstream.connection import JetStream, connected
from jetpost.jetstream.errors import ApiError, Unreachable
from jetpost.jetstream.settings import Nats
from jetpost.jetstream.streams import about, stream_names
from jetpost.process.remarks import exposed, faults_of, remarks_of
from jetpost.queue.clock.clock import Clock
from jetpost.queue.provision.durability import Durability
from jetpost.queue.provision.monitoring import Facts, Silent, ask
from jetpost.queue.provision.settings import QueueSettings
from jetpost.queue.provision.stream import CONTENT_STREAM, is_shard
from jetpost.reason import reason_of

CONNECT_S = 5.0
_TRY_HOSTS = "delivery.trial.upstream:try_hosts"
"""By its name, as `jetpost` imports no service."""
_SOON = timedelta(days=14)
_MUCH_PERCENT = 80
_MOST_HOSTS = 4
_GREETING_BYTES = 2048


async def check_certificate(file: Path, hostname: str, now: datetime | None = None) -> list[Finding]:
    """Whether the certificate of the listeners is valid now and soon, and has the `hostname`."""
    leaf = x509.load_pem_x509_certificates(await asyncio.to_thread(file.read_bytes))[0]
    now, until = now or datetime.now(UTC), leaf.not_valid_after_utc
    told = f"{until:%Y-%m-%d %H:%M} UTC"
    if until <= now:
        findings = [error("certificate", str(file), f"it expired at {told}")]
    elif leaf.not_valid_before_utc > now:
        findings = [error("certificate", str(file), f"it is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}")]
    elif until - now < _SOON:
        findings = [warning("certificate", str(file), f"it expires at {told}")]
    else:
        findings = [ok("certificate", str(file), f"valid until {told}")]
    names = _names(leaf)
    if not any(_covers(name, hostname.lower()) for name in names):
        listed = ", ".join(names[:10]) or "none"
        findings.append(warning("certificate", str(file), f"{hostname} is not among its names: {listed}"))
    return findings


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


def _covers(pattern: str, name: str) -> bool:
    """A name, or one with an asterisk as its first label (RFC 9525, 6.3)."""
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


async def check_nats(nats: Nats, queue: QueueSettings) -> list[Finding]:
    """Whether the nats-servers keep what they are given, with room for more, and agree with our clock."""
    try:
        async with connected(nats, "jetpost doctor", patience_s=CONNECT_S) as jetstream:
            found = [
                await _durability(jetstream, queue),
                *await _replicas(jetstream, queue),
                *await _storage(jetstream, queue),
                await _clock(jetstream, queue),
            ]
    except Unreachable as away:
        return [error("nats", ", ".join(nats.servers), reason_of(away))]
    except ApiError as refused:
        return [error("nats", ", ".join(nats.servers), f"JetStream refuses to answer: {reason_of(refused)}")]
    return found


async def _durability(jetstream: JetStream, queue: QueueSettings) -> Finding:
    servers = ", ".join(jetstream.settings.servers)
    strict = queue.model_copy(update={"allow_unsafe_durability": False})
    try:
        await Durability(jetstream, strict).establish()
    except Unsafe as doubt:
        return error("nats", servers, reason_of(doubt))
    except Unreachable as silent:
        return unchecked("nats", servers, reason_of(silent), "Correct `nats.monitoring`, or start the servers.")
    return ok("nats", servers, "connected; it fsyncs before it acknowledges")


async def _replicas(jetstream: JetStream, queue: QueueSettings) -> list[Finding]:
    names = [it for it in await stream_names(jetstream) if is_shard(it) or it == CONTENT_STREAM]
    if not names:
        mend = "Start the services: they make the streams."
        return [warning("replicas", "MAIL", "there are no streams yet", mend)]
    return [_replicas_of(name, await about(jetstream, name), queue.replicas) for name in sorted(names)]


def _replicas_of(name: str, told: dict[str, Any], wanted: int) -> Finding:
    count = int(told["config"]["num_replicas"])
    others = (told.get("cluster") or {}).get("replicas") or []
    behind = [str(it.get("name", "?")) for it in others if it.get("offline") or not it.get("current")]
    if count != wanted:
        mend = f"Set `queue.replicas` to {count}, or restart the services so that they raise the stream's."
        return warning("replicas", name, f"{count} replicas, but queue.replicas is {wanted}", mend)
    if behind:
        return warning("replicas", name, f"replicas that are away or behind: {', '.join(behind)}")
    return ok("replicas", name, f"{count} of {wanted} replicas are current")


async def _storage(jetstream: JetStream, queue: QueueSettings) -> list[Finding]:
    """How full the account is, and each server that can be asked."""
    account = await jetstream.api("INFO")
    used, limit = int(account.get("storage", 0)), int((account.get("limits") or {}).get("max_storage", -1))
    findings = [_filled("JetStream", used, limit, queue.max_bytes)] if limit > 0 else []
    urls = jetstream.settings.monitoring
    answers = await asyncio.gather(*(_server(url, jetstream.settings) for url in urls))
    findings += [
        _filled(url, it.stored, it.room, 0) for url, it in zip(urls, answers, strict=True) if it is not None and it.room
    ]
    return findings or [ok("storage", "JetStream", f"{used} bytes are stored; no limit is known")]


async def _server(url: str, nats: Nats) -> Facts | None:
    try:
        return await ask(url.rstrip("/"), nats)
    except Silent:
        return None


def _filled(where: str, used: int, limit: int, wanted: int) -> Finding:
    if limit < wanted:
        found = f"queue.max_bytes is {wanted}, more than the limit of {limit} bytes"
        return warning("storage", where, found)
    percent = 100 * used // limit
    found = f"{percent} % of {limit} bytes are stored"
    return warning("storage", where, found) if percent >= _MUCH_PERCENT else ok("storage", where, found)


async def _clock(jetstream: JetStream, queue: QueueSettings) -> Finding:
    clock = Clock(jetstream, queue)
    try:
        await clock.measure()
    except (Unreachable, ApiError) as silent:
        mend = "See whether the nats-servers answer."
        return unchecked("clock", "this machine", f"the servers' time cannot be asked: {reason_of(silent)}", mend)
    trouble = clock.trouble()
    return error("clock", "this machine", trouble) if trouble else ok("clock", "this machine", "as the servers' clocks")


def check_tls(delivery: Any) -> list[Finding]:
    """Whether mail to MX hosts may go out with TLS; `delivery` is None when its section cannot be used."""
    if delivery is None:
        return []
    usual = str(delivery.attempt.tls)
    of_routes = {it.name: str(it.action.tls or usual) for it in delivery.routes if it.action.kind == "mx"}
    without = [name for name, tls in {"delivery.attempt": usual, **of_routes}.items() if tls == "none"]
    if without:
        return [error("tls", ", ".join(without), "mail to MX hosts goes out without TLS")]
    return [ok("tls", "delivery.attempt", usual)]


async def check_upstreams(delivery: Any, resolver: Resolver, hostname: str, within_s: float) -> list[Finding]:
    """Whether the hosts of each route let us in."""
    told = await pkgutil.resolve_name(_TRY_HOSTS)(delivery, resolver, hostname, within_s=within_s)
    return [_upstream(it) for it in told] or [skipped("upstream", "routes", "no route has hosts")]


def _upstream(told: dict[str, Any]) -> Finding:
    is_socket = told["address"].startswith("/")
    about = f"{told['route']}: " + (told["address"] if is_socket else f"{told['host']} port {told['port']}")
    if told["failed_at"] == "dns" and not told["mend"]:
        return unchecked("upstream", about, f"dns: {told['why']}")
    if told["failed_at"]:
        return error("upstream", about, f"{told['failed_at']}: {told['why']}", told["mend"])
    who = f"authenticated as {told['user']}" if told["user"] else "without authentication"
    return ok("upstream", about, f"connected {'with' if told['tls'] else 'without'} TLS, {who}")


async def check_port(resolver: Resolver, domain: str, port: int) -> list[Finding]:
    """Whether the MX hosts of `domain` greet us."""
    answer = await resolver.mx(domain)
    if isinstance(answer, Failed):
        return [unchecked("port", f"{domain} port {port}", f"MX of {domain} cannot be looked up: {answer.why}")]
    hosts = [it.exchange for it in answer.records if it.exchange] if isinstance(answer, Found) else [domain]
    asking = [_greeted(resolver, host, port) for host in hosts[:_MOST_HOSTS]]
    told = list(zip(hosts, await asyncio.gather(*asking), strict=False))
    greeting = next((f"{host} said {said}" for host, (is_there, said) in told if is_there), None)
    if greeting is not None:
        return [ok("port", f"{domain} port {port}", greeting)]
    return [error("port", f"{domain} port {port}", "; ".join(f"{host}: {why}" for host, (_, why) in told))]


async def _greeted(resolver: Resolver, host: str, port: int) -> tuple[bool, str]:
    """Whether a host greets as SMTP does, and what it said, or why not."""
    found = [it.records[0] for it in await resolver.addresses(host) if isinstance(it, Found)]
    why = "it has no address"
    for address in found:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(address, port, limit=_GREETING_BYTES)
                try:
                    said = (await reader.readline()).decode("utf-8", "replace").strip()
                    writer.write(b"QUIT\r\n")
                finally:
                    writer.close()
        except (OSError, ValueError) as problem:  # TimeoutError is an OSError
            why = f"{address}: {reason_of(problem)}"
            continue
        if said.startswith("220"):
            return True, said
        why = f"{address} said {said or 'nothing'}"
    return False, why


def remarks(sections: Mapping[str, Any]) -> list[Finding]:
    """What the sections of the configuration say of themselves. Keys have findings of their own."""
    faults = [error("configuration", "files", fault) for fault in faults_of(sections)]
    told = remarks_of({name: section for name, section in sections.items() if name != "dkim"})
    if "dkim" in sections:
        told += exposed(sections["dkim"], "dkim")
    return [*faults, *(warning("remark", "configuration", remark) for remark in told)]
