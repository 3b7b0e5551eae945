"""The operations of `Client.apply`."""

from collections.abc import Mapping
from dataclasses import dataclass

from earmark import names
from earmark.v1.allocation_service_pb2 import AdjustOperation, DisableOperation, EnableOperation, Operation


@dataclass(frozen=True, kw_only=True)
class Enable:
    """Makes an allocation enabled at exactly `units`. Its id is the offering's unless given."""

    offering: str
    units: int
    allocation: str = ""
    priority: int | None = None
    labels: Mapping[str, str] | None = None
    request_id: str = ""

    def to_wire(self, organization: str) -> Operation:
        enable = EnableOperation(
            allocation_id=self.allocation,
            offering=names.offering(self.offering),
            units=self.units,
            priority=self.priority,
            labels=self.labels,
        )
        return Operation(enable=enable, request_id=self.request_id)


@dataclass(frozen=True, kw_only=True)
class Adjust:
    """Adds to the units of an allocation, or takes from them."""

    allocation: str
    delta_units: int
    request_id: str = ""

    def to_wire(self, organization: str) -> Operation:
        name = names.allocation(organization, self.allocation)
        return Operation(adjust=AdjustOperation(name=name, delta_units=self.delta_units), request_id=self.request_id)


@dataclass(frozen=True, kw_only=True)
class Disable:
    """Switches an allocation off."""

    allocation: str
    request_id: str = ""

    def to_wire(self, organization: str) -> Operation:
        name = names.allocation(organization, self.allocation)
        return Operation(disable=DisableOperation(name=name), request_id=self.request_id)


Step = Enable | Adjust | Disable
