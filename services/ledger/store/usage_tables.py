"""Making the sums of usage anew: one function is one SQL statement. Whoever does so has the organization's row locked.

They are kept by `write_changes`, with the entries that they sum up.
"""

from services.ledger.store.database import Connection


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
