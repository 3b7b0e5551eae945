"""Settings: read once at the start of a process, from `EARMARK_*` variables, with defaults that work on one machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import urlsplit

NOTICE_PREFIX_PATTERN: Final = re.compile(r"[!-)+->@-Z^-~]{1,128}\Z")
"""Printable ASCII, without what has a meaning of its own where Redis matches channels."""


class BadSettings(Exception):
    """One or more settings are malformed; all are named."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is set by the variable EARMARK_ and its name in capitals. docs/settings.md lists them."""

    database_url: str = field(default="postgresql://earmark@127.0.0.1:5432/earmark", repr=False)
    """Postgres 16 or newer. Not shown in logs: it may hold a password."""
    redis_url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    """Redis 7 or newer, or Valkey, for notices. Not shown in logs: it may hold a password."""
    notice_prefix: str = "earmark.v1.organizations."
    """What a notice's channel begins with; the organization's id follows."""
    durability: str = "disk"
    """What the database must keep of what it has acknowledged: disk, standby or none."""
    listen_address: str = "127.0.0.1:50051"
    """Host and port of the allocator; port 0 takes a free one."""
    database_connections: int = 16
    """The most that one allocator process opens."""
    calls_max: int = 16_384
    """Calls under way in one allocator process; beyond that callers get TOO_MANY_WAITING at once."""
    watches_max: int = 10_000
    """Watches open in one allocator process; beyond that callers get TOO_MANY_WAITING at once."""
    watch_heartbeat_seconds: float = 10.0
    """A watch with nothing to say says so this often."""
    metrics_address: str = ""
    """Host and port of the metrics and probes, over HTTP; port 0 takes a free one, empty serves none."""
    shutdown_seconds: float = 10.0
    """So long a stopping process lets calls finish."""
    tls_certificate_file: str = ""
    """PEM; with tls_key_file the allocator speaks TLS."""
    tls_key_file: str = ""
    """PEM."""
    tls_client_ca_file: str = ""
    """PEM; when set, clients must show a certificate signed by it, and its identity is the actor in the ledger."""
    expiry_connections: int = 2
    """The most that one expiry worker opens."""
    expiry_interval_seconds: float = 0.25
    """Between two looks at what is due."""
    request_id_hours: float = 48.0
    """How long request ids are remembered; at least 24."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises BadSettings, naming every variable that is malformed and what would be right."""
        known = {f"EARMARK_{each.name.upper()}": each for each in fields(cls)}
        values: dict[str, Any] = {}
        problems: list[str] = []
        for variable, each in known.items():
            text = environment.get(variable)
            if text is None:
                continue
            try:
                values[each.name] = _parse(each.type, text)
            except ValueError:
                problems.append(f"{variable}={text!r} is not a {'whole ' if each.type is int else ''}number")
        settings = cls(**values)
        problems += settings._out_of_bounds()
        if problems:
            raise BadSettings("; ".join(problems))
        return settings

    def _out_of_bounds(self) -> list[str]:
        checks = {
            "EARMARK_REDIS_URL must be a URL that begins with redis:// or rediss://": _is_redis_url(self.redis_url),
            "EARMARK_NOTICE_PREFIX must be 1 to 128 printable ASCII characters, no space and none of *?[]\\": bool(
                NOTICE_PREFIX_PATTERN.match(self.notice_prefix)
            ),
            "EARMARK_DURABILITY must be disk, standby or none": self.durability in ("disk", "standby", "none"),
            "EARMARK_LISTEN_ADDRESS must be host:port, the port 0 to 65535": _is_address(self.listen_address),
            "EARMARK_DATABASE_CONNECTIONS must be 1 to 1000": 1 <= self.database_connections <= 1000,
            "EARMARK_CALLS_MAX must be 1 to 1000000": 1 <= self.calls_max <= 1_000_000,
            "EARMARK_WATCHES_MAX must be 1 to 1000000": 1 <= self.watches_max <= 1_000_000,
            "EARMARK_WATCH_HEARTBEAT_SECONDS must be 0.1 to 3600": 0.1 <= self.watch_heartbeat_seconds <= 3600,
            "EARMARK_METRICS_ADDRESS must be host:port, the port 0 to 65535": not self.metrics_address
            or _is_address(self.metrics_address),
            "EARMARK_SHUTDOWN_SECONDS must be 0 to 3600": 0 <= self.shutdown_seconds <= 3600,
            "EARMARK_EXPIRY_CONNECTIONS must be 1 to 100": 1 <= self.expiry_connections <= 100,
            "EARMARK_EXPIRY_INTERVAL_SECONDS must be 0.01 to 60": 0.01 <= self.expiry_interval_seconds <= 60,
            "EARMARK_REQUEST_ID_HOURS must be 24 to 8760": 24 <= self.request_id_hours <= 8760,
            "EARMARK_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR": self.log_level
            in ("DEBUG", "INFO", "WARNING", "ERROR"),
            "EARMARK_TLS_CERTIFICATE_FILE and EARMARK_TLS_KEY_FILE go together": bool(self.tls_certificate_file)
            == bool(self.tls_key_file),
            "EARMARK_TLS_CLIENT_CA_FILE needs EARMARK_TLS_CERTIFICATE_FILE": bool(self.tls_certificate_file)
            or not self.tls_client_ca_file,
        }
        return [text for text, holds in checks.items() if not holds]


def _is_address(text: str) -> bool:
    _, colon, port = text.rpartition(":")
    return bool(colon) and port.isdecimal() and int(port) <= 65_535


def _is_redis_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parse(kind: Any, text: str) -> Any:
    return kind(text)
