"""Changes of subscriptions and of the organization itself, with what they suspend and resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.model.state import State
from tests.model.words import (
    ACTIVE,
    CANCELLED,
    DEFAULT_GRACE,
    EXPIRED,
    GRACE,
    MOST_SUBSCRIPTIONS,
    SCHEDULED,
    Refused,
    Subscription,
)


@dataclass(frozen=True)
class Done:
    """What one operation did, before the end of its call is known."""

    changed: bool
    name: str
    resource: dict[str, object]
    resumed: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()


def purchase(
    work: State,
    name: str,
    credits: int,
    start: int | None,
    end: int,
    grace: int | None,
    renews: str | None,
    request_id: str | None,
) -> Done:
    if renews is not None and renews not in work.subscriptions:
        raise Refused("SUBSCRIPTION_NOT_FOUND", {"subscription": renews})
    if name in work.subscriptions:
        raise Refused("SUBSCRIPTION_ALREADY_EXISTS", {"subscription": name})
    if renews is not None and work.renewed(renews):
        raise Refused("SUBSCRIPTION_STATE", {"subscription": renews})
    if start is None and renews is not None and not work.subscriptions[renews].over:
        start = work.subscriptions[renews].end
    start = work.time if start is None else max(start, work.time)
    if end <= start:
        raise Refused("INVALID_ARGUMENT", {"fields": ["end"]})
    if sum(not s.over for s in work.subscriptions.values()) >= MOST_SUBSCRIPTIONS:
        raise Refused("LIMIT_EXCEEDED", {"limit": "subscriptions"})
    state = ACTIVE if start <= work.time else SCHEDULED
    grace = DEFAULT_GRACE if grace is None else grace
    new = Subscription(name, credits, start, end, grace, state, renews)
    return _change(work, "subscription_created", new, False, request_id)


def amend(work: State, name: str, sent: Mapping[str, int], force: bool, request_id: str | None) -> Done:
    old = _subscription(work, name)
    new = _amended(old, sent, work.time)
    if new == old:
        return Done(False, f"subscriptions/{name}", old.shown())
    return _change(work, "subscription_amended", new, force, request_id)


def cancel(work: State, name: str, force: bool, request_id: str | None) -> Done:
    old = _subscription(work, name)
    if old.state == CANCELLED:
        return Done(False, f"subscriptions/{name}", old.shown())
    if old.state == EXPIRED:
        raise Refused("SUBSCRIPTION_STATE", {"subscription": name, "state": old.state})
    return _change(work, "subscription_cancelled", replace(old, state=CANCELLED), force, request_id)


def update(work: State, sent: Mapping[str, object], force: bool, request_id: str | None) -> Done:
    """Change the organization's own fields."""
    changed = {name: value for name, value in sent.items() if value != getattr(work, name)}
    if not changed:
        return Done(False, "organization", work.shown("organization"))
    return _change(work, "organization_updated", changed, force, request_id)


def _subscription(work: State, name: str) -> Subscription:
    if name not in work.subscriptions:
        raise Refused("SUBSCRIPTION_NOT_FOUND", {"subscription": name})
    return work.subscriptions[name]


def _amended(old: Subscription, sent: Mapping[str, int], now: int) -> Subscription:
    """The subscription with what was sent; what was sent unchanged is not set."""
    given = {name: value for name, value in sent.items() if value != getattr(old, name)}
    if not given:
        return old
    if old.over or ("start" in given and old.state != SCHEDULED):
        raise Refused("SUBSCRIPTION_STATE", {"subscription": old.id, "state": old.state})
    start = max(given["start"], now) if "start" in given else old.start
    end = given.get("end", old.end)
    grace = given.get("grace", old.grace)
    if "end" in given and end <= now:
        raise Refused("INVALID_ARGUMENT", {"fields": ["end"]})
    if end + grace <= now:
        raise Refused("INVALID_ARGUMENT", {"fields": ["grace"]})
    if start >= end:
        raise Refused("INVALID_ARGUMENT", {"fields": ["start" if "start" in given else "end"]})
    state = SCHEDULED if start > now else ACTIVE if end > now else GRACE
    return Subscription(old.id, given.get("credits", old.credits), start, end, grace, state, old.renews)


def _change(
    work: State, kind: str, new: Subscription | Mapping[str, object], force: bool, request_id: str | None
) -> Done:
    """Put a changed subscription, or changed fields of the organization, in place, with all that follows.

    Suspensions come before the change, and resumptions after it, so that the invariant holds in between.
    """
    name = f"subscriptions/{new.id}" if isinstance(new, Subscription) else "organization"
    after = work.copy()
    _put(after, new)
    _ask_for_force(work, after, force)
    raised = after.spendable > work.spendable
    now = work.time
    suspended = work.suspend(after.coverage, [name], now, now, request_id)
    _put(work, new)
    work.write(kind, name, now, now, request_id=request_id)
    resumed = work.resume(now, now, request_id) if raised else []
    return Done(True, name, work.shown(name), tuple(resumed), tuple(suspended))


def _put(state: State, new: Subscription | Mapping[str, object]) -> None:
    if isinstance(new, Subscription):
        state.subscriptions[new.id] = new
    else:
        for name, value in new.items():
            setattr(state, name, value)


def _ask_for_force(before: State, after: State, force: bool) -> None:
    """Refuse what would suspend now, or would let time suspend earlier than it would have."""
    figures: dict[str, object] = {}
    gone = after.must_go(after.coverage)
    if gone:
        figures["names"] = [f"allocations/{a.id}" for a in gone]
    instants = [before.time, *before.turns(), *after.turns()]
    lowers = any(after.coverage_at(t) < before.coverage_at(t) for t in instants)
    until, was = after.covered_until(), before.covered_until()
    if lowers and until is not None and (was is None or until < was):
        figures["covered_until"] = until
    if figures and not force:
        raise Refused("WOULD_SUSPEND", figures)
