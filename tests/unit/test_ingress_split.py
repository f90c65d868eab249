"""One envelope for each destination."""

from ingress.session.command import Destination, Sender
from ingress.session.session import Transaction, envelope_of
from ingress.split import LEAST_INLINE_BYTES, inline_share
from jetpost.mail.envelope import Envelope, Origin, Recipient
from jetpost.mail.parameters import MailParameters
from jetpost.queue.model.accepted import by_domain

ORIGIN = Origin("192.0.2.1", "client.test", "ESMTP")


def envelope(*addresses: str) -> Envelope:
    return Envelope(
        reverse_path="ann@home.test", recipients=tuple(Recipient(address) for address in addresses), origin=ORIGIN
    )


def test_recipients_of_one_domain_stay_together_however_it_is_written() -> None:
    parts = by_domain(envelope("a@Grün.test", "b@there.test", "c@xn--grn-ioa.TEST"))

    assert {domain: [recipient.address for recipient in part.recipients] for domain, part in parts.items()} == {
        "xn--grn-ioa_test": ["a@Grün.test", "c@xn--grn-ioa.TEST"],
        "there_test": ["b@there.test"],
    }
    assert {part.reverse_path for part in parts.values()} == {"ann@home.test"}


def test_an_envelope_for_one_domain_is_left_as_it_is() -> None:
    whole = envelope("a@here.test", "b@here.test")

    assert by_domain(whole) == {"here_test": whole}


def test_a_recipient_named_twice_gets_one_copy() -> None:
    transaction = Transaction(Sender("", MailParameters(smtputf8=True, envid="Aa")))
    transaction.destinations.extend([Destination(Recipient("a@here.test"), "here.test")] * 2)

    made = envelope_of(transaction, ORIGIN)

    assert made.recipients == (Recipient("a@here.test"),)
    assert (made.reverse_path, made.smtputf8, made.envid) == ("", True, "Aa")


def test_what_travels_with_the_entries_of_a_message_is_bounded_in_all() -> None:
    assert inline_share(["a.test", "a.test"], 200_000) == 200_000
    assert inline_share(["a.test", "b.test", "a.test"], 200_000) == 100_000
    assert inline_share((f"{number}.test" for number in range(1000)), 200_000) == LEAST_INLINE_BYTES
