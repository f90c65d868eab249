"""From a command line to what it asks for (RFC 5321, 4.1.1)."""

import re
from typing import NamedTuple

from ingress.session.lines import MOST_LINE_BYTES
from jetpost.mail.address import Path, a_labels, domain_of, path
from jetpost.mail.envelope import Recipient
from jetpost.mail.parameters import MailParameters, mail_parameters, rcpt_parameters, upper
from jetpost.mail.reply import EnhancedStatus, Reply

_SYNTAX = EnhancedStatus(5, 5, 2)
_NO_ADDRESS_UTF8 = EnhancedStatus(5, 6, 7)
BARE = Reply(500, _SYNTAX, ("A command ends in CRLF, and contains neither CR, LF nor NUL",))
TOO_LONG = Reply(500, _SYNTAX, ("Line too long",))
_NOT_UTF8 = Reply(500, _SYNTAX, ("Not UTF-8",))
_ADDRESS_NEEDS_UTF8 = Reply(553, _NO_ADDRESS_UTF8, ("SMTPUTF8 is needed for this address: give it with MAIL",))
_BAD_NAME = Reply(501, EnhancedStatus(5, 5, 4), ("Say your domain name or address literal",))
_BAD_SENDER = Reply(501, EnhancedStatus(5, 1, 7), ("Syntax: MAIL FROM:<address>",))
_BAD_RECIPIENT = Reply(501, EnhancedStatus(5, 1, 3), ("Syntax: RCPT TO:<address>",))
_NO_POSTMASTER = Reply(550, EnhancedStatus(5, 1, 1), ("This system names no postmaster: write to one at a domain",))
_POSTMASTER = "postmaster"

_FORBIDDEN = re.compile(rb"[\r\n\0]")
# Whatever can be quoted in a trace field without harm: clients call themselves anything.
_NAME = re.compile(r"[A-Za-z0-9_.:+-]{1,255}|\[[A-Za-z0-9.:%-]{1,100}\]")


class Command(NamedTuple):
    """A verb in upper case, and the rest of the line without the spaces around it."""

    verb: str
    argument: str


class Sender(NamedTuple):
    """What MAIL says."""

    address: str
    """"" is the null reverse-path."""
    parameters: MailParameters


class Destination(NamedTuple):
    """What RCPT says."""

    recipient: Recipient
    domain: str
    """As lower-case A-labels, or an address literal with its brackets."""
    is_local: bool = False
    """True for the postmaster of this system: the one mailbox that every host has (RFC 5321, 4.5.1)."""


class LocalHost(NamedTuple):
    """Who this system is, to somebody who writes to it."""

    hostname: str
    postmaster: str
    """The address that reads the postmaster's mail; empty: nobody was named."""


def parse(line: bytes, most_bytes: int) -> Command | Reply:
    """The command on `line` (without its CRLF), or the refusal. AUTH may be longer than `most_bytes`."""
    if len(line) + 2 > MOST_LINE_BYTES:
        return TOO_LONG
    if _FORBIDDEN.search(line):
        return BARE
    try:
        verb, _, argument = line.decode().partition(" ")
    except UnicodeDecodeError:
        return _NOT_UTF8
    verb = upper(verb)
    if len(line) + 2 > most_bytes and verb != "AUTH":
        return TOO_LONG
    return Command(verb, argument.strip(" "))


def client_name(argument: str) -> str | Reply:
    """The client's name for itself in EHLO or HELO, fit for a trace field (RFC 5321, 4.1.1.1)."""
    return argument if _NAME.fullmatch(argument) else _BAD_NAME


def sender(argument: str) -> Sender | Reply:
    """What the `argument` of MAIL says (RFC 5321, 4.1.1.2)."""
    found = _path_after("FROM:", argument)
    if found is None or (not found[0].domain and found[0].address):
        return _BAD_SENDER
    reverse_path, rest = found
    parameters = mail_parameters(rest)
    if isinstance(parameters, Reply):
        return parameters
    if not reverse_path.address.isascii() and not parameters.smtputf8:
        return _ADDRESS_NEEDS_UTF8
    return Sender(reverse_path.address, parameters)


def destination(argument: str, *, local_host: LocalHost, smtputf8: bool) -> Destination | Reply:
    """What the `argument` of RCPT says (RFC 5321, 4.1.1.3).

    `<postmaster>` and the postmaster at our host name become the address that reads their mail. When there is none the
    first is refused, as it could only bounce; the second is an address like any other.
    """
    found = _path_after("TO:", argument)
    if found is None or not found[0].address:
        return _BAD_RECIPIENT
    forward_path, rest = found
    parameters = rcpt_parameters(rest)
    if isinstance(parameters, Reply):
        return parameters
    if not forward_path.address.isascii() and not smtputf8:
        return _ADDRESS_NEEDS_UTF8
    if _is_postmaster(forward_path, local_host.hostname):
        if local_host.postmaster:
            return Destination(
                Recipient(local_host.postmaster, *parameters), domain_of(local_host.postmaster), is_local=True
            )
        if not forward_path.domain:
            return _NO_POSTMASTER
    return Destination(Recipient(forward_path.address, *parameters), forward_path.domain)


def _is_postmaster(to: Path, hostname: str) -> bool:
    """Whether it is this system's: without a domain, or at our host name; in any case of letters (4.5.1)."""
    if not to.domain:
        return True
    return to.domain == a_labels(hostname) and to.address.partition("@")[0].lower() == _POSTMASTER


def _path_after(keyword: str, argument: str) -> tuple[Path, str] | None:
    """The path after `keyword`, and the parameters' text; a space after the colon is a common mistake, and forgiven."""
    if argument[: len(keyword)].upper() != keyword:
        return None
    found = path(argument[len(keyword) :].lstrip(" "))
    return found if found and (not found[1] or found[1].startswith(" ")) else None
