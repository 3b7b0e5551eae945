"""Inputs by the dice: the same seed gives the same ones, on the same day."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count as numbers
from itertools import cycle
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from services.allocator.paging import page_token
from tests.fuzz import wire
from tests.fuzz.by_hand import HANDS
from tests.fuzz.places import Place, at, places_of, put
from tests.fuzz.right import PLACEHOLDER, Fields, named, right_request
from tests.fuzz.values import values
from tests.support.reflected import Metadata

KINDS: Final[Mapping[str, int]] = {
    "a field": 400,
    "several fields": 200,
    "unknown field": 60,
    "wrong wire type": 50,
    "raw bytes": 130,
    "metadata": 70,
    "batch": 12,
    "large": 2,
    "compressed": 1,
    "deadline": 15,
    "cancelled": 25,
    "by hand": 33,
}
"""How often each kind is tried, of a thousand."""
MESSAGE_BYTES_MAX: Final = 4 * 2**20
SIZES: Final = (MESSAGE_BYTES_MAX - 100, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX + 1, MESSAGE_BYTES_MAX + 2**20)
COMPRESSED_SIZES: Final = (2**20, MESSAGE_BYTES_MAX + 1, 2**24, 2**26)
BATCHES: Final = (*(1_001,) * 5, 10_000, 100_000)
DEADLINES: Final = (0.0, 1e-9, 1e-6, 1e-3, 1e9)
READS: Final = ("Check", "Estimate", "Forecast", "Get", "List", "Query", "Server", "Watch")
KEYS: Final[Sequence[Sequence[Any]]] = (
    *([], [""], ["", ""], ["acme"], ["acme", ""], ["aaaa", "a"], ["zzz", "z"], ["\0", "\0"], [1, 2], ["acme", "1"]),
    *(["aaaa", "1"], ["witness", "1"], ["acme", "0"], ["acme", "-1"], ["acme", "9" * 19], ["acme", "\u0661"]),
    *(["acme", "1" * 400], ["\x7f", "1"], ["", "1"], ["é", "1"], ["acme", "\ud800"], ["\ud800"], ["a"] * 9, [None]),
    *([["a"]], ["é" * 50], ["\x7f", ""], [[]], [{}], ["a" * 700], ["witness", ""], ["acme", "a"], ["acme", "s"]),
)
ACTORS: Final = ("", " ", "a", "x" * 256, "x" * 257, "x" * 3_000, "'; DROP TABLE entry; --", "%s%n", "~" * 256)


@dataclass(frozen=True)
class Input:
    """One call. All of one organization are to be made one after the other."""

    number: int
    kind: str
    method: str
    organization: str
    data: bytes
    story: str
    """What is wrong with it, for people."""
    places: tuple[str, ...] = ()
    """The fields that are wrong."""
    metadata: Metadata = field(default_factory=list)
    seconds: float | None = None
    """The caller's deadline, where it is what is tried."""
    hand: str = ""
    """The name of what is sent by hand."""


class Inputs:
    """Inputs for the methods, about organizations that `organization_of` names, each by its number."""

    def __init__(
        self, methods: Mapping[str, MethodDescriptor], seed: int, organization_of: Callable[[int], str]
    ) -> None:
        self._methods = methods
        self._dice = random.Random(seed)
        self._organization_of = organization_of
        self._organization = ""
        self.places = places_of(methods, PLACEHOLDER)
        self._of_method = {name: [each for each in self.places if each.method == name] for name in methods}
        self._repeated = [each for each in self.places if each.field.is_repeated and each.field.message_type is None]
        self._repeated += [each for each in self.places if _is_list_of_messages(each.field)]
        # Of a stream in both directions gRPC's own client says INTERNAL when it stops early.
        self._reads = [
            name for name, each in sorted(methods.items()) if name.startswith(READS) and not each.client_streaming
        ]
        self._makers = {
            "a field": self._one_field,
            "several fields": self._several_fields,
            "unknown field": self._unknown_field,
            "wrong wire type": self._wrong_wire_type,
            "raw bytes": self._raw_bytes,
            "metadata": self._metadata,
            "batch": self._batch,
            "large": self._large,
            "compressed": self._compressed,
            "deadline": self._deadline,
            "cancelled": self._cancelled,
            "by hand": self._by_hand,
        }

    def __iter__(self) -> Iterator[Input]:
        """Without end: every field once, then every kind; of `a field` every value once, then any."""
        self._sweep = self._values_of_all_places()
        self._hands = cycle(self._dice.sample(list(HANDS), len(HANDS)))
        first = self._dice.sample(self.places, len(self.places))
        kinds, weights = list(KINDS), list(KINDS.values())
        for number in numbers():
            self._organization = self._organization_of(number)
            if number < len(first):
                kind = "a field"
                made = self._spoiled([(first[number], self._any_value(first[number]))])
            else:
                [kind] = self._dice.choices(kinds, weights)
                made = self._makers[kind]()
            yield Input(number=number, kind=kind, organization=self._organization, **made)

    def _values_of_all_places(self) -> Iterator[tuple[Place, Any]]:
        sweep = [
            (place, which)
            for place in self.places
            for which in range(len(values(place.field, at(right_request(place.method, PLACEHOLDER), place.path))))
        ]
        self._dice.shuffle(sweep)
        for place, which in sweep:
            yield place, named(self._values(place)[which], self._organization)
        while True:
            place = self._dice.choice(self.places)
            yield place, self._any_value(place)

    def _values(self, place: Place) -> Sequence[Any]:
        return values(place.field, at(right_request(place.method, PLACEHOLDER), place.path))

    def _any_value(self, place: Place) -> Any:
        return named(self._dice.choice(self._values(place)), self._organization)

    def _one_field(self) -> dict[str, Any]:
        return self._spoiled([next(self._sweep)])

    def _several_fields(self) -> dict[str, Any]:
        others = self._of_method[self._dice.choice(self.places).method]
        chosen = self._dice.sample(others, min(len(others), self._dice.choice((2, 2, 3))))
        return self._spoiled([(each, self._any_value(each)) for each in chosen])

    def _spoiled(self, wrong: Sequence[tuple[Place, Any]]) -> dict[str, Any]:
        method = wrong[0][0].method
        fields, story, spoiled = right_request(method, self._organization), [], []
        for place, value in wrong:
            try:
                put(fields, place.path, value)
            except (KeyError, IndexError, TypeError):
                continue  # An earlier spoiling took away what it lies in.
            spoiled.append(place.name)
            story.append(f"{'.'.join(map(str, place.path))} = {str(value)[:60]!r}")
        request = self._request(method, fields)
        if "page_token" in {place.field.name for place, _ in wrong} and self._dice.random() < 0.8:
            key = named(self._dice.choice(KEYS), self._organization)
            request.ClearField("page_token")
            request.page_token = page_token(request, tuple(key))
            story.append(f"page_token of {json.dumps(key)[:60]}")
        return self._made(method, request.SerializeToString(), "; ".join(story), places=tuple(spoiled))

    def _unknown_field(self) -> dict[str, Any]:
        place = self._dice.choice(self.places)
        extra = wire.unknown_field(self._dice, place.siblings)
        data = wire.within(self._right(place.method), place.path[:-1], extra)
        return self._made(place.method, data, f"{place.name} beside {extra[:20].hex()}")

    def _wrong_wire_type(self) -> dict[str, Any]:
        place = self._dice.choice(self.places)
        extra = wire.wrong_wire_type(self._dice, place.field)
        data = wire.within(self._right(place.method), place.path[:-1], extra)
        return self._made(place.method, data, f"{place.name} as {extra[:20].hex()}", places=(place.name,))

    def _raw_bytes(self) -> dict[str, Any]:
        method = self._dice.choice(self.places).method
        right: bytes = self._right(method).SerializeToString()
        return self._made(method, wire.scrambled(self._dice, right), "scrambled")

    def _metadata(self) -> dict[str, Any]:
        """What gRPC's own client sends; the rest goes by hand."""
        dice = self._dice
        choices: Sequence[Metadata] = (
            [("earmark-actor", dice.choice(ACTORS))],
            [("earmark-actor", "a"), ("earmark-actor", "b" * dice.choice((1, 257)))],
            [("earmark-actor-bin", b"\xff\x00")],
            [("x-anything-bin", dice.randbytes(dice.choice((0, 1, 500, 5_000))))],
            [(f"x-{number}", "v" * 20) for number in range(dice.choice((40, 100, 1_000)))],
            [("x-padding", "x" * dice.choice((1, 7_000, 8_000, 12_000, 17_000, 100_000)))],
            [("x-" + "k" * dice.choice((100, 5_000, 20_000)), "v")],
            [("grpc-status-details-bin", b"\x08\x0d")],
            [("earmark-actor", "a" * 256), *((f"x-{number}-bin", b"\0" * 9) for number in range(30))],
        )
        sent = dice.choice(choices)
        method = dice.choice(self.places).method
        right: bytes = self._right(method).SerializeToString()
        return self._made(method, right, f"metadata {str(sent)[:80]}", metadata=sent)

    def _batch(self) -> dict[str, Any]:
        place, count = self._dice.choice(self._repeated), self._dice.choice(BATCHES)
        data = wire.repeated(self._right(place.method), place.path, count)
        return self._made(place.method, data, f"{place.name} {count} times", places=(place.name,))

    def _large(self) -> dict[str, Any]:
        """Near the greatest size of a message, and above: as text, or as what nobody knows."""
        size = self._dice.choice(SIZES)
        texts = [each for each in self.places if _is_text(each.field) and not each.field.is_repeated]
        place = self._dice.choice(texts)
        right = self._right(place.method)
        room = size - right.ByteSize() - 20
        number = place.field.number if self._dice.random() < 0.7 else 2_000
        data = wire.within(right, place.path[:-1], wire.delimited(number, b"x" * room))
        return self._made(place.method, data, f"{place.name} of {room} bytes", places=(place.name,))

    def _compressed(self) -> dict[str, Any]:
        """A message that is small on the wire and large behind it."""
        method, size = self._dice.choice(self.places).method, self._dice.choice(COMPRESSED_SIZES)
        return self._made(method, wire.delimited(1, b"\0" * size), f"{size} bytes, compressed")

    def _deadline(self) -> dict[str, Any]:
        return {**self._read(), "seconds": self._dice.choice(DEADLINES)}

    def _cancelled(self) -> dict[str, Any]:
        return self._read()

    def _read(self) -> dict[str, Any]:
        """Of a method that changes nothing: whether it was carried out is not known afterwards. Streams most often."""
        methods = [name for name in self._reads if self._methods[name].server_streaming] * 3 + self._reads
        places = self._of_method[self._dice.choice(methods)]
        place = self._dice.choice(places)
        return self._spoiled([(place, self._any_value(place))])

    def _by_hand(self) -> dict[str, Any]:
        """Not of a watch, which nobody ends."""
        hand = next(self._hands)
        methods = self._reads if HANDS[hand].only_reads else sorted(self._methods)
        method = self._dice.choice([name for name in methods if not self._methods[name].server_streaming])
        right: bytes = self._right(method).SerializeToString()
        return self._made(method, right, hand, hand=hand)

    def _right(self, method: str) -> Any:
        return self._request(method, right_request(method, self._organization))

    def _request(self, method: str, fields: Fields) -> Any:
        return GetMessageClass(self._methods[method].input_type)(**fields)

    @staticmethod
    def _made(method: str, data: bytes, story: str, **more: Any) -> dict[str, Any]:
        return {"method": method, "data": data, "story": story, **more}


def lane_organizations(seed: int, lanes: int, block: int) -> Callable[[int], str]:
    """Names an organization for each lane in each block of so many inputs. Ids differ in many bits."""

    def name(number: int) -> str:
        lane = f"{seed}/{number // block}/{number % lanes}"
        return sha256(lane.encode()).hexdigest()[:16]

    return name


def _is_text(described: FieldDescriptor) -> bool:
    return described.cpp_type == FieldDescriptor.CPPTYPE_STRING


def _is_list_of_messages(described: FieldDescriptor) -> bool:
    inner = described.message_type
    return described.is_repeated and inner is not None and not inner.GetOptions().map_entry
