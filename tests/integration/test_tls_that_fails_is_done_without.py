"""Whatever breaks between STARTTLS and the first accepted command inside TLS: opportunistic mail goes in clear."""

import ssl
import warnings
from collections.abc import Callable

import pytest
from prometheus_client import Counter

from delivery.attempt.config import AttemptSettings
from delivery.connect.pool import TLS_FAILURES, Pool
from delivery.connect.timeouts import Timeouts
from delivery.security.requirement import TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Deferred, Delivered
from tests.conftest import MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.attempts import BOB, entry, on_uvloop, tried, tried_with
from tests.fixtures.certificates import Certificates
from tests.fixtures.configuration import Surroundings
from tests.fixtures.letters import LETTER
from tests.fixtures.raw_host import Act, Dialogue, RawHost, flooding, leaving, saying, silent
from tests.fixtures.zone import ServedZone

TIMEOUTS = Timeouts(tls_s=0.5, ehlo_s=0.5, quit_s=0.2)
MESSAGE = entry(Inline(LETTER))


async def resets_in_the_handshake(dialogue: Dialogue) -> None:
    await dialogue.say(b"220 go ahead\r\n")
    await dialogue.reader.read(100)
    await leaving(reset=True)(dialogue)


async def sends_an_alert(dialogue: Dialogue) -> None:
    await dialogue.say(b"220 go ahead\r\n")
    await dialogue.reader.read(100)
    await leaving(bytes.fromhex("15030300020228"))(dialogue)  # fatal, handshake_failure


async def ends_tls_at_once(dialogue: Dialogue) -> None:
    dialogue.writer.transport.close()  # with close_notify
    raise ConnectionAbortedError


STARTTLS: dict[str, Act] = {
    "454": saying(b"454 4.7.0 not now\r\n"),
    "501": saying(b"501 5.5.4 what?\r\n"),
    "554": saying(b"554 5.7.1 no\r\n"),
    "421, then closed": leaving(b"421 4.3.2 bye\r\n"),
    "354": saying(b"354 go on\r\n"),
    "garbage": leaving(b"what?\r\n"),
    "closed": leaving(),
    "reset": leaving(reset=True),
    "silence": silent,
    "220, then garbage": leaving(b"220 go ahead\r\n" + b"garbage" * 100),
    "220, then a reply in clear": leaving(b"220 go ahead\r\n250 ok\r\n"),
    "220, then silence": lambda dialogue: _220_then(dialogue, silent),
    "220, then closed": leaving(b"220 go ahead\r\n"),
    "220, then reset": leaving(b"220 go ahead\r\n", reset=True),
    "220, then reset in the handshake": resets_in_the_handshake,
    "220, then an alert": sends_an_alert,
    "220, then a flood": flooding(b"\x16\x03\x03\x00\x04\x00\x00\x00\x00", first=b"220 go ahead\r\n"),
    "220, then a flood of garbage": flooding(b"250 ok\r\n", first=b"220 go ahead\r\n"),
}
INSIDE: dict[str, dict[str, Act]] = {
    "close_notify at once": {"TLS SECURED": ends_tls_at_once},
    "reset at once": {"TLS SECURED": leaving(reset=True)},
    "closed at EHLO": {"TLS EHLO": leaving()},
    "reset at EHLO": {"TLS EHLO": leaving(reset=True)},
    "421 at EHLO": {"TLS EHLO": leaving(b"421 4.7.0 a certificate is missing\r\n")},
    "454 at EHLO": {"TLS EHLO": saying(b"454 4.7.0 no\r\n")},
    "554 at EHLO": {"TLS EHLO": saying(b"554 5.7.0 no\r\n"), "TLS HELO": saying(b"554 5.7.0 no\r\n")},
    "354 at EHLO": {"TLS EHLO": saying(b"354 go on\r\n")},
    "garbage at EHLO": {"TLS EHLO": leaving(b"what?\r\n")},
    "silence at EHLO": {"TLS EHLO": silent},
    "a flood at EHLO": {"TLS EHLO": flooding(b"what?\r\n")},
}


async def _220_then(dialogue: Dialogue, act: Act) -> None:
    await dialogue.say(b"220 go ahead\r\n")
    await act(dialogue)


def wants_a_certificate(certificates: Certificates) -> ssl.SSLContext:
    """TLS 1.3 refuses a client without one after the client's side of the handshake is done."""
    context = certificates.server()
    context.load_verify_locations(certificates.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def wants_a_certificate_early(certificates: Certificates) -> ssl.SSLContext:
    """TLS 1.2 refuses it within the handshake."""
    context = wants_a_certificate(certificates)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def with_its_alert(context: ssl.SSLContext) -> Act:
    """The handshake of a host that tells why it fails, which asyncio's does not."""

    async def act(dialogue: Dialogue) -> None:
        await dialogue.say(b"220 go ahead\r\n")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await dialogue.say(outgoing.read())
                incoming.write(await dialogue.reader.read(65536))
            except ssl.SSLError:
                await leaving(outgoing.read())(dialogue)

    return act


def is_too_old(certificates: Certificates) -> ssl.SSLContext:
    """Speaks nothing newer than TLS 1.1."""
    context = certificates.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


CONTEXTS = [wants_a_certificate, wants_a_certificate_early, is_too_old]
Host = Callable[[Certificates], RawHost]


def host(certificates: Certificates, does: dict[str, Act]) -> RawHost:
    """One that offers TLS."""
    return RawHost("mx1.test", does=does, tls=certificates.server())


def doing(does: dict[str, Act]) -> Host:
    """One that offers TLS, later."""
    return lambda certificates: host(certificates, does)


def asking(context: Callable[[Certificates], ssl.SSLContext]) -> Host:
    """One with such a context."""
    return lambda certificates: RawHost("mx1.test", tls=context(certificates))


def telling(context: Callable[[Certificates], ssl.SSLContext]) -> Host:
    """The same, but it tells why."""
    return lambda certificates: host(certificates, {"STARTTLS": with_its_alert(context(certificates))})


HOSTS: dict[str, Host] = {
    **{f"STARTTLS: {case}": doing({"STARTTLS": act}) for case, act in STARTTLS.items()},
    **{f"inside: {case}": doing(does) for case, does in INSIDE.items()},
    **{make.__name__: asking(make) for make in CONTEXTS},
    **{f"{make.__name__}, and says so": telling(make) for make in CONTEXTS},
}


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_a_host_at_which_tls_fails_gets_the_mail_in_clear_at_once_and_for_a_while(
    certificates: Certificates, make: Host
) -> None:
    async def run() -> None:
        pool = Pool(AttemptSettings(timeouts=TIMEOUTS, idle_s=0), "jetpost.test", most=10)
        failures = total(TLS_FAILURES)
        async with make(certificates) as first, RawHost("mx2.test") as second:
            for number in (1, 2):
                made = await tried_with(pool, [first, second], MESSAGE)
                assert isinstance(made.outcomes[BOB], Delivered)
                assert made.tls == ""
                assert (len(first.copies), first.in_clear) == (number, number)
            assert second.connections == 0
            assert first.connections == 3  # TLS, in clear; and at once in clear with the second message
            assert first.heard["STARTTLS"] == 1
            assert total(TLS_FAILURES) == failures + 1
            await pool.aclose()

    on_uvloop(run())


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_where_tls_is_required_the_next_host_is_tried_and_nothing_goes_in_clear(
    certificates: Certificates, make: Host
) -> None:
    async def run() -> None:
        settings = AttemptSettings(timeouts=TIMEOUTS, tls=TlsMode.REQUIRED)
        async with make(certificates) as first, RawHost("mx2.test", tls=certificates.server()) as second:
            made = await tried([first, second], MESSAGE, settings)
            assert isinstance(made.outcomes[BOB], Delivered)
            assert made.tls
            assert (len(second.copies), second.in_clear) == (1, 0)
        async with make(certificates) as only:
            made = await tried([only], MESSAGE, settings)
            assert isinstance(made.outcomes[BOB], Deferred)
            assert only.connections == 1
        for tried_in_vain in (first, only):
            assert not tried_in_vain.heard["MAIL"]
            assert not tried_in_vain.copies

    on_uvloop(run())


def test_tls_is_tried_again_after_a_while(certificates: Certificates) -> None:
    async def run() -> None:
        settings = AttemptSettings(timeouts=TIMEOUTS, idle_s=0, tls_retry_s=0)
        pool = Pool(settings, "jetpost.test", most=10)
        async with host(certificates, {"STARTTLS": saying(b"454 not now\r\n")}) as first:
            assert not (await tried_with(pool, [first], MESSAGE)).tls
            first.does.clear()
            assert (await tried_with(pool, [first], MESSAGE)).tls
            await pool.aclose()

    on_uvloop(run())


@pytest.mark.parametrize(
    "does",
    [
        {"TLS EHLO": saying(b"250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n")},
        {"TLS EHLO": saying(b"502 what?\r\n")},
        {"STARTTLS": saying(b"220 go ahead\r\n250 injected\r\n")},
        {"STARTTLS": saying(b"\r\n220ok\n")},
    ],
    ids=["STARTTLS is offered again", "HELO only", "more than the 220", "an odd 220"],
)
def test_tls_that_works_is_used(certificates: Certificates, does: dict[str, Act]) -> None:
    async def run() -> None:
        async with host(certificates, does) as first:
            made = await tried([first], MESSAGE, AttemptSettings(timeouts=Timeouts(tls_s=20)))
            assert isinstance(made.outcomes[BOB], Delivered)
            assert made.tls.startswith("TLSv1.3")
            assert (first.connections, first.in_clear) == (1, 0)

    on_uvloop(run())


def test_a_certificate_that_proves_nothing_is_good_enough(certificates: Certificates) -> None:
    async def run() -> None:
        async with RawHost("another.name.test", tls=certificates.server()) as first:
            assert (await tried([first], MESSAGE, AttemptSettings())).tls

    on_uvloop(run())


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "DOT"])
def test_what_breaks_after_the_first_accepted_command_is_no_failure_of_tls(certificates: Certificates, at: str) -> None:
    async def run() -> None:
        async with host(certificates, {f"TLS {at}": leaving()}) as first:
            made = await tried([first], MESSAGE, AttemptSettings(timeouts=TIMEOUTS))
            assert isinstance(made.outcomes[BOB], Deferred)
            assert first.connections == 1

    on_uvloop(run())


async def test_a_process_says_and_counts_that_tls_failed(
    make_system: MakeSystem, names: ServedZone, surroundings: Surroundings, certificates: Certificates
) -> None:
    system = await make_system({"delivery.attempt.idle_s": 0})
    (service,) = system.delivery
    address = loopback_address()
    does = {"STARTTLS": with_its_alert(wants_a_certificate(certificates))}
    async with RawHost(
        "mx.certified.test", address, surroundings.mx_port, does=does, tls=certificates.server()
    ) as certified:
        names.add(certified.name, a=[address])
        names.add("certified.test", mx=[(10, certified.name)])
        for name in ("ann", "bob"):
            await system.submit("me@home.test", [f"{name}@certified.test"], LETTER)
            await system.empty()

    assert (len(certified.copies), certified.in_clear, certified.heard["STARTTLS"]) == (2, 2, 1)
    line = await system.told(service, "TLS failed")
    assert (line["host"], line["address"], line["at"]) == (certified.name, address, "ehlo")
    assert "CERTIFICATE_REQUIRED" in line["why"]
    assert await service.metric("jetpost_delivery_tls_failures_total", at="ehlo") == 1
    attempts = [line["attempt"] for line in service.log_lines() if line["event"] == "delivered"]
    assert attempts == [1, 1]


def total(counter: Counter) -> float:
    """The sum over all labels."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


def test_a_connection_serves_no_hop_on_other_terms(certificates: Certificates) -> None:
    """What is kept without TLS, or from another address, is left alone by mail that must have TLS."""

    async def run() -> tuple[bool, bool, int]:
        async with RawHost("mx1.test") as plain:
            usual = AttemptSettings(timeouts=TIMEOUTS, idle_s=60)
            strict = AttemptSettings(timeouts=TIMEOUTS, idle_s=60, tls=TlsMode.REQUIRED)
            pool = Pool(usual, "jetpost.test", most=10)
            first = await tried_with(pool, [plain], MESSAGE, usual)
            idle = pool.idle
            second = await tried_with(pool, [plain], MESSAGE, strict)
            await pool.aclose()
            return isinstance(first.outcomes[BOB], Delivered), isinstance(second.outcomes[BOB], Deferred), idle

    assert on_uvloop(run()) == (True, True, 1)
