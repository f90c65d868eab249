"""Three messages through the whole system: one delivered, one retried and delivered, one bounced."""

import asyncio
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from rich.text import Text

from demo.show import console, facts, moved, report, scene
from demo.stage import RETRY_S, Samples, Stage, stage

SENDER = "ann@home.test"
FRIEND = "bob@dest.test"
PATIENT = "carl@grey.test"
NOBODY = "nobody@dest.test"


async def demo() -> int:
    """Play it; 0 when everything really happened."""
    began = time.monotonic()
    console.print("[dim]starting nats-server, ingress, delivery and bouncer, a DNS server and three MXs on loopback …")
    try:
        async with stage() as it:
            await _play(it)
            console.print(f"[bold green]all of it really happened, in {time.monotonic() - began:.0f} s")
    except AssertionError as error:
        console.print("[bold red]✗ not as it should be:", Text(str(error)))
        return 1
    return 0


async def _play(it: Stage) -> None:
    before = await it.samples()
    for recipient in (FRIEND, PATIENT, NOBODY):
        await asyncio.to_thread(it.submit, _letter(recipient))
    console.print(f"[dim]submitted three messages over TLS with AUTH to localhost:{it.submissions_port}")
    await _delivered(it)
    await _retried(it)
    await _bounced(it)
    await _metrics(it, before)


def _letter(recipient: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = SENDER, recipient, "Greetings"
    letter["Date"], letter["Message-ID"] = formatdate(), make_msgid(domain="home.test")
    letter.set_content("Hello!\n")
    return letter


async def _delivered(it: Stage) -> None:
    message = await it.dest.received(FRIEND)
    assert message.content.endswith(b"\r\n\r\nHello!\r\n"), f"what arrived is {message.content!r}"
    scene(
        1,
        f"delivered to {FRIEND}",
        facts(by_MX=f"{it.dest.name} at {it.dest.address}:{it.dest.port}", over=message.tls or "a plain connection"),
        facts(Received=message.fields("Received")[0]),
    )


async def _retried(it: Stage) -> None:
    delivered, message = await it.dest.received(FRIEND), await it.grey.received(PATIENT)
    tries = it.grey.heard["RCPT"]
    assert tries == 2, f"{PATIENT} was tried {tries} times"
    scene(
        2,
        f"greylisted, retried and delivered to {PATIENT}",
        facts(
            first_try="451 4.7.1 greylisted, come back later",
            second_try=f"taken {message.at - delivered.at:.1f} s after message 1 was (it had to wait {RETRY_S:g} s)",
            Received=message.fields("Received")[0],
        ),
    )


async def _bounced(it: Stage) -> None:
    message = await it.home.received(SENDER)
    status = message.delivery_status(NOBODY)
    assert (status["Action"], status["Status"]) == ("failed", "5.1.1"), f"the DSN says {status}"
    scene(3, f"{NOBODY} does not exist: {SENDER} was told", report(message, NOBODY))


async def _metrics(it: Stage, before: Samples) -> None:
    after = await it.samples()
    services = {service for (service, *_), value in after.items() if value}
    assert services >= {"ingress", "delivery", "bouncer"}, f"only {services} moved a metric"
    scene(4, "the metrics moved", moved(before, after))
