"""What is tried: every field there is, also one that nobody has heard of yet."""

from collections.abc import Iterator, Mapping
from itertools import islice

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool

from earmark.v1 import (
    allocation_service_pb2,
    catalog_service_pb2,
    organization_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
)
from tests.fuzz.by_hand import HANDS
from tests.fuzz.inputs import KINDS, Input, Inputs, lane_organizations
from tests.fuzz.wire import VARINT, key

FILES = (
    allocation_service_pb2,
    catalog_service_pb2,
    organization_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
)
METHODS = {
    method.name: method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
ORGANIZATION_OF = lane_organizations(1, lanes=4, block=1_000)


def inputs(count: int, methods: Mapping[str, MethodDescriptor] = METHODS, seed: int = 1) -> list[Input]:
    return list(islice(Inputs(methods, seed, ORGANIZATION_OF), count))


@pytest.fixture(scope="module")
def many() -> list[Input]:
    return inputs(4_000)


def names_of_fields(described: Descriptor, before: str) -> Iterator[str]:
    for field in described.fields:
        yield f"{before}.{field.name}"
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield from names_of_fields(field.message_type, f"{before}.{field.name}")


def test_every_field_of_every_request_is_wrong_once_before_any_is_twice() -> None:
    there_are = {name for method in METHODS.values() for name in names_of_fields(method.input_type, method.name)}
    places = len(Inputs(METHODS, 1, ORGANIZATION_OF).places)
    assert {place for each in inputs(places) for place in each.places} == there_are


def test_a_field_is_covered_on_the_day_it_is_added() -> None:
    """Of every kind that there is in protobuf, within a message within a request."""
    kinds = [
        kind
        for name, kind in FieldDescriptorProto.Type.items()
        if kind not in (FieldDescriptor.TYPE_GROUP, FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_ENUM)
    ]
    methods = with_fields_added(kinds)
    tried = inputs(5_000, methods)
    for kind in kinds:
        for name in (f"added_{kind}", f"added_many_{kind}"):
            wrong = [each for each in tried if f"EstimateCredits.lines.{name}" in each.places]
            assert len({each.data for each in wrong if each.kind == "a field"}) > 1, name


def with_fields_added(kinds: list["FieldDescriptorProto.Type.ValueType"]) -> dict[str, MethodDescriptor]:
    """The usage service's methods, where a line of an estimate has fields of these kinds, one and many."""
    file = FileDescriptorProto()
    usage_service_pb2.DESCRIPTOR.CopyToProto(file)
    [line] = [each for each in file.message_type if each.name == "EstimateLine"]
    for number, kind in enumerate(kinds):
        line.field.add(name=f"added_{kind}", number=100 + number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
        many = f"added_many_{kind}"
        line.field.add(name=many, number=200 + number, type=kind, label=FieldDescriptorProto.LABEL_REPEATED)
    pool = DescriptorPool()
    add_with_imports(pool, file)
    return {each.name: each for each in pool.FindServiceByName("earmark.v1.UsageService").methods}


def add_with_imports(pool: DescriptorPool, file: FileDescriptorProto) -> None:
    for name in file.dependency:
        imported = FileDescriptorProto()
        Default().FindFileByName(name).CopyToProto(imported)
        add_with_imports(pool, imported)
    pool.Add(file)


def test_a_seed_gives_the_same_inputs_and_another_one_others(many: list[Input]) -> None:
    assert inputs(1_000) == many[:1_000]
    assert inputs(100) != inputs(100, seed=2)


def test_every_kind_is_tried_and_by_hand_in_every_way(many: list[Input]) -> None:
    assert {each.kind for each in many} == set(KINDS)
    assert {each.hand for each in many} == {"", *HANDS}


def test_fields_that_nobody_knows_are_among_them_and_nested_ones_too(many: list[Input]) -> None:
    stories = {each.story for each in many if each.kind == "unknown field"}
    assert any(story.startswith("EstimateCredits.lines.") for story in stories)
    well_formed = [(key(number, VARINT) + b"\x01").hex() for number in (15, 16, 99, 2_047)]
    assert any(story.endswith(tuple(well_formed)) for story in stories)


def test_inputs_of_one_organization_are_never_near_another_ones(many: list[Input]) -> None:
    """Bits are turned over: no id may become another."""
    ids = sorted({each.organization for each in many})
    assert len(ids) == 16
    assert all(sum(a != b for a, b in zip(one, other, strict=True)) > 8 for one in ids for other in ids if one < other)
