"""What a caller wants of subscriptions: short ones, so that many begin, end and lose their grace within a minute."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from earmark import names
from earmark.v1 import subscription_service_pb2 as pb
from earmark.v1.resources_pb2 import Subscription
from tests.chaos.load.plan import BASE, BASE_CREDITS

CREDITS: Final = (30, 150)
TERM_SECONDS: Final = (2.0, 15.0)
GRACE_SECONDS: Final = (0.0, 5.0)
KNOWN_MAX: Final = 5
"""Of one organization; of the oldest nothing is wanted any more."""


class Buyer:
    """Of one caller. It knows what it has bought, and what it was shown."""

    def __init__(self, name: str, chance: random.Random, etags: dict[str, str]) -> None:
        self._name = name
        self._chance = chance
        self._etags = etags
        self._numbers = itertools.count(1)
        self._known: dict[str, list[str]] = {}
        """Resource names by organization, the newest last; BASE is not among them."""

    def saw(self, organization: str, subscriptions: list[str]) -> None:
        """These are there, by their resource names."""
        known = self._known.setdefault(organization, [])
        known += [each for each in subscriptions if each not in known and names.id_of(each) != BASE]
        del known[:-KNOWN_MAX]

    def knows(self, organization: str) -> bool:
        """Whether it knows of one that it may change."""
        return bool(self._known.get(organization))

    def create(self, organization: str) -> Any:
        now = datetime.now(UTC)
        renewed = self._one(organization) if self._chance.random() < 0.2 else ""
        start = now
        sent = Subscription(credits=self._chance.randint(*CREDITS), renews=renewed, grace_period=self._grace())
        if not renewed and self._chance.random() < 0.4:
            start = now + timedelta(seconds=self._chance.uniform(1, 3))
            sent.start_time.CopyFrom(_timestamp(start))
        # What renews begins as late as the end of what it renews.
        least = TERM_SECONDS[1] if renewed else 0.0
        end = start + timedelta(seconds=least + self._chance.uniform(*TERM_SECONDS))
        sent.end_time.CopyFrom(_timestamp(end))
        request = pb.CreateSubscriptionRequest(parent=names.organization(organization), subscription=sent)
        if self._chance.random() < 0.8:
            request.subscription_id = f"{self._name}-{next(self._numbers)}"
            self.saw(organization, [names.subscription(organization, request.subscription_id)])
        return request

    def update(self, organization: str) -> Any:
        name = self._one(organization) if self._chance.random() < 0.85 else names.subscription(organization, BASE)
        sent = Subscription(name=name)
        if names.id_of(name) == BASE:
            sent.credits, paths = self._chance.randint(*BASE_CREDITS), ["credits"]
        else:
            paths = self._chance.choice((["credits"], ["end_time"], ["grace_period"], ["credits", "end_time"]))
            self._fill(sent, paths)
        if self._chance.random() < 0.3:
            sent.etag = self._etags.get(name, "")
        return pb.UpdateSubscriptionRequest(
            subscription=sent, update_mask=FieldMask(paths=paths), force=self._chance.random() < 0.4
        )

    def cancel(self, organization: str) -> Any:
        name = self._one(organization)
        etag = self._etags.get(name, "") if self._chance.random() < 0.2 else ""
        return pb.CancelSubscriptionRequest(name=name, etag=etag, force=self._chance.random() < 0.5)

    def _fill(self, sent: Subscription, paths: list[str]) -> None:
        if "credits" in paths:
            sent.credits = self._chance.randint(*CREDITS)
        if "end_time" in paths:
            end = datetime.now(UTC) + timedelta(seconds=self._chance.uniform(*TERM_SECONDS))
            sent.end_time.CopyFrom(_timestamp(end))
        if "grace_period" in paths:
            sent.grace_period.CopyFrom(self._grace())

    def _one(self, organization: str) -> str:
        """One that it knows; where it knows none, one that nobody has bought."""
        known = self._known.get(organization)
        return self._chance.choice(known) if known else names.subscription(organization, "never-bought")

    def _grace(self) -> Duration:
        seconds = self._chance.choice((0.0, self._chance.uniform(*GRACE_SECONDS)))
        length = Duration()
        length.FromMilliseconds(int(seconds * 1000))
        return length


def _timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message
