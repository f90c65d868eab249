"""`jetpost route explain`: which route a message would take, to which hosts, on what terms. Nothing is sent."""

import asyncio
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from jetpost.cli.config.signing import signing
from jetpost.cli.reach import DATA, ConfigOption, DataOption, settings_for
from jetpost.cli.terminal import visible
from jetpost.config.load import SECTIONS, Settings
from jetpost.dns.resolver import Dns, Resolver
from jetpost.mail.address import domain_of, path
from jetpost.telemetry.log import Log, configure

_EXPLAINER = "delivery.route.explain:Explainer"
"""By its name, as the command line imports no service."""

route_app = typer.Typer(no_args_is_help=True, add_completion=False)


@route_app.callback()
def route() -> None:
    """Show which route a message takes, and to which hosts."""


@route_app.command()
def explain(  # noqa: PLR0913 — the options of a command
    recipient: Annotated[str, typer.Argument(metavar="RECIPIENT", help="The recipient's address.")],
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The reverse-path. Default: null.")] = "",
    identity: Annotated[str, typer.Option("--identity", metavar="USER", help="Who authenticated.")] = "",
    listener: Annotated[str, typer.Option("--listener", metavar="NAME", help="The listener that accepted it.")] = "",
    size: Annotated[int, typer.Option("--size", metavar="BYTES", help="Bytes of the content.", min=0)] = 0,
    header_from: Annotated[
        str, typer.Option("--header-from", metavar="ADDRESS", help="The author (From field). Default: --from.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    *,
    config: ConfigOption = None,
    data: DataOption = DATA,
) -> None:
    """Say which route a message to RECIPIENT would take: its hosts, their addresses in DNS, TLS and credentials.

    It also says the limits of the route, and which DKIM keys sign. Ingress signs what it accepts from clients that may
    send anywhere, and the bouncer signs DSNs.
    """
    _insist_on_address(recipient, "RECIPIENT")
    if sender.strip("<>"):
        _insist_on_address(sender.strip("<>"), "--from")
    if header_from.strip("<>"):
        _insist_on_address(header_from.strip("<>"), "--header-from")
    author = header_from.strip("<>") or sender.strip("<>")
    asked = {"sender": sender.strip("<>"), "identity": identity, "listener": listener, "size": size}
    configure("jetpost", Log(), silent=True)
    settings = settings_for(config, data, "delivery", "dns")
    told = asyncio.run(_explained(settings, recipient, asked))
    told["signing"] = signing(config, data, settings.of(Dns), domain_of(author) if author else "")
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for line in lines(told):
        typer.echo(visible(line))


async def _explained(settings: Settings, recipient: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    delivery: Any = settings.of(pkgutil.resolve_name(SECTIONS["delivery"]))
    resolver = Resolver(settings.of(Dns))
    try:
        explainer = pkgutil.resolve_name(_EXPLAINER)(
            delivery.routes, delivery.route, delivery.attempt.terms, hostname=settings.hostname, resolver=resolver
        )
        told: dict[str, Any] = await explainer.explain(recipient, **asked)
        return told | {"limits": _limits(delivery, told["connections"])}
    finally:
        await resolver.aclose()


def _limits(delivery: Any, connections: int | None) -> dict[str, Any]:
    """What one delivery process keeps to; what the hosts announce (SIZE, LIMITS) is known when they are connected."""
    lanes, attempt, backoff = delivery.lanes, delivery.attempt, delivery.backoff
    return {
        "connections": connections,
        "connections_per_domain": lanes.connections_per_domain,
        "messages_per_connection": attempt.messages_per_connection,
        "recipients_per_transaction": attempt.recipients_per_transaction,
        "backoff_first_s": backoff.first_s,
        "backoff_cap_s": backoff.cap_s,
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The answer for people, a fact a line."""
    route = told["route"]
    yield f"route      {route or 'none matches: to the MX hosts of the domain'}"
    if told["not_matched"]:
        yield f"passed by  {', '.join(told['not_matched'])}"
    yield from _way(told)
    if "fallback" in told:
        yield "fallback, while no host of the route can be reached:"
        yield from (f"  {line}" for line in _way(told["fallback"]))
    if "tls" in told:
        yield from _bounds(told["limits"], routed=route is not None)
    yield from _signatures(told["signing"])


def _bounds(limits: Mapping[str, Any], *, routed: bool) -> Iterator[str]:
    domain = f"{limits['connections_per_domain']} of a domain"
    most = f"{limits['connections']} of the route, {domain}" if limits["connections"] else domain
    yield f"limits     attempts at a time in a process: {most}"
    yield (
        f"limits     {limits['messages_per_connection']} messages of a connection, "
        f"{limits['recipients_per_transaction']} recipients of a transaction, or fewer as the host announces (LIMITS)"
    )
    if routed:
        first_s, cap_s = limits["backoff_first_s"], limits["backoff_cap_s"]
        yield f"back-off   {first_s:g} s, up to {cap_s:g} s, while hosts throttle it"


def _signatures(signing: Mapping[str, Any]) -> Iterator[str]:
    for key in signing["keys"]:
        yield f"signed by  {key['selector']}._domainkey.{key['domain']} ({key['algorithm']})"
    if signing["why"]:
        yield f"signed by  no key: {signing['why']}"


def _way(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"action     {told['kind']}"
    yield f"result     {told['result']}"
    for number, host in enumerate(told.get("hosts", ()), 1):
        yield f"host {number:<5} {host['host']} port {host['port']}: {', '.join(host['addresses'])}"
    for reason in told.get("left_out", ()):
        yield f"left out   {reason}"
    if "tls" in told:
        credentials = told["credentials"]
        yield f"TLS        {told['tls']}, {told['verified']}"
        yield f"login      {_login(credentials)}" if credentials else "login      none"
        if told["pins"]:
            yield f"pins       {', '.join(told['pins'])}"
        if told["client_certificate"]:
            yield f"shows      {told['client_certificate']}"
        yield f"source     {told['source']}"
        yield f"protocol   {told['protocol']}"


def _login(credentials: Mapping[str, Any]) -> str:
    said = f"{credentials['name']} (user {credentials['user']}), {' or '.join(credentials['mechanisms'])}"
    return f"{said}, access tokens from {credentials['issuer']}" if "issuer" in credentials else said


def _insist_on_address(address: str, where: str) -> None:
    found = path(f"<{address}>")
    if found is None or found[1] or not found[0].domain:
        raise typer.BadParameter(f"must be an address such as bob@example.org, got {address!r}", param_hint=where)
