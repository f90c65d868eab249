"""A small authoritative DNS server on loopback, for the demo and the tests. It answers for every name there is.

`python -m jetpost.dns.authoritative --port 5353 --zone zone.json`, where the file maps names to nodes:
`{"dest.test": {"mx": [[10, "mx.dest.test"]]}, "mx.dest.test": {"a": ["127.0.0.2"]}, "mute.test": {"silent": true}}`
"""

import argparse
import asyncio
import errno
from collections import Counter
from pathlib import Path
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import msgspec
from dns.rdataclass import IN
from dns.rdatatype import RdataType

_UDP_BYTES = 512  # of a question without EDNS (RFC 1035, 4.2.1)
_PORT_DRAWS = 20
_STRING_BYTES = 255
_IDLE_S = 30
_SPECIAL = frozenset('"\\')
_SOA = "ns.invalid. hostmaster.invalid. 1 3600 600 86400"


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said about one name."""

    mx: tuple[tuple[int, str], ...] = ()
    """Preference and host; `(0, ".")` alone is the null MX (RFC 7505)."""
    a: tuple[str, ...] = ()
    aaaa: tuple[str, ...] = ()
    txt: tuple[str, ...] = ()
    ptr: tuple[str, ...] = ()
    """Names, of a node such as `1.2.0.192.in-addr.arpa`."""
    cname: str = ""
    ttl: int = 60
    """Seconds."""
    rcode: str = ""
    """Answered instead of records: SERVFAIL, REFUSED…"""
    silent: bool = False
    """Never answered."""

    def records(self, rdtype: RdataType) -> list[str]:
        """The records of a type as a zone file has them."""
        match rdtype:
            case RdataType.MX:
                return [f"{preference} {_absolute(exchange)}" for preference, exchange in self.mx]
            case RdataType.A:
                return list(self.a)
            case RdataType.AAAA:
                return list(self.aaaa)
            case RdataType.TXT:
                return [" ".join(f'"{_quoted(string)}"' for string in _strings(text)) for text in self.txt]
            case RdataType.PTR:
                return [_absolute(name) for name in self.ptr]
            case RdataType.CNAME:
                return [_absolute(self.cname)] if self.cname else []
            case _:
                return []


def _strings(text: str) -> list[str]:
    """The strings of a TXT record, 255 bytes each at most (RFC 1035, 3.3.14)."""
    return [text[begin : begin + _STRING_BYTES] for begin in range(0, max(len(text), 1), _STRING_BYTES)]


def _quoted(string: str) -> str:
    """As it stands between quotes in a zone file (RFC 1035, 5.1)."""
    return "".join(f"\\{ord(it):03}" if it < " " or it in _SPECIAL else it for it in string)


class Zone:
    """The names and what is said about them; may be changed while it is served."""

    def __init__(self, nodes: dict[str, Node] | None = None) -> None:
        self.negative_ttl = 60
        """Seconds for which "no such name" and "no such record" may be cached (the SOA's minimum)."""
        self.links_max = 16
        """CNAMEs followed in one answer; 0 leaves them to who asks, as some forwarders do."""
        self._nodes: dict[dns.name.Name, Node] = {}
        self._asked: Counter[tuple[dns.name.Name, int]] = Counter()
        for name, node in (nodes or {}).items():
            self._nodes[_name(name)] = node

    def add(self, name: str, **records: Any) -> None:
        """Say `records`, the fields of Node, about `name` instead of what was said before."""
        self._nodes[_name(name)] = msgspec.convert(records, Node)

    def fail(self, name: str, rcode: str = "SERVFAIL") -> None:
        """Answer every question about `name` with `rcode`."""
        self.add(name, rcode=rcode)

    def silent(self, name: str) -> None:
        """Answer no question about `name`."""
        self.add(name, silent=True)

    def remove(self, name: str) -> None:
        """Let `name` exist no longer."""
        self._nodes.pop(_name(name), None)

    def asked(self, name: str, rdtype: str = "") -> int:
        """How many questions came about `name`: of one type, or in all."""
        return sum(
            count
            for (asked, of), count in self._asked.items()
            if asked == _name(name) and rdtype in ("", RdataType.to_text(of))
        )

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """The response to `query`, CNAMEs followed; None: say nothing."""
        question = query.question[0]
        self._asked[question.name, question.rdtype] += 1
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        name, rdtype, node = question.name, question.rdtype, self._nodes.get(question.name)
        for _ in range(self.links_max):
            if node is None or not node.cname or rdtype == RdataType.CNAME:
                break
            response.answer.append(_rrset(name, node, RdataType.CNAME))
            name = _name(node.cname)
            node = self._nodes.get(name)
        if node is None:
            response.set_rcode(self._absence(name))
        elif node.silent:
            return None
        elif node.rcode:
            response.set_rcode(dns.rcode.from_text(node.rcode))
        elif node.cname or node.records(rdtype):
            response.answer.append(_rrset(name, node, RdataType.CNAME if node.cname else rdtype))
            return response
        soa = f"{_SOA} {self.negative_ttl}"
        response.authority.append(dns.rrset.from_text(dns.name.root, self.negative_ttl, IN, RdataType.SOA, soa))
        return response

    def _absence(self, name: dns.name.Name) -> dns.rcode.Rcode:
        """What to say of a name without a node: one with names below it exists (RFC 8020, 2)."""
        below = any(other.is_subdomain(name) for other in self._nodes)
        return dns.rcode.NOERROR if below else dns.rcode.NXDOMAIN


class NameServer:
    """Serves a zone over UDP and TCP on one port, between `start` and `aclose`."""

    def __init__(self, zone: Zone, host: str = "127.0.0.1", port: int = 0) -> None:
        self.zone = zone
        self.host = host
        self.port = port
        """0 until `start` has found a free one."""
        self._datagrams: asyncio.DatagramTransport | None = None
        self._streams: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """`ip:port`, as the resolver's configuration wants it."""
        return f"{self.host}:{self.port}"

    async def start(self) -> Self:
        """Listen. OSError when the port, or every port drawn, is taken."""
        for drawn in range(_PORT_DRAWS):
            self._streams = await asyncio.start_server(self._converse, self.host, self.port)
            port = self._streams.sockets[0].getsockname()[1]
            try:
                self._datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Datagrams(self.zone), local_addr=(self.host, port)
                )
            except OSError as error:
                # Free for TCP does not mean free for UDP.
                self._streams.close()
                if self.port or error.errno != errno.EADDRINUSE or drawn == _PORT_DRAWS - 1:
                    raise
            else:
                self.port = port
                break
        return self

    async def aclose(self) -> None:
        """Stop listening."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            self._streams.close()
            await self._streams.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_IDLE_S):
                while True:
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    if wire := respond(self.zone, await reader.readexactly(length), limit=65535):
                        writer.write(len(wire).to_bytes(2, "big") + wire)
                        await writer.drain()
        except (OSError, EOFError):  # time-outs are OSErrors
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # as documented
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if wire := respond(self._zone, data):
            self._transport.sendto(wire, addr)


def respond(zone: Zone, wire: bytes, limit: int = 0) -> bytes:
    """The response in `limit` bytes (0: what a datagram may have), truncated if need be; empty: say nothing."""
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return b""
    if not query.question:
        return b""
    response = zone.answer(query)
    if response is None:
        return b""
    return response.to_wire(max_size=limit or max(query.payload, _UDP_BYTES), prefer_truncation=True)


def _rrset(name: dns.name.Name, node: Node, rdtype: RdataType) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, node.ttl, IN, rdtype, *node.records(rdtype))


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text.lower())


def _absolute(name: str) -> str:
    return f"{name.removesuffix('.')}."


async def _serve(zone: Zone, host: str, port: int) -> None:
    server = await NameServer(zone, host, port).start()
    print(f"listening on {server.address}", flush=True)  # noqa: T201 — whoever started it waits for this line
    try:
        await asyncio.Event().wait()
    finally:
        await server.aclose()


def main() -> None:
    """Serve a zone file until killed."""
    parser = argparse.ArgumentParser(description="Authoritative DNS on loopback, for demo and tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; it is printed")
    parser.add_argument("--zone", type=Path, required=True, help="JSON: names and what is said about them")
    arguments = parser.parse_args()
    zone = Zone(msgspec.json.decode(arguments.zone.read_bytes(), type=dict[str, Node]))
    asyncio.run(_serve(zone, arguments.host, arguments.port))


if __name__ == "__main__":
    main()
