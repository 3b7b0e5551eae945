"""UsageService."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import grpc

from earmark import names
from earmark.messages.connection import Connection
from earmark.messages.watching import SILENCE_SECONDS, OnDisconnect, follow
from earmark.messages.wire import interval, timestamp
from earmark.v1 import usage_service_pb2 as pb
from earmark.v1.resources_pb2 import Entry
from earmark.v1.usage_service_pb2_grpc import UsageServiceStub

if TYPE_CHECKING:  # a name of the stubs alone
    from earmark.v1.usage_service_pb2_grpc import UsageServiceAsyncStub


class Usage(Connection):
    """What organizations have, hold, had and will have."""

    @cached_property
    def _usage_service(self) -> "UsageServiceAsyncStub":
        return UsageServiceStub(self._channel)

    async def get_usage(self, organization: str) -> pb.Usage:
        request = pb.GetUsageRequest(name=names.organization(organization))
        return await self._call(self._usage_service.GetUsage, request)

    async def query_usage_history(
        self,
        organization: str,
        *,
        start: datetime,
        end: datetime,
        step: pb.QueryUsageHistoryRequest.Step.ValueType = pb.QueryUsageHistoryRequest.DAY,
    ) -> pb.QueryUsageHistoryResponse:
        """`[start, end)` in hours or days of UTC; begins and ends where one of them does. At most 10,000 steps."""
        request = pb.QueryUsageHistoryRequest(
            name=names.organization(organization), interval=interval(start, end), step=step
        )
        return await self._call(self._usage_service.QueryUsageHistory, request)

    async def forecast_usage(self, organization: str, *, until: datetime) -> pb.ForecastUsageResponse:
        request = pb.ForecastUsageRequest(name=names.organization(organization), until=timestamp(until))
        return await self._call(self._usage_service.ForecastUsage, request)

    async def estimate_credits(
        self, lines: Iterable[tuple[str, int]], *, organization: str = ""
    ) -> pb.EstimateCreditsResponse:
        """Up to 1,000 lines of an offering and its units; with an organization also what to buy for them."""
        request = pb.EstimateCreditsRequest(
            lines=[pb.EstimateLine(offering=names.offering(offering), units=units) for offering, units in lines],
            organization=names.organization(organization) if organization else "",
        )
        return await self._call(self._usage_service.EstimateCredits, request)

    async def list_entries(
        self,
        organization: str = names.EVERY,
        *,
        kinds: Sequence[Entry.Kind.ValueType] = (),
        resource: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        after_revision: int = 0,
        newest_first: bool = False,
        page_size: int = 0,
    ) -> AsyncGenerator[Entry, None]:
        """By organization and revision; of all organizations unless one is given.

        resource: its name, or `allocations/{allocation}` or `subscriptions/{subscription}`.
        """
        request = pb.ListEntriesRequest(
            parent=names.organization(organization),
            kinds=kinds,
            resource=names.resource(organization, resource) if resource else "",
            interval=interval(start, end),
            after_revision=after_revision,
            newest_first=newest_first,
            page_size=page_size,
        )
        async for page in self._pages(self._usage_service.ListEntries, request):
            for entry in page.entries:
                yield entry

    async def watch_usage(
        self,
        organization: str,
        *,
        after_revision: int | None = None,
        resume_token: str = "",
        silence_seconds: float = SILENCE_SECONDS,
        on_disconnect: OnDisconnect | None = None,
    ) -> AsyncGenerator[pb.WatchUsageResponse, None]:
        """Every change from a revision or a resume token on; without either a snapshot, then every later change.

        Never ends by itself. What breaks off, or is silent for so long, is resumed where it was, so each entry
        comes once and none is left out; `on_disconnect` is told. The first message must come within a call's
        deadline, and if nothing is tried again in the first attempt.
        """
        if after_revision is not None and resume_token:
            raise ValueError("give either a revision or a resume token")
        request = pb.WatchUsageRequest(name=names.organization(organization))
        if resume_token:
            request.resume_token = resume_token
        elif after_revision is not None:
            request.after_revision = after_revision

        turns = self._channels.turns()

        @asynccontextmanager
        async def attempt() -> AsyncIterator[grpc.aio.UnaryStreamCall[pb.WatchUsageRequest, pb.WatchUsageResponse]]:
            async with self._channels.own(turns) as channel:
                yield UsageServiceStub(channel).WatchUsage(request, metadata=self._manner.metadata)

        messages = follow(
            attempt,
            self._channels,
            self._manner,
            silence_seconds=silence_seconds,
            on_disconnect=on_disconnect,
        )
        async with aclosing(messages):
            async for message in messages:
                request.resume_token = message.resume_token
                yield message

    async def watch_balances(
        self,
        *organizations: str,
        silence_seconds: float = SILENCE_SECONDS,
        on_disconnect: OnDisconnect | None = None,
    ) -> AsyncGenerator[pb.WatchBalancesResponse, None]:
        """The newest balances of these organizations, or of all, whenever they change.

        Never ends by itself. What breaks off, or is silent for so long, begins anew, with every balance again;
        `on_disconnect` is told. The first message must come within a call's deadline, and if nothing is tried
        again in the first attempt.
        """
        request = pb.WatchBalancesRequest(names=[names.organization(each) for each in organizations])

        turns = self._channels.turns()

        @asynccontextmanager
        async def attempt() -> AsyncIterator[
            grpc.aio.UnaryStreamCall[pb.WatchBalancesRequest, pb.WatchBalancesResponse]
        ]:
            async with self._channels.own(turns) as channel:
                yield UsageServiceStub(channel).WatchBalances(request, metadata=self._manner.metadata)

        messages = follow(
            attempt,
            self._channels,
            self._manner,
            silence_seconds=silence_seconds,
            on_disconnect=on_disconnect,
        )
        async with aclosing(messages):
            async for message in messages:
                yield message
