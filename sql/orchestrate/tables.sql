CREATE TABLE journey.enrollment (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    journey text NOT NULL,
    version integer NOT NULL,
    scope text NOT NULL,
    key text NOT NULL,
    occurrence integer NOT NULL,
    status text NOT NULL,
    step text,
    visit integer NOT NULL DEFAULT 0,
    transitions integer NOT NULL DEFAULT 0,
    entry_event uuid,
    entry_seq bigint NOT NULL DEFAULT 0,
    entry_ref text NOT NULL DEFAULT '',
    entry_cart text NOT NULL DEFAULT '',
    entry_hash bigint,
    data jsonb NOT NULL DEFAULT '{}',
    steps jsonb NOT NULL DEFAULT '{}',
    arm text NOT NULL,
    confidence double precision NOT NULL,
    entered_at timestamptz NOT NULL,
    stepped_at timestamptz NOT NULL,
    wake_at timestamptz,
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
CREATE INDEX enrollment_goal ON journey.enrollment (bucket, profile_id)
    WHERE exited_at IS NOT NULL AND goal_at IS NULL AND goal_until IS NOT NULL;
CREATE INDEX enrollment_object ON journey.enrollment (entry_hash) WHERE exited_at IS NULL AND entry_hash IS NOT NULL;
COMMENT ON TABLE journey.enrollment IS
    'One person on one journey, once per row: where they stand, and when and why it ended. Each row has exactly one current step.';
COMMENT ON COLUMN journey.enrollment.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.enrollment.profile_id IS 'The person.';
COMMENT ON COLUMN journey.enrollment.enrollment_id IS 'Made of journey, profile, key and occurrence: the same entry has the same id for ever.';
COMMENT ON COLUMN journey.enrollment.journey IS 'Name of the journey.';
COMMENT ON COLUMN journey.enrollment.version IS 'Version of the journey that this person is pinned to.';
COMMENT ON COLUMN journey.enrollment.scope IS 'Scope of the event that brought them in: only events and permits of this scope concern the enrollment.';
COMMENT ON COLUMN journey.enrollment.key IS 'Entry key, such as a cart id; empty = the journey has none.';
COMMENT ON COLUMN journey.enrollment.occurrence IS '1, 2 ...: which enrollment of this person and key it is.';
COMMENT ON COLUMN journey.enrollment.status IS 'active; finished (walked to an end), exited (an exit condition), held_out (control group: would have been contacted).';
COMMENT ON COLUMN journey.enrollment.step IS 'Current step; null when it has ended.';
COMMENT ON COLUMN journey.enrollment.visit IS 'How many steps have been entered: enrollment and visit name one run of one step.';
COMMENT ON COLUMN journey.enrollment.transitions IS 'Number of the last row in transition.';
COMMENT ON COLUMN journey.enrollment.entry_event IS 'Event that brought them in.';
COMMENT ON COLUMN journey.enrollment.entry_seq IS 'Inbox position of that event: suppressions behind it, and those of later laps, concern the enrollment.';
COMMENT ON COLUMN journey.enrollment.entry_ref IS 'Object of that event, such as order:42; empty = none. Its own event of the same type does not end the enrollment.';
COMMENT ON COLUMN journey.enrollment.entry_cart IS 'Cart of that event; empty = none. Conditions read cart.* from it.';
COMMENT ON COLUMN journey.enrollment.entry_hash IS 'Key hash of the cart (or order) of that event: an order that names the cart ends the enrollment, whoever placed it.';
COMMENT ON COLUMN journey.enrollment.data IS 'Frozen at entry, read as entry.*.';
COMMENT ON COLUMN journey.enrollment.steps IS 'What each send left behind: {"remind": {"action_id", "at", "outcome", "clicked"}}.';
COMMENT ON COLUMN journey.enrollment.arm IS 'treatment or control; fixed at entry.';
COMMENT ON COLUMN journey.enrollment.confidence IS 'Confidence of the person''s identity at entry, 0 to 1.';
COMMENT ON COLUMN journey.enrollment.entered_at IS 'When they came in: the time of the event.';
COMMENT ON COLUMN journey.enrollment.stepped_at IS 'When they came to the current step.';
COMMENT ON COLUMN journey.enrollment.wake_at IS 'When the current wait is over; a copy of the timer for people to read. Null = it waits for no clock.';
COMMENT ON COLUMN journey.enrollment.restarts IS 'How often the current wait was restarted.';
COMMENT ON COLUMN journey.enrollment.exited_at IS 'When it ended; null = live.';
COMMENT ON COLUMN journey.enrollment.exit_reason IS 'Why it ended.';
COMMENT ON COLUMN journey.enrollment.goal_at IS 'When the goal was reached; null = not yet.';
COMMENT ON COLUMN journey.enrollment.goal_until IS 'Until when the goal counts, also after the end; null = only while live.';
COMMENT ON COLUMN journey.enrollment.lap IS 'Lap that enrolled.';
COMMENT ON COLUMN journey.enrollment.test IS 'Made under the test clock: in no figure.';

CREATE TABLE journey.transition (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    n integer NOT NULL,
    from_step text,
    to_step text,
    edge text NOT NULL,
    reason text,
    at timestamptz NOT NULL,
    event_id uuid,
    PRIMARY KEY (bucket, profile_id, enrollment_id, n)
);
COMMENT ON TABLE journey.transition IS
    'The steps of an enrollment as an unbroken chain: the first row leads in, each row starts where the one before ended, none follows the end.';
COMMENT ON COLUMN journey.transition.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.transition.profile_id IS 'The person.';
COMMENT ON COLUMN journey.transition.enrollment_id IS 'The enrollment.';
COMMENT ON COLUMN journey.transition.n IS '1, 2 ... without a gap.';
COMMENT ON COLUMN journey.transition.from_step IS 'Step that was left; null = entry.';
COMMENT ON COLUMN journey.transition.to_step IS 'Step that was entered; null = end.';
COMMENT ON COLUMN journey.transition.edge IS 'entry, next, timeout, restart, refused, failed, unknown, branch, else, again or exit.';
COMMENT ON COLUMN journey.transition.reason IS 'Reason code or exit reason; null = none.';
COMMENT ON COLUMN journey.transition.at IS 'When, by journey.clock() or the time of the event.';
COMMENT ON COLUMN journey.transition.event_id IS 'Event that caused it; null = the clock.';

CREATE TABLE journey.timer (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    enrollment_id uuid NOT NULL,
    wake_at timestamptz NOT NULL,
    planned_at timestamptz NOT NULL,
    visit integer NOT NULL,
    PRIMARY KEY (bucket, profile_id, enrollment_id)
);
CREATE INDEX timer_due ON journey.timer (wake_at, bucket, profile_id, enrollment_id);
COMMENT ON TABLE journey.timer IS
    'When waiting enrollments wake, narrow and apart from them, so that stepping moves no index entry.';
COMMENT ON COLUMN journey.timer.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.timer.profile_id IS 'The person.';
COMMENT ON COLUMN journey.timer.enrollment_id IS 'The enrollment that waits.';
COMMENT ON COLUMN journey.timer.wake_at IS 'When it wakes. resume() may spread what is overdue by moving this.';
COMMENT ON COLUMN journey.timer.planned_at IS 'When it was to wake by the document: not_after and late count from here, whatever was moved.';
COMMENT ON COLUMN journey.timer.visit IS 'Visit of the step that set it; one of an older visit is void.';

CREATE TABLE journey.decision (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    decision_id uuid NOT NULL,
    enrollment_id uuid,
    journey text NOT NULL,
    version integer NOT NULL,
    step text NOT NULL,
    kind text NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL DEFAULT '',
    rule text,
    clauses jsonb NOT NULL DEFAULT '[]',
    inputs jsonb NOT NULL DEFAULT '{}',
    versions jsonb NOT NULL DEFAULT '{}',
    score double precision,
    confidence text,
    fallback text,
    candidates jsonb NOT NULL DEFAULT '[]',
    arm text,
    identity_confidence double precision,
    action_id uuid,
    event_id uuid,
    repeats integer NOT NULL DEFAULT 1,
    lap bigint NOT NULL,
    test boolean NOT NULL,
    touchpoint text,
    channel text,
    template text,
    PRIMARY KEY (bucket, profile_id, decided_at, decision_id)
) PARTITION BY RANGE (decided_at);
CREATE TABLE journey.decision_default PARTITION OF journey.decision DEFAULT;
CREATE INDEX decision_action ON journey.decision (bucket, profile_id, action_id);
COMMENT ON TABLE journey.decision IS
    'Every decision and every refusal, with what it was based on.';
COMMENT ON TABLE journey.decision_default IS
    'Decisions for which no partition of their time exists.';
COMMENT ON COLUMN journey.decision.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.decision.profile_id IS 'The person.';
COMMENT ON COLUMN journey.decision.decided_at IS 'When, by journey.clock(); the partition key.';
COMMENT ON COLUMN journey.decision.decision_id IS 'Made of enrollment, step, visit and lap; of journey, profile, key and reason for a refused entry.';
COMMENT ON COLUMN journey.decision.enrollment_id IS 'The enrollment; null = entry was refused.';
COMMENT ON COLUMN journey.decision.journey IS 'Name of the journey.';
COMMENT ON COLUMN journey.decision.version IS 'Its version.';
COMMENT ON COLUMN journey.decision.step IS 'The step that was decided; the entry key for a refused entry.';
COMMENT ON COLUMN journey.decision.kind IS 'entry, step (a send), branch, removal (from an audience), claim or permit.';
COMMENT ON COLUMN journey.decision.verdict IS 'enrolled, not_enrolled, enqueue, refused, held (decided again later) or branch.';
COMMENT ON COLUMN journey.decision.reason IS 'Reason code, see journey.reason_code; empty = none.';
COMMENT ON COLUMN journey.decision.rule IS 'The gate, rule or condition that decided.';
COMMENT ON COLUMN journey.decision.clauses IS 'The conditions that were judged: [{"clause", "verdict": true, false or null for unknown, "error"}].';
COMMENT ON COLUMN journey.decision.inputs IS 'The values that the decision read, name to value.';
COMMENT ON COLUMN journey.decision.versions IS 'Documents that took part: {"journey/cart": 3, "template/cart_reminder": 2}.';
COMMENT ON COLUMN journey.decision.score IS 'Score of the chosen candidate; null = no model took part.';
COMMENT ON COLUMN journey.decision.confidence IS 'Confidence class of the score; null = no model took part.';
COMMENT ON COLUMN journey.decision.fallback IS 'Fallback that was taken; null = none.';
COMMENT ON COLUMN journey.decision.candidates IS 'What was weighed: channels of the ladder with their refusals, rivals of an exclusion group.';
COMMENT ON COLUMN journey.decision.arm IS 'treatment or control; null before an arm is known.';
COMMENT ON COLUMN journey.decision.identity_confidence IS 'Confidence of the identity that was relied on.';
COMMENT ON COLUMN journey.decision.action_id IS 'The action; null = none came of it.';
COMMENT ON COLUMN journey.decision.event_id IS 'Event that led to it; null = the clock.';
COMMENT ON COLUMN journey.decision.repeats IS 'How often the same was refused for the same reason since.';
COMMENT ON COLUMN journey.decision.lap IS 'Lap that decided.';
COMMENT ON COLUMN journey.decision.test IS 'Made under the test clock: in no figure.';
COMMENT ON COLUMN journey.decision.touchpoint IS 'Touchpoint of the journey: search, product_page, cart, checkout, order_update, service, loyalty or reactivation; null = the journey has neither touchpoint nor stage.';
COMMENT ON COLUMN journey.decision.channel IS 'Channel that was chosen; null = none was.';
COMMENT ON COLUMN journey.decision.template IS 'Template that was chosen; null = none was.';

CREATE TABLE journey.stage_transition (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    seq bigint NOT NULL,
    n integer NOT NULL,
    object text NOT NULL DEFAULT '',
    from_stage text NOT NULL,
    to_stage text NOT NULL,
    at timestamptz NOT NULL,
    rule text NOT NULL,
    event_id uuid,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, seq, n)
);
COMMENT ON TABLE journey.stage_transition IS
    'History of the stage of each person, and of each of their carts, orders and shipments: what moved it from where to where.';
COMMENT ON COLUMN journey.stage_transition.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.stage_transition.profile_id IS 'The person.';
COMMENT ON COLUMN journey.stage_transition.seq IS 'Inbox position of the event.';
COMMENT ON COLUMN journey.stage_transition.n IS 'Number within the lap.';
COMMENT ON COLUMN journey.stage_transition.object IS 'Empty = the person''s main stage; else cart:<id>, order:<id> or shipment:<id>.';
COMMENT ON COLUMN journey.stage_transition.from_stage IS 'Stage before; empty = the object was in none.';
COMMENT ON COLUMN journey.stage_transition.to_stage IS 'Stage after; empty = the object is in none any more.';
COMMENT ON COLUMN journey.stage_transition.at IS 'When the event occurred.';
COMMENT ON COLUMN journey.stage_transition.rule IS 'The rule that fired: document, version and place in it; of an object, the status that it got.';
COMMENT ON COLUMN journey.stage_transition.event_id IS 'The event; null for an object.';
COMMENT ON COLUMN journey.stage_transition.test IS 'Made under the test clock: in no figure.';

CREATE TABLE journey.product_sales (
    sku text PRIMARY KEY,
    category text,
    orders bigint NOT NULL
);
CREATE INDEX product_sales_category ON journey.product_sales (category, orders DESC, sku);
CREATE INDEX product_sales_orders ON journey.product_sales (orders DESC, sku);
COMMENT ON TABLE journey.product_sales IS 'How often each product was ordered in the last 90 days, as maintenance has counted: what recommend() ranks by.';
COMMENT ON COLUMN journey.product_sales.sku IS 'Product.';
COMMENT ON COLUMN journey.product_sales.category IS 'Its category then.';
COMMENT ON COLUMN journey.product_sales.orders IS 'Orders that stand and have a line of it that did not come back.';

CREATE TABLE journey.sales_count (
    one boolean PRIMARY KEY CHECK (one),
    counted_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.sales_count IS 'When product_sales was counted; one row.';
COMMENT ON COLUMN journey.sales_count.one IS 'Always true.';
COMMENT ON COLUMN journey.sales_count.counted_at IS 'To what moment, by journey.clock().';
COMMENT ON COLUMN journey.sales_count.due_at IS 'Real time before which it is not counted anew.';

CREATE TABLE journey.journey_day (
    journey text NOT NULL,
    day date NOT NULL,
    entered bigint NOT NULL,
    not_entered bigint NOT NULL,
    ended bigint NOT NULL DEFAULT 0,
    held_out bigint NOT NULL DEFAULT 0,
    enqueued bigint NOT NULL DEFAULT 0,
    withheld bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    sent bigint NOT NULL DEFAULT 0,
    stopped bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    unknown bigint NOT NULL DEFAULT 0,
    test boolean NOT NULL,
    PRIMARY KEY (journey, day, test)
) WITH (fillfactor = 50);
COMMENT ON TABLE journey.journey_day IS
    'What became of each journey per day of the house''s zone, counted by the laps: entries, which rollout.max_per_day goes by, ends, decisions, and outcomes of actions as they are told.';
COMMENT ON COLUMN journey.journey_day.journey IS 'Name of the journey.';
COMMENT ON COLUMN journey.journey_day.day IS 'Day in the house''s zone.';
COMMENT ON COLUMN journey.journey_day.entered IS 'People who entered.';
COMMENT ON COLUMN journey.journey_day.not_entered IS 'Events whose entry condition was false or unknown: counted, no decision row.';
COMMENT ON COLUMN journey.journey_day.ended IS 'Enrollments that ended, whichever way.';
COMMENT ON COLUMN journey.journey_day.held_out IS 'Those of them that ended because the person is held out.';
COMMENT ON COLUMN journey.journey_day.enqueued IS 'Actions put into the outbox.';
COMMENT ON COLUMN journey.journey_day.withheld IS 'Sends that were decided against, for a reason.';
COMMENT ON COLUMN journey.journey_day.cancelled IS 'Actions that were waiting when their enrollment ended, as by a purchase.';
COMMENT ON COLUMN journey.journey_day.sent IS 'Actions that were sent.';
COMMENT ON COLUMN journey.journey_day.stopped IS 'Actions refused at claim or permit, or expired.';
COMMENT ON COLUMN journey.journey_day.dead IS 'Actions given up.';
COMMENT ON COLUMN journey.journey_day.unknown IS 'Actions of which nobody knows whether they were sent, on hold; resolved, they count again.';
COMMENT ON COLUMN journey.journey_day.test IS 'Counted under the test clock, apart from the others.';
