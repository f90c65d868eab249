"""Mail within a cluster: a destination that says what it got, and a load whose every message is accounted for.

Both run from the image under test, since it is the one image that the cluster is known to have.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from tests.fixtures.kubernetes import RELEASE, Namespace, until

_TAKE = """
import asyncio
from aiosmtpd.controller import UnthreadedController

class Taken:
    async def handle_DATA(self, server, session, envelope):
        head = envelope.content.partition(b"\\r\\n\\r\\n")[0].decode()
        print(*(line[9:] for line in head.splitlines() if line.startswith("Subject: ")), flush=True)
        return "250 2.0.0 taken"

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
UnthreadedController(Taken(), hostname="0.0.0.0", port=25, loop=loop).begin()
loop.run_forever()
"""
_SEND = """
import os, signal, smtplib, sys, threading, time

host, to, name = os.environ["SERVER"], os.environ["TO"], os.environ["NAME"]
least = time.monotonic() + float(os.environ["SECONDS"])
enough = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: enough.set())

speaking = threading.Lock()

def say(line):
    with speaking:  # print() writes a line in pieces
        print(line, flush=True)

def send(session):
    number = 0
    while time.monotonic() < least or not enough.is_set():
        try:
            with smtplib.SMTP(host, 25, timeout=60) as client:
                for _ in range(20):
                    number += 1
                    marker = f"{name}-{session}-{number}"
                    client.sendmail("ann@" + to.partition("@")[2], [to], f"Subject: {marker}\\r\\n\\r\\nx\\r\\n")
                    say("accepted " + marker)
                    time.sleep(0.02)
        except (smtplib.SMTPException, OSError) as error:
            say("refused " + repr(error))
            time.sleep(0.5)

sessions = [threading.Thread(target=send, args=(number,)) for number in range(8)]
for session in sessions:
    session.start()
for session in sessions:
    session.join()
say("finished")
"""
_ENOUGH = "import os, signal; os.kill(1, signal.SIGUSR1)"
_NOBODY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
    # One of the settings that the restricted level allows: port 25 without a privilege.
    "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "25"}],
}
_CLOSED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


class Account(NamedTuple):
    """The sum of a load."""

    accepted: int
    lost: list[str]
    duplicates: list[str]

    def __str__(self) -> str:
        return f"{self.accepted} accepted, {len(self.lost)} lost, {len(self.duplicates)} duplicates"


class Sink:
    """A destination in the namespace: its domain has an address and no MX, which is one (RFC 5321, 5.1)."""

    def __init__(self, namespace: Namespace, cluster_domain: str) -> None:
        self.namespace = namespace
        self.domain = f"sink.{namespace.name}.svc.{cluster_domain}"

    def start(self) -> None:
        """Make it; returns when it takes mail."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "sink"},
            "spec": {"clusterIP": "None", "selector": {"app": "sink"}, "ports": [{"name": "smtp", "port": 25}]},
        }
        self.namespace.apply(service, self._pod("sink", _TAKE, {}))
        self.namespace.kubectl("wait", "pod/sink", "--for=condition=Ready", "--timeout=300s")

    def taken(self) -> Counter[str]:
        """How often each subject has come."""
        return Counter(self.namespace.kubectl("logs", "sink", "--tail=-1").splitlines())

    @contextmanager
    def under_load(self, name: str, seconds: float) -> Iterator["Load"]:
        """A load that goes on beside the block until it is accounted for, and for at least `seconds`."""
        server = f"{RELEASE}-ingress.{self.namespace.name}"
        environment = {"SERVER": server, "TO": f"bob@{self.domain}", "NAME": name, "SECONDS": str(seconds)}
        self.namespace.apply(self._pod(f"load-{name}", _SEND, environment))
        self.namespace.kubectl("wait", f"pod/load-{name}", "--for=condition=Ready", "--timeout=300s")
        load = Load(self, f"load-{name}")
        try:
            until(load.accepted, f"the load {name} has begun")
            yield load
        finally:
            self.namespace.kubectl("delete", "pod", f"load-{name}", "--wait=false")

    def _pod(self, name: str, program: str, environment: Mapping[str, str]) -> dict[str, Any]:
        container = {
            "name": "python",
            "image": self.namespace.image,
            "command": ["python", "-u", "-c", program],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "securityContext": _CLOSED,
        }
        spec = {"restartPolicy": "Never", "securityContext": _NOBODY, "automountServiceAccountToken": False}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {**spec, "containers": [container]},
        }


class Load:
    """A load that is under way."""

    def __init__(self, sink: Sink, pod: str) -> None:
        self._sink = sink
        self._pod = pod

    def accepted(self) -> set[str]:
        """The messages that got a 250 so far."""
        return {line.split()[1] for line in self._lines() if line.startswith("accepted ")}

    def account(self) -> Account:
        """End the load, which must be going on, and wait for its mail; what does not come in time is lost."""
        assert "finished" not in self._lines(), "the load has ended before what it was to be the load of"
        self._sink.namespace.kubectl("exec", self._pod, "--", "python", "-c", _ENOUGH)
        until(lambda: "finished" in self._lines(), f"{self._pod} has finished", within_s=600)
        accepted = self.accepted()
        with suppress(AssertionError):  # told by the account
            until(lambda: not accepted - self._sink.taken().keys(), "all mail is there")
        taken = self._sink.taken()
        return Account(
            len(accepted), sorted(accepted - taken.keys()), sorted(name for name in accepted if taken[name] > 1)
        )

    def depth(self) -> dict[str, int]:
        """What is queued, by state, as `jetpost queue depth` says."""
        states: dict[str, int] = json.loads(self._sink.namespace.run("bouncer", "jetpost", "queue", "depth", "--json"))[
            "states"
        ]
        return {state: number for state, number in states.items() if number}

    def _lines(self) -> list[str]:
        return self._sink.namespace.kubectl("logs", self._pod, "--tail=-1").splitlines()
