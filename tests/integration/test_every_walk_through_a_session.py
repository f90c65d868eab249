"""Submission, walked through at random: each command has the reply that RFCs 5321, 3207, 4954 and 6409 give it there.

What is believed here of a session is written down anew, in a few facts, and not taken from the tables of the code.
"""

import base64
from contextlib import AsyncExitStack

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from jetpost.mail.reply import Reply
from tests.conftest import MakeMx
from tests.fixtures.client import RawClient, dialled
from tests.fixtures.letters import LETTER
from tests.fixtures.searched import Asking, at_most, searched
from tests.fixtures.system import System
from tests.fixtures.users import PASSWORD, USER

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_ERRORS, MOST_FAILURES = 20, 5
CREDENTIALS = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()

GOOD_MAIL = "MAIL FROM:<ann@home.test>"
VERBS = ["STARTTLS", "AUTH", "AUTH X", "MAIL", GOOD_MAIL, f"{GOOD_MAIL} X=1", "RCPT TO:<>", "DATA"]
NONSENSE = [
    *((line, 500) for line in ("", "BDAT 5", "BDAT 0 LAST", "ETRN x", "NOOP\n", "NO\0OP", "NOOP " + "x" * 3000)),
    *((line, 501) for line in ("RSET x", "QUIT x", "EHLO", "EHLO a b", "HELO (x)", "EHLO ü")),
    ("x" * 20_000, 500),
    ("EXPN all", 502),
]


class Walk(RuleBasedStateMachine):
    """One session on the port for submission, and what should be true of it."""

    system: System
    ask: Asking
    accepted: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.stack = AsyncExitStack()
        self.client: RawClient = self.ask(self._dialled())
        self.greeted = self.encrypted = self.authenticated = self.over = False
        self.sender = False
        self.recipients: list[str] = []
        self.errors = self.failures = 0

    async def _dialled(self) -> RawClient:
        return await self.stack.enter_async_context(dialled("127.0.0.1", self.system.ports.submission))

    @initialize(far=st.sampled_from([0, 1, 1, 2, 3, 3]))
    def begin(self, far: int) -> None:
        """Most mistakes can be made by those alone who came so far."""
        if far > 0:
            self.introduce("EHLO")
            self.starttls()
            self.introduce("EHLO")
        if far > 1:
            self.authenticate()
        if far > 2:
            self.transact("bob@walked.test")

    @rule()
    @precondition(lambda self: not self.encrypted and self.greeted and not self.sender and not self.over)
    def starttls(self) -> None:
        context = self.system.surroundings.certificates.client()
        assert self.ask(self.client.starttls(context)).code == 220
        self.encrypted, self.greeted = True, False

    @rule(verb=st.sampled_from(["EHLO", "HELO", "RSET"]))
    def introduce(self, verb: str) -> None:
        """Begin anew."""
        reply = self.say(verb if verb == "RSET" else f"{verb} client.test", 250)
        self.forget(greeted=self.greeted or verb != "RSET")
        if reply is not None and verb == "EHLO":
            offered = any(line.startswith("AUTH ") for line in reply.text)
            assert offered == (self.encrypted and not self.authenticated)
            assert ("STARTTLS" in reply.text) != self.encrypted

    @rule()
    @precondition(lambda self: self.code_of_auth() == 235)
    def authenticate(self) -> None:
        self.say(f"AUTH PLAIN {CREDENTIALS}", 235)
        self.authenticated = True

    @rule(line=st.sampled_from([("AUTH", 501), ("AUTH X x", 504), ("AUTH PLAIN =", 501), ("auth login ?", 501)]))
    @precondition(lambda self: self.code_of_auth() == 235)
    def authenticate_badly(self, line: tuple[str, int]) -> None:
        self.failures += " " in line[0] and line[1] == 501
        self.say(*line)

    @rule(mechanism=st.sampled_from(["PLAIN", "LOGIN"]))
    @precondition(lambda self: self.code_of_auth() == 235)
    def cancel(self, mechanism: str) -> None:
        self.say(f"AUTH {mechanism}", 334)
        self.say("*", 501)

    @rule(address=st.sampled_from(["", "ann@home.test", "Ann@Home.test"]))
    @precondition(lambda self: self.greeted and self.authenticated and not self.sender)
    def mail(self, address: str) -> None:
        self.say(f"MAIL FROM:<{address}> BODY=8BITMIME", 250)
        self.sender = True

    @rule(address=st.sampled_from(["bob@walked.test", "eve@walked.test"]))
    @precondition(lambda self: self.sender)
    def rcpt(self, address: str) -> None:
        self.say(f"RCPT TO:<{address}>", 250)
        self.recipients.append(address)

    @rule(address=st.sampled_from(["bob@walked.test", "eve@walked.test"]))
    @precondition(lambda self: self.greeted and self.authenticated and not self.sender)
    def transact(self, address: str) -> None:
        """Walk the whole way at once: at random it is seldom walked to its end."""
        self.mail("ann@home.test")
        self.rcpt(address)
        if not self.over:
            self.data(b"", ahead=False)

    @rule(bad=st.sampled_from([b"", b"", b"", b"bare \n.\r\n", b"nul \0\r\n"]), ahead=st.booleans())
    @precondition(lambda self: bool(self.recipients) and not self.over)
    def data(self, bad: bytes, *, ahead: bool) -> None:
        self.say("DATA", 354)
        if not bad:
            self.accepted.extend(set(self.recipients))
        self.forget(greeted=True)
        self.say_bytes(LETTER + bad + b".\r\n" + (b"NOOP\r\n" if ahead else b""), 550 if bad else 250)
        if ahead and not self.over:
            self.hear(250)

    @rule(line=st.sampled_from([("NOOP", 250), ("NOOP x", 250), ("VRFY bob", 252), ("HELP", 214)]))
    def ask_something(self, line: tuple[str, int]) -> None:
        self.say(*line)

    @rule(verb=st.sampled_from(VERBS))
    def blunder(self, verb: str) -> None:
        """What is out of place is so whatever follows the verb; in its place, it has an error of its own."""
        match verb.partition(" ")[0]:
            case "STARTTLS" if self.greeted and not self.sender and not self.encrypted:
                return
            case "AUTH" if (code := self.code_of_auth()) != 503:
                self.say(verb, {"AUTH": 501, "AUTH X": 504}[verb] if code == 235 else code)
            case "MAIL" if self.greeted and not self.sender:
                self.say(verb, {"MAIL": 501, GOOD_MAIL: 250 if self.authenticated else 530}.get(verb, 555))
                self.sender = verb == GOOD_MAIL and self.authenticated
            case "RCPT" if self.sender:
                self.say(verb, 501)
            case "DATA" if self.recipients:
                self.say(f"{verb} x", 501)
            case "DATA" if self.sender:
                self.say(verb, 554)
            case _:
                self.say(verb, 503)

    @rule(line=st.sampled_from(NONSENSE))
    def say_nonsense(self, line: tuple[str, int]) -> None:
        self.say(*line)

    def teardown(self) -> None:
        self.say("QUIT", 221)
        assert self.over or self.ask(self.client.is_closed())
        self.ask(self.stack.aclose())

    def code_of_auth(self) -> int:
        """What the right credentials would get."""
        if not self.greeted or self.sender:
            return 503
        if not self.encrypted:
            return 538
        return 503 if self.authenticated else 235

    def forget(self, *, greeted: bool) -> None:
        """There is no transaction any more."""
        self.greeted, self.sender, self.recipients = greeted, False, []

    def say(self, line: str, code: int) -> Reply | None:
        """Say a line and insist on a reply; None: the session is over."""
        return self.say_bytes(line.encode() + b"\r\n", code)

    def say_bytes(self, data: bytes, code: int) -> Reply | None:
        if self.over:
            return None
        self.ask(self.client.send(data))
        return self.hear(code)

    def hear(self, code: int) -> Reply | None:
        """Insist on a reply; after too many refusals, on the end of the session too."""
        reply = self.ask(self.client.reply())
        assert reply.code == code, reply
        self.errors += code >= 500
        if self.errors == MOST_ERRORS or self.failures == MOST_FAILURES:
            assert self.ask(self.client.reply()).code == 421
            assert self.ask(self.client.is_closed())
            self.over = True
        return reply


async def test_each_command_has_the_reply_that_belongs_there(system: System, mx: MakeMx) -> None:
    dest = await mx("walked.test")
    Walk.system, Walk.ask, Walk.accepted = system, Asking(), []

    await searched(lambda: run_state_machine_as_test(Walk, settings=at_most(50, stateful_step_count=50)))

    assert Walk.accepted
    await system.empty()
    messages = await dest.received_all(1)
    assert sorted(each for message in messages for each in message.recipients) == sorted(Walk.accepted)
