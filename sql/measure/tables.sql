CREATE TABLE journey.exposure (       -- who was, or would have been, treated: ghost rows for the held-out
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    journey text NOT NULL,
    version integer NOT NULL,
    arm text NOT NULL,                -- treatment, control
    held_by text NOT NULL DEFAULT '', -- global, journey; '' for the treated
    algo integer NOT NULL,            -- JNY_HASH_VERSION
    salt text NOT NULL,
    place double precision NOT NULL,  -- journey.assign(salt, profile_id)
    exposed_at timestamptz NOT NULL,  -- first step that would contact
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, enrollment_id)
);
CREATE TABLE journey.conversion (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    goal text NOT NULL,
    event_id uuid NOT NULL,
    at timestamptz NOT NULL,
    order_id text,
    amount numeric,
    currency text,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, enrollment_id, goal)
);
