"""The command line from end to end against a server that records what it is asked and answers as it is told."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.descriptor_pool import Default
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from earmark.cli import main
from earmark.v1 import allocation_service_pb2 as allocations
from earmark.v1 import catalog_service_pb2 as catalog
from earmark.v1 import organization_service_pb2 as organizations
from earmark.v1 import subscription_service_pb2 as subscriptions
from earmark.v1.resources_pb2 import Allocation, Balance, Offering, Organization, Subscription

# The server's clock, far from that of any machine.
NOW = datetime(2051, 3, 1, 12, tzinfo=UTC)


class RecordingServer(grpc.GenericRpcHandler):
    """Answers each method with the messages or errors that were put in `answers`, in order."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, str | bytes] = {}
        self.answers: dict[str, list[Message]] = {}
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        service, name = handler_call_details.method.strip("/").split("/")
        method = Default().FindServiceByName(service).methods_by_name[name]

        def answer(request: Any, context: grpc.ServicerContext) -> Message:
            self.requests.append(request)
            self.metadata = dict(context.invocation_metadata())
            made = self.answers[name].pop(0)
            if isinstance(made, status_pb2.Status):
                context.abort_with_status(rpc_status.to_status(made))
            return made

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def request(self, kind: type[Message]) -> Any:
        """The only request."""
        (request,) = self.requests
        assert isinstance(request, kind)
        return request


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    recording = RecordingServer()
    with ThreadPoolExecutor(max_workers=1) as pool:
        grpc_server = grpc.server(pool, handlers=[recording])
        recording.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
        grpc_server.start()
        yield recording
        grpc_server.stop(grace=None).wait()


Earmark = Callable[..., Result]


@pytest.fixture
def earmark(server: RecordingServer) -> Earmark:
    def run(*words: str, text: str | None = None) -> Result:
        return CliRunner().invoke(main, ["--address", server.address, *words], input=text)

    return run


def at(**distance: float) -> Timestamp:
    value = Timestamp()
    value.FromDatetime(NOW + timedelta(**distance))
    return value


def organization_now() -> Organization:
    return Organization(name="organizations/o-1", balance=Balance(as_of=at()))


def error(code: int, reason: str, **metadata: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message="The rule, and the way out.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="earmark", metadata=metadata))
    return status


def test_enable(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["EnableAllocation"] = [allocations.EnableAllocationResponse()]
    result = earmark(
        "--actor",
        "night-shift",
        "enable",
        "o-1",
        "endpoint-sensor",
        "1,000",
        "--id",
        "endpoint-sensor~a",
        "--priority",
        "-3",
        "--label",
        "site=a=b",
        "--request-id",
        "r-1",
    )
    assert result.exit_code == 0, result.output
    assert server.metadata["earmark-actor"] == "night-shift"
    assert server.request(allocations.EnableAllocationRequest) == allocations.EnableAllocationRequest(
        parent="organizations/o-1",
        allocation_id="endpoint-sensor~a",
        offering="offerings/endpoint-sensor",
        units=1000,
        priority=-3,
        labels={"site": "a=b"},
        request_id="r-1",
    )


def test_every_mutation_has_a_request_id_of_its_own(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["DisableAllocation"] = [allocations.DisableAllocationResponse() for _ in range(2)]
    earmark("disable", "o-1", "endpoint-sensor")
    earmark("disable", "o-1", "endpoint-sensor")
    first, second = (request.request_id for request in server.requests)
    assert len(first) == len(second) == 36
    assert first != second


@pytest.mark.parametrize(("typed", "sent"), [("-3", -3), ("+5", 5), ("5", 5)])
def test_adjust_takes_a_signed_number(server: RecordingServer, earmark: Earmark, typed: str, sent: int) -> None:
    server.answers["AdjustAllocation"] = [allocations.AdjustAllocationResponse()]
    result = earmark("allocation", "adjust", "o-1", "endpoint-sensor", typed, "--validate-only")
    assert result.exit_code == 0, result.output
    assert "Nothing was changed" in result.stdout
    request = server.request(allocations.AdjustAllocationRequest)
    assert request.name == "organizations/o-1/allocations/endpoint-sensor"
    assert (request.delta_units, request.validate_only) == (sent, True)


def test_an_update_names_only_what_is_given(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["UpdateAllocation"] = [allocations.UpdateAllocationResponse() for _ in range(3)]
    earmark("allocation", "update", "o-1", "a", "--priority", "0", "--etag", "e-1")
    earmark("allocation", "update", "o-1", "a", "--clear-labels")
    earmark("allocation", "update", "o-1", "a", "--label", "x=1", "--label", "y=2")
    priority, cleared, labels = server.requests
    assert priority.update_mask == FieldMask(paths=["priority"])
    assert priority.allocation.etag == "e-1"
    assert cleared.update_mask == FieldMask(paths=["labels"])
    assert dict(cleared.allocation.labels) == {}
    assert dict(labels.allocation.labels) == {"x": "1", "y": "2"}


def test_a_purchase_for_a_year_is_reckoned_by_the_servers_clock(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetOrganization"] = [organization_now()]
    server.answers["CreateSubscription"] = [subscriptions.CreateSubscriptionResponse()]
    result = earmark("buy", "o-1", "10,000", "--for", "365d", "--grace", "0", "--order", "PO-7")
    assert result.exit_code == 0, result.output
    _, request = server.requests
    assert request.parent == "organizations/o-1"
    assert request.subscription.credits == 10_000
    assert not request.subscription.HasField("start_time")
    assert request.subscription.end_time == at(days=365)
    assert request.subscription.HasField("grace_period")
    assert request.subscription.grace_period.ToTimedelta() == timedelta(0)
    assert request.subscription.order_reference == "PO-7"


def test_a_purchase_between_instants_asks_for_no_clock(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["CreateSubscription"] = [subscriptions.CreateSubscriptionResponse()]
    result = earmark(
        "subscription",
        "buy",
        "o-1",
        "5",
        "--start",
        "2051-03-02",
        "--end",
        "2052-03-02T00:00:00+01:00",
        "--id",
        "s-1",
    )
    assert result.exit_code == 0, result.output
    request = server.request(subscriptions.CreateSubscriptionRequest)
    assert request.subscription_id == "s-1"
    assert request.subscription.start_time.ToJsonString() == "2051-03-02T00:00:00Z"
    assert request.subscription.end_time.ToJsonString() == "2052-03-01T23:00:00Z"


@pytest.mark.parametrize(("state", "begins"), [(Subscription.ACTIVE, {"days": 20}), (Subscription.GRACE, {"days": 0})])
def test_a_renewal_for_a_year_begins_as_the_old_one_ends(
    server: RecordingServer, earmark: Earmark, state: Subscription.State.ValueType, begins: dict[str, float]
) -> None:
    server.answers["GetOrganization"] = [organization_now()]
    server.answers["GetSubscription"] = [Subscription(state=state, end_time=at(days=20))]
    server.answers["CreateSubscription"] = [subscriptions.CreateSubscriptionResponse()]
    result = earmark("buy", "o-1", "5", "--for", "365d", "--renews", "s-1")
    assert result.exit_code == 0, result.output
    request = server.requests[-1].subscription
    assert request.renews == "organizations/o-1/subscriptions/s-1"
    assert not request.HasField("start_time")
    assert request.end_time.ToDatetime(tzinfo=UTC) == NOW + timedelta(**begins) + timedelta(days=365)


def test_a_purchase_without_an_answer_says_how_to_repeat_it_exactly(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetOrganization"] = [organization_now()]
    server.answers["CreateSubscription"] = [error(code_pb2.UNAVAILABLE, "OUTCOME_UNKNOWN", outcome="unknown")]
    result = earmark("buy", "o-1", "5", "--for", "1d")
    assert result.exit_code == 6
    sent = server.requests[-1].request_id
    assert f"--request-id {sent} --end 2051-03-02T12:00:00Z" in result.stderr
    assert result.stdout == ""


def test_change_and_cancel_a_subscription(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["UpdateSubscription"] = [subscriptions.UpdateSubscriptionResponse()]
    server.answers["CancelSubscription"] = [subscriptions.CancelSubscriptionResponse()]
    earmark("subscription", "update", "o-1", "s-1", "--credits", "7", "--end", "2051-04-01", "--force")
    earmark("subscription", "cancel", "o-1", "s-1", "--force", "--etag", "e-1", "--request-id", "r-1")
    update, cancel = server.requests
    assert update.update_mask == FieldMask(paths=["credits", "end_time"])
    assert (update.subscription.name, update.force) == ("organizations/o-1/subscriptions/s-1", True)
    assert cancel == subscriptions.CancelSubscriptionRequest(
        name="organizations/o-1/subscriptions/s-1", etag="e-1", force=True, request_id="r-1"
    )


def test_create_and_change_an_organization(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["CreateOrganization"] = [organizations.CreateOrganizationResponse()]
    server.answers["UpdateOrganization"] = [organizations.UpdateOrganizationResponse()]
    earmark("organization", "create", "o-1", "--overdraft", "1000", "--request-id", "r-1")
    earmark("organization", "update", "o-1", "--overdraft-limited", "--display-name", "", "--force")
    create, update = server.requests
    assert create == organizations.CreateOrganizationRequest(
        organization_id="o-1", organization=Organization(overdraft_limit=1000), request_id="r-1"
    )
    assert update.update_mask == FieldMask(paths=["display_name", "overdraft_unlimited"])
    assert update.force


def test_create_and_reprice_an_offering(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["CreateOffering"] = [Offering()]
    server.answers["GetOffering"] = [Offering(as_of=at())]
    server.answers["UpdateOffering"] = [Offering(), Offering(), Offering()]
    earmark("offering", "create", "data", "--price", "0.05", "--max-credits", "0", "--unit", "GB")
    earmark("offering", "update", "data", "--price", "20", "--block-units", "10", "--from", "+30d")
    earmark("offering", "update", "data", "--price", "20", "--from", "now")
    earmark("offering", "update", "data", "--retire")
    create, _, later, now, retired = server.requests
    assert create.offering_id == "data"
    assert create.offering.price.credits_per_block == "0.05"
    assert create.offering.price.HasField("max_credits")
    assert not create.offering.price.HasField("block_units")
    assert later.update_mask == FieldMask(paths=["price"])
    assert later.offering.price.block_units == 10
    assert later.offering.price.effective_time == at(days=30)
    assert not now.offering.price.HasField("effective_time")
    assert retired.update_mask == FieldMask(paths=["retired"])
    assert retired.offering.retired


def test_a_list_follows_its_pages_and_ends_at_the_limit(server: RecordingServer, earmark: Earmark) -> None:
    pages = [
        allocations.ListAllocationsResponse(
            allocations=[Allocation(name=f"organizations/o-1/allocations/a-{n}", units=n) for n in page],
            next_page_token=token,
        )
        for page, token in (([1, 2], "t-1"), ([3], ""))
    ]
    server.answers["ListAllocations"] = [*pages, pages[0]]
    result = earmark(
        "allocation", "list", "o-1", "--state", "enabled", "--offering", "data", "--label", "x=1", "--json"
    )
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["name"][-3:] for line in lines] == ["a-1", "a-2", "a-3"]
    assert lines[0]["priceVersion"] == 0  # zeros are spelled out
    assert [request.page_token for request in server.requests] == ["", "t-1"]
    assert server.requests[0].state == Allocation.ENABLED
    assert server.requests[0].offering == "offerings/data"
    assert dict(server.requests[0].labels) == {"x": "1"}

    limited = earmark("--json", "allocation", "list", "--limit", "1")
    assert len(limited.stdout.splitlines()) == 1
    assert "--limit 1" in limited.stderr
    assert server.requests[-1].parent == "organizations/-"


@pytest.mark.parametrize("noun", ["organization", "subscription", "offering", "allocation"])
def test_an_empty_list_says_so(server: RecordingServer, earmark: Earmark, noun: str) -> None:
    server.answers = {
        "ListOrganizations": [organizations.ListOrganizationsResponse()],
        "ListSubscriptions": [subscriptions.ListSubscriptionsResponse()],
        "ListOfferings": [catalog.ListOfferingsResponse()],
        "ListAllocations": [allocations.ListAllocationsResponse()],
    }
    assert earmark(noun, "list").stdout == f"No {noun}s.\n"


def test_an_answer_in_json_is_the_message_and_nothing_else(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["EnableAllocation"] = [
        allocations.EnableAllocationResponse(balance=Balance(available_credits=-5, as_of=at()))
    ]
    result = earmark("enable", "o-1", "data", "5", "--json", "--validate-only")
    answer = json.loads(result.stdout)
    assert answer["balance"]["availableCredits"] == "-5"
    assert answer["balance"]["asOf"] == "2051-03-01T12:00:00Z"
    assert result.stderr == ""


OPERATIONS = """operation,offering,units,allocation,delta_units,request_id
enable,data,5,,,
adjust,,,data,-1,own
disable,,,data,,
"""


def test_apply_all_or_nothing_has_one_request_id(server: RecordingServer, earmark: Earmark) -> None:
    results = [allocations.OperationResult(allocation=Allocation()) for _ in range(2)]
    server.answers["ApplyOperations"] = [allocations.ApplyOperationsResponse(results=results)]
    text = '{"operation": "enable", "offering": "data", "units": 5}\n' * 2
    result = earmark("allocation", "apply", "o-1", "--request-id", "r-1", text=text)
    assert result.exit_code == 0, result.output
    request = server.request(allocations.ApplyOperationsRequest)
    assert request.request_id == "r-1"
    assert [operation.request_id for operation in request.operations] == ["", ""]


def test_apply_partly_ends_with_the_code_of_the_first_refusal(server: RecordingServer, earmark: Earmark) -> None:
    results = [
        allocations.OperationResult(allocation=Allocation()),
        allocations.OperationResult(status=error(code_pb2.NOT_FOUND, "ALLOCATION_NOT_FOUND")),
        allocations.OperationResult(status=error(code_pb2.FAILED_PRECONDITION, "SUSPENDED")),
    ]
    server.answers["ApplyOperations"] = [allocations.ApplyOperationsResponse(results=results)]
    result = earmark("allocation", "apply", "o-1", "-", "--partial", "--request-id", "r", text=OPERATIONS)
    assert result.exit_code == 4
    assert "ALLOCATION_NOT_FOUND" in result.stdout
    request = server.request(allocations.ApplyOperationsRequest)
    assert (request.request_id, request.allow_partial) == ("", True)
    assert [operation.request_id for operation in request.operations] == ["r-0", "own", "r-2"]


def test_apply_takes_utf_8_only(server: RecordingServer, earmark: Earmark, tmp_path: Path) -> None:
    file = tmp_path / "operations.csv"
    file.write_bytes(b"operation,allocation\ndisable,\xff\n")
    result = earmark("allocation", "apply", "o-1", str(file))
    assert result.exit_code == 2
    assert "is not UTF-8" in result.stderr
    assert server.requests == []


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (code_pb2.RESOURCE_EXHAUSTED, "INSUFFICIENT_CREDITS", 3),
        (code_pb2.NOT_FOUND, "ORGANIZATION_NOT_FOUND", 4),
        (code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", 5),
        (code_pb2.INTERNAL, "INTERNAL", 7),
    ],
)
def test_errors_end_with_the_code_of_their_kind(
    server: RecordingServer, earmark: Earmark, code: int, reason: str, expected: int
) -> None:
    server.answers["EnableAllocation"] = [error(code, reason, required="2000") for _ in range(2)]
    result = earmark("enable", "o-1", "data", "5")
    assert result.exit_code == expected
    assert result.stdout == ""
    assert "The rule, and the way out." in result.stderr
    assert reason in result.stderr
    assert "2,000" in result.stderr

    as_json = earmark("--json", "enable", "o-1", "data", "5", "--request-id", "r-1")
    assert as_json.exit_code == expected
    assert as_json.stdout == ""
    told = json.loads(as_json.stderr)
    assert (told["reason"], told["metadata"], told["requestId"]) == (reason, {"required": "2000"}, "r-1")


def test_nobody_at_the_address() -> None:
    result = CliRunner().invoke(main, ["--address", "127.0.0.1:1", "organization", "show", "o-1"])
    assert result.exit_code == 6
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["buy", "o-1", "5"], "either --for or --end"),
        (["buy", "o-1", "5", "--for", "1d", "--end", "now"], "either --for or --end"),
        (["buy", "o-1", "5", "--for", "a year"], "is not a duration"),
        (["buy", "o-1", "-5", "--for", "1d"], "No such option"),
        (["enable", "o-1", "data", "many"], "is not a whole number"),
        (["allocation", "adjust", "o-1", "data", "--fast"], "is not a whole number"),
        (["allocation", "show", "o-1", "organizations/o-2/allocations/a"], "is not one of the allocations"),
        (["allocation", "update", "o-1", "a", "--label", "x=1", "--clear-labels"], "exclude each other"),
        (["allocation", "update", "o-1", "a", "--label", "x"], "KEY=VALUE"),
        (["offering", "update", "data", "--max-credits", "5"], "belong to a --price"),
        (["--timeout", "0", "organization", "list"], "needs some time"),
        (["--actor", "caf\u00e9", "organization", "list"], "printable ASCII"),
        (["--tls-key", __file__, "organization", "list"], "go together"),
    ],
)
def test_what_cannot_be_meant_is_not_sent(
    server: RecordingServer, earmark: Earmark, words: list[str], message: str
) -> None:
    result = earmark(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert server.requests == []
