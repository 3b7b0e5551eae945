"""The command line on a terminal: its colours, its bars, and its completion; and what is left of them elsewhere."""

import asyncio
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from earmark.messages import MessageClient

BIN = Path(sys.executable).parent
ROWS, COLUMNS = 30, 110
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
ESCAPE = "\x1b"
# What a bar that goes leaves for whatever comes next.
ERASED = "\x1b[2K"


class Terminal:
    """A program on a terminal of its own; what it has written there is in `shown`."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.theirs: int | None = theirs
        self.shown = ""
        self._changed = asyncio.Event()
        self._closed = False
        os.set_blocking(self._ours, False)
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    async def start(
        self, *command: str, stdout: int | None = None, stderr: int | None = None, **variables: str
    ) -> None:
        kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
        assert self.theirs is not None
        self.process = await asyncio.create_subprocess_exec(
            *command,
            stdin=self.theirs,
            stdout=self.theirs if stdout is None else stdout,
            stderr=self.theirs if stderr is None else stderr,
            env={**kept, "TERM": "xterm-256color", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables},
            start_new_session=True,
        )
        os.close(self.theirs)
        self.theirs = None

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    async def until(self, text: str) -> None:
        """Returns when it is shown, whatever was before."""
        while text not in self.shown:
            assert not self._closed, self.shown
            self._changed.clear()
            await self._changed.wait()

    async def end(self) -> tuple[int, str]:
        """The exit code, and what was written elsewhere."""
        elsewhere, errors = await self.process.communicate()
        while not self._closed:
            self._changed.clear()
            await self._changed.wait()
        assert self.process.returncode is not None
        return self.process.returncode, (elsewhere or errors or b"").decode()

    def _read(self) -> None:
        try:
            read = os.read(self._ours, 65536)
        except OSError:  # The last program on it has gone.
            read = b""
        self.shown += read.decode()
        if not read:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._ours)
        self._changed.set()

    async def close(self) -> None:
        if self.theirs is not None:
            os.close(self.theirs)
        elif self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if not self._closed:
            asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    made = Terminal()
    yield made
    await made.close()


class Relay(grpc.GenericRpcHandler):
    """Passes calls on to an allocator; each of a method that is in `held` once it is released."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.held: dict[str, asyncio.Semaphore] = {}
        self.address = ""

    def hold(self, method: str) -> asyncio.Semaphore:
        self.held[method] = asyncio.Semaphore(0)
        return self.held[method]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        path = handler_call_details.method
        if not path.startswith("/earmark."):
            return None

        method: Any = self._channel.unary_unary(path)

        async def pass_on(request: bytes, context: Any) -> Any:
            if held := self.held.get(path.rpartition("/")[2]):
                await held.acquire()
            try:
                return await method(request)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))

        return grpc.unary_unary_rpc_method_handler(pass_on)


@pytest.fixture
async def relay(channel: grpc.aio.Channel) -> AsyncIterator[Relay]:
    made = Relay(channel)
    server = grpc.aio.server(handlers=[made])
    healthy = health.aio.HealthServicer()
    await healthy.set("earmark.v1.AllocationService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield made
    await server.stop(grace=None)


Start = Callable[..., Awaitable[None]]


@pytest.fixture
def start(terminal: Terminal, relay: Relay) -> Start:
    """Starts `earmark` on the terminal; with `at_once` it waits for no second before it shows a bar."""

    async def run(*words: str, at_once: bool = False, **options: Any) -> None:
        program = [str(BIN / "earmark")]
        if at_once:
            code = "from earmark.cli import main, progress; progress.AFTER_SECONDS = 0; main()"
            program = [sys.executable, "-c", code]
        await terminal.start(*program, "--address", relay.address, *words, **options)

    return run


@pytest.fixture
async def switched_on(client: MessageClient, sensors: None, organization: str) -> None:
    await client.update_organization(organization, overdraft_unlimited=True)
    await client.enable_allocation(organization, offering="endpoint-sensor", units=5)


LIST = ("allocation", "list", "o-1")


async def test_a_terminal_has_colours(terminal: Terminal, start: Start, switched_on: None) -> None:
    await start(*LIST)
    assert await terminal.end() == (0, "")
    assert "\x1b[32mENABLED" in terminal.shown


@pytest.mark.parametrize(("value", "colours"), [("1", False), ("", True)])
async def test_no_color(terminal: Terminal, start: Start, switched_on: None, value: str, colours: bool) -> None:
    await start(*LIST, NO_COLOR=value)
    await terminal.end()
    assert "ENABLED" in terminal.shown
    assert bool(COLOUR.search(terminal.shown)) is colours


async def test_a_terminal_that_can_do_nothing_gets_text(terminal: Terminal, start: Start, switched_on: None) -> None:
    await start(*LIST, TERM="dumb", at_once=True)
    await terminal.end()
    assert "ENABLED" in terminal.shown
    assert ESCAPE not in terminal.shown


async def test_a_pipe_has_no_colours_even_if_they_are_forced(
    terminal: Terminal, start: Start, switched_on: None
) -> None:
    await start(*LIST, stdout=asyncio.subprocess.PIPE, FORCE_COLOR="1")
    exit_code, piped = await terminal.end()
    assert (exit_code, terminal.shown) == (0, "")
    assert "ENABLED" in piped
    assert ESCAPE not in piped


@pytest.mark.parametrize("piped", [False, True])
async def test_an_error_is_red_on_a_terminal_only(terminal: Terminal, start: Start, piped: bool) -> None:
    await start("usage", "nobody", stderr=asyncio.subprocess.PIPE if piped else None)
    exit_code, errors = await terminal.end()
    assert exit_code == 4
    said = errors if piped else terminal.shown
    assert "ORGANIZATION_NOT_FOUND" in said
    assert bool(COLOUR.search(said)) is not piped


# Bars. A call is held, so that it takes as long as the test wants.


async def test_a_list_that_takes_longer_shows_a_bar_until_it_comes(
    terminal: Terminal, start: Start, switched_on: None, relay: Relay
) -> None:
    held = relay.hold("ListAllocations")
    await start(*LIST)
    await terminal.until("Reading allocations")
    held.release()
    assert await terminal.end() == (0, "")
    _, _, rest = terminal.shown.rpartition(ERASED)
    assert "Reading" not in rest
    assert re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", rest).split()[:2] == ["ID", "OFFERING"]


async def test_an_export_to_a_file_shows_how_far_it_is(
    terminal: Terminal, start: Start, switched_on: None, relay: Relay, tmp_path: Path
) -> None:
    held = relay.hold("ListEntries")
    await start("export", "o-1", "--output", str(tmp_path / "ledger.csv"))
    await terminal.until("0 of 3")
    assert "Exporting the ledger" in terminal.shown
    held.release()
    assert await terminal.end() == (0, "")
    assert "The same again: --after 0 --through 3" in terminal.shown.rpartition(ERASED)[2]
    assert (tmp_path / "ledger.csv").read_text().count("\n") == 4


async def test_applying_operations_shows_a_bar(
    terminal: Terminal, start: Start, switched_on: None, relay: Relay, tmp_path: Path
) -> None:
    file = tmp_path / "operations.csv"
    file.write_text("operation,offering,units\n" + "enable,email-sensor,1\n" * 2)
    held = relay.hold("ApplyOperations")
    await start("allocation", "apply", "o-1", str(file))
    await terminal.until("Applying 2 operations")
    held.release()
    assert (await terminal.end())[0] == 0


async def test_loading_a_catalogue_shows_what_it_is_at(
    terminal: Terminal, start: Start, relay: Relay, tmp_path: Path
) -> None:
    file = tmp_path / "offerings.csv"
    header = "offering_id,display_name,solution,unit,credits_per_block,block_units,max_credits\n"
    file.write_text(header + "a,,,,1,1,\n" + "b,,,,1,1,\n")
    reading, creating = relay.hold("ListOfferings"), relay.hold("CreateOffering")
    await start("offerings", "load", str(file))
    await terminal.until("Reading the catalogue")
    reading.release()
    await terminal.until("Checking the changes")
    for done in (1, 2):
        await terminal.until(f"{done - 1} of 2")
        creating.release()
    creating.release()
    await terminal.until("Writing the changes")
    creating.release()
    assert (await terminal.end())[0] == 0
    assert "created 2, updated 0, unchanged 0" in terminal.shown.rpartition(ERASED)[2]
    # The bar is gone before the line that comes next.
    assert f"{ERASED}\x1b[32mcreated\x1b[0m  b" in terminal.shown


async def test_ctrl_c_takes_the_bar_away(terminal: Terminal, start: Start, switched_on: None, relay: Relay) -> None:
    relay.hold("GetUsage")
    await start("usage", "o-1")
    await terminal.until(f"Waiting for {relay.address}")
    terminal.process.send_signal(signal.SIGINT)
    assert (await terminal.end())[0] == 1
    _, _, rest = terminal.shown.rpartition(ERASED)
    assert "Waiting" not in rest
    assert "Aborted!" in rest


async def test_a_bar_is_not_in_the_output(terminal: Terminal, start: Start, switched_on: None, tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("wb") as file:
        await start(*LIST, at_once=True, stdout=file.fileno())
    await terminal.end()
    assert "Reading allocations" in terminal.shown
    listed = (tmp_path / "list.txt").read_text()
    assert "ENABLED" in listed
    assert ESCAPE not in listed


async def test_without_a_terminal_there_is_no_bar(terminal: Terminal, start: Start, switched_on: None) -> None:
    await start(*LIST, at_once=True, stderr=asyncio.subprocess.PIPE)
    assert await terminal.end() == (0, "")
    assert "Reading" not in terminal.shown


async def test_with_json_there_is_no_bar(terminal: Terminal, start: Start, switched_on: None) -> None:
    await start("--json", *LIST, at_once=True)
    assert await terminal.end() == (0, "")
    assert terminal.shown.startswith('{"name": ')
    assert ESCAPE not in terminal.shown


# Completion.


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
async def test_tab_completes_in_bash(terminal: Terminal) -> None:
    await terminal.start("bash", "--norc", "--noprofile", "-i", PS1="ready> ", INPUTRC=os.devnull)
    terminal.type('eval "$(earmark completion bash)"; echo installed"?"\n')
    await terminal.until("installed?")
    terminal.type("earmark subsc\t")
    await terminal.until("earmark subscription ")
    terminal.type("li\t")
    await terminal.until("earmark subscription list ")
    terminal.type("--state sch\t")
    await terminal.until("--state scheduled ")
    terminal.type("\x15exit\n")
    await terminal.process.wait()
