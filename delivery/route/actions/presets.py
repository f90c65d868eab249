"""How providers take mail for others: facts as of 2026-11-27, from the providers' own pages. Pure.

Edit this table when a provider changes. A route names one with `preset`.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Preset(NamedTuple):
    """The host of a provider, and how to authenticate there."""

    host: str
    """`{region}` is replaced by the `region` of the action."""
    port: int
    tls: str
    mechanisms: tuple[str, ...]
    user: str
    """What the provider calls the user, or the text that it always is."""


PRESETS: Mapping[str, Preset] = {
    # AUTH with a password must be allowed for the mailbox, and ends when Microsoft turns it off for the organization.
    "microsoft-365": Preset("smtp.office365.com", 587, "starttls", ("LOGIN",), "the mailbox"),
    # The SMTP relay service, which an administrator turns on; the password is an app password.
    "google-workspace": Preset("smtp-relay.gmail.com", 587, "starttls", ("PLAIN", "LOGIN"), "the user's address"),
    "amazon-ses": Preset(
        "email-smtp.{region}.amazonaws.com",
        587,
        "starttls",
        ("PLAIN", "LOGIN"),
        "the SMTP user name",
    ),
    "sendgrid": Preset("smtp.sendgrid.net", 587, "starttls", ("PLAIN", "LOGIN"), "apikey"),
    "mailgun": Preset("smtp.mailgun.org", 587, "starttls", ("PLAIN", "LOGIN"), "the SMTP login of the domain"),
    "mailgun-eu": Preset("smtp.eu.mailgun.org", 587, "starttls", ("PLAIN", "LOGIN"), "the SMTP login of the domain"),
    "postmark": Preset("smtp.postmarkapp.com", 587, "starttls", ("PLAIN", "CRAM-MD5"), "the server token"),
    "brevo": Preset("smtp-relay.brevo.com", 465, "implicit", ("PLAIN", "LOGIN"), "the SMTP login"),
}
