"""What tests share is after each of them as it was: their order must not matter."""

import dns.message
import dns.rcode

from tests.conftest import mxs
from tests.fixtures.configuration import Surroundings
from tests.fixtures.zone import ServedZone


def said(names: ServedZone, name: str, rdtype: str) -> str:
    """What DNS answers: the code."""
    answer = names.answer(dns.message.make_query(name, rdtype))
    assert answer is not None
    return dns.rcode.to_text(answer.rcode())


async def test_a_domain_goes_with_its_hosts(names: ServedZone, surroundings: Surroundings) -> None:
    asked = [("gone.test", "MX"), ("mx1.gone.test", "A"), ("mx2.gone.test", "A")]
    async with mxs(names, surroundings) as mx:
        await mx("gone.test")
        await mx("gone.test", preference=20)
        assert [said(names, *question) for question in asked] == ["NOERROR"] * 3

    assert [said(names, *question) for question in asked] == ["NXDOMAIN"] * 3
