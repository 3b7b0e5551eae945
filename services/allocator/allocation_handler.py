"""AllocationService: wire to ledger and back."""

from google.rpc import status_pb2

from earmark.v1 import allocation_service_pb2 as pb
from earmark.v1 import resources_pb2
from earmark.v1.allocation_service_pb2_grpc import AllocationServiceServicer
from services.allocator.calling import Caller, Context, caller, change
from services.allocator.entitlement_handler import EntitlementHandler
from services.allocator.errors import BATCH_DETAIL_BYTES_MAX, status_of
from services.allocator.form import EVERYTHING, Form
from services.allocator.paging import key_from, page, page_size
from services.ledger.rules import limits, names
from services.ledger.rules.answers import Answer, Balance
from services.ledger.rules.commands import (
    AdjustAllocation,
    ApplyOperations,
    Call,
    DisableAllocation,
    EnableAllocation,
    Operation,
    UpdateAllocation,
)
from services.ledger.rules.model import AllocationState
from services.ledger.rules.refusal import Refused, allocation_not_found
from services.wire import allocation_message, balance_message, labels_of


class AllocationHandler(EntitlementHandler, AllocationServiceServicer):
    async def EnableAllocation(
        self, request: pb.EnableAllocationRequest, context: Context
    ) -> pb.EnableAllocationResponse:
        form = Form()
        organization = form.organization("parent", request.parent)
        request_id = form.request_id("request_id", request.request_id)
        command = _enable(form, request)
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        return pb.EnableAllocationResponse(allocation=_only(answer), balance=balance_message(answer.balance))

    async def AdjustAllocation(
        self, request: pb.AdjustAllocationRequest, context: Context
    ) -> pb.AdjustAllocationResponse:
        form = Form()
        organization, allocation = form.allocation("name", request.name)
        delta = _delta(form, request.delta_units)
        request_id = form.request_id(
            "request_id", request.request_id, required=not request.validate_only, why="for adjusting"
        )
        who = caller(form, context)
        form.check()
        command = AdjustAllocation(allocation, delta)
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        return pb.AdjustAllocationResponse(allocation=_only(answer), balance=balance_message(answer.balance))

    async def DisableAllocation(
        self, request: pb.DisableAllocationRequest, context: Context
    ) -> pb.DisableAllocationResponse:
        form = Form()
        organization, allocation = form.allocation("name", request.name)
        request_id = form.request_id("request_id", request.request_id)
        who = caller(form, context)
        form.check()
        command = DisableAllocation(allocation)
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        return pb.DisableAllocationResponse(allocation=_only(answer), balance=balance_message(answer.balance))

    async def UpdateAllocation(
        self, request: pb.UpdateAllocationRequest, context: Context
    ) -> pb.UpdateAllocationResponse:
        form, sent = Form(), request.allocation
        organization, allocation = form.allocation("allocation.name", sent.name)
        request_id = form.request_id("request_id", request.request_id)
        fields = form.mask("update_mask", request.update_mask, sent, ("priority", "labels"))
        command = UpdateAllocation(
            allocation,
            priority=sent.priority if "priority" in fields else None,
            labels=form.labels("allocation.labels", sent.labels) if "labels" in fields else None,
            etag=form.etag("allocation.etag", sent.etag),
        )
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        return pb.UpdateAllocationResponse(allocation=_only(answer), balance=balance_message(answer.balance))

    async def ApplyOperations(self, request: pb.ApplyOperationsRequest, context: Context) -> pb.ApplyOperationsResponse:
        form = Form()
        organization = form.organization("parent", request.parent)
        count = len(request.operations)
        if not 1 <= count <= limits.OPERATIONS_MAX:
            form.fail("operations", f"must be 1 to {limits.OPERATIONS_MAX}, but are {count}")
        if request.allow_partial and request.request_id:
            form.fail("request_id", "must be empty with allow_partial: each operation has its own")
        who = caller(form, context)
        if request.allow_partial:
            form.check()
            return await self._each(organization, request, who)
        return await self._all_or_nothing(organization, request, who, form)

    async def GetAllocation(self, request: pb.GetAllocationRequest, context: Context) -> resources_pb2.Allocation:
        form = Form()
        organization, allocation = form.allocation("name", request.name)
        who = caller(form, context)
        form.check()
        async with self._ledger.snapshot(organization, who.seconds) as snapshot:
            found = await snapshot.allocation(allocation)
        if found is None:
            raise allocation_not_found(organization, allocation)
        return allocation_message(*found)

    async def ListAllocations(self, request: pb.ListAllocationsRequest, context: Context) -> pb.ListAllocationsResponse:
        form = Form()
        organization = form.organization("parent", request.parent, or_all=True)
        offering = form.offering("offering", request.offering) if request.offering else None
        state = _state(form, request.state)
        labels = form.labels("labels", request.labels)
        size = page_size(form, request.page_size)
        who = caller(form, context)
        form.check()
        key = key_from(request.page_token, request)
        one = None if organization == EVERYTHING else organization
        async with self._ledger.snapshot(one, who.seconds) as snapshot:
            after = (key[0], key[-1]) if key else None
            found = await snapshot.allocations(state, offering, labels, after, size + 1)
        shown, token = page(
            found,
            size,
            request,
            lambda item: allocation_message(*item),
            lambda item: (item[0].organization, item[0].allocation),
        )
        return pb.ListAllocationsResponse(allocations=shown, next_page_token=token)

    async def _all_or_nothing(
        self, organization: str, request: pb.ApplyOperationsRequest, who: Caller, form: Form
    ) -> pb.ApplyOperationsResponse:
        operations = []
        for index, each in enumerate(request.operations[: limits.OPERATIONS_MAX]):
            part = form.within(f"operations[{index}].")
            operations.append(_operation(part, organization, each))
            if each.request_id:
                part.fail("request_id", "must be empty without allow_partial: the call has one id")
        adjusts = any(isinstance(each, AdjustAllocation) for each in operations)
        request_id = form.request_id(
            "request_id",
            request.request_id,
            required=adjusts and not request.validate_only,
            why="where an operation adjusts",
        )
        form.check()
        command = ApplyOperations(tuple(operations))
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        as_of = answer.balance.as_of
        return pb.ApplyOperationsResponse(
            results=[
                pb.OperationResult(status=status_pb2.Status(), allocation=allocation_message(each, as_of))
                for each in answer.outcome.allocations
            ],
            balance=balance_message(answer.balance),
        )

    async def _each(
        self, organization: str, request: pb.ApplyOperationsRequest, who: Caller
    ) -> pb.ApplyOperationsResponse:
        """Each operation is a call of its own; one that is malformed is not sent, and fails alone."""
        calls: list[Call] = []
        verdicts: dict[int, Answer | Refused] = {}
        indexes: list[int] = []
        for index, each in enumerate(request.operations):
            try:
                calls.append(_call(organization, each, request.validate_only, who.actor))
                indexes.append(index)
            except Refused as refused:
                verdicts[index] = refused
        carry_out = self._ledger.rehearse if request.validate_only else self._ledger.change_each
        verdicts.update(zip(indexes, await carry_out(organization, calls, who.seconds), strict=True))
        results = [verdicts[index] for index in range(len(verdicts))]
        would_be = [each.balance for each in results if request.validate_only and isinstance(each, Answer)]
        balance = balance_message(would_be[-1]) if would_be else await self._balance(organization, who)
        return pb.ApplyOperationsResponse(results=[_result(each) for each in results], balance=balance)

    async def _balance(self, organization: str, who: Caller) -> resources_pb2.Balance | None:
        """The figures after a partial call; None if they cannot be read, which undoes nothing."""
        try:
            async with self._ledger.snapshot(organization, who.seconds) as snapshot:
                state, as_of = snapshot.one_organization()
        except Refused:
            return None
        return balance_message(Balance(organization, state.revision, as_of, state.figures))


def _call(organization: str, operation: pb.Operation, validate_only: bool, actor: str) -> Call:
    form = Form()
    command = _operation(form, organization, operation)
    required = isinstance(command, AdjustAllocation) and not validate_only
    request_id = form.request_id("request_id", operation.request_id, required=required, why="for adjusting")
    form.check()
    return Call(command, request_id, actor)


def _operation(form: Form, organization: str, operation: pb.Operation) -> Operation:
    kind = operation.WhichOneof("operation")
    if kind == "enable":
        return _enable(form.within("enable."), operation.enable)
    if kind == "adjust":
        part = form.within("adjust.")
        allocation = _of(part, organization, operation.adjust.name)
        return AdjustAllocation(allocation, _delta(part, operation.adjust.delta_units))
    if kind == "disable":
        return DisableAllocation(_of(form.within("disable."), organization, operation.disable.name))
    form.fail("operation", "one of enable, adjust and disable must be set")
    return DisableAllocation("")


def _of(form: Form, organization: str, name: str) -> str:
    """The allocation in the name, which must be of the call's organization."""
    found, allocation = form.allocation("name", name)
    if found and found != organization:
        form.fail("name", f"must be of the call's parent, {names.organization_name(organization)}, but is {name!r}")
    return allocation


def _enable(form: Form, request: pb.EnableAllocationRequest | pb.EnableOperation) -> EnableAllocation:
    offering = form.offering("offering", request.offering)
    hint = "; to switch off, call DisableAllocation" if request.units == 0 else ""
    return EnableAllocation(
        allocation=form.id("allocation_id", request.allocation_id) if request.allocation_id else offering,
        offering=offering,
        units=form.whole("units", request.units, 1, limits.UNITS_MAX, hint),
        priority=request.priority if request.HasField("priority") else None,
        labels=labels_of(form.labels("labels", request.labels)),
    )


def _delta(form: Form, value: int) -> int:
    return form.whole("delta_units", value, -limits.UNITS_MAX, limits.UNITS_MAX)


def _state(form: Form, value: int) -> AllocationState | None:
    if value == resources_pb2.Allocation.STATE_UNSPECIFIED:
        return None
    if value not in resources_pb2.Allocation.State.values():
        form.fail("state", f"must be ENABLED, SUSPENDED or DISABLED, but is {value}")
        return None
    return AllocationState(resources_pb2.Allocation.State.Name(resources_pb2.Allocation.State.ValueType(value)))


def _only(answer: Answer) -> resources_pb2.Allocation:
    [allocation] = answer.outcome.allocations
    return allocation_message(allocation, answer.balance.as_of)


def _result(verdict: Answer | Refused) -> pb.OperationResult:
    if isinstance(verdict, Refused):
        return pb.OperationResult(status=status_of(verdict, BATCH_DETAIL_BYTES_MAX))
    allocation = _only(verdict)
    allocation.ClearField("labels")
    return pb.OperationResult(
        status=status_pb2.Status(), allocation=allocation, balance=balance_message(verdict.balance)
    )
