-- What an organization holds and held, summed up so that looking at it costs the same however long its ledger is. The
-- sums are written in the transaction of the entries that they add up. They are no authority: the entries are.

-- The sums of an organization include its entries up to here. A release that does not keep them leaves it behind, and
-- whoever settles the organization next makes them anew: so this migration need not, and both releases may run at once.
ALTER TABLE organization ADD COLUMN usage_revision bigint NOT NULL DEFAULT 0;

-- Of each offering. Lower bounds are not checked here: a difference is written as a row before it is added to one.
CREATE TABLE offering_usage (
    organization text COLLATE "C" NOT NULL,
    offering text COLLATE "C" NOT NULL,
    enabled_allocations bigint NOT NULL,
    enabled_units bigint NOT NULL,
    enabled_credits bigint NOT NULL,
    free_units bigint NOT NULL,
    suspended_allocations bigint NOT NULL,
    suspended_units bigint NOT NULL,
    suspended_credits bigint NOT NULL,
    PRIMARY KEY (organization, offering)
) WITH (fillfactor = 50);
COMMENT ON COLUMN offering_usage.free_units IS 'of enabled_units, those of allocations that hold no credits';

-- Of each hour of UTC in which something took effect.
CREATE TABLE usage_hour (
    organization text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL CHECK (hour = date_trunc('hour', hour, 'UTC')),
    valid_credits bigint NOT NULL CHECK (valid_credits >= 0),
    allocated_credits bigint NOT NULL CHECK (allocated_credits >= 0),
    peak_allocated_credits bigint NOT NULL,
    begins_at_start boolean NOT NULL,
    first_revision bigint NOT NULL CHECK (first_revision >= 1),
    last_revision bigint NOT NULL,
    PRIMARY KEY (organization, hour),
    CHECK (peak_allocated_credits >= allocated_credits),
    CHECK (last_revision >= first_revision)
) WITH (fillfactor = 50);
COMMENT ON COLUMN usage_hour.valid_credits IS 'after its last entry; so allocated_credits';
COMMENT ON COLUMN usage_hour.peak_allocated_credits IS 'the greatest of allocated after each call or settled instant in it';
COMMENT ON COLUMN usage_hour.begins_at_start IS 'whether something took effect at its very start';

-- When a row was written, by the clock that nobody moves: for finding what changed in the last few seconds. Older rows
-- have no such time, and need none.
ALTER TABLE entry ADD COLUMN written_time timestamptz;
ALTER TABLE entry ALTER COLUMN written_time SET DEFAULT clock_timestamp();
