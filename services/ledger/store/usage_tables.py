"""The sums of usage: one function is one SQL statement. An organization's row is locked by whoever writes them."""

from collections.abc import Sequence

from services.ledger.rules.summing import OfferingUsage, UsageHour
from services.ledger.store.database import Connection


async def add_offering_usage(connection: Connection, organization: str, changes: Sequence[OfferingUsage]) -> None:
    await connection.execute(
        """
        INSERT INTO offering_usage AS kept
            (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
             suspended_allocations, suspended_units, suspended_credits)
        SELECT $1, new.* FROM unnest(
            $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[]) AS new
        ON CONFLICT (organization, offering) DO UPDATE SET
            enabled_allocations = kept.enabled_allocations + excluded.enabled_allocations,
            enabled_units = kept.enabled_units + excluded.enabled_units,
            enabled_credits = kept.enabled_credits + excluded.enabled_credits,
            free_units = kept.free_units + excluded.free_units,
            suspended_allocations = kept.suspended_allocations + excluded.suspended_allocations,
            suspended_units = kept.suspended_units + excluded.suspended_units,
            suspended_credits = kept.suspended_credits + excluded.suspended_credits
        """,
        organization,
        [each.offering for each in changes],
        [each.enabled_allocations for each in changes],
        [each.enabled_units for each in changes],
        [each.enabled_credits for each in changes],
        [each.free_units for each in changes],
        [each.suspended_allocations for each in changes],
        [each.suspended_units for each in changes],
        [each.suspended_credits for each in changes],
    )


async def add_usage_hours(connection: Connection, organization: str, hours: Sequence[UsageHour]) -> None:
    """Of entries that follow those of the hours that are kept already."""
    await connection.execute(
        """
        INSERT INTO usage_hour AS kept
            (organization, hour, valid_credits, allocated_credits, peak_allocated_credits, begins_at_start,
             first_revision, last_revision)
        SELECT $1, new.* FROM unnest(
            $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::bigint[],
            $8::bigint[]) AS new
        ON CONFLICT (organization, hour) DO UPDATE SET
            valid_credits = excluded.valid_credits, allocated_credits = excluded.allocated_credits,
            peak_allocated_credits = greatest(kept.peak_allocated_credits, excluded.peak_allocated_credits),
            last_revision = excluded.last_revision
        """,
        organization,
        [each.hour for each in hours],
        [each.valid for each in hours],
        [each.allocated for each in hours],
        [each.peak_allocated for each in hours],
        [each.begins_at_start for each in hours],
        [each.first_revision for each in hours],
        [each.last_revision for each in hours],
    )


async def remove_offering_usage(connection: Connection, organization: str) -> None:
    await connection.execute("DELETE FROM offering_usage WHERE organization = $1", organization)


async def sum_up_offerings(connection: Connection, organization: str) -> None:
    """From every allocation anew, where nothing is kept."""
    await connection.execute(
        """
        INSERT INTO offering_usage
            (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
             suspended_allocations, suspended_units, suspended_credits)
        SELECT organization, offering,
               count(*) FILTER (WHERE state = 'ENABLED'),
               coalesce(sum(units) FILTER (WHERE state = 'ENABLED'), 0),
               sum(credits),
               coalesce(sum(units) FILTER (WHERE state = 'ENABLED' AND credits = 0), 0),
               count(*) FILTER (WHERE state = 'SUSPENDED'),
               coalesce(sum(units) FILTER (WHERE state = 'SUSPENDED'), 0),
               sum(suspended_credits)
        FROM allocation WHERE organization = $1
        GROUP BY organization, offering
        """,
        organization,
    )


async def sum_up_hours(connection: Connection, organization: str) -> None:
    """From the entries that are not in them yet."""
    await connection.execute(
        """
        INSERT INTO usage_hour AS kept
            (organization, hour, valid_credits, allocated_credits, peak_allocated_credits, begins_at_start,
             first_revision, last_revision)
        SELECT organization, hour,
               (array_agg(valid_credits ORDER BY revision DESC))[1],
               (array_agg(allocated_credits ORDER BY revision DESC))[1],
               max(allocated_credits) FILTER (WHERE last),
               bool_or(effective_time = hour), min(revision), max(revision)
        FROM entry CROSS JOIN LATERAL date_trunc('hour', effective_time, 'UTC') AS hour
        WHERE organization = $1
          AND revision > (SELECT usage_revision FROM organization WHERE organization = $1)
        GROUP BY organization, hour
        ON CONFLICT (organization, hour) DO UPDATE SET
            valid_credits = excluded.valid_credits, allocated_credits = excluded.allocated_credits,
            peak_allocated_credits = greatest(kept.peak_allocated_credits, excluded.peak_allocated_credits),
            last_revision = excluded.last_revision
        """,
        organization,
    )


async def mark_usage_kept(connection: Connection, organization: str) -> None:
    await connection.execute("UPDATE organization SET usage_revision = revision WHERE organization = $1", organization)
