"""A configured route takes the mail that its rule matches to its own hosts, on its own terms, and no other mail."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeMx, MakeSystem
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.client import stuffed
from tests.fixtures.configuration import Surroundings
from tests.fixtures.eventually import eventually, eventually_asked
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, SILENCE, Script
from tests.fixtures.system import System
from tests.fixtures.zone import ServedZone

PASSWORD = "hunter2"
IN_CLEAR = {"kind": "hosts", "tls": "none"}


def hosts(*hosts: Mx, **action: Any) -> dict[str, Any]:
    """The action for these hosts, best first."""
    listed = [{"host": host.address, "port": host.port, "preference": n} for n, host in enumerate(hosts)]
    return {**IN_CLEAR, "hosts": listed, **action}


def route(name: str, action: dict[str, Any], **match: Any) -> dict[str, Any]:
    return {"name": name, "match": match, "action": action}


def routed(*routes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Changes of the configuration."""
    return {"delivery.routes": list(routes), **changes}


def password_file(folder: Path, password: str = PASSWORD) -> Path:
    file = folder / "password"
    file.write_text(f"{password}\n")
    return file


async def test_the_first_route_that_matches_takes_the_message(make_system: MakeSystem, mx: MakeMx) -> None:
    usual = await mx("usual.test")
    async with (
        Mx("a.test", loopback_address()) as a,
        Mx("b.test", loopback_address()) as b,
        Mx("c.test", loopback_address()) as c,
        Mx("d.test", loopback_address()) as d,
    ):
        system = await make_system(
            routed(
                route("big", hosts(d), min_bytes=10_000),
                route("domain", hosts(a), recipients=["exact.test", "*.below.test"]),
                route("sender", hosts(b), senders=["special.test"]),
                route("relayed", hosts(c), listeners=["relay"]),
                route("nobody", hosts(c), identities=["nobody"]),
            )
        )
        await system.submit("ann@home.test", ["bob@exact.test"], LETTER)
        await system.submit("ann@home.test", ["bob@sub.below.test"], LETTER)
        await system.submit("ann@special.test", ["bob@usual.test"], LETTER)
        await system.submit("ann@home.test", ["carl@usual.test"], LETTER)
        await system.submit("ann@home.test", ["dora@usual.test"], LETTER + b"x" * 70 + b"\r\n" + b"y\r\n" * 4000)
        async with system.relaying() as client:
            await client.transact("eve@home.test", ["eve@usual.test"], stuffed(LETTER))

        await a.received_all(2)
        await b.received("bob@usual.test")
        await c.received("eve@usual.test")
        await d.received("dora@usual.test")
        await usual.received("carl@usual.test")
        await system.empty()
        assert [len(it.messages) for it in (a, b, c, d, usual)] == [2, 1, 1, 1, 1]


async def test_the_next_host_is_tried_when_the_preferred_one_is_down(make_system: MakeSystem) -> None:
    first = await Mx("first.test", loopback_address()).start()
    await first.stop()
    async with Mx("second.test", loopback_address()) as second, Mx("third.test", loopback_address()) as third:
        system = await make_system(routed(route("smart", hosts(first, second, third))))

        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        await second.received("bob@anywhere.test")
        await system.empty()
        assert third.connections == 0


async def test_a_host_is_found_by_its_name_and_its_certificate_is_verified(
    make_system: MakeSystem, names: ServedZone, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path, "smart.test")
    address = loopback_address()
    names.add("smart.test", a=[address])
    names.add("imposter.test", a=[address])
    action = {"kind": "hosts", "ca_file": str(certificates.ca_file)}
    for tls in ("starttls", "implicit"):
        script = Script(tls=certificates.server(), implicit=tls == "implicit")
        async with Mx("smart.test", address, script=script) as smart:
            system = await make_system(
                routed(
                    route("right", _named(action, "smart.test", smart.port, tls), recipients=["right.test"]),
                    route("wrong-name", _named(action, "imposter.test", smart.port, tls), recipients=["name.test"]),
                    route(
                        "wrong-ca",
                        _named({"kind": "hosts"}, "smart.test", smart.port, tls),
                        recipients=["unknown-ca.test"],
                    ),
                )
            )
            for domain in ("name.test", "unknown-ca.test", "right.test"):
                await system.submit("ann@home.test", [f"bob@{domain}"], LETTER)

            assert (await smart.received("bob@right.test")).tls
            for domain in ("name.test", "unknown-ca.test"):
                told = await deferred(system, f"bob@{domain}")
                assert "CERTIFICATE_VERIFY_FAILED" in told["why"]
            assert len(smart.messages) == 1
            await system.stop_services()


def _named(action: dict[str, Any], host: str, port: int, tls: str) -> dict[str, Any]:
    return {**action, "tls": tls, "hosts": [{"host": host, "port": port}]}


async def test_delivery_authenticates_to_a_host(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    auth = {"user": "jet", "password_file": str(password_file(tmp_path))}
    mechanisms = ("plain", "login", "cram-md5", "xoauth2", "oauthbearer")
    ways = [(mechanism, tls) for mechanism in mechanisms for tls in ("starttls", "implicit")]
    async with AsyncExitStack() as running:
        routes, upstreams = [], {}
        for mechanism, tls in ways:
            script = Script(users={"jet": PASSWORD}, mechanisms=(mechanism.upper(),), tls=certificates.server())
            script.implicit = tls == "implicit"
            upstream = await running.enter_async_context(Mx("smart.test", "127.0.0.1", script=script))
            with_mechanism = {**auth, "mechanisms": [mechanism.upper()]} if "oauth" in mechanism else auth
            action = hosts(upstream, tls=tls, ca_file=str(certificates.ca_file), auth=with_mechanism)
            routes.append(route(f"{mechanism}-{tls}", action, recipients=[f"{mechanism}.{tls}.test"]))
            upstreams[f"bob@{mechanism}.{tls}.test"] = upstream
        system = await make_system(routed(*routes))

        for recipient, upstream in upstreams.items():
            await system.submit("ann@home.test", [recipient], LETTER)
            message = await upstream.received(recipient)
            assert message.identity == "jet"
            assert message.tls


async def test_credentials_are_sent_without_tls_only_where_the_route_says_so(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    auth = {"user": "jet", "password_file": str(password_file(tmp_path))}
    script = Script(users={"jet": "hunter2"}, extensions=(*EXTENSIONS, "AUTH PLAIN"))
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        system = await make_system(
            routed(
                route("careless", hosts(smart, auth=auth, insecure_auth=True), recipients=["careless.test"]),
                route("careful", hosts(smart, auth=auth, tls="starttls", verify=False)),
            )
        )

        await system.submit("ann@home.test", ["bob@careful.test"], LETTER)
        told = await deferred(system, "bob@careful.test")
        assert "offers no TLS, which is required" in told["why"]
        assert smart.heard["AUTH"] == 0

        await system.submit("ann@home.test", ["bob@careless.test"], LETTER)
        assert (await smart.received("bob@careless.test")).identity == "jet"


async def test_bad_credentials_lose_nothing_and_a_changed_password_file_counts_at_once(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    file = password_file(tmp_path, "old")
    auth = {"user": "jet", "password_file": str(file), "name": "upstream"}
    script = Script(users={"jet": "new"}, tls=certificates.server())
    async with Mx("smart.test", "127.0.0.1", script=script) as smart, Mx("spare.test", loopback_address()) as spare:
        system = await make_system(
            routed(
                {
                    **route("smart", hosts(smart, tls="starttls", ca_file=str(certificates.ca_file), auth=auth)),
                    "fallback": hosts(spare),
                },
                **{"delivery.lanes.failures_to_suspend": 1, "delivery.lanes.suspend_s": 0.1},
            )
        )
        for number in range(3):
            await system.submit("ann@home.test", [f"u{number}@d{number}.test"], LETTER)

        (service,) = system.delivery
        for number in range(3):
            told = await deferred(system, f"u{number}@d{number}.test")
            assert "said at auth: 535 5.7.8 bad credentials" in told["why"]
        assert smart.heard["AUTH"] == 1  # others wait: an account is locked by many attempts
        assert await service.metric("jetpost_delivery_credentials_refused", credentials="upstream") == 1
        assert (await system.depth()).get("bounce", 0) == 0
        _, shown = await system.command("queue", "list", "--json")
        assert "535 5.7.8 bad credentials" in shown

        password_file(tmp_path, "new")

        await smart.received_all(3)
        await system.empty()
        assert spare.connections == 0  # credentials are no reason to take another way
        assert await service.metric("jetpost_delivery_credentials_refused", credentials="upstream") == 0


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "421 4.3.2 closing"])
async def test_an_authentication_that_fails_for_now_is_tried_again(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path, answer: str
) -> None:
    auth = {"user": "jet", "password_file": str(password_file(tmp_path))}
    script = Script(users={"jet": "hunter2"}, tls=certificates.server(), replies={"AUTH": (answer,)})
    async with Mx("smart.test", "127.0.0.1", script=script) as smart:
        action = hosts(smart, tls="starttls", ca_file=str(certificates.ca_file), auth=auth)
        system = await make_system(routed(route("smart", action)))

        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        assert f"said at auth: {answer}" in (await deferred(system, "bob@anywhere.test"))["why"]
        await smart.received("bob@anywhere.test")


async def test_routes_to_the_same_host_never_share_a_connection(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    script = Script(tls=certificates.server(), users={"one": "hunter2", "two": "hunter2"})
    async with Mx("smart.test", "127.0.0.1", script=script) as smart:
        ca_file, password = str(certificates.ca_file), str(password_file(tmp_path))
        one = {"user": "one", "password_file": password}
        two = {"user": "two", "password_file": password}
        ways = {
            "one": hosts(smart, tls="starttls", ca_file=ca_file, auth=one),
            "two": hosts(smart, tls="starttls", ca_file=ca_file, auth=two),
            "unverified": hosts(smart, tls="starttls", verify=False, auth=two),
            "sourced": hosts(smart, tls="starttls", ca_file=ca_file, auth=two, source_address="127.0.0.1"),
            "plain": hosts(smart, auth=two, insecure_auth=True),
        }
        system = await make_system(
            routed(
                *(route(name, action, recipients=[f"{name}.test"]) for name, action in ways.items()),
                **{"delivery.attempt.idle_s": 60},
            )
        )

        for _ in range(2):
            for name in ways:
                already = len(smart.to(f"bob@{name}.test"))
                await system.submit("ann@home.test", [f"bob@{name}.test"], LETTER)
                await eventually(lambda n=name, a=already: len(smart.to(f"bob@{n}.test")) > a, "it is there")  # type: ignore[misc]

        assert smart.connections == len(ways)
        by_way = {name: {message.connection for message in smart.to(f"bob@{name}.test")} for name in ways}
        assert len({number for numbers in by_way.values() for number in numbers}) == len(ways)
        assert all(len(numbers) == 1 for numbers in by_way.values())
        assert {name: smart.to(f"bob@{name}.test")[0].identity for name in ways} == {
            "one": "one",
            "two": "two",
            "unverified": "two",
            "sourced": "two",
            "plain": "two",
        }
        assert {name for name in ways if not smart.to(f"bob@{name}.test")[0].tls} == {"plain"}


async def test_mx_hosts_can_have_a_port_and_a_tls_requirement_of_their_own(
    make_system: MakeSystem, mx: MakeMx, names: ServedZone
) -> None:
    usual = await mx("in-clear.test")
    address = loopback_address()
    names.add("mx.elsewhere.test", a=[address])
    names.add("elsewhere.test", mx=[(10, "mx.elsewhere.test")])
    async with Mx("mx.elsewhere.test", address) as elsewhere:
        system = await make_system(
            routed(
                route("port", {"kind": "mx", "port": elsewhere.port}, recipients=["elsewhere.test"]),
                route("strict", {"kind": "mx", "tls": "required"}, senders=["strict.test"]),
            )
        )

        await system.submit("ann@home.test", ["bob@elsewhere.test"], LETTER)
        await system.submit("ann@strict.test", ["bob@in-clear.test"], LETTER)
        await system.submit("ann@home.test", ["carl@in-clear.test"], LETTER)

        await elsewhere.received("bob@elsewhere.test")
        await usual.received("carl@in-clear.test")
        assert "offers no TLS, which is required" in (await deferred(system, "bob@in-clear.test"))["why"]
        assert not usual.to("bob@in-clear.test")


async def test_mail_is_discarded_or_fails_by_a_route(make_system: MakeSystem, mx: MakeMx) -> None:
    home, dest = await mx("home-of-routes.test"), await mx("dest-of-routes.test")
    system = await make_system(
        routed(
            route("trap", {"kind": "discard"}, senders=["spam.test"]),
            route("gone", {"kind": "fail", "status": "5.1.6", "text": "moved away"}, recipients=["*.routes.test"]),
            route("dest", {"kind": "fail"}, recipients=["dest-of-routes.test"], identities=["bob"]),
        )
    )

    await system.submit("ann@spam.test", ["bob@dest-of-routes.test"], LETTER)
    await system.submit("ann@home-of-routes.test", ["bob@gone.routes.test"], LETTER)

    dsn = await home.received("ann@home-of-routes.test")
    status = dsn.delivery_status("bob@gone.routes.test")
    assert status["Status"] == "5.1.6"
    assert status["Action"] == "failed"
    assert "moved away" in dsn.dsn_text
    await system.empty()
    assert dest.connections == 0
    (service,) = system.delivery
    assert await service.metric("jetpost_delivery_routed_total", result="discarded", route="trap") == 1
    told = next(line for line in service.log_lines() if line.get("recipient") == "bob@dest-of-routes.test")
    assert (told["event"], told["why"]) == ("discarded", "discarded by route trap")
    assert await service.metric("jetpost_delivery_recipients_total", outcome="discarded") == 1
    assert await service.metric("jetpost_delivery_seconds_count") == 1  # the DSN; what is discarded is not delivered


async def test_the_fallback_is_used_while_no_host_can_be_reached_and_left_when_one_answers(
    make_system: MakeSystem, surroundings: Surroundings
) -> None:
    address = loopback_address()
    first = await Mx("first.test", address).start()
    port = first.port
    await first.stop()
    async with Mx("spare.test", loopback_address()) as spare:
        system = await make_system(
            routed(
                {**route("smart", hosts(first)), "fallback": hosts(spare)},
                **{"delivery.lanes.failures_to_suspend": 2, "delivery.lanes.suspend_s": 1},
            )
        )
        for number in range(4):
            await system.submit("ann@home.test", [f"u{number}@d{number}.test"], LETTER)
            await spare.received(f"u{number}@d{number}.test")
        (service,) = system.delivery
        assert await service.metric("jetpost_delivery_route_suspensions_total", route="smart") >= 1

        async with Mx("first.test", address, port) as again:

            async def is_left() -> bool:
                await system.submit("ann@home.test", ["late@late.test"], LETTER)
                await system.empty()
                return bool(again.messages)

            await eventually_asked(is_left, "the route is used again")
            used = len(spare.messages)
            await system.submit("ann@home.test", ["last@last.test"], LETTER)
            await again.received("last@last.test")
            assert len(spare.messages) == used


async def test_the_fallback_follows_a_route_of_many_dead_hosts_in_the_same_attempt(
    make_system: MakeSystem, names: ServedZone
) -> None:
    """32 of them, and one with 50 addresses, of which as many are tried as of an MX host."""
    async with Mx("spare.test", loopback_address()) as spare, Mx("closed.test", loopback_address()) as closed:
        dead = [f"dead{number}.test" for number in range(31)]
        for name in dead:
            names.add(name, a=[loopback_address()])
        names.add("many.test", a=[loopback_address() for _ in range(50)])
        await closed.stop()
        listed = [{"host": name, "port": closed.port, "weight": 0} for name in (*dead, "many.test")]
        action = {**IN_CLEAR, "hosts": listed}
        system = await make_system(routed({**route("smart", action), "fallback": hosts(spare)}))

        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        await spare.received("bob@anywhere.test")
        await system.empty()
        (line,) = [it for it in system.delivery[0].log_lines() if it["event"] in {"delivered", "deferred"}]
        assert (line["event"], line["attempt"]) == ("delivered", 1)
        for name in (*dead, "many.test"):
            names.remove(name)


async def test_hosts_that_are_silent_leave_time_for_the_fallback(make_system: MakeSystem) -> None:
    script = Script(replies={"CONNECT": SILENCE})
    async with (
        Mx("silent.test", loopback_address(), script=script) as silent,
        Mx("spare.test", loopback_address()) as spare,
    ):
        system = await make_system(
            routed(
                {**route("smart", hosts(silent)), "fallback": hosts(spare)},
                **{
                    "delivery.attempt.timeouts.attempt_s": 4,
                    "delivery.retry.first_s": 3600,
                    "delivery.retry.cap_s": 3600,
                },
            )
        )

        await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

        await spare.received("bob@anywhere.test")
        await system.empty()
        assert silent.connections == 1


async def test_tls_that_fails_or_a_password_that_is_away_never_leads_to_the_fallback(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    file = password_file(tmp_path)
    auth = {"user": "jet", "password_file": str(file)}
    ca_file = str(certificates.ca_file)
    script = Script(tls=certificates.server(), users={"jet": PASSWORD})
    async with Mx("smart.test", "127.0.0.1", script=script) as smart, Mx("s.test", loopback_address()) as spare:
        unknown_ca = route("unknown-ca", hosts(smart, tls="starttls"), recipients=["unknown-ca.test"])
        no_password = route("no-password", hosts(smart, tls="starttls", ca_file=ca_file, auth=auth))
        not_in_dns = route("not-in-dns", {**IN_CLEAR, "hosts": [{"host": "gone.test"}]}, recipients=["not-in-dns.test"])
        routes = [{**it, "fallback": hosts(spare)} for it in (unknown_ca, not_in_dns, no_password)]
        system = await make_system(routed(*routes, **{"delivery.lanes.failures_to_suspend": 1}))
        file.unlink()

        for domain in ("unknown-ca.test", "no-password.test", "not-in-dns.test"):
            await system.submit("ann@home.test", [f"bob@{domain}"], LETTER)

        assert "CERTIFICATE_VERIFY_FAILED" in (await deferred(system, "bob@unknown-ca.test"))["why"]
        assert "cannot read password file" in (await deferred(system, "bob@no-password.test"))["why"]
        await spare.received("bob@not-in-dns.test")
        password_file(tmp_path)
        assert (await smart.received("bob@no-password.test")).identity == "jet"
        assert [message.recipients for message in spare.messages] == [("bob@not-in-dns.test",)]
        assert not smart.to("bob@unknown-ca.test")


async def test_a_route_has_so_many_attempts_at_a_time_over_all_domains(make_system: MakeSystem, mx: MakeMx) -> None:
    other = await mx("not-by-the-route.test")
    script = Script(delays={"DOT": 0.05})
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        limited = {**route("smart", hosts(smart), senders=["bulk.test"]), "connections": 2}
        system = await make_system(routed(limited))
        to = [f"u{number}@d{number % 10}.test" for number in range(40)]
        async with system.submitting() as client:
            for recipient in to:
                assert (await client.transact("ann@bulk.test", [recipient], stuffed(LETTER))).is_positive
            await client.transact("ann@home.test", ["bob@not-by-the-route.test"], stuffed(LETTER))

        await other.received("bob@not-by-the-route.test")
        await smart.received_all(len(to))
        await system.empty()
        assert smart.most_open == 2
        assert sorted(message.recipients[0] for message in smart.messages) == sorted(to)


async def test_what_a_congested_route_cannot_keep_in_memory_comes_back_later(make_system: MakeSystem) -> None:
    script = Script(delays={"DOT": 0.1})
    async with Mx("smart.test", loopback_address(), script=script) as smart:
        limited = {**route("smart", hosts(smart)), "connections": 1}
        system = await make_system(routed(limited, **{"delivery.lanes.waiting_per_domain": 1}))
        to = [f"u{number}@d{number}.test" for number in range(12)]
        async with system.submitting() as client:
            for recipient in to:
                assert (await client.transact("ann@home.test", [recipient], stuffed(LETTER))).is_positive

        await smart.received_all(len(to))
        await system.empty()
        assert len(smart.messages) == len(to)
        assert smart.most_open == 1
        (service,) = system.delivery
        assert await service.metric("jetpost_delivery_postponed_total") > 0
        lines = [line for line in service.log_lines() if line["event"] == "delivered"]
        assert {line["attempt"] for line in lines} == {1}  # to wait is no attempt


async def test_a_host_that_says_no_is_an_answer_and_no_reason_for_the_fallback(
    make_system: MakeSystem, mx: MakeMx
) -> None:
    home = await mx("home-of-no.test")
    script = Script(replies={"bob": "550 5.1.1 no such user", "carl": ("451 4.7.1 not now",)})
    async with Mx("smart.test", loopback_address(), script=script) as smart, Mx("s.test", loopback_address()) as spare:
        system = await make_system(
            routed(
                route("dsns", {"kind": "mx"}, senders=["<>"]),
                {**route("smart", hosts(smart)), "fallback": hosts(spare)},
            )
        )

        await system.submit("ann@home-of-no.test", ["bob@dest.test", "carl@dest.test"], LETTER)

        await home.received("ann@home-of-no.test")
        await smart.received("carl@dest.test")
        assert spare.connections == 0


async def test_a_route_whose_hosts_are_not_in_dns_keeps_its_mail(make_system: MakeSystem, names: ServedZone) -> None:
    action = {**IN_CLEAR, "hosts": [{"host": "not-there.test"}]}
    system = await make_system(routed(route("smart", action)))

    await system.submit("ann@home.test", ["bob@anywhere.test"], LETTER)

    told = await deferred(system, "bob@anywhere.test")
    assert told["why"] == "no host of route smart has an address: not-there.test has no address in DNS"


async def deferred(system: System, recipient: str) -> dict[str, Any]:
    """The line of the log about a recipient's first deferral, as soon as it is there."""

    async def line() -> dict[str, Any] | None:
        lines = (line for service in system.delivery for line in service.log_lines())
        return next((it for it in lines if it["event"] == "deferred" and it.get("recipient") == recipient), None)

    return await eventually_asked(line, f"{recipient} is deferred")
