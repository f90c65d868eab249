"""Where the time goes inside a process: py-spy's flame graphs."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fixtures.process import Service

_PER_SECOND = 200
_WRITING_S = 60


@asynccontextmanager
async def of(services: Sequence[Service], name: str, folder: Path | None) -> AsyncIterator[None]:
    """Sample the services while the block runs and write `<name>-<service>.svg` into `folder`; None: do nothing.

    Sampling slows the process down: rates measured meanwhile mean nothing. FileNotFoundError: there is no py-spy.
    """
    if folder is None:
        yield
        return
    spies = [await _spy(service.pid, folder / f"{name}-{service.name}.svg") for service in services]
    try:
        yield
    finally:
        for spy in spies:
            spy.send_signal(signal.SIGINT)
        async with asyncio.timeout(_WRITING_S):
            await asyncio.gather(*(spy.wait() for spy in spies))


async def _spy(pid: int, output: Path) -> asyncio.subprocess.Process:
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise FileNotFoundError("py-spy is not installed: pip install py-spy")
    return await asyncio.create_subprocess_exec(
        *(program, "record", "--pid", str(pid), "--output", output, "--rate", str(_PER_SECOND), "--nonblocking"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
