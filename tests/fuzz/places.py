"""Every field of every request, also those within others: where something can be wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tests.fuzz.right import Fields, right_request
from tests.fuzz.values import is_map

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A field of a method's request; numbers in the path are of elements."""

    method: str
    path: Path
    field: FieldDescriptor

    @property
    def name(self) -> str:
        """Without the numbers: the same for all elements."""
        return ".".join((self.method, *(each for each in self.path if isinstance(each, str))))

    @property
    def siblings(self) -> list[int]:
        """The numbers of all fields of the message that it is in."""
        around: Any = self.field.containing_type
        return [each.number for each in around.fields]


def places_of(methods: Mapping[str, MethodDescriptor], organization: str) -> list[Place]:
    """Those of every method, in order."""
    return [
        Place(name, path, field)
        for name, method in sorted(methods.items())
        for path, field in _places(method.input_type, right_request(name, organization), (), frozenset())
    ]


def at(fields: Any, path: Path) -> Any:
    """What stands there, None if nothing does."""
    for step in path:
        try:
            fields = fields[step]
        except (KeyError, IndexError, TypeError):
            return None
    return fields


def put(fields: Any, path: Path, value: Any) -> None:
    """Sets it, and makes what it lies in; None takes it away. Raises KeyError, IndexError or TypeError if what it lies
    in was spoiled."""
    *way, last = path
    for step, following in zip(way, path[1:], strict=True):
        empty: Any = [{}] if isinstance(following, int) else {}
        fields = fields[step] if isinstance(step, int) else fields.setdefault(step, empty)
    fields.pop(last, None)  # Of a oneof the last one counts.
    if value is not None:
        fields[last] = value


def _places(
    described: Descriptor, fields: Fields, before: Path, around: frozenset[str]
) -> Iterator[tuple[Path, FieldDescriptor]]:
    """A message within itself is looked into once."""
    if described.full_name in around:
        return
    for field in described.fields:
        path = (*before, field.name)
        yield path, field
        inner = field.message_type
        if inner is None or is_map(field):
            continue
        within = around | {described.full_name}
        if field.is_repeated:
            for index, each in enumerate(fields.get(field.name, [{}])):
                yield from _places(inner, each, (*path, index), within)
        else:
            yield from _places(inner, fields.get(field.name, {}), path, within)
