"""What a campaign tried and found."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import Error as NotInJson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from tests.fuzz.calling import Outcome
from tests.fuzz.inputs import Input
from tests.fuzz.memory import Memory

SHOWN_MAX: Final = 3
ALIKE_CHARACTERS: Final = 80
BYTES_SHOWN_MAX: Final = 400


@dataclass
class Report:
    """Counts, the violations, and what is needed to see each again."""

    seed: int
    fields: int
    """How many there are, of all requests."""
    memory: Memory
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    covered: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds of the slowest right call after a block."""
    entries: int = 0
    """Verified at the end."""
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return self.kinds.total()

    def count(self, each: Input, outcome: Outcome) -> None:
        self.kinds[each.kind] += 1
        self.codes[f"{outcome.code} by hand" if each.hand else outcome.code] += 1
        self.reasons[outcome.reason or ("by gRPC itself" if outcome.code != "OK" else "accepted")] += 1
        self.covered.update(each.places)

    def lines(self) -> list[str]:
        return [
            *self._shown(),
            f"by kind: {_listed(self.kinds)}",
            f"by code: {_listed(self.codes)}",
            f"by reason: {_listed(self.reasons)}",
            f"fields: {len(self.covered)} of {self.fields} were wrong at least once",
            f"memory: {self.memory}",
            f"ledger: {self.entries} entries verified; the slowest right call took {self.slowest * 1000:.0f} ms",
            f"seconds: {self.seconds:.0f}",
            f"fuzz: seed {self.seed}, {self.inputs} inputs, {len(self.covered)} fields,"
            f" {len(self.violations)} violations",
        ]

    def _shown(self) -> list[str]:
        """Of those that begin alike the first few."""
        alike: dict[str, list[str]] = {}
        for each in self.violations:
            alike.setdefault(each[:ALIKE_CHARACTERS], []).append(each)
        shown = []
        for several in alike.values():
            shown += [f"VIOLATION {each}" for each in several[:SHOWN_MAX]]
            if len(several) > SHOWN_MAX:
                shown.append(f"VIOLATION ... and {len(several) - SHOWN_MAX} more like these")
        return shown


def told(each: Input, methods: Mapping[str, MethodDescriptor]) -> str:
    """The input, so that it can be sent again: in JSON if the bytes are a message, else in hexadecimal digits."""
    metadata = f" metadata {str(each.metadata)[:BYTES_SHOWN_MAX]}" if each.metadata else ""
    hand = f" by hand: {each.hand}" if each.hand else ""
    deadline = "" if each.seconds is None else f" within {each.seconds} s"
    return (
        f"input {each.number} ({each.kind}) {each.method}{hand}{deadline}{metadata}\n  {each.story}\n"
        f"  {_readable(each, methods)}"
    )


def _readable(each: Input, methods: Mapping[str, MethodDescriptor]) -> str:
    shown = each.data.hex()
    if len(each.data) > BYTES_SHOWN_MAX:
        return f"{shown[:BYTES_SHOWN_MAX]}... of {len(each.data)} bytes; the seed gives it again"
    try:
        message: Any = GetMessageClass(methods[each.method].input_type).FromString(each.data)
        if message.SerializeToString() == each.data:
            shown = f"{json.dumps(MessageToDict(message, preserving_proto_field_name=True))} = {shown}"
    except (DecodeError, NotInJson, ValueError):
        pass
    return shown


def _listed(counted: Mapping[str, int]) -> str:
    pairs: Iterable[tuple[str, int]] = sorted(counted.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {number}" for name, number in pairs)
