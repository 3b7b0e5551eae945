"""What a request on the wire asks of the ledger: the handlers with a ledger that only writes down what it is asked."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from google.protobuf.message import Message

from services.allocator.allocation_handler import AllocationHandler
from services.allocator.calling import Context
from services.allocator.catalog_handler import CatalogHandler
from services.allocator.organization_handler import OrganizationHandler
from services.allocator.subscription_handler import SubscriptionHandler
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer
from services.ledger.rules.cataloguing import CatalogCommand
from services.ledger.rules.commands import Call
from services.ledger.rules.price import Offering

HANDLERS = {
    "Allocation": AllocationHandler,
    "Operations": AllocationHandler,
    "Offering": CatalogHandler,
    "Organization": OrganizationHandler,
    "Subscription": SubscriptionHandler,
}


class Asked(Exception):
    """The commands of a request."""

    def __init__(self, commands: Sequence[Any]) -> None:
        super().__init__(commands)
        self.commands = list(commands)


class RecordingLedger:
    async def change(self, organization: str, call: Call, seconds: float) -> Answer:
        raise Asked([call.command])

    async def change_each(self, organization: str, calls: Sequence[Call], seconds: float) -> list[Answer]:
        raise Asked([call.command for call in calls])

    async def rehearse(self, organization: str, calls: Sequence[Call], seconds: float) -> list[Answer]:
        raise Asked([call.command for call in calls])

    async def change_catalog(self, command: CatalogCommand, **_: Any) -> tuple[Offering, datetime]:
        raise Asked([command])


class NoContext:
    """Of a caller who sends no metadata, no certificate and no deadline."""

    def time_remaining(self) -> None:
        return None

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def invocation_metadata(self) -> None:
        return None


async def commands_of(request: Message) -> list[Any]:
    """The commands that the request, well-formed, comes to."""
    method = type(request).__name__.removesuffix("Request")
    [handler] = [each for key, each in HANDLERS.items() if method.endswith(key)]
    try:
        await getattr(handler(cast(Ledger, RecordingLedger())), method)(request, cast(Context, NoContext()))
    except Asked as asked:
        return asked.commands
    raise AssertionError("nothing was asked of the ledger")
