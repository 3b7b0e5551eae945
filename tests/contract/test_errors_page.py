"""docs/errors.md: complete, and true to the contract and the code."""

import asyncio
import re
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.rpc import error_details_pb2

from earmark.v1.allocation_service_pb2 import EnableAllocationRequest
from earmark.v1.error_reason_pb2 import ErrorReason
from services.allocator.errors import CODES, DOMAIN, status_of
from services.allocator.server import AllocatorServer
from services.ledger.refusals import unavailable
from services.ledger.rules.refusal import FieldViolation, Reason, Refused
from tests.contract import refusals
from tests.contract.image import ROOT
from tests.contract.page import code, doc

PAGE = doc("errors.md")
GLANCE = {code(row["reason"])[0]: row for row in PAGE["At a glance"].table}
HEADINGS = {heading for heading, section in PAGE.items() if section.level == 3}
LINK = re.compile(r"\[`(\w+)`\]\(#(\w+)\)")

AGAIN = {"no", "after a change", "yes", "same request id"}

OF_A_VARIABLE = {Reason.LOCK_TIMEOUT, Reason.DATABASE_UNAVAILABLE}
"""The reasons that `unavailable` is called with."""


def metadata_on_the_page(heading: str) -> set[str]:
    return {key for table in PAGE[heading].tables for row in table for key in code(row["metadata"])}


def metadata_in_the_code() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for site in refusals.sites():
        if site.reason:
            found[site.reason] |= site.keys
    for reason in OF_A_VARIABLE:
        found[reason] |= unavailable(reason, "an-organization").figures.keys()
    return found


def test_the_contract_the_code_and_the_page_have_the_same_reasons() -> None:
    contract = {name for name in ErrorReason.keys() if name != "ERROR_REASON_UNSPECIFIED"}  # noqa: SIM118
    assert {each.value for each in Reason} == contract
    assert contract == HEADINGS
    assert contract == GLANCE.keys()


def test_every_reason_can_occur() -> None:
    assert metadata_in_the_code().keys() == {each.value for each in Reason}


def test_the_reason_is_a_variable_in_one_place_only() -> None:
    assert {(each.file, each.function) for each in refusals.sites() if each.reason is None} == {
        ("refusals.py", "unavailable")
    }


@pytest.mark.parametrize("reason", list(Reason))
def test_the_code_is_that_of_the_page(reason: Reason) -> None:
    assert code(GLANCE[reason]["code"]) == [CODES[reason].name]


@pytest.mark.parametrize("reason", list(Reason))
def test_the_standard_detail_is_that_of_the_page(reason: Reason) -> None:
    refused = Refused(reason, "a message", resource="organizations/o", violations=(FieldViolation("units", "why"),))
    info, *standard = status_of(refused).details
    shown = code(GLANCE[reason]["standard detail"])
    assert [each.TypeName() for each in standard] == [f"google.rpc.{each}" for each in shown]
    unpacked = error_details_pb2.ErrorInfo()
    assert info.Unpack(unpacked)
    assert (unpacked.domain, unpacked.reason) == (DOMAIN, reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_metadata_are_those_of_the_page(reason: Reason) -> None:
    assert metadata_on_the_page(reason) == metadata_in_the_code()[reason]


@pytest.mark.parametrize("reason", list(Reason))
def test_the_page_says_what_to_do(reason: Reason) -> None:
    again = GLANCE[reason]["again?"]
    assert again in AGAIN
    assert (again == "yes") == (code(GLANCE[reason]["standard detail"]) == ["RetryInfo"])
    assert len(PAGE[reason].text.strip()) > 20
    assert LINK.fullmatch(GLANCE[reason]["reason"])
    assert LINK.fullmatch(GLANCE[reason]["reason"]).groups() == (reason, reason.lower())  # type: ignore[union-attr]


@pytest.mark.parametrize("reason", list(Reason))
def test_the_comment_in_the_contract_says_the_same(reason: Reason) -> None:
    text = (ROOT / "proto/earmark/v1/error_reason.proto").read_text()
    found = re.search(rf"((?:  //[^\n]*\n)+)  {reason} = [0-9]+;", text)
    assert found
    comment = found[1].replace("//", "").split()
    assert comment[0].rstrip(":,") == CODES[reason].name
    details = {word.rstrip(":.") for word in comment} & {"BadRequest", "ResourceInfo", "QuotaFailure", "RetryInfo"}
    assert details <= set(code(GLANCE[reason]["standard detail"]))


def test_metadata_keys_are_in_camel_case() -> None:
    for keys in metadata_in_the_code().values():
        assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)*", each) for each in keys)


def test_an_operation_adds_its_index() -> None:
    plain = Refused(Reason.SUSPENDED, "a message", {"units": "1"})
    added = plain.at_operation(3).figures.keys() - plain.figures.keys()
    assert added == metadata_on_the_page("Several operations")


def test_a_line_adds_its_index() -> None:
    plain = Refused(Reason.OFFERING_NOT_FOUND, "a message", resource="offerings/o")
    added = plain.at_line(3).figures.keys() - plain.figures.keys()
    assert added == metadata_on_the_page("Several lines")


# What gRPC itself refuses.

Refusal = tuple[grpc.StatusCode, set[str]]
"""The code, and the keys of the trailing metadata."""
Provocation = Callable[[str], Awaitable[Refusal]]
DETAILS = "grpc-status-details-bin"
ENABLE = "/earmark.v1.AllocationService/EnableAllocation"


async def send(
    address: str,
    method: str = ENABLE,
    *,
    size: int = 0,
    metadata_size: int = 0,
    seconds: float = 10,
    cancelled: bool = False,
) -> Refusal:
    """Sends what no client of ours would."""
    async with grpc.aio.insecure_channel(address) as channel:
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        metadata = (("earmark-actor", "a" * metadata_size),) if metadata_size else ()
        request = EnableAllocationRequest(offering="o" * size).SerializeToString()
        call = rpc(request, metadata=metadata, timeout=seconds)
        if cancelled:
            call.cancel()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        return await call.code(), {key for key, _ in await call.trailing_metadata() or ()}


async def call_nobody(address: str) -> Refusal:
    del address
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: nobody else gets it, and nobody answers.
        return await send(f"127.0.0.1:{taken.getsockname()[1]}")


PROVOCATIONS: dict[str, Provocation] = {
    "a message over 4 MiB": lambda address: send(address, size=4 * 2**20 + 1),
    "metadata over 16 KiB": lambda address: send(address, metadata_size=16 * 2**10 + 1),
    "an unknown method": lambda address: send(address, "/earmark.v1.AllocationService/NoSuchMethod"),
    "the deadline has passed": lambda address: send(address, seconds=-1),
    "the caller cancelled": lambda address: send(address, cancelled=True),
    "nobody listens, the connection was lost, or TLS does not fit": call_nobody,
}
REFUSED_BY_GRPC = {row["what"]: row for row in PAGE["What gRPC itself refuses"].table}


def test_each_refusal_of_grpc_is_provoked() -> None:
    assert PROVOCATIONS.keys() == REFUSED_BY_GRPC.keys()


@pytest.mark.parametrize("what", sorted(PROVOCATIONS))
async def test_what_grpc_refuses_has_no_error_info(allocator: AllocatorServer, what: str) -> None:
    status, metadata = await PROVOCATIONS[what](allocator.address)
    assert [status.name] == code(REFUSED_BY_GRPC[what]["code"])
    assert DETAILS not in metadata


async def test_just_below_the_limits_of_grpc_earmark_answers(allocator: AllocatorServer) -> None:
    for size, metadata_size in ((4 * 2**20 - 100, 0), (0, 7 * 2**10)):
        status, metadata = await send(allocator.address, size=size, metadata_size=metadata_size)
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert DETAILS in metadata
