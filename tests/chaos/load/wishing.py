"""What a caller wants next: by chance, and by what it was told before."""

import random
import uuid
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask

from earmark import names
from earmark.v1 import allocation_service_pb2 as allocation_pb
from earmark.v1 import organization_service_pb2 as organization_pb
from earmark.v1 import usage_service_pb2 as usage_pb
from earmark.v1.resources_pb2 import Allocation, Organization
from tests.chaos.load.buying import Buyer
from tests.chaos.load.plan import CATALOG, allocation_ids
from tests.chaos.load.recording import Made, Wish

HOT: Final = 4
"""So many organizations get a third of all calls, so that callers meet there."""
ALLOCATIONS: Final = allocation_ids()
PAGE: Final = 20


class Wisher:
    """Of one caller."""

    def __init__(self, name: str, chance: random.Random, organizations: list[str], *, always_ids: bool) -> None:
        """always_ids: every mutation has a request id, as all those of the SDK do."""
        self._chance = chance
        self._organizations = organizations
        self._always_ids = always_ids
        self._etags: dict[str, str] = {}
        """As last read, by resource name."""
        self._there: dict[str, list[str]] = {}
        """Ids of allocations that it knows to be there, by organization."""
        self._buyer = Buyer(name, chance, self._etags)
        self._methods: dict[str, Callable[[str], Any]] = {
            "EnableAllocation": self._enable,
            "AdjustAllocation": self._adjust,
            "DisableAllocation": self._disable,
            "UpdateAllocation": self._update_allocation,
            "ApplyOperations": self._apply,
            "CreateSubscription": self._buyer.create,
            "UpdateSubscription": self._buyer.update,
            "CancelSubscription": self._buyer.cancel,
            "UpdateOrganization": self._update_organization,
            "GetUsage": self._get_usage,
            "GetOrganization": self._get_organization,
            "GetAllocation": self._get_allocation,
            "CheckEntitlement": self._check,
            "CheckEntitlements": self._check_many,
            "ListEntries": self._list_entries,
        }

    def organization(self) -> str:
        hot = self._chance.random() < 1 / 3
        return self._chance.choice(self._organizations[:HOT] if hot else self._organizations)

    def wish(self, organization: str) -> Wish:
        method = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if method in OF_A_PURCHASE and not self._buyer.knows(organization) and self._chance.random() < 0.9:
            method = "GetUsage"  # It tells what others have bought.
        request = self._methods[method](organization)
        if method in MUTATIONS:
            self._name(method, request)
        return Wish(method, organization, request)

    def learn(self, made: Made) -> None:
        """Remembers what an answer says for later calls."""
        answer = made.answer
        if answer is None:
            return
        if made.wish.method == "GetUsage":
            self._buyer.saw(made.wish.organization, [each.name for each in answer.subscriptions])
        for resource in _resources(answer):
            self._etags[resource.name] = resource.etag
            there, allocation = self._there.setdefault(made.wish.organization, []), names.id_of(resource.name)
            if isinstance(resource, Allocation) and allocation not in there:
                there.append(allocation)

    def request_id(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def _name(self, method: str, request: Any) -> None:
        """Gives it a request id, where it must have one or chance says so."""
        if method == "ApplyOperations" and request.allow_partial:
            for operation in request.operations:
                operation.request_id = self.request_id()
        elif self._always_ids or _must_have_id(method, request) or self._chance.random() < 0.6:
            request.request_id = self.request_id()

    def _one(self, organization: str) -> str:
        """An allocation, mostly one that is there."""
        there = self._there.get(organization)
        return self._chance.choice(there if there and self._chance.random() < 0.8 else ALLOCATIONS)

    def _offering(self, allocation: str) -> str:
        return allocation.partition("~")[0]

    def _units(self, allocation: str) -> int:
        return self._chance.randint(1, CATALOG[self._offering(allocation)].units_max)

    def _delta(self, allocation: str) -> int:
        most = max(1, CATALOG[self._offering(allocation)].units_max // 3)
        return self._chance.choice((1, 1, -1)) * self._chance.randint(1, most)

    def _priority(self) -> int | None:
        return self._chance.choice((None, None, -1, 0, 1, 5))

    def _enable(self, organization: str) -> Any:
        allocation = self._chance.choice(ALLOCATIONS)
        return allocation_pb.EnableAllocationRequest(
            parent=names.organization(organization),
            allocation_id=allocation,
            offering=names.offering(self._offering(allocation)),
            units=self._units(allocation),
            priority=self._priority(),
        )

    def _adjust(self, organization: str) -> Any:
        allocation = self._one(organization)
        return allocation_pb.AdjustAllocationRequest(
            name=names.allocation(organization, allocation), delta_units=self._delta(allocation)
        )

    def _disable(self, organization: str) -> Any:
        allocation = self._one(organization)
        return allocation_pb.DisableAllocationRequest(name=names.allocation(organization, allocation))

    def _update_allocation(self, organization: str) -> Any:
        name = names.allocation(organization, self._one(organization))
        etag = self._etags.get(name, "") if self._chance.random() < 0.5 else ""
        return allocation_pb.UpdateAllocationRequest(
            allocation=Allocation(name=name, priority=self._chance.randint(-3, 9), etag=etag),
            update_mask=FieldMask(paths=["priority"]),
        )

    def _apply(self, organization: str) -> Any:
        """Switches one thing off and another one on, and at times more; seldom each on its own."""
        request = allocation_pb.ApplyOperationsRequest(
            parent=names.organization(organization), allow_partial=self._chance.random() < 0.25
        )
        off, (on, other, another) = self._one(organization), self._chance.sample(ALLOCATIONS, 3)
        request.operations.add().disable.name = names.allocation(organization, off)
        self._add_enable(request, on)
        if self._chance.random() < 0.4:
            adjust = request.operations.add().adjust
            adjust.name, adjust.delta_units = names.allocation(organization, other), self._delta(other)
        if self._chance.random() < 0.2:
            self._add_enable(request, another)
        return request

    def _add_enable(self, request: allocation_pb.ApplyOperationsRequest, allocation: str) -> None:
        enable = request.operations.add().enable
        enable.allocation_id, enable.units = allocation, self._units(allocation)
        enable.offering = names.offering(self._offering(allocation))

    def _update_organization(self, organization: str) -> Any:
        name = names.organization(organization)
        etag = self._etags.get(name, "") if self._chance.random() < 0.3 else ""
        limit = self._chance.choice((0, 0, 50, 100))
        return organization_pb.UpdateOrganizationRequest(
            organization=Organization(name=name, overdraft_limit=limit, etag=etag),
            update_mask=FieldMask(paths=["overdraft_limit"]),
            force=self._chance.random() < 0.5,
        )

    def _get_usage(self, organization: str) -> Any:
        return usage_pb.GetUsageRequest(name=names.organization(organization))

    def _get_organization(self, organization: str) -> Any:
        return organization_pb.GetOrganizationRequest(name=names.organization(organization))

    def _get_allocation(self, organization: str) -> Any:
        return allocation_pb.GetAllocationRequest(name=names.allocation(organization, self._one(organization)))

    def _check(self, organization: str) -> Any:
        request = allocation_pb.CheckEntitlementRequest(parent=names.organization(organization))
        if self._chance.random() < 0.5:
            request.offering = names.offering(self._chance.choice(list(CATALOG)))
        else:
            request.allocation = names.allocation(organization, self._one(organization))
        return request

    def _check_many(self, organization: str) -> Any:
        targets = [names.allocation(organization, each) for each in self._chance.sample(ALLOCATIONS, 6)]
        return allocation_pb.CheckEntitlementsRequest(
            parent=names.organization(organization),
            targets=[allocation_pb.EntitlementTarget(allocation=each) for each in targets],
        )

    def _list_entries(self, organization: str) -> Any:
        return usage_pb.ListEntriesRequest(parent=names.organization(organization), newest_first=True, page_size=PAGE)


WEIGHTS: Final = {
    "EnableAllocation": 26,
    "AdjustAllocation": 16,
    "DisableAllocation": 6,
    "UpdateAllocation": 4,
    "ApplyOperations": 8,
    "CreateSubscription": 8,
    "UpdateSubscription": 6,
    "CancelSubscription": 4,
    "UpdateOrganization": 3,
    "GetUsage": 4,
    "GetOrganization": 3,
    "GetAllocation": 2,
    "CheckEntitlement": 4,
    "CheckEntitlements": 2,
    "ListEntries": 1,
}
"""How often each method is wished for."""
OF_A_PURCHASE: Final = ("UpdateSubscription", "CancelSubscription")
MUTATIONS: Final = frozenset(list(WEIGHTS)[:9])


def _must_have_id(method: str, request: Any) -> bool:
    """What the contract says."""
    match method:
        case "AdjustAllocation":
            return True
        case "CreateSubscription":
            return not request.subscription_id
        case "ApplyOperations":
            return any(each.WhichOneof("operation") == "adjust" for each in request.operations)
        case _:
            return False


def _resources(answer: Any) -> list[Any]:
    """What of an answer has an etag."""
    if isinstance(answer, Allocation | Organization):
        return [answer]
    fields = answer.DESCRIPTOR.fields_by_name
    return [
        getattr(answer, name)
        for name in ("allocation", "subscription", "organization")
        if name in fields and answer.HasField(name) and getattr(answer, name).etag
    ]
