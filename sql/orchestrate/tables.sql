CREATE TABLE journey.enrollment (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,      -- of journey, profile, key, occurrence
    journey text NOT NULL,
    version integer NOT NULL,
    scope text NOT NULL,
    key text NOT NULL,                -- '' = none
    occurrence integer NOT NULL,      -- 1, 2 ... per (journey, profile, key)
    status text NOT NULL,             -- active, held_out, finished, exited
    step text,                        -- null when it has ended
    visit integer NOT NULL DEFAULT 0, -- visits of steps so far: (enrollment, visit) names one step run
    entry_event uuid,
    entry_ref text NOT NULL DEFAULT '', -- order or other object that caused the entry: never ends it
    entry_cart text NOT NULL DEFAULT '',-- cart whose order ends it
    entry_hash bigint,                -- key hash of the entry object, when it is an identity key
    data jsonb NOT NULL DEFAULT '{}', -- frozen as entry.*
    steps jsonb NOT NULL DEFAULT '{}',-- what each visited step left: {"remind": {"action_id":…, "at":…, "clicked":…}}
    arm text NOT NULL,                -- treatment or control
    confidence double precision NOT NULL,
    entered_at timestamptz NOT NULL,
    stepped_at timestamptz NOT NULL,
    wake_at timestamptz,              -- copy of the timer, for people
    restarts integer NOT NULL DEFAULT 0,
    exited_at timestamptz,
    exit_reason text,
    goal_at timestamptz,
    goal_until timestamptz,
    lap bigint NOT NULL,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, enrollment_id)
) WITH (fillfactor = 80);
CREATE INDEX enrollment_live ON journey.enrollment (bucket, profile_id) WHERE exited_at IS NULL;
CREATE TABLE journey.transition (     -- the chain of an enrollment's steps
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    n integer NOT NULL,               -- 1, 2 ...: unbroken
    from_step text,                   -- null = entry
    to_step text,                     -- null = end
    edge text NOT NULL,               -- entry, next, timeout, refused, failed, unknown, else, exit, goal, restart
    reason text,
    at timestamptz NOT NULL,
    event_id uuid,
    PRIMARY KEY (bucket, profile_id, enrollment_id, n)
);
CREATE TABLE journey.timer (          -- narrow, apart from the enrollment, so that stepping stays HOT
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    wake_at timestamptz NOT NULL,
    visit integer NOT NULL,           -- a timer of an older visit is void
    PRIMARY KEY (bucket, profile_id, enrollment_id)
);
CREATE INDEX timer_due ON journey.timer (wake_at, bucket, profile_id, enrollment_id);
CREATE TABLE journey.wait (           -- who waits for which event: a batch wakes them by index
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    type text NOT NULL,               -- event type
    role text NOT NULL,               -- until, restart
    action_id uuid,                   -- message events: of this action only
    PRIMARY KEY (bucket, profile_id, enrollment_id, type, role)
);
CREATE TABLE journey.decision (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,  -- partition key
    decision_id uuid NOT NULL,        -- of enrollment, step, visit, attempt
    enrollment_id uuid,
    journey text NOT NULL,
    version integer NOT NULL,
    step text NOT NULL,
    kind text NOT NULL,               -- entry, step, claim, permit, stage
    verdict text NOT NULL,            -- enrolled, not_enrolled, enqueue, refused, held, branch, wait, exit
    reason text NOT NULL DEFAULT '',  -- reason code
    rule text,                        -- the condition or gate that decided
    clauses jsonb NOT NULL DEFAULT '[]', -- [{"clause","verdict"}]
    inputs jsonb NOT NULL DEFAULT '{}',  -- values referenced
    versions jsonb NOT NULL DEFAULT '{}',-- documents used: {"template/cart_reminder": 2}
    score double precision,
    confidence text,
    fallback text,
    candidates jsonb NOT NULL DEFAULT '[]',
    arm text,
    identity_confidence double precision,
    action_id uuid,
    event_id uuid,
    repeats integer NOT NULL DEFAULT 1, -- same action, same reason: counted, not repeated
    lap bigint NOT NULL,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, decided_at, decision_id)
) PARTITION BY RANGE (decided_at);
CREATE TABLE journey.decision_default PARTITION OF journey.decision DEFAULT;
CREATE INDEX decision_action ON journey.decision (bucket, profile_id, action_id);
CREATE TABLE journey.stage_transition (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    seq bigint NOT NULL,
    n integer NOT NULL,
    object text NOT NULL DEFAULT '',  -- '' = the person
    from_stage text NOT NULL,
    to_stage text NOT NULL,
    at timestamptz NOT NULL,
    rule text NOT NULL,
    event_id uuid,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, seq, n)
);
