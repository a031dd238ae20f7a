CREATE TABLE journey.outbox (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    action_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'claimed', 'sending', 'unknown')),
    reason text NOT NULL DEFAULT '',
    claim_at timestamptz,
    reap_at timestamptz,
    priority integer NOT NULL,
    due_at timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    late interval,
    enrollment_id uuid,
    journey text NOT NULL,
    version integer NOT NULL,
    step text NOT NULL,
    visit integer NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('marketing', 'service', 'transactional')),
    scope text NOT NULL,
    template text NOT NULL,
    template_version integer NOT NULL,
    locale text,
    payload jsonb NOT NULL,
    placement text,
    offer text,
    exclusion text,
    suppress_on jsonb NOT NULL,
    own_ref text NOT NULL DEFAULT '',
    entry_hash bigint,
    stock_sku text[],
    caps jsonb NOT NULL DEFAULT '[]',
    quiet jsonb,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    token bigint,
    sender text,
    lease_until timestamptz,
    claimed_at timestamptz,
    granted_at timestamptz,
    permit_batch uuid,
    provider_ref text,
    cost numeric,
    error text,
    idempotency_key text NOT NULL,
    decision_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    decided_lap bigint NOT NULL,
    decided_seq bigint NOT NULL,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, action_id)
) WITH (fillfactor = 60);
CREATE INDEX outbox_claim ON journey.outbox (channel, priority DESC, claim_at, action_id) WHERE claim_at IS NOT NULL;
CREATE INDEX outbox_action ON journey.outbox (action_id);
CREATE INDEX outbox_reap ON journey.outbox (reap_at);
COMMENT ON TABLE journey.outbox IS
    'Actions that are not final: waiting, in a sender''s hands, or with an unknown outcome. Final ones move to outbox_history, so that this table stays small.';
COMMENT ON COLUMN journey.outbox.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.outbox.profile_id IS 'Whom the action concerns.';
COMMENT ON COLUMN journey.outbox.action_id IS 'Identity of the action, made of enrollment, step and visit: deciding twice gives one action.';
COMMENT ON COLUMN journey.outbox.channel IS 'Channel whose senders take it.';
COMMENT ON COLUMN journey.outbox.status IS 'pending, claimed (a sender has a lease), sending (a permit was granted) or unknown (nobody knows whether it was sent).';
COMMENT ON COLUMN journey.outbox.reason IS 'Why it was planned again, as a reason code; empty at first.';
COMMENT ON COLUMN journey.outbox.claim_at IS 'When it may be claimed, or was when a sender took it; null while its outcome is unknown.';
COMMENT ON COLUMN journey.outbox.reap_at IS 'When the reaper must look at it, whoever has it: not_after, or the next try of an unknown one; null = never. Leases end by journey.lease.';
COMMENT ON COLUMN journey.outbox.priority IS 'Greater goes first.';
COMMENT ON COLUMN journey.outbox.due_at IS 'When the journey wanted it sent.';
COMMENT ON COLUMN journey.outbox.not_after IS 'It expires then.';
COMMENT ON COLUMN journey.outbox.late IS 'Overdue by more than this it is decided again instead of sent; null = no limit.';
COMMENT ON COLUMN journey.outbox.enrollment_id IS 'Enrollment that waits for its outcome; null when it came without one.';
COMMENT ON COLUMN journey.outbox.journey IS 'Journey that decided it.';
COMMENT ON COLUMN journey.outbox.version IS 'Version of the journey.';
COMMENT ON COLUMN journey.outbox.step IS 'Step of the journey.';
COMMENT ON COLUMN journey.outbox.visit IS 'Which visit of a step it belongs to, counted per enrollment.';
COMMENT ON COLUMN journey.outbox.purpose IS 'marketing, service or transactional: which gates it must pass.';
COMMENT ON COLUMN journey.outbox.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.outbox.template IS 'Template to be rendered.';
COMMENT ON COLUMN journey.outbox.template_version IS 'Version of the template.';
COMMENT ON COLUMN journey.outbox.locale IS 'Locale to render it in; null = the template''s default.';
COMMENT ON COLUMN journey.outbox.payload IS 'Exactly the variables that the template declares.';
COMMENT ON COLUMN journey.outbox.placement IS 'Place on a page that a pull channel fills; null on others.';
COMMENT ON COLUMN journey.outbox.offer IS 'Offer it carries; null = none.';
COMMENT ON COLUMN journey.outbox.exclusion IS 'Exclusion group it was decided in; null = none.';
COMMENT ON COLUMN journey.outbox.suppress_on IS 'Event types that end it, [{"on": type, "match": boolean}], frozen at the decision. match: the worker must judge the event first.';
COMMENT ON COLUMN journey.outbox.own_ref IS 'Object that caused the action, such as order:42: that object''s own fence does not stop it.';
COMMENT ON COLUMN journey.outbox.entry_hash IS 'Key hash of the entry object (a cart): an identity key of the action.';
COMMENT ON COLUMN journey.outbox.stock_sku IS 'Skus that must be in stock when it is claimed and when its permit is asked for; null = none.';
COMMENT ON COLUMN journey.outbox.caps IS 'Caps that hold for it, frozen at the decision; those of the house hold beside them, as they are at the permit.';
COMMENT ON COLUMN journey.outbox.quiet IS 'Quiet hours of its journey {"from", "to", "zone", "otherwise"}, frozen at the decision; null = it has none, and those of the house hold as they are at the permit.';
COMMENT ON COLUMN journey.outbox.attempt IS 'Permits granted so far; their numbers rise strictly.';
COMMENT ON COLUMN journey.outbox.failures IS 'Attempts that failed and count against max_attempts; a provider that is down or limits its rate does not count.';
COMMENT ON COLUMN journey.outbox.max_attempts IS 'After so many failures it is dead.';
COMMENT ON COLUMN journey.outbox.token IS 'Fencing token of the present lease: made from random bits, so that a lost claim never hands one out twice.';
COMMENT ON COLUMN journey.outbox.sender IS 'Who has the lease.';
COMMENT ON COLUMN journey.outbox.lease_until IS 'End of the lease, by journey.clock().';
COMMENT ON COLUMN journey.outbox.claimed_at IS 'Start of the lease.';
COMMENT ON COLUMN journey.outbox.granted_at IS 'When the present permit was granted; null = none.';
COMMENT ON COLUMN journey.outbox.permit_batch IS 'Row of permit_batch with the snapshot that the permit was granted on.';
COMMENT ON COLUMN journey.outbox.provider_ref IS 'The provider''s name for the message, when known.';
COMMENT ON COLUMN journey.outbox.cost IS 'Cost of the last attempt, when known.';
COMMENT ON COLUMN journey.outbox.error IS 'What the last failed or lost attempt said.';
COMMENT ON COLUMN journey.outbox.idempotency_key IS 'Key for the provider: the same for every attempt of this action.';
COMMENT ON COLUMN journey.outbox.decision_id IS 'Decision that made it.';
COMMENT ON COLUMN journey.outbox.decided_at IS 'When that was, by journey.clock().';
COMMENT ON COLUMN journey.outbox.decided_lap IS 'Lap that decided it: suppressions of later laps stop it.';
COMMENT ON COLUMN journey.outbox.decided_seq IS 'Last inbox row that the decision had seen.';
COMMENT ON COLUMN journey.outbox.test IS 'Made under the test clock: never claimable in live or sandbox, never counted in a KPI.';

CREATE TABLE journey.lease (
    until timestamptz NOT NULL,
    lease_id uuid NOT NULL,
    actions uuid[] NOT NULL,
    PRIMARY KEY (until, lease_id)
);
COMMENT ON TABLE journey.lease IS
    'When the reaper must look at actions in a sender''s hands: one row per claim or extension, so that taking an action changes no indexed column of the outbox. What holds is outbox.lease_until.';
COMMENT ON COLUMN journey.lease.until IS 'End of the lease, by journey.clock().';
COMMENT ON COLUMN journey.lease.lease_id IS 'Identity of the claim or extension.';
COMMENT ON COLUMN journey.lease.actions IS 'Actions that it handed out; some may be final by now, or in other hands.';

CREATE TABLE journey.outbox_history (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    finished_at timestamptz NOT NULL,
    action_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL CHECK (status IN ('sent', 'dead', 'refused', 'expired', 'cancelled', 'unknown')),
    reason text NOT NULL,
    in_flight boolean NOT NULL,
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
    decided_lap bigint NOT NULL,
    gates jsonb,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, profile_id, finished_at, action_id)
) PARTITION BY RANGE (finished_at);
CREATE TABLE journey.outbox_history_default PARTITION OF journey.outbox_history DEFAULT;
CREATE INDEX outbox_history_action ON journey.outbox_history (action_id);
CREATE INDEX outbox_history_provider ON journey.outbox_history (provider_ref) WHERE provider_ref IS NOT NULL;
COMMENT ON TABLE journey.outbox_history IS
    'Actions that are final: one row each, partitioned by the time they became so.';
COMMENT ON TABLE journey.outbox_history_default IS
    'Rows of outbox_history for which no partition has been made.';
COMMENT ON COLUMN journey.outbox_history.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.outbox_history.profile_id IS 'Whom the action concerned.';
COMMENT ON COLUMN journey.outbox_history.finished_at IS 'When it became final, by journey.clock(); the partition key.';
COMMENT ON COLUMN journey.outbox_history.action_id IS 'Identity of the action.';
COMMENT ON COLUMN journey.outbox_history.channel IS 'Channel.';
COMMENT ON COLUMN journey.outbox_history.status IS 'sent, dead (attempts used up or given up), refused, expired, cancelled (its enrollment ended) or unknown (dropped with an unknown outcome).';
COMMENT ON COLUMN journey.outbox_history.reason IS 'Why, as a reason code; empty when sent.';
COMMENT ON COLUMN journey.outbox_history.in_flight IS 'A sender already had it when it was stopped.';
COMMENT ON COLUMN journey.outbox_history.priority IS 'Greater went first.';
COMMENT ON COLUMN journey.outbox_history.due_at IS 'When the journey wanted it sent.';
COMMENT ON COLUMN journey.outbox_history.not_after IS 'Would have expired then.';
COMMENT ON COLUMN journey.outbox_history.enrollment_id IS 'Enrollment that waited for its outcome.';
COMMENT ON COLUMN journey.outbox_history.journey IS 'Journey that decided it.';
COMMENT ON COLUMN journey.outbox_history.version IS 'Version of the journey.';
COMMENT ON COLUMN journey.outbox_history.step IS 'Step of the journey.';
COMMENT ON COLUMN journey.outbox_history.visit IS 'Visit of the step, counted per enrollment.';
COMMENT ON COLUMN journey.outbox_history.purpose IS 'marketing, service or transactional.';
COMMENT ON COLUMN journey.outbox_history.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.outbox_history.template IS 'Template.';
COMMENT ON COLUMN journey.outbox_history.template_version IS 'Version of the template.';
COMMENT ON COLUMN journey.outbox_history.locale IS 'Locale.';
COMMENT ON COLUMN journey.outbox_history.payload IS 'Variables of the template.';
COMMENT ON COLUMN journey.outbox_history.attempt IS 'Permits granted.';
COMMENT ON COLUMN journey.outbox_history.sender IS 'Who had the last lease.';
COMMENT ON COLUMN journey.outbox_history.granted_at IS 'When the last permit was granted; null when none was.';
COMMENT ON COLUMN journey.outbox_history.permit_batch IS 'Row of permit_batch with the snapshot of the last permit.';
COMMENT ON COLUMN journey.outbox_history.sent_at IS 'When the sender, or whoever resolved it, said that it was sent.';
COMMENT ON COLUMN journey.outbox_history.provider_ref IS 'The provider''s name for the message.';
COMMENT ON COLUMN journey.outbox_history.cost IS 'What it cost.';
COMMENT ON COLUMN journey.outbox_history.error IS 'What the last failed attempt said.';
COMMENT ON COLUMN journey.outbox_history.idempotency_key IS 'Key that the provider was given.';
COMMENT ON COLUMN journey.outbox_history.decision_id IS 'Decision that made it.';
COMMENT ON COLUMN journey.outbox_history.decided_at IS 'When it was decided.';
COMMENT ON COLUMN journey.outbox_history.decided_lap IS 'Lap that decided it.';
COMMENT ON COLUMN journey.outbox_history.gates IS 'Of a dead action: what requeue() needs to bring it back (suppress_on, own_ref, entry_hash, stock_sku, caps, quiet, late, placement, offer, exclusion, max_attempts, decided_seq); null for others.';
COMMENT ON COLUMN journey.outbox_history.test IS 'Made under the test clock.';

CREATE TABLE journey.attempt_log (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    granted_at timestamptz NOT NULL,
    action_id uuid NOT NULL,
    attempt integer NOT NULL,
    token bigint NOT NULL,
    sender text NOT NULL,
    channel text NOT NULL,
    journey text NOT NULL,
    step text NOT NULL,
    scope text NOT NULL,
    purpose text NOT NULL,
    address_hash bigint,
    permit_batch uuid NOT NULL,
    outcome text CHECK (outcome IN ('failed', 'unknown', 'returned')),
    counted boolean NOT NULL DEFAULT true,
    address_fault text,
    original_id uuid,
    PRIMARY KEY (bucket, profile_id, granted_at, action_id, attempt)
) WITH (fillfactor = 80);
CREATE INDEX attempt_log_granted ON journey.attempt_log USING brin (granted_at); -- for retention; filed in order of time
CREATE INDEX attempt_log_fault ON journey.attempt_log (bucket, profile_id) WHERE address_fault IS NOT NULL;
COMMENT ON TABLE journey.attempt_log IS
    'Every permit ever granted: what caps count, and what the invariants are checked against.';
COMMENT ON COLUMN journey.attempt_log.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.attempt_log.profile_id IS 'Who was to be contacted.';
COMMENT ON COLUMN journey.attempt_log.granted_at IS 'When the permit was granted, by journey.clock().';
COMMENT ON COLUMN journey.attempt_log.action_id IS 'Action.';
COMMENT ON COLUMN journey.attempt_log.attempt IS 'Number of the permit of this action: 1, 2 ...';
COMMENT ON COLUMN journey.attempt_log.token IS 'Fencing token of the lease.';
COMMENT ON COLUMN journey.attempt_log.sender IS 'Who got the permit.';
COMMENT ON COLUMN journey.attempt_log.channel IS 'Channel.';
COMMENT ON COLUMN journey.attempt_log.journey IS 'Journey.';
COMMENT ON COLUMN journey.attempt_log.step IS 'Step.';
COMMENT ON COLUMN journey.attempt_log.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.attempt_log.purpose IS 'marketing, service or transactional.';
COMMENT ON COLUMN journey.attempt_log.address_hash IS 'Hash of the address revealed; null when the channel needs none.';
COMMENT ON COLUMN journey.attempt_log.permit_batch IS 'Row of permit_batch with the snapshot it was granted on.';
COMMENT ON COLUMN journey.attempt_log.outcome IS 'failed, unknown, or returned unused; null while open and when sent, which outbox_history says.';
COMMENT ON COLUMN journey.attempt_log.original_id IS 'Under which id the permit was granted, when that person has been merged into another since; null = profile_id.';
COMMENT ON COLUMN journey.attempt_log.counted IS 'False: the attempt reached nobody and gave its place under the caps back.';
COMMENT ON COLUMN journey.attempt_log.address_fault IS 'Code of a failure that is the address''s, until the next lap takes it to journey.contact_point; null otherwise. Permits heed it all the same.';

CREATE TABLE journey.permit_batch (
    permit_batch uuid PRIMARY KEY,
    incarnation integer NOT NULL,
    snapshot pg_snapshot NOT NULL,
    lap bigint NOT NULL,
    at timestamptz NOT NULL
);
COMMENT ON TABLE journey.permit_batch IS
    'The snapshot on which the permits of one call were granted: taken after every lock. Nothing that it sees may have stopped them.';
COMMENT ON COLUMN journey.permit_batch.permit_batch IS 'Id, time-ordered.';
COMMENT ON COLUMN journey.permit_batch.incarnation IS 'Life of the cluster to which the snapshot''s transaction ids belong.';
COMMENT ON COLUMN journey.permit_batch.snapshot IS 'The snapshot.';
COMMENT ON COLUMN journey.permit_batch.lap IS 'Last lap that the snapshot sees.';
COMMENT ON COLUMN journey.permit_batch.at IS 'When, by journey.clock().';

CREATE TABLE journey.channel_state (
    channel text PRIMARY KEY,
    tokens double precision NOT NULL,
    filled_at timestamptz NOT NULL,
    day date NOT NULL,
    day_count bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE journey.channel_state IS
    'What is left of the rate of each channel that has one.';
COMMENT ON COLUMN journey.channel_state.channel IS 'Channel.';
COMMENT ON COLUMN journey.channel_state.tokens IS 'Actions that may be claimed at once, as of filled_at.';
COMMENT ON COLUMN journey.channel_state.filled_at IS 'When tokens were last counted, by journey.clock().';
COMMENT ON COLUMN journey.channel_state.day IS 'Day that day_count counts, in the house''s zone.';
COMMENT ON COLUMN journey.channel_state.day_count IS 'Actions claimed on that day.';

CREATE TABLE journey.outbox_event (
    id uuid PRIMARY KEY,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX outbox_event_created ON journey.outbox_event USING brin (created_at); -- for retention
CREATE INDEX outbox_event_person ON journey.outbox_event ((payload ->> 'profile_id')); -- for erase()
COMMENT ON TABLE journey.outbox_event IS
    'What became of actions, append-only, in the columns of Debezium''s outbox event router, for change data capture; written while journey.outbox_events is on. It tells, and permits nothing: who sends asks claim() and begin_send().';
COMMENT ON COLUMN journey.outbox_event.id IS 'Made of action, type and time: the same for the same, whoever tells it again.';
COMMENT ON COLUMN journey.outbox_event.aggregatetype IS 'action.';
COMMENT ON COLUMN journey.outbox_event.aggregateid IS 'The action.';
COMMENT ON COLUMN journey.outbox_event.type IS 'action_enqueued, action_sent, action_refused, action_expired, action_cancelled, action_dead or action_unknown.';
COMMENT ON COLUMN journey.outbox_event.payload IS 'action_id, profile_id, journey, version, step, channel, purpose, scope, template, idempotency_key, decision_id, at; when enqueued due_at and not_after, when final reason, attempt and provider_ref. No address, and nothing of the message.';
COMMENT ON COLUMN journey.outbox_event.created_at IS 'Real time.';
