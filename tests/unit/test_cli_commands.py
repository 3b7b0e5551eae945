"""The command line from end to end against a server that records what it is asked and answers as it is told."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
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
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from earmark.cli import main
from earmark.messages import MessageClient, price
from earmark.v1 import allocation_service_pb2 as allocations
from earmark.v1 import catalog_service_pb2 as catalog
from earmark.v1 import organization_service_pb2 as organizations
from earmark.v1 import subscription_service_pb2 as subscriptions
from earmark.v1 import usage_service_pb2 as usages
from earmark.v1.resources_pb2 import Allocation, Balance, Entry, Offering, Organization, Subscription

# The server's clock, far from that of any machine.
NOW = datetime(2051, 3, 1, 12, tzinfo=UTC)


class RecordingServer(grpc.GenericRpcHandler):
    """Answers each method with the messages or errors that were put in `answers`, in order."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, str | bytes] = {}
        self.answers: dict[str, list[Message]] = {}
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        service, name = handler_call_details.method.strip("/").split("/")
        if not service.startswith("earmark."):
            return None
        method = Default().FindServiceByName(service).methods_by_name[name]

        def answer(request: Any, context: grpc.ServicerContext) -> Message:
            self.requests.append(request)
            self.metadata = dict(context.invocation_metadata())
            made = self.answers[name].pop(0)
            if isinstance(made, status_pb2.Status):
                context.abort_with_status(rpc_status.to_status(made))
            return made

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            """All that is left, up to the next error; then nothing more comes."""
            self.requests.append(request)
            while self.answers[name]:
                made = self.answers[name].pop(0)
                if isinstance(made, status_pb2.Status):
                    context.abort_with_status(rpc_status.to_status(made))
                yield made
            gone = Event()
            context.add_callback(gone.set)
            gone.wait()

        deserialize = GetMessageClass(method.input_type).FromString
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, deserialize, _serialize)
        return grpc.unary_unary_rpc_method_handler(answer, deserialize, _serialize)

    def request(self, kind: type[Message]) -> Any:
        """The only request."""
        (request,) = self.requests
        assert isinstance(request, kind)
        return request


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


class Healthy(health_pb2_grpc.HealthServicer):
    """For as long as anybody wants to know."""

    def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        gone = Event()
        context.add_callback(gone.set)
        yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        gone.wait()


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    recording = RecordingServer()
    with ThreadPoolExecutor(max_workers=4) as pool:
        grpc_server = grpc.server(pool, handlers=[recording])
        health_pb2_grpc.add_HealthServicer_to_server(Healthy(), grpc_server)
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
    server.answers["CreateSubscription"] = [error(code_pb2.UNAVAILABLE, "OUTCOME_UNKNOWN", outcome="unknown")] * 100
    result = earmark("--timeout", "1s", "buy", "o-1", "5", "--for", "1d")
    assert result.exit_code == 6
    _, *attempts = server.requests
    [sent] = {request.request_id for request in attempts}
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


def test_a_long_list_is_one_table_that_grows(server: RecordingServer, earmark: Earmark) -> None:
    pages: list[Message] = [
        catalog.ListOfferingsResponse(
            offerings=[Offering(name=f"offerings/a-{number:04}", retired=number > 2500) for number in page],
            next_page_token=token,
        )
        for page, token in ((range(1000), "t-1"), (range(1000, 2000), "t-2"), (range(2000, 2600), ""))
    ]
    server.answers["ListOfferings"] = pages
    lines = earmark("offering", "list").stdout.splitlines()
    headers = [index for index, line in enumerate(lines) if line.startswith("ID")]
    # The last block has a column that was empty until then.
    assert headers == [0, 2001]
    assert ["RETIRED" in lines[index] for index in headers] == [False, True]
    assert [line[:6] for line in lines if line.startswith("a-")] == [f"a-{number:04}" for number in range(2600)]


NOUNS = ["organization", "subscription", "offering", "allocation"]


@pytest.mark.parametrize("noun", NOUNS)
def test_nouns_are_understood_in_the_plural_and_shown_in_the_singular(noun: str) -> None:
    singular, plural = (CliRunner().invoke(main, [name, "list", "--help"]) for name in (noun, f"{noun}s"))
    assert (plural.exit_code, plural.output) == (0, singular.output)
    assert f"\n  {noun}s " not in CliRunner().invoke(main, ["--help"]).output
    assert "No such command" in CliRunner().invoke(main, [f"{noun}ss"]).output


def test_only_nouns_have_a_plural() -> None:
    assert "No such command 'buys'" in CliRunner().invoke(main, ["buys", "o-1"]).output


@pytest.mark.parametrize("noun", NOUNS)
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


def test_usage_asks_for_one_organization(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetUsage"] = [usages.Usage(balance=Balance(organization="organizations/o-1", valid_credits=7))] * 2
    assert "VALID" in earmark("usage", "o-1").stdout
    assert json.loads(earmark("usage", "o-1", "--json").stdout)["balance"]["validCredits"] == "7"
    assert server.requests[0] == usages.GetUsageRequest(name="organizations/o-1")


@pytest.mark.parametrize(
    ("words", "step", "start", "end"),
    [
        ([], "DAY", "2050-03-02T00:00:00Z", "2051-03-02T00:00:00Z"),
        (["--by", "hour"], "HOUR", "2051-02-22T12:00:00Z", "2051-03-01T12:00:00Z"),
        (["--from", "-2d"], "DAY", "2051-02-27T00:00:00Z", "2051-03-02T00:00:00Z"),
        (["--by", "hour", "--from", "-90m", "--to", "+1m"], "HOUR", "2051-03-01T10:00:00Z", "2051-03-01T13:00:00Z"),
        (["--to", "2051-01-01"], "DAY", "2050-01-01T00:00:00Z", "2051-01-01T00:00:00Z"),
    ],
)
def test_a_history_is_of_whole_steps(
    server: RecordingServer, earmark: Earmark, words: list[str], step: str, start: str, end: str
) -> None:
    server.answers["GetOrganization"] = [organization_now()]
    server.answers["QueryUsageHistory"] = [usages.QueryUsageHistoryResponse()]
    result = earmark("history", "o-1", *words)
    assert (result.exit_code, result.stdout) == (0, "Nothing was valid or allocated.\n")
    request = server.requests[-1]
    assert usages.QueryUsageHistoryRequest.Step.Name(request.step) == step
    assert request.interval.start_time.ToJsonString() == start
    assert request.interval.end_time.ToJsonString() == end


def test_a_forecast_is_of_a_year_unless_it_says_otherwise(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetOrganization"] = [organization_now()]
    server.answers["ForecastUsage"] = [usages.ForecastUsageResponse(balance=Balance(as_of=at()))] * 2
    assert earmark("forecast", "o-1").exit_code == 0
    assert earmark("forecast", "o-1", "--until", "2051-04-01").exit_code == 0
    _, year, month = server.requests
    assert year == usages.ForecastUsageRequest(name="organizations/o-1", until=at(days=365))
    assert month.until.ToJsonString() == "2051-04-01T00:00:00Z"


def test_an_estimate_takes_lines_and_a_file(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["EstimateCredits"] = [usages.EstimateCreditsResponse()]
    text = "note,units,offering\nours,5,b\n\n,2_000,c\n"
    result = earmark("estimate", "a=1,000", "--file", "-", "--organization", "o-1", text=text)
    assert result.exit_code == 0, result.output
    assert server.request(usages.EstimateCreditsRequest) == usages.EstimateCreditsRequest(
        organization="organizations/o-1",
        lines=[
            usages.EstimateLine(offering=f"offerings/{offering}", units=units)
            for offering, units in [("a", 1000), ("b", 5), ("c", 2000)]
        ],
    )


def test_an_estimate_names_every_bad_line_before_it_sends_any(
    server: RecordingServer, earmark: Earmark, tmp_path: Path
) -> None:
    file = tmp_path / "lines.csv"
    file.write_text("offering,units\na,0\nb,5\n,5\nc,many\nd,1000000000001\n")
    result = earmark("estimate", "a", "b=2", "=3", "--file", str(file))
    assert result.exit_code == 2
    said = [line.split(":")[0] for line in result.stderr.splitlines() if ":" in line]
    assert [each for each in said if each.startswith(("Argument", "Line"))] == [
        "Argument 1",
        "Argument 3",
        "Line 2",
        "Line 4",
        "Line 5",
        "Line 6",
    ]
    file.write_text("offering,amount\na,5\n")
    assert "must name the column units" in earmark("estimate", "--file", str(file)).stderr
    assert server.requests == []


def test_entries_are_lines(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetOrganization"] = [organization_now()]
    pages = [
        usages.ListEntriesResponse(
            entries=[Entry(name=f"organizations/o-1/entries/{n}", revision=n, effective_time=at()) for n in page],
            next_page_token=token,
        )
        for page, token in (([9, 8], "t-1"), ([], "t-2"), ([7, 6], ""))
    ]
    server.answers["ListEntries"] = [*pages, pages[0]]
    result = earmark(
        *("entries", "o-1", "--kind", "allocation-enabled", "--kind", "threshold-crossed", "--newest"),
        *("--resource", "allocations/a", "--from", "-1d", "--to", "2051-03-02", "--after", "5", "--limit", "3"),
    )
    assert result.exit_code == 0, result.output
    assert [line.split("  ")[1] for line in result.stdout.splitlines()] == ["#9", "#8", "#7"]
    assert "--limit 3 left them out" in result.stderr
    request = server.requests[1]
    assert list(request.kinds) == [Entry.ALLOCATION_ENABLED, Entry.THRESHOLD_CROSSED]
    assert (request.resource, request.after_revision, request.newest_first, request.page_size) == (
        "organizations/o-1/allocations/a",
        5,
        True,
        4,
    )
    assert request.interval.start_time == at(days=-1)
    assert request.interval.end_time.ToJsonString() == "2051-03-02T00:00:00Z"

    everywhere = earmark("entries", "-", "--limit", "1")
    assert "  o-1  #9  " in everywhere.stdout
    assert server.requests[-1].parent == "organizations/-"


def ledger(*revisions: int) -> usages.ListEntriesResponse:
    return usages.ListEntriesResponse(
        entries=[
            Entry(name=f"organizations/o-1/entries/{n}", resource="organizations/o-1", revision=n) for n in revisions
        ]
    )


def organization_at(revision: int) -> Organization:
    return Organization(name="organizations/o-1", balance=Balance(as_of=at(), revision=revision))


def exported(output: str) -> list[str]:
    header, *rows = output.splitlines()
    assert header.startswith("organization,revision,")
    return [row.split(",")[1] for row in rows]


def test_an_export_ends_at_the_newest_revision_that_there_was_when_it_began(
    server: RecordingServer, earmark: Earmark
) -> None:
    server.answers["GetOrganization"] = [organization_at(3), organization_at(3)]
    server.answers["ListEntries"] = [ledger(1, 2, 3, 4, 5), ledger(2)]
    assert exported(earmark("export", "o-1").stdout) == ["1", "2", "3"]
    assert exported(earmark("export", "o-1", "--after", "1", "--through", "2").stdout) == ["2"]
    assert server.requests[-1].after_revision == 1


def test_an_export_up_to_an_instant_ends_at_the_last_revision_before_it(
    server: RecordingServer, earmark: Earmark
) -> None:
    server.answers["GetOrganization"] = [organization_at(9)]
    server.answers["ListEntries"] = [ledger(4), ledger(2, 3, 4, 5)]
    result = earmark("export", "o-1", "--from", "-2d", "--to", "2051-03-01")
    assert exported(result.stdout) == ["2", "3", "4"]
    _, last, entries = server.requests
    assert (last.newest_first, last.interval.end_time.ToJsonString()) == (True, "2051-03-01T00:00:00Z")
    assert entries.interval.start_time == at(days=-2)
    assert not entries.interval.HasField("end_time")


def test_an_export_of_what_began_after_its_end_is_empty(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetOrganization"] = [organization_at(9)]
    server.answers["ListEntries"] = [ledger(5, 6)]
    assert exported(earmark("export", "o-1", "--from", "-2d", "--through", "4").stdout) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--through", "10"], "has come to revision 9"),
        (["--after", "10"], "has come to revision 9"),
        (["--to", "+1s"], "still to come"),
        (["--output", "/"], "is a directory"),
        (["--output", "/nowhere/ledger.csv"], "No such file or directory"),
    ],
)
def test_an_export_is_of_what_is_over(
    server: RecordingServer, earmark: Earmark, words: list[str], message: str
) -> None:
    server.answers["GetOrganization"] = [organization_at(9)]
    result = earmark("export", "o-1", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize("came", [(1, 3), (2, 3), (1, 2)])
def test_an_export_with_a_gap_is_none(
    server: RecordingServer, earmark: Earmark, tmp_path: Path, came: tuple[int, ...]
) -> None:
    server.answers["GetOrganization"] = [organization_at(3)]
    server.answers["ListEntries"] = [ledger(*came)]
    file = tmp_path / "ledger.csv"
    file.write_text("as it was")
    result = earmark("export", "o-1", "-o", str(file))
    assert result.exit_code == 7
    [missing] = {1, 2, 3} - set(came)
    assert f"without revision {missing}" in result.stderr
    assert file.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [file]


CATALOGUE = """offering_id,display_name,solution,unit,credits_per_block,block_units,max_credits
data,Data,,GB,0.05,1,
mail,Mail,,user,5,1,100
"""


def test_a_file_that_broke_off_is_loaded_again_with_the_same_request_ids(
    server: RecordingServer, earmark: Earmark
) -> None:
    old = Offering(name="offerings/mail", display_name="Mail", unit="user", etag="7", price=price("4"))
    broken = error(code_pb2.UNAVAILABLE, "OUTCOME_UNKNOWN", outcome="unknown")
    server.answers["ListOfferings"] = [catalog.ListOfferingsResponse(offerings=[old])] * 2
    server.answers["CreateOffering"] = [Offering()] * 4
    server.answers["UpdateOffering"] = [Offering(), *[broken] * 99]
    first = earmark("--timeout", "1s", "offerings", "load", "-", text=CATALOGUE)
    assert first.exit_code == 6
    assert "Line 3, mail: stopped here, after 1 of 2 changes. Load the file again" in first.stderr
    assert "--request-id" not in first.stderr
    server.answers["UpdateOffering"] = [Offering(), Offering()]
    second = earmark("offerings", "load", "-", text=CATALOGUE)
    assert (second.exit_code, second.stdout.splitlines()[-1]) == (0, "created 1, updated 1, unchanged 0")

    updates = [each for each in server.requests if isinstance(each, catalog.UpdateOfferingRequest)]
    written = [each for each in updates if not each.validate_only]
    assert len(written) > 2
    assert len({each.request_id for each in written}) == 1
    assert {each.offering.etag for each in updates} == {"7"}
    assert {tuple(each.update_mask.paths) for each in updates} == {("price",)}
    tried = [each.request_id for each in updates if each.validate_only]
    assert len({written[0].request_id, *tried}) == 3


def test_what_the_allocator_would_refuse_is_told_by_line_before_anything_is_written(
    server: RecordingServer, earmark: Earmark
) -> None:
    server.answers["ListOfferings"] = [catalog.ListOfferingsResponse()]
    server.answers["CreateOffering"] = [
        error(code_pb2.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
        error(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD"),
    ]
    result = earmark("offerings", "load", "-", text=CATALOGUE)
    assert result.exit_code == 3
    said = [line for line in result.stderr.splitlines() if line.startswith(("Line", "reason", "Nothing"))]
    assert [each.split()[-1] for each in said] == ["data:", "LIMIT_EXCEEDED", "mail:", "INVALID_FIELD", "written."]
    assert all(each.validate_only for each in server.requests[1:])


@pytest.mark.parametrize(
    ("state", "expected"),
    [("ENTITLED", 0), ("IN_GRACE", 0), ("SUSPENDED", 3), ("NOT_ENABLED", 3)],
)
def test_a_check_ends_with_what_it_found(server: RecordingServer, earmark: Earmark, state: str, expected: int) -> None:
    found = allocations.Entitlement(state=allocations.Entitlement.State.Value(state), as_of=at())
    server.answers["CheckEntitlement"] = [found, found]
    assert earmark("check", "o-1", "data").exit_code == expected
    as_json = earmark("check", "o-1", "--allocation", "a", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["state"]) == (expected, state)
    assert [request.WhichOneof("target") for request in server.requests] == ["offering", "allocation"]
    assert server.requests[1].allocation == "organizations/o-1/allocations/a"


async def test_the_client_checks_several_entitlements_in_order(server: RecordingServer) -> None:
    server.answers["CheckEntitlements"] = [allocations.CheckEntitlementsResponse()]
    async with MessageClient(server.address) as client:
        await client.check_entitlements("o-1", offerings=["data", "offerings/mail"], allocations=["data~a"])
    assert server.request(allocations.CheckEntitlementsRequest) == allocations.CheckEntitlementsRequest(
        parent="organizations/o-1",
        targets=[
            allocations.EntitlementTarget(offering="offerings/data"),
            allocations.EntitlementTarget(offering="offerings/mail"),
            allocations.EntitlementTarget(allocation="organizations/o-1/allocations/data~a"),
        ],
    )


def entry_message(revision: int) -> usages.WatchUsageResponse:
    entry = Entry(revision=revision, effective_time=at(), kind=Entry.ORGANIZATION_UPDATED)
    return usages.WatchUsageResponse(
        entries=usages.EntryRun(entries=[entry]), revision=revision, resume_token=f"{revision}:aa"
    )


HISTORY_REPLACED = error(code_pb2.OUT_OF_RANGE, "HISTORY_REPLACED")
SHUTTING_DOWN = error(code_pb2.UNAVAILABLE, "SHUTTING_DOWN")


def test_a_watch_is_a_line_for_each_entry_and_says_once_that_it_reconnects(
    server: RecordingServer, earmark: Earmark
) -> None:
    heartbeat = usages.WatchUsageResponse(heartbeat=usages.Heartbeat(), resume_token="5:aa")
    server.answers["WatchUsage"] = [
        *(heartbeat, SHUTTING_DOWN, SHUTTING_DOWN, entry_message(6), entry_message(7), HISTORY_REPLACED)
    ]
    result = earmark("watch", "o-1", "--after", "5")
    assert result.exit_code == 5
    assert [line.split("  ")[1] for line in result.stdout.splitlines()] == ["#6", "#7"]
    assert result.stderr.count("Connection lost, reconnecting: The rule, and the way out.\n") == 1
    assert result.stderr.count("Connected again.\n") == 1
    assert "HISTORY_REPLACED" in result.stderr
    assert [request.WhichOneof("start") for request in server.requests] == [
        "after_revision",
        "resume_token",
        "resume_token",
    ]


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ([], usages.WatchUsageRequest(name="organizations/o-1")),
        (["--from-beginning"], usages.WatchUsageRequest(name="organizations/o-1", after_revision=0)),
        (["--resume", "9:aa"], usages.WatchUsageRequest(name="organizations/o-1", resume_token="9:aa")),
    ],
)
def test_a_watch_in_json_is_its_messages(
    server: RecordingServer, earmark: Earmark, words: list[str], start: usages.WatchUsageRequest
) -> None:
    heartbeat = usages.WatchUsageResponse(heartbeat=usages.Heartbeat(), revision=9, resume_token="9:aa")
    server.answers["WatchUsage"] = [heartbeat, entry_message(10), HISTORY_REPLACED]
    result = earmark("watch", "o-1", "--json", *words)
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["resumeToken"] for each in told] == ["9:aa", "10:aa"]
    assert json.loads(result.stderr)["reason"] == "HISTORY_REPLACED"
    assert server.requests == [start]
    assert server.requests[0].WhichOneof("start") == start.WhichOneof("start")


def test_a_monitor_does_not_say_again_what_comes_again(server: RecordingServer, earmark: Earmark) -> None:
    first, second = (Balance(organization=f"organizations/o-{n}", revision=n, as_of=at()) for n in (1, 2))
    later = Balance(organization="organizations/o-1", revision=3, as_of=at())
    server.answers["WatchBalances"] = [
        usages.WatchBalancesResponse(balances=[first, second]),
        usages.WatchBalancesResponse(caught_up=True),
        SHUTTING_DOWN,
        usages.WatchBalancesResponse(balances=[later, second]),
        error(code_pb2.NOT_FOUND, "ORGANIZATION_NOT_FOUND"),
    ]
    result = earmark("monitor", "o-1", "o-2")
    assert result.exit_code == 4
    assert [line.split("  ")[1:3] for line in result.stdout.splitlines()] == [
        ["#1", "o-1"],
        ["#2", "o-2"],
        ["#3", "o-1"],
    ]
    assert list(server.requests[0].names) == ["organizations/o-1", "organizations/o-2"]


def started(server: RecordingServer, *words: str) -> "subprocess.Popen[str]":
    program = [sys.executable, "-c", "from earmark.cli import main; main()", "--address", server.address, *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", ["watch", "monitor"])
def test_ctrl_c_is_how_a_watch_ends(server: RecordingServer, name: str) -> None:
    server.answers["WatchUsage"] = [entry_message(6)]
    server.answers["WatchBalances"] = [usages.WatchBalancesResponse(balances=[Balance(as_of=at(), revision=6)])]
    with started(server, name, "o-1") as watching:
        assert watching.stdout is not None
        assert "#6" in watching.stdout.readline()  # each line is flushed as it comes
        watching.send_signal(signal.SIGINT)
        rest, said = watching.communicate()
    assert (watching.returncode, rest) == (0, "")
    assert said == ("To go on from here: --resume 6:aa\n" if name == "watch" else "")


def test_a_watch_whose_reader_has_gone_ends_without_a_word(server: RecordingServer) -> None:
    more = Event()

    class Later(list[Message]):
        """One message, and after the reader has gone another."""

        def __bool__(self) -> bool:
            return more.wait() if len(self) == 1 else len(self) > 0

    server.answers["WatchUsage"] = Later([entry_message(6), entry_message(7)])
    with started(server, "watch", "o-1") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "#6" in watching.stdout.readline()
        watching.stdout.close()
        more.set()
        watching.wait()
        assert watching.stderr.read() == ""
    assert watching.returncode == 1


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


@pytest.mark.parametrize("words", [["organization", "show", "o-1"], ["watch", "o-1"], ["monitor", "--plain"]])
def test_nobody_at_the_address_is_said_at_once(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["--address", "127.0.0.1:1", "--timeout", "1d", *words])
    assert result.exit_code == 6
    assert result.stderr.startswith("Unavailable: ")
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.output


def test_what_nobody_hears_is_sent_three_times(server: RecordingServer, earmark: Earmark) -> None:
    server.answers["GetUsage"] = [status_pb2.Status(code=code_pb2.UNAVAILABLE)] * 9
    assert earmark("--timeout", "1d", "usage", "o-1").exit_code == 6
    assert len(server.requests) == 3


def test_an_allocator_that_asks_for_it_is_asked_again_with_the_same_request_id(
    server: RecordingServer, earmark: Earmark
) -> None:
    server.answers["DisableAllocation"] = [*[SHUTTING_DOWN] * 5, allocations.DisableAllocationResponse()]
    result = earmark("disable", "o-1", "data")
    assert result.exit_code == 0, result.output
    assert len(server.requests) == 6
    assert len({request.request_id for request in server.requests}) == 1


@pytest.mark.parametrize("words", [["usage", "o-1"], ["watch", "o-1"]])
def test_of_several_addresses_one_that_answers_is_enough(server: RecordingServer, words: list[str]) -> None:
    server.answers["GetUsage"] = [usages.Usage()]
    server.answers["WatchUsage"] = [entry_message(6), HISTORY_REPLACED]
    dead = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"]
    result = CliRunner().invoke(main, ["--address", ",".join([*dead, server.address]), *words])
    assert result.exit_code == (5 if words[0] == "watch" else 0), result.output
    assert len(server.requests) == 1


def test_an_address_is_never_empty(earmark: Earmark) -> None:
    result = CliRunner().invoke(main, ["--address", "127.0.0.1:1,", "usage", "o-1"])
    assert (result.exit_code, "Nothing was sent" in result.stderr) == (2, True)


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
        (["check", "o-1"], "either an offering or an allocation"),
        (["check", "o-1", "data", "--allocation", "a"], "either an offering or an allocation"),
        (["entries", "-", "--from", "-1d"], "relative needs one organization"),
        (["entries", "o-1", "--kind", "surprise"], "is not one of"),
        (["history", "o-1", "--from", "2051-03-02", "--to", "2051-03-02"], "--from must be before --to"),
        (["watch", "o-1", "--after", "5", "--from-beginning"], "one of --after, --from-beginning and --resume"),
        (["watch", "o-1", "--resume", "5:aa", "--from-beginning"], "one of --after, --from-beginning and --resume"),
        (["estimate"], "from 1 to 1,000 lines, not 0"),
        (["estimate", *["data=1"] * 1001], "from 1 to 1,000 lines, not 1,001"),
    ],
)
def test_what_cannot_be_meant_is_not_sent(
    server: RecordingServer, earmark: Earmark, words: list[str], message: str
) -> None:
    result = earmark(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert server.requests == []
