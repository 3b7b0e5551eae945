"""The entitlement checks of AllocationService: the hottest reads of all."""

from collections.abc import Iterable

from google.rpc import status_pb2

from earmark.v1 import allocation_service_pb2 as pb
from services.allocator.calling import Context, caller
from services.allocator.errors import BATCH_DETAIL_BYTES_MAX, status_of
from services.allocator.form import Form
from services.allocator.usage_wire import entitlement_message
from services.ledger.ledger import Ledger
from services.ledger.rules import limits, names
from services.ledger.rules.entitling import NOTHING, Entitlement
from services.ledger.rules.refusal import Refused, offering_not_found
from services.ledger.rules.summing import OfferingUsage
from services.ledger.store.usage_reads import EntitlementRows

Target = tuple[str, str]
"""("offering" or "allocation", id)"""


class EntitlementHandler:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def CheckEntitlement(self, request: pb.CheckEntitlementRequest, context: Context) -> pb.Entitlement:
        form = Form()
        organization = form.organization("parent", request.parent)
        target = _target(form, organization, request)
        who = caller(form, context)
        form.check()
        rows = await _read(self._ledger, organization, [target], who.seconds)
        return entitlement_message(_entitlement(rows, target), rows.grounds.now)

    async def CheckEntitlements(
        self, request: pb.CheckEntitlementsRequest, context: Context
    ) -> pb.CheckEntitlementsResponse:
        form = Form()
        organization = form.organization("parent", request.parent)
        count = len(request.targets)
        if not 1 <= count <= limits.NAMES_ASKED_MAX:
            form.fail("targets", f"must be 1 to {limits.NAMES_ASKED_MAX}, but are {count}")
        who = caller(form, context)
        form.check()
        targets = [_checked_target(organization, each) for each in request.targets]
        sound = [each for each in targets if not isinstance(each, Refused)]
        rows = await _read(self._ledger, organization, sound, who.seconds)
        return pb.CheckEntitlementsResponse(results=[_result(rows, each) for each in targets])


async def _read(ledger: Ledger, organization: str, targets: Iterable[Target], seconds: float) -> EntitlementRows:
    wanted = sorted(set(targets))
    offerings = [key for kind, key in wanted if kind == "offering"]
    allocations = [key for kind, key in wanted if kind == "allocation"]
    return await ledger.entitlements(organization, offerings, allocations, seconds)


def _target(form: Form, organization: str, request: pb.CheckEntitlementRequest | pb.EntitlementTarget) -> Target:
    kind = request.WhichOneof("target")
    if kind == "offering":
        return kind, form.offering("offering", request.offering)
    if kind == "allocation":
        found, allocation = form.allocation("allocation", request.allocation)
        if found and found != organization:
            parent = names.organization_name(organization)
            form.fail("allocation", f"must be of the call's parent, {parent}, but is {request.allocation!r}")
        return kind, allocation
    form.fail("target", "one of offering and allocation must be set")
    return "allocation", ""


def _checked_target(organization: str, target: pb.EntitlementTarget) -> Target | Refused:
    form = Form()
    checked = _target(form, organization, target)
    try:
        form.check()
    except Refused as refused:
        return refused
    return checked


def _entitlement(rows: EntitlementRows, target: Target) -> Entitlement:
    """Raises Refused for an offering that does not exist; an allocation that never was is not enabled."""
    kind, key = target
    if kind == "offering":
        if key not in rows.offerings:
            raise offering_not_found(key)
        return rows.grounds.of_offering(rows.usage.get(key, OfferingUsage(key)))
    allocation = rows.allocations.get(key)
    return rows.grounds.of_allocation(*allocation) if allocation else NOTHING


def _result(rows: EntitlementRows, target: Target | Refused) -> pb.EntitlementResult:
    try:
        if isinstance(target, Refused):
            raise target
        found = entitlement_message(_entitlement(rows, target), rows.grounds.now)
    except Refused as refused:
        return pb.EntitlementResult(status=status_of(refused, BATCH_DETAIL_BYTES_MAX))
    return pb.EntitlementResult(status=status_pb2.Status(), entitlement=found)
