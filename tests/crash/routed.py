"""Mail whose every domain has a route of its own, and the hosts behind the routes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import MakeMx
from tests.crash.account import Fate
from tests.crash.mix import HOME, LARGE, SMALL, Hosts, Mix
from tests.fixtures.addresses import loopback_address
from tests.fixtures.certificates import Certificates
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import EXTENSIONS, Script
from tests.fixtures.zone import ServedZone

PASSWORDS = {"jet": "hunter2", "other": "hunter3"}
DOMAINS = {word: f"routed-{word}.test" for word in ("smart", "other", "spare", "box", "void", "gone")}
IDENTITIES = {DOMAINS["smart"]: "jet", DOMAINS["other"]: "other"}
"""Two routes lead to the same hosts, with credentials of their own."""
_SLOW_S = 0.2
_MIX = Mix(
    domains=DOMAINS,
    kinds=(
        ("ann@smart", SMALL),
        ("ann@box bob@box carl@box", SMALL),
        ("ann@other", SMALL),
        ("ann@box broken@box carl@box", SMALL),
        ("ann@smart grey@smart nobody@smart", SMALL),
        ("ann@box full@box busy@box dora@box", SMALL),
        ("ann@void", SMALL),
        ("ann@smart", LARGE),
        ("ann@gone", SMALL),
        ("ann@box nobody@box broken@box dora@box eve@box", LARGE),
        ("ann@other nobody@other", SMALL),
        ("ann@smart ann@other ann@spare ann@box ann@void ann@gone", SMALL),
        ("ann@box bob@box", SMALL),
        ("ann@smart", SMALL),
        ("ann@spare", SMALL),
        ("broken@box ann@box", SMALL),
        ("ann@other", LARGE),
    ),
    burst="ann@spare",
    ends={"void": Fate.DISCARDED, "gone": Fate.BOUNCED},
)
SETTINGS = {"delivery.lanes.failures_to_suspend": 2, "delivery.lanes.suspend_s": 0.5}
"""Configuration with which the fallback is left soon after a host has come back."""


class Routed(NamedTuple):
    """The hosts of all routes."""

    hosts: Hosts
    first: Mx
    """The preferred one of two smart hosts."""
    second: Mx
    main: Mx
    """The host of the route with a fallback."""
    spare: Mx
    box: Mx
    """The mailbox server."""
    routes: list[dict[str, Any]]
    """`delivery.routes`"""

    async def fail(self) -> None:
        """The preferred smart host, and the host with a fallback, end all their connections and are away."""
        for host in (self.first, self.main):
            await host.stop()

    async def recover(self) -> None:
        """They are back, where they were."""
        for host in (self.first, self.main):
            await host.start()


@asynccontextmanager
async def routed(mx: MakeMx, names: ServedZone, folder: Path) -> AsyncIterator[Routed]:
    """The hosts, running, while the block runs."""
    certificates = Certificates(folder, "first.smart.test", "second.smart.test")
    chunking = (*EXTENSIONS, "CHUNKING")
    smart = Script(tls=certificates.server(), users=PASSWORDS, extensions=chunking)
    spares = Script(delays={"DOT": _SLOW_S})
    lmtp = Script(lmtp=True, extensions=chunking)
    async with AsyncExitStack() as running:

        async def made(name: str, script: Script) -> Mx:
            host = await Mx(name, loopback_address(), script=script).start()
            running.push_async_callback(host.stop)
            names.add(name, a=[host.address])
            running.callback(names.remove, name)
            return host

        first, second = await made("first.smart.test", smart), await made("second.smart.test", smart)
        main, spare = await made("main.spare.test", spares), await made("spare.spare.test", spares)
        box = await made("lmtp.box.test", lmtp)
        scripts = {"smart": smart, "other": smart, "spare": spares, "box": lmtp}
        hosts = Hosts(
            _MIX,
            {DOMAINS[word]: script for word, script in scripts.items()},
            (first, second, main, spare, box),
            await mx(HOME),
        )
        actions = {
            "smart": _smart(certificates, folder, "jet", "PLAIN", first, second),
            "other": _smart(certificates, folder, "other", "CRAM-MD5", first, second),
            "spare": _action("hosts", main, tls="none"),
            "box": _action("lmtp", box),
            "void": {"kind": "discard"},
            "gone": {"kind": "fail", "status": "5.1.6", "text": "moved away"},
        }
        routes = [
            {"name": word, "match": {"recipients": [DOMAINS[word]]}, "action": action}
            | ({"fallback": _action("hosts", spare, tls="none")} if word == "spare" else {})
            for word, action in actions.items()
        ]
        yield Routed(hosts, first, second, main, spare, box, routes)


def _action(kind: str, *hosts: Mx, **more: Any) -> dict[str, Any]:
    listed = [
        {"host": host.name, "port": host.port, "preference": 10 * number} for number, host in enumerate(hosts, start=1)
    ]
    return {"kind": kind, "hosts": listed, **more}


def _smart(certificates: Certificates, folder: Path, user: str, mechanism: str, *hosts: Mx) -> dict[str, Any]:
    (file := folder / f"password-{user}").write_text(f"{PASSWORDS[user]}\n")
    auth = {"user": user, "password_file": str(file), "mechanisms": [mechanism]}
    return _action("hosts", *hosts, ca_file=str(certificates.ca_file), auth=auth)
