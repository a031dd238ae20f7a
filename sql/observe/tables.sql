-- registries (reference tables)
CREATE TABLE journey.event_type (
    type text PRIMARY KEY,
    known boolean NOT NULL,           -- false: seen but not in the vocabulary
    stage text,                       -- stage it speaks of, null = none
    meaning text NOT NULL,
    seen bigint NOT NULL DEFAULT 0,
    first_at timestamptz,
    last_at timestamptz
);
CREATE TABLE journey.system (         -- the eight retail systems
    system text PRIMARY KEY,
    meaning text NOT NULL
);
CREATE TABLE journey.source_of_truth (
    signal text PRIMARY KEY,          -- identity, orders, inventory, consent, eligibility
    source text,                      -- null = nobody declared yet
    declared_by text,
    declared_at timestamptz,
    second_writer text,               -- last other source seen writing the signal
    second_at timestamptz,
    second_count bigint NOT NULL DEFAULT 0
);
CREATE TABLE journey.source (         -- runtime of source documents: freshness and counters
    source text PRIMARY KEY,
    system text,
    scope text NOT NULL DEFAULT 'default',
    trusted boolean NOT NULL DEFAULT true,
    events bigint NOT NULL DEFAULT 0,
    last_event_at timestamptz,        -- greatest occurred_at
    last_received_at timestamptz,
    max_lag interval
);
CREATE TABLE journey.namespace (
    namespace text PRIMARY KEY,
    class text NOT NULL,              -- person, shared, group, session, object
    rank integer NOT NULL,            -- strongest key makes the profile's id: highest rank
    crosses_scopes boolean NOT NULL DEFAULT true,
    confidence double precision NOT NULL,
    meaning text NOT NULL
);
CREATE TABLE journey.attachment (
    attachment integer PRIMARY KEY,
    rel_schema text NOT NULL,
    rel_name text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    map jsonb NOT NULL,
    columns text[] NOT NULL,          -- captured columns in order
    spec jsonb NOT NULL,              -- what the trigger needs, as in its argument
    attached_by text NOT NULL,
    attached_at timestamptz NOT NULL,
    backfilled_at timestamptz,
    broken text,                      -- why the mapping no longer fits; null = fits
    detached_at timestamptz           -- null = attached; the row stays, because rows captured before still need its map
);
CREATE UNIQUE INDEX attachment_live ON journey.attachment (rel_schema, rel_name, kind) WHERE detached_at IS NULL;
CREATE TABLE journey.quarantine (
    quarantine_id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL,
    origin text NOT NULL,             -- ingest, track, capture, copy, worker
    source text,
    sqlstate text NOT NULL,
    reason text NOT NULL,
    original jsonb,                   -- as received, when it is json
    original_text text,               -- otherwise
    replayed_at timestamptz
);
CREATE TABLE journey.product (
    sku text PRIMARY KEY,
    name text,
    category text,
    class text,                       -- essential, considered
    replenishable boolean,
    replenish_after interval,
    price numeric,
    cost numeric,
    currency text,
    available numeric,                -- last observed; permits read the live table where one is attached
    traits jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL
);
-- keys
CREATE TABLE journey.event_key (      -- dedupe; partitioned by received time
    bucket smallint NOT NULL,         -- of the hash
    hash uuid NOT NULL,               -- of source, 0, message id
    received_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, hash)
);
CREATE INDEX event_key_received ON journey.event_key (received_at);
CREATE TABLE journey.identity (
    bucket smallint NOT NULL,         -- of the key's hash, not of the profile
    key_hash bigint NOT NULL,
    namespace text NOT NULL,
    value text NOT NULL,              -- normalised
    profile_bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    confidence double precision NOT NULL,
    method text NOT NULL,             -- created, deterministic, asserted
    source text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (bucket, key_hash, namespace, value)
);
CREATE INDEX identity_profile ON journey.identity (profile_bucket, profile_id);
-- per profile
CREATE TABLE journey.profile (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    class text NOT NULL,              -- person or session: the strongest namespace it has
    confidence double precision NOT NULL,
    traits jsonb NOT NULL DEFAULT '{}',
    zone text,
    locale text,
    test boolean NOT NULL DEFAULT false,
    restricted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id)
) WITH (fillfactor = 90);
CREATE TABLE journey.profile_state (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    stage text NOT NULL DEFAULT 'awareness',
    features bytea,                   -- packed vector, see src/interpret/feature.h
    last_event_at timestamptz,
    last_order_at timestamptz,        -- greatest placed_at of a committed, not cancelled order
    orders integer NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, profile_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.event (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    received_at timestamptz NOT NULL, -- journey.clock() at consumption; the partition key
    event_id uuid NOT NULL,
    seq bigint NOT NULL,              -- order of application on this node
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    source text NOT NULL,
    scope text NOT NULL,
    message_id text,
    props jsonb NOT NULL,
    backfill boolean NOT NULL,
    late boolean NOT NULL,            -- older than journey.max_event_age when received
    test boolean NOT NULL,
    lap bigint NOT NULL,
    PRIMARY KEY (bucket, profile_id, received_at, event_id)
) PARTITION BY RANGE (received_at);
CREATE TABLE journey.event_default PARTITION OF journey.event DEFAULT;
CREATE TABLE journey.consent (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    channel text NOT NULL,
    purpose text NOT NULL,
    state text NOT NULL,              -- unknown, pending, granted, denied, revoked, bounced, complained
    basis text,                       -- consent, contract, legitimate_interest, soft_opt_in
    source text NOT NULL,
    proof jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL,          -- occurred
    expires_at timestamptz,
    PRIMARY KEY (bucket, profile_id, scope, channel, purpose)
);
CREATE TABLE journey.consent_history (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    channel text NOT NULL,
    purpose text NOT NULL,
    recorded_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    state text NOT NULL,
    basis text,
    source text NOT NULL,
    proof jsonb NOT NULL,
    at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (bucket, profile_id, scope, channel, purpose, recorded_at, seq)
);
CREATE TABLE journey.contact_point (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    channel text NOT NULL,
    address text NOT NULL,            -- normalised
    address_hash bigint NOT NULL,
    state text NOT NULL,              -- active, soft, hard, complained, unverified, test, replaced
    since timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    reason text,
    PRIMARY KEY (bucket, profile_id, scope, channel, address_hash)
);
CREATE TABLE journey.suppression (    -- consumed fences, opt-outs and manual suppressions
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    seq bigint NOT NULL,              -- of the inbox row; the node's sequence for manual ones
    type text NOT NULL,               -- order_placed, opted_out, erase, restricted, manual, or another fenced event type
    ref text NOT NULL,                -- object that the event is about, '' = none
    scope text NOT NULL,              -- scope of the source; '*' = every scope
    channel text NOT NULL DEFAULT '*',-- for opt-outs
    purpose text NOT NULL DEFAULT '*',
    reason text NOT NULL,             -- reason code a refused permit answers
    occurred_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,-- clock at consumption
    fence_xact xid8,
    incarnation integer NOT NULL,
    lap bigint NOT NULL,              -- lap that consumed it
    matched uuid[] NOT NULL DEFAULT '{}',-- enrollments whose match expression held: stops their actions; without match the type alone does
    until timestamptz,                -- null = no end
    note text,                        -- manual ones: who asked, and why
    released_by bigint,               -- seq of the release
    released_at timestamptz,
    PRIMARY KEY (bucket, profile_id, seq, type)
);
CREATE INDEX suppression_lap ON journey.suppression (bucket, profile_id, lap);
CREATE TABLE journey.cart (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    cart_id text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,             -- open, ordered, emptied, deleted
    items numeric NOT NULL DEFAULT 0, -- sum of quantities
    lines integer NOT NULL DEFAULT 0,
    value numeric NOT NULL DEFAULT 0, -- sum of quantity x price
    currency text,
    order_id text,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,  -- occurred_at of the last change
    PRIMARY KEY (bucket, profile_id, scope, cart_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.cart_line (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    cart_id text NOT NULL,
    line text NOT NULL,               -- line key of the shop, else the sku
    sku text NOT NULL,
    quantity numeric NOT NULL,
    price numeric,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, cart_id, line)
);
CREATE TABLE journey.orders (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    order_id text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,             -- pending, placed, paid, shipped, delivered, cancelled, refunded, returned
    origin text,                      -- web, pos, subscription, exchange, marketplace
    amount numeric,
    currency text,
    cart_id text,
    codes text[],
    placed_at timestamptz,
    cancelled_at timestamptz,
    seq bigint NOT NULL,              -- of the last applied change
    props jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, order_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.order_line (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    order_id text NOT NULL,
    line text NOT NULL,
    sku text NOT NULL,
    quantity numeric NOT NULL,
    price numeric,
    status text NOT NULL,             -- placed, returned, cancelled
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, order_id, line)
);
CREATE TABLE journey.message_event (  -- what became of an action after it was sent
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    action_id uuid NOT NULL,
    type text NOT NULL,               -- message_delivered, message_opened, message_clicked, message_bounced, message_complained
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    machine boolean NOT NULL DEFAULT false,
    props jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (bucket, profile_id, action_id, type, event_id)
);
