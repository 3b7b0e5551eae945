"""Bytes that are wrong: of no message, of fields that nobody knows, of the wrong wire type."""

import random
import struct
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
FIELD_NUMBER_MAX: Final = 2**29 - 1
NESTING: Final = 10_000
BITS: Final = (
    *(b"\x00", b"\xff" * 11, b"\x0a\xff\xff\xff\xff\x7f", b"\x0a\x02\xff\xfe", b"\x0b" * 200, b"\x07", b"\x12\x05a"),
    *(b"\x0a\x03\xed\xa0\x80", b"\x0a\x02\xc0\x80", b"\x08" + b"\xff" * 9 + b"\x7f", b"\x0c", b"\x0a\x80\x80\x80\x80"),
    *(b"\x0b" * NESTING, b"\x0b" * 99 + b"\x0c" * 99, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80" * 20),
)


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def key(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def delimited(number: int, content: bytes) -> bytes:
    return key(number, BYTES) + varint(len(content)) + content


def nested(number: int, depth: int) -> bytes:
    """A message in a message, in a message..."""
    content = b""
    for _ in range(depth):
        content = delimited(number, content)
    return content


def unknown_field(dice: random.Random, known: Sequence[int]) -> bytes:
    """A whole field with a number that is not known, of any wire type, well or badly formed."""
    number = dice.choice([each for each in (15, 16, 99, 2047, 18_999, 19_500, FIELD_NUMBER_MAX) if each not in known])
    return _of_type(number, dice.choice((VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32, 6, 7)), dice)


def wrong_wire_type(dice: random.Random, field: FieldDescriptor) -> bytes:
    """The field, as what it is not."""
    return _of_type(field.number, dice.choice((VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32, 6, 7)), dice)


def within(message: Any, path: Sequence[str | int], extra: bytes) -> bytes:
    """The message's bytes, with the extra ones at the end of the one that the path leads to."""
    data: bytes = message.SerializeToString()
    names = [each for each in path if isinstance(each, str)]
    if not names:
        return data + extra
    field = message.DESCRIPTOR.fields_by_name[names[0]]
    inner = getattr(message, names[0])
    if field.is_repeated:
        inner = inner[0] if inner else inner.add()
        return data + delimited(field.number, within(inner, names[1:], extra))
    return data + delimited(field.number, within(inner, names[1:], extra))


def repeated(message: Any, path: Sequence[str | int], count: int) -> bytes:
    """The message's bytes, with what the path leads to so often, as its first element is."""
    name, *rest = (each for each in path if isinstance(each, str))
    field = message.DESCRIPTOR.fields_by_name[name]
    inner = getattr(message, name)
    if rest:
        child = repeated(inner[0] if field.is_repeated else inner, rest, count)
        return bytes(message.SerializeToString()) + delimited(field.number, child)
    one = type(message)()
    if field.is_repeated and len(inner):
        getattr(one, name).extend(inner[:1])
    plain = type(message)()
    plain.CopyFrom(message)
    plain.ClearField(name)
    single: bytes = one.SerializeToString() or delimited(field.number, b"")
    return bytes(plain.SerializeToString()) + single * count


def scrambled(dice: random.Random, data: bytes) -> bytes:
    """Cut off, made of nothing, twice, with bits turned over, or with something in between."""
    kind = dice.randrange(6)
    if kind == 0:
        return data[: dice.randrange(len(data) + 1)]
    if kind == 1:
        return dice.randbytes(dice.choice((1, 2, 7, 50, 1_000)))
    if kind == 2:
        return data + data[dice.randrange(len(data) + 1) :]
    if kind == 3 and data:
        flipped = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 8))):
            flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(flipped)
    if kind == 4:
        return data + nested(dice.randrange(1, 6), dice.choice((90, 101, 1_000)))
    where = dice.randrange(len(data) + 1)
    return data[:where] + dice.choice(BITS) + data[where:]


def _of_type(number: int, wire_type: int, dice: random.Random) -> bytes:
    head = key(number, wire_type)
    if wire_type == VARINT:
        return head + dice.choice((b"\0", b"\x01", b"\xff" * 9 + b"\x01", b"\xff" * 10 + b"\x01", b"\x80"))
    if wire_type == FIXED64:
        return head + struct.pack("<Q", dice.choice((0, 1, 2**64 - 1)))
    if wire_type == FIXED32:
        return head + struct.pack("<I", dice.choice((0, 1, 2**32 - 1)))
    if wire_type == BYTES:
        return head + dice.choice((b"\0", b"\x03new", b"\x02\xff\xfe", varint(2**31), varint(2**63), b"\x05a"))
    if wire_type == GROUP:
        return head + dice.choice((b"", key(number, END_GROUP), key(number + 1, END_GROUP), head * 200))
    return head
