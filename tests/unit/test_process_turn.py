"""Whose turn it is to stop: never a second server while one is absent, and somebody's turn it always is."""

from hypothesis import given
from hypothesis import strategies as st

from jetpost.process.nats_pod.turn import ABSENT, Server, number_after, obstacle

SERVES = Server(present=True)


def asked(number: int | None, *, present: bool = True) -> Server:
    """A server that is asked to stop and has this number."""
    return Server(present, asked=True, number=number)


def test_a_server_waits_while_another_is_absent() -> None:
    assert obstacle("n2", asked(1), {"n0": SERVES, "n1": SERVES}, ()) is None
    assert obstacle("n2", asked(1), {"n0": ABSENT, "n1": SERVES}, ()) == "n0 is absent"
    assert obstacle("n2", asked(1), {"n0": ABSENT, "n1": asked(2)}, ()) == "n0 is absent"


def test_of_two_the_first_goes_and_the_second_waits_for_its_return() -> None:
    assert obstacle("n1", asked(1), {"n0": SERVES, "n2": asked(2)}, ()) is None
    assert obstacle("n2", asked(2), {"n0": SERVES, "n1": asked(1)}, ()) == "n1 was asked before"
    assert obstacle("n2", asked(2), {"n0": SERVES, "n1": ABSENT}, {"n1"}) == "n1 is absent"


def test_all_go_at_once_when_all_are_asked() -> None:
    assert obstacle("n2", asked(2), {"n0": asked(1), "n1": asked(None)}, ()) is None
    assert obstacle("n2", asked(2), {"n0": ABSENT, "n1": asked(3)}, {"n0"}) is None


def test_a_server_without_others_waits_for_nobody() -> None:
    assert obstacle("n0", asked(1), {}, ()) is None


def test_an_absent_server_that_is_asked_is_not_waited_for_while_it_waits_for_us() -> None:
    here, absent = asked(1), asked(2, present=False)

    assert obstacle("n1", here, {"n0": SERVES, "n2": absent}, ()) == "n2 was asked before"
    assert obstacle("n2", absent, {"n0": SERVES, "n1": here}, ()) is None


_servers = st.builds(Server, st.booleans(), st.booleans(), st.integers(1, 5))


@given(st.dictionaries(st.sampled_from(["n0", "n1", "n2", "n3", "n4"]), _servers, min_size=1))
def test_one_at_a_time(servers: dict[str, Server]) -> None:
    """One of those who are asked may stop, all where everybody is asked, none while one that is not asked is absent."""
    go = {
        name
        for name, here in servers.items()
        if here.asked and obstacle(name, here, {it: other for it, other in servers.items() if it != name}, ()) is None
    }
    everybody = {name for name, server in servers.items() if server.asked}
    if everybody == servers.keys():
        assert go == everybody
    elif any(not (server.asked or server.present) for server in servers.values()):
        assert go == set()
    else:
        assert len(go) == min(len(everybody), 1)


@given(st.lists(_servers))
def test_a_number_is_above_all_that_are_seen(servers: list[Server]) -> None:
    assert all(number_after(servers) > (server.number or 0) for server in servers)
