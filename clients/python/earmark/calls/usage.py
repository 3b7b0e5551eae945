"""What organizations have, hold, had and will have."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime

from earmark import names
from earmark.calls.base import Calls
from earmark.messages.watching import SILENCE_SECONDS, OnDisconnect
from earmark.reading import answers, looking
from earmark.types import (
    BalancesEvent,
    Entry,
    EntryKind,
    Estimate,
    Forecast,
    HistoryStep,
    Usage,
    UsageEvent,
    UsageHistory,
)
from earmark.v1 import resources_pb2, usage_service_pb2


class Looking(Calls):
    async def get_usage(self, organization: str) -> Usage:
        """What it has and what holds it, as of now. Raises OrganizationNotFound."""
        return looking.usage(await self._messages.get_usage(organization))

    async def query_usage_history(
        self, organization: str, *, start: datetime, end: datetime, step: HistoryStep = HistoryStep.DAY
    ) -> UsageHistory:
        """`[start, end)` in hours or days of UTC; begins and ends where one of them does. At most 10,000 steps.

        Raises OrganizationNotFound, InvalidField.
        """
        chosen = usage_service_pb2.QueryUsageHistoryRequest.Step.Value(step)
        return looking.usage_history(
            await self._messages.query_usage_history(organization, start=start, end=end, step=chosen)
        )

    async def forecast_usage(self, organization: str, *, until: datetime) -> Forecast:
        """What time alone will do, `until` included. Raises OrganizationNotFound, InvalidField."""
        return looking.forecast(await self._messages.forecast_usage(organization, until=until))

    async def estimate_credits(self, lines: Iterable[tuple[str, int]], *, organization: str = "") -> Estimate:
        """Up to 1,000 lines of an offering and its units; with an organization also what to buy for them.

        Raises OfferingNotFound, OrganizationNotFound, LimitExceeded; `line_index` says which.
        """
        return answers.estimate(await self._messages.estimate_credits(lines, organization=organization))

    async def list_entries(
        self,
        organization: str = names.EVERY,
        *,
        kinds: Sequence[EntryKind] = (),
        resource: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        after_revision: int = 0,
        newest_first: bool = False,
        page_size: int = 0,
    ) -> AsyncGenerator[Entry, None]:
        """By organization and revision; of all organizations unless one is given.

        start, end: only those that took effect in `[start, end)`.
        resource: its name, or `allocations/{allocation}` or `subscriptions/{subscription}`.
        Raises OrganizationNotFound.
        """
        found = self._messages.list_entries(
            organization,
            kinds=[resources_pb2.Entry.Kind.Value(kind) for kind in kinds],
            resource=resource,
            start=start,
            end=end,
            after_revision=after_revision,
            newest_first=newest_first,
            page_size=page_size,
        )
        async for each in found:
            yield looking.entry(each)

    async def watch_usage(
        self,
        organization: str,
        *,
        after_revision: int | None = None,
        resume_token: str = "",
        silence_seconds: float = SILENCE_SECONDS,
        on_disconnect: OnDisconnect | None = None,
    ) -> AsyncGenerator[UsageEvent, None]:
        """Every change from a revision or a resume token on; without either a snapshot, then every later change.

        Never ends by itself. What breaks off, or is silent for so long, is resumed where it was, so each entry comes
        once and none is left out; `on_disconnect` is told, where the client works: in the blocking one that is another
        thread, which must not call it. The first event must come within a call's deadline.
        Raises OrganizationNotFound; and CannotResume where what was seen is no longer in the ledger: begin anew.
        """
        messages = self._messages.watch_usage(
            organization,
            after_revision=after_revision,
            resume_token=resume_token,
            silence_seconds=silence_seconds,
            on_disconnect=on_disconnect,
        )
        async with aclosing(messages):
            async for each in messages:
                yield looking.usage_event(each)

    async def watch_balances(
        self,
        *organizations: str,
        silence_seconds: float = SILENCE_SECONDS,
        on_disconnect: OnDisconnect | None = None,
    ) -> AsyncGenerator[BalancesEvent, None]:
        """The newest balances of these organizations, or of all, whenever they change.

        Never ends by itself. What breaks off, or is silent for so long, begins anew, with every balance again;
        `on_disconnect` is told. The first event must come within a call's deadline. Raises OrganizationNotFound.
        """
        messages = self._messages.watch_balances(
            *organizations, silence_seconds=silence_seconds, on_disconnect=on_disconnect
        )
        async with aclosing(messages):
            async for each in messages:
                yield looking.balances_event(each)
