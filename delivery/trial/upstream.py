"""Whether routes could be used: connect, TLS, AUTH and QUIT at their hosts. Nothing is sent.

The answers are mappings and texts: `jetpost doctor` finds this module by its name.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from delivery.config import Delivery
from delivery.connect.opening import OutOfFiles, Refusal
from delivery.connect.pool import Pool
from delivery.route.actions.kinds import ToHosts, ToLmtp, ToMx
from delivery.route.endpoint import Endpoint
from delivery.route.plan import locate
from delivery.route.rules import Facts, Table
from delivery.trial.mend import IN_DNS, MORE_TIME, OUR_FILES, Failure, mend
from jetpost.dns.answer import Failed, Found
from jetpost.dns.resolver import Resolver
from jetpost.mail.reply import Reply
from jetpost.reason import reason_of

_TYPICAL_RECIPIENT = "gmail.com"
_AT_ONCE = 8
_MOST_HOSTS = 64
_TIME_OF_CONNECTION = 0.9

Told = dict[str, Any]


class _Host(NamedTuple):
    route: str
    endpoint: Endpoint


def leaving(config: Delivery, domain: str) -> Told:
    """How mail of a sender `domain` to a large provider leaves: `route`, "" for none, its `kind`, and `sources`."""
    rule = Table(config.routes).first(Facts(_TYPICAL_RECIPIENT, domain, "", "", 10_000))
    usual = config.attempt.terms
    if rule is None:
        return {"route": "", "kind": "mx", "sources": [usual.source] if usual.source else []}
    if isinstance(rule.action, ToMx):
        source = rule.action.terms(usual).source
        return {"route": rule.name, "kind": "mx", "sources": [source] if source else []}
    return {"route": rule.name, "kind": rule.action.kind, "sources": []}


async def try_hosts(config: Delivery, resolver: Resolver, hostname: str, *, within_s: float) -> list[Told]:
    """What came of a connection to each host of each route; each within `within_s`."""
    located = [it async for it in _located(config, resolver)]
    hosts = [it for it in located if isinstance(it, _Host)][:_MOST_HOSTS]
    told = [it for it in located if isinstance(it, dict)]
    pool = Pool(config.attempt, hostname, len(hosts) + 1)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(host: _Host) -> Told:
        async with turns:
            return await _try(pool, host, within_s)

    try:
        return [*told, *await asyncio.gather(*map(one, hosts))]
    finally:
        await pool.aclose()


async def _try(pool: Pool, host: _Host, within_s: float) -> Told:
    endpoint = host.endpoint
    login = endpoint.terms.login
    told: Told = {"route": host.route, "host": endpoint.host, "port": endpoint.port, "address": endpoint.address}
    # Before the time-out, so that it is told how far the connection came.
    until = asyncio.get_running_loop().time() + within_s * _TIME_OF_CONNECTION
    try:
        async with asyncio.timeout(within_s):
            connection = await pool.connection(endpoint, until=until, fresh=True)
    except Refusal as refusal:
        failed = _failure(refusal, endpoint)
        return told | {"failed_at": failed.phase.value, "why": failed.why, "mend": mend(failed)}
    except TimeoutError:
        return told | {"failed_at": "connect", "why": f"no result within {within_s:g} s", "mend": MORE_TIME}
    except OutOfFiles as error:
        return told | {"failed_at": "connect", "why": reason_of(error), "mend": OUR_FILES}
    secure = connection.is_secure
    pool.keep(connection, endpoint)
    return told | {"failed_at": "", "why": "", "mend": "", "tls": secure, "user": login.user if login else ""}


def _failure(refusal: Refusal, endpoint: Endpoint) -> Failure:
    code = refusal.answer.code if isinstance(refusal.answer, Reply) else 0
    is_socket = endpoint.address.startswith("/")
    return Failure(refusal.phase, reason_of(refusal), code, endpoint.terms.implicit, is_socket)


async def _located(config: Delivery, resolver: Resolver) -> AsyncIterator[_Host | Told]:
    for name, action in _actions(config):
        terms = action.terms(name, config.attempt.terms.source)
        if isinstance(action, ToLmtp) and action.socket:
            yield _Host(name, Endpoint("localhost", action.socket, 0, terms))
            continue
        for it in await locate(action.hosts, resolver):
            port = it.host.port or action.usual_port
            answers = [answer for answer in (it.ipv4, it.ipv6) if isinstance(answer, Found)]
            if answers:
                yield _Host(name, Endpoint(it.host.host, answers[0].records[0], port, terms))
                continue
            failed = next((answer.why for answer in (it.ipv4, it.ipv6) if isinstance(answer, Failed)), "")
            dns = {"failed_at": "dns", "why": failed or "it has no address", "mend": "" if failed else IN_DNS}
            yield {"route": name, "host": it.host.host, "port": port, "address": "", **dns}


def _actions(config: Delivery) -> Iterator[tuple[str, ToHosts | ToLmtp]]:
    for rule in config.routes:
        for action in (rule.action, rule.fallback):
            if isinstance(action, ToHosts | ToLmtp):
                yield rule.name, action
