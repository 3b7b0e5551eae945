"""The watches of UsageService. A message is encoded once for all who get it, so what is yielded here is bytes."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from earmark.v1 import usage_service_pb2 as pb
from services.allocator.calling import Context, caller
from services.allocator.form import EVERYTHING, Form
from services.allocator.usage_wire import entry_message, offering_usage_message
from services.ledger.ledger import Ledger
from services.ledger.rules import limits
from services.ledger.rules.answers import Balance
from services.ledger.rules.model import Entry, Organization
from services.ledger.store import reads
from services.ledger.store.snapshots import Snapshot
from services.ledger.watching.hub import Hub
from services.ledger.watching.tail import BEGINNING, Position, history_replaced, revision_not_reached
from services.wire import balance_message

TOKEN_PATTERN: Final = re.compile(r"(0|[1-9][0-9]{0,18}):([0-9a-f]{64})\Z", re.ASCII)
CAUGHT_UP: Final = pb.WatchBalancesResponse(caught_up=True).SerializeToString()

Start = Position | int | None
"""After what has been seen: a resume token's, or a revision; None: a snapshot comes first."""


class WatchHandler:
    def __init__(self, ledger: Ledger, hub: Hub, heartbeat_seconds: float) -> None:
        self._ledger = ledger
        self._hub = hub
        self._heartbeat_seconds = heartbeat_seconds

    async def WatchUsage(self, request: pb.WatchUsageRequest, context: Context) -> AsyncIterator[Any]:
        form = Form()
        organization = form.organization("name", request.name)
        start = _start(form, request)
        who = caller(form, context)
        form.check()
        first = None
        async with self._ledger.snapshot(organization, who.seconds) as snapshot:
            state, _ = snapshot.one_organization()
            end = Position(state.revision, state.digest)
            position = end if start is None else await _position(snapshot, state, start)
            if start is None:
                first = await _snapshot_message(snapshot, end)
            elif position == end:  # Who resumes where nothing is new learns at once that the watch is there.
                first = _message(end, heartbeat=pb.Heartbeat())
        async with self._hub.follow(organization, position, end) as follower:
            if first is not None:
                yield first
            while True:
                message = await self._hub.next(follower, self._heartbeat_seconds)
                yield message or _message(follower.position, heartbeat=pb.Heartbeat())

    async def WatchBalances(self, request: pb.WatchBalancesRequest, context: Context) -> AsyncIterator[Any]:
        form = Form()
        organizations = _organizations(form, request)
        caller(form, context)
        form.check()
        board = self._hub.board
        async with board.watcher(organizations) as watcher:
            while True:
                shown, caught_up = await board.next(watcher, self._heartbeat_seconds)
                # Encoded messages one behind the other are one message with all that is in them.
                yield b"".join(each.message for each in shown) + (CAUGHT_UP if caught_up else b"")


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """A message of WatchUsage."""
    newest = entries[-1]
    run = pb.EntryRun(entries=[entry_message(each) for each in entries])
    return _message(Position(newest.revision, newest.digest), entries=run)


def encode_balance(balance: Balance) -> bytes:
    """A message of WatchBalances."""
    return pb.WatchBalancesResponse(balances=[balance_message(balance)]).SerializeToString()


async def _snapshot_message(snapshot: Snapshot, end: Position) -> bytes:
    state, as_of = snapshot.one_organization()
    usage = await snapshot.offering_usage()
    balance = balance_message(Balance(state.organization, state.revision, as_of, state.figures))
    shown = pb.UsageSnapshot(balance=balance, offerings=[offering_usage_message(each) for each in usage])
    return _message(end, snapshot=shown)


def _message(position: Position, **event: Any) -> bytes:
    message = pb.WatchUsageResponse(revision=position.revision, resume_token=position.token, **event)
    return message.SerializeToString()


async def _position(snapshot: Snapshot, state: Organization, start: Position | int) -> Position:
    """Where the watch begins. Raises Refused if the ledger does not hold it."""
    revision = start if isinstance(start, int) else start.revision
    if revision > state.revision:
        raise revision_not_reached(state.organization, revision, state.revision)
    stored = BEGINNING.digest
    if revision:
        stored = await reads.read_entry_digest(snapshot.connection, state.organization, revision) or b""
    position = Position(revision, stored)
    if isinstance(start, Position) and start != position:
        raise history_replaced(state.organization, start)
    return position


def _start(form: Form, request: pb.WatchUsageRequest) -> Start:
    kind = request.WhichOneof("start")
    if kind == "after_revision":
        return form.whole("after_revision", request.after_revision, 0, limits.REVISION_MAX)
    if kind == "resume_token":
        found = TOKEN_PATTERN.match(request.resume_token)
        if found:
            return Position(int(found[1]), bytes.fromhex(found[2]))
        form.fail("resume_token", "must be one that a watch has sent: {revision}:{digest in 64 hexadecimal digits}")
    return None


def _organizations(form: Form, request: pb.WatchBalancesRequest) -> frozenset[str] | None:
    """None: all."""
    count = len(request.names)
    if count > limits.NAMES_ASKED_MAX:
        form.fail("names", f"must be at most {limits.NAMES_ASKED_MAX}, but are {count}; for all send none")
        return None
    found = {form.organization(f"names[{index}]", name, or_all=True) for index, name in enumerate(request.names)}
    if EVERYTHING in found and len(found) > 1:
        form.fail("names", "organizations/- stands for all, so it stands alone")
    return None if not found or EVERYTHING in found else frozenset(found)
