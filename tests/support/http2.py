"""A gRPC call written by hand, for what no gRPC client would send."""

import socket
import struct
from collections.abc import Mapping
from typing import BinaryIO, Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GO_AWAY = 0x0, 0x1, 0x3, 0x4, 0x7
END_STREAM, END_HEADERS = 0x1, 0x4
DEADLINE_SECONDS: Final = 20.0


def call_by_hand(address: str, method: str, message: bytes, metadata: Mapping[bytes, bytes]) -> None:
    """Returns when the server has ended the call, however it did."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": method.encode(),
        b":authority": address.encode(),
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        **metadata,
    }
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as connection:
        body = b"\0" + struct.pack("!I", len(message)) + message
        connection.sendall(
            PREFACE
            + _frame(SETTINGS, 0, 0, b"")
            + _frame(HEADERS, END_HEADERS, 1, b"".join(_literal(*each) for each in headers.items()))
            + _frame(DATA, END_STREAM, 1, body)
        )
        with connection.makefile("rb") as answer:
            while not _ends(answer):
                pass


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that no table remembers; both sides shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _ends(answer: BinaryIO) -> bool:
    """Reads a frame: whether it is the last of the call."""
    head = answer.read(9)
    if len(head) < 9:
        return True
    size = int.from_bytes(head[:3], "big")
    kind, flags = head[3], head[4]
    answer.read(size)
    return kind in (RESET, GO_AWAY) or (kind == HEADERS and bool(flags & END_STREAM))
