"""Whatever a host sends as challenges (RFC 4954, 4), and however many: authentication ends, and the mail is kept."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from delivery.attempt.config import AttemptSettings
from delivery.connect.auth.mechanisms import MECHANISMS
from delivery.connect.pool import Pool
from delivery.route.endpoint import ConnectionTerms, Login
from delivery.security.requirement import TlsMode
from jetpost.mail.content import Inline
from jetpost.mail.outcome import Deferred, Outcome
from tests.fixtures import attempts
from tests.fixtures.letters import LETTER
from tests.fixtures.raw_host import Act, Dialogue, RawHost
from tests.fixtures.searched import Asking, at_most, searched

MOST_LINES = 5
"""AUTH, two or three responses, and `*`."""
LINES = st.binary(max_size=200).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b""))
CHALLENGES = st.one_of(
    LINES,
    st.sampled_from(["Benützer:".encode(), b"\xff\xfe", b"", b"=", b"====", b"VXNlcm5hbWU6", b"A" * 12_000]),
)


def challenging(challenges: list[bytes], heard: list[bytes]) -> Act:
    """One challenge after the other, the last one again and again, until the client gives up."""

    async def act(dialogue: Dialogue) -> None:
        rest = list(challenges)
        while True:
            await dialogue.say(b"334 " + rest[0] + b"\r\n")
            rest = rest[1:] or rest
            heard.append(line := await dialogue.reader.readline())
            if line in (b"*\r\n", b""):
                await dialogue.say(b"501 cancelled\r\n")
                return

    return act


async def outcome(challenges: list[bytes], mechanism: str, password: Path, heard: list[bytes]) -> Outcome:
    """What becomes of a message to a host that asks like this."""
    login = Login("smart", "jet", str(password), (mechanism,), without_tls=True)
    settings = AttemptSettings(idle_s=0)
    pool = Pool(settings, "jetpost.test", most=10)
    does = {"AUTH": challenging(challenges, heard)}
    async with RawHost("smart.test", does=does, extensions=(f"AUTH {mechanism}",)) as host:
        try:
            terms = ConnectionTerms(tls=TlsMode.NONE, login=login)
            made = await attempts.tried_with(pool, [host], attempts.entry(Inline(LETTER)), settings, terms)
        finally:
            await pool.aclose()
        assert host.heard["MAIL"] == 0
    return made.outcomes[attempts.BOB]


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_it_ends_and_the_mail_is_kept(mechanism: str, tmp_path: Path) -> None:
    (password := tmp_path / "password").write_text("hunter2")
    asking = Asking()

    @at_most(30)
    @given(st.lists(CHALLENGES, min_size=1, max_size=4))
    @example(["Benützer:".encode()])
    @example([b"\xff"])
    def search(challenges: list[bytes]) -> None:
        heard: list[bytes] = []

        found = asking(outcome(challenges, mechanism, password, heard))

        assert isinstance(found, Deferred)
        assert len(heard) <= MOST_LINES

    await searched(search)
