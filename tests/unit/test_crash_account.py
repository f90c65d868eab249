"""The proof of the crash tests can fail: made-up runs, each with one thing that must not be."""

from collections.abc import Iterable, Sequence

import pytest

from tests.crash.account import ACK_WAIT_S, LAG_S, UNSETTLED_S, Account, Copy, Fate, Outage, Transaction
from tests.crash.account import balance as balance_of

KILL, READY = 100.0, 102.0
"""When a process is killed, and when everything is ready again."""
OLD, NEW = "127.1.0.1", "127.1.0.2"
"""Where the killed delivery process sent from, and the one that takes over."""
ATTEMPT_S = 0.01
"""How long the hosts take for one."""
ANN, BOB = "ann@dest.test", "nobody@dest.test"
FATES = {ANN: Fate.DELIVERED, BOB: Fate.BOUNCED}


def transaction(number: int = 1, *, dot: float = 90, ended: float = 90.1, accepted: bool = True) -> Transaction:
    """Message 7 on its way in."""
    return Transaction(7, number, FATES, dot, ended, accepted)


def delivered(at: float, source: str = OLD, *, number: int = 1, intact: bool = True) -> Copy:
    """Message 7 for Ann."""
    return Copy(7, number, ANN, "", intact, at - ATTEMPT_S, at, source, (f"q{number}", ANN))


def reported(at: float = 91, source: str = OLD, *, number: int = 1, dsn: str = "r1", about: str = BOB) -> Copy:
    """The DSN about message 7."""
    entry = (f"q{number}-{dsn}", "sender@home.test")
    return Copy(7, number, about, dsn, intact=True, begun=at - ATTEMPT_S, at=at, source=source, attempted=entry)


def balance(
    transactions: Iterable[Transaction], copies: Sequence[Copy], outages: Sequence[Outage], *, settled: int = 1
) -> Account:
    """The account when each entry was logged as delivered `settled` times."""
    return balance_of(transactions, copies, outages, {copy.attempted: settled for copy in copies})


def outage(kind: str, how: str = "killed") -> Outage:
    """The process of that kind was away; a delivery process was the OLD one."""
    return Outage(kind, how, OLD if kind == "delivery" else "", KILL, READY)


def test_a_run_without_fault() -> None:
    account = balance([transaction()], [delivered(91), reported()], [outage("nats-server")])

    assert account == Account(accepted=1, in_doubt=0, delivered=1, bounced=1, duplicates=(), faults=())


@pytest.mark.parametrize(
    ("copies", "fault"),
    [
        ([reported()], "lost"),
        ([delivered(91)], "lost"),
        ([], "lost"),
        ([delivered(91), reported(), reported(about=ANN)], "delivered and bounced"),
        ([reported(about=ANN), reported()], "not delivered"),
        ([delivered(91), reported(), reported(dsn="r2", source=NEW)], "two DSNs"),
        ([delivered(91, intact=False), reported()], "changed on its way"),
        ([delivered(91), reported(), delivered(92, number=2)], "from nowhere"),
        ([delivered(91), reported(), reported(about="eve@dest.test")], "from nowhere"),
        ([delivered(91), reported(), delivered(91, OLD)], "a duplicate that nothing explains"),
    ],
)
def test_what_must_not_be_is_a_fault(copies: list[Copy], fault: str) -> None:
    account = balance([transaction()], copies, [])

    assert [line.partition(":")[0] for line in account.faults if line.startswith(fault)], account.faults


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("delivery", delivered(KILL - 0.003, OLD), delivered(KILL + 2, NEW)),
        ("delivery", delivered(KILL - UNSETTLED_S, OLD), delivered(KILL + 2, NEW)),
        ("delivery", delivered(KILL + 0.01, OLD), delivered(KILL + 2, NEW)),  # it was on its way to the host
        ("nats-server", delivered(KILL - LAG_S, OLD), delivered(READY + 1, NEW)),
        ("nats-server", delivered(READY + ACK_WAIT_S, OLD), delivered(READY + 9, NEW)),
        ("machine", delivered(KILL - LAG_S, OLD), delivered(READY + 1, NEW)),
        ("machine", delivered(READY + ACK_WAIT_S, OLD), delivered(READY + 9, NEW)),
        ("nats-server", delivered(READY, OLD), delivered(READY + 1, OLD)),  # another process parked it meanwhile
    ],
)
def test_a_duplicate_in_the_window_is_explained(kind: str, first: Copy, second: Copy) -> None:
    account = balance([transaction()], [first, second, reported()], [outage(kind)])

    assert account.faults == ()
    assert [(one.recipient, one.first, one.second) for one in account.duplicates] == [(ANN, first, second)]


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("delivery", delivered(KILL - UNSETTLED_S - 0.001, OLD), delivered(KILL + 2, NEW)),  # it hung
        ("delivery", delivered(KILL - 0.003, NEW), delivered(KILL + 2, "127.1.0.3")),  # it was not the one killed
        ("delivery", delivered(KILL - 0.003, OLD), delivered(KILL + 2, OLD)),  # the same process twice
        ("delivery", delivered(KILL - 0.003, OLD), delivered(KILL - 0.001, NEW)),  # nobody was dead yet
        ("nats-server", delivered(KILL - LAG_S - 0.001, OLD), delivered(READY + 1, NEW)),
        ("nats-server", delivered(READY + ACK_WAIT_S + ATTEMPT_S + 0.001, OLD), delivered(READY + 9, NEW)),
        ("nats-server", delivered(KILL - 0.003, OLD), delivered(KILL - 0.001, NEW)),
        ("machine", delivered(KILL - LAG_S - 0.001, OLD), delivered(READY + 1, NEW)),
        ("machine", delivered(READY + ACK_WAIT_S + ATTEMPT_S + 0.001, OLD), delivered(READY + 9, NEW)),
        ("ingress", delivered(KILL - 0.003, OLD), delivered(KILL + 2, NEW)),  # has nothing to do with it
        ("bouncer", delivered(KILL - 0.003, OLD), delivered(KILL + 2, NEW)),
    ],
)
def test_a_duplicate_outside_the_window_is_a_fault(kind: str, first: Copy, second: Copy) -> None:
    account = balance([transaction()], [first, second, reported()], [outage(kind)])

    assert len(account.faults) == 1
    assert account.faults[0].startswith("a duplicate that nothing explains")


def test_a_killed_process_that_had_settled_explains_nothing() -> None:
    copies = [delivered(KILL - 0.003, OLD), delivered(KILL + 2, NEW), reported()]

    assert len(balance([transaction()], copies, [outage("delivery")], settled=2).faults) == 1


def test_what_was_handed_in_after_the_server_was_back_is_never_doubled_by_it() -> None:
    late = transaction(dot=READY + 0.001, ended=READY + 0.1)

    account = balance(
        [late], [delivered(READY + 1, OLD), delivered(READY + 2, NEW), reported()], [outage("nats-server")]
    )

    assert len(account.faults) == 1


def test_each_copy_too_many_needs_an_explanation() -> None:
    copies = [delivered(KILL - 0.1, OLD), delivered(KILL + 3, NEW), delivered(KILL + 9, "127.1.0.3"), reported()]

    assert len(balance([transaction()], copies, [outage("delivery")]).faults) == 1


@pytest.mark.parametrize("kind", ["ingress", "nats-server", "machine"])
@pytest.mark.parametrize("waiting", [(KILL - 1, KILL), (KILL + 1, READY + 5), (KILL - 1, READY + 9), (KILL, READY)])
def test_a_client_without_a_250_sends_again(kind: str, waiting: tuple[float, float]) -> None:
    dot, ended = waiting
    both = [transaction(dot=dot, ended=ended, accepted=False), transaction(2, dot=READY + 9)]
    copies = [delivered(120), reported(120), delivered(121, number=2), reported(121, number=2, dsn="r2")]

    account = balance(both, copies, [outage(kind)])

    assert account.faults == ()
    assert (account.accepted, account.in_doubt, account.delivered, account.bounced) == (1, 1, 1, 1)
    assert [one.recipient for one in account.duplicates] == [ANN, BOB]


@pytest.mark.parametrize(
    ("kind", "dot", "ended"),
    [
        ("ingress", READY + 0.001, READY + 1),  # nothing was away any more
        ("ingress", KILL - 2, KILL - LAG_S - 0.001),
        ("delivery", KILL - 1, KILL),  # clients have nothing to do with it
        ("bouncer", KILL - 1, KILL),
    ],
)
def test_a_client_that_sends_again_for_no_reason_is_a_fault(kind: str, dot: float, ended: float) -> None:
    both = [transaction(dot=dot, ended=ended, accepted=False), transaction(2, dot=READY + 9)]
    copies = [delivered(120), reported(120), delivered(121, number=2), reported(121, number=2, dsn="r2")]

    assert len(balance(both, copies, [outage(kind)]).faults) == 2


def test_a_client_that_sends_again_after_a_250_is_a_fault() -> None:
    both = [transaction(dot=KILL - 1, ended=KILL), transaction(2, dot=READY + 9)]
    copies = [delivered(120), reported(120), delivered(121, number=2), reported(121, number=2, dsn="r2")]

    assert len(balance(both, copies, [outage("ingress")]).faults) == 2


@pytest.mark.parametrize(
    ("kind", "refused", "faults"),
    [("nats-server", True, 0), ("machine", True, 0), ("nats-server", False, 1), ("ingress", True, 1)],
)
def test_what_its_client_was_refused_may_be_withdrawn_in_the_middle_of_an_attempt(
    kind: str, refused: bool, faults: int
) -> None:
    first = transaction(dot=KILL - 1, ended=READY + 1, accepted=False)._replace(refused=refused)
    second = [delivered(121, number=2), reported(121, number=2)]

    account = balance([first, transaction(2, dot=READY + 9)], [delivered(READY + 1), *second], [outage(kind)])

    assert len(account.faults) == faults, account.faults


def test_what_is_in_doubt_is_stored_whole_or_not_at_all() -> None:
    both = [transaction(dot=KILL - 1, ended=KILL, accepted=False), transaction(2, dot=READY + 9)]
    second = [delivered(121, number=2), reported(121, number=2)]

    assert balance(both, second, [outage("ingress")]).faults == ()
    assert balance(both, [delivered(120), *second], [outage("ingress")]).faults == (
        f"stored in part: message 7, transaction 1, no {BOB}",
    )


@pytest.mark.parametrize(
    ("copies", "faults"), [([], []), ([delivered(91)], ["not discarded"]), ([reported(about=ANN)], ["not discarded"])]
)
def test_nothing_comes_of_what_is_discarded(copies: list[Copy], faults: list[str]) -> None:
    account = balance([transaction()._replace(fates={ANN: Fate.DISCARDED})], copies, [])

    assert [fault.partition(":")[0] for fault in account.faults] == faults
    assert account.discarded == (not copies)
