"""The addresses that mail leaves from: reverse DNS, and the name in EHLO."""

import socket
from ipaddress import ip_address

from jetpost.dns.answer import Failed, Found
from jetpost.dns.resolver import Resolver
from jetpost.doctor.finding import Finding, error, ok, skipped, unchecked, warning
from jetpost.doctor.records import address_line, ptr_line, spf_line
from jetpost.sender.spf.evaluate import check_host
from jetpost.sender.spf.record import Result

_DOCUMENTATION = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_DISCARD_PORT = 9


def addresses_of_this_machine() -> tuple[str, ...]:
    """The local addresses of connections to elsewhere, as the routing table has them. Nothing is sent."""
    found: list[str] = []
    for family, elsewhere in _DOCUMENTATION.items():
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, _DISCARD_PORT))
                found.append(probe.getsockname()[0].partition("%")[0])
        except OSError:
            continue
    return tuple(found)


def is_public(address: str) -> bool:
    """Whether receivers may see this address: else a NAT has another one."""
    return ip_address(address).is_global


async def check_address(resolver: Resolver, address: str, hostname: str) -> list[Finding]:
    """Whether the names of an egress address lead back to it, and are our own."""
    answer = await resolver.ptr(address)
    if isinstance(answer, Failed):
        first = unchecked("reverse-dns", address, f"PTR cannot be looked up: {answer.why}")
        return [first, *await _check_name(resolver, address, hostname, ())]
    names = answer.records if isinstance(answer, Found) else ()
    if not names:
        publish = (ptr_line(address, hostname), address_line(hostname, address)) if "." in hostname else ()
        return [
            error("reverse-dns", address, "there is no PTR record", publish=publish),
            *await _check_name(resolver, address, hostname, ()),
        ]
    told = {name: await _leads_to(resolver, name, address) for name in names}
    confirmed = [name for name, leads in told.items() if leads is True]
    failed = next((f"{name}: {it.why}" for name, it in told.items() if isinstance(it, Failed)), "")
    if not confirmed and failed:
        first = unchecked("reverse-dns", address, f"its name cannot be looked up: {failed}")
    elif not confirmed:
        found = f"its name {names[0]} does not resolve to it"
        first = error(
            "reverse-dns", address, found, "Publish the address of that name.", (address_line(names[0], address),)
        )
    else:
        first = ok("reverse-dns", address, f"its name is {confirmed[0]}, which resolves to it")
    return [first, *await _check_name(resolver, address, hostname, tuple(confirmed))]


async def _check_name(resolver: Resolver, address: str, hostname: str, names: tuple[str, ...]) -> list[Finding]:
    about = f"{hostname} from {address}"
    if "." not in hostname:
        found = "the name is not fully qualified, and some receivers refuse EHLO with it (RFC 5321, 2.3.5)"
        return [error("ehlo-name", about, found, "Set `hostname` to a name that DNS knows.")]
    leads = await _leads_to(resolver, hostname, address)
    if isinstance(leads, Failed):
        return [unchecked("ehlo-name", about, f"the name cannot be looked up: {leads.why}")]
    if not leads:
        publish = (address_line(hostname, address),)
        return [warning("ehlo-name", about, "the name does not resolve to the address", publish=publish)]
    if names and hostname.lower() not in names:
        return [warning("ehlo-name", about, f"the PTR record has another name: {names[0]}")]
    return [ok("ehlo-name", about, "the name resolves to the address, and is its name")]


async def check_spf_of_name(resolver: Resolver, address: str, hostname: str) -> list[Finding]:
    """Whether SPF passes for DSNs."""
    about = f"{hostname} from {address}"
    if "." not in hostname:
        return [skipped("spf-ehlo", about, "the name is not fully qualified")]
    verdict = await check_host(resolver, address, hostname)
    found = f"{verdict.result}: {verdict.why}"
    if verdict.result is Result.PASS:
        return [ok("spf-ehlo", about, found)]
    if verdict.result is Result.TEMPERROR:
        return [unchecked("spf-ehlo", about, found)]
    publish = (spf_line(hostname, "", (address,)),) if verdict.result is Result.NONE else ()
    return [warning("spf-ehlo", about, found, publish=publish)]


async def _leads_to(resolver: Resolver, name: str, address: str) -> bool | Failed:
    wanted = ip_address(address)
    answer = await (resolver.a(name) if wanted.version == 4 else resolver.aaaa(name))
    if isinstance(answer, Failed):
        return answer
    return isinstance(answer, Found) and wanted in map(ip_address, answer.records)


def unknown_egress(addresses: tuple[str, ...]) -> Finding:
    """Nobody told us the public address."""
    which = f"{', '.join(addresses)} is private, so a NAT has the address that receivers see" if addresses else "none"
    return skipped("egress", which, "not checked: name the public address with --from-ip")
