"""The node of a cluster that is on this machine (`make node`): its processes and volumes, to be harmed."""

import os
import subprocess
from pathlib import Path

from tests.fixtures.kubernetes import RELEASE, Namespace


def missing() -> str | None:
    """What keeps a test from the node, or None."""
    return None if os.environ.get("CLUSTER_NODE") else "needs the node itself: make node"


def server(namespace: Namespace, pod: str) -> int:
    """The process id of the nats-server of a pod. StopIteration: none runs."""
    mark = f"{RELEASE}-nats.{namespace.name}.svc".encode()
    return next(
        pid for pid, words in _environments() if f"POD_NAME={pod}".encode() in words and mark in b"".join(words)
    )


def _environments() -> list[tuple[int, list[bytes]]]:
    """Of every nats-server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "exe").readlink().name == "nats-server":
                found.append((int(process.name), (process / "environ").read_bytes().split(b"\0")))
        except OSError:  # it has ended
            continue
    return found


class Volume:
    """The volume of a nats-server: a file system in memory whose size can be changed."""

    def __init__(self, namespace: Namespace, pod: str) -> None:
        (claim,) = namespace.objects("persistentvolumeclaim", f"data-{pod}")
        (volume,) = namespace.objects("persistentvolume", claim["spec"]["volumeName"])
        self.claim = str(claim["metadata"]["name"])
        self.folder = Path(volume["spec"]["hostPath"]["path"])
        found = os.statvfs(self.folder)
        self._size = found.f_blocks * found.f_frsize

    def fill(self) -> None:
        """Take all room but a few messages'."""
        found = os.statvfs(self.folder)
        self._resize((found.f_blocks - found.f_bfree) * found.f_frsize + 256 * 1024)

    def make_room(self) -> None:
        """Give it back."""
        self._resize(self._size)

    def damage(self) -> str:
        """Overwrite the head of the largest block of all streams; its path in the pod."""
        block = max(self.folder.glob("jetstream/*/streams/*/msgs/*.blk"), key=lambda it: it.stat().st_size)
        with block.open("r+b") as file:
            file.write(b"\xff" * 64)
        return f"/data/{block.relative_to(self.folder)}"

    def _resize(self, size: int) -> None:
        options = f"remount,size={size // 1024}k"
        subprocess.run(["mount", "-o", options, self.folder], check=True)  # noqa: S603, S607
