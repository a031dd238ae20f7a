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
    meaning text NOT NULL,
    merges boolean NOT NULL DEFAULT true,
    one_per_person boolean NOT NULL DEFAULT false
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
    broken text,                      -- why the mapping no longer fits, or live stock cannot be read; null = fits
    detached_at timestamptz           -- null = attached; the row stays, because rows captured before still need its map
);
-- not unique: two tables may change names in one commit
CREATE INDEX attachment_live ON journey.attachment (rel_schema, rel_name, kind) WHERE detached_at IS NULL;
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
CREATE TABLE journey.early_message (
    early_id uuid PRIMARY KEY,
    provider_ref text NOT NULL,
    look_at timestamptz NOT NULL,
    kept_at timestamptz NOT NULL,
    source text NOT NULL,
    scope text NOT NULL,
    type text NOT NULL,
    message_id text,
    occurred_at timestamptz NOT NULL,
    backfill boolean NOT NULL,
    props jsonb NOT NULL,
    test boolean NOT NULL
);
CREATE INDEX early_message_look ON journey.early_message (look_at);
CREATE INDEX early_message_provider ON journey.early_message (provider_ref);
CREATE TABLE journey.early_opt_out (
    bucket smallint NOT NULL,         -- of the key's hash
    key_hash bigint NOT NULL,
    seq bigint NOT NULL,              -- of the inbox row
    scope text NOT NULL,
    channel text NOT NULL,            -- '*' = every one
    purpose text NOT NULL,
    state text NOT NULL,              -- revoked, complained
    source text NOT NULL,
    at timestamptz NOT NULL,          -- occurred
    PRIMARY KEY (bucket, key_hash, seq)
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
    available numeric,                -- last observed; decisions and permits read the live table where one is attached
    traits jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL
);
-- keys
CREATE TABLE journey.event_key (      -- dedupe; partitioned by received time
    bucket smallint NOT NULL,         -- of the hash
    hash uuid NOT NULL,               -- of source, 0, message id
    received_at timestamptz NOT NULL,
    test boolean NOT NULL,
    PRIMARY KEY (bucket, hash)
);
CREATE INDEX event_key_received ON journey.event_key USING brin (received_at); -- filed in order of time; a btree would cost each event an insert
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
CREATE TABLE journey.profile_link (   -- each link in both directions, each in the bucket of its person
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    other_bucket smallint NOT NULL,
    other_id uuid NOT NULL,
    strong boolean NOT NULL,
    source text NOT NULL,
    since timestamptz NOT NULL,
    link_xact xid8 NOT NULL,
    incarnation integer NOT NULL,
    PRIMARY KEY (bucket, profile_id, other_bucket, other_id)
);
CREATE TABLE journey.profile_alias (  -- ids of people who were merged into another
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    into_bucket smallint NOT NULL,
    into_id uuid NOT NULL,
    PRIMARY KEY (bucket, profile_id)
);
CREATE INDEX profile_alias_into ON journey.profile_alias (into_bucket, into_id);
CREATE TABLE journey.merge_wish (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    other_bucket smallint NOT NULL,
    other_id uuid NOT NULL,
    method text NOT NULL,
    confidence double precision NOT NULL,
    keys text NOT NULL,
    source text NOT NULL,
    since timestamptz NOT NULL,
    link_xact xid8 NOT NULL,
    incarnation integer NOT NULL,
    try_at timestamptz,               -- null = refused for good
    refused text,
    undo uuid,                        -- a merge to be undone
    PRIMARY KEY (bucket, profile_id, other_bucket, other_id)
);
CREATE INDEX merge_wish_due ON journey.merge_wish (try_at);
CREATE INDEX merge_wish_other ON journey.merge_wish (other_bucket, other_id);
CREATE TABLE journey.merge_log (
    bucket smallint NOT NULL,         -- of the person who has it all now
    profile_id uuid NOT NULL,
    merge_id uuid NOT NULL,
    from_bucket smallint NOT NULL,
    from_id uuid NOT NULL,
    into_bucket smallint NOT NULL,
    into_id uuid NOT NULL,
    method text NOT NULL,
    confidence double precision NOT NULL,
    keys text NOT NULL,
    source text NOT NULL,
    merged_at timestamptz NOT NULL,
    link_xact xid8 NOT NULL,
    merge_xact xid8 NOT NULL,
    incarnation integer NOT NULL,
    undone_at timestamptz,
    undone_by text,
    PRIMARY KEY (bucket, profile_id, merge_id)
);
CREATE TABLE journey.merge_row (      -- what unmerge() needs
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    merge_id uuid NOT NULL,
    name text NOT NULL,
    keys jsonb,
    twins jsonb,
    was jsonb,
    PRIMARY KEY (bucket, profile_id, merge_id, name)
);
CREATE TABLE journey.forgotten (      -- by what an erased person was known
    bucket smallint NOT NULL,         -- of the digest
    digest bytea NOT NULL,
    seq bigint NOT NULL,
    forgotten_at timestamptz NOT NULL,
    erasure_id uuid NOT NULL,
    PRIMARY KEY (bucket, digest)
);
CREATE TABLE journey.erasure (        -- the proof: who asked, and what was deleted
    erasure_id uuid PRIMARY KEY,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    reason text,
    keys integer NOT NULL,
    erased_at timestamptz,
    rows jsonb NOT NULL DEFAULT '{}',
    subject jsonb                     -- as long as a lap has yet to look who is known by it
);
CREATE TABLE journey.person_wish (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    kind text NOT NULL,               -- erase, restrict, unrestrict; find
    try_at timestamptz NOT NULL,
    xact xid8 NOT NULL,
    erasure_id uuid,
    PRIMARY KEY (bucket, profile_id, kind)
);
CREATE INDEX person_wish_due ON journey.person_wish (try_at);
-- per profile
CREATE TABLE journey.profile (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    class text NOT NULL,              -- person or session: the strongest namespace it has
    confidence double precision NOT NULL,
    traits jsonb NOT NULL DEFAULT '{}',
    zone text,
    locale text,
    restricted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id)
) WITH (fillfactor = 90);
CREATE TABLE journey.test_profile (   -- apart from profile, whose rows the laps write
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    marked_by text NOT NULL,
    marked_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id)
);
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
CREATE INDEX event_ticket ON journey.event (bucket, profile_id) WHERE type IN ('ticket_opened', 'ticket_closed');
CREATE INDEX event_return ON journey.event (bucket, profile_id) WHERE type IN ('return_requested', 'return_received', 'order_line_returned');
CREATE TABLE journey.session (        -- visits
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    session_id text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    first_referrer text,
    first_at timestamptz,
    first_seq bigint,
    last_referrer text,
    last_at timestamptz,
    last_seq bigint,
    PRIMARY KEY (bucket, profile_id, session_id)
) WITH (fillfactor = 80);
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
    unread boolean NOT NULL DEFAULT false,  -- by the lap, which takes it to consent
    PRIMARY KEY (bucket, profile_id, scope, channel, purpose, recorded_at, seq)
);
CREATE INDEX consent_history_unread ON journey.consent_history (bucket, profile_id) WHERE unread;
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
CREATE INDEX contact_point_address ON journey.contact_point (address_hash, channel);
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
    linked boolean NOT NULL DEFAULT false,-- stops the matched ones alone
    until timestamptz,                -- null = no end
    note text,                        -- manual ones: who asked, and why
    released_by bigint,               -- seq of the release
    released_at timestamptz,
    released_xact xid8,
    unread boolean NOT NULL DEFAULT false,  -- by the lap, which takes people out of audiences
    original_id uuid,                 -- who it was said of, when merged since
    PRIMARY KEY (bucket, profile_id, seq, type, linked)
);
CREATE INDEX suppression_unread ON journey.suppression (bucket, profile_id) WHERE unread;
CREATE INDEX suppression_lap ON journey.suppression (lap);
CREATE INDEX suppression_manual ON journey.suppression (bucket, profile_id) WHERE type = 'manual';

COMMENT ON TABLE journey.event_type IS 'Event types: the vocabulary, and every other type that was ever seen.';
COMMENT ON COLUMN journey.event_type.type IS 'Canonical name.';
COMMENT ON COLUMN journey.event_type.known IS 'False: seen, but not in the vocabulary.';
COMMENT ON COLUMN journey.event_type.stage IS 'Stage of the customers journey that it speaks of; null = none.';
COMMENT ON COLUMN journey.event_type.meaning IS 'What it says, and its typed properties.';
COMMENT ON COLUMN journey.event_type.seen IS 'Events of this type so far.';
COMMENT ON COLUMN journey.event_type.first_at IS 'When the first was taken in, by journey.clock().';
COMMENT ON COLUMN journey.event_type.last_at IS 'When the latest was taken in.';
COMMENT ON TABLE journey.system IS 'The eight kinds of retail systems that sources belong to.';
COMMENT ON COLUMN journey.system.system IS 'Name.';
COMMENT ON COLUMN journey.system.meaning IS 'What such a system knows.';
COMMENT ON TABLE journey.source_of_truth IS 'Which source is the truth for each of the five signals, and who else writes it.';
COMMENT ON COLUMN journey.source_of_truth.signal IS 'identity, orders, inventory, consent or eligibility.';
COMMENT ON COLUMN journey.source_of_truth.source IS 'The declared source; null = nobody declared one.';
COMMENT ON COLUMN journey.source_of_truth.declared_by IS 'Role that declared it.';
COMMENT ON COLUMN journey.source_of_truth.declared_at IS 'When it was declared.';
COMMENT ON COLUMN journey.source_of_truth.second_writer IS 'Another source last seen writing the signal.';
COMMENT ON COLUMN journey.source_of_truth.second_at IS 'When it was last seen.';
COMMENT ON COLUMN journey.source_of_truth.second_count IS 'How often since the declaration.';
COMMENT ON TABLE journey.source IS 'Sources: what each sent, and how fresh it is.';
COMMENT ON COLUMN journey.source.source IS 'Name, as events carry it.';
COMMENT ON COLUMN journey.source.system IS 'Kind of system, of journey.system; null = not said.';
COMMENT ON COLUMN journey.source.scope IS 'Scope that its events get.';
COMMENT ON COLUMN journey.source.trusted IS 'False: anybody can send it, such as a browser; it links no keys, states no address and grants no consent.';
COMMENT ON COLUMN journey.source.events IS 'Events taken in so far.';
COMMENT ON COLUMN journey.source.last_event_at IS 'Greatest time that its events gave themselves.';
COMMENT ON COLUMN journey.source.last_received_at IS 'When the latest was received, real time.';
COMMENT ON COLUMN journey.source.max_lag IS 'Longest that may pass without an event before journey.health warns; null = no limit.';
COMMENT ON TABLE journey.namespace IS 'Namespaces of subject keys.';
COMMENT ON COLUMN journey.namespace.namespace IS 'Name, as subjects carry it.';
COMMENT ON COLUMN journey.namespace.class IS 'person, shared, group, session or object: only person and session keys name somebody.';
COMMENT ON COLUMN journey.namespace.rank IS 'The key of the highest rank speaks for the person.';
COMMENT ON COLUMN journey.namespace.crosses_scopes IS 'False: the same value in another scope is another key.';
COMMENT ON COLUMN journey.namespace.confidence IS 'How surely a key of this kind names one person, 0 to 1.';
COMMENT ON COLUMN journey.namespace.merges IS 'Whether a key of this namespace that two people turn out to share makes them one; false: they are linked, and stay two.';
COMMENT ON COLUMN journey.namespace.one_per_person IS 'Whether a person has at most one key of it: two people who have different ones are not merged by what an event says.';
COMMENT ON COLUMN journey.namespace.meaning IS 'What it is.';
COMMENT ON TABLE journey.attachment IS 'Attached tables: what journey.attach() agreed on. Rows of detached tables stay, so that captured rows never lose their map.';
COMMENT ON COLUMN journey.attachment.attachment IS 'Number, as captured rows carry it.';
COMMENT ON COLUMN journey.attachment.rel_schema IS 'Schema of the table.';
COMMENT ON COLUMN journey.attachment.rel_name IS 'Name of the table.';
COMMENT ON COLUMN journey.attachment.kind IS 'customer, product, stock, cart, cart_line, order, order_line, consent or message_event.';
COMMENT ON COLUMN journey.attachment.source IS 'Source that its rows count as.';
COMMENT ON COLUMN journey.attachment.map IS 'Canonical field -> column.';
COMMENT ON COLUMN journey.attachment.columns IS 'Captured columns, in the order of inbox.cols.';
COMMENT ON COLUMN journey.attachment.spec IS 'What the trigger was given.';
COMMENT ON COLUMN journey.attachment.attached_by IS 'Role that attached it.';
COMMENT ON COLUMN journey.attachment.attached_at IS 'When.';
COMMENT ON COLUMN journey.attachment.backfilled_at IS 'When its existing rows had all been read; null = not yet.';
COMMENT ON COLUMN journey.attachment.broken IS 'Why the map no longer fits the table, or why the stock in it cannot be read; null = neither.';
COMMENT ON COLUMN journey.attachment.detached_at IS 'When it was detached; null = attached.';
COMMENT ON TABLE journey.quarantine IS 'Messages and rows that could not be taken, with the reason and the original.';
COMMENT ON COLUMN journey.quarantine.quarantine_id IS 'Id, by time.';
COMMENT ON COLUMN journey.quarantine.received_at IS 'When it was received, real time.';
COMMENT ON COLUMN journey.quarantine.origin IS 'ingest, track, capture, copy or worker.';
COMMENT ON COLUMN journey.quarantine.source IS 'Source, when it is known.';
COMMENT ON COLUMN journey.quarantine.sqlstate IS 'Class of the error.';
COMMENT ON COLUMN journey.quarantine.reason IS 'What is wrong with it.';
COMMENT ON COLUMN journey.quarantine.original IS 'As received, when it is json; of a captured row, what is known about it.';
COMMENT ON COLUMN journey.quarantine.original_text IS 'As received, otherwise; of a captured row, its columns.';
COMMENT ON COLUMN journey.quarantine.replayed_at IS 'When it was taken after all; null = not yet.';
COMMENT ON TABLE journey.early_message IS 'Message events that name their message by a provider reference which no sender has told yet. They take effect once it is known, and are given up after a day.';
COMMENT ON COLUMN journey.early_message.early_id IS 'Id, by time.';
COMMENT ON COLUMN journey.early_message.provider_ref IS 'The provider''s name for the message.';
COMMENT ON COLUMN journey.early_message.look_at IS 'When it is looked for again, by journey.clock().';
COMMENT ON COLUMN journey.early_message.kept_at IS 'Since when it waits, by journey.clock().';
COMMENT ON COLUMN journey.early_message.source IS 'Source that sent it.';
COMMENT ON COLUMN journey.early_message.scope IS 'Scope of the source.';
COMMENT ON COLUMN journey.early_message.type IS 'message_bounced, message_opened ...';
COMMENT ON COLUMN journey.early_message.message_id IS 'Id of the event at its source.';
COMMENT ON COLUMN journey.early_message.occurred_at IS 'When it happened.';
COMMENT ON COLUMN journey.early_message.backfill IS 'Read by back-fill: state yes, enroll never.';
COMMENT ON COLUMN journey.early_message.props IS 'Properties of the event.';
COMMENT ON COLUMN journey.early_message.test IS 'Taken under the test clock.';
COMMENT ON TABLE journey.early_opt_out IS 'Opt-outs of events that had to be set aside, by keys that name nobody yet. Whoever gets such a key takes them over as consents.';
COMMENT ON COLUMN journey.early_opt_out.bucket IS 'Bucket of the key''s hash.';
COMMENT ON COLUMN journey.early_opt_out.key_hash IS 'journey.key_hash(namespace, value) of a key of the event.';
COMMENT ON COLUMN journey.early_opt_out.seq IS 'Inbox row of the event.';
COMMENT ON COLUMN journey.early_opt_out.scope IS 'Scope of the source.';
COMMENT ON COLUMN journey.early_opt_out.channel IS 'Channel; * = every one.';
COMMENT ON COLUMN journey.early_opt_out.purpose IS 'Purpose.';
COMMENT ON COLUMN journey.early_opt_out.state IS 'revoked or complained.';
COMMENT ON COLUMN journey.early_opt_out.source IS 'Source that sent it.';
COMMENT ON COLUMN journey.early_opt_out.at IS 'When it was said.';
COMMENT ON TABLE journey.product IS 'The catalogue, as rows and events describe it.';
COMMENT ON COLUMN journey.product.sku IS 'Stock keeping unit.';
COMMENT ON COLUMN journey.product.name IS 'Name.';
COMMENT ON COLUMN journey.product.category IS 'Category.';
COMMENT ON COLUMN journey.product.class IS 'essential or considered.';
COMMENT ON COLUMN journey.product.replenishable IS 'Used up and bought again.';
COMMENT ON COLUMN journey.product.replenish_after IS 'How long one lasts.';
COMMENT ON COLUMN journey.product.price IS 'Price.';
COMMENT ON COLUMN journey.product.cost IS 'Cost to the shop.';
COMMENT ON COLUMN journey.product.currency IS 'Currency of price and cost.';
COMMENT ON COLUMN journey.product.available IS 'What was in stock when last seen; decisions and permits read the live table where one is attached.';
COMMENT ON COLUMN journey.product.traits IS 'Further columns of the map.';
COMMENT ON COLUMN journey.product.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.event_key IS 'Messages seen within journey.dedupe_window: a repeated one takes no effect.';
COMMENT ON COLUMN journey.event_key.bucket IS 'Bucket of the hash.';
COMMENT ON COLUMN journey.event_key.hash IS 'Id made of source and message id.';
COMMENT ON COLUMN journey.event_key.received_at IS 'When it was first taken in, by journey.clock().';
COMMENT ON COLUMN journey.event_key.test IS 'Taken in under the test clock.';
COMMENT ON TABLE journey.identity IS 'Keys and the people they name.';
COMMENT ON COLUMN journey.identity.bucket IS 'Bucket of the keys hash, not of the person.';
COMMENT ON COLUMN journey.identity.key_hash IS 'journey.key_hash(namespace, value).';
COMMENT ON COLUMN journey.identity.namespace IS 'Namespace of the key.';
COMMENT ON COLUMN journey.identity.value IS 'Value, normalised; of carts and orders with the scope in front.';
COMMENT ON COLUMN journey.identity.profile_bucket IS 'Bucket of the person.';
COMMENT ON COLUMN journey.identity.profile_id IS 'The person.';
COMMENT ON COLUMN journey.identity.confidence IS 'How surely it names the person.';
COMMENT ON COLUMN journey.identity.method IS 'created (the persons id is made of it), deterministic (came with a known key) or asserted.';
COMMENT ON COLUMN journey.identity.source IS 'Source that brought it.';
COMMENT ON COLUMN journey.identity.since IS 'When it was linked, by journey.clock().';
COMMENT ON TABLE journey.profile_link IS 'People whom an event named together, in both directions. They are not merged; what ends the actions of one ends those of the other.';
COMMENT ON COLUMN journey.profile_link.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.profile_link.profile_id IS 'The person.';
COMMENT ON COLUMN journey.profile_link.other_bucket IS 'Bucket of the other.';
COMMENT ON COLUMN journey.profile_link.other_id IS 'Whom the event named as well.';
COMMENT ON COLUMN journey.profile_link.strong IS 'By keys that are both a person''s own: links of the other count, too. Else they met in a browser, a device, a cart or an order.';
COMMENT ON COLUMN journey.profile_link.source IS 'Source of the event.';
COMMENT ON COLUMN journey.profile_link.since IS 'When it was consumed, by journey.clock().';
COMMENT ON COLUMN journey.profile_link.link_xact IS 'Transaction that wrote the event.';
COMMENT ON COLUMN journey.profile_link.incarnation IS 'Life of the cluster that the transaction id belongs to.';
COMMENT ON TABLE journey.profile_alias IS 'Ids of people who have been merged into another: whoever still holds such an id, as an old unsubscribe link does, means the other.';
COMMENT ON COLUMN journey.profile_alias.bucket IS 'Bucket of the id that was given up.';
COMMENT ON COLUMN journey.profile_alias.profile_id IS 'The id that was given up.';
COMMENT ON COLUMN journey.profile_alias.into_bucket IS 'Bucket of the person it stands for.';
COMMENT ON COLUMN journey.profile_alias.into_id IS 'The person it stands for, however many merges away.';
COMMENT ON TABLE journey.merge_wish IS 'Two people whom an event, or somebody by hand, has said to be one: the next lap merges them. A wish that was refused stays, so that it is not looked into again.';
COMMENT ON COLUMN journey.merge_wish.bucket IS 'Bucket of the one with the smaller id; of an undo, of the person who has it all.';
COMMENT ON COLUMN journey.merge_wish.profile_id IS 'The one with the smaller id; of an undo, the person who has it all.';
COMMENT ON COLUMN journey.merge_wish.other_bucket IS 'Bucket of the other.';
COMMENT ON COLUMN journey.merge_wish.other_id IS 'The other; of an undo, the id that was given up.';
COMMENT ON COLUMN journey.merge_wish.method IS 'deterministic (keys that came together), click (a link in a message) or asserted (said by alias events and merge()).';
COMMENT ON COLUMN journey.merge_wish.confidence IS 'Confidence that the two are one, 0 to 1.';
COMMENT ON COLUMN journey.merge_wish.keys IS 'Namespaces of the keys that say so.';
COMMENT ON COLUMN journey.merge_wish.source IS 'Source that says so, or the role.';
COMMENT ON COLUMN journey.merge_wish.since IS 'When it was said, by journey.clock().';
COMMENT ON COLUMN journey.merge_wish.link_xact IS 'Transaction that said so.';
COMMENT ON COLUMN journey.merge_wish.incarnation IS 'Life of the cluster that the transaction id belongs to.';
COMMENT ON COLUMN journey.merge_wish.try_at IS 'When a lap tries (again), by journey.clock(): a sender that has one of their messages at this moment is not waited for. Null = refused.';
COMMENT ON COLUMN journey.merge_wish.refused IS 'Why they are not merged, or not yet; null = nothing was tried.';
COMMENT ON COLUMN journey.merge_wish.undo IS 'The merge that is to be undone; null = two people are to be merged.';
COMMENT ON TABLE journey.merge_log IS 'Every merge of two people, and whether it was undone; journey.unmerge() undoes one.';
COMMENT ON COLUMN journey.merge_log.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.merge_log.profile_id IS 'The person who has it all now: into_id, or whoever that was merged into since.';
COMMENT ON COLUMN journey.merge_log.merge_id IS 'Id, by time.';
COMMENT ON COLUMN journey.merge_log.from_bucket IS 'Bucket of the id that was given up.';
COMMENT ON COLUMN journey.merge_log.from_id IS 'The id that was given up.';
COMMENT ON COLUMN journey.merge_log.into_bucket IS 'Bucket of the id that took it over.';
COMMENT ON COLUMN journey.merge_log.into_id IS 'The id that took it over.';
COMMENT ON COLUMN journey.merge_log.method IS 'deterministic, click or asserted.';
COMMENT ON COLUMN journey.merge_log.confidence IS 'Confidence that the two are one, 0 to 1.';
COMMENT ON COLUMN journey.merge_log.keys IS 'Namespaces of the keys that said so.';
COMMENT ON COLUMN journey.merge_log.source IS 'Source that said so, or the role.';
COMMENT ON COLUMN journey.merge_log.merged_at IS 'When, by journey.clock().';
COMMENT ON COLUMN journey.merge_log.link_xact IS 'Transaction of the event that said so: from it on what either does ends messages of both.';
COMMENT ON COLUMN journey.merge_log.merge_xact IS 'Transaction of the merge: from it on caps count the messages of both.';
COMMENT ON COLUMN journey.merge_log.incarnation IS 'Life of the cluster that the transaction ids belong to.';
COMMENT ON COLUMN journey.merge_log.undone_at IS 'When it was undone, by journey.clock(); null = it stands.';
COMMENT ON COLUMN journey.merge_log.undone_by IS 'Role that asked for it.';
COMMENT ON TABLE journey.merge_row IS 'What a merge moved and what it made one, table by table: unmerge() takes it apart again by this.';
COMMENT ON COLUMN journey.merge_row.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.merge_row.profile_id IS 'The person who has it all now.';
COMMENT ON COLUMN journey.merge_row.merge_id IS 'The merge.';
COMMENT ON COLUMN journey.merge_row.name IS 'Table.';
COMMENT ON COLUMN journey.merge_row.keys IS 'Keys of the rows that moved: [[value, ...], ...] in the order of the primary key, bucket and person left out.';
COMMENT ON COLUMN journey.merge_row.twins IS 'Rows of the id that was given up for which the other had one of the same key, as they were.';
COMMENT ON COLUMN journey.merge_row.was IS 'Rows of the other that the merge changed, as they were.';
COMMENT ON TABLE journey.forgotten IS 'By which keys erased people would be known again, as keyed digests that say nothing: what was captured before the erasure is dropped, and whoever comes back under one of them gets no message but transactional ones.';
COMMENT ON COLUMN journey.forgotten.bucket IS 'Bucket of the digest: its first ten bits.';
COMMENT ON COLUMN journey.forgotten.digest IS 'HMAC-SHA256 of namespace and value under the secret "forget" of this database.';
COMMENT ON COLUMN journey.forgotten.seq IS 'Order of capture of the erasure.';
COMMENT ON COLUMN journey.forgotten.forgotten_at IS 'When, by journey.clock().';
COMMENT ON COLUMN journey.forgotten.erasure_id IS 'The erasure.';
COMMENT ON TABLE journey.erasure IS 'The proof of each erasure: who asked for it, when it was done and how many rows of which table it deleted. Names nobody.';
COMMENT ON COLUMN journey.erasure.erasure_id IS 'Id, by time; erase() returns it.';
COMMENT ON COLUMN journey.erasure.asked_by IS 'Role that called erase().';
COMMENT ON COLUMN journey.erasure.asked_at IS 'When, by journey.clock().';
COMMENT ON COLUMN journey.erasure.reason IS 'Why, in the words of whoever asked; write nothing there that names the person.';
COMMENT ON COLUMN journey.erasure.keys IS 'How many keys are remembered as digests.';
COMMENT ON COLUMN journey.erasure.erased_at IS 'When everything was deleted, by journey.clock(); null = not yet.';
COMMENT ON COLUMN journey.erasure.subject IS 'Whom to look for, when nobody was known by it: until a lap has read what was captured before; then null.';
COMMENT ON COLUMN journey.erasure.rows IS 'Rows deleted, by table.';
COMMENT ON TABLE journey.person_wish IS 'What is to be done with a person at the end of a lap: erase(), restrict().';
COMMENT ON COLUMN journey.person_wish.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.person_wish.profile_id IS 'The person; the erasure, of find.';
COMMENT ON COLUMN journey.person_wish.kind IS 'erase, restrict or unrestrict; find: who is to be erased and was known to nobody when it was asked.';
COMMENT ON COLUMN journey.person_wish.try_at IS 'When a lap tries (again), by journey.clock().';
COMMENT ON COLUMN journey.person_wish.xact IS 'Transaction that asked: what it captured is consumed first.';
COMMENT ON COLUMN journey.person_wish.erasure_id IS 'The proof of an erasure; null for others.';
COMMENT ON TABLE journey.profile IS 'People, and sessions of whom nothing more is known.';
COMMENT ON COLUMN journey.profile.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.profile.profile_id IS 'Id, made of the strongest key at creation.';
COMMENT ON COLUMN journey.profile.class IS 'person, or session while only session keys are known.';
COMMENT ON COLUMN journey.profile.confidence IS 'Confidence of the strongest key.';
COMMENT ON COLUMN journey.profile.traits IS 'What customer rows and identified events say.';
COMMENT ON COLUMN journey.profile.zone IS 'Time zone; null = unknown.';
COMMENT ON COLUMN journey.profile.locale IS 'Locale; null = unknown.';
COMMENT ON COLUMN journey.profile.restricted IS 'The person asked that their data rest: nothing is sent.';
COMMENT ON COLUMN journey.profile.created_at IS 'When first seen, by journey.clock().';
COMMENT ON COLUMN journey.profile.changed_at IS 'When last changed.';
COMMENT ON TABLE journey.test_profile IS 'Test profiles, as mark_test() says: in mode sandbox only these are contacted.';
COMMENT ON COLUMN journey.test_profile.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.test_profile.profile_id IS 'The person.';
COMMENT ON COLUMN journey.test_profile.marked_by IS 'Role that marked it.';
COMMENT ON COLUMN journey.test_profile.marked_at IS 'When, by journey.clock().';
COMMENT ON TABLE journey.profile_state IS 'What follows from a persons events; written once per lap.';
COMMENT ON COLUMN journey.profile_state.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.profile_state.profile_id IS 'The person.';
COMMENT ON COLUMN journey.profile_state.stage IS 'Main stage.';
COMMENT ON COLUMN journey.profile_state.features IS 'Feature values, packed; journey.features() shows them.';
COMMENT ON COLUMN journey.profile_state.last_event_at IS 'Greatest time of an event.';
COMMENT ON COLUMN journey.profile_state.last_order_at IS 'Greatest time of a placed order that was not cancelled.';
COMMENT ON COLUMN journey.profile_state.orders IS 'Placed orders that were not cancelled.';
COMMENT ON COLUMN journey.profile_state.events IS 'Events so far.';
COMMENT ON TABLE journey.event IS 'The event log.';
COMMENT ON COLUMN journey.event.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.event.profile_id IS 'The person.';
COMMENT ON COLUMN journey.event.received_at IS 'journey.clock() at consumption; the partition key.';
COMMENT ON COLUMN journey.event.event_id IS 'Id, by time.';
COMMENT ON COLUMN journey.event.seq IS 'Order of capture on this node.';
COMMENT ON COLUMN journey.event.type IS 'Canonical type.';
COMMENT ON COLUMN journey.event.occurred_at IS 'When it happened, as its source says.';
COMMENT ON COLUMN journey.event.source IS 'Source.';
COMMENT ON COLUMN journey.event.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.event.message_id IS 'Id at the source; null = none.';
COMMENT ON COLUMN journey.event.props IS 'Properties under canonical names.';
COMMENT ON COLUMN journey.event.backfill IS 'Happened before journey listened: changes state, enrolls nobody.';
COMMENT ON COLUMN journey.event.late IS 'Older than journey.max_event_age when received: changes state, enrolls nobody.';
COMMENT ON COLUMN journey.event.test IS 'Made under the test clock.';
COMMENT ON COLUMN journey.event.lap IS 'Lap that took it in.';
COMMENT ON TABLE journey.event_default IS 'Events outside every partition by time.';
COMMENT ON COLUMN journey.event_default.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.event_default.profile_id IS 'The person.';
COMMENT ON COLUMN journey.event_default.received_at IS 'journey.clock() at consumption; the partition key.';
COMMENT ON COLUMN journey.event_default.event_id IS 'Id, by time.';
COMMENT ON COLUMN journey.event_default.seq IS 'Order of capture on this node.';
COMMENT ON COLUMN journey.event_default.type IS 'Canonical type.';
COMMENT ON COLUMN journey.event_default.occurred_at IS 'When it happened, as its source says.';
COMMENT ON COLUMN journey.event_default.source IS 'Source.';
COMMENT ON COLUMN journey.event_default.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.event_default.message_id IS 'Id at the source; null = none.';
COMMENT ON COLUMN journey.event_default.props IS 'Properties under canonical names.';
COMMENT ON COLUMN journey.event_default.backfill IS 'Happened before journey listened: changes state, enrolls nobody.';
COMMENT ON COLUMN journey.event_default.late IS 'Older than journey.max_event_age when received: changes state, enrolls nobody.';
COMMENT ON COLUMN journey.event_default.test IS 'Made under the test clock.';
COMMENT ON COLUMN journey.event_default.lap IS 'Lap that took it in.';
COMMENT ON TABLE journey.session IS 'Visits that events tell of: session_started, and those that carry session_id and referrer.';
COMMENT ON COLUMN journey.session.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.session.profile_id IS 'The visitor.';
COMMENT ON COLUMN journey.session.session_id IS 'Id at the source.';
COMMENT ON COLUMN journey.session.started_at IS 'Least time of such an event.';
COMMENT ON COLUMN journey.session.seen_at IS 'Greatest time of such an event.';
COMMENT ON COLUMN journey.session.first_referrer IS 'Page that the visit came from first; null = none was told.';
COMMENT ON COLUMN journey.session.first_at IS 'When it was told.';
COMMENT ON COLUMN journey.session.first_seq IS 'Order of capture of that event.';
COMMENT ON COLUMN journey.session.last_referrer IS 'The one that was told last.';
COMMENT ON COLUMN journey.session.last_at IS 'When it was told.';
COMMENT ON COLUMN journey.session.last_seq IS 'Order of capture of that event.';
COMMENT ON TABLE journey.consent IS 'What each person agreed to: the present state. No row means not agreed.';
COMMENT ON COLUMN journey.consent.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.consent.profile_id IS 'The person.';
COMMENT ON COLUMN journey.consent.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.consent.channel IS 'Channel.';
COMMENT ON COLUMN journey.consent.purpose IS 'Purpose, such as marketing.';
COMMENT ON COLUMN journey.consent.state IS 'unknown, pending, granted, denied, revoked, bounced or complained.';
COMMENT ON COLUMN journey.consent.basis IS 'consent, contract, legitimate_interest or soft_opt_in.';
COMMENT ON COLUMN journey.consent.source IS 'Source of the statement.';
COMMENT ON COLUMN journey.consent.proof IS 'What proves it.';
COMMENT ON COLUMN journey.consent.at IS 'When it was stated.';
COMMENT ON COLUMN journey.consent.expires_at IS 'When it ends by itself; null = never.';
COMMENT ON TABLE journey.consent_history IS 'Every statement about consent, whether it stood or not.';
COMMENT ON COLUMN journey.consent_history.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.consent_history.profile_id IS 'The person.';
COMMENT ON COLUMN journey.consent_history.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.consent_history.channel IS 'Channel.';
COMMENT ON COLUMN journey.consent_history.purpose IS 'Purpose.';
COMMENT ON COLUMN journey.consent_history.recorded_at IS 'journey.clock() when it was recorded.';
COMMENT ON COLUMN journey.consent_history.seq IS 'Order of capture.';
COMMENT ON COLUMN journey.consent_history.state IS 'What was stated.';
COMMENT ON COLUMN journey.consent_history.basis IS 'Legal basis.';
COMMENT ON COLUMN journey.consent_history.source IS 'Source of the statement.';
COMMENT ON COLUMN journey.consent_history.proof IS 'What proves it.';
COMMENT ON COLUMN journey.consent_history.at IS 'When it was stated.';
COMMENT ON COLUMN journey.consent_history.expires_at IS 'When it ends by itself; null = never.';
COMMENT ON COLUMN journey.consent_history.unread IS 'Said through unsubscribe() or set_preferences(); the next lap takes it to journey.consent. Permits heed what was taken back all the same.';
COMMENT ON TABLE journey.contact_point IS 'Addresses of people. What became of an address stays with it; a new one starts fresh.';
COMMENT ON COLUMN journey.contact_point.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.contact_point.profile_id IS 'The person.';
COMMENT ON COLUMN journey.contact_point.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.contact_point.channel IS 'Channel: email, sms, push ...';
COMMENT ON COLUMN journey.contact_point.address IS 'Address, normalised.';
COMMENT ON COLUMN journey.contact_point.address_hash IS 'journey.key_hash() of the address: the lock under which two people with one address get one message.';
COMMENT ON COLUMN journey.contact_point.state IS 'active, soft, hard, complained, unverified, test or replaced (the person has another now).';
COMMENT ON COLUMN journey.contact_point.since IS 'When it was stated.';
COMMENT ON COLUMN journey.contact_point.changed_at IS 'When its state last changed.';
COMMENT ON COLUMN journey.contact_point.reason IS 'Why, as the provider says.';
COMMENT ON TABLE journey.suppression IS 'What ends actions: consumed fences, opt-outs and manual suppressions.';
COMMENT ON COLUMN journey.suppression.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.suppression.profile_id IS 'The person.';
COMMENT ON COLUMN journey.suppression.seq IS 'Order of capture of what caused it.';
COMMENT ON COLUMN journey.suppression.type IS 'Event type, or manual.';
COMMENT ON COLUMN journey.suppression.ref IS 'Object that the event is about, such as order:42; empty = none.';
COMMENT ON COLUMN journey.suppression.scope IS 'Scope it holds in; * = every.';
COMMENT ON COLUMN journey.suppression.channel IS 'Of an opt-out; * = every.';
COMMENT ON COLUMN journey.suppression.purpose IS 'Of an opt-out; * = every.';
COMMENT ON COLUMN journey.suppression.reason IS 'Reason code that a refused permit answers.';
COMMENT ON COLUMN journey.suppression.occurred_at IS 'When the event happened.';
COMMENT ON COLUMN journey.suppression.effective_at IS 'journey.clock() when it was consumed.';
COMMENT ON COLUMN journey.suppression.fence_xact IS 'Transaction that wrote the fence; null = manual.';
COMMENT ON COLUMN journey.suppression.incarnation IS 'Life of the cluster that the transaction id belongs to.';
COMMENT ON COLUMN journey.suppression.lap IS 'Lap that consumed it: actions decided before it are stopped.';
COMMENT ON COLUMN journey.suppression.matched IS 'Enrollments whose match expression held.';
COMMENT ON COLUMN journey.suppression.linked IS 'The event names somebody with whom another event has linked this person; it ends the enrollments in matched, and no others.';
COMMENT ON COLUMN journey.suppression.until IS 'When it ends; null = never.';
COMMENT ON COLUMN journey.suppression.note IS 'Of a manual one: who asked for it, and why.';
COMMENT ON COLUMN journey.suppression.released_by IS 'Order of capture of what took it back; null = nothing.';
COMMENT ON COLUMN journey.suppression.released_at IS 'When it was taken back.';
COMMENT ON COLUMN journey.suppression.released_xact IS 'Transaction that took it back; null when that was done by hand or in another incarnation.';
COMMENT ON COLUMN journey.suppression.original_id IS 'Of whom it was said, when that person has been merged into another since; null = profile_id.';
COMMENT ON COLUMN journey.suppression.unread IS 'Written beside the laps: the next one takes the person out of audiences. Permits heed it all the same.';
