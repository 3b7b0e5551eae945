"""The wheels, installed as their users install them. pip asks the package index for what they need."""

import re
from pathlib import Path
from sys import executable

import pytest
from packaging.specifiers import SpecifierSet

from services.allocator.server import AllocatorServer
from tests.support.wheels import ROOT, Dist, Environment, Wheel, damaged, end_of, lowest, run

pytestmark = pytest.mark.timeout(300)

CALLER = '''\
"""What another service does with the SDK."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import earmark
import earmark.sync
from earmark.errors import InsufficientCredits
from earmark.types import AllocationState


async def switch_on(address: str) -> int:
    async with earmark.Client(address, actor="another-service") as client:
        await client.create_offering("sensor", price=20)
        await client.create_organization("o-1")
        await client.create_subscription("o-1", credits=100, end_time=datetime.now(UTC) + timedelta(days=365))
        await client.enable("o-1", offering="sensor", units=2)
        try:
            await client.enable("o-1", offering="sensor", units=9, allocation="more")
        except InsufficientCredits as error:
            return error.shortfall
    return 0


def look(address: str) -> None:
    with earmark.sync.Client(address) as client:
        available: int = client.get_usage("o-1").balance.available_credits
        enabled = [each.id for each in client.list_allocations("o-1") if each.state is AllocationState.ENABLED]
        print(f"{available} left, enabled: {', '.join(enabled)}")


print(f"short of {asyncio.run(switch_on(sys.argv[1]))}")
look(sys.argv[1])
'''
SAYS = "short of 120\n60 left, enabled: sensor\n"
GENERATED = ("pb2.py", "pb2.pyi", "pb2_grpc.py", "pb2_grpc.pyi")
# Three mistakes: in what there is, in what is given, and in what is taken.
MISTAKEN = (
    CALLER.replace("client.create_organization", "client.create_organisation")
    .replace("units=2", 'units="2"')
    .replace("available: int", "available: str")
)


@pytest.fixture(scope="module")
async def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    return await Dist.built(tmp_path_factory.mktemp("dist"))


@pytest.fixture
async def environment(tmp_path: Path) -> Environment:
    return await Environment.made(tmp_path / "environment")


@pytest.fixture
def caller(tmp_path: Path) -> Path:
    path = tmp_path / "caller.py"
    path.write_text(CALLER)
    return path


def test_the_two_wheels_share_no_file(dist: Dist) -> None:
    assert {name.split("/")[0] for name in dist.client.names if ".dist-info/" not in name} == {"earmark"}
    assert {name.split("/")[0] for name in dist.server.names if ".dist-info/" not in name} == {"services"}
    assert dist.client.names & dist.server.names == set()


def test_the_sdk_comes_with_types_and_generated_code_and_without_tests(dist: Dist) -> None:
    names = dist.client.names
    contract = [each.stem for each in (ROOT / "proto/earmark/v1").glob("*.proto")]
    assert contract
    generated = {f"earmark/v1/{stem}_{ending}" for stem in contract for ending in GENERATED}
    assert {"earmark/py.typed", *generated} <= names
    assert [name for name in names if re.search(r"(^|/)(tests?/|test_|conftest)", name)] == []


def test_the_sdk_needs_neither_of_the_servers_stores(dist: Dist) -> None:
    needs = {each.name for each in dist.client.requirements()}
    assert "grpcio" in needs
    assert needs & {"asyncpg", "redis", "earmark-server", "pytest"} == set()


def test_the_wheels_name_each_other_at_the_version_that_they_have(dist: Dist) -> None:
    assert dist.client.metadata.version == dist.server.metadata.version
    same = SpecifierSet(f"=={dist.client.metadata.version}")
    [client] = [each for each in dist.server.requirements() if each.name == "earmark-client"]
    assert client.specifier == same
    testing = {each.name: each for each in dist.client.requirements(extra="testing")}
    assert set(testing) == {"earmark-server", "pytest"}
    assert (testing["earmark-server"].specifier, testing["earmark-server"].extras) == (same, {"embedded"})


@pytest.mark.parametrize("name", ["client", "server"])
def test_each_wheel_has_the_licence_and_says_what_it_is(dist: Dist, name: str) -> None:
    wheel: Wheel = getattr(dist, name)
    assert wheel.metadata.license_expression == "Apache-2.0"
    assert wheel.license == (ROOT / "LICENSE").read_bytes()
    assert wheel.metadata.description


async def test_one_commit_gives_the_same_bytes(dist: Dist, tmp_path: Path) -> None:
    again = await Dist.built(tmp_path)
    assert len(again.contents) == 4
    assert [name for name, content in again.contents.items() if dist.contents.get(name) != content] == []


async def test_the_sdk_alone_at_the_lowest_versions_that_it_declares(
    dist: Dist, environment: Environment, caller: Path, allocator: AllocatorServer
) -> None:
    pins = lowest(dist.client.requirements())
    assert len(pins) == len(dist.client.requirements()), "each range has a lowest version"
    await environment.install(dist.client.path, *pins)
    await _works(environment, caller, allocator.address)


async def test_the_sdk_alone_at_the_highest_versions_that_it_declares(
    dist: Dist, environment: Environment, caller: Path, allocator: AllocatorServer
) -> None:
    await environment.install("--upgrade", "--upgrade-strategy=eager", dist.client.path)
    [protobuf] = [each.specifier for each in dist.client.requirements() if each.name == "protobuf"]
    next_major = f"{environment.versions()['protobuf'].major + 1}.0"
    assert not protobuf.contains(next_major), "the newest protobuf that is declared is kept out by something else"
    await _works(environment, caller, allocator.address)


async def test_removing_one_wheel_leaves_the_other_whole(
    dist: Dist, environment: Environment, caller: Path, allocator: AllocatorServer
) -> None:
    await environment.install(dist.client.path, dist.server.path)
    await environment.pip("check")
    await run(environment.program("earmark-admin"), "--help")
    client, server = environment.files("earmark-client"), environment.files("earmark-server")
    assert environment.program("earmark") in client
    assert environment.program("earmark-allocator") in server

    await environment.pip("uninstall", "--yes", "earmark-client")
    assert damaged(server) == []
    assert [path for path in client if path.exists()] == []

    await environment.install("--no-deps", dist.client.path)
    client = environment.files("earmark-client")
    await environment.pip("uninstall", "--yes", "earmark-server")
    assert damaged(client) == []
    assert [path for path in server if path.exists()] == []
    assert await _call(environment, caller, allocator.address) == SAYS


async def _works(environment: Environment, caller: Path, address: str) -> None:
    """Nothing else is there, types reach the caller, and the service answers it; the command line works too."""
    await environment.pip("check")
    assert {"earmark-server", "asyncpg", "redis", "mypy", "types-grpcio"} & set(environment.versions()) == set()

    assert await _faults(environment, caller) == []
    mistaken = caller.with_name("mistaken.py")
    mistaken.write_text(MISTAKEN)
    faults = await _faults(environment, mistaken)
    assert [fault.rpartition("  ")[2] for fault in faults] == ["[attr-defined]", "[arg-type]", "[assignment]"]

    assert await _call(environment, caller, address) == SAYS
    shown = await run(environment.program("earmark"), "--address", address, "--json", "organization", "show", "o-1")
    assert '"availableCredits":"60"' in shown.replace(" ", "")


async def _call(environment: Environment, caller: Path, address: str) -> str:
    """With nothing of ours on its path. A warning is an error, as it may be in the tests of those who call."""
    return await run(environment.program("python"), "-I", "-W", "error", caller, address)


async def _faults(environment: Environment, caller: Path) -> list[str]:
    """What mypy finds in strict mode, with no stubs but those that come with it."""
    mypy = (executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary")
    there = ("--python-executable", environment.program("python"), "--cache-dir", caller.parent / "cache")
    code, printed = await end_of(*mypy, *there, caller.name, cwd=caller.parent)
    assert code in (0, 1), printed
    return [line for line in printed.splitlines() if ": error: " in line]
