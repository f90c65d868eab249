"""Several backends: who decides, what AUTH offers, and that nobody is wrong while a backend is away."""

from typing import NamedTuple

import pytest

from ingress.auth.backend import answer, mechanisms_of
from ingress.auth.identity import Finding, Identity, Unavailable, Unknown, Wrong
from ingress.auth.mechanisms import Credentials, Question

ANN, OTHER = Identity("ann"), Identity("ann", senders=("ann@home.test",), tenant="home")
AWAY = Unavailable("no route to the directory")
UNKNOWN, WRONG = Unknown(), Wrong()


class Fixed(NamedTuple):
    """A backend that always finds the same."""

    finding: Finding
    mechanisms: frozenset[str] = frozenset({"PLAIN"})

    async def answer(self, question: Question, client: str) -> Finding:
        assert (question.user, client) == ("ann", "192.0.2.1")
        return self.finding


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], UNKNOWN),
        ([UNKNOWN], UNKNOWN),
        ([ANN], ANN),
        ([UNKNOWN, WRONG, ANN], ANN),
        ([ANN, OTHER], ANN),
        ([AWAY, OTHER], OTHER),
        ([WRONG, UNKNOWN], WRONG),
        ([UNKNOWN, AWAY], AWAY),
        ([WRONG, AWAY], AWAY),
        ([AWAY, WRONG], AWAY),
    ],
)
async def test_who_decides(findings: list[Finding], expected: Finding) -> None:
    backends = [Fixed(finding) for finding in findings]
    assert await answer(Credentials("ann", "x"), "PLAIN", "192.0.2.1", backends) == expected


async def test_a_backend_is_asked_what_it_can_do() -> None:
    backends = [Fixed(AWAY, frozenset({"LOGIN"})), Fixed(WRONG)]
    assert await answer(Credentials("ann", "x"), "PLAIN", "192.0.2.1", backends) == WRONG


@pytest.mark.parametrize(
    ("each", "offered"),
    [
        ([], ()),
        ([{"LOGIN"}], ("LOGIN",)),
        ([{"LOGIN"}, {"PLAIN"}], ("PLAIN", "LOGIN")),
        ([{"LOGIN", "PLAIN"}, {"LOGIN"}], ("PLAIN", "LOGIN")),
        ([{"NO-SUCH-MECHANISM"}], ()),
    ],
)
def test_auth_offers_what_one_of_them_can_do(each: list[set[str]], offered: tuple[str, ...]) -> None:
    assert mechanisms_of([Fixed(UNKNOWN, frozenset(mechanisms)) for mechanisms in each]) == offered
