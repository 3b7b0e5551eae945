"""Several allocator processes that share one port: `earmark-allocator --processes N`.

Each is a whole allocator, and shares nothing with the others but Postgres. The kernel gives each new connection to one
of them, so a caller that opens several connections reaches several. One that ends takes the others with it: whoever
started them then starts all of them again.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.runtime.settings import Settings

SHARE_PORT: Final = "--share-port"
"""What tells a process that it is one of several."""
SERVING: Final = "serving on "
ALLOCATOR: Final = "services.allocator"


class CannotShare(Exception):
    """The address cannot be had, or a process did not start; the message says which."""


async def serve_with(processes: int, settings: Settings, stop: asyncio.Event, module: str = ALLOCATOR) -> int:
    """Runs so many processes until `stop` is set or one of them ends; returns the exit status. Raises CannotShare.

    The module is run as each of them: told `SHARE_PORT`, it says where it serves, and leaves with its parent.
    """
    async with _reserved(settings.listen_address) as address:
        children = [await _start(index, address, settings, module) for index in range(processes)]
        try:
            served = await asyncio.gather(*map(_address_of, children))
            print(f"{SERVING}{served[0]}", flush=True)
            ended = [asyncio.create_task(child.wait()) for child in children]
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([*ended, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            unasked = [each.result() for each in ended if each.done() and not stop.is_set()]
        finally:
            await _end(children)
    return next((abs(status) or 1 for status in unasked), 0)


async def leave_with_parent(stop: asyncio.Event) -> None:
    """Sets the event when whoever started this process is gone: its end of our standard input is then closed."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stop.set()


@asynccontextmanager
async def _reserved(listen_address: str) -> AsyncIterator[str]:
    """The address with its port, which no other program gets meanwhile. Raises CannotShare."""
    host, _, port = listen_address.rpartition(":")
    try:
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(place)
            yield f"{host}:{taken.getsockname()[1]}"
    except OSError as error:
        raise CannotShare(f"cannot listen on {listen_address}: {error.strerror}") from error


async def _start(index: int, address: str, settings: Settings, module: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "EARMARK_LISTEN_ADDRESS": address}
    host, _, port = settings.metrics_address.rpartition(":")
    if port and int(port):
        environment["EARMARK_METRICS_ADDRESS"] = f"{host}:{int(port) + index}"
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        SHARE_PORT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _address_of(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    line = (await child.stdout.readline()).decode().strip()
    if not line.startswith(SERVING):
        raise CannotShare("one of the processes did not start; its own last line says why")
    return line.removeprefix(SERVING)


async def _end(children: Sequence[asyncio.subprocess.Process]) -> None:
    for child in children:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
    await asyncio.gather(*(child.wait() for child in children))
