"""Requests that are wrong somewhere: every field of every method by its descriptor, and bytes that are no request."""

import base64
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.support.reflected import Metadata, ReflectedClient

Path = tuple[str | int, ...]
Fields = dict[str, Any]

LONG: Final = 100_000
MESSAGE_BYTES_MAX: Final = 4 * 2**20
STRINGS: Final = (
    *(
        "",
        " ",
        "-",
        ".",
        "~",
        "_a",
        "/",
        "//",
        "a/b",
        "a\n",
        "\r\n",
        "\0",
        "a\0b",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
    ),
    *(
        "\u202ea",
        "é",
        "\uff41",
        "\u0661",
        "😀" * 300,
        "\ufffd",
        "x" * 128,
        "x" * 129,
        "x" * 256,
        "x" * 257,
        "é" * 257,
        "x" * LONG,
    ),
    *("'; DROP TABLE entry; --", "%s%n%x", "{}", "null", "*", "../../etc", "0", "1", "-1", "+1", " 1", "1.", ".5"),
    *("1e9", "1E+3", "NaN", "Infinity", "0x10", "1_000", "0.0000001", "0.000001", "1000000000", "1000000000.000001"),
    *("organizations", "organizations/", "organizations/-", "organizations/none", "organizations/acme/", "offerings/-"),
    *(
        "Organizations/acme",
        "organizations/acme\0",
        "organizations/acme/allocations/-",
        "organizations/-/allocations/a",
    ),
    *(
        "organizations/acme/allocations/a/b",
        "organizations/acme/allocations/",
        "organizations/acme//a",
        "offerings/app",
    ),
    *("organizations/acme/subscriptions/s", "organizations/witness/allocations/a", "organizations/acme/offerings/app"),
    *("organizations/witness/subscriptions/s", "organizations/" + "x" * 129, "organizations/" + "é", "offerings/none"),
    *("organizations/" + "x" * LONG, "organizations/acme/allocations/" + "x" * 129, "organizations/acme" * 7_000),
)
WHOLES: Final = (0, 1, -1, 7, 999, 1_000, 1_001, 10**12, 10**12 + 1, -(10**12), 2**31 - 1, -(2**31))
BIG_WHOLES: Final = (2**52, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), -(10**12) - 1)
SECONDS: Final = (
    *(0, 1, -1, 946_684_799, 946_684_800, 1_893_456_000, 4_102_444_800, 7_289_654_399, 7_289_654_400, 31_536_000),
    *(31_536_001, -62_135_596_801, 253_402_300_799, 253_402_300_800, 2**62, 2**63 - 1, -(2**63), -31_536_000),
)
NANOS: Final = (0, 1, -1, 999, 999_999_999, 1_000_000_000, -999_999_999, -1_000_000_000, 2**31 - 1, -(2**31))
PATHS: Final[tuple[Sequence[str], ...]] = (
    *([], [""], ["*"], ["*", "name"], ["name"], ["etag"], ["state"], ["labels.a"], ["price.credits_per_block"]),
    *(["credits", "credits"], ["Credits"], ["displayName"], ["\0"], ["é"], ["x" * LONG], ["x"] * 1_001, ["a."] * 3),
    *([".".join(["a"] * 5_000)], ["organization.name"], ["grace_period"], ["end_time"], ["start_time", "credits"]),
    *(
        ["overdraft_limit", "overdraft_unlimited"],
        ["priority"],
        ["labels"],
        ["price"],
        ["retired"],
        ["order_reference"],
    ),
)
MAPS: Final[tuple[Mapping[str, str], ...]] = (
    *({}, {"": ""}, {"a": ""}, {"": "a"}, {"a": "b"}, {"a\0": "b"}, {"a": "\0"}, {"a": "\n"}, {"é" * 32: "b"}),
    *({"a": "é" * 32}, {"a" * 63: "b" * 63}, {"a" * 64: "b"}, {"a": "b" * 64}, {"a" * LONG: "b"}, {"😀": "😀"}),
    *({f"k{i}": "v" for i in range(16)}, {f"k{i}": "v" for i in range(17)}, {f"k{i}\n": "\n" for i in range(1_001)}),
    {f"{i:02}" + "é" * 99: "\n" * 99 for i in range(16)},
)
RESUME_TOKENS: Final = (
    *("", ":", "0:", "0:" + "0" * 64, "0:" + "0" * 63, "1:" + "0" * 64, "-1:" + "0" * 64, "00:" + "0" * 64),
    *("1:" + "G" * 64, "1:" + "A" * 64, "9" * 19 + ":" + "a" * 64, "9" * 20 + ":" + "a" * 64, "1:" + "0" * 64 + "\n"),
    *("9223372036854775807:" + "a" * 64, "9223372036854775808:" + "a" * 64, "\u0661:" + "0" * 64, "1" * LONG),
)
BITS: Final = (
    b"\x00",
    b"\xff" * 11,
    b"\x0a\xff\xff\xff\xff\x7f",
    b"\x0a\x02\xff\xfe",
    b"\x0b" * 200,
    b"\x07",
    b"\x12\x05a",
)


@dataclass(frozen=True)
class Attempt:
    """One request, and what was done to it."""

    method: str
    data: bytes
    metadata: Metadata
    story: str


class Mischief:
    """Makes attempts from requests that are right, one for each method."""

    def __init__(self, client: ReflectedClient, right: Mapping[str, Fields], seed: int) -> None:
        self._client = client
        self._right = right
        self._dice = random.Random(seed)
        self._places = [
            (method, path, field)
            for method, fields in sorted(right.items())
            for path, field in _places(client.methods[method].input_type, fields)
        ]
        self.tokens: dict[str, list[str]] = {}
        """Page tokens that lists gave out."""

    @property
    def places(self) -> int:
        return len(self._places)

    def attempts(self, count: int) -> Iterator[Attempt]:
        """First every field once, then whatever the dice say."""
        order = self._dice.sample(self._places, len(self._places))
        for number in range(count):
            place = order[number] if number < len(order) else self._dice.choice(self._places)
            attempt = self._attempt(place, quiet=number < len(order))
            while len(attempt.data) > MESSAGE_BYTES_MAX:  # gRPC's own affair: it never reaches the service.
                attempt = self._attempt(place, quiet=False)
            yield attempt

    def _attempt(self, place: tuple[str, Path, FieldDescriptor], *, quiet: bool) -> Attempt:
        method, path, field = place
        fields = deepcopy(self._right[method])
        story = [self._spoil(method, fields, path, field)]
        others = [each for each in self._places if each[0] == method]
        while not quiet and self._dice.random() < 0.3:
            _, path, field = self._dice.choice(others)
            story.append(self._spoil(method, fields, path, field))
        data = self._client.request(method, **fields).SerializeToString()
        if not quiet and self._dice.random() < 0.15:
            data = self._scrambled(data)
            story.append(f"bytes {data[:40]!r}")
        metadata: Metadata = []
        if not quiet and self._dice.random() < 0.05:
            metadata = self._metadata()
            story.append(f"metadata {str(metadata)[:80]}")
        return Attempt(method, data, metadata, "; ".join(story))

    def _spoil(self, method: str, fields: Fields, path: Path, field: FieldDescriptor) -> str:
        value = self._dice.choice(self._values(method, field))
        try:
            _put(fields, path, value)
        except (KeyError, IndexError, TypeError):
            return f"{path} was gone"  # An earlier spoiling took away what it lies in.
        return f"{'.'.join(map(str, path))} = {str(value)[:60]!r}"

    def _values(self, method: str, field: FieldDescriptor) -> Sequence[Any]:
        """What a field of its kind may be set to; None takes it away."""
        if field.name == "resume_token" and self._dice.random() < 0.8:
            return RESUME_TOKENS
        if field.name in ("targets", "lines", "names", "kinds"):
            right = self._right[method][field.name]
            return [[], *([right[0]] * count for count in (1, 2, 999, 1_000, 1_001)), right * 700]
        if field.name == "page_token" and self._dice.random() < 0.8:
            return [self._forged(method)]
        if field.name == "operations":
            right = self._right[method]["operations"]
            return [[], [{}], [{"request_id": "r"}], right * 334, right * 300, [right[0]] * 1_000, [right[0]] * 1_001]
        if field.name == "paths":
            return PATHS
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return MAPS
        if field.message_type is not None:
            return (None, [{}], [{}] * 1_001) if field.is_repeated else (None, {})
        return _scalars(field)

    def _forged(self, method: str) -> str:
        """A token of this list or another, as it is or with another key; tokens are readable, so anybody can."""
        known = self.tokens.get(method) or [each for tokens in self.tokens.values() for each in tokens]
        token = self._dice.choice(known)
        asked, *key = json.loads(base64.urlsafe_b64decode(token))
        keys: list[list[Any]] = [
            *(key, [], [""], ["", ""], ["acme"], ["acme", ""], ["aaaa", "a"], ["zzz", "z"], ["\0", "\0"], [1, 2]),
            *(["acme", "1"], ["aaaa", "1"], ["witness", "1"], ["acme", "0"], ["acme", "-1"], ["acme", "9" * 19]),
            *(["acme", "\u0661"], ["acme", "1" * 400], ["\x7f", "1"], ["", "1"], ["é", "1"]),
            *(["acme", "\ud800"], ["\ud800"], ["a"] * 9, [None], [["a"]], ["é" * 50], ["\x7f", ""], [key], [{}]),
        ]
        value = [asked, *self._dice.choice(keys)]
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()

    def _scrambled(self, data: bytes) -> bytes:
        dice = self._dice
        kind = dice.randrange(5)
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
        where = dice.randrange(len(data) + 1)
        return data[:where] + dice.choice(BITS) + data[where:]

    def _metadata(self) -> Metadata:
        actors: tuple[Metadata, ...] = (
            [("earmark-actor", "")],
            [("earmark-actor", "x" * 256)],
            [("earmark-actor", "x" * 257)],
            [("earmark-actor", "x" * 3_000)],
            [("earmark-actor", "a"), ("earmark-actor", "b")],
            [("earmark-actor-bin", b"\xff\x00")],
            [("x-anything-bin", self._dice.randbytes(500))],
            [(f"x-{number}", "v" * 20) for number in range(40)],
        )
        return self._dice.choice(actors)


def _places(
    described: Descriptor, fields: Mapping[str, Any], before: Path = ()
) -> Iterator[tuple[Path, FieldDescriptor]]:
    """Every field in a message, and every field in those that are messages."""
    for field in described.fields:
        path = (*before, field.name)
        yield path, field
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or len(before) > 6:
            continue
        if field.is_repeated:
            for index, each in enumerate(fields.get(field.name, [{}])):
                yield from _places(inner, each, (*path, index))
        else:
            yield from _places(inner, fields.get(field.name, {}), path)


def _put(fields: Any, path: Path, value: Any) -> None:
    *way, last = path
    for step, following in zip(way, path[1:], strict=True):
        empty: Any = [{}] if isinstance(following, int) else {}
        fields = fields[step] if isinstance(step, int) else fields.setdefault(step, empty)
    if value is None:
        fields.pop(last, None)
    else:
        fields[last] = value


def _scalars(field: FieldDescriptor) -> Sequence[Any]:
    if field.name == "seconds":
        return SECONDS
    if field.name == "nanos":
        return NANOS
    if field.enum_type is not None:
        return (0, 1, 2, 3, 4, 5, 6, 99, -1, 2**31 - 1, -(2**31))
    kinds: dict[int, Sequence[Any]] = {
        FieldDescriptor.CPPTYPE_STRING: STRINGS,
        FieldDescriptor.CPPTYPE_BOOL: (True, False),
        FieldDescriptor.CPPTYPE_INT32: [each for each in WHOLES if -(2**31) <= each < 2**31],
        FieldDescriptor.CPPTYPE_INT64: (*WHOLES, *BIG_WHOLES),
    }
    return kinds[field.cpp_type]
