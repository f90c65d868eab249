import dns.message
import dns.rcode
import pytest

from jetpost.dns.authoritative import Zone, respond


def asked(zone: Zone, name: str, rdtype: str) -> dns.message.Message:
    return dns.message.from_wire(respond(zone, dns.message.make_query(name, rdtype).to_wire()))


@pytest.fixture
def zone() -> Zone:
    zone = Zone()
    zone.add("dest.test", mx=[(10, "mx.dest.test")], txt=["v=spf1 -all"])
    zone.add("mx.dest.test", a=["127.0.0.2"], aaaa=["::1"], ttl=7)
    zone.add("alias.test", cname="mx.dest.test")
    zone.fail("broken.test")
    zone.silent("mute.test")
    return zone


@pytest.mark.parametrize(
    ("name", "rdtype", "records"),
    [
        ("dest.test", "MX", ["dest.test. 60 IN MX 10 mx.dest.test."]),
        ("DEST.test", "TXT", ['DEST.test. 60 IN TXT "v=spf1 -all"']),
        ("mx.dest.test", "A", ["mx.dest.test. 7 IN A 127.0.0.2"]),
        ("mx.dest.test", "AAAA", ["mx.dest.test. 7 IN AAAA ::1"]),
        ("alias.test", "A", ["alias.test. 60 IN CNAME mx.dest.test.", "mx.dest.test. 7 IN A 127.0.0.2"]),
        ("alias.test", "CNAME", ["alias.test. 60 IN CNAME mx.dest.test."]),
    ],
)
def test_what_is_said_about_a_name(zone: Zone, name: str, rdtype: str, records: list[str]) -> None:
    assert [rrset.to_text() for rrset in asked(zone, name, rdtype).answer] == records


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode"),
    [
        ("dest.test", "A", "NOERROR"),
        ("test", "A", "NOERROR"),  # something lies below it
        ("nowhere.test", "A", "NXDOMAIN"),
        ("broken.test", "MX", "SERVFAIL"),
    ],
)
def test_why_there_are_no_records(zone: Zone, name: str, rdtype: str, rcode: str) -> None:
    response = asked(zone, name, rdtype)
    assert (dns.rcode.to_text(response.rcode()), response.answer) == (rcode, [])
    assert [rrset.ttl for rrset in response.authority] == [60], "the SOA says how long that holds"


@pytest.mark.parametrize("wire", [b"", b"nonsense", dns.message.Message(id=1).to_wire()])
def test_nonsense_is_not_answered(zone: Zone, wire: bytes) -> None:
    assert respond(zone, wire) == b""


def test_questions_are_counted(zone: Zone) -> None:
    for rdtype in ("A", "A", "MX"):
        assert respond(zone, dns.message.make_query("mute.test", rdtype).to_wire()) == b""
    assert (zone.asked("mute.test"), zone.asked("Mute.test", "A"), zone.asked("dest.test")) == (3, 2, 0)
