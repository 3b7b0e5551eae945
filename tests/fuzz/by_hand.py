"""What no gRPC client sends: broken metadata, deadlines, frames and prefixes, written by hand."""

import asyncio
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.http2 import (
    END_STREAM,
    HEADERS,
    PREFACE,
    RESET,
    SETTINGS,
    Ending,
    data_frame,
    frame,
    open_call,
    prefixed,
    request_headers,
    send_by_hand,
)

SECONDS: Final = 20.0
OPEN_SECONDS: Final = 0.05
"""What gRPC never answers is looked at for so long; then the connection is closed."""

Sent = Callable[[str, str, bytes], bytes]
"""From the address, the method's path and the message: all bytes of a connection."""


@dataclass(frozen=True)
class Hand:
    """One way to call wrongly."""

    sent: Sent
    is_call: bool = True
    """Whether gRPC should hand it to the service at all: else the ending is gRPC's own, whatever it is."""
    ends: bool = True
    """Whether gRPC ends it; else it ends when the caller goes."""
    grpcs_own: str = ""
    """INTERNAL or UNKNOWN, where gRPC itself ends it so, before any code of ours is asked."""
    only_reads: bool = False
    """Whether nobody can tell if it was carried out."""


async def send(hand: Hand, address: str, path: str, message: bytes) -> Ending:
    sent = hand.sent(address, path, message)
    return await asyncio.to_thread(send_by_hand, address, sent, SECONDS if hand.ends else OPEN_SECONDS)


def _with(headers: Mapping[bytes, bytes]) -> Sent:
    """With these headers too, or instead; an empty name stands for none."""

    def sent(address: str, path: str, message: bytes) -> bytes:
        return open_call((request_headers(address, path) | dict(headers)).items()) + data_frame(prefixed(message))

    return sent


def _without(name: bytes) -> Sent:
    def sent(address: str, path: str, message: bytes) -> bytes:
        headers = [each for each in request_headers(address, path).items() if each[0] != name]
        return open_call(headers) + data_frame(prefixed(message))

    return sent


def _body(body: Callable[[bytes], bytes], headers: Mapping[bytes, bytes] | None = None) -> Sent:
    def sent(address: str, path: str, message: bytes) -> bytes:
        return open_call((request_headers(address, path) | dict(headers or {})).items()) + body(message)

    return sent


def _actor(value: bytes) -> Hand:
    return Hand(_with({b"earmark-actor": value}))


def _many_keys(count: int) -> Hand:
    return Hand(_with({b"x-%d" % number: b"v" * 20 for number in range(count)}), is_call=count < 100)


GZIP: Final = {b"grpc-encoding": b"gzip"}

HANDS: Final[Mapping[str, Hand]] = {
    **{
        f"earmark-actor {value[:12]!r}": _actor(value)
        for value in (
            b"tab\tbed",
            b"b\x7fl",
            b"line\r\n",
            b"a\x00",
            b"\xff\xfe",
            "é".encode(),
            b"x" * 257,
            b"\x80" * 90,
        )
    },
    **{
        f"grpc-timeout {value[:12]!r}": Hand(_with({b"grpc-timeout": value}), is_call=False, only_reads=True)
        for value in (b"", b"abc", b"-1S", b"1", b"S", b"1.5S", b"1x", b"0n", b"1n", b"99999999H", b"9" * 400 + b"S")
    },
    **{f"{count} keys": _many_keys(count) for count in (40, 400, 4_000)},
    "a value of 100,000 bytes": Hand(_with({b"x-padding": b"x" * 100_000}), is_call=False),
    "a key of 100,000 bytes": Hand(_with({b"x-" + b"k" * 100_000: b"v"}), is_call=False),
    "capitals in a key": Hand(_with({b"X-Bad": b"1"}), is_call=False),
    "control characters in a key": Hand(_with({b"x-\x01\n": b"1"}), is_call=False),
    "binary that is no base64": Hand(_with({b"x-bin": b"***"}), is_call=False),
    "binary of many bytes": Hand(_with({b"x-bin": b"A" * 5_000})),
    "another content type": Hand(_with({b"content-type": b"text/html"})),
    "no content type": Hand(_without(b"content-type"), is_call=False),
    "no te": Hand(_without(b"te"), is_call=False, grpcs_own="UNKNOWN"),
    "no authority": Hand(_without(b":authority"), is_call=False, grpcs_own="UNKNOWN"),
    "no path": Hand(_without(b":path"), is_call=False, grpcs_own="UNKNOWN"),
    "GET": Hand(_with({b":method": b"GET"}), is_call=False, grpcs_own="UNKNOWN"),
    "a path of bytes": Hand(_with({b":path": b"/\xff\xfe/\x00"}), is_call=False, grpcs_own="UNKNOWN"),
    "a path that is long": Hand(_with({b":path": b"/" + b"x" * 7_000}), is_call=False),
    "a path of another service": Hand(_with({b":path": b"/earmark.v9.UsageService/GetUsage"}), is_call=False),
    "an encoding nobody knows": Hand(_with({b"grpc-encoding": b"none"}), is_call=False),
    "gzip that is none": Hand(
        _body(lambda message: data_frame(prefixed(message, flag=1)), GZIP), is_call=False, grpcs_own="INTERNAL"
    ),
    "gzip of much": Hand(
        _body(lambda _: data_frame(prefixed(gzip.compress(b"\0" * 2**22 * 2, 1), flag=1)), GZIP), is_call=False
    ),
    "a flag for compression that is none": Hand(_body(lambda message: data_frame(prefixed(message, flag=9)))),
    "two messages": Hand(_body(lambda message: data_frame(prefixed(message) * 2))),
    "no message": Hand(_body(lambda _: data_frame(b"")), ends=False),
    "half a message": Hand(_body(lambda message: data_frame(prefixed(message)[:-1])), ends=False),
    "a length of 4 GiB": Hand(
        _body(lambda message: data_frame(prefixed(message, size=2**32 - 1))), ends=False, is_call=False
    ),
    "a length too short": Hand(
        _body(lambda message: data_frame(prefixed(message, size=max(0, len(message) - 1)))), is_call=False
    ),
    "a head and nothing more": Hand(
        lambda address, path, _: open_call(request_headers(address, path).items()), ends=False
    ),
    "cancelled at once": Hand(
        _body(lambda message: data_frame(prefixed(message), 0) + frame(RESET, 0, 1, b"\0\0\0\x08")),
        ends=False,
        only_reads=True,
    ),
    "data of a stream that is not": Hand(
        lambda _address, _path, message: PREFACE + frame(SETTINGS, 0, 0, b"") + data_frame(prefixed(message)),
        is_call=False,
        ends=False,
    ),
    "headers of nonsense": Hand(
        lambda _address, _path, _: (
            PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_STREAM | 4, 1, b"\xff" * 99)
        ),
        is_call=False,
    ),
    "no HTTP/2": Hand(lambda _address, _path, _: b"GET / HTTP/1.1\r\n\r\n", is_call=False),
    "nonsense after the preface": Hand(lambda _address, _path, _: PREFACE + b"\xff" * 999, is_call=False),
}
