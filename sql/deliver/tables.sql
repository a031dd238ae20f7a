CREATE TABLE journey.outbox (         -- live actions only; finished ones move to history
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    action_id uuid NOT NULL,          -- of enrollment, step, visit
    channel text NOT NULL,
    status text NOT NULL,             -- pending, claimed, sending, unknown (live); sent, failed, dead, refused, expired, cancelled (history)
    reason text NOT NULL DEFAULT '',
    claim_at timestamptz,             -- when it may be claimed (again): due, or end of lease; null = not by itself
    priority integer NOT NULL,
    due_at timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    late interval,                    -- overdue by more: decided again, not sent
    enrollment_id uuid,
    journey text NOT NULL,
    version integer NOT NULL,
    step text NOT NULL,
    visit integer NOT NULL,
    purpose text NOT NULL,            -- marketing, service, transactional
    scope text NOT NULL,
    template text NOT NULL,
    template_version integer NOT NULL,
    locale text,
    payload jsonb NOT NULL,           -- exactly the template's declared variables
    placement text,
    offer text,
    exclusion text,                   -- exclusion group, null = none
    suppress_on jsonb NOT NULL,       -- [{"on": type, "match": bool}] frozen at the decision
    own_ref text NOT NULL DEFAULT '', -- object that caused the action: its own fence does not stop it
    entry_hash bigint,                -- hash of the entry object (cart id): an identity key of the action
    stock_sku text[],                 -- skus that must be in stock at claim and permit
    caps jsonb NOT NULL DEFAULT '[]', -- caps that apply, frozen
    quiet jsonb,                      -- {"from","to","zone"} resolved, null = none
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    token bigint,                     -- fencing token of the present lease, random
    sender text,
    lease_until timestamptz,
    claimed_at timestamptz,
    granted_at timestamptz,           -- permit
    permit_batch uuid,
    provider_ref text,
    cost numeric,
    error text,
    idempotency_key text NOT NULL,
    decision_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    decided_lap bigint NOT NULL,      -- suppressions of a later lap stop it
    decided_seq bigint NOT NULL,      -- last inbox seq the decision had seen
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, action_id)
) WITH (fillfactor = 60);
CREATE INDEX outbox_claim ON journey.outbox (channel, priority DESC, claim_at, action_id) WHERE claim_at IS NOT NULL;
CREATE INDEX outbox_action ON journey.outbox (action_id);
CREATE TABLE journey.outbox_history (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    finished_at timestamptz NOT NULL, -- partition key
    action_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    priority integer NOT NULL,
    due_at timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    enrollment_id uuid,
    journey text NOT NULL,
    version integer NOT NULL,
    step text NOT NULL,
    visit integer NOT NULL,
    purpose text NOT NULL,
    scope text NOT NULL,
    template text NOT NULL,
    template_version integer NOT NULL,
    locale text,
    payload jsonb NOT NULL,
    attempt integer NOT NULL,
    sender text,
    granted_at timestamptz,
    permit_batch uuid,
    sent_at timestamptz,
    provider_ref text,
    cost numeric,
    error text,
    idempotency_key text NOT NULL,
    decision_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, finished_at, action_id)
) PARTITION BY RANGE (finished_at);
CREATE TABLE journey.outbox_history_default PARTITION OF journey.outbox_history DEFAULT;
CREATE INDEX outbox_history_action ON journey.outbox_history (action_id);
CREATE INDEX outbox_history_provider ON journey.outbox_history (provider_ref) WHERE provider_ref IS NOT NULL;
CREATE TABLE journey.attempt_log (    -- every permit: audit, caps and invariants
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    granted_at timestamptz NOT NULL,
    action_id uuid NOT NULL,
    attempt integer NOT NULL,
    token bigint NOT NULL,
    sender text NOT NULL,
    channel text NOT NULL,
    journey text NOT NULL,
    scope text NOT NULL,
    purpose text NOT NULL,
    address_hash bigint,
    permit_batch uuid NOT NULL,
    outcome text,                     -- sent, failed, unknown; null = open
    counted boolean NOT NULL DEFAULT true, -- false: gave its place under the caps back
    PRIMARY KEY (bucket, profile_id, granted_at, action_id, attempt)
) WITH (fillfactor = 80);
CREATE TABLE journey.permit_batch (   -- the snapshot each permit was granted on; reference-like, small, append-only
    permit_batch uuid PRIMARY KEY,
    incarnation integer NOT NULL,
    snapshot pg_snapshot NOT NULL,
    lap bigint NOT NULL,
    at timestamptz NOT NULL
);
CREATE TABLE journey.cap (            -- one row per profile: the lock under which caps are counted
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    permits bigint NOT NULL DEFAULT 0,
    last_at timestamptz,
    PRIMARY KEY (bucket, profile_id)
) WITH (fillfactor = 70);
CREATE TABLE journey.address_cap (    -- the same lock for an address: two profiles with one address get one message
    bucket smallint NOT NULL,         -- of the address hash
    address_hash bigint NOT NULL,
    last_at timestamptz,
    PRIMARY KEY (bucket, address_hash)
) WITH (fillfactor = 70);
CREATE TABLE journey.channel_state (  -- tokens of a channel's rate
    channel text PRIMARY KEY,
    tokens double precision NOT NULL,
    filled_at timestamptz NOT NULL,
    day date,
    day_count bigint NOT NULL DEFAULT 0
);
