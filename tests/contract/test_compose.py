"""docker-compose.yml against the code: what it sets is understood, what it runs exists, what it waits for comes."""

import importlib
import re
import shlex
import tomllib
from typing import Any

import click
import pytest
import yaml

from services.admin.__main__ import cli
from services.runtime.settings import Settings
from tests.contract.image import ROOT, stages

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if "build" in each}
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
DURATION = re.compile(r"([0-9]+)s")


def environment(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def settings(name: str) -> Settings:
    return Settings.from_environment(environment(name))


def commands(name: str) -> list[list[str]]:
    """What a service runs, health check included: each command with its arguments."""
    service = SERVICES[name]
    found = []
    for words in (service["command"], service.get("healthcheck", {}).get("test", ["CMD"])[1:]):
        shell = words[2] if words[:2] == ["sh", "-c"] else shlex.join(words)
        found += [shlex.split(each) for each in shell.split("&&") if each]
    return found


def seconds(text: str) -> int:
    found = DURATION.fullmatch(text)
    assert found, text
    return int(found[1])


def test_the_services() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "allocator", "expiry"}
    assert set(OURS) == {"migrate", "allocator", "expiry"}
    assert {(each["build"], each["image"]) for each in OURS.values()} == {(".", "earmark:local")}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_variable_is_a_setting_and_parses(name: str) -> None:
    known = {f"EARMARK_{field.upper()}" for field in Settings.__dataclass_fields__}
    ours = {variable for variable in environment(name) if variable.startswith("EARMARK_")}
    assert ours <= known
    assert bool(ours) == (name in OURS)
    settings(name)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_exists_and_takes_its_arguments(name: str) -> None:
    for script, *arguments in commands(name):
        module, _, attribute = SCRIPTS[script].partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
        if script == "earmark-admin":
            parse(cli, script, arguments)
        else:
            assert arguments == []


def parse(command: click.Command, name: str, arguments: list[str]) -> None:
    """As click does before it runs a command; raises UsageError."""
    with command.make_context(name, list(arguments), ignore_unknown_options=False) as context:
        if isinstance(command, click.Group):
            rest = arguments
            sub_name, sub, rest = command.resolve_command(context, rest)
            assert sub is not None
            assert sub_name is not None
            parse(sub, sub_name, rest)


def test_a_command_that_does_not_exist_would_be_found() -> None:
    for wrong in (["catalog", "lod"], ["migrate", "--movable"], ["health", "a:1", "b:2"]):
        with pytest.raises(click.UsageError):
            parse(cli, "earmark-admin", wrong)


def test_the_schema_comes_before_the_catalogue() -> None:
    ran = [" ".join(each) for each in commands("migrate")]
    assert ran == ["earmark-admin migrate", "earmark-admin catalog load --only-new"]


@pytest.mark.parametrize("name", ["allocator", "expiry"])
def test_a_process_waits_for_its_schema(name: str) -> None:
    waits = {other: each["condition"] for other, each in SERVICES[name]["depends_on"].items()}
    assert waits == {"postgres": "service_healthy", "migrate": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no", "it would never be completed"


def test_what_is_waited_for_can_become_healthy() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            assert ("healthcheck" in SERVICES[other]) or wait["condition"] != "service_healthy"
    for name in ("postgres", "redis", "allocator"):
        assert "test" in SERVICES[name]["healthcheck"]


def test_the_health_checks_ask_the_right_questions() -> None:
    assert SERVICES["postgres"]["healthcheck"]["test"][:3] == ["CMD", "pg_isready", "--host=127.0.0.1"]
    assert "redis-cli ping" in SERVICES["redis"]["healthcheck"]["test"][1]
    port = settings("allocator").listen_address.rpartition(":")[2]
    assert SERVICES["allocator"]["healthcheck"]["test"] == ["CMD", "earmark-admin", "health", f"127.0.0.1:{port}"]


def test_the_port_is_the_usual_one_everywhere() -> None:
    port = Settings().listen_address.rpartition(":")[2]
    assert settings("allocator").listen_address == f"0.0.0.0:{port}"
    # Plain text and no password: for this machine alone.
    assert SERVICES["allocator"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    final = stages((ROOT / "Dockerfile").read_text())[-1]
    assert [each.arguments for each in final if each.keyword == "EXPOSE"] == [port]
    assert not any("ports" in each for name, each in SERVICES.items() if name != "allocator")


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_database_is_the_one_that_runs_there(name: str) -> None:
    at = SERVICES["postgres"]["environment"]
    url = f"postgresql://{at['POSTGRES_USER']}:{at['POSTGRES_PASSWORD']}@postgres:5432/{at['POSTGRES_DB']}"
    assert settings(name).database_url == url


@pytest.mark.parametrize("name", ["allocator", "expiry"])
def test_the_redis_is_the_one_that_runs_there(name: str) -> None:
    assert settings(name).redis_url == "redis://redis:6379/0"
    assert "redis" in SERVICES


def test_the_data_outlive_the_containers() -> None:
    # The image of 18 keeps its data in a folder below this one, and refuses a volume at the former place.
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["postgres"]["volumes"] == ["postgres-data:/var/lib/postgresql"]
    assert "postgres-data" in COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["allocator", "expiry"])
def test_a_stopping_process_is_given_the_time_it_takes(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) > 2 * settings(name).shutdown_seconds
