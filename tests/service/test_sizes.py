"""What an answer and an error may weigh, with the longest names and the strangest texts that there are."""

import grpc
import pytest

from earmark import Adjust, EarmarkError, Enable, Step
from earmark.messages import MessageClient
from tests.support.service_stories import YEAR, buy, offer, refused


def sizes(error: BaseException | None) -> tuple[int, int]:
    """Bytes of (the details, all that a refusal sends: binary values as base64, others percent-encoded)."""
    assert isinstance(error, grpc.aio.AioRpcError)
    trailing = {key: value for key, value in error.trailing_metadata()}  # noqa: C416 - not a mapping yet
    size = len(trailing["grpc-status-details-bin"])
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in (error.details() or "").encode())
    return size, size * 4 // 3 + message


AWKWARD = ("\N{OLD PERSIAN SIGN A}" * 200, "\U000e0001" * 200, "x" * 200, "%" * 200, "\n" * 200)
"""Texts that become long when they are quoted or encoded."""


@pytest.mark.parametrize("awkward", AWKWARD, ids=lambda text: f"{ord(text[0]):x}")
async def test_a_thousand_bad_fields_fit_into_the_details(
    client: MessageClient, organization: str, awkward: str
) -> None:
    labels = {awkward[:65]: awkward[:65]}
    step = Enable(offering=awkward, units=1, allocation=awkward, labels=labels)
    error = await refused(client.apply_operations(organization, [step] * 1_000), "INVALID_FIELD")
    assert int(error.metadata["violationCount"]) > 1_000
    assert error.details[1].field_violations[0].field == "operations[0].enable.offering"
    size, everything_sent = sizes(error.__cause__)
    assert size < 4_096
    assert everything_sent < 8_000, "gRPC's clients may refuse more than 8 KiB"

    partial = await client.apply_operations(organization, [step] * 1_000, allow_partial=True)
    assert partial.ByteSize() < 3 * 2**20
    for result in partial.results:
        assert result.status.ByteSize() < 2_048
        assert EarmarkError.from_status(result.status).reason == "INVALID_FIELD"


async def test_the_longest_names_fit_into_the_details(client: MessageClient) -> None:
    organization, offering = "o" * 128, "f" * 128
    await offer(client, **{offering: "1", "g" * 128: "1"})
    await client.create_organization(organization)
    bought = await buy(client, organization, 1_000, subscription="s" * 128)
    ids = [f"{number:0128}" for number in range(10)]
    for each in ids:
        await client.enable_allocation(organization, offering=offering, units=100, allocation=each)
    await buy(client, organization, 1, renews="s" * 128, subscription="t" * 128, lasting=2 * YEAR)
    clash = Enable(offering="g" * 128, units=1, allocation=ids[0])
    more = Adjust(allocation=ids[0], delta_units=2, request_id="\\" * 128)
    for reason, call in (
        ("WOULD_SUSPEND", client.cancel_subscription(organization, bought.subscription.name)),
        ("RENEWAL_ALREADY_EXISTS", buy(client, organization, 1, renews="s" * 128)),
        ("ALLOCATION_ALREADY_EXISTS", client.apply_operations(organization, [clash], request_id="r-1")),
    ):
        error = await refused(call, reason)
        size, everything_sent = sizes(error.__cause__)
        assert (size < 4_096, everything_sent < 8_000) == (True, True), reason

    other = Adjust(allocation=ids[1], delta_units=0, request_id="\\" * 128)
    answer = await client.apply_operations(organization, [clash, more, other, other, more], allow_partial=True)
    reasons = [EarmarkError.from_status(result.status).reason for result in answer.results]
    assert reasons == ["ALLOCATION_ALREADY_EXISTS", "INSUFFICIENT_CREDITS", "", "", "REQUEST_ID_REUSED"]
    assert all(result.status.ByteSize() < 2_048 for result in answer.results)


async def test_a_thousand_operations_with_the_longest_names(client: MessageClient) -> None:
    organization, offering = "o" * 128, "f" * 128
    await offer(client, **{offering: "0.000001"})
    await client.create_organization(organization, overdraft_limit=10**12)
    labels = {f"{number:02}".ljust(63, "k"): "v" * 63 for number in range(16)}
    operations: list[Step] = [
        Enable(offering=offering, units=10**12, allocation=f"{number:0128}", priority=-(2**31), labels=labels)
        for number in range(1_000)
    ]
    for allow_partial in (False, True):
        answer = await client.apply_operations(organization, operations, allow_partial=allow_partial)
        assert len(answer.results) == 1_000
        assert answer.ByteSize() < 3 * 2**20
        assert not any(result.status.code or result.allocation.labels for result in answer.results)
        assert answer.balance.allocated_credits == 1_000 * 10**6
    error = await refused(client.apply_operations(organization, [*operations, operations[0]]), "INVALID_FIELD")
    assert "1001" in error.message
