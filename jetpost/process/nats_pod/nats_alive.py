"""Whether the nats-server of this pod is alive: the pod's liveness probe.

    python -m jetpost.process.nats_pod.nats_alive --monitoring URL --store DIR --pid-file FILE

Exit status 1 when it does not answer, or when it keeps the error of a disk that was full although there is room again
(`jetpost/store/full_disk.py`). In the second case the server is told to end at once (SIGTERM), so that the kubelet
starts it again: the pod's preStop hook is for a server that serves. While the disk is full the server is alive: it
reads, and a restart would not help. So is one that is slow, behind, or without a quorum.

While a server switches JetStream off, free space is no reason to end it: it may fill the disk again. The probe then
fails, and ends nothing. If that state remains, the kubelet restarts the container after `failureThreshold` failures.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from jetpost.reason import reason_of
from jetpost.store.full_disk import Volume, has_room, is_off, kept_error, says_off

_PATIENCE_S = 4.0
_MOST_BYTES = 4 * 1024 * 1024
_ANSWERS = "/healthz?js-server-only=true"
_TELLS = "/healthz?details=true"
_ACCOUNT = "/accountz?acc=$G"
_RAFT = "/raftz"


class _Asked(argparse.Namespace):
    monitoring: SplitResult
    store: Path
    pid_file: Path
    log: Path | None


def main(words: list[str]) -> int:
    """The exit status of the probe."""
    asked = _parser().parse_args(words, namespace=_Asked())
    try:
        health = _get(asked.monitoring, _TELLS)
    except (OSError, ValueError):
        # That one looks at each stream and waits for those that are busy; this one waits for nothing.
        return _answers(asked.monitoring)
    kept = kept_error(health)
    if kept is None:
        return 0
    # First this, then the volume: what it has while the server still writes and deletes says nothing.
    is_settled = not says_off(kept) or _is_off(asked.monitoring)
    if not has_room(_volume(asked.store)):
        return 0
    if not is_settled:
        _tell("nats-server is switching JetStream off, after a write that found no room", None)
        return 1
    _tell(f"nats-server is restarted: there is room on its disk again, and it keeps an error: {kept[:500]}", asked.log)
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(asked.pid_file.read_text()), signal.SIGTERM)
    return 1


def _answers(monitoring: SplitResult) -> int:
    try:
        _get(monitoring, _ANSWERS)
    except (OSError, ValueError) as error:
        _tell(f"nats-server does not answer: {reason_of(error)}", None)
        return 1
    return 0


def _is_off(monitoring: SplitResult) -> bool:
    try:
        return is_off(_get(monitoring, _ACCOUNT), _get(monitoring, _RAFT))
    except (OSError, ValueError):
        return False


def _volume(store: Path) -> Volume:
    found = os.statvfs(store)
    return Volume(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def _get(monitoring: SplitResult, path: str) -> Any:
    """The JSON answer, whatever its status. OSError or ValueError: there is none.

    By hand: the standard library's HTTP takes longer to import than all the rest of a probe. The certificate is not
    checked, no more than the kubelet does: it is this pod's own server, at a loopback address.
    """
    host, port = monitoring.hostname or "127.0.0.1", monitoring.port or 8222
    with contextlib.ExitStack() as open_:
        connection = open_.enter_context(socket.create_connection((host, port), timeout=_PATIENCE_S))
        if monitoring.scheme == "https":
            connection = open_.enter_context(_secured(connection))
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = bytearray()
        while (data := connection.recv(65536)) and len(answer) < _MOST_BYTES:
            answer += data
    _, found, body = bytes(answer).partition(b"\r\n\r\n")
    if not found:
        raise ValueError("no answer")
    return json.loads(body)


def _secured(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def _tell(text: str, log: Path | None) -> None:
    """To stdout, which becomes an event of the pod; and to a file, where the server's own lines go."""
    line = f"[jetpost] {text}\n"
    sys.stdout.write(line)
    if log is not None:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jetpost.process.nats_pod.nats_alive")
    parser.add_argument("--monitoring", type=urlsplit, required=True, help="the server's monitoring URL")
    parser.add_argument("--store", type=Path, required=True, help="the server's `store_dir`")
    parser.add_argument("--pid-file", type=Path, required=True, help="the server's")
    parser.add_argument("--log", type=Path, help="a file to write to beside stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
