"""Which route a message takes: an ordered table of rules, of which the first that matches counts. Pure."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from delivery.route.actions.kinds import Discard, Fail, ToHosts, ToLmtp, ToMx
from jetpost.config.section import Section, matching
from jetpost.mail.address import a_labels, domain_of
from jetpost.queue.model.entry import Entry

_NULL_PATH = "<>"


def _pattern(text: str) -> str:
    """A domain or `*.` and a domain, with A-labels in lower case."""
    below, star, domain = text.rpartition("*.")
    labels = a_labels(domain) if domain and not below else None
    if labels is None:
        hint = "; leave the key out to match all" if text.strip() in {"*", ""} else ""
        raise ValueError(f"must be a domain such as `example.org` or `*.example.org`, got `{text}`{hint}")
    return f"{star}{labels}"


def _sender(text: str) -> str:
    return text if text == _NULL_PATH else _pattern(text)


class Match(Section):
    """Which messages a route takes. A key that is left out matches all; of a list one element must match."""

    recipients: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ()
    """Recipient domains: `example.org` is this domain alone, `*.example.org` every domain below it."""
    senders: tuple[Annotated[str, AfterValidator(_sender)], ...] = ()
    """Domains of the reverse-path, in the same notation; `<>` is the null reverse-path, which DSNs have."""
    identities: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Users that authenticated when they submitted the message."""
    listeners: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names of the listeners (`ingress.listeners`) that accepted the message."""
    min_bytes: Annotated[int, Field(ge=0)] = 0
    """The content has at least so many bytes."""
    max_bytes: Annotated[int, Field(ge=0)] = 0
    """The content has at most so many bytes. 0: no limit."""

    @model_validator(mode="after")
    def _can_match(self) -> Self:
        if 0 < self.max_bytes < self.min_bytes:
            raise ValueError("max_bytes: it is less than min_bytes, so no message matches")
        return self


Action = Annotated[ToMx | ToHosts | ToLmtp | Discard | Fail, Field(discriminator="kind")]
Fallback = Annotated[ToMx | ToHosts | ToLmtp, Field(discriminator="kind")]
EVERYTHING = Match()


class Rule(Section):
    """One route: which messages take it, and what becomes of them."""

    name: Annotated[
        str,
        matching(r"^[a-z0-9][a-z0-9-]{0,62}$", "1 to 63 lower-case letters, digits and hyphens, the first no hyphen"),
    ]
    """The name of the route in logs, metrics and `jetpost route explain`."""
    match: Match = EVERYTHING
    """Which messages take it. Left out: all that no earlier route takes."""
    action: Action
    """Where its messages go."""
    fallback: Fallback | None = None
    """Where its messages go while no host of `action` can be reached: no connection, or none that a greeting and EHLO
    follow. A failure of TLS or of the credentials is no reason to use it."""

    connections: Annotated[int, Field(ge=1)] | None = None
    """Attempts at the same time by this route in one process, over all recipient domains. Not set: the limits of
    `delivery.lanes` alone. Providers have such limits: Microsoft 365 takes 3 connections of a mailbox.
    The limit is for each process: divide the provider's limit by the number of delivery pods."""

    @model_validator(mode="after")
    def _fallback_is_of_use(self) -> Self:
        if self.fallback is not None and isinstance(self.action, Discard | Fail):
            raise ValueError(f"fallback: `kind: {self.action.kind}` has no hosts that could be unreachable")
        return self

    @property
    def is_mx_alone(self) -> bool:
        """Whether its messages go to the MX hosts of their domain and nowhere else."""
        return isinstance(self.action, ToMx) and self.fallback is None


class Facts(NamedTuple):
    """What the table asks of a message."""

    domain: str
    """The recipient domain."""
    sender: str
    """The domain of the reverse-path; "" for the null path."""
    identity: str
    listener: str
    size: int
    """Bytes of the content."""


def facts_of(entry: Entry) -> Facts:
    """Those of a queued message."""
    envelope = entry.envelope
    origin = envelope.origin
    return Facts(entry.domain, domain_of(envelope.reverse_path), origin.identity, origin.listener, entry.size)


class Domains:
    """Domains and domains below domains, as a `Match` lists them."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = frozenset(_domain(it) for it in patterns if it[:2] != "*.")
        self._above = frozenset(_domain(it) for it in patterns if it[:2] == "*.")

    def __contains__(self, domain: str) -> bool:
        if domain in self._exact:
            return True
        while self._above and domain:
            domain = domain.partition(".")[2]
            if domain in self._above:
                return True
        return False


class Table:
    """Rules in order. Of many, only those are asked whose first key may match: there may be one for each customer."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rows = [(_Row(rule.match), rule) for rule in rules]
        self._by_recipient, self._by_sender = _Numbers(), _Numbers()
        self._by_identity: dict[str, list[int]] = {}
        self._others: list[int] = []
        for number, rule in enumerate(rules):
            match = rule.match
            if match.recipients:
                self._by_recipient.add(match.recipients, number)
            elif match.senders:
                self._by_sender.add(match.senders, number)
            elif match.identities:
                for identity in match.identities:
                    self._by_identity.setdefault(identity, []).append(number)
            else:
                self._others.append(number)

    def first(self, facts: Facts) -> Rule | None:
        """The first rule that matches; None when none does."""
        rows = (self._rows[number] for number in self.candidates(facts))
        return next((rule for row, rule in rows if row.matches(facts)), None)

    def candidates(self, facts: Facts) -> Sequence[int]:
        """The numbers of the rules that may match, in order."""
        found = [
            *self._by_recipient.of(facts.domain),
            *self._by_sender.of(facts.sender),
            *self._by_identity.get(facts.identity, ()),
        ]
        return sorted({*found, *self._others}) if found else self._others


class _Numbers:
    """Numbers of rules by the domains that they list."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = {}
        self._above: dict[str, list[int]] = {}

    def add(self, patterns: Sequence[str], number: int) -> None:
        """Note a rule with these patterns."""
        for pattern in patterns:
            domains = self._above if pattern[:2] == "*." else self._exact
            domains.setdefault(_domain(pattern), []).append(number)

    def of(self, domain: str) -> Iterator[int]:
        """The rules that list `domain`, or one above it. A rule may come twice."""
        yield from self._exact.get(domain, ())
        while self._above and domain:
            domain = domain.partition(".")[2]
            yield from self._above.get(domain, ())


def _domain(pattern: str) -> str:
    return "" if pattern == _NULL_PATH else pattern.removeprefix("*.")


class _Row:
    """A `Match`, made ready to be asked often."""

    def __init__(self, match: Match) -> None:
        self._recipients = Domains(match.recipients) if match.recipients else None
        self._senders = Domains(match.senders) if match.senders else None
        self._identities = frozenset(match.identities)
        self._listeners = frozenset(match.listeners)
        self._least, self._most = match.min_bytes, match.max_bytes

    def matches(self, facts: Facts) -> bool:
        return (
            (self._recipients is None or facts.domain in self._recipients)
            and (self._senders is None or facts.sender in self._senders)
            and (not self._identities or facts.identity in self._identities)
            and (not self._listeners or facts.listener in self._listeners)
            and self._least <= facts.size
            and (not self._most or facts.size <= self._most)
        )


def checked(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The same; ValueError, which names the rule, when one of them can never be used or be told from another."""
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise ValueError(f"route {rule.name}: name: another route has this name")
        seen.add(rule.name)
    for rule in rules[:-1]:
        if rule.match == EVERYTHING:
            raise ValueError(f"route {rule.name}: match: it matches all messages, so no route after it is ever used")
    matches: set[tuple[object, ...]] = set()
    for rule in rules:
        match = tuple(value for _, value in rule.match)
        if match in matches:
            raise ValueError(f"route {rule.name}: match: an earlier route has the same match, so it is never used")
        matches.add(match)
    return rules
