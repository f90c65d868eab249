"""Programs of packages that are extracted and not installed: each runs as if its packages were there."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_PATIENCE_S = 30
FIRST_UID = 64_001
"""Of the first of the `users`, and of its group."""
# In a mount namespace, which ends with the program: what it writes in /var and /run is in memory, and only there.
_RUN = """
tree=$1 etc=$2 memory=$3; shift 3
mount -t tmpfs tmpfs "$memory"
for folder in var run; do
    mkdir "$memory/$folder" "$memory/$folder.work"
    lower=/$folder; [ ! -d "$tree/$folder" ] || lower=$tree/$folder:$lower
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$memory/$folder,workdir=$memory/$folder.work" "/$folder"
done
mount -t overlay overlay -o "lowerdir=$etc:$tree/etc:/etc" /etc
mount -t overlay overlay -o "lowerdir=$tree/usr:/usr" /usr
exec "$@"
"""


class Extracted:
    """A program of the packages in `tree`: `with Extracted(…):` runs it. Needs root.

    `users` are system users that it needs and the machine may not have, and the first of them owns the folder `own`.
    `files` lie over those of the same names in /etc.
    """

    def __init__(
        self, tree: Path, folder: Path, command: Sequence[str], *, users: Sequence[str], files: Mapping[str, str]
    ) -> None:
        etc, memory = folder / "etc", folder / "memory"
        self.own = folder / "own"
        for made in (memory, self.own):
            made.mkdir()
        os.chown(self.own, FIRST_UID, FIRST_UID)
        for name, text in {**files, **_accounts(users)}.items():
            (etc / name).parent.mkdir(parents=True, exist_ok=True)
            (etc / name).write_text(text, encoding="utf-8")
        self._output = folder / "output"
        self._command = ["unshare", "--mount", "sh", "-euc", _RUN, "sh", str(tree), str(etc), str(memory), *command]

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)  # noqa: S603 — our own words
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE_S)

    def insist(self) -> None:
        """AssertionError, with what it has printed, when it has ended."""
        assert self._process.poll() is None, self._output.read_text(errors="replace")


def _accounts(users: Sequence[str]) -> dict[str, str]:
    """/etc/passwd and /etc/group of this machine, with these users and a group of each."""
    passwd, group = (Path("/etc", name).read_text(encoding="utf-8") for name in ("passwd", "group"))
    for number, user in enumerate(users, start=FIRST_UID):
        passwd += f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"
        group += f"{user}:x:{number}:\n"
    return {"passwd": passwd, "group": group}
