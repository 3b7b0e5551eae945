"""Instants relative to now, reckoned by the server's clock."""

from datetime import UTC, datetime, timedelta

import click

from earmark.cli.parse import Moment
from earmark.cli.words import rfc_3339
from earmark.messages.client import MessageClient
from earmark.v1.resources_pb2 import Balance, Subscription


class Term:
    """Makes instants absolute. The server is asked for its time once, and only if something is relative."""

    def __init__(self, client: MessageClient, organization: str) -> None:
        self._client = client
        self._organization = organization
        self._balance: Balance | None = None

    async def balance(self) -> Balance:
        """As of now."""
        if self._balance is None:
            self._balance = (await self._client.get_organization(self._organization)).balance
        return self._balance

    async def now(self) -> datetime:
        return (await self.balance()).as_of.ToDatetime(tzinfo=UTC)

    async def absolute(self, moment: Moment | None) -> datetime | None:
        return None if moment is None else await self.required(moment)

    async def required(self, moment: Moment) -> datetime:
        return _later(await self.now(), moment) if isinstance(moment, timedelta) else moment

    async def end_after(self, length: timedelta, start: datetime | None, renews: str) -> datetime:
        """The end of a term of that length: from its start, or the default start of a renewal, or now."""
        now = await self.now()
        if start is None and renews:
            start = await self._end_of(renews)
        return _later(max(start or now, now), length)

    async def _end_of(self, subscription: str) -> datetime | None:
        """When it ends, if that is still to come."""
        renewed = await self._client.get_subscription(self._organization, subscription)
        if renewed.state not in (Subscription.SCHEDULED, Subscription.ACTIVE):
            return None
        return renewed.end_time.ToDatetime(tzinfo=UTC)

    def as_options(self, start: datetime | None, end: datetime | None) -> list[str]:
        """The options that say the same without `now`; none if nothing was relative."""
        if self._balance is None:
            return []
        given = (("--start", start), ("--end", end))
        return [word for name, value in given if value for word in (name, rfc_3339(value))]


def _later(instant: datetime, length: timedelta) -> datetime:
    try:
        return instant + length
    except OverflowError:
        raise click.UsageError("That instant is too far away.") from None
