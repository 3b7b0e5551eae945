"""Just enough of both protocols to ask a server whether it is there, without a client library."""

import re
import socket
import struct

STATEMENT_SECONDS = 20.0
PING_SECONDS = 0.5
POSTGRES_PROTOCOL = 196608  # 3.0
LENGTH = struct.Struct("!i")
COLUMNS = struct.Struct("!h")

Row = tuple[str | None, ...]


class PostgresError(Exception):
    """The server refused; `code` is its SQLSTATE."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


def postgres_execute(address: tuple[str, int], user: str, database: str, statement: str | None = None) -> list[Row]:
    """Log in without a password, run one statement if there is one, and leave; its rows, as text.

    A change waits for no standby: there may be none yet.

    Raises PostgresError if the server refuses, OSError if it can't be reached or hangs up.
    """
    rows: list[Row] = []
    with socket.create_connection(address, STATEMENT_SECONDS) as connection:
        settings = ("user", user, "database", database, "synchronous_commit", "local")
        fields = b"\0".join(text.encode() for text in settings) + b"\0\0"
        connection.sendall(LENGTH.pack(8 + len(fields)) + LENGTH.pack(POSTGRES_PROTOCOL) + fields)
        _await_idle(connection)
        if statement is not None:
            query = statement.encode() + b"\0"
            connection.sendall(b"Q" + LENGTH.pack(4 + len(query)) + query)
            rows = _await_idle(connection)
        connection.sendall(b"X" + LENGTH.pack(4))
    return rows


def _await_idle(connection: socket.socket) -> list[Row]:
    """Read messages until the server is ready for the next statement; the rows among them."""
    rows: list[Row] = []
    while True:
        kind = _read(connection, 1)
        body = _read(connection, LENGTH.unpack(_read(connection, 4))[0] - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0")}
            raise PostgresError(fields.get(b"C", ""), fields.get(b"M", ""))
        if kind == b"D":
            rows.append(_row(body))
        if kind == b"Z":
            return rows


def _row(body: bytes) -> Row:
    values: list[str | None] = []
    start = COLUMNS.size
    for _ in range(COLUMNS.unpack_from(body)[0]):
        size = LENGTH.unpack_from(body, start)[0]
        start += LENGTH.size
        values.append(None if size < 0 else body[start : start + size].decode())
        start += max(size, 0)
    return tuple(values)


def _read(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionResetError("the server hung up")
        received += part
    return received


def valkey_process(address: tuple[str, int]) -> int | None:
    """The process id of the server that answers PING there; None while it loads its data.

    Raises OSError if it can't be reached, hangs up or takes more than half a second.
    """
    with (
        socket.create_connection(address, PING_SECONDS) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(b"PING\r\nINFO server\r\n")
        if answers.readline() != b"+PONG\r\n":
            return None
        size = answers.readline()
        if not size.startswith(b"$"):
            return None
        found = re.search(rb"^process_id:(\d+)", answers.read(int(size[1:])), re.MULTILINE)
        return int(found[1]) if found else None
