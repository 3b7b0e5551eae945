-- The organizations' books. Every primary key of an organization's tables begins with the organization, and nothing
-- spans two of them, so that they can be distributed by organization over many nodes. Ids compare by bytes (COLLATE "C").
-- There are no foreign keys: rows are written by the ledger alone, under the organization's row lock.

-- Where "now" comes from: the database's clock, plus an offset that only a database created as movable accepts.
CREATE TABLE clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    movable boolean NOT NULL,
    ahead interval NOT NULL DEFAULT interval '0' CHECK (ahead >= interval '0'),
    CHECK (movable OR ahead = interval '0')
);

CREATE FUNCTION guard_clock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'the clock row is never removed or added again';
    END IF;
    IF NEW.movable <> OLD.movable THEN
        RAISE EXCEPTION 'whether the clock can be moved is decided when the database is created';
    END IF;
    -- A month or a day is longer here and shorter there; an hour is the same in every time zone.
    NEW.ahead := make_interval(secs => extract(epoch FROM NEW.ahead)::double precision);
    IF NEW.ahead < OLD.ahead THEN
        RAISE EXCEPTION 'the clock moves forwards only';
    END IF;
    IF clock_timestamp() + NEW.ahead >= timestamptz '2201-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'the clock stays in the years 2000 to 2200';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER clock_is_kept BEFORE TRUNCATE ON clock FOR EACH STATEMENT EXECUTE FUNCTION guard_clock();

-- Read it in a statement of its own after a lock was granted: in the statement that waited it would be old.
CREATE FUNCTION earmark_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT clock_timestamp() + ahead FROM clock';

CREATE TABLE organization (
    organization text COLLATE "C" PRIMARY KEY,
    display_name text NOT NULL,
    valid_credits bigint NOT NULL CHECK (valid_credits >= 0),
    grace_credits bigint NOT NULL CHECK (grace_credits >= 0),
    allocated_credits bigint NOT NULL CHECK (allocated_credits >= 0),
    suspended_credits bigint NOT NULL CHECK (suspended_credits >= 0),
    overdraft_limit bigint NOT NULL CHECK (overdraft_limit BETWEEN 0 AND 1000000000000),
    overdraft_unlimited boolean NOT NULL,
    revision bigint NOT NULL CHECK (revision >= 1),
    digest bytea NOT NULL CHECK (length(digest) = 32),
    settled_time timestamptz NOT NULL,
    next_transition_time timestamptz CHECK (next_transition_time > settled_time),
    threshold_percent smallint NOT NULL CHECK (threshold_percent IN (0, 75, 90, 100)),
    open_allocations integer NOT NULL CHECK (open_allocations BETWEEN 0 AND 1000000),
    changed_revision bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    CONSTRAINT allocated_is_covered CHECK (
        overdraft_unlimited OR allocated_credits <= valid_credits + grace_credits + overdraft_limit
    ),
    CHECK (allocated_credits + suspended_credits <= 4503599627370496)
) WITH (fillfactor = 50);

-- The expiry worker's question. It changes only when a term does, so that most commits stay HOT.
CREATE INDEX organization_due ON organization (next_transition_time) WHERE next_transition_time IS NOT NULL;

CREATE TABLE subscription (
    organization text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('SCHEDULED', 'ACTIVE', 'GRACE', 'EXPIRED', 'CANCELLED')),
    credits bigint NOT NULL CHECK (credits BETWEEN 1 AND 1000000000000),
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    grace_period interval NOT NULL CHECK (grace_period BETWEEN interval '0' AND interval '365 days'),
    renews text COLLATE "C",
    order_reference text NOT NULL,
    labels jsonb NOT NULL,
    changed_revision bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    cancel_time timestamptz,
    PRIMARY KEY (organization, subscription),
    CHECK (start_time < end_time),
    CHECK ((state = 'CANCELLED') = (cancel_time IS NOT NULL))
);

CREATE INDEX subscription_live ON subscription (organization) WHERE state IN ('SCHEDULED', 'ACTIVE', 'GRACE');

CREATE TABLE allocation (
    organization text COLLATE "C" NOT NULL,
    allocation text COLLATE "C" NOT NULL,
    offering text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('ENABLED', 'SUSPENDED', 'DISABLED')),
    units bigint NOT NULL CHECK (units BETWEEN 0 AND 1000000000000),
    credits bigint NOT NULL CHECK (credits BETWEEN 0 AND 1000000000000),
    suspended_credits bigint NOT NULL CHECK (suspended_credits BETWEEN 0 AND 1000000000000),
    price_version integer NOT NULL CHECK (price_version >= 1),
    priority integer NOT NULL,
    labels jsonb NOT NULL,
    enabled_revision bigint NOT NULL,
    changed_revision bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (organization, allocation),
    CHECK ((state = 'DISABLED') = (units = 0)),
    CHECK (state = 'ENABLED' OR credits = 0),
    CHECK (state = 'SUSPENDED' OR suspended_credits = 0)
) WITH (fillfactor = 80);

CREATE INDEX allocation_offering ON allocation (organization, offering, allocation);
CREATE INDEX allocation_suspended ON allocation (organization) WHERE state = 'SUSPENDED';

CREATE TABLE entry (
    organization text COLLATE "C" NOT NULL,
    revision bigint NOT NULL CHECK (revision >= 1),
    kind text NOT NULL,
    resource text COLLATE "C" NOT NULL,
    effective_time timestamptz NOT NULL,
    recorded_time timestamptz NOT NULL,
    actor text NOT NULL,
    request_id text NOT NULL,
    causes text[] NOT NULL,
    cause_count integer NOT NULL,
    after jsonb NOT NULL,
    detail jsonb NOT NULL,
    valid_delta bigint NOT NULL,
    grace_delta bigint NOT NULL,
    allocated_delta bigint NOT NULL,
    suspended_delta bigint NOT NULL,
    valid_credits bigint NOT NULL CHECK (valid_credits >= 0),
    grace_credits bigint NOT NULL CHECK (grace_credits >= 0),
    allocated_credits bigint NOT NULL CHECK (allocated_credits >= 0),
    suspended_credits bigint NOT NULL CHECK (suspended_credits >= 0),
    overdraft_limit bigint NOT NULL CHECK (overdraft_limit BETWEEN 0 AND 1000000000000),
    overdraft_unlimited boolean NOT NULL,
    last boolean NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (organization, revision),
    CHECK (effective_time <= recorded_time),
    CONSTRAINT allocated_is_covered CHECK (
        overdraft_unlimited OR allocated_credits <= valid_credits + grace_credits + overdraft_limit
    )
);

-- An entry is never changed and never deleted: by privilege, which also holds where triggers cannot be had, and by
-- trigger, which also holds for those who may grant themselves privileges.
CREATE FUNCTION refuse_to_change_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries are never changed and never deleted' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER entry_is_final BEFORE UPDATE OR DELETE ON entry
    FOR EACH ROW EXECUTE FUNCTION refuse_to_change_entry();
CREATE TRIGGER entry_is_final_as_a_whole BEFORE TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_entry();
REVOKE UPDATE, DELETE, TRUNCATE ON entry FROM PUBLIC, CURRENT_USER;

-- What was answered to a request id.
CREATE TABLE request (
    organization text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    meaning bytea NOT NULL,
    answer jsonb NOT NULL,
    recorded_time timestamptz NOT NULL,
    PRIMARY KEY (organization, request_id)
);
CREATE INDEX request_age ON request (recorded_time);

-- The catalogue, the same for all organizations.
CREATE TABLE offering (
    offering text COLLATE "C" PRIMARY KEY,
    display_name text NOT NULL,
    solution text NOT NULL,
    unit text NOT NULL,
    retired boolean NOT NULL,
    changes integer NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);

CREATE TABLE offering_price (
    offering text COLLATE "C" NOT NULL,
    version integer NOT NULL CHECK (version BETWEEN 1 AND 100),
    effective_time timestamptz NOT NULL,
    credits_per_block numeric NOT NULL
        CHECK (credits_per_block BETWEEN 0 AND 1000000000 AND scale(credits_per_block) <= 6),
    block_units bigint NOT NULL CHECK (block_units BETWEEN 1 AND 1000000000000),
    max_credits bigint CHECK (max_credits BETWEEN 0 AND 1000000000000),
    PRIMARY KEY (offering, version)
);

CREATE TABLE catalog_request (
    request_id text COLLATE "C" PRIMARY KEY,
    meaning bytea NOT NULL,
    answer jsonb NOT NULL,
    recorded_time timestamptz NOT NULL
);

-- Locked while the catalogue is changed, so that its changes have one order.
CREATE TABLE catalog (one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO catalog DEFAULT VALUES;
