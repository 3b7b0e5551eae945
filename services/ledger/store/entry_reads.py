"""Reading entries: one function is one SQL statement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import asyncpg

from services.ledger.rules.limits import ENTRIES_SCANNED_MAX
from services.ledger.rules.model import Entry, EntryKind, Figures
from services.ledger.store import reads
from services.ledger.store.database import Connection

EntryKey = tuple[str, int]
"""(organization, revision)"""


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries are wanted. What is None or empty wants all."""

    kinds: tuple[EntryKind, ...] = ()
    resource: str | None = None
    """An id; of which collection, the kinds say."""
    start_time: datetime | None = None
    """Inclusive."""
    end_time: datetime | None = None
    """Exclusive."""

    def scanned_max(self, limit: int) -> int:
        """How many entries are looked at to find so many."""
        return limit if self == EntryFilter() else ENTRIES_SCANNED_MAX


async def read_entries_from(connection: Connection, starts: Sequence[EntryKey], limit: int) -> dict[str, list[Entry]]:
    """Of each organization up to `limit` entries from its revision on, itself included."""
    rows = await connection.fetch(
        """
        SELECT e.organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
               cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
               grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest
        FROM unnest($1::text[], $2::bigint[]) AS start (organization, first)
        CROSS JOIN LATERAL (
            SELECT * FROM entry WHERE organization = start.organization AND revision >= start.first
            ORDER BY revision LIMIT $3) AS e
        ORDER BY e.organization, revision
        """,
        [organization for organization, _ in starts],
        [revision for _, revision in starts],
        limit,
    )
    return {
        key: [entry_from_row(row) for row in group] for key, group in groupby(rows, lambda row: row["organization"])
    }


async def read_revisions_between(
    connection: Connection, organization: str, start: datetime | None, end: datetime | None
) -> tuple[int | None, int | None]:
    """The first revision of the hour in which the interval starts, or later, and the last of an hour before its end.

    None where nothing took effect there. What took effect in the interval lies between them.
    """
    row = await connection.fetchrow(
        """
        SELECT (SELECT first_revision FROM usage_hour
                WHERE organization = $1 AND hour >= coalesce(date_trunc('hour', $2::timestamptz, 'UTC'), '-infinity')
                ORDER BY hour LIMIT 1) AS first,
               (SELECT last_revision FROM usage_hour
                WHERE organization = $1 AND hour < coalesce($3::timestamptz, 'infinity')
                ORDER BY hour DESC LIMIT 1) AS last
        """,
        organization,
        start,
        end,
    )
    assert row is not None
    return row["first"], row["last"]


async def list_entries(
    connection: Connection, after: EntryKey, until: EntryKey, wanted: EntryFilter, limit: int
) -> tuple[list[Entry], EntryKey | None]:
    """Up to `limit` wanted entries behind `after`, up to `until` itself, in the order of organization and revision.

    Looks at a bounded number: the key is that of the last one looked at where there may be more, else None.
    """
    rows = await connection.fetch(
        """
        WITH looked_at AS MATERIALIZED (
            SELECT organization, revision FROM entry
            WHERE (organization, revision) > ($1, $2) AND (organization, revision) <= ($3, $4)
            ORDER BY organization, revision LIMIT $5),
        farthest AS (SELECT organization, revision FROM looked_at ORDER BY organization DESC, revision DESC LIMIT 1)
        SELECT e.organization, e.revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
               cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
               grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest,
               f.organization AS farthest_organization, f.revision AS farthest_revision,
               (SELECT count(*) FROM looked_at) AS looked_at
        FROM farthest f LEFT JOIN entry e
          ON (e.organization, e.revision) > ($1, $2) AND (e.organization, e.revision) <= (f.organization, f.revision)
         AND ($6::text[] = '{}' OR kind = ANY ($6)) AND ($7::text IS NULL OR resource = $7)
         AND ($8::timestamptz IS NULL OR effective_time >= $8) AND ($9::timestamptz IS NULL OR effective_time < $9)
        ORDER BY e.organization, e.revision LIMIT $10
        """,
        *after,
        *until,
        wanted.scanned_max(limit),
        *_filter_columns(wanted),
        limit,
    )
    return _page(rows, wanted.scanned_max(limit))


async def list_entries_newest_first(
    connection: Connection, before: EntryKey, until: EntryKey, wanted: EntryFilter, limit: int
) -> tuple[list[Entry], EntryKey | None]:
    """As `list_entries`, in the opposite order: up to `limit` wanted entries ahead of `before`, down to `until`."""
    rows = await connection.fetch(
        """
        WITH looked_at AS MATERIALIZED (
            SELECT organization, revision FROM entry
            WHERE (organization, revision) < ($1, $2) AND (organization, revision) >= ($3, $4)
            ORDER BY organization DESC, revision DESC LIMIT $5),
        farthest AS (SELECT organization, revision FROM looked_at ORDER BY organization, revision LIMIT 1)
        SELECT e.organization, e.revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
               cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
               grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest,
               f.organization AS farthest_organization, f.revision AS farthest_revision,
               (SELECT count(*) FROM looked_at) AS looked_at
        FROM farthest f LEFT JOIN entry e
          ON (e.organization, e.revision) < ($1, $2) AND (e.organization, e.revision) >= (f.organization, f.revision)
         AND ($6::text[] = '{}' OR kind = ANY ($6)) AND ($7::text IS NULL OR resource = $7)
         AND ($8::timestamptz IS NULL OR effective_time >= $8) AND ($9::timestamptz IS NULL OR effective_time < $9)
        ORDER BY e.organization DESC, e.revision DESC LIMIT $10
        """,
        *before,
        *until,
        wanted.scanned_max(limit),
        *_filter_columns(wanted),
        limit,
    )
    return _page(rows, wanted.scanned_max(limit))


def entry_from_row(row: asyncpg.Record) -> Entry:
    figures = reads.figures_from_row(row)
    return Entry(
        organization=row["organization"],
        revision=row["revision"],
        kind=EntryKind(row["kind"]),
        resource=row["resource"],
        effective_time=row["effective_time"],
        recorded_time=row["recorded_time"],
        actor=row["actor"],
        request_id=row["request_id"],
        causes=tuple(row["causes"]),
        cause_count=row["cause_count"],
        after=json.loads(row["after"]),
        detail=json.loads(row["detail"]),
        before=Figures(
            valid=figures.valid - row["valid_delta"],
            grace=figures.grace - row["grace_delta"],
            allocated=figures.allocated - row["allocated_delta"],
            suspended=figures.suspended - row["suspended_delta"],
        ),
        figures=figures,
        last=row["last"],
        digest=row["digest"],
    )


def _filter_columns(wanted: EntryFilter) -> Sequence[object]:
    return list(wanted.kinds), wanted.resource, wanted.start_time, wanted.end_time


def _page(rows: Sequence[asyncpg.Record], scanned_max: int) -> tuple[list[Entry], EntryKey | None]:
    if not rows:
        return [], None
    first = rows[0]
    more = first["looked_at"] == scanned_max
    farthest = (first["farthest_organization"], first["farthest_revision"])
    return [entry_from_row(row) for row in rows if row["revision"] is not None], farthest if more else None
