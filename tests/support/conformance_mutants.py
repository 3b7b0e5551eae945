"""Python clients that do not do what they should. The conformance cases must notice."""

from collections.abc import AsyncIterator, Callable, Mapping
from copy import deepcopy
from typing import Any, Final

import pytest

from earmark import EarmarkError, Retry, coalescing
from earmark.messages import connection, usage, watching
from earmark.messages.channels import Channels
from earmark.messages.connection import Connection, new_request_id

Mutate = Callable[[pytest.MonkeyPatch], None]
BEGINNING: Final = "0:" + "00" * 32


def without_retries(patch: pytest.MonkeyPatch) -> None:
    for module in (connection, coalescing):
        patch.setattr(module, "pause_seconds", lambda *_: None)
    patch.setattr(watching, "may_pass", lambda _: False)


def with_retries_of_everything(patch: pytest.MonkeyPatch) -> None:
    for module in (connection, watching):
        patch.setattr(module, "may_pass", lambda _: True)


def forgetful(patch: pytest.MonkeyPatch) -> None:
    """Each attempt has request ids of its own."""
    attempt = Connection._attempt

    async def forgetting(self: Connection, rpc: Any, request: Any, *others: Any) -> Any:
        request = deepcopy(request)
        for each in [request, *getattr(request, "operations", ())]:
            if getattr(each, "request_id", ""):
                each.request_id = new_request_id()
        return await attempt(self, rpc, request, *others)

    patch.setattr(Connection, "_attempt", forgetting)


def impatient(patch: pytest.MonkeyPatch) -> None:
    """RetryInfo is nothing to it."""
    patch.setattr(Retry, "pause_seconds", lambda *_: 0.01)


def generous(patch: pytest.MonkeyPatch) -> None:
    """Each attempt has all of the deadline."""
    attempt = Connection._attempt

    async def starting_again(self: Connection, rpc: Any, request: Any, *_: Any) -> Any:
        return await attempt(self, rpc, request, getattr(request, "request_id", ""))

    patch.setattr(Connection, "_attempt", starting_again)


def starting_over(patch: pytest.MonkeyPatch) -> None:
    """A watch goes on at the beginning of the ledger."""

    async def forgetting(*args: Any, **options: Any) -> AsyncIterator[Any]:
        async for message in watching.follow(*args, **options):
            if getattr(message, "resume_token", ""):
                message.resume_token = BEGINNING
            yield message

    patch.setattr(usage, "follow", forgetting)


def leaving_out(patch: pytest.MonkeyPatch) -> None:
    """A watch goes on behind what it has never seen."""
    calls = usage.Usage.watch_usage

    async def skipping(self: Any, organization: str, **options: Any) -> AsyncIterator[Any]:
        delivered = False
        async for message in calls(self, organization, **options):
            if delivered and message.HasField("entries"):
                del message.entries.entries[0]
            delivered = True
            yield message

    patch.setattr(usage.Usage, "watch_usage", skipping)


def faithful(patch: pytest.MonkeyPatch) -> None:
    """Calls go to one address, whatever becomes of it."""

    async def first(self: Channels, seconds: float) -> int:
        return 0

    patch.setattr(Channels, "_pick", first)


def content_with_one_page(patch: pytest.MonkeyPatch) -> None:
    pages = Connection._pages

    async def first(self: Connection, *args: Any) -> AsyncIterator[Any]:
        async for page in pages(self, *args):
            yield page
            return

    patch.setattr(Connection, "_pages", first)


def confused(patch: pytest.MonkeyPatch) -> None:
    """Calls that travel together get each other's answers."""
    deliver = coalescing._Lane._deliver
    patch.setattr(
        coalescing._Lane,
        "_deliver",
        lambda self, batch, outcomes: deliver(self, batch, list(reversed(outcomes))),
    )


def coarse(patch: pytest.MonkeyPatch) -> None:
    """It knows codes, and no reasons."""
    patch.setattr(EarmarkError, "reasons", {})


NOTICED_BY: Final[Mapping[Mutate, tuple[str, ...]]] = {
    without_retries: (
        "tried again: LOCK_TIMEOUT",
        "tried again: a bare UNAVAILABLE",
        "once, though its answer is lost: enable",
        "a disconnect in the middle, and another one",
        "a watch goes on after its connection is cut",
        "watch_balances begins anew after it just ends",
        "a batch whose answer is lost is carried out once",
    ),
    with_retries_of_everything: (
        "not tried again: INSUFFICIENT_CREDITS",
        "not tried again: INTERNAL",
        "not tried again: a bare DEADLINE_EXCEEDED",
    ),
    forgetful: (
        "tried again: LOCK_TIMEOUT",
        "once, though its answer is lost: create_organization",
        "once, though its answer is lost: adjust",
        "once, though two answers are lost: adjust",
        "once, though it is carried out and answered with OUTCOME_UNKNOWN",
        "a batch whose answer is lost is carried out once",
    ),
    impatient: ("RetryInfo is obeyed", "RetryInfo is obeyed by a watch"),
    generous: ("what an earlier attempt took is not given to a later one",),
    starting_over: (
        "a watch goes on after it just ends",
        "what is written while a watch is away comes once it is back",
    ),
    leaving_out: ("a watch goes on after it just ends",),
    faithful: ("address 1 is not_serving", "both are used"),
    content_with_one_page: ("several pages", "pages that have no more items than one"),
    confused: ("each has its own answer, and they travel together", "some of them are refused"),
    coarse: ("UNITS_BELOW_ZERO", "REVISION_NOT_REACHED"),
}
"""Cases that fail with it."""
