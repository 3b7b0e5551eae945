"""UsageService: wire to ledger and back."""

from datetime import datetime

from google.type.interval_pb2 import Interval as IntervalMessage

from earmark.v1 import resources_pb2
from earmark.v1 import usage_service_pb2 as pb
from earmark.v1.usage_service_pb2_grpc import UsageServiceServicer
from services.allocator.calling import Context, caller
from services.allocator.form import EVERYTHING, Form
from services.allocator.paging import key_from, page, page_size, page_token, revision_key
from services.allocator.usage_wire import (
    ending_message,
    entry_message,
    estimated_line_message,
    forecast_message,
    history_message,
    offering_usage_message,
    subscription_usage_message,
)
from services.allocator.watch_handler import WatchHandler
from services.ledger.rules import limits
from services.ledger.rules.answers import Balance
from services.ledger.rules.encoding import instant_text
from services.ledger.rules.estimating import Line, estimate, recommended_purchase
from services.ledger.rules.looking import Interval, Step, ending_credits, renewals
from services.ledger.rules.model import EntryKind
from services.ledger.store.entry_reads import EntryFilter
from services.wire import balance_message, timestamp


class UsageHandler(WatchHandler, UsageServiceServicer):
    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.Usage:
        form = Form()
        organization = form.organization("name", request.name)
        who = caller(form, context)
        form.check()
        async with self._ledger.snapshot(organization, who.seconds) as snapshot:
            state, as_of = snapshot.one_organization()
            usage = await snapshot.offering_usage()
            subscriptions = await snapshot.live_subscriptions()
        renewed = renewals(subscriptions)
        return pb.Usage(
            balance=balance_message(Balance(organization, state.revision, as_of, state.figures)),
            offerings=[offering_usage_message(each) for each in usage],
            ending=[ending_message(each) for each in ending_credits(subscriptions, as_of)],
            subscriptions=[subscription_usage_message(each, renewed.get(each.subscription)) for each in subscriptions],
        )

    async def QueryUsageHistory(
        self, request: pb.QueryUsageHistoryRequest, context: Context
    ) -> pb.QueryUsageHistoryResponse:
        form = Form()
        organization = form.organization("name", request.name)
        interval = _steps(form, request)
        who = caller(form, context)
        form.check()
        return history_message(*await self._ledger.history(organization, interval, who.seconds))

    async def ForecastUsage(self, request: pb.ForecastUsageRequest, context: Context) -> pb.ForecastUsageResponse:
        form = Form()
        organization = form.organization("name", request.name)
        until = form.required_instant("until", request, "until")
        who = caller(form, context)
        form.check()
        return forecast_message(*await self._ledger.forecast(organization, until, who.seconds))

    async def EstimateCredits(self, request: pb.EstimateCreditsRequest, context: Context) -> pb.EstimateCreditsResponse:
        form = Form()
        lines = _lines(form, request)
        organization = form.organization("organization", request.organization) if request.organization else None
        who = caller(form, context)
        form.check()
        async with self._ledger.snapshot(organization, who.seconds) as snapshot:
            offerings = await snapshot.offerings_of({each.offering for each in lines})
            estimated = estimate(lines, offerings, snapshot.now)
            found = snapshot.one_organization() if organization else None
        required = sum(each.credits for each in estimated)
        purchase = None
        if found is not None:
            state, as_of = found
            purchase = pb.EstimatedPurchase(
                balance=balance_message(Balance(state.organization, state.revision, as_of, state.figures)),
                remaining_credits=state.figures.available - required,
                recommended_credits=recommended_purchase(required, state.figures),
            )
        return pb.EstimateCreditsResponse(
            lines=[estimated_line_message(each) for each in estimated],
            required_credits=required,
            purchase=purchase,
            as_of=timestamp(snapshot.now),
        )

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        form = Form()
        organization = form.organization("parent", request.parent, or_all=True)
        wanted = _filter(form, organization, request)
        size = page_size(form, request.page_size)
        who = caller(form, context)
        form.check()
        key = revision_key(key_from(request.page_token, request))
        one = None if organization == EVERYTHING else organization
        async with self._ledger.snapshot(one, who.seconds) as snapshot:
            found, farthest = await snapshot.entries(
                wanted, request.after_revision, key, size + 1, newest_first=request.newest_first
            )
        shown, token = page(
            found, size, request, entry_message, lambda entry: (entry.organization, str(entry.revision))
        )
        if not token and farthest is not None:
            token = page_token(request, (farthest[0], str(farthest[1])))
        return pb.ListEntriesResponse(entries=shown, next_page_token=token)


def _steps(form: Form, request: pb.QueryUsageHistoryRequest) -> Interval:
    bad_before = len(form.violations)
    step = Step.DAY
    if request.step in (pb.QueryUsageHistoryRequest.HOUR, pb.QueryUsageHistoryRequest.DAY):
        step = Step[pb.QueryUsageHistoryRequest.Step.Name(request.step)]
    else:
        form.fail("step", f"must be HOUR or DAY, but is {request.step}")
    interval = Interval(_boundary(form, request, step, "start_time"), _boundary(form, request, step, "end_time"), step)
    sound = len(form.violations) == bad_before  # Otherwise it is not the interval that was sent.
    if sound and not 1 <= interval.steps <= limits.HISTORY_STEPS_MAX:
        form.fail("interval", f"must hold 1 to {limits.HISTORY_STEPS_MAX} steps, but holds {interval.steps}")
    return interval


def _boundary(form: Form, request: pb.QueryUsageHistoryRequest, step: Step, side: str) -> datetime:
    field = f"interval.{side}"
    instant = form.required_instant(field, request.interval, side)
    if step.start_of(instant) != instant:
        text = f"must be the very start of {'an' if step is Step.HOUR else 'a'} {step.name.lower()} of UTC"
        form.fail(field, f"{text}, but is {instant_text(instant)}")
    return instant


def _lines(form: Form, request: pb.EstimateCreditsRequest) -> list[Line]:
    count = len(request.lines)
    if not 1 <= count <= limits.NAMES_ASKED_MAX:
        form.fail("lines", f"must be 1 to {limits.NAMES_ASKED_MAX}, but are {count}")
    lines = []
    for index, each in enumerate(request.lines[: limits.NAMES_ASKED_MAX]):
        part = form.within(f"lines[{index}].")
        offering = part.offering("offering", each.offering)
        lines.append(Line(offering, part.whole("units", each.units, 1, limits.UNITS_MAX)))
    return lines


def _filter(form: Form, organization: str, request: pb.ListEntriesRequest) -> EntryFilter:
    form.whole("after_revision", request.after_revision, 0, limits.REVISION_MAX)
    if organization == EVERYTHING and request.after_revision:
        form.fail("after_revision", "needs one organization as parent: each has revisions of its own")
    kinds = _kinds(form, request)
    resource = None
    if request.resource:
        collection, resource = _resource(form, organization, request.resource)
        about = tuple(each for each in EntryKind if each.startswith(collection))
        if kinds and not set(kinds) & set(about):
            form.fail("kinds", f"must hold one that is about {request.resource!r}, or be empty")
        kinds = tuple(each for each in kinds or about if each in about)
    start, end = _open_interval(form, request.interval)
    return EntryFilter(kinds, resource, start, end)


def _kinds(form: Form, request: pb.ListEntriesRequest) -> tuple[EntryKind, ...]:
    if len(request.kinds) > limits.NAMES_ASKED_MAX:
        form.fail("kinds", f"must be at most {limits.NAMES_ASKED_MAX}, but are {len(request.kinds)}")
        return ()
    known = {number: name for name, number in resources_pb2.Entry.Kind.items() if number}
    for index, kind in enumerate(request.kinds):
        if kind not in known:
            form.fail(f"kinds[{index}]", f"must be one of {', '.join(known.values())}, but is {kind}")
    return tuple(sorted({EntryKind(known[kind]) for kind in request.kinds if kind in known}))


def _resource(form: Form, organization: str, name: str) -> tuple[str, str]:
    """What the kinds of the resource's entries begin with, and its id."""
    of_subscription = name.split("/")[2:3] == ["subscriptions"]
    found, key = (form.subscription if of_subscription else form.allocation)("resource", name)
    if found and found != organization:
        form.fail("resource", f"must be of the call's parent, one organization, but is {name!r}")
    return ("SUBSCRIPTION" if of_subscription else "ALLOCATION"), key


def _open_interval(form: Form, sent: IntervalMessage) -> tuple[datetime | None, datetime | None]:
    start = form.instant("interval.start_time", sent.start_time) if sent.HasField("start_time") else None
    end = form.instant("interval.end_time", sent.end_time) if sent.HasField("end_time") else None
    if start is not None and end is not None and start > end:
        form.fail("interval", "must not end before it starts")
    return start, end
