"""How providers take mail for others: facts as of 2026-11-27, from the providers' own pages. Pure.

Edit this table when a provider changes. A route names one with `preset`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from delivery.route.endpoint import Grant


class Issuer(NamedTuple):
    """How a provider issues access tokens, and where they are used."""

    host: str
    """The host that accepts them, with XOAUTH2."""
    grant: Grant
    """The usual one."""
    token_url: str
    scope: str
    algorithm: str = ""
    """What client assertions are signed with; empty: what fits the key."""


class Preset(NamedTuple):
    """The host of a provider, and how to authenticate there."""

    host: str
    """`{region}` is replaced by the `region` of the action."""
    port: int
    tls: str
    mechanisms: tuple[str, ...]
    user: str
    """What the provider calls the user, or the text that it always is."""
    oauth: Issuer | None = None
    """What changes with `auth.oauth`; None: the provider has no access tokens."""


PRESETS: Mapping[str, Preset] = {
    # AUTH with a password must be allowed for the mailbox, and ends when Microsoft turns it off for the organization.
    # Tokens: learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection using OAuth", "certificate credentials"
    "microsoft-365": Preset(
        "smtp.office365.com",
        587,
        "starttls",
        ("LOGIN",),
        "the mailbox",
        Issuer(
            "smtp.office365.com",
            Grant.CLIENT_CREDENTIALS,
            "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
            "https://outlook.office365.com/.default",
            "PS256",
        ),
    ),
    # The SMTP relay service, which an administrator turns on; the password is an app password.
    # Tokens: developers.google.com, "OAuth 2.0 mechanism" (Gmail) and "OAuth 2.0 for server to server applications".
    "google-workspace": Preset(
        "smtp-relay.gmail.com",
        587,
        "starttls",
        ("PLAIN", "LOGIN"),
        "the user's address",
        Issuer(
            "smtp.gmail.com",
            Grant.JWT_BEARER,
            "https://oauth2.googleapis.com/token",
            "https://mail.google.com/",
        ),
    ),
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
