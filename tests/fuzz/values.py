"""What a field may be set to, by its descriptor: boundaries, malformed, enormous and hostile values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

LONG: Final = 100_000
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
    *("organizations/acme/subscriptions/s", "organizations/other/allocations/a", "organizations/acme/offerings/app"),
    *("organizations/other/subscriptions/s", "organizations/" + "x" * 129, "organizations/" + "é", "offerings/none"),
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
BY_NAME: Final[Mapping[str, Sequence[Any]]] = {"seconds": SECONDS, "nanos": NANOS, "resume_token": RESUME_TOKENS}
REALS: Final = (0.0, -0.0, 1.5, -1.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
BYTES: Final = (b"", b"\0", b"\xff\xfe", b"x" * LONG)
COUNTS: Final = (1, 2, 999, 1_000, 1_001)
"""So often an element that is right is repeated."""

Bounds = tuple[int, int]
WHOLE_KINDS: Final[Mapping[int, Bounds]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
OTHER_KINDS: Final[Mapping[int, Sequence[Any]]] = {
    FieldDescriptor.CPPTYPE_BOOL: (True, False),
    FieldDescriptor.CPPTYPE_DOUBLE: REALS,
    FieldDescriptor.CPPTYPE_FLOAT: REALS,
}


def values(field: FieldDescriptor, right: Any) -> Sequence[Any]:
    """What the field may be set to, whatever its kind; None takes it away. `right` is what a good request has there.

    Messages are dicts, maps too, repeated fields lists.
    """
    if is_map(field):
        return _maps(field)
    if field.is_repeated:
        return _lists(field, right)
    if field.message_type is not None:
        return (None, {})
    return scalars(field)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def scalars(field: FieldDescriptor) -> Sequence[Any]:
    """Values of one element."""
    if field.name in BY_NAME:
        return BY_NAME[field.name]
    if field.enum_type is not None:
        return (*range(len(field.enum_type.values) + 1), 99, -1, 2**31 - 1, -(2**31))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return BYTES if field.type == FieldDescriptor.TYPE_BYTES else STRINGS
    if field.cpp_type in WHOLE_KINDS:
        lowest, highest = WHOLE_KINDS[field.cpp_type]
        return [each for each in (*WHOLES, *BIG_WHOLES, lowest, highest) if lowest <= each <= highest]
    return OTHER_KINDS[field.cpp_type]


def _lists(field: FieldDescriptor, right: Any) -> Sequence[Any]:
    if field.name == "paths":
        return PATHS
    good = list(right or [{} if field.message_type is not None else scalars(field)[0]])
    many = [good[:1] * count for count in COUNTS]
    if field.message_type is not None:
        return [[], [{}], [{}] * 1_001, good * 300, good * 700, *many]
    return [[], *many, good * 700, *([each] for each in scalars(field)), list(scalars(field))]


def _maps(field: FieldDescriptor) -> Sequence[Any]:
    entry: Any = field.message_type
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    if key.cpp_type == value.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return MAPS
    inner: Sequence[Any] = ({},) if value.message_type is not None else scalars(value)
    return [{}, *({one: inner[0]} for one in scalars(key)), *({scalars(key)[0]: each} for each in inner)]
