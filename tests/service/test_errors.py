"""Every refusal as it crosses the wire: its code, its reason, its figures and its standard detail."""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from earmark import EarmarkError
from earmark.messages import MessageClient, price
from earmark.v1.error_reason_pb2 import ErrorReason
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection, Pool
from tests.support.service_stories import YEAR, buy, everything, offer, refused

NAME = "organizations/o-1"
CAMEL_CASE = re.compile(r"[a-z][a-zA-Z0-9]*")
FIGURE = re.compile(r"(?<![\w/.~-])[0-9]+(?![\w/.~-])")

PROVOKED_ELSEWHERE = {
    "ERROR_REASON_UNSPECIFIED",  # not used
    "MALFORMED_MESSAGE",  # tests/service/test_wire.py
    "TOO_MANY_WAITING",  # tests/service/test_wire.py
    "OUTCOME_UNKNOWN",  # needs a commit that is lost
    "REVISION_NOT_REACHED",  # tests/service/test_watching.py
    "HISTORY_REPLACED",  # tests/service/test_watching.py
}


@dataclass(frozen=True)
class Case:
    """How a reason is provoked, and what comes with it."""

    reason: str
    code: str
    provoke: Callable[[MessageClient], Awaitable[object]]
    subject: str = ""
    """The resource that the standard detail is about."""
    figures: dict[str, str] = field(default_factory=dict)


def end() -> datetime:
    return datetime.now(UTC) + YEAR


CASES = [
    Case(
        "INVALID_FIELD",
        "INVALID_ARGUMENT",
        lambda client: client.get_organization("organizations/_"),
        figures={"violationCount": "1"},
    ),
    Case("ORGANIZATION_NOT_FOUND", "NOT_FOUND", lambda client: client.get_organization("o-9"), "organizations/o-9"),
    Case(
        "SUBSCRIPTION_NOT_FOUND",
        "NOT_FOUND",
        lambda client: client.get_subscription("o-1", "s-9"),
        f"{NAME}/subscriptions/s-9",
    ),
    Case(
        "OFFERING_NOT_FOUND",
        "NOT_FOUND",
        lambda client: client.enable_allocation("o-1", offering="f-9", units=1),
        "offerings/f-9",
    ),
    Case(
        "ALLOCATION_NOT_FOUND",
        "NOT_FOUND",
        lambda client: client.get_allocation("o-1", "a-9"),
        f"{NAME}/allocations/a-9",
    ),
    Case("ORGANIZATION_ALREADY_EXISTS", "ALREADY_EXISTS", lambda client: client.create_organization("o-1"), NAME),
    Case(
        "SUBSCRIPTION_ALREADY_EXISTS",
        "ALREADY_EXISTS",
        lambda client: client.create_subscription("o-1", credits=1, end_time=end(), subscription="s-1"),
        f"{NAME}/subscriptions/s-1",
    ),
    Case(
        "OFFERING_ALREADY_EXISTS",
        "ALREADY_EXISTS",
        lambda client: client.create_offering("sensor", price=price(1)),
        "offerings/sensor",
    ),
    Case(
        "ALLOCATION_ALREADY_EXISTS",
        "ALREADY_EXISTS",
        lambda client: client.enable_allocation("o-1", offering="free", units=1, allocation="sensor"),
        f"{NAME}/allocations/sensor",
        {"offering": "sensor", "requestedOffering": "free"},
    ),
    Case(
        "RENEWAL_ALREADY_EXISTS",
        "ALREADY_EXISTS",
        lambda client: client.create_subscription("o-1", credits=1, end_time=end() + YEAR, renews="s-1"),
        f"{NAME}/subscriptions/s-1",
        {"renewal": f"{NAME}/subscriptions/s-2"},
    ),
    Case(
        "INSUFFICIENT_CREDITS",
        "RESOURCE_EXHAUSTED",
        lambda client: client.adjust_allocation("o-1", "sensor", delta_units=20),
        NAME,
        {"required": "100", "available": "-10", "overdraftLimit": "10", "suspended": "15", "shortfall": "115"},
    ),
    Case(
        "WOULD_SUSPEND",
        "FAILED_PRECONDITION",
        lambda client: client.cancel_subscription("o-1", "s-1"),
        NAME,
        {"allocations": f"{NAME}/allocations/sensor", "allocationCount": "1"},
    ),
    Case(
        "SUBSCRIPTION_STATE",
        "FAILED_PRECONDITION",
        lambda client: client.update_subscription("o-1", "gone", credits=7),
        f"{NAME}/subscriptions/gone",
        {"state": "CANCELLED"},
    ),
    Case(
        "SUSPENDED",
        "FAILED_PRECONDITION",
        lambda client: client.adjust_allocation("o-1", "waiting", delta_units=4),
        f"{NAME}/allocations/waiting",
        {"units": "3", "deltaUnits": "4"},
    ),
    Case(
        "OFFERING_RETIRED",
        "FAILED_PRECONDITION",
        lambda client: client.enable_allocation("o-1", offering="retired", units=1),
        "offerings/retired",
        {"allocation": f"{NAME}/allocations/retired"},
    ),
    Case(
        "UNITS_BELOW_ZERO",
        "FAILED_PRECONDITION",
        lambda client: client.adjust_allocation("o-1", "sensor", delta_units=-23),
        f"{NAME}/allocations/sensor",
        {"units": "22", "deltaUnits": "-23"},
    ),
    Case(
        "LIMIT_EXCEEDED",
        "FAILED_PRECONDITION",
        lambda client: client.enable_allocation("o-1", offering="sensor", units=10**12),
        f"{NAME}/allocations/sensor",
        {"what": "credits of one allocation", "value": str(5 * 10**12), "limit": str(10**12)},
    ),
    Case(
        "REQUEST_ID_REUSED",
        "FAILED_PRECONDITION",
        lambda client: client.disable_allocation("o-1", "sensor", request_id="r-1"),
        NAME,
        {"requestId": "r-1"},
    ),
    Case(
        "ETAG_MISMATCH",
        "ABORTED",
        lambda client: client.update_allocation("o-1", "sensor", priority=1, etag="old"),
        figures={"etag": "old", "currentEtag": "6"},
    ),
]


@pytest.fixture
async def world(client: MessageClient) -> None:
    """An organization that is overdrawn by 10 of 10, with an allocation that waits."""
    await offer(client, sensor="5", free="0", retired="1")
    await client.update_offering("retired", retired=True)
    await client.create_organization("o-1", overdraft_limit=10)
    await buy(client, "o-1", 100, subscription="s-1")
    await buy(client, "o-1", 100, renews="s-1", subscription="s-2", lasting=2 * YEAR)
    await buy(client, "o-1", 15, subscription="gone")
    await client.enable_allocation("o-1", offering="sensor", units=3, allocation="waiting", priority=-1)
    await client.enable_allocation("o-1", offering="sensor", units=22, request_id="r-1")
    await client.cancel_subscription("o-1", "gone", force=True)


def standard_detail(code: str) -> Any:
    return {
        "INVALID_ARGUMENT": details.BadRequest,
        "NOT_FOUND": details.ResourceInfo,
        "ALREADY_EXISTS": details.ResourceInfo,
        "RESOURCE_EXHAUSTED": details.QuotaFailure,
        "FAILED_PRECONDITION": details.PreconditionFailure,
        "UNAVAILABLE": details.RetryInfo,
    }.get(code)


def subjects(detail: Any) -> Iterator[str]:
    """The resources that a standard detail names."""
    if isinstance(detail, details.ResourceInfo):
        yield detail.resource_name
    elif isinstance(detail, details.QuotaFailure | details.PreconditionFailure):
        yield from (violation.subject for violation in detail.violations)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
async def test_a_refusal_says_why(client: MessageClient, case: Case) -> None:
    error = await refused(case.provoke(client), case.reason)
    check(error, case.code)
    assert error.metadata == case.figures
    assert case.subject in error.message
    assert list(subjects(error.details[-1])) == [case.subject] * bool(case.subject)
    numbers = set() if case.code == "INVALID_ARGUMENT" else set(FIGURE.findall(error.message))
    assert numbers <= {value.removeprefix("-") for value in error.metadata.values()}, "a figure has no key"


def check(error: EarmarkError, code: str) -> None:
    """What holds for every refusal of ours."""
    assert error.code.name == code
    info, *others = error.details
    assert (info.domain, info.reason) == ("earmark", error.reason)
    assert all(CAMEL_CASE.fullmatch(key) for key in info.metadata)
    kind = standard_detail(code)
    assert [type(each) for each in others] == ([kind] if kind else [])


async def test_every_reason_is_provoked() -> None:
    here = {case.reason for case in CASES} | {
        "INVALID_PAGE_TOKEN",
        "LOCK_TIMEOUT",
        "DATABASE_UNAVAILABLE",
        "SHUTTING_DOWN",
        "INTERNAL",
    }
    assert here | PROVOKED_ELSEWHERE == set(ErrorReason.keys())


async def test_a_bad_page_token(client: MessageClient, channel: grpc.aio.Channel) -> None:
    list_organizations: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/earmark.v1.OrganizationService/ListOrganizations"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await list_organizations(b"\x12\x01x")
    error = EarmarkError.from_rpc(caught.value)
    assert error.reason == "INVALID_PAGE_TOKEN"
    check(error, "INVALID_ARGUMENT")


async def test_a_lock_that_is_not_granted_in_time(
    allocator: AllocatorServer, client: MessageClient, organization: str, connection: Connection
) -> None:
    """The answer comes before the caller's deadline, and nothing happens afterwards."""
    async with connection.transaction(), MessageClient(allocator.address, timeout_seconds=2.0) as hurried:
        await connection.execute("SELECT FROM organization FOR UPDATE")
        error = await refused(hurried.update_organization(organization, display_name="x"), "LOCK_TIMEOUT")
    check(error, "UNAVAILABLE")
    assert error.details[1].retry_delay.ToTimedelta() > timedelta()
    assert (await client.get_organization(organization)).display_name == ""


async def test_a_database_that_is_away(client: MessageClient, organization: str, pool: Pool) -> None:
    await pool.close()
    for call in (client.get_organization(organization), everything(client.list_offerings())):
        check(await refused(call, "DATABASE_UNAVAILABLE"), "UNAVAILABLE")


async def test_a_process_that_is_stopping(allocator: AllocatorServer, client: MessageClient, organization: str) -> None:
    allocator._gate.close()
    check(await refused(client.get_organization(organization), "SHUTTING_DOWN"), "UNAVAILABLE")


async def test_a_bug_keeps_its_cause_to_itself(
    client: MessageClient, organization: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("ALTER TABLE subscription RENAME TO elsewhere")
    for call in (
        client.update_organization(organization, display_name="x"),
        client.update_organization(organization, display_name="x", validate_only=True),
        everything(client.list_subscriptions(organization)),
    ):
        error = await refused(call, "INTERNAL")
        check(error, "INTERNAL")
        assert "subscription" not in error.message
        assert 'relation "subscription" does not exist' in caplog.text
        caplog.clear()
    await connection.execute("ALTER TABLE elsewhere RENAME TO subscription")
    await client.update_organization(organization, display_name="x")


async def test_every_bad_field_is_named_at_once(client: MessageClient, organization: str) -> None:
    late = datetime(2300, 1, 1, tzinfo=UTC)
    error = await refused(
        client.create_subscription(
            organization,
            credits=0,
            end_time=late,
            grace_period=timedelta(days=366),
            order_reference="\x7f",
            labels={"k": "v" * 64},
            subscription="_",
            request_id="é",
        ),
        "INVALID_FIELD",
    )
    fields = [violation.field for violation in error.details[1].field_violations]
    assert sorted(fields) == [
        "request_id",
        "subscription.credits",
        "subscription.end_time",
        "subscription.grace_period",
        "subscription.labels[k]",
        "subscription.order_reference",
        "subscription_id",
    ]
    assert error.metadata["violationCount"] == "7"
    assert await everything(client.list_subscriptions(organization)) == []
