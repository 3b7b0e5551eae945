"""The usual way to do what EnableAllocation does, for comparison: a transaction per call, statement by statement.

Same tables, same durability, same rules and same content as the ledger's own; but no company, no usage by the hour, no
notice. The tables are one's own to write here: organizations that this has touched are not for the ledger.
"""

import json
from datetime import UTC, datetime
from typing import Final

import asyncpg

from earmark.v1 import allocation_service_pb2 as pb
from services.ledger.rules.answers import Answer, answer_from, answer_json
from services.ledger.rules.book import Book, Remembered
from services.ledger.rules.commands import Call, EnableAllocation, meaning
from services.ledger.rules.decide import decide
from services.ledger.rules.encoding import deltas_json
from services.ledger.rules.model import Allocation, Entry, Organization
from services.ledger.rules.price import Offering
from services.ledger.store import catalog_tables, reads
from services.ledger.store.database import Connection, Pool
from services.wire import allocation_message, balance_message

POOL_SIZE: Final = 16


class Naive:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._offerings: dict[str, Offering] = {}

    async def enable(self, request: pb.EnableAllocationRequest) -> pb.EnableAllocationResponse:
        organization = request.parent.removeprefix("organizations/")
        command = EnableAllocation(
            request.allocation_id, request.offering.removeprefix("offerings/"), request.units, None, None
        )
        async with self._pool.acquire() as connection:
            answer = await self._in_transaction(connection, organization, Call(command, request.request_id))
        [allocation] = answer.outcome.allocations
        as_of = answer.balance.as_of
        return pb.EnableAllocationResponse(
            allocation=allocation_message(allocation, as_of), balance=balance_message(answer.balance)
        )

    async def _in_transaction(self, connection: Connection, organization: str, call: Call) -> Answer:
        assert isinstance(call.command, EnableAllocation)
        offerings = await self._offering(connection, call.command.offering)
        async with connection.transaction():
            state = await _lock_organization(connection, organization)
            requests = await _read_request(connection, organization, call.request_id)
            allocations = await reads.read_allocations(connection, organization, [call.command.allocation])
            book = Book(state, allocations=allocations, offerings=offerings, requests=requests)
            now = max(datetime.now(UTC), book.state.settled_time)
            answer = decide(book, organization, call, now)
            for key, before in book.changed_allocations.items():
                await _upsert_allocation(connection, book.allocations[key])
                await _add_usage(connection, book.allocations[key], before)
            for entry in book.entries:
                await _insert_entry(connection, entry)
            if book.remembered:
                await _insert_request(connection, organization, call, answer, now)
                await _update_organization(connection, book.state, now)
        return answer

    async def _offering(self, connection: Connection, offering: str) -> dict[str, Offering]:
        """Read once: the usual way would keep it, too."""
        if offering not in self._offerings:
            self._offerings |= await catalog_tables.read_offerings(connection, [offering])
        return self._offerings


async def naive_pool(url: str) -> Pool:
    """Connections of the usual number; who waits for a lock waits for as long as it takes."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=POOL_SIZE,
        server_settings={
            "application_name": "bench-naive",
            # The same plans as the ledger's: an index is asked, however small the tables were at first.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "jit": "off",
        },
    )


async def _lock_organization(connection: Connection, organization: str) -> Organization | None:
    row = await connection.fetchrow(
        """
        SELECT organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
               overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
               threshold_percent, open_allocations, changed_revision, create_time, update_time,
               usage_revision = revision AS usage_is_kept
        FROM organization WHERE organization = $1 FOR UPDATE
        """,
        organization,
    )
    return reads.organization_from_row(row) if row else None


async def _read_request(connection: Connection, organization: str, request_id: str) -> dict[str, Remembered]:
    row = await connection.fetchrow(
        "SELECT meaning, answer FROM request WHERE organization = $1 AND request_id = $2", organization, request_id
    )
    if row is None:
        return {}
    return {request_id: Remembered(request_id, row["meaning"], answer_from(organization, json.loads(row["answer"])))}


async def _upsert_allocation(connection: Connection, each: Allocation) -> None:
    await connection.execute(
        """
        INSERT INTO allocation
            (organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
             labels, enabled_revision, changed_revision, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (organization, allocation) DO UPDATE SET
            state = excluded.state, units = excluded.units, credits = excluded.credits,
            suspended_credits = excluded.suspended_credits, price_version = excluded.price_version,
            priority = excluded.priority, labels = excluded.labels, enabled_revision = excluded.enabled_revision,
            changed_revision = excluded.changed_revision, update_time = excluded.update_time
        """,
        each.organization,
        each.allocation,
        each.offering,
        each.state,
        each.units,
        each.credits,
        each.suspended_credits,
        each.price_version,
        each.priority,
        json.dumps(dict(each.labels)),
        each.enabled_revision,
        each.changed_revision,
        each.create_time,
        each.update_time,
    )


async def _add_usage(connection: Connection, after: Allocation, before: Allocation | None) -> None:
    """Of allocations that are enabled, as all are here."""
    await connection.execute(
        """
        INSERT INTO offering_usage AS kept
            (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
             suspended_allocations, suspended_units, suspended_credits)
        VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0)
        ON CONFLICT (organization, offering) DO UPDATE SET
            enabled_allocations = kept.enabled_allocations + excluded.enabled_allocations,
            enabled_units = kept.enabled_units + excluded.enabled_units,
            enabled_credits = kept.enabled_credits + excluded.enabled_credits
        """,
        after.organization,
        after.offering,
        0 if before else 1,
        after.units - (before.units if before else 0),
        after.credits - (before.credits if before else 0),
    )


async def _insert_entry(connection: Connection, entry: Entry) -> None:
    figures = entry.figures
    await connection.execute(
        """
        INSERT INTO entry
            (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
             cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
             grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                $23, $24)
        """,
        entry.organization,
        entry.revision,
        entry.kind,
        entry.resource,
        entry.effective_time,
        entry.recorded_time,
        entry.actor,
        entry.request_id,
        list(entry.causes),
        entry.cause_count,
        json.dumps(entry.after),
        json.dumps(entry.detail),
        *deltas_json(entry).values(),
        figures.valid,
        figures.grace,
        figures.allocated,
        figures.suspended,
        figures.overdraft_limit,
        figures.overdraft_unlimited,
        entry.last,
        entry.digest,
    )


async def _insert_request(connection: Connection, organization: str, call: Call, answer: Answer, now: datetime) -> None:
    await connection.execute(
        "INSERT INTO request (organization, request_id, meaning, answer, recorded_time) VALUES ($1, $2, $3, $4, $5)",
        organization,
        call.request_id,
        meaning(call.command),
        json.dumps(answer_json(answer)),
        now,
    )


async def _update_organization(connection: Connection, state: Organization, now: datetime) -> None:
    await connection.execute(
        """
        UPDATE organization SET
            allocated_credits = $2, revision = $3, digest = $4, settled_time = $5, threshold_percent = $6,
            open_allocations = $7, usage_revision = $3
        WHERE organization = $1
        """,
        state.organization,
        state.figures.allocated,
        state.revision,
        state.digest,
        now,
        state.threshold_percent,
        state.open_allocations,
    )
