"""docs/settings.md: every setting is on it, and what it says of each is so."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from services.runtime.settings import BadSettings, Settings
from tests.contract.image import ROOT
from tests.contract.page import code, doc

PAGE = doc("settings.md")
PROCESSES = {code(row["variable"])[0]: row for row in PAGE["The processes: earmark-allocator, earmark-expiry"].table}
COMMAND_LINE = {code(row["variable"])[0] for row in PAGE["The command line earmark"].table}
UP = {code(row["variable"])[0] for row in PAGE["earmark-admin up"].table}

SETTINGS = {f"EARMARK_{each.name.upper()}": each for each in fields(Settings)}
RANGE = re.compile(r"([0-9.]+) to ([0-9.]+)")
VARIABLE = re.compile(r"\bEARMARK_[A-Z][A-Z_]*[A-Z]\b")
FILES = {"EARMARK_TLS_CERTIFICATE_FILE", "EARMARK_TLS_KEY_FILE", "EARMARK_TLS_CLIENT_CA_FILE"}


def accepts(variable: str, value: str) -> bool:
    try:
        Settings.from_environment({variable: value})
    except BadSettings as error:
        return variable not in str(error)
    return True


def test_every_setting_is_on_the_page() -> None:
    assert PROCESSES.keys() == SETTINGS.keys()
    assert all(row["meaning"] for row in PROCESSES.values())


@pytest.mark.parametrize("variable", sorted(SETTINGS))
def test_the_default_is_the_codes(variable: str) -> None:
    default: Any = SETTINGS[variable].default
    shown = PROCESSES[variable]["default"]
    assert shown == ("empty" if default == "" else f"`{default}`")


@pytest.mark.parametrize("variable", sorted(SETTINGS))
def test_the_bounds_are_the_codes(variable: str) -> None:
    bounds, kind = PROCESSES[variable]["bounds"], SETTINGS[variable].type
    found = RANGE.fullmatch(bounds)
    assert bool(found) == (kind in (int, float)), bounds
    if found:
        step = 1 if kind is int else 0.001
        lowest, highest = (kind(each) for each in found.groups())  # type: ignore[operator]
        assert accepts(variable, str(lowest))
        assert accepts(variable, str(highest))
        assert not accepts(variable, str(lowest - step))
        assert not accepts(variable, str(highest + step))
        assert not accepts(variable, "nan")
        assert not accepts(variable, "")


def test_the_levels_of_the_log_are_those_on_the_page() -> None:
    levels = re.findall("[A-Z]+", PROCESSES["EARMARK_LOG_LEVEL"]["bounds"])
    assert levels == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert all(accepts("EARMARK_LOG_LEVEL", each) for each in levels)
    assert not accepts("EARMARK_LOG_LEVEL", "TRACE")
    assert not accepts("EARMARK_LOG_LEVEL", "info")


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        (FILES, True),
        (FILES - {"EARMARK_TLS_CLIENT_CA_FILE"}, True),
        ({"EARMARK_TLS_CERTIFICATE_FILE"}, False),
        ({"EARMARK_TLS_KEY_FILE"}, False),
        ({"EARMARK_TLS_CLIENT_CA_FILE"}, False),
    ],
)
def test_which_files_of_tls_need_which(given: set[str], fits: bool) -> None:
    environment = dict.fromkeys(given, "some.pem")
    if fits:
        Settings.from_environment(environment)
    else:
        with pytest.raises(BadSettings):
            Settings.from_environment(environment)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://earmark:secret@db/earmark"))
    assert "secret" not in repr(Settings(redis_url="redis://:secret@cache/0"))
    with pytest.raises(BadSettings) as caught:
        Settings.from_environment({"EARMARK_REDIS_URL": "redis://:secret@cache:port/0"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("redis://127.0.0.1:6379/0", True),
        ("redis://cache", True),
        ("rediss://earmark:secret@cache.internal:6380/2?ssl_cert_reqs=required", True),
        ("redis://[::1]:6379", True),
        ("cache:6379", False),
        ("http://cache:6379", False),
        ("redis://", False),
        ("redis://cache:port", False),
        ("redis://cache:70000", False),
        ("redis://:with/slash@cache", False),
    ],
)
def test_which_urls_are_those_of_a_redis(url: str, fits: bool) -> None:
    assert accepts("EARMARK_REDIS_URL", url) is fits


def test_the_prefix_of_notices_has_none_of_the_signs_on_the_page() -> None:
    variable = "EARMARK_NOTICE_PREFIX"
    [signs] = code(PROCESSES[variable]["bounds"])
    refused = {sign for sign in map(chr, range(256)) if not accepts(variable, f"a{sign}")}
    printable = {chr(each) for each in range(0x21, 0x7F)}
    assert refused == set(map(chr, range(256))) - (printable - set(signs))
    assert [accepts(variable, "a" * length) for length in (0, 1, 128, 129)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        ("clients/python/earmark", COMMAND_LINE),
        ("services", SETTINGS.keys() | UP),
    ],
)
def test_no_variable_of_the_code_is_missing(folder: str, known: set[str]) -> None:
    used = {variable for each in Path(ROOT, folder).rglob("*.py") for variable in VARIABLE.findall(each.read_text())}
    assert used <= known
    if folder != "services":
        assert used == known
