"""The resolver of the mail path: answers as values, kept for their TTL, each question asked once at a time."""

import asyncio
import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Annotated, Any, Self, TypeVar, assert_never

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.resolver
from dns.rdatatype import RdataType
from prometheus_client import Counter, Histogram
from pydantic import Field, field_validator, model_validator

from jetpost.config.section import Section
from jetpost.dns.answer import Answer, Failed, Found, MxRecord, NoData, NoDomain
from jetpost.dns.cache import Cache, Question
from jetpost.dns.nameserver import Nameserver
from jetpost.reason import reason_of

LOOKUPS = Counter(
    "jetpost_dns_lookups_total",
    "DNS queries sent to name servers. Labels: `answer` is found, no_data, no_domain, failed or timed_out.",
    ["answer"],
)
CACHE_HITS = Counter("jetpost_dns_cache_hits_total", "DNS queries answered from the cache.")
SECONDS = Histogram("jetpost_dns_lookup_seconds", "Time until a name server answered a DNS query.")

_PORT = 53
_WITH_PORT = re.compile(r"(?:\[(?P<ipv6>[^]]+)\]|(?P<ipv4>[^:]+)):(?P<port>[0-9]+)")
_PAYLOAD_BYTES = 1232  # what passes every path without fragments; longer answers come over TCP
_LINKS_MAX = 8
_RECORDS_MOST = 256
"""Records kept of an answer, in their order: of MX records the best."""

T = TypeVar("T", MxRecord, str)


class Dns(Section):
    """How names are looked up."""

    nameservers: tuple[str, ...] = ()
    """Name servers to ask, in order: `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`. Empty:
    those of /etc/resolv.conf. They must resolve recursively."""
    timeout_s: Annotated[float, Field(gt=0)] = 3
    """How long one name server may take before the next one is asked."""
    lifetime_s: Annotated[float, Field(gt=0)] = 10
    """How long a question may take in all; afterwards the mail that needs the answer is deferred."""
    lookups_max: Annotated[int, Field(ge=1)] = 256
    """Questions under way at once; each holds a socket. Further ones wait, within their `lifetime_s`."""
    cache_size: Annotated[int, Field(ge=0)] = 50_000
    """Answers kept in memory, about 500 bytes each."""
    ttl_min_s: Annotated[float, Field(ge=0)] = 5
    """Answers are kept this long even if their TTL is shorter: a TTL of 0 must not mean a question a message."""
    ttl_max_s: Annotated[float, Field(ge=0)] = 3600
    """Answers are not kept longer than this, whatever their TTL: a mistake in somebody's zone ends here too."""
    failure_ttl_s: Annotated[float, Field(ge=0, le=300)] = 5
    """How long a failed look-up is remembered (RFC 9520, 3.2: at least 1 s, at most 5 minutes)."""

    @field_validator("nameservers")
    @classmethod
    def _are_addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            parse_nameserver(server)
        return servers

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ttl_min_s > self.ttl_max_s:
            raise ValueError("ttl_min_s must not exceed ttl_max_s")
        return self


def parse_nameserver(text: str) -> tuple[str, int]:
    """Address and port of a name server; ValueError when `text` is no IP address with an optional port."""
    found = _WITH_PORT.fullmatch(text)
    host, port = (found["ipv6"] or found["ipv4"], int(found["port"])) if found else (text, _PORT)
    if not 0 < port < 65536:
        raise ValueError(f"{port} is no port")
    return str(ip_address(host)), port


def servers_of(settings: Dns) -> tuple[str, ...]:
    """The name servers that are asked, each with its port, as `nameservers` takes them."""
    asked = map(_address, _stub(settings).nameservers)
    return tuple(dict.fromkeys(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in asked))


class Resolver:
    """Asks the configured name servers. Look-ups never raise and never outlast `lifetime_s`.

    Close it with `aclose` after its last user has gone.
    """

    def __init__(self, settings: Dns) -> None:
        self._settings = settings
        self._cache = Cache(settings.cache_size)
        self._flights: dict[Question, asyncio.Task[Answer[Any]]] = {}
        self._slots = asyncio.Semaphore(settings.lookups_max)
        self._stub = _stub(settings)

    async def mx(self, name: str) -> Answer[MxRecord]:
        """The MX records of the domain `name`."""
        return await self._ask(name, RdataType.MX, lambda mx: MxRecord(mx.preference, _text(mx.exchange)))

    async def a(self, name: str) -> Answer[str]:
        """The IPv4 addresses of the host `name`."""
        return await self._ask(name, RdataType.A, lambda a: str(a.address))

    async def aaaa(self, name: str) -> Answer[str]:
        """The IPv6 addresses of the host `name`."""
        return await self._ask(name, RdataType.AAAA, lambda aaaa: str(aaaa.address))

    async def txt(self, name: str) -> Answer[str]:
        """The TXT records of `name`, the strings of each joined (RFC 7208, 3.3; RFC 6376, 3.6.2.2)."""
        return await self._ask(name, RdataType.TXT, lambda txt: b"".join(txt.strings).decode("utf-8", "replace"))

    async def ptr(self, address: str) -> Answer[str]:
        """The names of the IP `address`, in lower case without the final dot (RFC 1035, 3.5; RFC 3596, 2.5)."""
        return await self._ask(ip_address(address).reverse_pointer, RdataType.PTR, lambda ptr: _text(ptr.target))

    async def addresses(self, name: str) -> tuple[Answer[str], Answer[str]]:
        """The IPv4 and IPv6 addresses of the host `name`, asked for at the same time; from the cache without a task."""
        now = time.monotonic()
        asked = name.lower().removesuffix(".")
        ipv4_kept = self._cache.get((asked, int(RdataType.A)), now)
        ipv6_kept = self._cache.get((asked, int(RdataType.AAAA)), now)
        if ipv4_kept is not None and ipv6_kept is not None:
            CACHE_HITS.inc(2)
            return ipv4_kept, ipv6_kept
        async with asyncio.TaskGroup() as tasks:
            ipv4, ipv6 = tasks.create_task(self.a(name)), tasks.create_task(self.aaaa(name))
        return ipv4.result(), ipv6.result()

    async def aclose(self) -> None:
        """Give up what is under way and wait for its end."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _ask(self, name: str, rdtype: RdataType, read: Callable[[Any], T]) -> Answer[T]:
        question = (name.lower().removesuffix("."), int(rdtype))
        kept = self._cache.get(question, time.monotonic())
        if kept is not None:
            CACHE_HITS.inc()
            return kept
        flight = self._flights.get(question)
        if flight is None:
            flight = asyncio.create_task(self._look_up(question, read), name=f"dns {question[0]}")
            self._flights[question] = flight
            flight.add_done_callback(lambda _: self._flights.pop(question))
        # Others may wait for the same answer: who gives up waiting does not take it from them.
        return await asyncio.shield(flight)

    async def _look_up(self, question: Question, read: Callable[[Any], T]) -> Answer[T]:
        with SECONDS.time():
            answer = await self._answer(question, read)
        LOOKUPS.labels(_kind(answer)).inc()
        self._cache.put(question, answer, time.monotonic() + self._keep_s(answer))
        return answer

    def _keep_s(self, answer: Answer[Any]) -> float:
        if isinstance(answer, Failed):
            return self._settings.failure_ttl_s
        return min(max(answer.ttl_s, self._settings.ttl_min_s), self._settings.ttl_max_s)

    async def _answer(self, question: Question, read: Callable[[Any], T]) -> Answer[T]:
        """The one place where the library's exceptions become values."""
        try:
            name = dns.name.from_text(question[0], idna_codec=dns.name.IDNA_2008_Practical)
        except (dns.exception.DNSException, UnicodeError):
            return NoDomain(self._settings.ttl_max_s)
        try:
            async with asyncio.timeout(self._settings.lifetime_s), self._slots:
                return await self._follow(name, RdataType(question[1]), read)
        except dns.resolver.NXDOMAIN as error:
            (response,) = error.kwargs["responses"].values()  # of the one name asked for, at the end of its CNAMEs
            return NoDomain(_negative_ttl_s(response), _is_secure(response))
        except (TimeoutError, dns.exception.Timeout):
            return Failed(f"no answer within {self._settings.lifetime_s:g} s", timed_out=True)
        except dns.resolver.NoNameservers as error:
            return Failed(complaint(error))
        except dns.exception.DNSException as error:
            return Failed(reason_of(error))

    async def _follow(self, name: dns.name.Name, rdtype: RdataType, read: Callable[[Any], T]) -> Answer[T]:
        """Ask for `name`, and again for where its CNAME leads if the name server left that to us."""
        ttl_s, secure = self._settings.ttl_max_s, True
        for _ in range(_LINKS_MAX):
            heard = await self._stub.resolve(name, rdtype, raise_on_no_answer=False, search=False)
            self._prefer(heard)
            secure = secure and _is_secure(heard.response)
            ttl_s = min(ttl_s, heard.chaining_result.minimum_ttl)
            if heard.rrset is not None:
                return Found(tuple(sorted(map(read, heard.rrset))[:_RECORDS_MOST]), ttl_s, secure)
            if heard.canonical_name == name or _soas(heard.response):
                return NoData(min(ttl_s, _negative_ttl_s(heard.response)), secure)
            name = heard.canonical_name
        return Failed(f"more than {_LINKS_MAX} CNAMEs in a row")

    def _prefer(self, heard: dns.resolver.Answer) -> None:
        """Ask first, next time, who answered now: a dead name server costs one time-out, not one a question."""
        answered = (heard.nameserver, heard.port)
        self._stub.nameservers = sorted(self._stub.nameservers, key=lambda server: _address(server) != answered)


def _stub(settings: Dns) -> dns.asyncresolver.Resolver:
    stub = dns.asyncresolver.Resolver(configure=not settings.nameservers)
    servers = settings.nameservers or map(str, stub.nameservers)
    stub.nameservers = [Nameserver(*parse_nameserver(server)) for server in servers]
    stub.timeout, stub.lifetime = settings.timeout_s, settings.lifetime_s
    stub.set_flags(dns.flags.RD | dns.flags.AD)  # AD asks to be told of DNSSEC validation (RFC 6840, 5.7)
    stub.use_edns(0, 0, _PAYLOAD_BYTES)
    return stub


def _address(server: Any) -> tuple[str, int]:
    return server.address, server.port


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


def _is_secure(response: dns.message.Message) -> bool:
    return bool(response.flags & dns.flags.AD)


def _soas(response: dns.message.Message) -> list[float]:
    return [min(rrset.ttl, rrset[0].minimum) for rrset in response.authority if rrset.rdtype == RdataType.SOA]


def _negative_ttl_s(response: dns.message.Message) -> float:
    """How long "there is none" holds (RFC 2308, 5): as the SOA says; without a SOA not at all."""
    return min(_soas(response), default=0)


def complaint(error: dns.resolver.NoNameservers) -> str:
    """What is wrong with each name server, in words."""
    complaints = [
        f"name server {_named(str(server))}: {_said(what)}" for server, _, _, what, _ in error.kwargs["errors"]
    ]
    return "; ".join(dict.fromkeys(complaints)) or "no name server answers"


def _said(what: Exception | str) -> str:
    if isinstance(what, OSError) and what.strerror:
        return what.strerror
    return reason_of(what) if isinstance(what, Exception) else what


def _named(server: str) -> str:
    """`Do53:192.0.2.1@53`, as dnspython writes it, for people."""
    address, _, port = server.removeprefix("Do53:").rpartition("@")
    return f"{address} port {port}"


def _kind(answer: Answer[Any]) -> str:
    match answer:
        case Found():
            return "found"
        case NoData():
            return "no_data"
        case NoDomain():
            return "no_domain"
        case Failed(timed_out=timed_out):
            return "timed_out" if timed_out else "failed"
        case _:
            assert_never(answer)
