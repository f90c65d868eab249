"""What `jetpost doctor` may find: each kind with what it means and how to mend it. Pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    SKIPPED = "skipped"
    """It need not be checked, or cannot be without more options."""
    WARNING = "warning"
    """Some receivers may refuse or distrust mail, or something will fail later."""
    ERROR = "error"
    """Mail is refused, the installation does not work, or a check did not come to a result."""


_RANK = (Severity.OK, Severity.SKIPPED, Severity.WARNING, Severity.ERROR)


class Finding(NamedTuple):
    """One finding."""

    id: str
    """A key of `KINDS`."""
    severity: Severity
    about: str
    """The domain, address, host or file."""
    found: str
    mend: str = ""
    """How to mend it; empty when there is nothing to mend."""
    publish: tuple[str, ...] = ()
    """DNS records to publish, as lines of a zone file."""


class Kind(NamedTuple):
    """A kind of finding."""

    means: str
    mend: str


KINDS: Mapping[str, Kind] = {
    # The sender domain
    "domain": Kind(
        "Whether the domain exists and takes mail (MX, RFC 5321, 5.1). DSNs and replies go there. A null MX (RFC 7505)"
        " says that it takes none, and many receivers refuse mail from such a domain.",
        "Publish an MX record that names a host with an address.",
    ),
    "spf": Kind(
        "Whether SPF (RFC 7208) passes for the addresses that mail leaves from. Gmail and Yahoo demand SPF or DKIM of"
        " all senders, and both of bulk senders.",
        "Publish one TXT record that begins with `v=spf1` and allows each egress address.",
    ),
    "spf-limits": Kind(
        "How many of the ten look-ups of an SPF record are used. At the eleventh, receivers stop with permerror.",
        "Replace `include`, `a` and `mx` by `ip4` and `ip6` where addresses seldom change.",
    ),
    "dkim": Kind(
        "Whether a key signs for the domain, and whether DNS has the record of each key. A signature fails when its key"
        " does not match its record.",
        "Configure a key (`jetpost dkim new`), and publish the record that is printed.",
    ),
    "dkim-algorithm": Kind(
        "Whether one of the domain's keys is RSA. Gmail and others do not verify Ed25519.",
        "Add an RSA key of 2048 bits beside the Ed25519 key.",
    ),
    "dmarc": Kind(
        "Whether a DMARC record (RFC 9989) applies to the domain. Gmail, Yahoo and Microsoft demand one of bulk"
        " senders. `p=none` suffices.",
        "Publish one TXT record at `_dmarc.<domain>`.",
    ),
    "dmarc-reports": Kind(
        "Whether another domain that shall get the reports (`rua`) agrees to that (RFC 9990, 4).",
        "Ask the owner of that domain to publish the record that is printed.",
    ),
    "alignment": Kind(
        "Whether a signature or SPF is aligned with the From domain, so that DMARC passes. This is what bulk senders"
        " must have for every message.",
        "Sign with a key of the domain itself, or let the reverse-path have the domain and allow the egress addresses.",
    ),
    # The addresses that mail leaves from
    "egress": Kind(
        "From which addresses mail leaves. Without them neither SPF nor reverse DNS can be checked.",
        "Name the public addresses with `--from-ip`.",
    ),
    "reverse-dns": Kind(
        "Whether the egress address has a PTR record, and a name in it resolves to that address again. Gmail and Yahoo"
        " refuse mail from others.",
        "Set the PTR record at the cloud or network provider of the address, and an A or AAAA record for its name.",
    ),
    "ehlo-name": Kind(
        "Whether the name in EHLO (`hostname`) resolves to the egress address, and is the name in its PTR record.",
        "Set `hostname` to the name in the PTR record, and publish its A or AAAA record.",
    ),
    "spf-ehlo": Kind(
        "Whether SPF passes for the name in EHLO. It counts for DSNs, whose reverse-path is empty (RFC 7208, 2.4).",
        "Publish an SPF record at `hostname` that allows the egress addresses.",
    ),
    # The installation
    "configuration": Kind(
        "Whether each section of the configuration can be used. The checks that need an unusable one are left out.",
        "Correct the value that is named; `jetpost config check` names all of them.",
    ),
    "remark": Kind("What the configuration says that is no mistake, and still no good.", "Do what the remark says."),
    "certificate": Kind(
        "Whether the certificate of the listeners is valid, and has the `hostname`.",
        "Renew the certificate, or have it issued for the name that clients use.",
    ),
    "tls": Kind(
        "Whether delivery uses TLS where hosts offer it. Gmail demands TLS of all senders.",
        "Set `delivery.attempt.tls`, and the `tls` of each route with `kind: mx`, to `opportunistic` or `required`.",
    ),
    "port": Kind(
        "Whether the MX hosts of the domain named by `--mx-of` can be reached at port 25. Cloud providers block that"
        " port.",
        "Ask the provider to open outgoing port 25, or send through an upstream (`delivery.routes`).",
    ),
    "upstream": Kind(
        "Whether the hosts of each route let us in: connect, TLS, AUTH, QUIT. Nothing is sent.",
        "Correct the host, the port, the TLS mode or the credentials of the route.",
    ),
    "nats": Kind(
        "Whether nats-server answers, is new enough, and fsyncs before it acknowledges.",
        "Start nats-server, correct `nats.servers`, or set `jetstream.sync_interval: always`.",
    ),
    "replicas": Kind(
        "Whether each stream of the queue has as many replicas as configured, and whether all of them are current.",
        "Bring the missing nats-servers back; see the runbook *copies are behind*.",
    ),
    "storage": Kind(
        "How much of the storage limit of JetStream is used. At the limit, mail is refused with 452.",
        "Give nats-server more storage, or set `queue.max_bytes` below the limit.",
    ),
    "clock": Kind(
        "Whether our clock and those of the nats-servers agree. Beyond `queue.clock_tolerance_s` no mail is accepted.",
        "Set the clock, and let it be set (NTP).",
    ),
    # The command itself
    "unfinished": Kind(
        "A check did not come to its end within its time, so its result is not known. That is an error.",
        "See whether the name servers and hosts answer; give it more time with `--within`.",
    ),
}


def worst(findings: Sequence[Finding]) -> Severity:
    """The worst severity; OK when there is nothing."""
    return max((it.severity for it in findings), key=_RANK.index, default=Severity.OK)


def ok(kind: str, about: str, found: str) -> Finding:
    """Nothing to mend."""
    return Finding(kind, Severity.OK, about, found)


def skipped(kind: str, about: str, why: str) -> Finding:
    """Not checked."""
    return Finding(kind, Severity.SKIPPED, about, why)


def warning(kind: str, about: str, found: str, mend: str = "", publish: tuple[str, ...] = ()) -> Finding:
    """Better mended."""
    return Finding(kind, Severity.WARNING, about, found, mend or KINDS[kind].mend, publish)


def unchecked(kind: str, about: str, why: str, mend: str = "") -> Finding:
    """It should be checked, and could not be: that is an error, as it must not count as passed."""
    return Finding(kind, Severity.ERROR, about, f"not known: {why}", mend or "See why the name servers fail.")


def error(kind: str, about: str, found: str, mend: str = "", publish: tuple[str, ...] = ()) -> Finding:
    """To be mended."""
    return Finding(kind, Severity.ERROR, about, found, mend or KINDS[kind].mend, publish)
