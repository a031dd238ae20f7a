CREATE TABLE journey.exposure (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    journey text NOT NULL,
    version integer NOT NULL,
    arm text NOT NULL,
    held_by text NOT NULL DEFAULT '',
    algo integer NOT NULL,
    salt text NOT NULL,
    place double precision NOT NULL,
    exposed_at timestamptz NOT NULL,
    test boolean NOT NULL,
    original_id uuid,
    PRIMARY KEY (bucket, profile_id, enrollment_id)
);
COMMENT ON TABLE journey.exposure IS
    'Who was, or would have been, contacted: ghost rows for the control group, written at the first send that passes every gate before the holdout.';
COMMENT ON COLUMN journey.exposure.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.exposure.profile_id IS 'The person.';
COMMENT ON COLUMN journey.exposure.enrollment_id IS 'The enrollment.';
COMMENT ON COLUMN journey.exposure.journey IS 'Name of the journey.';
COMMENT ON COLUMN journey.exposure.version IS 'Its version.';
COMMENT ON COLUMN journey.exposure.arm IS 'treatment or control.';
COMMENT ON COLUMN journey.exposure.held_by IS 'global (house policy) or journey for the control group; empty for the treated.';
COMMENT ON COLUMN journey.exposure.algo IS 'Version of the frozen hash that assigned.';
COMMENT ON COLUMN journey.exposure.salt IS 'Salt of the assignment; empty = there was no holdout.';
COMMENT ON COLUMN journey.exposure.place IS 'journey.assign(salt, profile_id): recompute it to check the arm; of somebody who was merged since, with original_id.';
COMMENT ON COLUMN journey.exposure.original_id IS 'Who was assigned, when that person has been merged into another since; null = profile_id.';
COMMENT ON COLUMN journey.exposure.exposed_at IS 'When, by journey.clock().';
COMMENT ON COLUMN journey.exposure.test IS 'Made under the test clock: in no figure.';

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
COMMENT ON TABLE journey.conversion IS
    'Goals reached within their window, for both arms: the first event that reaches the goal of an enrollment.';
COMMENT ON COLUMN journey.conversion.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.conversion.profile_id IS 'The person.';
COMMENT ON COLUMN journey.conversion.enrollment_id IS 'The enrollment.';
COMMENT ON COLUMN journey.conversion.goal IS 'Event type that reached the goal.';
COMMENT ON COLUMN journey.conversion.event_id IS 'The event.';
COMMENT ON COLUMN journey.conversion.at IS 'When it occurred.';
COMMENT ON COLUMN journey.conversion.order_id IS 'The order; null = no order.';
COMMENT ON COLUMN journey.conversion.amount IS 'Its amount.';
COMMENT ON COLUMN journey.conversion.currency IS 'Its currency.';
COMMENT ON COLUMN journey.conversion.test IS 'Made under the test clock: in no figure.';
