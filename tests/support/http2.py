"""A gRPC call written by hand, for what no gRPC client would send."""

import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GO_AWAY, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x7, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4
DEADLINE_SECONDS: Final = 20.0
FRAME_BYTES_MAX: Final = 2**14
# A new connection has an empty table, and gRPC's C core writes these two as they are.
STATUS: Final = re.compile(rb"\x0bgrpc-status[\x01\x02]([0-9]{1,2})")

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Ending:
    """How the server ended a call."""

    how: str
    """`trailers`, `reset`, `go away`, `closed`, or `open`: it did not."""
    status: int | None = None
    """The gRPC status code in the trailers."""


def call_by_hand(address: str, method: str, message: bytes, metadata: Mapping[bytes, bytes]) -> None:
    """Returns when the server has ended the call, however it did."""
    headers = request_headers(address, method) | dict(metadata)
    send_by_hand(address, open_call(headers.items()) + data_frame(prefixed(message)))


def send_by_hand(address: str, sent: bytes, seconds: float = DEADLINE_SECONDS) -> Ending:
    """Sends the bytes over a connection of their own, and waits at most so long for the end of the call."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), seconds) as connection:
        try:
            connection.sendall(sent)
            with connection.makefile("rb") as answer:
                while True:
                    ending = _ending(answer)
                    if ending is not None:
                        return ending
        except TimeoutError:
            return Ending("open")
        except ConnectionError:
            return Ending("closed")


def request_headers(address: str, method: str) -> dict[bytes, bytes]:
    """Those of a call that is right."""
    return {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": method.encode(),
        b":authority": address.encode(),
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }


def open_call(headers: Headers, flags: int = 0) -> bytes:
    """What a connection begins with, and the head of its first call; in several frames if it is long."""
    block = b"".join(_literal(*each) for each in headers)
    parts = [block[start : start + FRAME_BYTES_MAX] for start in range(0, len(block), FRAME_BYTES_MAX)] or [b""]
    frames = [
        frame(
            CONTINUATION if index else HEADERS,
            (0 if index else flags) | (END_HEADERS if index == len(parts) - 1 else 0),
            1,
            part,
        )
        for index, part in enumerate(parts)
    ]
    return PREFACE + frame(SETTINGS, 0, 0, b"") + b"".join(frames)


def prefixed(message: bytes, *, flag: int = 0, size: int | None = None) -> bytes:
    """A message as gRPC frames it; `flag` says whether it is compressed, `size` what is said of its length."""
    return bytes([flag]) + struct.pack("!I", len(message) if size is None else size) + message


def data_frame(payload: bytes, flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, 1, payload)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that no table remembers."""
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    """As HPACK writes a number after one bit."""
    rest = len(text) - 127
    if rest < 0:
        return bytes([len(text)])
    found = bytearray([127])
    while rest >= 128:
        found.append(rest % 128 + 128)
        rest //= 128
    return bytes([*found, rest])


def _ending(answer: BinaryIO) -> Ending | None:
    """Reads a frame: the ending, if it is the last of the call."""
    head = answer.read(9)
    if len(head) < 9:
        return Ending("closed")
    size = int.from_bytes(head[:3], "big")
    kind, flags = head[3], head[4]
    payload = answer.read(size)
    if kind == RESET:
        return Ending("reset")
    if kind == GO_AWAY:
        return Ending("go away")
    if kind == HEADERS and flags & END_STREAM:
        found = STATUS.search(payload)
        return Ending("trailers", int(found[1]) if found else None)
    return None
