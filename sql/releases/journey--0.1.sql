\echo Use "CREATE EXTENSION journey" to load this file. \quit

-- core/00_schema.sql

CREATE SCHEMA journey;
COMMENT ON SCHEMA journey IS
    'Customer journeys inside the database: capture, interpretation, orchestration, delivery and measurement.';

-- Roles belong to the cluster, not to the extension: made when absent, kept when the extension goes.
DO $roles$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT *
        FROM (VALUES
            ('journey_owner',    'owns the schema journey and its data; nobody logs in as it'),
            ('journey_app',      'may send events: track, ingest'),
            ('journey_sender',   'may claim actions, get permits and report outcomes'),
            ('journey_analyst',  'may read decisions, funnels and reports without addresses'),
            ('journey_author',   'may write, lint and preview drafts'),
            ('journey_approver', 'may activate drafts of others, pause and resume'),
            ('journey_admin',    'may do everything the extension offers'),
            ('journey_monitor',  'may read health and metrics')) AS t(name, what)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) r.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r.name);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', r.name, 'journey: ' OPERATOR(pg_catalog.||) r.what);
        END IF;
    END LOOP;
END
$roles$;

-- core/10_hash.sql

CREATE FUNCTION journey.hash64(data bytea, seed bigint DEFAULT 0) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_hash64';
COMMENT ON FUNCTION journey.hash64(bytea, bigint) IS
    'The frozen hash, version 1: FNV-1a 64 (offset basis xor seed) finished with fmix64 of MurmurHash3. Same bytes, same number, on every platform and major version.';

CREATE FUNCTION journey.key_hash(namespace text, value text) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_key_hash';
COMMENT ON FUNCTION journey.key_hash(text, text) IS
    'Hash of a subject key: of namespace, a zero byte and the normalised value. Null when the value is blank.';

CREATE FUNCTION journey.normalise(namespace text, value text) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_normalise';
COMMENT ON FUNCTION journey.normalise(text, text) IS
    'The spelling under which a key is known: outer white space removed, e-mail addresses in ASCII lower case. Null when blank. Frozen together with hash64.';

CREATE FUNCTION journey.bucket(profile_id uuid) RETURNS smallint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_bucket';
COMMENT ON FUNCTION journey.bucket(uuid) IS
    'Bucket of a profile, 0 to 1023: the top ten bits of hash64 of the 16 bytes of its id. Leads every key of every per-profile table.';

CREATE FUNCTION journey.assign(salt text, unit uuid) RETURNS double precision
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_assign';
COMMENT ON FUNCTION journey.assign(text, uuid) IS
    'Place of a unit on the line from 0 to 1 (exclusive) that experiment arms divide: the top 53 bits of the hash of salt, a zero byte and the 16 bytes of the unit''s id. A unit is in the first p of the line when the result is below p, so raising p moves nobody out.';

CREATE FUNCTION journey.uuid_v7() RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_uuid_v7';
COMMENT ON FUNCTION journey.uuid_v7() IS
    'A new time-ordered id (RFC 9562, version 7), by the real clock even under the test clock.';

-- core/20_node.sql

CREATE TABLE journey.node (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    mode text NOT NULL DEFAULT 'off' CHECK (mode IN ('off', 'test', 'sandbox', 'live')),
    incarnation integer NOT NULL DEFAULT 0,
    system_identifier text NOT NULL DEFAULT '',
    database_oid text NOT NULL DEFAULT '',
    adopted_xid xid8,
    site text NOT NULL DEFAULT '',
    test_clock timestamptz,
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 50);
INSERT INTO journey.node DEFAULT VALUES;
COMMENT ON TABLE journey.node IS
    'The state of this node, one row, never dumped: the first of the two keys that let a database contact customers, and the clock.';
COMMENT ON COLUMN journey.node.one IS 'Always true: there is one row.';
COMMENT ON COLUMN journey.node.mode IS 'off, test, sandbox or live, as asked for; journey.mode() says what holds.';
COMMENT ON COLUMN journey.node.incarnation IS 'The life of the cluster to which stored transaction ids belong; 0 before adopt().';
COMMENT ON COLUMN journey.node.system_identifier IS 'System identifier of the adopted cluster.';
COMMENT ON COLUMN journey.node.database_oid IS 'Oid of the adopted database, as text.';
COMMENT ON COLUMN journey.node.adopted_xid IS 'Transaction of the last adopt(), attach() or reconcile() that read something of the shop''s tables: until the cursor has passed it, permits that an order could end answer stale_data. Null = none has.';
COMMENT ON COLUMN journey.node.site IS 'Value of the setting journey.site when the database was adopted.';
COMMENT ON COLUMN journey.node.test_clock IS 'The test clock; null = real time.';
COMMENT ON COLUMN journey.node.changed_at IS 'When this row last changed, real time.';

CREATE FUNCTION journey.clock() RETURNS timestamptz
    LANGUAGE C STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_clock';
COMMENT ON FUNCTION journey.clock() IS
    'The one clock: real time, or the test clock set by set_clock().';

CREATE FUNCTION journey.mode() RETURNS text
    LANGUAGE C STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_mode';
COMMENT ON FUNCTION journey.mode() IS
    'What this database may do now: off (nothing claimable), test, sandbox (only test profiles are contacted) or live. Off whenever one of the two keys does not fit.';

CREATE FUNCTION journey._node_state() RETURNS text
    LANGUAGE C STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_node_state';
COMMENT ON FUNCTION journey._node_state() IS
    'adopted, or the reason why this database is silent and inert.';

-- core/30_incident.sql

CREATE FUNCTION journey._demand(given boolean, call text, hint text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF given IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = format('%s() was given null', call),
            HINT = _demand.hint;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._demand(boolean, text, text) IS
    'Raises 22004 unless the arguments that a call cannot do without were given.';

CREATE FUNCTION journey._incident(kind text, name text, severity text, message text, hint text, detail jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO journey.incident AS i
        (kind, name, severity, count, first_at, last_at, message, hint, detail)
    VALUES (_incident.kind, _incident.name, _incident.severity, 1, clock_timestamp(), clock_timestamp(),
            _incident.message, _incident.hint, _incident.detail)
    ON CONFLICT (kind, name) DO UPDATE
    SET count = i.count + 1, last_at = excluded.last_at, severity = excluded.severity,
        message = excluded.message, hint = excluded.hint, detail = excluded.detail, resolved_at = NULL;
END
$$;
COMMENT ON FUNCTION journey._incident(text, text, text, text, text, jsonb) IS
    'Records that something needs a person: one row per kind and name, counted.';

CREATE FUNCTION journey.resolve_incident(kind text, name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind = resolve_incident.kind AND i.name = resolve_incident.name AND i.resolved_at IS NULL;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION journey.resolve_incident(text, text) IS
    'Marks an incident as dealt with; false when there is none open. It opens again when it happens again.';

-- observe/10_inbox.sql

-- Node-local and never dumped: transaction ids mean nothing in another cluster.

-- By blocks that all backends share (shmem.c): nobody but _next_seq() calls nextval.
CREATE SEQUENCE journey.inbox_seq AS bigint INCREMENT 64 START 64 CACHE 1;
COMMENT ON SEQUENCE journey.inbox_seq IS
    'Order of capture on this node, by blocks of 64: rows of one object get their number under the shop''s own row lock, so it is their true order.';

-- No SET search_path: it runs for every row of a COPY and looks up nothing by it.
CREATE FUNCTION journey._next_seq() RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'journey_next_seq';
COMMENT ON FUNCTION journey._next_seq() IS 'The next number in the order of capture.';

-- One row per captured change or event. Never updated or deleted; emptied by
-- TRUNCATE, a generation at a time, when everybody is past it (rotate.c).
CREATE TABLE journey.inbox_0 (
    seq bigint NOT NULL DEFAULT journey._next_seq(),
    xact xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    received_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    op "char" NOT NULL DEFAULT 'e',
    source text,
    type text,
    occurred_at timestamptz,
    message_id text,
    subject jsonb,
    props jsonb,
    attachment integer,
    cols text[],
    fence "char",
    keys bigint[],
    ref text,
    scope text,
    hash_version smallint
) USING heap WITH (autovacuum_enabled = on, vacuum_truncate = off, toast.vacuum_truncate = off);
-- Two halves, so that the shop fills one index per row and permits read fences only.
CREATE INDEX inbox_0_xact ON journey.inbox_0 (xact) WITH (deduplicate_items = off) WHERE fence IS NULL;
CREATE INDEX inbox_0_fence ON journey.inbox_0 (xact) WITH (deduplicate_items = off) WHERE fence IS NOT NULL;
COMMENT ON TABLE journey.inbox_0 IS
    'A generation of the inbox: what was captured and not yet applied, and a while longer. Node-local, never dumped, never updated.';
COMMENT ON COLUMN journey.inbox_0.seq IS 'Order of capture on this node; rows are applied in this order.';
COMMENT ON COLUMN journey.inbox_0.xact IS 'Transaction that wrote the row (the top one, not a savepoint): decides whether it has been consumed.';
COMMENT ON COLUMN journey.inbox_0.received_at IS 'Real time of capture, even under the test clock.';
COMMENT ON COLUMN journey.inbox_0.op IS 'e event, b event sent with backfill, I U D T captured change, B row read by back-fill, f second fence of a captured row, a outcome of an action.';
COMMENT ON COLUMN journey.inbox_0.source IS 'System that says so.';
COMMENT ON COLUMN journey.inbox_0.type IS 'Event type; of a captured change, the type of its fence.';
COMMENT ON COLUMN journey.inbox_0.occurred_at IS 'When it happened, as said; null = when it was received.';
COMMENT ON COLUMN journey.inbox_0.message_id IS 'Id of the message at its source; repeated ones take effect once.';
COMMENT ON COLUMN journey.inbox_0.subject IS 'Whom it is about: an object namespace -> value.';
COMMENT ON COLUMN journey.inbox_0.props IS 'Properties of the event.';
COMMENT ON COLUMN journey.inbox_0.attachment IS 'journey.attachment whose map explains cols.';
COMMENT ON COLUMN journey.inbox_0.cols IS 'Captured values as text; the layout is in src/observe/capture.h.';
COMMENT ON COLUMN journey.inbox_0.fence IS 'f stops actions of its keys until consumed, r releases an earlier f of the same ref, l links its keys, b stops all; null = none.';
COMMENT ON COLUMN journey.inbox_0.keys IS 'Hashes of the subject keys and objects (journey.key_hash); of fenced rows only.';
COMMENT ON COLUMN journey.inbox_0.ref IS 'Object that it is about, as order:<id> or cart:<id>.';
COMMENT ON COLUMN journey.inbox_0.scope IS 'Scope of the source; null = default.';
COMMENT ON COLUMN journey.inbox_0.hash_version IS 'Version of the hash behind keys.';

CREATE TABLE journey.inbox_1 (LIKE journey.inbox_0 INCLUDING ALL EXCLUDING INDEXES) USING heap
    WITH (autovacuum_enabled = on, vacuum_truncate = off, toast.vacuum_truncate = off);
CREATE INDEX inbox_1_xact ON journey.inbox_1 (xact) WITH (deduplicate_items = off) WHERE fence IS NULL;
CREATE INDEX inbox_1_fence ON journey.inbox_1 (xact) WITH (deduplicate_items = off) WHERE fence IS NOT NULL;
CREATE TABLE journey.inbox_2 (LIKE journey.inbox_0 INCLUDING ALL EXCLUDING INDEXES) USING heap
    WITH (autovacuum_enabled = on, vacuum_truncate = off, toast.vacuum_truncate = off);
CREATE INDEX inbox_2_xact ON journey.inbox_2 (xact) WITH (deduplicate_items = off) WHERE fence IS NULL;
CREATE INDEX inbox_2_fence ON journey.inbox_2 (xact) WITH (deduplicate_items = off) WHERE fence IS NOT NULL;
COMMENT ON TABLE journey.inbox_1 IS 'A generation of the inbox, like inbox_0.';
COMMENT ON TABLE journey.inbox_2 IS 'A generation of the inbox, like inbox_0.';

-- Bulk loads: COPY journey.inbox_copy (source, type, occurred_at, message_id,
-- subject, props) FROM ... The defaults fill the rest. Nothing makes fences
-- here: an order that arrives so stops reminders from its consumption on.
CREATE TABLE journey.inbox_copy (LIKE journey.inbox_0 INCLUDING ALL EXCLUDING INDEXES) USING heap
    WITH (autovacuum_enabled = on, vacuum_truncate = off, toast.vacuum_truncate = off);
CREATE INDEX inbox_copy_xact ON journey.inbox_copy (xact) WITH (deduplicate_items = off);
COMMENT ON TABLE journey.inbox_copy IS
    'Landing table for COPY (source, type, occurred_at, message_id, subject, props). Rows make no fence: an order loaded so ends reminders once it has been consumed, not at its commit.';

-- Which generation writers use now; a stale reading does no harm.
CREATE TABLE journey.inbox_pointer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation integer NOT NULL DEFAULT 0,
    rotated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
INSERT INTO journey.inbox_pointer DEFAULT VALUES;
COMMENT ON TABLE journey.inbox_pointer IS 'Which generation of the inbox writers use; one row.';
COMMENT ON COLUMN journey.inbox_pointer.one IS 'Always true: there is one row.';
COMMENT ON COLUMN journey.inbox_pointer.generation IS 'Number of the current generation.';
COMMENT ON COLUMN journey.inbox_pointer.rotated_at IS 'Real time of the last rotation.';

-- Insert-only: every writer reads it without a snapshot.
CREATE TABLE journey.fenced_type (
    type text PRIMARY KEY,
    xact xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id()
);
COMMENT ON TABLE journey.fenced_type IS
    'Event types that documents list in suppress_on, beside those that are always fenced. Rows are added by apply() and never changed.';
COMMENT ON COLUMN journey.fenced_type.type IS 'Event type.';
COMMENT ON COLUMN journey.fenced_type.xact IS 'Transaction that added it.';

CREATE TABLE journey.fenced_since (
    type text PRIMARY KEY,
    next_xid xid8 NOT NULL,
    effective boolean NOT NULL
);
COMMENT ON TABLE journey.fenced_since IS 'Since when every writer marks a fenced type; kept by the consumer.';
COMMENT ON COLUMN journey.fenced_since.type IS 'Event type of journey.fenced_type.';
COMMENT ON COLUMN journey.fenced_since.next_xid IS 'Transactions from this id on know the type.';
COMMENT ON COLUMN journey.fenced_since.effective IS 'True once every earlier transaction has been consumed: the fence may be relied upon.';

-- How far the history of attached tables has been read: blocks and files are
-- those of this cluster alone, as the inbox is that they are read into.
CREATE TABLE journey.backfill (
    attachment integer NOT NULL,
    part oid NOT NULL,
    file oid NOT NULL,
    holds_permits boolean NOT NULL,
    again boolean NOT NULL DEFAULT false,
    blocks_total bigint NOT NULL,
    blocks_done bigint NOT NULL DEFAULT 0,
    rows_appended bigint NOT NULL DEFAULT 0,
    xact xid8,
    started_at timestamptz NOT NULL,
    problem text,
    retry_at timestamptz,
    later boolean NOT NULL DEFAULT false,
    PRIMARY KEY (attachment, part)
) WITH (fillfactor = 50);
CREATE INDEX backfill_holds ON journey.backfill (attachment) WHERE holds_permits;
COMMENT ON TABLE journey.backfill IS 'Attached tables whose history is being read by the laps, a row per table or partition; gone once all of it has been read and consumed. journey.stat_progress shows it.';
COMMENT ON COLUMN journey.backfill.attachment IS 'Number of the attachment.';
COMMENT ON COLUMN journey.backfill.part IS 'The table, or one of its partitions.';
COMMENT ON COLUMN journey.backfill.file IS 'The file that its blocks are those of: a table that has been rewritten is read again.';
COMMENT ON COLUMN journey.backfill.holds_permits IS 'Its rows could end an action: until they are consumed, permits that an event could end answer stale_data.';
COMMENT ON COLUMN journey.backfill.again IS 'Read again from the start, so that orders and carts whose status and people are known are left out.';
COMMENT ON COLUMN journey.backfill.blocks_total IS 'Blocks that it had when this began; what is written later fires the trigger.';
COMMENT ON COLUMN journey.backfill.blocks_done IS 'Blocks that have been read.';
COMMENT ON COLUMN journey.backfill.rows_appended IS 'Rows appended to the inbox.';
COMMENT ON COLUMN journey.backfill.xact IS 'Transaction of the last portion; null = none yet.';
COMMENT ON COLUMN journey.backfill.started_at IS 'When this began.';
COMMENT ON COLUMN journey.backfill.problem IS 'Why the last attempt to go on failed; null = it did not.';
COMMENT ON COLUMN journey.backfill.retry_at IS 'Not tried again before, real time.';
COMMENT ON COLUMN journey.backfill.later IS 'Not of the attach: a partition that came with rows, or is read again since another was truncated.';

CREATE TABLE journey.leaf (
    capture oid PRIMARY KEY
);
COMMENT ON TABLE journey.leaf IS 'Partitions of attached tables that have been seen: one that is not here has come since, and what it has is read.';
COMMENT ON COLUMN journey.leaf.capture IS 'Its capture trigger: a partition that was away and comes back has another.';

-- How far the inbox has been consumed: (previous snapshot, frozen window, last seq applied in it).
CREATE TABLE journey.cursor (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    incarnation integer NOT NULL DEFAULT 0,
    previous pg_snapshot,
    window_snapshot pg_snapshot,
    window_at timestamptz,
    window_seq bigint NOT NULL DEFAULT 0,
    applied_seq bigint NOT NULL DEFAULT 0,
    lap bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 20);
INSERT INTO journey.cursor DEFAULT VALUES;
COMMENT ON TABLE journey.cursor IS 'How far the inbox has been consumed; one row, moved in the same transaction as the effects.';
COMMENT ON COLUMN journey.cursor.one IS 'Always true: there is one row.';
COMMENT ON COLUMN journey.cursor.incarnation IS 'Life of the cluster to which the snapshots belong.';
COMMENT ON COLUMN journey.cursor.previous IS 'What is visible in it has been consumed.';
COMMENT ON COLUMN journey.cursor.window_snapshot IS 'The window being walked: what is visible in it and not in previous; null = none is open.';
COMMENT ON COLUMN journey.cursor.window_at IS 'Real time at which the open window was frozen.';
COMMENT ON COLUMN journey.cursor.window_seq IS 'Rows of the open window up to this seq have been applied.';
COMMENT ON COLUMN journey.cursor.applied_seq IS 'Greatest seq ever applied.';
COMMENT ON COLUMN journey.cursor.lap IS 'Number of the last lap.';
COMMENT ON COLUMN journey.cursor.moved_at IS 'Real time at which the last finished window was frozen: what had committed by then has been consumed.';

CREATE FUNCTION journey._invalidate(rel regclass) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_invalidate';
COMMENT ON FUNCTION journey._invalidate(regclass) IS
    'Tells every backend, at commit, to forget what it keeps of this table. Whoever changes journey.source, journey.namespace or journey.fenced_type calls it in the same transaction.';

-- Writers keep the test clock like the pointer: without a read per event.
CREATE FUNCTION journey._node_changed() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._invalidate('journey.node');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION journey._node_changed() IS
    'Tells every backend that the node''s row has changed: an event that does not say when it occurred takes the test clock where one is set.';
CREATE TRIGGER node_changed AFTER UPDATE ON journey.node
    FOR EACH STATEMENT EXECUTE FUNCTION journey._node_changed();

CREATE FUNCTION journey._fence(types text[]) RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    added integer;
BEGIN
    INSERT INTO journey.fenced_type (type)
    SELECT DISTINCT t FROM unnest(types) AS t
    WHERE t IS NOT NULL AND t NOT IN ('order_placed', 'unsubscribed', 'message_complained', 'erased', 'restricted')
        AND (t NOT LIKE 'consent%' OR t = 'consent_granted')
    ON CONFLICT (type) DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 THEN
        PERFORM journey._invalidate('journey.fenced_type');
    END IF;
    RETURN added;
END
$$;
COMMENT ON FUNCTION journey._fence(text[]) IS
    'Makes event types fences: from the commit on, writers mark their rows. Returns how many are new. Called by apply() with what a document lists in suppress_on.';

CREATE FUNCTION journey._fences()
    RETURNS TABLE (seq bigint, kind text, type text, ref text, scope text, keys bigint[], channel text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_fences';
COMMENT ON FUNCTION journey._fences() IS
    'The fences and links that stand in the inbox now, as a permit would see them: unconsumed and not released. For the owner, to look and to test; 25001 at SERIALIZABLE.';

-- observe/20_track.sql

-- No SECURITY DEFINER and no SET: this is the hot path of every event. The C
-- code names no object through the caller's search_path and writes without asking for the
-- caller's rights on the tables; EXECUTE is the right to send events.
CREATE FUNCTION journey.track(
    source text,
    type text,
    subject jsonb,
    props jsonb DEFAULT '{}',
    occurred_at timestamptz DEFAULT NULL,
    message_id text DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'journey_track';
COMMENT ON FUNCTION journey.track(text, text, jsonb, jsonb, timestamptz, text) IS
    'Records one event: source (which system says so), type (canonical, or as Segment or GA4 name it), subject (namespace -> value), props, when it occurred (default now) and its id at the source (repeated ones take effect once). Takes effect at commit; order_placed and opt-outs stop reminders from that moment.';

CREATE FUNCTION journey.ingest(messages jsonb, OUT accepted integer, OUT quarantined integer)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ingest';
COMMENT ON FUNCTION journey.ingest(jsonb) IS
    'Records one message or an array of messages: {source, type, subject, props, occurred_at, message_id, backfill}, or Segment''s identify, track, page and screen. A bad message goes to journey.quarantine with its reason and never fails the others.';

CREATE FUNCTION journey._ingest_one(message jsonb) RETURNS text
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ingest_one';
COMMENT ON FUNCTION journey._ingest_one(jsonb) IS
    'Takes one message: null when it was taken, otherwise the reason why not. For _replay_one().';

CREATE FUNCTION journey._replay_one(origin text, original jsonb, received_at timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    op text := original ->> 'op';
    at timestamptz;
BEGIN
    IF origin = 'ingest' THEN
        RETURN journey._ingest_one(original);
    END IF;
    -- an event that told no time occurred when it came, not when it is sent again
    at := coalesce((original ->> 'occurred_at')::timestamptz, least(received_at, journey.clock()));
    IF origin = 'track' THEN
        RETURN journey._ingest_one(original || jsonb_build_object('occurred_at', at, 'backfill', op = 'b'));
    ELSE
        -- a load may have set a scope of its own; the lap judges the row, as it did before
        INSERT INTO journey.inbox_copy (op, source, type, scope, message_id, occurred_at, subject, props)
        VALUES (op::"char", original ->> 'source', original ->> 'type', original ->> 'scope', original ->> 'message_id',
                at, original -> 'subject', original -> 'props');
        RETURN NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._replay_one(text, jsonb, timestamptz) IS
    'Sends one quarantined event again, on the way it came: null when it was taken, otherwise the reason why not.';

CREATE FUNCTION journey.replay_quarantine(source text DEFAULT NULL, sqlstate text DEFAULT NULL, OUT replayed integer, OUT kept integer)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    r record;
    why text;
    captured integer := 0;
BEGIN
    replayed := 0;
    kept := 0;
    FOR r IN
        SELECT q.quarantine_id, q.origin, q.original, q.received_at,
               q.origin = 'ingest' OR q.origin IN ('track', 'copy') AND q.original ->> 'op' IN ('e', 'b')
                   AND NOT q.original ? 'recorded' AS is_event
        FROM journey.quarantine q
        WHERE q.replayed_at IS NULL AND q.original IS NOT NULL
          AND (replay_quarantine.source IS NULL OR q.source = replay_quarantine.source)
          AND (replay_quarantine.sqlstate IS NULL OR q.sqlstate = replay_quarantine.sqlstate)
        ORDER BY q.quarantine_id
        FOR UPDATE SKIP LOCKED
    LOOP
        IF NOT r.is_event THEN
            -- a table may have moved on since: an old row must not undo what came later;
            -- and an event that is recorded would count twice
            captured := captured + (r.origin = 'capture')::integer;
            kept := kept + 1;
            CONTINUE;
        END IF;
        why := journey._replay_one(r.origin, r.original, r.received_at);
        IF why IS NULL THEN
            UPDATE journey.quarantine SET replayed_at = clock_timestamp() WHERE quarantine_id = r.quarantine_id;
            replayed := replayed + 1;
        ELSE
            UPDATE journey.quarantine SET reason = why WHERE quarantine_id = r.quarantine_id;
            kept := kept + 1;
        END IF;
    END LOOP;
    IF captured > 0 THEN
        RAISE NOTICE '% captured rows are kept: their tables may have changed since', captured
            USING HINT = 'Run journey.reconcile() for their tables; it reads what is there now.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey.replay_quarantine(text, text) IS
    'Sends quarantined events again, all or those of a source or SQLSTATE: after a source, a namespace or the extension has changed. Those that are sent are marked replayed, and are set aside anew when a lap cannot take them; the others keep their newest reason. Captured rows are kept: reconcile() reads their tables again.';

-- observe/30_attach_c.sql

-- Looked up by nobody at run time: the trigger calls it by oid, inside the
-- shop's statement and as the shop's role, so it carries no SET clause.
CREATE FUNCTION journey._capture() RETURNS trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'journey_capture';
COMMENT ON FUNCTION journey._capture() IS
    'Trigger that journey.attach() puts on the shop''s tables: appends what changed to the inbox, with the fence where the change is one.';

CREATE FUNCTION journey._read_attached(attachment integer, only_changed boolean) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_read_attached';
COMMENT ON FUNCTION journey._read_attached(integer, boolean) IS
    'Reads an attached table and appends its rows to the inbox as back-fill; only_changed leaves out orders and carts whose stored status is the same and whose keys are already those of one person. Returns the rows appended, null when nothing of that number is attached, or its table or trigger is gone. READ COMMITTED only (25001).';

CREATE FUNCTION journey._attachments_changed() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_attachments_changed';
COMMENT ON FUNCTION journey._attachments_changed() IS
    'Tells every session, once this transaction commits, to look again at which tables are attached.';

CREATE FUNCTION journey._has_blocks(part oid) RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_has_blocks';
COMMENT ON FUNCTION journey._has_blocks(oid) IS
    'Has this table a block that may hold rows? True, too, while somebody has it locked: nobody is waited for.';

CREATE FUNCTION journey._watch_truncate() RETURNS integer
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_watch_truncate';
COMMENT ON FUNCTION journey._watch_truncate() IS
    'Puts the TRUNCATE trigger of attached tables on partitions that have none, and returns on how many: PostgreSQL gives them only triggers for each row. One that is locked is left for the next call.';

CREATE FUNCTION journey._stock(skus text[]) RETURNS TABLE (sku text, available numeric)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_stock';
COMMENT ON FUNCTION journey._stock(text[]) IS
    'Stock as the attached tables have it now, the sum over their rows, under the caller''s snapshot: those of kind stock or, without any, the tables of products whose map has "available". No row for what no table knows; what is no number, or whose mapping no longer fits, says nothing. Null for every sku while somebody has such a table locked, for which nobody waits, or one cannot be read.';

CREATE FUNCTION journey._column_text(rel regclass, name text) RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_column_text';
COMMENT ON FUNCTION journey._column_text(regclass, text) IS
    'The expression by which a column of table t is read as text: what its type prints; no cast that the shop has made is called.';

CREATE FUNCTION journey._nearest(word text, names text[]) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_nearest';
COMMENT ON FUNCTION journey._nearest(text, text[]) IS
    'The name that is fewest edits away from the word, for hints; null when none is near.';

-- observe/30_maintain.sql

-- Generations whose rows have all been consumed, waiting until nobody can
-- need them any more.
CREATE TABLE journey.inbox_drained (
    name text PRIMARY KEY,
    previous pg_snapshot NOT NULL,
    next_xid xid8 NOT NULL,
    noted_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.inbox_drained IS 'Tables of the inbox that were seen fully consumed and wait to be emptied.';
COMMENT ON COLUMN journey.inbox_drained.name IS 'Name of the table.';
COMMENT ON COLUMN journey.inbox_drained.previous IS 'The cursor''s snapshot that saw all of its rows as consumed.';
COMMENT ON COLUMN journey.inbox_drained.next_xid IS 'It may be emptied once no snapshot is older than this transaction id.';
COMMENT ON COLUMN journey.inbox_drained.noted_at IS 'Real time of the note.';

CREATE FUNCTION journey._partitions(at timestamptz) RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
    SET lock_timeout = '100ms'
AS $$
DECLARE
    made integer := 0;
    parent text;
    day date;
    child text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['event', 'decision', 'outbox_history'] LOOP
        FOR i IN 0..2 LOOP
            day := (at AT TIME ZONE 'UTC')::date + i;
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(format('journey.%I', child)) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE journey.%I PARTITION OF journey.%I FOR VALUES FROM (%L) TO (%L)',
                               child, parent,
                               to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00',
                               to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
                -- an administrator may have called us; laps refuse beside what is not journey_owner's
                EXECUTE format('ALTER TABLE journey.%I OWNER TO journey_owner', child);
                made := made + 1;
            EXCEPTION
                -- the day's rows already lie in the default partition: fine
                WHEN check_violation THEN
                    NULL;
                -- somebody reads the table for long, and writers queue behind
                -- us: leave it alone until the next time
                WHEN lock_not_available OR deadlock_detected THEN
                    EXIT;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION journey._partitions(timestamptz) IS
    'Makes the daily partitions of event, decision and outbox_history for a day and the two after it; never waits long for a lock. Rows of a day without a partition lie in the default one.';

CREATE FUNCTION journey._maintain() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_maintain';
COMMENT ON FUNCTION journey._maintain() IS
    'House-keeping that the worker does between laps: rotates and empties the inbox, makes partitions, forgets old message ids. Does nothing in a database that is not adopted.';

CREATE FUNCTION journey._horizons() RETURNS TABLE (pid integer, xmin xid)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_horizons';
COMMENT ON FUNCTION journey._horizons() IS
    'The oldest transaction that each other process still needs to see, as pg_stat_activity tells it to those who may see everybody''s.';

CREATE FUNCTION journey._inbox()
    RETURNS TABLE (name text, current boolean, bytes bigint, drained_at timestamptz, blocked_by text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.name, n.name = 'inbox_' || p.generation, pg_total_relation_size(format('journey.%I', n.name)::regclass),
           d.noted_at, b.who
    FROM (VALUES ('inbox_0'), ('inbox_1'), ('inbox_2'), ('inbox_copy')) AS n(name)
    CROSS JOIN journey.inbox_pointer p
    LEFT JOIN journey.inbox_drained d ON d.name = n.name
    LEFT JOIN LATERAL (
        SELECT w.who
        FROM (SELECT format('pid %s', h.pid) AS who, h.xmin FROM journey._horizons() h
              UNION ALL
              SELECT format('prepared transaction %s', x.gid), x.transaction FROM pg_prepared_xacts x
              WHERE x.database = current_database()
              UNION ALL
              SELECT format('replication slot %s', s.slot_name), s.xmin
              FROM pg_replication_slots s WHERE s.xmin IS NOT NULL) AS w
        WHERE age(w.xmin) > age(d.next_xid::xid)
        ORDER BY age(w.xmin) DESC
        LIMIT 1) AS b ON d.name IS NOT NULL
    ORDER BY n.name;
END
$$;
COMMENT ON FUNCTION journey._inbox() IS
    'The tables of the inbox: which one is current, their size, since when one is consumed and waits to be emptied, and who holds the snapshot it waits for.';

-- observe/31_attach_map.sql

-- What each kind of attached table may say: canonical field -> the usual names
-- of its column, best first. Fields marked "!" are required. The same table
-- serves validation and the guess.
CREATE FUNCTION journey._attach_fields(kind text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE kind
        WHEN 'customer' THEN '{"subject!": [], "email": [], "phone": ["phone", "phone_number", "mobile"], "push_token": ["push_token"],
            "zone": ["time_zone", "timezone", "tz"], "locale": ["locale", "lang", "language", "language_code"],
            "consents": [], "on_delete": [], "traits": [], "at": ["updated_at", "changed_at", "modified_at", "last_change", "created_at"]}'
        WHEN 'product' THEN '{"sku!": ["sku", "product_sku", "variant_sku", "code", "product_id", "id"], "name": ["name", "title", "product_name"],
            "category": ["category", "category_name", "product_type", "category_id"], "class": ["class"], "replenishable": ["replenishable"],
            "replenish_after": ["replenish_after"], "price": ["price", "unit_price", "list_price", "amount"],
            "cost": ["cost", "cost_price", "unit_cost"], "currency": ["currency", "currency_code"],
            "available": ["available"], "traits": [], "props": [], "at": ["updated_at", "changed_at", "modified_at", "created_at"]}'
        WHEN 'stock' THEN '{"sku!": ["sku", "product_sku", "variant_sku", "product_variant_id", "variant_id", "product_id"],
            "available!": ["available", "on_hand", "stock_on_hand", "count_on_hand", "quantity", "qty", "stock"],
            "at": ["updated_at", "changed_at"], "props": []}'
        WHEN 'cart' THEN '{"key!": ["id", "cart_id", "token", "checkout_id"], "subject": [], "status": ["status", "state"],
            "currency": ["currency", "currency_code"], "order": ["order_id"],
            "at": ["updated_at", "changed_at", "last_change", "created_at"]}'
        WHEN 'cart_line' THEN '{"key!": ["cart_id", "cart", "checkout_id", "basket_id"], "subject": [], "line": ["id", "line_id", "line", "position"],
            "sku!": ["sku", "product_sku", "variant_sku", "variant_id", "product_variant_id", "product_id"], "quantity": ["quantity", "qty", "count"],
            "price": ["price", "unit_price", "item_price"], "at": ["updated_at", "changed_at", "added_at", "created_at"], "props": []}'
        WHEN 'order' THEN '{"key!": ["id", "order_id", "order_number", "number"], "subject!": [], "status": ["status", "state", "order_status"],
            "amount": ["total", "amount", "grand_total", "total_amount", "total_price", "amount_total"],
            "currency": ["currency", "currency_code"], "cart": ["cart_id", "checkout_token", "checkout_id", "basket_id"],
            "at": ["placed_at", "ordered_at", "order_placed_at", "date_order", "order_date", "created_at", "created"],
            "origin": ["origin"], "codes": ["codes", "coupon_codes", "coupon_code", "coupon"], "on_delete": [], "props": []}'
        WHEN 'order_line' THEN '{"key!": ["order_id", "order"], "order": [], "line": ["id", "line_id", "line", "position"],
            "sku!": ["sku", "product_sku", "variant_sku", "variant_id", "product_variant_id", "product_id"], "quantity": ["quantity", "qty", "product_uom_qty", "count"],
            "price": ["price", "unit_price", "price_unit", "item_price"], "status": ["status", "state"], "subject": [],
            "at": ["updated_at", "changed_at", "created_at"], "props": []}'
        WHEN 'consent' THEN '{"subject!": [], "channel!": ["channel", "medium"], "purpose": ["purpose"],
            "state!": ["state", "status", "consent", "granted", "opted_in", "subscribed"], "basis": ["basis", "legal_basis"], "proof": ["proof"],
            "expires_at": ["expires_at", "valid_until"], "at": ["at", "changed_at", "updated_at", "given_at", "recorded_at", "created_at"],
            "on_delete": [], "props": []}'
        WHEN 'message_event' THEN '{"type!": ["type", "event", "event_type", "status"], "subject": [], "action_id": ["action_id", "idempotency_key"],
            "provider_ref": ["provider_ref", "message_id", "provider_message_id", "external_id"], "reason": ["reason", "error"], "machine": ["machine", "is_bot"],
            "channel": ["channel"], "at": ["at", "occurred_at", "event_at", "created_at"], "props": []}'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_fields(text) IS
    'Canonical fields of a kind of attached table and the usual column names of each; a field that is required ends in "!". Null for an unknown kind.';

-- Fields that one kind has and another does not, where the nearest name would be no help.
CREATE FUNCTION journey._attach_instead(kind text, field text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE kind || '.' || field
        WHEN 'cart.amount' THEN 'A cart''s value is the sum over its lines: attach their table as cart_line.'
        WHEN 'cart.props' THEN 'A cart''s row is no event: map them with the lines, whose events carry them.'
        WHEN 'customer.props' THEN 'Put them under "traits".'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_instead(text, text) IS
    'What to write instead of a field that this kind of attached table does not have; null when nothing is known.';

CREATE FUNCTION journey._attach_kinds() RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{customer,consent,product,stock,cart,cart_line,order,order_line,message_event}';
END
$$;
COMMENT ON FUNCTION journey._attach_kinds() IS 'Kinds of tables that journey.attach() knows, in the order in which they are read: whose it is before what it is.';

-- Canonical values of fields that have a closed set of them.
CREATE FUNCTION journey._attach_values(kind text, field text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE
        WHEN kind = 'order' AND field = 'status'
            THEN '{pending,placed,paid,shipped,delivered,cancelled,refunded,returned}'::text[]
        WHEN kind = 'order_line' AND field = 'status' THEN '{placed,returned,cancelled}'
        WHEN kind = 'cart' AND field = 'status' THEN '{open,ordered,emptied,deleted}'
        WHEN field = 'state' THEN '{unknown,pending,granted,denied,revoked,bounced,complained}'
        WHEN kind = 'order' AND field = 'origin' THEN '{web,pos,subscription,exchange,marketplace}'
        WHEN kind = 'message_event' AND field = 'type'
            THEN '{message_delivered,message_opened,message_clicked,message_bounced,message_complained,message_replied,unsubscribed}'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_values(text, text) IS
    'Canonical values that a field of an attached table may be mapped to; null when any value will do.';

-- Words that shops use, for the guess only.
CREATE FUNCTION journey._attach_usual_values(kind text, field text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE
        WHEN kind = 'order' AND field = 'status' THEN '{
            "pending": "pending", "new": "pending", "created": "pending", "draft": "pending", "quotation": "pending", "sent": "pending",
            "awaiting_payment": "pending", "payment_pending": "pending", "requires_action": "pending", "unconfirmed": "pending", "cart": "pending",
            "placed": "placed", "confirmed": "placed", "accepted": "placed", "processing": "placed", "on-hold": "placed", "sale": "placed",
            "complete": "placed", "completed": "placed", "done": "placed", "unfulfilled": "placed", "archived": "placed",
            "paid": "paid", "authorized": "paid", "captured": "paid",
            "shipped": "shipped", "fulfilled": "shipped", "dispatched": "shipped", "delivered": "delivered",
            "cancelled": "cancelled", "canceled": "cancelled", "cancel": "cancelled", "void": "cancelled", "voided": "cancelled",
            "failed": "cancelled", "expired": "cancelled", "declined": "cancelled",
            "refunded": "refunded", "returned": "returned"}'::jsonb
        WHEN kind = 'order_line' AND field = 'status' THEN '{
            "placed": "placed", "open": "placed", "shipped": "placed", "delivered": "placed", "returned": "returned",
            "cancelled": "cancelled", "canceled": "cancelled"}'
        WHEN kind = 'cart' AND field = 'status' THEN '{
            "open": "open", "active": "open", "new": "open", "abandoned": "open", "ordered": "ordered", "converted": "ordered", "completed": "ordered",
            "complete": "ordered", "emptied": "emptied", "empty": "emptied", "deleted": "deleted", "expired": "deleted", "merged": "deleted"}'
        WHEN field = 'state' THEN '{
            "true": "granted", "false": "denied", "granted": "granted", "yes": "granted", "opt_in": "granted", "opted_in": "granted", "subscribed": "granted",
            "denied": "denied", "no": "denied", "revoked": "revoked", "opt_out": "revoked", "opted_out": "revoked", "unsubscribed": "revoked",
            "pending": "pending", "unknown": "unknown", "bounced": "bounced", "complained": "complained"}'
        WHEN kind = 'message_event' AND field = 'type' THEN '{
            "delivered": "message_delivered", "message_delivered": "message_delivered", "opened": "message_opened", "open": "message_opened",
            "message_opened": "message_opened", "clicked": "message_clicked", "click": "message_clicked", "message_clicked": "message_clicked",
            "bounced": "message_bounced", "bounce": "message_bounced", "hard_bounce": "message_bounced", "message_bounced": "message_bounced",
            "complained": "message_complained", "complaint": "message_complained", "spam": "message_complained", "message_complained": "message_complained",
            "unsubscribed": "unsubscribed", "unsubscribe": "unsubscribed"}'
    END;
END
$$;
COMMENT ON FUNCTION journey._attach_usual_values(text, text) IS
    'Words that shops use for a field''s canonical values; what attach() guesses when it is given no map.';

CREATE FUNCTION journey._rel_columns(rel regclass) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT attname::text FROM pg_attribute
                 WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped ORDER BY attnum);
END
$$;
COMMENT ON FUNCTION journey._rel_columns(regclass) IS 'Names of a relation''s columns, in order.';

-- A map from usual column names; shown to the caller, never applied unseen.
CREATE FUNCTION journey._attach_guess(rel regclass, kind text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    fields jsonb := journey._attach_fields(kind);
    columns text[] := journey._rel_columns(rel);
    usual_subject constant jsonb := '{
        "customer_id": ["customer_id", "customerid", "customer", "user_id", "account_id", "partner_id"],
        "email": ["email", "email_address", "emailaddress", "customer_email", "user_email", "billing_email"],
        "loyalty_id": ["loyalty_id", "loyalty_number"],
        "anonymous_id": ["anonymous_id", "visitor_id", "guest_token"]}';
    marketing constant text[] := '{accepts_marketing,accepts_email_marketing,marketing_consent,marketing,newsletter,newsletter_subscribed,email_opt_in,opt_in}';
    result jsonb := '{}';
    part jsonb;
    field text;
    col text;
    words jsonb;
BEGIN
    FOR field IN SELECT rtrim(k, '!') FROM jsonb_object_keys(fields) k ORDER BY 1 LOOP
        SELECT c INTO col
        FROM jsonb_array_elements_text(COALESCE(fields -> field, fields -> (field || '!'))) WITH ORDINALITY AS u (name, n)
        JOIN unnest(columns) AS c ON lower(c) = u.name
        ORDER BY u.n LIMIT 1;
        words := CASE WHEN col IS NOT NULL THEN journey._attach_usual_values(kind, field) END;
        result := result || CASE
            WHEN col IS NULL THEN '{}'
            WHEN words IS NOT NULL THEN jsonb_build_object(field, jsonb_build_object('column', col, 'values', words))
            ELSE jsonb_build_object(field, col)
        END;
    END LOOP;
    IF fields ? 'subject' OR fields ? 'subject!' THEN
        SELECT jsonb_object_agg(s.key, (SELECT c FROM jsonb_array_elements_text(s.value) WITH ORDINALITY AS u (name, n)
                                        JOIN unnest(columns) AS c ON lower(c) = u.name ORDER BY u.n LIMIT 1))
        INTO part
        FROM jsonb_each(usual_subject) s
        WHERE EXISTS (SELECT FROM jsonb_array_elements_text(s.value) u JOIN unnest(columns) AS c ON lower(c) = u);
        IF kind = 'customer' AND NOT COALESCE(part ? 'customer_id', false)
           AND (SELECT true FROM unnest(columns) AS c WHERE lower(c) = 'id') THEN
            SELECT COALESCE(part, '{}') || jsonb_build_object('customer_id', c) INTO part FROM unnest(columns) AS c WHERE lower(c) = 'id';
        END IF;
        result := result || COALESCE(jsonb_build_object('subject', part), '{}');
        IF part IS NULL THEN
            result := result - 'subject';
        END IF;
    END IF;
    IF kind = 'customer' THEN
        SELECT c INTO col FROM unnest(marketing) WITH ORDINALITY AS u (name, n) JOIN unnest(columns) AS c ON lower(c) = u.name ORDER BY u.n LIMIT 1;
        IF col IS NOT NULL THEN
            result := result || jsonb_build_object('consents', jsonb_build_array(jsonb_build_object(
                'channel', 'email', 'purpose', 'marketing', 'column', col, 'values', journey._attach_usual_values(kind, 'state'))));
        END IF;
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION journey._attach_guess(regclass, text) IS
    'The map that usual column names suggest for a table of this kind. What it cannot know it leaves out.';

-- Every column that a map names, each once, in the order of the map.
CREATE FUNCTION journey._attach_columns(map jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(
        SELECT col
        FROM (
            SELECT f.n, 0 AS m, COALESCE(f.value ->> 'column', f.value #>> '{}') AS col
            FROM jsonb_each(map) WITH ORDINALITY AS f (name, value, n)
            WHERE f.name NOT IN ('subject', 'props', 'traits', 'consents', 'source', 'on_delete')
              AND (jsonb_typeof(f.value) = 'string' OR f.value ? 'column')
            UNION ALL
            SELECT 1000 + f.n, g.n, COALESCE(g.value ->> 'column', g.value #>> '{}')
            FROM jsonb_each(map) WITH ORDINALITY AS f (name, value, n),
                 jsonb_each(f.value) WITH ORDINALITY AS g (name, value, n)
            WHERE f.name IN ('subject', 'props', 'traits') AND jsonb_typeof(f.value) = 'object'
              AND (jsonb_typeof(g.value) = 'string' OR g.value ? 'column')
            UNION ALL
            SELECT 2000 + f.n, g.n, g.value
            FROM jsonb_each(map) WITH ORDINALITY AS f (name, value, n),
                 jsonb_array_elements_text(CASE jsonb_typeof(f.value) WHEN 'array' THEN f.value ELSE '[]' END) WITH ORDINALITY AS g (value, n)
            WHERE f.name IN ('props', 'traits')
            UNION ALL
            SELECT 3000, 2 * g.n + h.n, h.col
            FROM jsonb_array_elements(CASE jsonb_typeof(map -> 'consents') WHEN 'array' THEN map -> 'consents' ELSE '[]' END) WITH ORDINALITY AS g (value, n),
                 unnest(ARRAY[g.value ->> 'column', CASE jsonb_typeof(g.value -> 'at') WHEN 'object' THEN g.value #>> '{at,column}' ELSE g.value ->> 'at' END])
                     WITH ORDINALITY AS h (col, n)
        ) c
        WHERE col IS NOT NULL
        GROUP BY col
        ORDER BY min(n), min(m), col);
END
$$;
COMMENT ON FUNCTION journey._attach_columns(jsonb) IS
    'Every column that a map names, each once: what the trigger captures, in this order.';

-- observe/32_attach_check.sql

-- Raises what is wrong with one field of a map.
CREATE FUNCTION journey._attach_check_field(rel regclass, kind text, field text, how jsonb) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    columns text[] := journey._rel_columns(rel);
    allowed text[] := journey._attach_values(kind, split_part(field, '.', 1));
    col text := CASE jsonb_typeof(how) WHEN 'string' THEN how #>> '{}' WHEN 'object' THEN how ->> 'column' END;
    key text;
    value jsonb;
BEGIN
    IF jsonb_typeof(how) NOT IN ('string', 'object') OR (col IS NULL AND NOT how ? 'const') THEN
        RAISE EXCEPTION 'field "%" of the map has the wrong shape', field
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write a column name, {"column": name, "values": {shop value: canonical value}} or {"const": value}.';
    END IF;
    IF col IS NOT NULL AND NOT col = ANY (columns) THEN
        RAISE EXCEPTION 'column "%" of the map''s field "%" does not exist in %', col, field, rel
            USING ERRCODE = 'undefined_column',
                  HINT = COALESCE('Did you mean "' || journey._nearest(col, columns) || '"?',
                                  'It has the columns ' || array_to_string(columns, ', ') || '.');
    END IF;
    IF jsonb_typeof(how) = 'object' THEN
        FOR key IN SELECT k FROM jsonb_object_keys(how) k WHERE k NOT IN ('column', 'values', 'const', 'channel', 'purpose', 'basis', 'at') LOOP
            RAISE EXCEPTION 'unknown word "%" in field "%" of the map', key, field
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = COALESCE('Did you mean "' || journey._nearest(key, '{column,values,const}') || '"?', 'Known are column, values and const.');
        END LOOP;
        -- the trigger and whoever names the same person or order elsewhere take keys as they are
        IF how ? 'values' AND (field LIKE 'subject.%' OR field IN ('key', 'order', 'cart', 'line', 'sku')) THEN
            RAISE EXCEPTION 'field "%" of the map is a key and has no values to map', field
                USING ERRCODE = 'invalid_parameter_value',
                      DETAIL = 'People and objects are known by what the column holds.',
                      HINT = 'Name the column alone; a key that other systems write otherwise is a key of its own in the subject.';
        END IF;
        IF how ? 'values' AND jsonb_typeof(how -> 'values') <> 'object' THEN
            RAISE EXCEPTION 'values of field "%" must be an object', field
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write {"shop value": "canonical value", ...}; "" stands for null and "*" for every other value.';
        END IF;
        FOR key, value IN
            SELECT v.key, v.value FROM jsonb_each(COALESCE(how -> 'values', '{}')) v
            UNION ALL SELECT 'const', how -> 'const' WHERE how ? 'const'
        LOOP
            IF jsonb_typeof(value) NOT IN ('string', 'number', 'boolean')
               OR (allowed IS NOT NULL AND NOT value #>> '{}' = ANY (allowed)) THEN
                RAISE EXCEPTION 'value "%" of field "%" is mapped to %, which is not a canonical value', key, field, value
                    USING ERRCODE = 'invalid_parameter_value',
                          HINT = COALESCE('Did you mean "' || journey._nearest(value #>> '{}', allowed) || '"?',
                                          'Canonical are ' || array_to_string(allowed, ', ') || '.',
                                          'Map it to a text, a number or a boolean.');
            END IF;
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_check_field(regclass, text, text, jsonb) IS
    'Raises 42703 for a column that does not exist and 22023 for what else is wrong with a field of a map, each with the nearest right name as hint.';

CREATE FUNCTION journey._attach_check_consents(rel regclass, consents jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    consent jsonb;
    result jsonb := '[]';
BEGIN
    IF jsonb_typeof(consents) <> 'array' THEN
        RAISE EXCEPTION 'consents of the map must be an array'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing", "values": {"true": "granted", "false": "denied"}}].';
    END IF;
    IF jsonb_array_length(consents) > 16 THEN -- JNY_SPEC_CONSENTS
        RAISE EXCEPTION 'the map names % consents', jsonb_array_length(consents)
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'A row of customers may state 16: each may be an opt-out, with a fence of its own.',
                  HINT = 'Keep the others in a table of their own, of kind consent.';
    END IF;
    FOR consent IN SELECT c FROM jsonb_array_elements(consents) c LOOP
        IF jsonb_typeof(consent -> 'channel') IS DISTINCT FROM 'string' OR NOT consent ? 'column' THEN
            RAISE EXCEPTION 'a consent of the map lacks its channel or column: %', consent
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write {"channel": "email", "purpose": "marketing", "column": "accepts_marketing"}.';
        END IF;
        -- a plain flag needs no words: yes is granted, no is denied
        consent := '{"purpose": "marketing", "values": {"true": "granted", "false": "denied"}}'::jsonb || consent;
        PERFORM journey._attach_check_field(rel, 'consent', 'state', consent);
        IF consent ? 'at' THEN
            PERFORM journey._attach_check_field(rel, 'consent', 'consents.at', consent -> 'at');
        END IF;
        result := result || jsonb_build_array(consent);
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION journey._attach_check_consents(regclass, jsonb) IS
    'Checks the consents of a customer map and returns them with purpose and values filled in.';

CREATE FUNCTION journey._attach_check_names(rel regclass, field text, what jsonb) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    item record;
    namespaces text[];
BEGIN
    IF jsonb_typeof(what) NOT IN ('object', 'array') OR (field = 'subject' AND jsonb_typeof(what) <> 'object') THEN
        RAISE EXCEPTION 'field "%" of the map has the wrong shape', field
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = CASE field WHEN 'subject' THEN 'Write {"customer_id": "customer", "email": "email"}.'
                                    ELSE 'Write an array of columns, or an object name -> column.' END;
    END IF;
    IF field = 'subject' THEN
        namespaces := ARRAY(SELECT n.namespace FROM journey.namespace n WHERE n.class <> 'object' ORDER BY 1);
        FOR item IN SELECT k AS name FROM jsonb_object_keys(what) k WHERE NOT k = ANY (namespaces) LOOP
            RAISE EXCEPTION 'unknown namespace "%" in the subject of the map', item.name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = COALESCE('Did you mean "' || journey._nearest(item.name, namespaces) || '"?',
                                      'Known are ' || array_to_string(namespaces, ', ') || '.');
        END LOOP;
        IF (SELECT count(*) FROM jsonb_object_keys(what)) > 14 THEN -- JNY_SUBJECT_KEYS
            RAISE EXCEPTION 'the subject of the map has % keys', (SELECT count(*) FROM jsonb_object_keys(what))
                USING ERRCODE = 'invalid_parameter_value', DETAIL = 'A row has room for 14.',
                      HINT = 'Name the keys by which people are known elsewhere; one or two will do.';
        END IF;
        IF what = '{}' THEN
            RAISE EXCEPTION 'the subject of the map is empty'
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Name at least one key, as in {"customer_id": "customer"}.';
        END IF;
    END IF;
    FOR item IN
        SELECT o.key AS name, o.value FROM jsonb_each(CASE jsonb_typeof(what) WHEN 'object' THEN what ELSE '{}' END) o
        UNION ALL
        SELECT a #>> '{}', a FROM jsonb_array_elements(CASE jsonb_typeof(what) WHEN 'array' THEN what ELSE '[]' END) a
    LOOP
        PERFORM journey._attach_check_field(rel, 'none', field || '.' || item.name, item.value);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._attach_check_names(regclass, text, jsonb) IS
    'Checks subject, props and traits of a map.';

CREATE FUNCTION journey._attach_check(rel regclass, kind text, map jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    fields jsonb := journey._attach_fields(kind);
    names text[] := ARRAY(SELECT rtrim(k, '!') FROM jsonb_object_keys(fields) k) || 'source'::text;
    field text;
    how jsonb;
    missing text;
    deleted text := CASE kind WHEN 'order' THEN 'cancelled' ELSE 'revoked' END; -- the one thing that on_delete may say
BEGIN
    IF jsonb_typeof(map) <> 'object' THEN
        RAISE EXCEPTION 'the map must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write {"field": "column", ...}, as in {"key": "id", "subject": {"customer_id": "customer"}}.';
    END IF;
    FOR field, how IN SELECT m.key, m.value FROM jsonb_each(map) m LOOP
        IF NOT field = ANY (names) THEN
            RAISE EXCEPTION 'unknown field "%" in the map of kind %', field, kind
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = COALESCE(journey._attach_instead(kind, field),
                                      'Did you mean "' || journey._nearest(field, names) || '"?',
                                      'Known are ' || array_to_string(names, ', ') || '.');
        ELSIF field IN ('source', 'on_delete') THEN
            IF jsonb_typeof(how) <> 'string' OR (field = 'on_delete' AND how #>> '{}' <> deleted) THEN
                RAISE EXCEPTION 'field "%" of the map has the wrong value %', field, how
                    USING ERRCODE = 'invalid_parameter_value',
                          HINT = CASE field WHEN 'source' THEN 'Write the name of the source, as in "commerce".'
                                            ELSE format('Write "%s", or leave it out: then a deleted row changes nothing.', deleted) END;
            END IF;
        ELSIF field = 'consents' THEN
            map := jsonb_set(map, '{consents}', journey._attach_check_consents(rel, how));
        ELSIF field IN ('subject', 'props', 'traits') THEN
            PERFORM journey._attach_check_names(rel, field, how);
        ELSE
            PERFORM journey._attach_check_field(rel, kind, field, how);
        END IF;
    END LOOP;
    -- an order table without a status holds orders; a consent without a purpose is for marketing
    map := CASE kind WHEN 'order' THEN '{"status": {"const": "placed"}}'::jsonb
                     WHEN 'consent' THEN '{"purpose": {"const": "marketing"}}' ELSE '{}' END || map;
    IF kind = 'order_line' AND map ? 'order' THEN
        IF map ? 'key' AND map -> 'key' <> map -> 'order' THEN
            RAISE EXCEPTION 'fields "key" and "order" of the map name two columns'
                USING ERRCODE = 'invalid_parameter_value', DETAIL = 'Both are the order that a line belongs to.',
                      HINT = 'Leave "key" out; the line''s own number is "line".';
        END IF;
        map := map || jsonb_build_object('key', map -> 'order');
    END IF;
    IF kind = 'customer' AND map ? 'on_delete' AND jsonb_array_length(COALESCE(map -> 'consents', '[]')) = 0 THEN
        RAISE EXCEPTION 'field "on_delete" of the map has nothing to revoke'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'A deleted customer takes back the consents that the map names, and it names none.',
                  HINT = 'Add "consents", or leave "on_delete" out.';
    END IF;
    SELECT string_agg('"' || rtrim(k, '!') || '"', ', ' ORDER BY k) INTO missing
    FROM jsonb_object_keys(fields) k WHERE k LIKE '%!' AND NOT map ? rtrim(k, '!');
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'the map of kind % lacks %', kind, missing
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The map is ' || map::text || '.',
                  HINT = 'Name the columns; the table has ' || array_to_string(journey._rel_columns(rel), ', ') || '.';
    END IF;
    RETURN map;
END
$$;
COMMENT ON FUNCTION journey._attach_check(regclass, text, jsonb) IS
    'Checks a map against the table and returns it with defaults filled in.';

-- observe/33_attach.sql

-- ---- what runs as the extension's owner, for an administrator -------------

CREATE FUNCTION journey._captures()
    RETURNS TABLE (attachment integer, capture oid, rel oid, root boolean, enabled "char", scope text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT x.args[1]::integer, x.oid, x.tgrelid, x.tgparentid = 0, x.tgenabled, x.args[4]
    FROM (SELECT t.*, string_to_array(encode(t.tgargs, 'escape'), '\000') AS args
          FROM pg_trigger t
          WHERE t.tgfoid = 'journey._capture()'::regprocedure AND t.tgname LIKE 'journey\_capture\_%') x
    WHERE x.args[1] ~ '^[0-9]{1,9}$';
END
$$;
COMMENT ON FUNCTION journey._captures() IS
    'The capture triggers that are really there: of which attachment, on which table (root: not one that a partition has from its parent), enabled how, for which scope.';

-- ---- partitions that come later ---------------------------------------------

CREATE FUNCTION journey._backfill_later(attachment integer, parts oid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- of no file yet: the lap that begins to read finds which, and how many blocks it has
    INSERT INTO journey.backfill AS b (attachment, part, file, holds_permits, blocks_total, started_at, later)
    SELECT a.attachment, c.oid, 0, a.kind NOT IN ('product', 'stock'), 1, clock_timestamp(), true
    FROM journey.attachment a, pg_class c
    WHERE a.attachment = _backfill_later.attachment AND c.oid = ANY (parts) AND c.relkind = 'r' AND journey._has_blocks(c.oid)
    ON CONFLICT ON CONSTRAINT backfill_pkey
    DO UPDATE SET file = 0, blocks_total = 1, blocks_done = 0, problem = NULL, retry_at = NULL;
END
$$;
COMMENT ON FUNCTION journey._backfill_later(integer, oid[]) IS
    'Has the laps read all that these partitions of an attached table hold, where they hold anything.';

-- Also called within the shop's ALTER TABLE ... ATTACH PARTITION, which waits for none of us.
CREATE FUNCTION journey._note_leaves() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET lock_timeout = '200ms'
AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT t.attachment, array_agg(t.capture) AS captures, array_agg(t.rel) AS rels
        FROM journey._captures() t
        JOIN journey.attachment a ON a.attachment = t.attachment AND a.detached_at IS NULL
        WHERE NOT t.root AND NOT EXISTS (SELECT FROM journey.leaf l WHERE l.capture = t.capture)
        GROUP BY t.attachment
    LOOP
        INSERT INTO journey.leaf SELECT unnest(r.captures) ON CONFLICT DO NOTHING;
        PERFORM journey._backfill_later(r.attachment, r.rels);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._note_leaves() IS
    'Notes partitions that attached tables have got since, and has the laps read those that came with rows.';

CREATE FUNCTION journey._leaves_known(attachment integer) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    INSERT INTO journey.leaf
    SELECT t.capture FROM journey._captures() t WHERE t.attachment = _leaves_known.attachment AND NOT t.root
    ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION journey._leaves_known(integer) IS
    'Notes the partitions that an attached table has as seen: all of them are about to be read, or none is wanted.';

-- A row that TRUNCATE took is known to nobody. So every cart of the source is
-- emptied, and what the other partitions have is read again.
CREATE FUNCTION journey._leaf_truncated(attachment integer) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT t.attachment, array_agg(t.rel) AS rels
        FROM journey.attachment a
        JOIN journey.attachment b ON b.source = a.source AND b.kind IN ('cart', 'cart_line') AND b.detached_at IS NULL
        JOIN journey._captures() t ON t.attachment = b.attachment
        WHERE a.attachment = _leaf_truncated.attachment
          AND EXISTS (SELECT FROM journey._captures() l WHERE l.attachment = a.attachment AND NOT l.root)
        GROUP BY t.attachment
    LOOP
        PERFORM journey._backfill_later(r.attachment, r.rels);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._leaf_truncated(integer) IS
    'Has the laps read the carts and cart lines of a source again, when the attached table is one with partitions.';

-- A table's name is where its trigger is. One that is gone has only the name
-- that was noted, and when another attached table has taken that, it is replaced.
CREATE FUNCTION journey._attach_follow() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    -- row by row: an UPDATE of nothing would wait for an attach() under way
    FOR r IN
        SELECT a.attachment, n.nspname, c.relname
        FROM journey.attachment a
        JOIN journey._captures() t ON t.attachment = a.attachment AND t.root
        JOIN pg_class c ON c.oid = t.rel JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.detached_at IS NULL AND (a.rel_schema, a.rel_name) <> (n.nspname, c.relname)
    LOOP
        UPDATE journey.attachment a SET rel_schema = r.nspname, rel_name = r.relname WHERE a.attachment = r.attachment;
    END LOOP;
    FOR r IN
        SELECT a.attachment
        FROM journey.attachment a
        WHERE a.detached_at IS NULL
          AND EXISTS (SELECT FROM journey.attachment b
                      WHERE b.detached_at IS NULL AND b.attachment > a.attachment
                        AND (b.rel_schema, b.rel_name, b.kind) = (a.rel_schema, a.rel_name, a.kind))
          AND NOT EXISTS (SELECT FROM journey._captures() t WHERE t.attachment = a.attachment)
    LOOP
        PERFORM journey._attach_unregister(r.attachment);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._attach_follow() IS
    'Notes the names that attached tables have now, and detaches what is gone and replaced by an attached table of the same name and kind.';

CREATE FUNCTION journey._attach_register(rel regclass, kind text, source text, map jsonb,
                                         OUT attachment integer, OUT scope text, OUT spec jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    columns text[] := journey._attach_columns(map);
    former integer;
BEGIN
    LOCK TABLE journey.attachment IN SHARE ROW EXCLUSIVE MODE;
    PERFORM journey._attach_follow();
    -- a partition that nobody has seen yet came to the attachment that this one may replace
    PERFORM journey._note_leaves();
    INSERT INTO journey.source (source) SELECT _attach_register.source
    ON CONFLICT DO NOTHING;
    SELECT s.scope INTO scope FROM journey.source s WHERE s.source = _attach_register.source;
    spec := jsonb_build_object('columns', columns, 'map', map)
         || COALESCE((SELECT jsonb_build_object('groups', jsonb_object_agg(n.namespace, true))
                      FROM journey.namespace n
                      WHERE n.class IN ('group', 'shared') AND map -> 'subject' ? n.namespace
                      HAVING count(*) > 0), '{}')
         || COALESCE((SELECT jsonb_build_object('scoped', jsonb_object_agg(n.namespace, true))
                      FROM journey.namespace n
                      WHERE NOT n.crosses_scopes AND n.class <> 'object' AND map -> 'subject' ? n.namespace
                      HAVING count(*) > 0), '{}');
    INSERT INTO journey.attachment (attachment, rel_schema, rel_name, kind, source, map, columns, spec, attached_by, attached_at)
    SELECT COALESCE((SELECT max(a.attachment) FROM journey.attachment a), 0) + 1,
           n.nspname, c.relname, _attach_register.kind, _attach_register.source, map, columns, spec, session_user, clock_timestamp()
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
    RETURNING attachment.attachment INTO attachment;
    FOR former IN
        SELECT a.attachment FROM journey._attached(rel) a
        WHERE a.kind = _attach_register.kind AND a.attachment <> _attach_register.attachment
    LOOP
        -- what adopt() could not read has still to be read
        UPDATE journey.incident i SET detail = jsonb_build_object('attachment', _attach_register.attachment)
        WHERE i.kind = 'reconcile_failed' AND i.resolved_at IS NULL AND i.detail ->> 'attachment' = former::text;
        -- and so has the rest of a back-fill, by the new map
        UPDATE journey.backfill b SET attachment = _attach_register.attachment, problem = NULL, retry_at = NULL
        WHERE b.attachment = former;
        PERFORM journey._attach_unregister(former);
    END LOOP;
    PERFORM journey._attachments_changed();
END
$$;
COMMENT ON FUNCTION journey._attach_register(regclass, text, text, jsonb) IS
    'Registers an attachment, in place of an earlier one of the same table and kind, and its source when it is new.';

CREATE FUNCTION journey._attach_unregister(attachment integer) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.attachment a SET detached_at = clock_timestamp(), broken = NULL
    WHERE a.attachment = _attach_unregister.attachment AND a.detached_at IS NULL;
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind IN ('capture_disabled', 'mapping_broken', 'stock_unreadable', 'reconcile_failed') AND i.resolved_at IS NULL
      AND i.detail ->> 'attachment' = _attach_unregister.attachment::text;
    DELETE FROM journey.backfill b WHERE b.attachment = _attach_unregister.attachment;
END
$$;
COMMENT ON FUNCTION journey._attach_unregister(integer) IS
    'Marks an attachment detached and closes its incidents. The row stays: rows captured before still need its map.';

CREATE FUNCTION journey._attached(rel regclass) RETURNS TABLE (attachment integer, kind text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT a.attachment, a.kind FROM journey.attachment a
    JOIN pg_class c ON c.relname = a.rel_name
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = a.rel_schema
    WHERE c.oid = rel AND a.detached_at IS NULL ORDER BY 1;
END
$$;
COMMENT ON FUNCTION journey._attached(regclass) IS 'Attachments of a table.';

CREATE FUNCTION journey._reconcile(attachment integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a journey.attachment := (SELECT x FROM journey.attachment x WHERE x.attachment = _reconcile.attachment);
    n bigint;
BEGIN
    -- first: one that comes while the others are read is read by laps
    PERFORM journey._leaves_known(attachment);
    n := journey._read_attached(attachment, a.backfilled_at IS NOT NULL);
    IF n IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE journey.attachment x SET backfilled_at = clock_timestamp()
    WHERE x.attachment = _reconcile.attachment AND x.backfilled_at IS NULL;
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind = 'reconcile_failed' AND i.resolved_at IS NULL AND i.detail ->> 'attachment' = _reconcile.attachment::text;
    DELETE FROM journey.backfill b WHERE b.attachment = _reconcile.attachment;
    -- what is read has no fence: until it has been consumed permits wait, as behind adopt()
    IF n > 0 AND a.kind NOT IN ('product', 'stock') THEN
        UPDATE journey.node SET adopted_xid = pg_current_xact_id();
    END IF;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey._reconcile(integer) IS
    'Reads one attached table, the first time all of it; null when the table or its capture trigger is gone.';

CREATE FUNCTION journey._attach_parts(rel regclass) RETURNS TABLE (part regclass)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE tree (oid) AS (
        SELECT rel::oid
        UNION
        SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid)
    SELECT t.oid::regclass FROM tree t;
END
$$;
COMMENT ON FUNCTION journey._attach_parts(regclass) IS
    'A table, its partitions and those that inherit from it: what a SELECT from it reads.';

CREATE FUNCTION journey._backfill_start(attachment integer, rel regclass) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kind text := (SELECT a.kind FROM journey.attachment a WHERE a.attachment = _backfill_start.attachment);
BEGIN
    DELETE FROM journey.backfill b WHERE b.attachment = _backfill_start.attachment;
    INSERT INTO journey.backfill (attachment, part, file, holds_permits, blocks_total, started_at)
    SELECT _backfill_start.attachment, c.oid, c.relfilenode, kind NOT IN ('product', 'stock'),
           pg_relation_size(c.oid) / current_setting('block_size')::bigint, clock_timestamp()
    FROM pg_class c
    WHERE c.relkind = 'r' AND c.oid IN (SELECT p.part FROM journey._attach_parts(rel) p);
    RETURN (SELECT sum(b.blocks_total) FROM journey.backfill b WHERE b.attachment = _backfill_start.attachment);
END
$$;
COMMENT ON FUNCTION journey._backfill_start(integer, regclass) IS
    'Has the laps read all that an attached table, its partitions and those that inherit from it hold now; returns how many blocks. What is written later fires the trigger, which must be there and its writers held off.';

-- ---- helpers of the caller's own rights ------------------------------------

-- DDL on a table that customers are buying from: never queue for its lock
-- longer than 200 ms, because everybody else queues behind us.
CREATE FUNCTION journey._short_lock(rel regclass, statements text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    statement text;
    before text := current_setting('lock_timeout');
    holders text;
BEGIN
    FOR attempt IN 1..8 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '200ms', true);
            FOREACH statement IN ARRAY statements LOOP
                EXECUTE statement;
            END LOOP;
            PERFORM set_config('lock_timeout', before, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(LEAST(0.1 * 2 ^ (attempt - 1), 1) * (attempt < 8)::integer);
        END;
    END LOOP;
    SELECT string_agg(DISTINCT l.pid::text, ', ') INTO holders
    FROM pg_locks l WHERE l.relation = rel AND l.granted AND l.pid <> pg_backend_pid();
    RAISE EXCEPTION 'could not get a short lock on %', rel
        USING ERRCODE = 'lock_not_available',
              DETAIL = 'Eight attempts of 200 ms each.' || COALESCE(' Locks on it are held by the processes ' || holders || '.', ''),
              HINT = 'Try again when no long transaction writes to the table; pg_stat_activity shows who does.';
END
$$;
COMMENT ON FUNCTION journey._short_lock(regclass, text[]) IS
    'Runs statements that lock a table, with a lock_timeout of 200 ms and a few retries; 55P03 with who is in the way.';

CREATE FUNCTION journey._attach_refuse(rel regclass, kind text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    c pg_class;
BEGIN
    IF kind IS NULL OR NOT kind = ANY (journey._attach_kinds()) THEN
        RAISE EXCEPTION 'unknown kind "%"', kind
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = COALESCE('Did you mean "' || journey._nearest(kind, journey._attach_kinds()) || '"?',
                                  'Known are ' || array_to_string(journey._attach_kinds(), ', ') || '.');
    END IF;
    IF to_regclass('journey.attachment') IS NULL THEN
        RAISE EXCEPTION 'journey is not installed in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run SELECT journey.install().';
    END IF;
    SELECT * INTO c FROM pg_class WHERE oid = rel;
    IF c.oid IS NULL THEN
        RAISE EXCEPTION 'no table given' USING ERRCODE = 'null_value_not_allowed', HINT = 'Name the table, as in ''public.orders''.';
    ELSIF c.relkind = 'f' THEN
        RAISE EXCEPTION '% is a foreign table', rel
            USING ERRCODE = 'wrong_object_type',
                  DETAIL = 'A commit on the other server is not atomic with ours, and what is written there directly is not seen.',
                  HINT = 'Attach the table where it lives, or send its changes with journey.track().';
    ELSIF c.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', rel
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach the tables that it reads from.';
    ELSIF EXISTS (SELECT FROM journey._attach_parts(rel) p JOIN pg_class f ON f.oid = p.part WHERE f.relkind = 'f') THEN
        RAISE EXCEPTION '% has rows in a foreign table', rel
            USING ERRCODE = 'wrong_object_type',
                  DETAIL = format('What is written to %s on the other server is not seen, and a commit there is not atomic with ours.',
                                  (SELECT string_agg(p.part::text, ', ' ORDER BY p.part::text) FROM journey._attach_parts(rel) p
                                   JOIN pg_class f ON f.oid = p.part WHERE f.relkind = 'f')),
                  HINT = 'Attach each of its other partitions by itself, or detach the foreign one from it.';
    ELSIF c.relpersistence = 't' THEN
        RAISE EXCEPTION '% is a temporary table', rel
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach a permanent table.';
    ELSIF c.relnamespace IN ('journey'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace) THEN
        RAISE EXCEPTION '% belongs to % itself', rel, c.relnamespace::regnamespace
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach a table of the shop.';
    ELSIF EXISTS (SELECT FROM pg_partition_ancestors(rel) a (anc)
                  JOIN pg_trigger t ON t.tgrelid = a.anc AND t.tgfoid = 'journey._capture'::regproc
                  WHERE a.anc <> rel AND t.tgname = 'journey_capture_' || kind) THEN
        RAISE EXCEPTION '% is a partition of a table that is attached already', rel
            USING ERRCODE = 'duplicate_object', HINT = 'Its rows are captured through its parent.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_refuse(regclass, text) IS
    'Raises when a relation can not be attached, and says what to do instead.';

-- How the rows of the table stand to the map: a row per value that is mapped, or is not.
CREATE FUNCTION journey._attach_counts(rel regclass, field text, how jsonb)
    RETURNS TABLE (canonical text, raw text, rows bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT COALESCE($1 ->> COALESCE(v, %L), CASE WHEN v IS NOT NULL THEN $1 ->> %L END, CASE WHEN $1 IS NULL THEN v END),'
        '       CASE WHEN $1 IS NULL OR $1 ? COALESCE(v, %L) OR NOT $1 ? %L THEN v ELSE %L END, count(*)'
        ' FROM (SELECT btrim(%s) AS v FROM %s t) x GROUP BY 1, 2 ORDER BY 3 DESC, 2 LIMIT 100',
        '', '*', '', '*', '*', journey._column_text(rel, COALESCE(how ->> 'column', how #>> '{}')), rel)
    USING how -> 'values';
END
$$;
COMMENT ON FUNCTION journey._attach_counts(regclass, text, jsonb) IS
    'Rows of a table per value of a mapped column: its canonical value (null = not mapped), the shop''s value, how many.';

CREATE FUNCTION journey._attach_nulls(rel regclass, map jsonb)
    RETURNS TABLE (col text, total bigint, nulls bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    columns text[] := journey._attach_columns(map);
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT c.col, x.total, x.total - c.filled'
        ' FROM (SELECT count(*) AS total, ARRAY[%s]::bigint[] AS filled FROM %s t) x, unnest($1, x.filled) AS c (col, filled)'
        ' WHERE c.filled < x.total',
        (SELECT string_agg(format('count(t.%I)', u.col), ', ' ORDER BY u.n) FROM unnest(columns) WITH ORDINALITY AS u (col, n)), rel)
    USING columns;
END
$$;
COMMENT ON FUNCTION journey._attach_nulls(regclass, jsonb) IS
    'Mapped columns that are null in some rows of a table: how many rows there are, and in how many.';

CREATE FUNCTION journey._attach_describe(rel regclass, kind text, map jsonb)
    RETURNS TABLE (what text, name text, value text, rows bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    f record;
    listed text[] := '{}'; -- columns whose values are listed, null among them
BEGIN
    RETURN QUERY
        SELECT 'map', m.key,
               CASE WHEN jsonb_typeof(m.value) = 'string' THEN m.value #>> '{}'
                    WHEN length(m.value::text) > 200 AND m.value ? 'values'
                    THEN format('%s, with %s values', m.value ->> 'column', (SELECT count(*) FROM jsonb_object_keys(m.value -> 'values')))
                    ELSE m.value::text END,
               NULL::bigint
        FROM jsonb_each(map) m ORDER BY m.key;
    FOR f IN
        SELECT m.key AS field, m.value AS how
        FROM jsonb_each(map) m
        WHERE m.key IN ('status', 'state', 'type', 'origin') AND journey._attach_values(kind, m.key) IS NOT NULL
          AND (jsonb_typeof(m.value) = 'string' OR m.value ? 'column')
        UNION ALL
        SELECT 'consents', c FROM jsonb_array_elements(COALESCE(map -> 'consents', '[]')) c
    LOOP
        RETURN QUERY
            SELECT CASE WHEN c.canonical = ANY (COALESCE(journey._attach_values(kind, f.field), ARRAY[c.canonical])) THEN 'mapped'
                        WHEN c.raw IS NULL THEN 'null' ELSE 'unmapped' END,
                   f.field || COALESCE(' ' || (f.how ->> 'channel'), ''),
                   CASE WHEN c.canonical = ANY (COALESCE(journey._attach_values(kind, f.field), ARRAY[c.canonical]))
                        THEN COALESCE(c.raw, 'null') || ' → ' || c.canonical ELSE COALESCE(c.raw, 'null') END,
                   c.rows
            FROM journey._attach_counts(rel, f.field, f.how) c;
        listed := listed || COALESCE(f.how ->> 'column', f.how #>> '{}');
    END LOOP;
    RETURN QUERY
        SELECT 'nulls', n.col, round(100.0 * n.nulls / n.total, 1) || ' %', n.nulls
        FROM journey._attach_nulls(rel, map) n WHERE n.col <> ALL (listed) ORDER BY n.col;
    RETURN QUERY
        SELECT 'not mapped', rtrim(k, '!'), COALESCE('nearest column: ' || journey._nearest(rtrim(k, '!'), journey._rel_columns(rel)), 'no column like it'), NULL::bigint
        FROM jsonb_object_keys(journey._attach_fields(kind)) k
        WHERE NOT map ? rtrim(k, '!') AND NOT COALESCE(map -> 'subject', '{}') ? rtrim(k, '!') AND rtrim(k, '!') NOT IN ('props', 'traits', 'consents', 'on_delete', 'order')
        ORDER BY k;
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = rel AND NOT c.relispartition) THEN
        RETURN QUERY SELECT 'warning', 'inheritance', 'tables that inherit from it are not captured: attach each', NULL::bigint;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_describe(regclass, text, jsonb) IS
    'What attach() prints: the map, how the rows stand to it, how many are null, and which fields have no column.';

-- Back-fill, reconcile and live stock read a table as its owner.
CREATE FUNCTION journey._attach_unreadable(rel regclass, OUT problem text, OUT detail text, OUT hint text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    owner regrole;
    namespace regnamespace;
BEGIN
    SELECT c.relowner, c.relnamespace INTO owner, namespace FROM pg_class c WHERE c.oid = rel;
    IF NOT has_schema_privilege(owner, namespace, 'USAGE') OR NOT has_table_privilege(owner, rel, 'SELECT') THEN
        problem := format('%s may not read %s', owner, rel);
        detail := 'What is attached is read with the rights of its owner, and with no others.';
        hint := format('Somebody who may must run: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %2$s;', namespace, owner, rel);
    ELSIF EXISTS (SELECT FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
                  WHERE c.oid = rel AND c.relrowsecurity AND c.relforcerowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls) THEN
        problem := format('row security hides rows of %s from its owner', rel);
        detail := 'What is attached is read whole or not at all.';
        hint := format('Run ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, or give its owner BYPASSRLS.', rel);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_unreadable(regclass) IS
    'Why a table cannot be read with the rights of its owner, and what to run; null when it can.';

CREATE FUNCTION journey._attach_readable(rel regclass) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    u record := journey._attach_unreadable(rel);
BEGIN
    IF u.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', u.problem USING ERRCODE = 'insufficient_privilege', DETAIL = u.detail, HINT = u.hint;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_readable(regclass) IS
    'Raises 42501 when a table cannot be read with the rights of its owner.';

-- ---- attach, detach, reconcile ---------------------------------------------

CREATE FUNCTION journey.attach(rel regclass, kind text, map jsonb DEFAULT NULL,
                               dry_run boolean DEFAULT false, backfill boolean DEFAULT true)
    RETURNS TABLE (what text, name text, value text, rows bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    guessed boolean := map IS NULL;
    source_name text;
    registered record;
    args text;
    size bigint;
BEGIN
    PERFORM journey._attach_refuse(rel, kind);
    IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = rel), 'USAGE') THEN
        RAISE EXCEPTION 'permission denied to attach %', rel
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Run it as a role that is a member of journey_admin and of %s, the owner of the table.',
                                (SELECT relowner::regrole FROM pg_class WHERE oid = rel));
    END IF;
    IF guessed THEN
        map := journey._attach_guess(rel, kind);
        RETURN QUERY SELECT 'guess'::text, kind, map::text, NULL::bigint;
    END IF;
    map := journey._attach_check(rel, kind, map);
    source_name := COALESCE(map ->> 'source', 'commerce');
    RETURN QUERY SELECT * FROM journey._attach_describe(rel, kind, map);
    IF dry_run THEN
        RETURN QUERY SELECT 'dry run'::text, rel::text, 'nothing was changed; source ' || source_name || ', captured columns '
                            || array_to_string(journey._attach_columns(map), ', '), NULL::bigint;
        RETURN;
    END IF;
    IF backfill AND current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'attach with back-fill needs isolation level READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'The snapshot of this transaction is older than the trigger: rows committed in between would be missed.',
                  HINT = 'Use a READ COMMITTED transaction, or backfill => false and journey.reconcile() afterwards.';
    END IF;

    PERFORM journey._attach_readable(rel);
    SELECT * INTO registered FROM journey._attach_register(rel, kind, source_name, map - 'source');
    args := format('%L, %L, %L, %L, %L', registered.attachment, kind, source_name, registered.scope, registered.spec);
    -- The trigger fires whatever session_replication_role says: a shop that
    -- is fed by replication or by a bulk loader is still a shop.
    PERFORM journey._short_lock(rel, ARRAY[
        format('CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION journey._capture(%s)',
               'journey_capture_' || kind, rel, args),
        format('CREATE OR REPLACE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION journey._capture(%s)',
               'journey_truncate_' || kind, rel, format('%L, %L, %L, %L, %L', registered.attachment, kind, source_name, registered.scope, '{}')),
        format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel, 'journey_capture_' || kind),
        format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel, 'journey_truncate_' || kind)]);
    PERFORM journey._watch_truncate();
    PERFORM journey._leaves_known(registered.attachment);
    RETURN QUERY SELECT 'attached'::text, rel::text,
                        format('attachment %s, kind %s, source %s, scope %s', registered.attachment, kind, source_name, registered.scope), NULL::bigint;
    IF NOT backfill THEN
        RETURN;
    END IF;
    -- CREATE TRIGGER has waited for every writer and holds the rest off until
    -- we commit; the statement that reads takes its snapshot after that, so
    -- each row is either read here or fires the trigger. Writers wait while we
    -- read, therefore only a table that takes a moment is read here.
    SELECT sum(pg_table_size(p.part)) INTO size FROM journey._attach_parts(rel) p;
    IF size > 1024 * 1024 THEN
        RETURN QUERY SELECT 'back-fill'::text, rel::text,
                            format('above 1 MB: the laps to come read its %s blocks, portion by portion; journey.stat_progress shows how far', journey._backfill_start(registered.attachment, rel)), NULL::bigint;
        RETURN;
    END IF;
    RETURN QUERY SELECT 'back-fill'::text, rel::text, 'rows appended; they become state and enroll nobody'::text,
                        journey._reconcile(registered.attachment);
END
$$;
COMMENT ON FUNCTION journey.attach(regclass, text, jsonb, boolean, boolean) IS
    'Captures every change of one of the shop''s tables from now on, and reads the rows it has: up to 1 MB at once, more by the laps to come (journey.stat_progress), and until those have been consumed permits that an event could end answer stale_data. kind: customer, product, stock, cart, cart_line, order, order_line, consent, message_event. map: canonical field → column, {"column", "values"} or {"const"}; null = guessed from usual names, and shown. dry_run shows the same and changes nothing. Needs membership in journey_admin and in the table''s owner. Attaching again replaces the map.';

CREATE FUNCTION journey._detach(attachments integer[], called text, kind text, rel regclass DEFAULT NULL)
    RETURNS TABLE (what text, name text, value text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a record;
BEGIN
    FOR a IN
        SELECT x.attachment, x.kind, format('%I.%I', x.rel_schema, x.rel_name) AS name, COALESCE(t.rel::regclass, _detach.rel) AS there
        FROM journey.attachment x LEFT JOIN journey._captures() t ON t.attachment = x.attachment AND t.root
        WHERE x.attachment = ANY (attachments) AND (_detach.kind IS NULL OR x.kind = _detach.kind)
        ORDER BY x.attachment
    LOOP
        IF a.there IS NOT NULL THEN
            PERFORM journey._short_lock(a.there, ARRAY[
                format('DROP TRIGGER IF EXISTS %I ON %s', 'journey_capture_' || a.kind, a.there),
                format('DROP TRIGGER IF EXISTS %I ON %s', 'journey_truncate_' || a.kind, a.there)]);
        END IF;
        PERFORM journey._attach_unregister(a.attachment);
        RETURN QUERY SELECT 'detached'::text, a.name,
                            format('attachment %s, kind %s', a.attachment, a.kind) || CASE WHEN a.there IS NULL THEN '; the table is gone' ELSE '' END;
    END LOOP;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not attached%', called, COALESCE(' as ' || kind, '')
            USING ERRCODE = 'undefined_object', HINT = 'journey.attachment lists what is attached.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._detach(integer[], text, text, regclass) IS
    'Ends these attachments, of one kind or of all, and drops their triggers where the table, or rel, is there. 42704 when there is none.';

CREATE FUNCTION journey.detach(rel regclass, kind text DEFAULT NULL)
    RETURNS TABLE (what text, name text, value text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._attach_follow();
    RETURN QUERY
    SELECT * FROM journey._detach(ARRAY(SELECT x.attachment FROM journey._attached(rel) x), rel::text, detach.kind, rel);
END
$$;
COMMENT ON FUNCTION journey.detach(regclass, text) IS
    'Stops capturing a table, as one kind or as all. What was captured before is still consumed.';

-- A table that is gone cannot be given as a regclass, and its attachment stops
-- what it could have ended until somebody says that it is gone for good. A bare
-- literal comes here, too, whatever it names: one that is there is looked up as
-- the caller would, for which the default of path is worked out where he calls.
CREATE FUNCTION journey.detach(rel text, kind text DEFAULT NULL, path name[] DEFAULT current_schemas(true))
    RETURNS TABLE (what text, name text, value text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    own_path text := current_setting('search_path');
    there regclass;
    tables text[];
    attachments integer[];
BEGIN
    PERFORM journey._attach_follow();
    BEGIN
        PERFORM set_config('search_path', COALESCE((SELECT string_agg(quote_ident(s), ', ' ORDER BY n) FROM unnest(path) WITH ORDINALITY p (s, n)), ''), true);
        there := pg_catalog.to_regclass(rel);
    EXCEPTION WHEN invalid_name OR syntax_error OR feature_not_supported THEN
        there := NULL; -- no name that SQL would take, but perhaps one that the table had
    END;
    PERFORM pg_catalog.set_config('search_path', own_path, true);
    IF there IS NOT NULL THEN
        RETURN QUERY SELECT * FROM journey._detach(ARRAY(SELECT x.attachment FROM journey._attached(there) x), rel, detach.kind, there);
        RETURN;
    END IF;
    SELECT array_agg(DISTINCT x.full_name), array_agg(x.attachment) INTO tables, attachments
    FROM (SELECT a.*, format('%I.%I', a.rel_schema, a.rel_name) AS full_name FROM journey.attachment a WHERE a.detached_at IS NULL) x
    WHERE rel IN (x.full_name, x.rel_schema || '.' || x.rel_name)
       OR (rel IN (quote_ident(x.rel_name), x.rel_name) AND to_regclass(x.full_name) IS NULL);
    IF cardinality(tables) > 1 THEN
        RAISE EXCEPTION '% is the name of several attached tables', rel
            USING ERRCODE = 'invalid_parameter_value', HINT = format('Name the schema, too: %s.', array_to_string(tables, ', '));
    END IF;
    RETURN QUERY SELECT * FROM journey._detach(attachments, rel, detach.kind);
END
$$;
COMMENT ON FUNCTION journey.detach(text, text, name[]) IS
    'The same by the table''s name, on the caller''s search_path or with its schema as journey.attachment has it, which also works when the table is gone.';

CREATE FUNCTION journey.reconcile(rel regclass DEFAULT NULL)
    RETURNS TABLE (attached text, kind text, appended bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a record;
    found_any boolean := false;
BEGIN
    PERFORM journey._attach_follow();
    FOR a IN
        SELECT x.* FROM journey.attachment x
        WHERE x.detached_at IS NULL
          AND (rel IS NULL OR x.attachment IN (SELECT y.attachment FROM journey._attached(rel) y))
        ORDER BY array_position(journey._attach_kinds(), x.kind), x.attachment
    LOOP
        found_any := true;
        attached := format('%I.%I', a.rel_schema, a.rel_name);
        kind := a.kind;
        appended := journey._reconcile(a.attachment);
        RETURN NEXT;
    END LOOP;
    IF rel IS NOT NULL AND NOT found_any THEN
        RAISE EXCEPTION '% is not attached', rel
            USING ERRCODE = 'undefined_object', HINT = 'Attach it with journey.attach().';
    END IF;
END
$$;
COMMENT ON FUNCTION journey.reconcile(regclass) IS
    'Reads attached tables again and appends what is missing as back-fill: after a load with triggers off, a restore, or an attach with backfill => false; also what a back-fill has not read yet. Orders and carts whose status and people are known are left out. Holds no lock that the shop waits for. appended is null when the table or its capture trigger is gone.';

CREATE FUNCTION journey._check_attachments()
    RETURNS TABLE (attachment integer, attached text, problem text, hint text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    PERFORM journey._attach_follow();
    PERFORM journey._note_leaves();
    DELETE FROM journey.leaf l WHERE NOT EXISTS (SELECT FROM journey._captures() t WHERE t.capture = l.capture);
    FOR r IN
        WITH live AS (
            SELECT a.*, root.rel AS relid,
                   (SELECT string_agg(x.rel::regclass::text, ', ' ORDER BY x.rel) FROM journey._captures() x
                    WHERE x.attachment = a.attachment AND x.enabled <> 'A') AS disabled,
                   (SELECT string_agg(col, ', ') FROM unnest(a.columns) AS col
                    WHERE NOT EXISTS (SELECT FROM pg_attribute att
                                      WHERE att.attrelid = root.rel AND att.attname = col AND att.attnum > 0 AND NOT att.attisdropped)) AS gone,
                   root.scope AS trigger_scope, s.scope AS source_scope, u.problem AS unreadable, u.hint AS grants
            FROM journey.attachment a
            LEFT JOIN journey._captures() root ON root.attachment = a.attachment AND root.root
            LEFT JOIN journey.source s ON s.source = a.source
            -- of the others nothing is read but a back-fill, which says itself what keeps it
            LEFT JOIN LATERAL journey._attach_unreadable(root.rel) u ON a.kind = 'stock' OR (a.kind = 'product' AND a.map ? 'available'
                AND NOT EXISTS (SELECT FROM journey.attachment s WHERE s.kind = 'stock' AND s.detached_at IS NULL))
            WHERE a.detached_at IS NULL
        )
        SELECT l.attachment, l.broken, format('%I.%I', l.rel_schema, l.rel_name) AS name, l.kind, v.incident, v.problem, v.hint
        FROM live l,
        LATERAL (SELECT * FROM (VALUES
            (1, l.relid IS NULL, 'capture_disabled', 'the capture trigger is gone',
             format('Run journey.attach() again or, when the table is not coming back, SELECT journey.detach(%L).', format('%I.%I', l.rel_schema, l.rel_name))),
            (2, l.disabled IS NOT NULL, 'capture_disabled', 'the capture trigger is not ENABLE ALWAYS on ' || l.disabled,
             'Run journey.attach() again; it enables the trigger. Then journey.reconcile().'),
            (3, l.gone IS NOT NULL, 'mapping_broken', 'mapped columns are missing: ' || l.gone,
             'Run journey.attach() again with a map that fits, then journey.reconcile().'),
            (4, l.trigger_scope <> l.source_scope, 'mapping_broken', 'the source has moved to scope ' || l.source_scope,
             'Run journey.attach() again with the same map.'),
            (5, l.unreadable IS NOT NULL, 'stock_unreadable', 'stock is unknown: ' || l.unreadable, l.grants),
            (6, true, NULL, NULL, NULL)) AS t (n, holds, incident, problem, hint)
            WHERE t.holds ORDER BY t.n LIMIT 1) v
        ORDER BY l.attachment
    LOOP
        IF r.broken IS DISTINCT FROM r.problem THEN
            UPDATE journey.attachment a SET broken = r.problem WHERE a.attachment = r.attachment;
            IF r.problem IS NOT NULL THEN
                INSERT INTO journey.incident AS i (kind, name, severity, count, first_at, last_at, message, hint, detail)
                VALUES (r.incident, format('%s %s', r.name, r.kind), 'error', 1,
                        clock_timestamp(), clock_timestamp(), r.problem, r.hint, jsonb_build_object('attachment', r.attachment))
                ON CONFLICT (kind, name) DO UPDATE
                SET count = i.count + 1, last_at = EXCLUDED.last_at, message = EXCLUDED.message,
                    hint = EXCLUDED.hint, detail = EXCLUDED.detail, resolved_at = NULL;
            END IF;
        END IF;
        IF r.problem IS NOT NULL THEN
            attachment := r.attachment;
            attached := r.name;
            problem := r.problem;
            hint := r.hint;
            RETURN NEXT;
        END IF;
    END LOOP;
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind IN ('capture_disabled', 'mapping_broken', 'stock_unreadable') AND i.resolved_at IS NULL
      AND NOT EXISTS (SELECT FROM journey.attachment a
                      WHERE a.attachment::text = i.detail ->> 'attachment' AND a.broken = i.message AND a.detached_at IS NULL);
END
$$;
COMMENT ON FUNCTION journey._check_attachments() IS
    'Compares attachments with the triggers and columns that are really there: follows renames, has new partitions read, keeps attachment.broken, opens and closes the incidents capture_disabled, mapping_broken and stock_unreadable. Returns what is wrong now. While attachment.broken is set, permits that an event could end must answer stale_data; of products and stock, those that need stock, while it cannot be read.';

-- observe/40_subject.sql

-- A key of a namespace that does not cross scopes is stored with its scope in
-- front. Whoever names a person says it as events do, without.
CREATE FUNCTION journey._key_forms(namespace text, value text, scope text) RETURNS SETOF text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    -- as it is stored, which also names the scope
    RETURN NEXT journey.normalise(namespace, value);
    IF (SELECT n.crosses_scopes FROM journey.namespace n WHERE n.namespace = _key_forms.namespace) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT x.scope || ':' || journey.normalise(namespace, value)
    FROM (SELECT scope WHERE scope IS NOT NULL
          UNION
          SELECT s.scope FROM journey.source s WHERE _key_forms.scope IS NULL
          UNION
          SELECT 'default' WHERE scope IS NULL) AS x (scope);
END
$$;
COMMENT ON FUNCTION journey._key_forms(text, text, text) IS
    'The values under which a key may be stored: where its namespace does not cross scopes, one for the scope that is given, or for each.';

CREATE FUNCTION journey.profile_id(subject jsonb, scope text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    r record;
    found_ids uuid[];
    forms text;
    unclear text;
    unclear_forms text;
BEGIN
    IF jsonb_typeof(subject) IS DISTINCT FROM 'object' THEN
        RETURN NULL;
    END IF;
    FOR r IN
        SELECT n.namespace, k.value
        FROM jsonb_each_text(subject) AS k(namespace, value)
        JOIN journey.namespace n ON n.namespace = k.namespace
        WHERE n.class IN ('person', 'session')
        ORDER BY n.rank DESC
    LOOP
        SELECT array_agg(DISTINCT i.profile_id), string_agg(DISTINCT i.value, ', ') INTO found_ids, forms
        FROM journey._key_forms(r.namespace, r.value, profile_id.scope) AS f (value)
        CROSS JOIN LATERAL journey.key_hash(r.namespace, f.value) AS h (hash)
        JOIN journey.identity i ON i.bucket = ((h.hash >> 54) & 1023)::smallint AND i.key_hash = h.hash
                               AND i.namespace = r.namespace AND i.value = f.value;
        IF cardinality(found_ids) = 1 THEN
            RETURN found_ids[1];
        ELSIF cardinality(found_ids) > 1 AND unclear IS NULL THEN
            unclear := r.namespace;
            unclear_forms := forms;
        END IF;
    END LOOP;
    IF unclear IS NOT NULL THEN
        RAISE EXCEPTION 'the subject names several people: % has another owner in each scope', unclear
            USING ERRCODE = 'cardinality_violation',
                  DETAIL = format('Keys of namespace %s do not cross scopes, and these are known: %s.', unclear, unclear_forms),
                  HINT = format('Say which: {"%s": "%s"}, or name another key of the person.', unclear, split_part(unclear_forms, ', ', 1));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION journey.profile_id(jsonb, text) IS
    'The person whom a subject (namespace -> value) names, by its strongest known key; null when nobody is known by any of them. A key whose namespace does not cross scopes is that of the scope given, else of the one scope in which it is known; 21000 when several people have it and no other key says which. "scope:value" names the scope, too.';

CREATE FUNCTION journey.stage(subject jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey.profile_id(subject);
BEGIN
    RETURN (SELECT s.stage FROM journey.profile_state s
            WHERE s.bucket = journey.bucket(id) AND s.profile_id = id);
END
$$;
COMMENT ON FUNCTION journey.stage(jsonb) IS
    'The main stage of a person, as of the last lap; null when nobody is known by the subject.';

CREATE FUNCTION journey.mark_test(subject jsonb, is_test boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey.profile_id(subject);
BEGIN
    PERFORM journey._demand(mark_test.subject IS NOT NULL AND is_test IS NOT NULL, 'mark_test',
                            'Name the person, as {"customer_id": "42"}, and say true or false.');
    IF NOT EXISTS (SELECT FROM journey.profile p WHERE p.bucket = journey.bucket(id) AND p.profile_id = id) THEN
        RETURN false;
    ELSIF is_test THEN
        INSERT INTO journey.test_profile (bucket, profile_id, marked_by, marked_at)
        VALUES (journey.bucket(id), id, session_user, journey.clock())
        ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM journey.test_profile t WHERE t.bucket = journey.bucket(id) AND t.profile_id = id;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.mark_test(jsonb, boolean) IS
    'Makes a known person a test profile (or not): in mode sandbox only test profiles are contacted. False when nobody is known by the subject.';

CREATE FUNCTION journey.declare_truth(signal text, source text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    UPDATE journey.source_of_truth t
    SET source = declare_truth.source, declared_by = session_user, declared_at = clock_timestamp(),
        second_writer = NULL, second_at = NULL, second_count = 0
    WHERE t.signal = declare_truth.signal;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no signal "%"', declare_truth.signal
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The signals are identity, orders, inventory, consent and eligibility.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey.declare_truth(text, text) IS
    'Declares which source is the truth for a signal (identity, orders, inventory, consent or eligibility); another source seen writing it is then reported. A null source takes the declaration back.';

-- observe/41_consent.sql

CREATE FUNCTION journey._hmac(key bytea, data bytea) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_hmac';
COMMENT ON FUNCTION journey._hmac(bytea, bytea) IS 'HMAC-SHA256 of data under key.';

CREATE FUNCTION journey._random_bytes(n integer) RETURNS bytea
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_random_bytes';
COMMENT ON FUNCTION journey._random_bytes(integer) IS 'Random bytes fit for a secret.';

CREATE FUNCTION journey._append_opt_out(source text, scope text, at timestamptz, subject jsonb, props jsonb) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_append_opt_out';
COMMENT ON FUNCTION journey._append_opt_out(text, text, timestamptz, jsonb, jsonb) IS
    'Appends an unsubscribed event with its fence to the inbox: permits refuse from the commit on.';

-- A token is base64url without padding of: 16 bytes of the profile's id; scope,
-- channel and purpose separated by a unit separator; the first 16 bytes of the
-- HMAC-SHA256 of all that. It says nothing readable but who and what, never an address.
CREATE FUNCTION journey._unsubscribe_token(profile_id uuid, scope text, channel text, purpose text DEFAULT 'marketing') RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    body bytea := uuid_send(profile_id) || convert_to(concat_ws(chr(31), scope, channel, purpose), 'UTF8');
    secret bytea := (SELECT s.value FROM journey.secret s WHERE s.name = 'unsubscribe');
BEGIN
    RETURN translate(encode(body || substr(journey._hmac(secret, body), 1, 16), 'base64'), E'+/=\n', '-_');
END
$$;
COMMENT ON FUNCTION journey._unsubscribe_token(uuid, text, text, text) IS
    'Token that lets whoever holds it take one consent back: of this person, in this scope, channel and purpose. Unguessable: signed with a secret of this database.';

CREATE FUNCTION journey._read_token(token text, OUT profile_id uuid, OUT scope text, OUT channel text, OUT purpose text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    secret bytea := (SELECT s.value FROM journey.secret s WHERE s.name = 'unsubscribe');
    raw bytea;
    body bytea;
    words text[];
BEGIN
    IF token !~ '^[A-Za-z0-9_-]+$' OR length(token) > 2000 OR length(token) % 4 = 1 THEN
        RETURN;
    END IF;
    raw := decode(rpad(translate(token, '-_', '+/'), (length(token) + 3) / 4 * 4, '='), 'base64');
    IF length(raw) < 34 THEN
        RETURN;
    END IF;
    body := substr(raw, 1, length(raw) - 16);
    IF substr(journey._hmac(secret, body), 1, 16) <> substr(raw, length(raw) - 15) THEN
        RETURN;
    END IF;
    words := string_to_array(convert_from(substr(body, 17), 'UTF8'), chr(31));
    profile_id := encode(substr(body, 1, 16), 'hex')::uuid;
    scope := words[1];
    channel := words[2];
    purpose := words[3];
END
$$;
COMMENT ON FUNCTION journey._read_token(text) IS
    'What an unsubscribe token stands for; nulls when it is none of ours.';

-- One value per namespace: the keys under which a person can be named.
CREATE FUNCTION journey._subject_of(profile_id uuid, in_scope text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (SELECT jsonb_object_agg(k.namespace, k.value)
            FROM (SELECT i.namespace, min(CASE WHEN n.crosses_scopes THEN i.value ELSE substr(i.value, length(in_scope) + 2) END) AS value
                  FROM journey.identity i
                  JOIN journey.namespace n ON n.namespace = i.namespace AND n.class IN ('person', 'session')
                  WHERE i.profile_bucket = journey.bucket(profile_id) AND i.profile_id = _subject_of.profile_id
                    AND (n.crosses_scopes OR starts_with(i.value, in_scope || ':'))
                  GROUP BY i.namespace) AS k);
END
$$;
COMMENT ON FUNCTION journey._subject_of(uuid, text) IS
    'A subject that names the person in a scope: one key of each namespace; null when there is none.';

-- What holds of a person's consents: journey.consent, which laps write, and
-- over it the last words that no lap has read.
CREATE FUNCTION journey._consents_said(id uuid)
    RETURNS TABLE (scope text, channel text, purpose text, state text, at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (s.scope, s.channel, s.purpose) s.scope, s.channel, s.purpose,
           CASE WHEN s.state = 'granted' AND s.expires_at <= journey.clock() THEN 'expired' ELSE s.state END, s.at
    FROM (SELECT c.scope, c.channel, c.purpose, c.state, c.at, c.expires_at, NULL AS seq
          FROM journey.consent c WHERE c.bucket = journey.bucket(id) AND c.profile_id = id
          UNION ALL
          SELECT h.scope, h.channel, h.purpose, h.state, h.at, h.expires_at, h.seq
          FROM journey.consent_history h WHERE h.bucket = journey.bucket(id) AND h.profile_id = id AND h.unread) s
    ORDER BY s.scope, s.channel, s.purpose, s.seq DESC NULLS LAST;
END
$$;
COMMENT ON FUNCTION journey._consents_said(uuid) IS
    'The last word about each consent of a person, whether a lap has read it or not; one that has ended is expired, not granted.';

-- Only history is written, so that no lap waits for the end of this transaction.
CREATE FUNCTION journey._say_consent(id uuid, in_scope text, on_channel text, for_purpose text, now_state text,
                                     on_basis text, from_source text, how jsonb, moment timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO journey.consent_history (bucket, profile_id, scope, channel, purpose, recorded_at, seq,
                                         state, basis, source, proof, at, unread)
    VALUES (journey.bucket(id), id, in_scope, on_channel, for_purpose, moment, journey._next_seq(),
            now_state, on_basis, from_source, how, moment, true);
END
$$;
COMMENT ON FUNCTION journey._say_consent(uuid, text, text, text, text, text, text, jsonb, timestamptz) IS
    'Records what a person says of one consent, for the next lap to take to journey.consent.';

-- Permits heed it when this commits; the event makes journeys notice, and its
-- fence stops what is under way meanwhile. Nothing happens a second time.
CREATE FUNCTION journey._opt_out(id uuid, in_scope text, on_channel text, for_purpose text, from_source text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := journey.clock();
BEGIN
    PERFORM FROM journey.profile p WHERE p.bucket = journey.bucket(id) AND p.profile_id = id;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM journey._consents_said(id) c
                   WHERE c.scope = in_scope AND c.channel = on_channel AND c.purpose = for_purpose
                     AND c.state = 'revoked') THEN
        PERFORM journey._say_consent(id, in_scope, on_channel, for_purpose, 'revoked', NULL, from_source, '{}', moment);
        PERFORM journey._append_opt_out(from_source, in_scope, moment, journey._subject_of(id, in_scope),
                                        jsonb_build_object('channel', on_channel, 'purpose', for_purpose));
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey._opt_out(uuid, text, text, text, text) IS
    'Takes one consent back, at once and for what is already under way; false when the person is not known.';

CREATE FUNCTION journey.unsubscribe(token text, source text DEFAULT 'link') RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
BEGIN
    SELECT * INTO t FROM journey._read_token(token);
    RETURN COALESCE(journey._opt_out(t.profile_id, t.scope, t.channel, t.purpose, source), false);
END
$$;
COMMENT ON FUNCTION journey.unsubscribe(text, text) IS
    'What the address behind List-Unsubscribe does on POST (RFC 8058): the consent that the token names is taken back when this commits, and the next permit is refused; journey.consent says so from the next lap on. Repeating it changes nothing. False when the token is not one of ours.';

CREATE FUNCTION journey.preferences(token text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
BEGIN
    SELECT * INTO t FROM journey._read_token(token);
    IF t.profile_id IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT COALESCE(jsonb_agg(jsonb_build_object('channel', c.channel, 'purpose', c.purpose,
                                                         'state', c.state, 'at', c.at)
                                      ORDER BY c.channel, c.purpose), '[]')
            FROM journey._consents_said(t.profile_id) c WHERE c.scope = t.scope);
END
$$;
COMMENT ON FUNCTION journey.preferences(text) IS
    'The consents of the person that a token names, in its scope: [{"channel","purpose","state","at"}]; one that has ended is expired. Null when the token is not one of ours. Safe for GET: it changes nothing.';

CREATE FUNCTION journey.set_preferences(token text, preferences jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
    p record;
    moment timestamptz := journey.clock();
    how jsonb := jsonb_build_object('by', 'preferences', 'token', left(token, 12));
BEGIN
    SELECT * INTO t FROM journey._read_token(token);
    IF t.profile_id IS NULL OR jsonb_typeof(preferences) <> 'array' THEN
        RETURN false;
    END IF;
    FOR p IN
        SELECT x.channel, COALESCE(x.purpose, 'marketing') AS purpose, x.state
        FROM jsonb_to_recordset(preferences) AS x(channel text, purpose text, state text)
        WHERE x.channel IS NOT NULL
    LOOP
        IF p.state IS DISTINCT FROM 'granted' THEN
            PERFORM journey._opt_out(t.profile_id, t.scope, p.channel, p.purpose, 'preferences');
        ELSIF NOT EXISTS (SELECT FROM journey._consents_said(t.profile_id) c
                          WHERE c.scope = t.scope AND c.channel = p.channel AND c.purpose = p.purpose
                            AND (c.state = 'granted' OR c.at > moment)) THEN
            PERFORM journey._say_consent(t.profile_id, t.scope, p.channel, p.purpose, 'granted', 'consent',
                                         'preferences', how, moment);
        END IF;
    END LOOP;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.set_preferences(text, jsonb) IS
    'Sets consents of the person that a token names: [{"channel", "purpose", "state": granted or anything else}]. What is taken back holds when this commits, what is granted from the next lap on. False when the token is not one of ours.';

CREATE FUNCTION journey.suppress(subject jsonb, scope text DEFAULT '*', reason text DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey.profile_id(subject, NULLIF(suppress.scope, '*'));
    moment timestamptz := journey.clock();
BEGIN
    PERFORM journey._demand(suppress.subject IS NOT NULL AND suppress.scope IS NOT NULL, 'suppress',
                            'Name the person, as {"customer_id": "42"}, and the scope; * stands for all.');
    IF id IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, occurred_at, effective_at,
                                     incarnation, lap, until, note, unread)
    SELECT journey.bucket(id), id, journey._next_seq(), 'manual', '', suppress.scope, 'suppressed', moment, moment,
           c.incarnation, c.lap + 1, suppress.until, concat_ws(': ', session_user, suppress.reason), true
    FROM journey.cursor c;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.suppress(jsonb, text, text, timestamptz) IS
    'Stops all but transactional messages to a known person, in one scope or all (*), until a moment or for good: permits refuse from the commit on, and the next lap takes the person out of audiences. False when nobody is known by the subject.';

CREATE FUNCTION journey.unsuppress(subject jsonb, scope text DEFAULT '*') RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey.profile_id(subject, NULLIF(unsuppress.scope, '*'));
    n integer;
BEGIN
    PERFORM journey._demand(unsuppress.subject IS NOT NULL AND unsuppress.scope IS NOT NULL, 'unsuppress',
                            'Name the person, as {"customer_id": "42"}, and the scope; * stands for all.');
    UPDATE journey.suppression s
    SET released_at = journey.clock(), released_by = s.seq
    WHERE s.bucket = journey.bucket(id) AND s.profile_id = id AND s.type = 'manual'
      AND s.released_at IS NULL AND (unsuppress.scope = '*' OR s.scope = unsuppress.scope);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey.unsuppress(jsonb, text) IS
    'Ends suppressions that suppress() made, of one scope or all (*); says how many. Opt-outs stay.';

-- observe/50_readiness.sql

-- Whether enough is observed for the first journeys: the least that every use
-- case needs, and whether what comes back from messages finds them. What a single journey listens to is event_usage()'s.
CREATE FUNCTION journey.readiness()
    RETURNS TABLE (item text, ready boolean, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    max_null_rate constant numeric := 0.05;
    max_orphan_rate constant numeric := 0.05;
    catalogue record;
BEGIN
    RETURN QUERY
    SELECT 'event ' || m.type, coalesce(t.seen, 0) > 0,
           CASE WHEN t.seen > 0 THEN format('%s seen, the last at %s', t.seen, t.last_at) ELSE 'never seen' END,
           CASE WHEN coalesce(t.seen, 0) = 0 THEN m.hint END
    FROM (VALUES
        ('product_viewed', 'Have the shop''s pages send it with journey.track().'),
        ('list_viewed', 'Have the shop''s pages send it with journey.track().'),
        ('cart_item_added', 'Attach the table of cart lines as cart_line, or send it with journey.track().'),
        ('cart_item_removed', 'Attach the table of cart lines as cart_line, or send it with journey.track().'),
        ('checkout_started', 'Have the checkout send it with journey.track().'),
        ('order_placed', 'Attach the table of orders as order, or send it with journey.track().')) AS m (type, hint)
    LEFT JOIN journey.event_type AS t USING (type);

    SELECT count(*) AS rows, count(*) - count(p.category) AS category, count(*) - count(p.price) AS price,
           count(*) - count(p.available) AS available
    INTO catalogue FROM journey.product AS p;
    RETURN QUERY
    SELECT 'product ' || c.name, catalogue.rows > 0 AND c.nulls <= max_null_rate * catalogue.rows,
           CASE WHEN catalogue.rows = 0 THEN 'no products'
                ELSE format('%s %% null: %s of %s products', round(100.0 * c.nulls / catalogue.rows, 1), c.nulls, catalogue.rows) END,
           CASE WHEN catalogue.rows = 0 OR c.nulls > max_null_rate * catalogue.rows THEN c.hint END
    FROM (VALUES
        ('category', catalogue.category, 'Map the category when attaching the table of products.'),
        ('price', catalogue.price, 'Map the price when attaching the table of products.'),
        ('available', catalogue.available, 'Attach the table of stock as stock, or map available with the products.')) AS c (name, nulls, hint);

    -- What comes back names the action that it is about. A message event that names none is counted as it is read;
    -- a visit is somebody's event all the same, so its action is looked for here, of the last 30 days.
    RETURN QUERY
    SELECT 'orphans ' || o.name, o.orphans <= max_orphan_rate * o.seen,
           CASE WHEN o.seen = 0 THEN 'nothing has come back yet'
                ELSE format('%s %%, %s of %s', round(100.0 * o.orphans / o.seen, 1), o.orphans, o.seen) END,
           CASE WHEN o.orphans > max_orphan_rate * o.seen THEN o.hint END
    FROM (
        SELECT 'message events', i.orphans, i.orphans + m.known,
               'Have the senders pass action_id or the idempotency key to the provider and back, or tell its reference with ack().'
        FROM (SELECT coalesce(sum(x.count), 0)::bigint AS orphans FROM journey.incident AS x WHERE x.kind = 'orphan_message') AS i,
             (SELECT count(*) AS known FROM journey.message_event) AS m
        UNION ALL
        SELECT 'visits', count(*) FILTER (WHERE NOT v.known), count(*),
               'Have the links of messages carry the action_id, and the shop''s pages hand it on with session_started.'
        FROM (SELECT EXISTS (SELECT FROM journey.outbox AS a WHERE a.action_id = e.action_id)
                     OR EXISTS (SELECT FROM journey.outbox_history AS a WHERE a.action_id = e.action_id) AS known
              FROM (SELECT CASE WHEN x.props ->> 'action_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                THEN (x.props ->> 'action_id')::uuid END AS action_id
                    FROM journey.event AS x
                    WHERE x.type = 'session_started' AND x.props ? 'action_id'
                      AND x.received_at > journey.clock() - interval '30 days') AS e) AS v) AS o (name, orphans, seen, hint);
END
$$;
COMMENT ON FUNCTION journey.readiness() IS
    'Is enough observed for the first journeys? A row for each event of the least that they need, never seen = not ready, and for category, price and stock of the products, with the share that is null, and one each for message events and visits, with the share that names no known action; above 5 % = not ready.';

-- interpret/10_rules.sql

CREATE FUNCTION journey.check_rule(condition text, OUT ok boolean, OUT error text, OUT "position" integer)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_check_rule';
COMMENT ON FUNCTION journey.check_rule(text) IS
    'Whether a condition would be accepted as a rule of the present user; if not, why, and the character at which it goes wrong.';

CREATE FUNCTION journey.explain_rule(condition text, subject jsonb, context jsonb DEFAULT '{}')
    RETURNS TABLE (clause text, verdict text, "values" jsonb)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET datestyle = 'ISO, MDY'
    SET intervalstyle = 'postgres'
    SET timezone = 'UTC'
    SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'journey_explain_rule';
COMMENT ON FUNCTION journey.explain_rule(text, jsonb, jsonb) IS
    'Judges a condition for a person, clause by clause: the author''s words, true, false or unknown, and the values read ("<error>" says why a clause could not be computed). context may give an event {"type", "props", …}, entry, steps, key, scope, cart_id, order_id and sku. No rows for an unknown person.';

CREATE FUNCTION journey._is_own_name(name text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_is_own_name';
COMMENT ON FUNCTION journey._is_own_name(text) IS
    'Whether a name of the vocabulary is served by journey itself, not by a property, trait or entry value of that name. For define_name().';

CREATE FUNCTION journey.define_name(name text, type text, meaning text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    known text[] := ARRAY['text', 'numeric', 'bigint', 'double precision', 'boolean',
                          'timestamp with time zone', 'text[]', 'jsonb'];
    spelled text;
BEGIN
    PERFORM journey._demand(define_name.name IS NOT NULL AND define_name.type IS NOT NULL AND define_name.meaning IS NOT NULL, 'define_name',
                            'For example: journey.define_name(''profile.points'', ''numeric'', ''loyalty points'').');
    IF define_name.name !~ '^(event|order|profile|entry)\.[^.*:]+$' THEN
        RAISE EXCEPTION 'only names of event, order, profile and entry can be defined, not "%"', define_name.name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'For example: journey.define_name(''profile.points'', ''numeric'', ''loyalty points'').';
    END IF;
    IF journey._is_own_name(define_name.name) THEN
        RAISE EXCEPTION 'the type of "%" is fixed', define_name.name
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'It is not a property, trait or entry value: journey itself knows it.',
                  HINT = 'Give yours another name. SELECT name, type, meaning FROM journey.vocabulary lists those that are taken.';
    END IF;
    BEGIN
        spelled := format_type(to_regtype(define_name.type), NULL);
    EXCEPTION WHEN syntax_error THEN
        NULL;   -- nor is it the name of any type
    END;
    IF spelled IS NULL OR spelled <> ALL (known) THEN
        RAISE EXCEPTION 'a name cannot have the type "%"', define_name.type
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The types are ' || array_to_string(known, ', ') || '.';
    END IF;
    INSERT INTO journey.vocabulary AS v (name, type, served, meaning)
    VALUES (define_name.name, spelled, true, define_name.meaning)
    ON CONFLICT ON CONSTRAINT vocabulary_pkey DO UPDATE
        SET type = excluded.type, meaning = excluded.meaning;
    PERFORM journey._invalidate('journey.vocabulary');
END
$$;
COMMENT ON FUNCTION journey.define_name(text, text, text) IS
    'Gives a property (event.x, order.x), trait (profile.x) or entry value (entry.x) a type, so that rules read it without a cast. A value that does not fit reads as unknown.';

CREATE FUNCTION journey.allow_function(function regprocedure) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM journey._demand(function IS NOT NULL, 'allow_function',
                            'Give its signature, as in allow_function(''upper(text)'').');
    IF length(function::text) > 500 THEN
        RAISE EXCEPTION 'the signature of % is too long', function USING
            ERRCODE = 'name_too_long',
            HINT = 'Allow a function of fewer arguments, or with shorter names, that calls it.';
    END IF;
    INSERT INTO journey.allowed_function (signature, never_fails, shipped)
    VALUES (function::text, false, false)
    ON CONFLICT (signature) DO NOTHING;
    PERFORM journey._invalidate('journey.allowed_function');
    RETURN function::text;
END
$$;
COMMENT ON FUNCTION journey.allow_function(regprocedure) IS
    'Lets rules call a function. It runs with the rights of the rule''s owner, who needs EXECUTE on it; it must not write and should be quick.';

CREATE FUNCTION journey.disallow_function(function text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    was_allowed boolean;
BEGIN
    PERFORM journey._demand(disallow_function.function IS NOT NULL, 'disallow_function',
                            'Give its signature as it stands in journey.allowed_function.');
    DELETE FROM journey.allowed_function a WHERE a.signature = disallow_function.function;
    was_allowed := FOUND;
    PERFORM journey._invalidate('journey.allowed_function');
    RETURN was_allowed;
END
$$;
COMMENT ON FUNCTION journey.disallow_function(text) IS
    'Takes a function, by its signature in journey.allowed_function, from what rules may call; rules that use it are broken from then on.';

-- interpret/20_features.sql

CREATE FUNCTION journey.features(subject jsonb) RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
    AS 'MODULE_PATHNAME', 'journey_features';
COMMENT ON FUNCTION journey.features(jsonb) IS
    'The features of a person at journey.clock(), by name; null for an unknown person. A feature without a value, or a broken one, is null.';

CREATE FUNCTION journey._feature_states()
    RETURNS TABLE (name text, type text, grain_us bigint, buckets bigint, broken text)
    LANGUAGE C STABLE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_feature_states';
COMMENT ON FUNCTION journey._feature_states() IS
    'The active features as this session has them: type, grain in microseconds, grains in the window, and why one is broken.';

CREATE FUNCTION journey._feature_check(doc jsonb) RETURNS void
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_feature_check';
COMMENT ON FUNCTION journey._feature_check(jsonb) IS
    'Raises an error when a document of kind feature could not be computed.';

CREATE FUNCTION journey._rule_value(expression text, context jsonb DEFAULT '{}') RETURNS jsonb
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
    AS 'MODULE_PATHNAME', 'journey_rule_value';
COMMENT ON FUNCTION journey._rule_value(text, jsonb) IS
    'Value of an expression without a person; context as in explain_rule. Null when it is unknown or cannot be computed.';

CREATE FUNCTION journey._feature_recount(name text, profile_id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
    def jsonb := (SELECT d.doc FROM journey.document d
                  WHERE d.kind = 'feature' AND d.name = _feature_recount.name AND d.state = 'active');
    state record;
    types text[];
    part text := def ->> 'of';
    today bigint;
    result jsonb;
BEGIN
    SELECT s.* INTO state FROM journey._feature_states() AS s WHERE s.name = _feature_recount.name;
    types := CASE jsonb_typeof(def -> 'on') WHEN 'array'
             THEN ARRAY(SELECT jsonb_array_elements_text(def -> 'on')) ELSE ARRAY[def ->> 'on'] END;
    IF part ~ '^[a-z0-9_]+$' THEN
        part := 'event.' || part;
    END IF;
    -- microseconds since 2000-01-01 UTC
    today := floor(((extract(epoch FROM journey.clock()) - 946684800) * 1000000) / state.grain_us);
    WITH counted AS (
        SELECT least(e.occurred_at, e.received_at) AS at, e.seq, v.value
        FROM journey.event e
        CROSS JOIN LATERAL (
            SELECT jsonb_build_object('event', jsonb_build_object(
                'type', e.type, 'occurred_at', e.occurred_at, 'source', e.source,
                'scope', e.scope, 'props', e.props)) AS event) AS c
        CROSS JOIN LATERAL (
            SELECT CASE WHEN part IS NOT NULL THEN journey._rule_value(part, c.event) #>> '{}' END AS value) AS v
        WHERE e.bucket = journey.bucket(_feature_recount.profile_id)
          AND e.profile_id = _feature_recount.profile_id
          AND e.type = ANY (types)
          AND (NOT def ? 'where' OR journey._rule_value(def ->> 'where', c.event) = 'true')
          AND (part IS NULL OR v.value IS NOT NULL)
    ), windowed AS (
        SELECT * FROM counted
        WHERE state.grain_us IS NULL
           OR floor(((extract(epoch FROM at) - 946684800) * 1000000) / state.grain_us)
              BETWEEN today - state.buckets + 1 AND today
    )
    SELECT CASE def ->> 'aggregate'
        WHEN 'count' THEN (SELECT to_jsonb(count(*)) FROM windowed)
        WHEN 'sum' THEN (SELECT to_jsonb(coalesce(sum(value::numeric), 0)) FROM windowed)
        WHEN 'days_since' THEN (SELECT to_jsonb(floor(greatest(extract(epoch FROM journey.clock() - max(at)), 0) / 86400))
                             FROM windowed HAVING count(*) > 0)
        WHEN 'last' THEN (SELECT CASE state.type WHEN 'numeric' THEN to_jsonb(value::numeric) ELSE to_jsonb(value) END
                          FROM windowed ORDER BY at DESC, seq DESC, value COLLATE "C" DESC LIMIT 1)
        WHEN 'first' THEN (SELECT CASE state.type WHEN 'numeric' THEN to_jsonb(value::numeric) ELSE to_jsonb(value) END
                           FROM windowed ORDER BY at, seq, value COLLATE "C" LIMIT 1)
        END INTO result;
    RETURN coalesce(result, 'null');
END
$$;
COMMENT ON FUNCTION journey._feature_recount(text, uuid) IS
    'A feature counted from the event log by the documented formula (docs/rules.md): the oracle for what is kept incrementally.';

-- orchestrate/10_schema.sql

-- The published JSON Schema, interpreted: the only description of what a document may hold.

CREATE FUNCTION journey._finding(severity text, code text, pointer text, message text, hint text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN jsonb_build_array(jsonb_build_object(
        'severity', severity, 'code', code, 'pointer', pointer, 'message', message, 'hint', hint));
END
$$;
COMMENT ON FUNCTION journey._finding(text, text, text, text, text) IS
    'One finding of lint, as an array of one.';

CREATE FUNCTION journey._did_you_mean(name text, among text[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    nearest text := journey._nearest(name, among);
BEGIN
    RETURN CASE
        WHEN nearest IS NOT NULL THEN format('Did you mean "%s"?', nearest)
        WHEN cardinality(among) BETWEEN 1 AND 24 THEN
            'It may be one of: ' || (SELECT string_agg(a, ', ' ORDER BY a) FROM unnest(among) AS a) || '.'
    END;
END
$$;
COMMENT ON FUNCTION journey._did_you_mean(text, text[]) IS
    'The hint for an unknown name: the nearest one, or the whole choice when it is short.';

CREATE FUNCTION journey._pointer(base text, token text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN base || '/' || replace(replace(token, '~', '~0'), '/', '~1');
END
$$;
COMMENT ON FUNCTION journey._pointer(text, text) IS
    'A JSON Pointer one level deeper (RFC 6901).';

CREATE FUNCTION journey._schema_rule(defs jsonb, rule jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    form jsonb;
BEGIN
    WHILE rule ? '$ref' LOOP
        form := defs -> substr(rule ->> '$ref', 9); -- '#/$defs/'
        IF form ? 'description' AND NOT rule ? 'x-form' THEN
            form := form || jsonb_build_object('x-form', form -> 'description');
        END IF;
        rule := form || (rule - '$ref');
    END LOOP;
    RETURN rule;
END
$$;
COMMENT ON FUNCTION journey._schema_rule(jsonb, jsonb) IS
    'A rule of the schema with its references followed; words beside a reference win. The description of what is referred to stays as x-form: it says what the value looks like.';

CREATE FUNCTION journey._schema_fits(rule jsonb, doc jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(doc);
BEGIN
    IF rule ? 'type' AND rule ->> 'type' <> kind AND NOT (rule ->> 'type' = 'integer' AND kind = 'number')
        OR rule ? 'const' AND rule -> 'const' <> doc
        OR rule ? 'enum' AND NOT rule -> 'enum' @> jsonb_build_array(doc)
    THEN
        RETURN false;
    END IF;
    IF kind = 'string' THEN
        RETURN NOT rule ? 'pattern' OR doc #>> '{}' ~ (rule ->> 'pattern');
    ELSIF kind <> 'object' THEN
        RETURN true;
    END IF;
    RETURN (NOT rule ? 'required' OR NOT EXISTS (
                SELECT FROM jsonb_array_elements_text(rule -> 'required') AS r WHERE NOT doc ? r))
       AND (NOT rule ? 'anyOf' OR EXISTS (
                SELECT FROM jsonb_array_elements(rule -> 'anyOf') AS a WHERE doc ? (a #>> '{required,0}')))
       AND NOT EXISTS (
                SELECT FROM jsonb_each(rule -> 'properties') AS p
                WHERE doc ? p.key AND (p.value ? 'const' AND p.value -> 'const' <> doc -> p.key
                    OR p.key = 'kind' AND p.value ? 'enum' AND NOT p.value -> 'enum' @> jsonb_build_array(doc -> p.key)));
END
$$;
COMMENT ON FUNCTION journey._schema_fits(jsonb, jsonb) IS
    'Whether a value looks like the one that an alternative of the schema means: type, fixed values, pattern, required fields. The depth is left to _schema_check.';

CREATE FUNCTION journey._schema_choice(defs jsonb, rule jsonb, doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    choices jsonb[];
    same jsonb[];
    choice jsonb;
    best jsonb;
    score bigint;
    best_score bigint := 0;
    ties integer := 0;
    names text[];
    label text;
BEGIN
    FOR choice IN SELECT c FROM jsonb_array_elements(rule -> 'oneOf') WITH ORDINALITY AS t (c, n) ORDER BY n LOOP
        choice := journey._schema_rule(defs, choice);
        -- alternatives of an alternative are alternatives: event_types is a text or an array
        IF journey._schema_fits(choice, doc)
            AND (NOT choice ? 'oneOf' OR choice ? 'type' OR EXISTS (
                SELECT FROM jsonb_array_elements(choice -> 'oneOf') AS c
                WHERE journey._schema_fits(journey._schema_rule(defs, c), doc)))
        THEN
            RETURN journey._schema_check(defs, choice, doc, pointer);
        END IF;
        choices := choices || choice;
        IF choice ->> 'type' = jsonb_typeof(doc) THEN
            same := same || choice;
        END IF;
    END LOOP;

    IF cardinality(same) = 1 THEN
        RETURN journey._schema_check(defs, same[1], doc, pointer);
    ELSIF same IS NULL OR jsonb_typeof(doc) <> 'object' THEN
        RETURN journey._finding('error', CASE WHEN same IS NULL AND NOT rule -> 'oneOf' @> '[{"enum": []}]' THEN 'wrong_type' ELSE 'wrong_value' END,
            pointer, format('%s does not fit here', left(doc::text, 60)),
            'Expected: ' || (SELECT string_agg(coalesce(c ->> 'x-form', c ->> 'description', c ->> 'const', c ->> 'enum'), ' Or: ')
                             FROM unnest(choices) AS c WHERE NOT c ? 'not'));
    END IF;

    -- Several kinds of object: told apart by a fixed field?
    IF (SELECT bool_and(c #> '{properties,kind}' IS NOT NULL) FROM unnest(same) AS c) THEN
        SELECT array_agg(k) INTO names
        FROM unnest(same) AS c,
             jsonb_array_elements_text(coalesce(c #> '{properties,kind,enum}', jsonb_build_array(c #> '{properties,kind,const}'))) AS k
        WHERE NOT c ? 'not';
        FOREACH choice IN ARRAY same LOOP
            IF choice #> '{properties,kind,const}' = doc -> 'kind'
                OR choice #> '{properties,kind,enum}' @> jsonb_build_array(doc -> 'kind') THEN
                RETURN journey._schema_check(defs, choice, doc, pointer);
            END IF;
        END LOOP;
        IF NOT doc ? 'kind' THEN
            RETURN journey._finding('error', 'missing_field', pointer, 'the field "kind" is missing',
                                    journey._did_you_mean('', names));
        END IF;
        RETURN journey._finding('error', 'wrong_value', pointer || '/kind',
            format('unknown kind %s', doc -> 'kind'), journey._did_you_mean(coalesce(doc ->> 'kind', ''), names));
    END IF;

    -- Or by the fields it has: the alternative that knows most of them.
    FOREACH choice IN ARRAY same LOOP
        SELECT count(*) INTO score FROM jsonb_object_keys(doc) AS k WHERE choice -> 'properties' ? k;
        IF score > best_score THEN
            best := choice;
            best_score := score;
            ties := 1;
        ELSIF score = best_score THEN
            ties := ties + 1;
        END IF;
    END LOOP;
    IF best_score > 0 AND ties = 1 THEN
        RETURN journey._schema_check(defs, best, doc, pointer);
    END IF;
    SELECT array_agg(DISTINCT r) INTO names
    FROM unnest(same) AS c, jsonb_array_elements_text(c -> 'required') AS r WHERE NOT c ? 'not';
    SELECT k INTO label
    FROM jsonb_object_keys(doc) AS k
    WHERE NOT EXISTS (SELECT FROM unnest(same) AS c WHERE c -> 'properties' ? k)
    ORDER BY k LIMIT 1;
    IF label IS NOT NULL THEN
        RETURN journey._finding('error', 'unknown_field', journey._pointer(pointer, label),
                                format('unknown field "%s"', label), journey._did_you_mean(label, names));
    END IF;
    RETURN journey._finding('error', 'missing_field', pointer,
        format('one of the fields %s is needed', (SELECT string_agg(format('"%s"', n), ', ' ORDER BY n) FROM unnest(names) AS n)),
        rule ->> 'description');
END
$$;
COMMENT ON FUNCTION journey._schema_choice(jsonb, jsonb, jsonb, text) IS
    'Finds the alternative that a value means and checks it against that one, so that a mistake is reported where it is and not as "fits none".';

CREATE FUNCTION journey._is_a(type text, word text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF type = 'interval' THEN
        PERFORM word::interval;
    ELSE
        PERFORM word::timestamptz;
    END IF;
    RETURN true;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION journey._is_a(text, text) IS
    'Whether a text that looks like an interval or a moment is one: "1 day 2 days" and "2026-02-31" are not.';

CREATE FUNCTION journey._schema_scalar(rule jsonb, doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(doc);
    word text := doc #>> '{}';
    wrong boolean := false;
BEGIN
    IF rule ? 'const' AND rule -> 'const' <> doc THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('must be %s, not %s', rule -> 'const', left(doc::text, 60)),
                                rule ->> 'description');
    ELSIF rule ? 'enum' AND NOT rule -> 'enum' @> jsonb_build_array(doc) THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('%s is not one of its values', left(doc::text, 60)),
            journey._did_you_mean(word, ARRAY(SELECT jsonb_array_elements_text(rule -> 'enum'))));
    END IF;
    IF kind = 'string' THEN
        wrong := rule ? 'pattern' AND word !~ (rule ->> 'pattern')
            OR rule ? 'minLength' AND length(word) < (rule ->> 'minLength')::integer
            OR rule ? 'maxLength' AND length(word) > (rule ->> 'maxLength')::integer;
    ELSIF kind = 'number' THEN
        wrong := rule ? 'minimum' AND word::numeric < (rule ->> 'minimum')::numeric
            OR rule ? 'maximum' AND word::numeric > (rule ->> 'maximum')::numeric
            OR rule ? 'exclusiveMinimum' AND word::numeric <= (rule ->> 'exclusiveMinimum')::numeric
            OR rule ? 'exclusiveMaximum' AND word::numeric >= (rule ->> 'exclusiveMaximum')::numeric;
    END IF;
    IF wrong OR rule ? 'x-type' AND NOT journey._is_a(rule ->> 'x-type', word) THEN
        RETURN journey._finding('error', 'wrong_value', pointer, format('%s does not fit here', left(doc::text, 60)),
                                'Expected: ' || coalesce(rule ->> 'x-form', rule ->> 'description'));
    END IF;
    IF rule ? 'x-journey' THEN
        RETURN jsonb_build_array(jsonb_build_object('mark', rule -> 'x-journey', 'pointer', pointer, 'value', doc));
    END IF;
    RETURN '[]';
END
$$;
COMMENT ON FUNCTION journey._schema_scalar(jsonb, jsonb, text) IS
    'Checks a text, number, boolean or null; gives a mark for one whose meaning the schema tells (x-journey).';

CREATE FUNCTION journey._schema_check(defs jsonb, rule jsonb, doc jsonb, pointer text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kind text := jsonb_typeof(doc);
    found jsonb := '[]';
    item record;
    later text;
BEGIN
    rule := journey._schema_rule(defs, rule);
    IF rule ? 'not' THEN
        SELECT a #>> '{required,0}' INTO later
        FROM jsonb_array_elements(rule -> 'anyOf') AS a WHERE doc ? (a #>> '{required,0}') LIMIT 1;
        RETURN journey._finding('error', 'not_in_release', pointer || coalesce('/' || later, ''),
            format('"%s" is not in this release', coalesce(later, regexp_replace(pointer, '^.*/', ''))),
            'Leave it out; docs/schema/journey.schema.json lists what this release understands.');
    ELSIF rule ? 'oneOf' THEN
        RETURN journey._schema_choice(defs, rule, doc, pointer);
    ELSIF rule ? 'type' AND rule ->> 'type' <> kind
        AND NOT (rule ->> 'type' = 'integer' AND kind = 'number' AND trunc((doc #>> '{}')::numeric) = (doc #>> '{}')::numeric)
    THEN
        RETURN journey._finding('error', 'wrong_type', pointer,
            format('must be %s, not %s', rule ->> 'type', kind), 'Expected: ' || (rule ->> 'description'));
    ELSIF kind NOT IN ('object', 'array') OR rule ? 'enum' OR rule ? 'const' THEN
        RETURN journey._schema_scalar(rule, doc, pointer);
    END IF;

    IF kind = 'array' THEN
        IF jsonb_array_length(doc) < coalesce((rule ->> 'minItems')::integer, 0) THEN
            found := journey._finding('error', 'wrong_value', pointer, 'the list is too short', rule ->> 'description');
        ELSIF rule ? 'uniqueItems' AND (SELECT count(DISTINCT e) < count(*) FROM jsonb_array_elements(doc) AS e) THEN
            found := journey._finding('error', 'not_unique', pointer, 'the list names something twice', 'Name it once.');
        END IF;
        FOR item IN SELECT (n - 1)::text AS key, e AS value FROM jsonb_array_elements(doc) WITH ORDINALITY AS t (e, n) LOOP
            found := found || journey._schema_check(defs, rule -> 'items', item.value, pointer || '/' || item.key);
        END LOOP;
        RETURN found;
    END IF;

    FOR item IN SELECT r AS key FROM jsonb_array_elements_text(rule -> 'required') AS r WHERE NOT doc ? r LOOP
        found := found || journey._finding('error', 'missing_field', pointer, format('the field "%s" is missing', item.key),
            journey._schema_rule(defs, coalesce(rule #> ARRAY['properties', item.key], '{}')) ->> 'description');
    END LOOP;
    IF (SELECT count(*) FROM jsonb_object_keys(doc))
        NOT BETWEEN coalesce((rule ->> 'minProperties')::bigint, 0) AND coalesce((rule ->> 'maxProperties')::bigint, 1000000) THEN
        found := found || journey._finding('error', 'wrong_value', pointer, 'too few or too many fields', rule ->> 'description');
    END IF;
    FOR item IN SELECT key, value FROM jsonb_each(doc) LOOP
        IF rule -> 'properties' ? item.key THEN
            found := found || journey._schema_check(defs, rule #> ARRAY['properties', item.key], item.value,
                                                    journey._pointer(pointer, item.key));
        ELSIF jsonb_typeof(rule -> 'additionalProperties') = 'object' THEN
            IF rule ? 'propertyNames' THEN
                found := found || journey._schema_check(defs, rule -> 'propertyNames', to_jsonb(item.key),
                                                        journey._pointer(pointer, item.key));
            END IF;
            found := found || journey._schema_check(defs, rule -> 'additionalProperties', item.value,
                                                    journey._pointer(pointer, item.key));
        ELSE
            found := found || journey._finding('error', 'unknown_field', journey._pointer(pointer, item.key),
                format('unknown field "%s"', item.key),
                journey._did_you_mean(item.key, ARRAY(SELECT jsonb_object_keys(rule -> 'properties'))));
        END IF;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._schema_check(jsonb, jsonb, jsonb, text) IS
    'Interprets the JSON Schema: an array of findings, and of marks {mark, pointer, value} for every text whose meaning the schema tells.';

-- orchestrate/20_lint.sql

-- What the schema cannot say: lint's rules over steps, references, purpose and conditions (docs/lint.md).

CREATE FUNCTION journey._lookup(wanted_kind text, wanted_name text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN coalesce(
        (SELECT b FROM jsonb_array_elements(bundle) AS b
         WHERE b ->> 'kind' = wanted_kind AND b ->> 'name' = wanted_name LIMIT 1),
        (SELECT d.doc FROM journey.document AS d
         WHERE d.kind = wanted_kind AND d.name = wanted_name AND d.state = 'active'));
END
$$;
COMMENT ON FUNCTION journey._lookup(text, text, jsonb) IS
    'The document that a name means: one of the bundle, else the active one.';

CREATE FUNCTION journey._names(wanted_kind text, bundle jsonb) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT d.name FROM journey.document AS d WHERE d.kind = wanted_kind AND d.state = 'active'
                 UNION SELECT b ->> 'name' FROM jsonb_array_elements(bundle) AS b WHERE b ->> 'kind' = wanted_kind
                 ORDER BY 1);
END
$$;
COMMENT ON FUNCTION journey._names(text, jsonb) IS
    'Names of the documents of a kind: active ones and those of the bundle.';

CREATE FUNCTION journey._list(value jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE jsonb_typeof(value)
        WHEN 'string' THEN ARRAY[value #>> '{}']
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(value))
        ELSE '{}'::text[] END;
END
$$;
COMMENT ON FUNCTION journey._list(jsonb) IS
    'A text or a list of texts, as a list.';

CREATE FUNCTION journey._instant(written text) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $$
BEGIN
    RETURN written::timestamptz;
END
$$;
COMMENT ON FUNCTION journey._instant(text) IS
    'A moment as documents write it; a bare date is its start in UTC.';

CREATE FUNCTION journey._bare(expression text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN regexp_replace(expression, $r$'([^']|'')*'$r$, '''''', 'g');
END
$$;
COMMENT ON FUNCTION journey._bare(text) IS
    'An expression without the contents of its quoted texts, so that names can be looked for in it.';

CREATE FUNCTION journey._edges(doc jsonb) RETURNS TABLE (from_step text, to_step text, edge text)
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT s.key, e.to_step, e.edge
    FROM jsonb_each(doc -> 'steps') AS s
    CROSS JOIN LATERAL (
        -- a step's own edge wins over the default; the reasons of on_refused add up
        SELECT s.value ->> n.name, n.name
        FROM (VALUES ('next'), ('on_timeout'), ('else'), ('on_failed'), ('on_unknown')) AS n (name)
        WHERE s.value ? n.name
        UNION ALL
        SELECT doc -> 'defaults' ->> n.name, n.name
        FROM (VALUES ('on_failed'), ('on_unknown')) AS n (name)
        WHERE doc -> 'defaults' ? n.name AND NOT s.value ? n.name
          AND (s.value ? 'send' OR s.value ? 'branch' AND n.name = 'on_unknown')
        UNION ALL
        SELECT b ->> 'to', 'branch' FROM jsonb_array_elements(s.value -> 'branch') AS b
        UNION ALL
        SELECT r.to_step, 'on_refused'
        FROM (VALUES (s.value -> 'on_refused', true),
                     (doc -> 'defaults' -> 'on_refused', s.value ? 'send' AND NOT coalesce(
                          jsonb_typeof(s.value -> 'on_refused') = 'string' OR s.value -> 'on_refused' ? '*', false))
             ) AS o (refused, holds)
        CROSS JOIN LATERAL (
            SELECT o.refused #>> '{}' WHERE jsonb_typeof(o.refused) = 'string'
            UNION ALL
            SELECT m.value FROM jsonb_each_text(CASE jsonb_typeof(o.refused) WHEN 'object' THEN o.refused END) AS m) AS r (to_step)
        WHERE o.holds
    ) AS e (to_step, edge);
END
$$;
COMMENT ON FUNCTION journey._edges(jsonb) IS
    'The edges between the steps of a journey, defaults included.';

CREATE FUNCTION journey._start_step(doc jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    roots text[];
BEGIN
    IF doc ? 'start' THEN
        RETURN doc ->> 'start';
    END IF;
    roots := ARRAY(SELECT jsonb_object_keys(doc -> 'steps')
                   EXCEPT SELECT e.to_step FROM journey._edges(doc) AS e WHERE e.from_step <> e.to_step);
    RETURN CASE cardinality(roots) WHEN 1 THEN roots[1] END;
END
$$;
COMMENT ON FUNCTION journey._start_step(jsonb) IS
    'Where an enrollment starts: at start, else at the one step that no edge leads to; null when that is not one step.';

CREATE FUNCTION journey._lint_condition(mark jsonb, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    is_condition boolean := mark ->> 'mark' = 'condition';
    words text := mark ->> 'value';
    feature text;
    verdict record;
BEGIN
    -- an expression of any type parses when the question whether it is null does
    SELECT * INTO verdict
    FROM journey.check_rule(CASE WHEN is_condition THEN words ELSE format('(%s) IS NOT NULL', words) END);
    IF verdict.ok THEN
        RETURN '[]';
    END IF;
    SELECT b ->> 'name' INTO feature
    FROM jsonb_array_elements(bundle) AS b
    WHERE b ->> 'kind' = 'feature' AND journey._bare(words) ~ ('\m' || (b ->> 'name') || '\M')
    LIMIT 1;
    IF feature IS NOT NULL THEN
        RETURN journey._finding('warning', 'condition_unchecked', mark ->> 'pointer',
            format('reads the feature "%s" of this bundle, which is not applied yet', feature),
            'It is checked when the bundle is applied.');
    END IF;
    RETURN journey._finding('error', 'broken_condition', mark ->> 'pointer', verdict.error,
        CASE WHEN verdict.position IS NOT NULL
             THEN format('At character %s of: %s', greatest(1, verdict.position - CASE WHEN is_condition THEN 0 ELSE 1 END), words) END);
END
$$;
COMMENT ON FUNCTION journey._lint_condition(jsonb, jsonb) IS
    'Whether a condition or an expression parses over the documented names.';

CREATE FUNCTION journey._zone_exists(zone text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF zone = 'UTC' THEN
        RETURN true;
    END IF;
    PERFORM now() AT TIME ZONE zone;
    -- The server also takes abbreviations and POSIX rules such as Europe/Berln+3; listing all zones takes
    -- a while, so only a name that could be one of these is looked up.
    RETURN zone ~ '^[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_]+)+$'
        OR EXISTS (SELECT FROM pg_timezone_names AS z WHERE z.name = zone);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION journey._zone_exists(text) IS
    'Whether a name is a time zone of the database''s list.';

CREATE FUNCTION journey._lint_mark(mark jsonb, bundle jsonb, activation boolean) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    name text := mark ->> 'value';
    pointer text := mark ->> 'pointer';
BEGIN
    CASE mark ->> 'mark'
    WHEN 'condition', 'expression' THEN
        RETURN journey._lint_condition(mark, bundle);
    WHEN 'event_value' THEN
        -- as features read it: a bare name is a property of the event
        RETURN journey._lint_condition(jsonb_set(mark, '{value}', to_jsonb(regexp_replace(name, '^[a-z0-9_]+$', 'event.\&'))), bundle);
    WHEN 'event_type' THEN
        IF NOT EXISTS (SELECT FROM journey.event_type AS t WHERE t.type = name AND t.known) THEN
            RETURN journey._finding('warning', 'unknown_event_type', pointer, format('unknown event type "%s"', name),
                coalesce(journey._did_you_mean(name, ARRAY(SELECT t.type FROM journey.event_type AS t WHERE t.known ORDER BY 1)),
                         'Events of types outside the vocabulary are kept too; ignore this when yours is one of them.'));
        END IF;
    WHEN 'channel' THEN
        IF name <> '*' AND journey._lookup('channel', name, bundle) IS NULL THEN
            RETURN journey._finding('error', 'unknown_channel', pointer, format('unknown channel "%s"', name),
                                    journey._did_you_mean(name, journey._names('channel', bundle)));
        END IF;
    WHEN 'template' THEN
        IF journey._lookup('template', name, bundle) IS NULL THEN
            RETURN journey._finding(CASE WHEN activation THEN 'error' ELSE 'warning' END, 'unknown_template', pointer,
                format('unknown template "%s"', name),
                coalesce(journey._did_you_mean(name, journey._names('template', bundle)), 'Apply the template before the journey is activated.'));
        END IF;
    WHEN 'zone' THEN
        IF NOT (name = 'profile' AND pointer LIKE '%/quiet_hours/zone') AND NOT journey._zone_exists(name) THEN
            RETURN journey._finding('error', 'unknown_zone', pointer, format('unknown time zone "%s"', name),
                journey._did_you_mean(name, ARRAY(SELECT z.name FROM pg_timezone_names AS z ORDER BY 1)));
        END IF;
    ELSE
        NULL; -- steps and reasons are looked at together with their journey
    END CASE;
    RETURN '[]';
END
$$;
COMMENT ON FUNCTION journey._lint_mark(jsonb, jsonb, boolean) IS
    'Checks one text whose meaning the schema tells: a condition, an event type, a channel, a template or a zone.';

CREATE FUNCTION journey._lint_graph(doc jsonb, base text, marks jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    steps text[] := ARRAY(SELECT jsonb_object_keys(doc -> 'steps') ORDER BY 1);
    roots text[];
    first text := journey._start_step(doc);
    item record;
BEGIN
    FOR item IN SELECT m ->> 'pointer' AS pointer, m ->> 'value' AS step FROM jsonb_array_elements(marks) AS m
                WHERE m ->> 'mark' = 'step' AND m ->> 'value' <> ALL (steps) LOOP
        found := found || journey._finding('error', 'unknown_step', item.pointer, format('there is no step "%s"', item.step),
                                           journey._did_you_mean(item.step, steps));
    END LOOP;

    roots := ARRAY(SELECT unnest(steps) EXCEPT SELECT e.to_step FROM journey._edges(doc) AS e WHERE e.from_step <> e.to_step ORDER BY 1);
    IF first IS NULL THEN
        found := found || CASE WHEN cardinality(roots) = 0
            THEN journey._finding('error', 'start_ambiguous', base || '/steps', 'an edge leads to every step, so that it is unclear which is the first',
                                  'Name the first step with "start".')
            ELSE journey._finding('error', 'step_unreachable', base || '/steps',
                                  format('no edge leads to the steps %s', (SELECT string_agg(format('"%s"', r), ', ') FROM unnest(roots) AS r)),
                                  'One of them is the first step; lead an edge to the others, or name the first with "start".') END;
    ELSIF first = ANY (steps) THEN
        FOR item IN
            WITH RECURSIVE reached (step) AS (
                SELECT first
                UNION
                SELECT e.to_step FROM reached AS r JOIN journey._edges(doc) AS e ON e.from_step = r.step)
            SELECT s AS step FROM unnest(steps) AS s EXCEPT SELECT r.step FROM reached AS r ORDER BY 1
        LOOP
            found := found || journey._finding('error', 'step_unreachable', journey._pointer(base || '/steps', item.step),
                format('no path leads to the step "%s"', item.step), 'Lead an edge to it, or remove it.');
        END LOOP;
    END IF;

    FOR item IN
        WITH RECURSIVE moves AS MATERIALIZED (
            SELECT DISTINCT e.from_step, e.to_step FROM journey._edges(doc) AS e
            -- "0 minutes" is no wait
            WHERE NOT (doc #> ARRAY['steps', e.from_step] ? 'wait'
                       AND coalesce(doc #>> ARRAY['steps', e.from_step, 'wait', 'for'],
                                    doc #>> ARRAY['steps', e.from_step, 'wait', 'timeout'], '1') ~ '[1-9]')),
        path (from_step, to_step) AS (
            SELECT m.from_step, m.to_step FROM moves AS m
            UNION
            SELECT p.from_step, m.to_step FROM path AS p JOIN moves AS m ON m.from_step = p.to_step)
        SELECT min(p.from_step) AS step FROM path AS p WHERE p.from_step = p.to_step HAVING count(*) > 0
    LOOP
        found := found || journey._finding('error', 'loop_without_wait', journey._pointer(base || '/steps', item.step),
            format('a loop leads from the step "%s" back to it without a wait', item.step), 'Put a wait into the loop.');
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_graph(jsonb, text, jsonb) IS
    'Edges lead to steps, every step is reached, no loop runs without a wait.';

CREATE FUNCTION journey._lint_step(name text, step jsonb, doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    here text := journey._pointer(base || '/steps', name);
    defaults jsonb := coalesce(doc -> 'defaults', '{}');
    refused jsonb := coalesce(step -> 'on_refused', defaults -> 'on_refused');
    missing text[] := '{}';
    edge text;
    other text;
BEGIN
    IF step ? 'send' THEN
        IF NOT step ? 'next' THEN missing := missing || 'next'::text; END IF;
        IF refused IS NULL OR jsonb_typeof(refused) = 'object' AND NOT refused ? '*'
            AND NOT (jsonb_typeof(defaults -> 'on_refused') = 'string' OR defaults -> 'on_refused' ? '*') IS TRUE THEN
            missing := missing || 'on_refused'::text;
        END IF;
        IF NOT (step ? 'on_failed' OR defaults ? 'on_failed') THEN missing := missing || 'on_failed'::text; END IF;
        IF NOT (step -> 'send' ? 'not_after' OR defaults ? 'not_after') THEN
            found := found || journey._finding('warning', 'missing_not_after', here || '/send',
                'nothing says until when the action may still be sent', 'Set not_after in the send or in defaults; without it 7 days are taken.');
        END IF;
        RETURN found || journey._lint_edges(missing, here) || journey._lint_send(name, step -> 'send', doc, base, bundle);
    ELSIF step ? 'wait' THEN
        IF NOT step ? 'next' THEN missing := missing || 'next'::text; END IF;
        IF step -> 'wait' ? 'until_event' AND NOT step -> 'wait' ? 'timeout' THEN
            found := found || journey._finding('warning', 'wait_without_timeout', here || '/wait',
                'this wait has no end when the event does not come', 'Set timeout.');
        END IF;
        FOR other IN SELECT o FROM unnest(journey._list(step #> '{wait,until_event,of}')) AS o
                     WHERE doc -> 'steps' ? o AND NOT doc #> ARRAY['steps', o] ? 'send' LOOP
            found := found || journey._finding('error', 'not_a_send', here || '/wait/until_event/of',
                format('the step "%s" sends nothing', other), 'Name send steps here.');
        END LOOP;
    ELSIF step ? 'branch' THEN
        IF NOT (step ? 'on_unknown' OR defaults ? 'on_unknown') THEN missing := missing || 'on_unknown'::text; END IF;
    END IF;
    RETURN found || journey._lint_edges(missing, here);
END
$$;
COMMENT ON FUNCTION journey._lint_step(text, jsonb, jsonb, text, jsonb) IS
    'Every way out of a step leads somewhere.';

CREATE FUNCTION journey._lint_edges(missing text[], pointer text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    edge text;
BEGIN
    FOREACH edge IN ARRAY missing LOOP
        found := found || journey._finding('error', 'missing_edge', pointer, format('the edge "%s" is missing', edge),
            CASE edge WHEN 'next' THEN 'Name the step that follows; an exit step ends the journey.'
                      WHEN 'on_refused' THEN 'Set on_refused here or in defaults, with "*" for every other reason.'
                      ELSE format('Set %s here or in defaults.', edge) END);
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_edges(text[], text) IS
    'One finding per missing edge.';

CREATE FUNCTION journey._lint_send(name text, send jsonb, doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    here text := journey._pointer(base || '/steps', name) || '/send';
    template jsonb := journey._lookup('template', send ->> 'template', bundle);
    given text[] := ARRAY(SELECT jsonb_object_keys(send -> 'data') ORDER BY 1);
    declared text[] := ARRAY(SELECT jsonb_object_keys(template -> 'variables') ORDER BY 1);
    channel jsonb;
    word text;
BEGIN
    FOR word IN SELECT unnest(declared) EXCEPT SELECT unnest(given) ORDER BY 1 LOOP
        found := found || journey._finding('error', 'template_data', here || '/data',
            format('the template "%s" needs the variable "%s"', send ->> 'template', word), format('Give it in data: {"%s": …}.', word));
    END LOOP;
    IF template IS NOT NULL THEN
        FOR word IN SELECT unnest(given) EXCEPT SELECT unnest(declared) ORDER BY 1 LOOP
            found := found || journey._finding('error', 'template_data', journey._pointer(here || '/data', word),
                format('the template "%s" has no variable "%s"', send ->> 'template', word), journey._did_you_mean(word, declared));
        END LOOP;
    END IF;
    FOR word IN SELECT substr(r #>> '{}', 7) FROM jsonb_array_elements(send -> 'require') AS r WHERE jsonb_typeof(r) = 'string' LOOP
        IF word <> ALL (given) THEN
            found := found || journey._finding('error', 'stock_without_data', here || '/require',
                format('"stock:%s" names no variable of data', word), journey._did_you_mean(word, given));
        END IF;
    END LOOP;
    FOREACH word IN ARRAY journey._list(send -> 'channel') LOOP
        channel := journey._lookup('channel', word, bundle);
        IF NOT channel -> 'purposes' ? (doc ->> 'purpose') THEN
            found := found || journey._finding('error', 'channel_purpose', here || '/channel',
                format('the channel "%s" carries no %s messages', word, doc ->> 'purpose'), 'Choose another channel, or add the purpose to it.');
        END IF;
        IF NOT template -> 'channels' ? word THEN
            found := found || journey._finding('warning', 'template_channel', here || '/template',
                format('the template "%s" is not written for the channel "%s"', send ->> 'template', word), 'Add the channel to the template, or take another template.');
        END IF;
    END LOOP;
    IF doc ->> 'purpose' <> 'marketing' AND (jsonb_array_length(template -> 'contains') > 0 OR EXISTS (
            SELECT FROM unnest(given || declared) AS v WHERE v ~ '^(discount|coupon|voucher|promo|offer|recommend)')) THEN
        found := found || journey._finding('error', 'promotion_in_service', here,
            format('a discount or a recommendation in a %s message', doc ->> 'purpose'),
            'Such a message is marketing: send it from a journey with purpose marketing, which asks for consent.');
    END IF;
    IF doc ->> 'purpose' = 'marketing' AND NOT coalesce(send -> 'require' @> '[]' AND EXISTS (
            SELECT FROM jsonb_array_elements_text(send -> 'require') AS r WHERE r LIKE 'stock:%'), false)
        AND EXISTS (SELECT FROM unnest(given) AS v WHERE v ~ '(^|_)sku$') THEN
        found := found || journey._finding('warning', 'missing_stock_check', here,
            'it speaks of a product without asking whether that is in stock', 'Add "require": ["stock:sku"].');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_send(text, jsonb, jsonb, text, jsonb) IS
    'A send gives its template exactly what that declares, over channels that fit, with the checks its purpose asks for.';

CREATE FUNCTION journey._lint_purpose(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    purpose text := doc ->> 'purpose';
    sends boolean := EXISTS (SELECT FROM jsonb_each(doc -> 'steps') AS s WHERE s.value ? 'send');
    suppressing text[] := ARRAY(SELECT coalesce(e ->> 'on', e #>> '{}') FROM jsonb_array_elements(doc -> 'suppress_on') AS e);
    ending text[] := ARRAY(SELECT unnest(journey._list(e -> 'on')) FROM jsonb_array_elements(doc -> 'exit') AS e)
                     || journey._list(doc #> '{goal,on}');
BEGIN
    IF purpose = 'marketing' AND sends THEN
        IF cardinality(suppressing) = 0 THEN
            found := found || journey._finding('error', 'missing_suppress_on', base, 'a marketing journey sends, and no event stops it',
                'Add "suppress_on": ["order_placed"]: from the commit of such an event on nothing is sent any more.');
        ELSIF doc ->> 'stage' = 'purchase' AND 'order_placed' <> ALL (suppressing) THEN
            found := found || journey._finding('error', 'missing_suppress_on', base || '/suppress_on',
                'an order does not stop this reminder', 'Add "order_placed" to suppress_on.');
        END IF;
        IF coalesce(jsonb_array_length(doc -> 'caps'), 0) = 0
            AND journey._lookup('policy', 'house', bundle) #> '{caps,0}' IS NULL THEN
            found := found || journey._finding('warning', 'missing_cap', base, 'nothing limits how often it contacts a person',
                'Add caps here or to the policy of the house.');
        END IF;
        IF doc ->> 'stage' = 'purchase' AND 'order_placed' <> ALL (ending) THEN
            found := found || journey._finding('warning', 'missing_purchase_exit', base,
                'an order does not end it', 'Add "exit": [{"on": "order_placed", "reason": "ordered"}].');
        END IF;
        IF NOT doc ? 'rollout' AND EXISTS (SELECT FROM jsonb_array_elements(doc -> 'entry') AS e WHERE NOT e ? 'when') THEN
            found := found || journey._finding('warning', 'unbounded_audience', base || '/entry',
                'everybody with such an event enters', 'Add a condition to the entry, or a rollout.');
        END IF;
    END IF;
    IF purpose <> 'marketing' AND coalesce((doc #>> '{control,holdout}')::numeric, (doc ->> 'holdout')::numeric, 0) > 0 THEN
        found := found || journey._finding('error', 'holdout_in_service', base || CASE WHEN doc ? 'holdout' THEN '/holdout' ELSE '/control' END,
            format('a %s message is withheld from a control group', purpose), 'Remove the holdout; people need this message.');
    END IF;
    IF purpose = 'transactional' AND doc ? 'quiet_hours' THEN
        found := found || journey._finding('warning', 'quiet_hours_ignored', base || '/quiet_hours',
            'transactional messages are sent in quiet hours too', 'Remove quiet_hours, or make the purpose service.');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_purpose(jsonb, text, jsonb) IS
    'What marketing must have and what service must not.';

CREATE FUNCTION journey._lint_charter(doc jsonb, base text, activation boolean) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    grave text := CASE WHEN activation THEN 'error' ELSE 'warning' END;
    field text;
    share numeric := coalesce(doc #>> '{control,holdout}', doc ->> 'holdout')::numeric;
BEGIN
    FOREACH field IN ARRAY ARRAY['stage', 'kpi'] LOOP
        IF NOT doc ? field THEN
            found := found || journey._finding(grave, 'missing_' || field, base, format('nothing says its %s', field),
                format('Set "%s"; a journey is not activated without it.', field));
        END IF;
    END LOOP;
    IF NOT doc ? 'objective' THEN
        found := found || journey._finding('warning', 'missing_objective', base, 'nothing says what it is for', 'Set "objective".');
    END IF;
    FOREACH field IN ARRAY ARRAY['business', 'technical', 'qa'] LOOP
        IF NOT coalesce(doc -> 'owners' ? field, false) THEN
            found := found || journey._finding(grave, 'missing_owner', base || CASE WHEN doc ? 'owners' THEN '/owners' ELSE '' END,
                format('it has no %s owner', field), format('Set owners.%s; a journey is not activated without it.', field));
        END IF;
    END LOOP;
    IF doc ? 'control' AND doc ? 'holdout' THEN
        found := found || journey._finding('error', 'control_twice', base || '/holdout', 'the control group is given twice',
            '"holdout" is the short form of "control": keep one.');
    END IF;
    IF doc -> 'control' = '"none"' THEN
        found := found || journey._finding('error', 'control_without_reason', base || '/control', 'nothing says why there is no control group',
            'Write {"none": true, "reason": "…"}, or a holdout.');
    ELSIF share = 0 AND doc ->> 'purpose' = 'marketing' AND NOT coalesce(doc -> 'control' ? 'reason', false) THEN
        found := found || journey._finding('error', 'control_without_reason', base || CASE WHEN doc ? 'holdout' THEN '/holdout' ELSE '/control' END,
            'a holdout of 0 is no control group', 'Set a share, or write "control": {"none": true, "reason": "…"}.');
    ELSIF doc ->> 'purpose' = 'marketing' AND NOT doc ? 'control' AND NOT doc ? 'holdout' THEN
        found := found || journey._finding(grave, 'missing_control', base, 'nothing says how its effect is measured',
            'Set "holdout": 0.1, or "control": {"none": true, "reason": "…"}; marketing is not activated without it.');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_charter(jsonb, text, boolean) IS
    'No activation without stage, measure, owners and control.';

CREATE FUNCTION journey._lint_names(doc jsonb, base text, marks jsonb, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    item record;
    word text;
    frozen text[] := ARRAY(SELECT DISTINCT jsonb_object_keys(e -> 'data') FROM jsonb_array_elements(doc -> 'entry') AS e ORDER BY 1);
    keyless boolean := EXISTS (SELECT FROM jsonb_array_elements(doc -> 'entry') AS e WHERE NOT e ? 'key');
    reasons text[] := ARRAY(SELECT r.reason FROM journey.reason_code AS r
                            UNION SELECT q ->> 'reason' FROM jsonb_each(doc -> 'steps') AS s, jsonb_array_elements(s.value #> '{send,require}') AS q
                            WHERE q ? 'reason'
                            UNION SELECT coalesce(e ->> 'on', e #>> '{}') FROM jsonb_array_elements(doc -> 'suppress_on') AS e
                            UNION SELECT v #>> '{}' FROM journey.document AS d, -- which may be damaged
                                    jsonb_path_query(d.doc, '$.keyvalue() ? (@.key == "vetoes" || @.key == "rules").value[*].reason', '{}', true) AS v
                            WHERE d.state = 'active' AND d.kind IN ('policy', 'rule_set')
                            ORDER BY 1);
BEGIN
    FOR item IN SELECT m ->> 'mark' AS mark, m ->> 'pointer' AS pointer, journey._bare(m ->> 'value') AS words, m ->> 'value' AS value
                FROM jsonb_array_elements(marks) AS m WHERE m ->> 'mark' IN ('condition', 'expression', 'reason') LOOP
        IF item.mark = 'reason' THEN
            IF item.value <> '*' AND item.value <> ALL (reasons) THEN
                found := found || journey._finding('warning', 'unknown_reason', item.pointer, format('no refusal has the reason "%s"', item.value),
                                                   journey._did_you_mean(item.value, reasons));
            END IF;
            CONTINUE;
        END IF;
        IF keyless AND item.words ~ '(^|[^.\w])key($|[^\w(])' AND item.pointer NOT LIKE base || '/entry/%' THEN
            found := found || journey._finding('error', 'entry_without_key', item.pointer, 'it reads key, which an entry of this journey does not set',
                'Give every entry a key, for example "key": "cart".');
        END IF;
        FOR word IN SELECT DISTINCT r[1] FROM regexp_matches(item.words, '\mentry\.([a-z_][a-z0-9_]*)', 'g') AS r LOOP
            IF word <> ALL (frozen) THEN
                found := found || journey._finding('error', 'unknown_entry_value', item.pointer, format('no entry freezes "%s"', word),
                    coalesce(journey._did_you_mean(word, frozen), 'Add it to the entry''s data.'));
            END IF;
        END LOOP;
        IF item.mark = 'condition' AND coalesce((doc ->> 'high_risk')::boolean, false) AND journey._model_only(item.words, bundle) THEN
            found := found || journey._finding('error', 'model_only_rule', item.pointer, 'a rule of a high-risk journey rests on a model alone',
                'Add a condition on facts, for example: and order.status = ''paid''.');
        END IF;
    END LOOP;
    IF keyless AND doc #>> '{reentry,per}' = 'key' THEN
        found := found || journey._finding('error', 'entry_without_key', base || '/reentry/per', 'an entry of this journey sets no key',
            'Give every entry a key, or count re-entry per person.');
    END IF;
    FOR word IN SELECT unnest(journey._list(doc -> 'follow'))
                EXCEPT SELECT s.value #>> '{send,template}' FROM jsonb_each(doc -> 'steps') AS s LOOP
        found := found || journey._finding('warning', 'unknown_follow', base || '/follow', format('no step sends the template "%s"', word), 'Remove it.');
    END LOOP;
    FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'exit') WITH ORDINALITY AS t (e, n) WHERE NOT e ? 'on' AND NOT e ? 'when' LOOP
        found := found || journey._finding('error', 'exit_without_cause', format('%s/exit/%s', base, item.n), 'nothing says when it ends',
                                           'Set on, when or both.');
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_names(jsonb, text, jsonb, jsonb) IS
    'Names that a journey reads are set somewhere: key, entry values, reasons; and what its conditions rest on.';

CREATE FUNCTION journey._model_only(words text, bundle jsonb) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    features text[] := journey._names('feature', bundle);
BEGIN
    RETURN coalesce((
        SELECT bool_or(r[1] ~ '^(score|confidence)\.')
               AND NOT bool_or(r[1] !~ '^(score|confidence)\.' AND (r[1] LIKE '%.%' OR r[1] IN ('stage', 'key') OR r[1] = ANY (features)))
        FROM regexp_matches(lower(words), '[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*', 'g') AS r), false);
END
$$;
COMMENT ON FUNCTION journey._model_only(text, jsonb) IS
    'Whether a condition reads scores and no fact.';

CREATE FUNCTION journey._lint_other(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    item record;
    aggregate text := doc ->> 'aggregate';
    other text;
BEGIN
    CASE doc ->> 'kind'
    WHEN 'template' THEN
        -- unsubscribe_url comes with the permit's contact, not with the data of a step
        FOR item IN SELECT DISTINCT l.key AS locale, f.key AS field, r[1] AS name
                    FROM jsonb_each(doc -> 'content') AS l, jsonb_each_text(l.value) AS f,
                         regexp_matches(f.value, '{{ *([A-Za-z0-9_.]+) *}}', 'g') AS r
                    WHERE r[1] <> 'unsubscribe_url' AND NOT coalesce(doc -> 'variables' ? r[1], false) ORDER BY 1, 2, 3 LOOP
            found := found || journey._finding('error', 'undeclared_variable', format('%s/content/%s/%s', base, item.locale, item.field),
                format('{{%s}} is not among the variables', item.name),
                coalesce(journey._did_you_mean(item.name, ARRAY(SELECT jsonb_object_keys(doc -> 'variables'))), 'Declare it in variables.'));
        END LOOP;
        FOR other IN SELECT v FROM jsonb_object_keys(doc -> 'variables') AS v
                     WHERE NOT (doc -> 'content')::text ~ ('{{ *' || v || ' *}}') ORDER BY 1 LOOP
            found := found || journey._finding('warning', 'unused_variable', journey._pointer(base || '/variables', other),
                format('no text shows {{%s}}', other), 'Remove it, unless the sender itself needs it.');
        END LOOP;
        IF NOT doc -> 'content' ? coalesce(doc ->> 'locale', 'en') THEN
            found := found || journey._finding('error', 'missing_locale', base || '/content',
                format('there is no content for the default locale "%s"', coalesce(doc ->> 'locale', 'en')), 'Add it, or set locale to one that content has.');
        END IF;
    WHEN 'channel' THEN
        IF doc ->> 'address' = 'email' AND coalesce(doc -> 'purposes' ? 'marketing', true) AND NOT doc ? 'list_unsubscribe_url' THEN
            found := found || journey._finding('warning', 'missing_unsubscribe_url', base, 'marketing mail has no one-click unsubscribe',
                'Set list_unsubscribe_url; large mailbox providers refuse bulk mail without it.');
        END IF;
        IF doc ->> 'mode' IN ('push', 'state') AND doc ? 'address' AND NOT doc ? 'agreement' THEN
            found := found || journey._finding('info', 'missing_agreement', base, 'no data processing agreement is named for who runs this channel',
                                               'Set agreement to its reference.');
        END IF;
        IF (doc #>> '{backoff,first}')::interval > coalesce((doc #>> '{backoff,max}')::interval, '1 hour') THEN
            found := found || journey._finding('error', 'backoff_order', base || '/backoff', 'the first wait is longer than the longest', 'Raise max or lower first.');
        END IF;
    WHEN 'policy' THEN
        FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'caps') WITH ORDINALITY AS t (c, n) WHERE c ->> 'scope' = 'journey' LOOP
            found := found || journey._finding('error', 'cap_scope', format('%s/caps/%s/scope', base, item.n), 'a cap of the house counts all journeys together',
                                               'Set it to house, or put the cap into the journey.');
        END LOOP;
    WHEN 'rule_set' THEN
        RETURN journey._lint_rules(doc, base);
    WHEN 'feature' THEN
        IF aggregate IN ('sum', 'last', 'first') AND NOT doc ? 'of' THEN
            found := found || journey._finding('error', 'feature_value', base, format('%s needs a value', aggregate), 'Set of, for example "of": "event.amount".');
        ELSIF aggregate IN ('count', 'days_since') AND doc ? 'of' THEN
            found := found || journey._finding('error', 'feature_value', base || '/of', format('%s takes no value', aggregate), 'Remove of.');
        END IF;
        IF doc ? 'window' AND aggregate NOT IN ('count', 'sum') THEN
            found := found || journey._finding('error', 'feature_window', base || '/window', format('%s takes no window', aggregate), 'Remove window, or count or sum.');
        END IF;
        IF doc ? 'grain' AND NOT doc ? 'window' THEN
            found := found || journey._finding('error', 'feature_grain', base || '/grain', 'there is no window that the grain could move', 'Remove grain, or set window.');
        ELSIF (doc ->> 'grain')::interval < interval '1 second' OR (doc ->> 'grain')::interval > (doc ->> 'window')::interval THEN
            found := found || journey._finding('error', 'feature_grain', base || '/grain', 'the grain does not fit its window', 'A grain is at least a second and at most the window.');
        ELSIF (doc ->> 'window')::interval > (doc ->> 'grain')::interval * 10000 THEN
            found := found || journey._finding('error', 'feature_grain', base || '/grain', 'the grain is too fine for its window', 'A window may have at most 10000 grains.');
        END IF;
    WHEN 'source' THEN
        FOR item IN SELECT d.name, t AS signal FROM journey.document AS d, unnest(journey._list(_lint_other.doc -> 'truth_for')) AS t
                    WHERE d.kind = 'source' AND d.state = 'active' AND d.name <> _lint_other.doc ->> 'name' AND d.doc -> 'truth_for' ? t
                      AND NOT EXISTS (SELECT FROM jsonb_array_elements(bundle) AS b WHERE b ->> 'kind' = 'source' AND b ->> 'name' = d.name)
                    UNION SELECT b ->> 'name', t FROM jsonb_array_elements(bundle) AS b, unnest(journey._list(_lint_other.doc -> 'truth_for')) AS t
                    WHERE b ->> 'kind' = 'source' AND b ->> 'name' <> _lint_other.doc ->> 'name' AND b -> 'truth_for' ? t
                    ORDER BY 1, 2 LOOP
            found := found || journey._finding('error', 'second_truth', base || '/truth_for',
                format('the source "%s" already is the truth for %s', item.name, item.signal), 'Take the signal from that source first.');
        END LOOP;
    ELSE
        NULL;
    END CASE;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_other(jsonb, text, jsonb) IS
    'Rules for the kinds other than journey.';

CREATE FUNCTION journey._lint_rules(doc jsonb, base text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    item record;
BEGIN
    FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n)
                WHERE journey._instant(r ->> 'valid_to') <= journey._instant(r ->> 'valid_from') LOOP
        found := found || journey._finding('error', 'empty_validity', format('%s/rules/%s/valid_to', base, item.n), 'the rule is never valid',
                                           'Let valid_to be after valid_from; it is exclusive.');
    END LOOP;
    FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n)
                WHERE r ->> 'kind' = 'stage' AND r ->> 'to' = ANY (journey._list(r -> 'from')) LOOP
        found := found || journey._finding('warning', 'stage_to_itself', format('%s/rules/%s/from', base, item.n), 'it leads from a stage to the same stage',
                                           'Remove that stage from from.');
    END LOOP;
    -- an earlier rule of the same kind that takes everything this one could take
    FOR item IN
        WITH rules AS (
            SELECT n, r, coalesce((r ->> 'priority')::integer, 50) AS priority, journey._list(r -> 'on') AS types, journey._list(r -> 'from') AS stages
            FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n))
        SELECT later.n - 1 AS n, min(sooner.n) - 1 AS shadow
        FROM rules AS later
        JOIN rules AS sooner ON (sooner.priority, -sooner.n) > (later.priority, -later.n)
        WHERE sooner.r ->> 'kind' = 'stage' AND later.r ->> 'kind' = 'stage'
          AND NOT sooner.r ?| ARRAY['when', 'valid_from', 'valid_to']
          AND later.types <@ sooner.types
          AND (cardinality(sooner.stages) = 0 OR cardinality(later.stages) > 0 AND later.stages <@ sooner.stages)
        GROUP BY later.n ORDER BY 1
    LOOP
        found := found || journey._finding('warning', 'rule_shadowed', format('%s/rules/%s', base, item.n),
            format('it is never reached: rule %s takes every case first', item.shadow), 'Raise its priority, or remove it.');
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_rules(jsonb, text) IS
    'Rules of a rule set that can never act.';

CREATE FUNCTION journey._lint_one(doc jsonb, base text, bundle jsonb, activation boolean) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    schema jsonb := journey.json_schema();
    found jsonb := journey._schema_check(schema -> '$defs', '{"$ref": "#/$defs/document"}', doc, base);
    marks jsonb := (SELECT jsonb_agg(f) FROM jsonb_array_elements(found) AS f WHERE f ? 'mark');
    mark jsonb;
    item record;
BEGIN
    found := coalesce((SELECT jsonb_agg(f) FROM jsonb_array_elements(found) AS f WHERE NOT f ? 'mark'), '[]');
    FOR mark IN SELECT m FROM jsonb_array_elements(marks) AS m LOOP
        found := found || journey._lint_mark(mark, bundle, activation);
    END LOOP;
    IF found @> '[{"severity": "error"}]'
        AND EXISTS (SELECT FROM jsonb_array_elements(found) AS f
                    WHERE f ->> 'code' IN ('unknown_field', 'missing_field', 'wrong_type', 'wrong_value', 'not_unique', 'not_in_release')) THEN
        RETURN found; -- the rest reads the structure and would only repeat its faults
    ELSIF doc ->> 'kind' <> 'journey' THEN
        RETURN found || journey._lint_other(doc, base, bundle);
    END IF;
    FOR item IN SELECT s.key, s.value FROM jsonb_each(doc -> 'steps') AS s LOOP
        found := found || journey._lint_step(item.key, item.value, doc, base, bundle);
    END LOOP;
    RETURN found || journey._lint_graph(doc, base, coalesce(marks, '[]')) || journey._lint_names(doc, base, coalesce(marks, '[]'), bundle)
        || journey._lint_purpose(doc, base, bundle) || journey._lint_charter(doc, base, activation);
END
$$;
COMMENT ON FUNCTION journey._lint_one(jsonb, text, jsonb, boolean) IS
    'All findings about one document of a bundle.';

CREATE FUNCTION journey._unreadable(kind text, name text, doc jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    fault text;
BEGIN
    SELECT format('%s %s', f ->> 'pointer', f ->> 'message') INTO fault
    FROM jsonb_array_elements(journey._schema_check(journey.json_schema() -> '$defs', '{"$ref": "#/$defs/document"}', doc, '')) AS f
    WHERE f ->> 'severity' = 'error' LIMIT 1;
    IF fault IS NULL AND kind = 'policy' AND NOT coalesce(journey._zone_exists(doc ->> 'zone'), true) THEN
        fault := format('/zone %s is no time zone', doc -> 'zone');
    ELSIF fault IS NULL AND (doc ->> 'kind' <> kind OR doc ->> 'name' <> name) THEN
        fault := format('it says that it is the %s "%s"', doc ->> 'kind', doc ->> 'name');
    ELSIF fault IS NULL AND kind = 'journey' THEN
        fault := (SELECT format('/steps/%s leads to "%s", which is no step', e.from_step, e.to_step)
                  FROM journey._edges(doc) AS e WHERE NOT doc -> 'steps' ? e.to_step LIMIT 1);
        IF fault IS NULL AND NOT coalesce(doc -> 'steps' ? journey._start_step(doc), false) THEN
            fault := 'it has no first step';
        END IF;
    END IF;
    RETURN ltrim(fault);
END
$$;
COMMENT ON FUNCTION journey._unreadable(text, text, jsonb) IS
    'Why the engine cannot walk a stored document; null when it can. apply() stores no such document, but a table may be written by hand.';

CREATE FUNCTION journey._bundle(doc jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE jsonb_typeof(doc) WHEN 'array' THEN doc ELSE jsonb_build_array(doc) END;
END
$$;
COMMENT ON FUNCTION journey._bundle(jsonb) IS
    'One document or an array of them, as an array.';

CREATE FUNCTION journey.lint(doc jsonb, activation boolean DEFAULT false)
    RETURNS TABLE (severity text, code text, pointer text, message text, hint text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    bundle jsonb := journey._bundle(doc);
    found jsonb := '[]';
    item record;
BEGIN
    FOR item IN SELECT e AS value, n - 1 AS n, CASE jsonb_typeof(doc) WHEN 'array' THEN '/' || (n - 1) ELSE '' END AS base,
                       count(*) OVER (PARTITION BY e -> 'kind', e -> 'name' ORDER BY n) AS copy
                FROM jsonb_array_elements(bundle) WITH ORDINALITY AS t (e, n) ORDER BY n LOOP
        found := found || journey._lint_one(item.value, item.base, bundle, activation);
        IF item.copy = 2 AND jsonb_typeof(item.value) = 'object' THEN
            found := found || journey._finding('error', 'duplicate_document', item.base,
                format('the bundle holds the %s "%s" twice', item.value ->> 'kind', item.value ->> 'name'), 'Keep one of them.');
        END IF;
    END LOOP;
    IF bundle = '[]' THEN
        found := journey._finding('error', 'wrong_value', '', 'there is no document in it', 'Give one document or an array of documents.');
    END IF;
    RETURN QUERY
    SELECT f ->> 'severity', f ->> 'code', f ->> 'pointer', f ->> 'message', f ->> 'hint'
    FROM jsonb_array_elements(found) WITH ORDINALITY AS t (f, n)
    ORDER BY CASE f ->> 'severity' WHEN 'error' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END, n;
END
$$;
COMMENT ON FUNCTION journey.lint(jsonb, boolean) IS
    'What is wrong with a document, or with an array of documents that are to be applied together: errors first, each with a JSON Pointer and the next step. activation = true judges it as if it were to go live, which turns some warnings into errors (docs/lint.md). No rows: nothing to complain about.';

-- orchestrate/30_documents.sql

-- Plan, apply, activate, export, retire: the one way in which a document comes to life.

CREATE FUNCTION journey._caller() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Inside a SECURITY DEFINER function current_user is its owner; the role that called is the one
    -- that SET ROLE has chosen, else the session's.
    RETURN CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END;
END
$$;
COMMENT ON FUNCTION journey._caller() IS
    'The role on whose behalf a SECURITY DEFINER function runs.';

CREATE FUNCTION journey._caller_is(role text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN pg_has_role(journey._caller()::name, role::name, 'USAGE');
END
$$;
COMMENT ON FUNCTION journey._caller_is(text) IS
    'Whether the calling role has the rights of a role; a superuser has those of all.';

CREATE FUNCTION journey._kind_rank(kind text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN array_position(ARRAY['source', 'channel', 'feature', 'template', 'policy', 'rule_set', 'journey'], kind);
END
$$;
COMMENT ON FUNCTION journey._kind_rank(text) IS
    'The order in which a bundle is applied: what others refer to comes first.';

CREATE FUNCTION journey._next_version(wanted_kind text, wanted_name text, bundle jsonb) RETURNS integer
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    live record;
    doc jsonb := (SELECT b FROM jsonb_array_elements(bundle) AS b WHERE b ->> 'kind' = wanted_kind AND b ->> 'name' = wanted_name LIMIT 1);
BEGIN
    SELECT d.version, d.doc INTO live FROM journey.document AS d
    WHERE d.kind = wanted_kind AND d.name = wanted_name AND d.state = 'active';
    IF doc IS NULL OR live.doc = doc THEN
        RETURN live.version;
    END IF;
    RETURN (SELECT coalesce(max(d.version), 0) + 1 FROM journey.document AS d WHERE d.kind = wanted_kind AND d.name = wanted_name);
END
$$;
COMMENT ON FUNCTION journey._next_version(text, text, jsonb) IS
    'The version that will be active once the bundle is applied; null when there will be none.';

CREATE FUNCTION journey._refs(doc jsonb, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN coalesce((
        SELECT jsonb_agg(jsonb_build_object('kind', 'template', 'name', t.name, 'version', t.version) ORDER BY t.name)
        FROM (SELECT n.name, journey._next_version('template', n.name, bundle) AS version
              FROM (SELECT DISTINCT s.value #>> '{send,template}' AS name FROM jsonb_each(doc -> 'steps') AS s WHERE s.value ? 'send') AS n
              WHERE NOT coalesce(doc -> 'follow' ? n.name, false)) AS t
        WHERE t.version IS NOT NULL), '[]');
END
$$;
COMMENT ON FUNCTION journey._refs(jsonb, jsonb) IS
    'The versions that a journey locks: those of its templates, except the ones that it follows.';

CREATE FUNCTION journey._refuse_errors(doc jsonb, activation boolean) RETURNS void
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    errors record;
BEGIN
    SELECT count(*) AS n, (array_agg(l.message))[1] AS message, (array_agg(l.pointer))[1] AS pointer, (array_agg(l.hint))[1] AS hint,
           string_agg(format('%s: %s [%s]', l.pointer, l.message, l.code), E'\n') AS all_of_them
    INTO errors
    FROM journey.lint(doc, activation) AS l WHERE l.severity = 'error';
    IF errors.n > 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('document refused: %s', errors.message),
            DETAIL = errors.all_of_them,
            HINT = coalesce(errors.hint, 'journey.lint() lists every finding.');
    END IF;
END
$$;
COMMENT ON FUNCTION journey._refuse_errors(jsonb, boolean) IS
    'Raises 22023 with all of lint''s errors.';

CREATE FUNCTION journey._world(bundle jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN md5(bundle::text || coalesce((
        SELECT string_agg(format('%s/%s/%s', d.kind, d.name, d.version), ',' ORDER BY d.kind, d.name)
        FROM journey.document AS d
        WHERE d.state = 'active'
          AND (d.kind IN ('policy', 'channel', 'rule_set', 'feature')
               OR bundle @> jsonb_build_array(jsonb_build_object('kind', d.kind, 'name', d.name))
               OR d.kind = 'template' AND EXISTS (
                   SELECT FROM jsonb_array_elements(bundle) AS b, jsonb_each(b -> 'steps') AS s WHERE s.value #>> '{send,template}' = d.name))), ''));
END
$$;
COMMENT ON FUNCTION journey._world(jsonb) IS
    'A hash of a bundle and of the live documents that its plan looked at.';

CREATE FUNCTION journey._changes(old_doc jsonb, new_doc jsonb, old_refs jsonb, new_refs jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN concat_ws('; ',
        'changes ' || (SELECT string_agg(k, ', ' ORDER BY k)
                       FROM (SELECT jsonb_object_keys(old_doc) UNION SELECT jsonb_object_keys(new_doc)) AS t (k)
                       WHERE old_doc -> k IS DISTINCT FROM new_doc -> k AND old_doc IS NOT NULL),
        (SELECT string_agg(CASE WHEN o ->> 'version' IS NULL THEN format('locks %s %s version %s', n ->> 'kind', n ->> 'name', n ->> 'version')
                                ELSE format('%s %s version %s to %s', n ->> 'kind', n ->> 'name', o ->> 'version', n ->> 'version') END, '; ')
         FROM jsonb_array_elements(new_refs) AS n
         LEFT JOIN jsonb_array_elements(old_refs) AS o ON o ->> 'name' = n ->> 'name' AND o ->> 'kind' = n ->> 'kind'
         WHERE o IS DISTINCT FROM n));
END
$$;
COMMENT ON FUNCTION journey._changes(jsonb, jsonb, jsonb, jsonb) IS
    'In words: the fields that differ and the versions that are locked anew.';

CREATE FUNCTION journey.plan(doc jsonb)
    RETURNS TABLE (change text, kind text, name text, detail text, people bigint, sends_24h bigint, plan_hash text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    bundle jsonb := journey._bundle(doc);
    activation boolean := journey._caller_is('journey_admin');
    hash text := journey._world(bundle);
BEGIN
    PERFORM journey._refuse_errors(doc, activation);
    RETURN QUERY
    SELECT CASE WHEN live.version IS NULL THEN 'create'
                WHEN live.doc <> b.value THEN 'update'
                WHEN live.refs <> r.refs THEN 'relock'
                ELSE 'unchanged' END,
           b.value ->> 'kind', b.value ->> 'name',
           journey._changes(live.doc, b.value, live.refs, r.refs),
           touched.people, touched.sends, hash
    FROM jsonb_array_elements(bundle) WITH ORDINALITY AS b (value, n)
    CROSS JOIN LATERAL (SELECT journey._refs(b.value, bundle)) AS r (refs)
    LEFT JOIN journey.document AS live
        ON live.kind = b.value ->> 'kind' AND live.name = b.value ->> 'name' AND live.state = 'active'
    CROSS JOIN LATERAL journey._touched(b.value ->> 'kind', b.value ->> 'name') AS touched
    ORDER BY journey._kind_rank(b.value ->> 'kind'), b.n;
END
$$;
COMMENT ON FUNCTION journey.plan(jsonb) IS
    'What apply() would do, without doing it: a row per document (create, update, relock = only newer locked versions, unchanged), the people who are in it now, the sends that are due within 24 hours, and the hash that apply() takes so as to refuse when the documents have moved since.';

CREATE FUNCTION journey._touched(wanted_kind text, wanted_name text, OUT people bigint, OUT sends bigint)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    soon timestamptz := journey.clock() + interval '24 hours';
BEGIN
    SELECT count(DISTINCT e.profile_id) INTO people
    FROM journey.enrollment AS e
    JOIN journey.document AS d ON d.kind = 'journey' AND d.name = e.journey AND d.version = e.version
    WHERE e.exited_at IS NULL AND e.status = 'active'
      AND CASE wanted_kind
          WHEN 'journey' THEN e.journey = wanted_name
          WHEN 'template' THEN jsonb_path_exists(d.doc, '$.steps.*.send.template ? (@ == $n)', jsonb_build_object('n', wanted_name))
          WHEN 'channel' THEN jsonb_path_exists(d.doc, '$.steps.*.send.channel[*] ? (@ == $n)', jsonb_build_object('n', wanted_name))
          WHEN 'policy' THEN d.doc ->> 'purpose' = 'marketing'
          ELSE false END;
    SELECT count(*) INTO sends
    FROM journey.outbox AS o
    WHERE o.status IN ('pending', 'claimed') AND o.due_at < soon
      AND CASE wanted_kind
          WHEN 'journey' THEN o.journey = wanted_name
          WHEN 'template' THEN o.template = wanted_name
          WHEN 'channel' THEN o.channel = wanted_name
          WHEN 'policy' THEN o.purpose = 'marketing'
          ELSE false END;
    IF wanted_kind = 'journey' THEN
        -- and those whose wait ends before then, with a send right after it
        sends := sends + (
            SELECT count(*)
            FROM journey.timer AS t
            JOIN journey.enrollment AS e ON e.bucket = t.bucket AND e.profile_id = t.profile_id AND e.enrollment_id = t.enrollment_id
            JOIN journey.document AS d ON d.kind = 'journey' AND d.name = e.journey AND d.version = e.version
            CROSS JOIN LATERAL (SELECT d.doc #> ARRAY['steps', e.step]) AS s (step)
            WHERE t.wake_at < soon AND e.journey = wanted_name AND e.exited_at IS NULL AND e.status = 'active'
              AND d.doc #> ARRAY['steps', coalesce(s.step ->> 'on_timeout', s.step ->> 'next')] ? 'send');
    END IF;
END
$$;
COMMENT ON FUNCTION journey._touched(text, text) IS
    'People whom a document concerns now, and sends of it that are due within 24 hours.';

CREATE FUNCTION journey._went_live(doc jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    caller text := journey._caller();
BEGIN
    IF doc ->> 'kind' = 'journey' THEN
        PERFORM journey._fence(ARRAY(SELECT DISTINCT coalesce(e ->> 'on', e #>> '{}') FROM jsonb_array_elements(doc -> 'suppress_on') AS e));
    ELSIF doc ->> 'kind' = 'source' THEN
        INSERT INTO journey.source (source, system, scope, trusted, max_lag)
        VALUES (doc ->> 'name', doc ->> 'system', coalesce(doc ->> 'scope', 'default'),
                coalesce((doc ->> 'trusted')::boolean, true), (doc ->> 'max_lag')::interval)
        ON CONFLICT (source) DO UPDATE
        SET system = excluded.system, scope = excluded.scope, trusted = excluded.trusted, max_lag = excluded.max_lag;
        PERFORM journey._invalidate('journey.source');
        UPDATE journey.source_of_truth AS t
        SET source = NULL, declared_by = NULL, declared_at = NULL
        WHERE t.source = doc ->> 'name' AND t.signal <> ALL (journey._list(doc -> 'truth_for'));
        INSERT INTO journey.source_of_truth AS t (signal, source, declared_by, declared_at)
        SELECT s, doc ->> 'name', caller, statement_timestamp() FROM unnest(journey._list(doc -> 'truth_for')) AS s
        ON CONFLICT (signal) DO UPDATE
        SET source = excluded.source, declared_by = excluded.declared_by, declared_at = excluded.declared_at,
            second_writer = NULL, second_at = NULL, second_count = 0
        WHERE t.source IS DISTINCT FROM excluded.source;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._went_live(jsonb) IS
    'What other tables must know once a document is live: fenced types, sources and what they are the truth for.';

CREATE FUNCTION journey._put(doc jsonb, bundle jsonb, owner text, caller text, live boolean,
                             OUT version integer, OUT change text)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    its_kind text := doc ->> 'kind';
    its_name text := doc ->> 'name';
    its_refs jsonb := journey._refs(doc, bundle);
    at timestamptz := clock_timestamp();
    last record;
BEGIN
    SELECT d.version, d.state, d.doc, d.refs INTO last
    FROM journey.document AS d
    WHERE d.kind = its_kind AND d.name = its_name AND (d.state = 'active' OR d.state = 'draft' AND NOT live)
    ORDER BY d.version DESC LIMIT 1;
    IF last.doc = doc AND (last.state = 'draft' OR last.refs = its_refs) THEN
        version := last.version;
        change := 'unchanged';
        RETURN;
    END IF;
    change := CASE WHEN NOT live THEN 'draft' WHEN last.version IS NULL THEN 'create' WHEN last.doc = doc THEN 'relock' ELSE 'update' END;
    SELECT coalesce(max(d.version), 0) + 1 INTO version
    FROM journey.document AS d WHERE d.kind = its_kind AND d.name = its_name;
    IF live THEN
        UPDATE journey.document AS d SET state = 'replaced'
        WHERE d.kind = its_kind AND d.name = its_name AND d.state IN ('active', 'draft');
    END IF;
    INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, activated_by, activated_at, digest)
    VALUES (its_kind, its_name, version, CASE WHEN live THEN 'active' ELSE 'draft' END, doc,
            CASE WHEN live THEN its_refs ELSE '[]' END, owner, caller, at,
            CASE WHEN live THEN caller END, CASE WHEN live THEN at END, md5(doc::text));
    IF live THEN
        PERFORM journey._went_live(doc);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._put(jsonb, jsonb, text, text, boolean) IS
    'Writes the next version of one document, live or as a draft.';

CREATE FUNCTION journey._apply(doc jsonb, owner text, caller text, live boolean, plan_hash text)
    RETURNS TABLE (kind text, name text, version integer, change text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    bundle jsonb := journey._bundle(doc);
    one jsonb;
    put record;
BEGIN
    -- one at a time; readers are not held up
    LOCK TABLE journey.document IN SHARE ROW EXCLUSIVE MODE;
    PERFORM journey._refuse_errors(doc, live);
    IF plan_hash IS NOT NULL AND plan_hash <> journey._world(bundle) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the plan is out of date',
            DETAIL = 'The documents are not the ones that were planned, or live documents that the plan looked at have changed since.',
            HINT = 'Call journey.plan() again and look at its rows.';
    END IF;
    FOR one IN SELECT b FROM jsonb_array_elements(bundle) WITH ORDINALITY AS t (b, n)
               ORDER BY journey._kind_rank(b ->> 'kind'), n LOOP
        put := journey._put(one, bundle, owner, caller, live);
        kind := one ->> 'kind';
        name := one ->> 'name';
        version := put.version;
        change := put.change;
        RETURN NEXT;
    END LOOP;
    PERFORM journey._invalidate('journey.document');
    IF live AND bundle @> '[{"kind": "feature"}]' THEN
        -- now that the features are there, conditions that read them can be checked
        PERFORM journey._refuse_errors(
            (SELECT jsonb_agg(b ORDER BY n) FROM jsonb_array_elements(bundle) WITH ORDINALITY AS t (b, n) WHERE b ->> 'kind' <> 'feature'), live);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._apply(jsonb, text, text, boolean, text) IS
    'apply() once it is known who asks: lint, compare, write, tell the caches.';

CREATE FUNCTION journey.apply(doc jsonb, plan_hash text DEFAULT NULL)
    RETURNS TABLE (kind text, name text, version integer, change text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    caller text := journey._caller();
BEGIN
    PERFORM journey._demand(apply.doc IS NOT NULL, 'apply', 'Give a document, or an array of documents.');
    RETURN QUERY
    SELECT a.kind, a.name, a.version, a.change
    FROM journey._apply(doc, journey._document_owner(caller), caller, journey._caller_is('journey_admin'), plan_hash) AS a;
END
$$;
COMMENT ON FUNCTION journey.apply(jsonb, text) IS
    'Applies one document or an array of them, all or none. A member of journey_admin brings them to life at once; anybody else makes drafts, which an approver activates. Versions never change once written; a document that is already live as it stands stays as it is (unchanged). With the hash of plan() it refuses (55000) when the documents have moved since. Raises 22023 with every error that lint() finds.';

CREATE FUNCTION journey._document_owner(caller text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = caller) THEN 'journey_owner' ELSE caller END;
END
$$;
COMMENT ON FUNCTION journey._document_owner(text) IS
    'The role whose rights a document''s expressions get: the caller''s, but never a superuser''s.';

CREATE FUNCTION journey.activate(INOUT kind text, INOUT name text, INOUT version integer, OUT change text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    caller text := journey._caller();
    draft record;
    before record;
    its_refs jsonb;
BEGIN
    PERFORM journey._demand(kind IS NOT NULL AND name IS NOT NULL AND version IS NOT NULL, 'activate',
                            'Give the kind, the name and the version of a draft, as in activate(''journey'', ''cart'', 2).');
    LOCK TABLE journey.document IN SHARE ROW EXCLUSIVE MODE;
    SELECT d.state, d.doc, d.applied_by INTO draft
    FROM journey.document AS d
    WHERE d.kind = activate.kind AND d.name = activate.name AND d.version = activate.version;
    IF NOT FOUND THEN
        PERFORM journey._no_document(activate.kind, activate.name, 'draft');
    ELSIF draft.state <> 'draft' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('version %s of the %s "%s" is %s, not a draft', version, kind, name, draft.state),
            HINT = 'Apply the document again to make a new version.';
    ELSIF draft.applied_by = caller AND NOT journey._caller_is('journey_admin') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'nobody activates a draft of their own',
            HINT = 'Ask another member of journey_approver.';
    END IF;
    PERFORM journey._refuse_errors(draft.doc, true);
    its_refs := journey._refs(draft.doc, '[]');
    SELECT d.doc INTO before FROM journey.document AS d
    WHERE d.kind = activate.kind AND d.name = activate.name AND d.state = 'active';
    change := CASE WHEN before.doc IS NULL THEN 'create' WHEN before.doc = draft.doc THEN 'relock' ELSE 'update' END;
    UPDATE journey.document AS d SET state = 'replaced'
    WHERE d.kind = activate.kind AND d.name = activate.name
      AND (d.state = 'active' OR d.state = 'draft' AND d.version < activate.version);
    UPDATE journey.document AS d
    SET state = 'active', refs = its_refs, activated_by = caller, activated_at = statement_timestamp()
    WHERE d.kind = activate.kind AND d.name = activate.name AND d.version = activate.version;
    PERFORM journey._went_live(draft.doc);
    PERFORM journey._invalidate('journey.document');
END
$$;
COMMENT ON FUNCTION journey.activate(text, text, integer) IS
    'Brings somebody else''s draft to life; locks the versions it refers to. Raises 42704 for an unknown draft, 55000 when it is none any more, 42501 for one''s own, 22023 with lint''s errors.';

CREATE FUNCTION journey._no_document(wanted_kind text, wanted_name text, wanted_state text) RETURNS void
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'undefined_object',
        MESSAGE = format('there is no %s %s named "%s"', wanted_state, wanted_kind, wanted_name),
        HINT = coalesce(journey._did_you_mean(wanted_name, ARRAY(
                            SELECT DISTINCT d.name FROM journey.document AS d WHERE d.kind = wanted_kind AND d.state = wanted_state ORDER BY 1)),
                        'The table journey.document lists all of them.');
END
$$;
COMMENT ON FUNCTION journey._no_document(text, text, text) IS
    'Raises 42704 with the nearest name.';

CREATE FUNCTION journey.export(kind text, name text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (SELECT d.doc FROM journey.document AS d
            WHERE d.kind = export.kind AND d.name = export.name AND d.state = 'active');
END
$$;
COMMENT ON FUNCTION journey.export(text, text) IS
    'The live document; null when there is none. Its text is canonical: the same document always gives the same bytes, and applying it changes nothing.';

CREATE FUNCTION journey.export_all() RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT d.doc FROM journey.document AS d
    WHERE d.state = 'active'
    ORDER BY journey._kind_rank(d.kind), d.name COLLATE "C";
END
$$;
COMMENT ON FUNCTION journey.export_all() IS
    'Every live document, in the order in which apply() takes them.';

CREATE FUNCTION journey.retire(kind text, name text) RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    gone integer;
    users text;
BEGIN
    PERFORM journey._demand(retire.kind IS NOT NULL AND retire.name IS NOT NULL, 'retire',
                            'Give the kind and the name of a document, as in retire(''journey'', ''cart'').');
    LOCK TABLE journey.document IN SHARE ROW EXCLUSIVE MODE;
    -- channels and features are taken as they are live, templates in the version that a journey has locked
    SELECT string_agg(u.said, ', ' ORDER BY u.said) INTO users
    FROM (SELECT format('%s "%s"', d.kind, d.name) || CASE WHEN d.state <> 'active' THEN format(' version %s, which people are on', d.version) ELSE '' END
          FROM journey.document AS d
          WHERE (d.state = 'active'
                 OR d.kind = 'journey' AND retire.kind IN ('channel', 'feature')
                    AND EXISTS (SELECT FROM journey.enrollment AS e WHERE e.journey = d.name AND e.version = d.version AND e.exited_at IS NULL))
            AND CASE retire.kind
                WHEN 'template' THEN jsonb_path_exists(d.doc, '$.steps.*.send.template ? (@ == $n)', jsonb_build_object('n', retire.name))
                WHEN 'channel' THEN jsonb_path_exists(d.doc, '$.steps.*.send.channel[*] ? (@ == $n)', jsonb_build_object('n', retire.name))
                WHEN 'feature' THEN d.name <> retire.name AND d.doc::text ~ ('\m' || retire.name || '\M')
                ELSE false END
          UNION ALL
          SELECT 'actions that wait in the outbox'
          WHERE retire.kind = 'channel' AND EXISTS (SELECT FROM journey.outbox AS o WHERE o.channel = retire.name)) AS u (said);
    IF users IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'dependent_objects_still_exist',
            MESSAGE = format('the %s "%s" is in use', kind, name),
            DETAIL = format('Used by: %s.', users),
            HINT = 'Change or retire these first; what people are still on, or what waits, ends by itself.';
    END IF;
    UPDATE journey.document AS d SET state = 'retired'
    WHERE d.kind = retire.kind AND d.name = retire.name AND d.state = 'active'
    RETURNING d.version INTO gone;
    IF NOT FOUND THEN
        PERFORM journey._no_document(retire.kind, retire.name, 'active');
    END IF;
    IF kind = 'source' THEN
        UPDATE journey.source_of_truth AS t SET source = NULL, declared_by = NULL, declared_at = NULL WHERE t.source = retire.name;
    END IF;
    PERFORM journey._invalidate('journey.document');
    RETURN gone;
END
$$;
COMMENT ON FUNCTION journey.retire(text, text) IS
    'Takes a document out of use and returns the version that was live. Nobody enters a retired journey any more; people who are in it stay on their version to the end. Raises 2BP01 while live journeys use it or, a channel or feature, people are on a version that does, or actions wait on it; 42704 when there is none.';

-- orchestrate/40_stage.sql

-- Where a person, and each of their open carts and orders, stands among the seven stages.

CREATE FUNCTION journey.stages(subject jsonb) RETURNS TABLE (stage text, object text, since timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(subject);
    b smallint := journey.bucket(person);
BEGIN
    IF person IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT coalesce(journey.stage(stages.subject), 'awareness'), '',
           coalesce((SELECT max(t.at) FROM journey.stage_transition AS t WHERE t.bucket = b AND t.profile_id = person AND t.object = ''),
                    (SELECT p.created_at FROM journey.profile AS p WHERE p.bucket = b AND p.profile_id = person))
    UNION ALL
    SELECT 'purchase', 'cart:' || c.cart_id, c.created_at FROM journey.cart AS c
    WHERE c.bucket = b AND c.profile_id = person AND c.status = 'open' AND c.items > 0
    UNION ALL
    SELECT CASE WHEN o.status = 'delivered' THEN 'post_purchase' ELSE 'fulfillment' END, 'order:' || o.order_id, coalesce(o.placed_at, o.changed_at)
    FROM journey.orders AS o
    WHERE o.bucket = b AND o.profile_id = person AND o.status IN ('placed', 'paid', 'shipped', 'delivered');
END
$$;
COMMENT ON FUNCTION journey.stages(jsonb) IS
    'Main stage of a person (object empty) and the stage of each open cart and order.';

-- orchestrate/50_why.sql

-- Why somebody was contacted, why somebody was not, and what would happen: read from the rows that the engine wrote.

CREATE FUNCTION journey.preview(journey text, subject jsonb, at timestamptz DEFAULT NULL)
    RETURNS TABLE (at_time timestamptz, step text, what text, verdict text, reason text, clauses jsonb)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_preview';
COMMENT ON FUNCTION journey.preview(text, jsonb, timestamptz) IS
    'The way a person would take through a live journey from a moment on (default: now), by the engine itself and with nothing written: their last event of an entry type is played again, waits are passed, sends are taken as sent. No row for an unknown subject.';

CREATE FUNCTION journey._clauses_said(clauses jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT string_agg(format('%s is %s', c ->> 'clause',
                                     CASE c ->> 'verdict' WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE 'unknown' END)
                              || coalesce(' (' || (c ->> 'error') || ')', ''), '; ' ORDER BY n)
            FROM jsonb_array_elements(clauses) WITH ORDINALITY AS t (c, n));
END
$$;
COMMENT ON FUNCTION journey._clauses_said(jsonb) IS
    'The clauses of a decision as a sentence.';

CREATE FUNCTION journey._inputs_said(inputs jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT string_agg(format('%s = %s', i.key, i.value), ', ' ORDER BY i.key) FROM jsonb_each_text(inputs) AS i);
END
$$;
COMMENT ON FUNCTION journey._inputs_said(jsonb) IS
    'The values that a decision read, as a list.';

CREATE FUNCTION journey._decision_said(d jsonb) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    said text := CASE d ->> 'verdict'
        WHEN 'enrolled' THEN format('entered %s (version %s) as %s', d ->> 'journey', d ->> 'version', d ->> 'arm')
        WHEN 'not_enrolled' THEN format('did not enter %s (version %s)', d ->> 'journey', d ->> 'version')
        WHEN 'enqueue' THEN format(CASE d ->> 'kind' WHEN 'removal' THEN '%s: decided to take out of the audience' ELSE '%s: decided to send' END, d ->> 'step')
        WHEN 'refused' THEN format('%s: refused', d ->> 'step')
        WHEN 'held' THEN format('%s: held, to be decided again', d ->> 'step')
        WHEN 'branch' THEN format('%s: went on', d ->> 'step')
        ELSE format('%s: %s', d ->> 'step', d ->> 'verdict') END;
BEGIN
    IF d ->> 'reason' <> '' THEN
        said := said || format(' (%s%s)', d ->> 'reason',
            (SELECT ': ' || r.meaning FROM journey.reason_code AS r WHERE r.reason = d ->> 'reason'));
    END IF;
    IF (d ->> 'repeats')::integer > 1 THEN
        said := said || format(', %s times', d ->> 'repeats');
    END IF;
    RETURN said;
END
$$;
COMMENT ON FUNCTION journey._decision_said(jsonb) IS
    'One row of journey.decision, given as jsonb, in words.';

CREATE FUNCTION journey._decision_because(d jsonb) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN nullif(concat_ws('. ',
        'decided by ' || nullif(d ->> 'rule', ''),
        journey._clauses_said(d -> 'clauses'),
        'with ' || journey._inputs_said(d -> 'inputs'),
        'weighed: ' || (SELECT string_agg(concat_ws(' ', c ->> 'channel', c ->> 'winner', '(' || (c ->> 'reason') || ')'), ', ' ORDER BY n)
                        FROM jsonb_array_elements(d -> 'candidates') WITH ORDINALITY AS t (c, n)),
        'documents ' || (SELECT string_agg(format('%s v%s', v.key, v.value), ', ' ORDER BY v.key)
                         FROM jsonb_each_text(d -> 'versions') AS v)), '');
END
$$;
COMMENT ON FUNCTION journey._decision_because(jsonb) IS
    'What a row of journey.decision, given as jsonb, was based on: rule, clauses with their verdicts, values, rivals, versions.';

CREATE FUNCTION journey._enrollment_told(person uuid, enrollment uuid, action uuid DEFAULT NULL)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    b smallint := journey.bucket(person);
BEGIN
    -- What happens at one instant is told in the order of the steps: a step is entered (n), decided, permitted, done with, left (n + 1).
    RETURN QUERY
    WITH moves AS (
        SELECT t.n, t.from_step, t.to_step, t.edge, t.reason, t.at
        FROM journey.transition AS t
        WHERE t.bucket = b AND t.profile_id = person AND t.enrollment_id = enrollment
    ), actions AS (
        -- what requeue() has brought back belongs to no enrollment any more: the decision that made it says to which it did
        SELECT x.*
        FROM (SELECT o.action_id, o.step, o.enrollment_id, o.decision_id, NULL::timestamptz AS finished_at, o.status, o.reason, o.provider_ref, o.error
              FROM journey.outbox AS o WHERE o.bucket = b AND o.profile_id = person
              UNION ALL
              SELECT h.action_id, h.step, h.enrollment_id, h.decision_id, h.finished_at, h.status, h.reason, h.provider_ref, h.error
              FROM journey.outbox_history AS h WHERE h.bucket = b AND h.profile_id = person) AS x
        WHERE x.action_id = action OR x.enrollment_id = enrollment
           OR x.decision_id IN (SELECT d.decision_id FROM journey.decision AS d
                                WHERE d.bucket = b AND d.profile_id = person AND d.enrollment_id = enrollment)
    ), told (at, step, place, what, because) AS (
        SELECT d.decided_at, CASE WHEN d.kind = 'entry' THEN NULL ELSE d.step END, 1,
               journey._decision_said(to_jsonb(d)), journey._decision_because(to_jsonb(d))
        FROM journey.decision AS d
        WHERE d.bucket = b AND d.profile_id = person AND d.verdict <> 'branch'
          AND (d.enrollment_id = enrollment OR d.action_id IN (SELECT x.action_id FROM actions AS x))
        UNION ALL
        SELECT a.granted_at, x.step, 2,
               format('%s: permit %s for %s was granted to %s%s', x.step, a.attempt, a.channel, a.sender,
                      coalesce(', ' || a.outcome, '')), NULL
        FROM journey.attempt_log AS a
        JOIN actions AS x ON x.action_id = a.action_id
        WHERE a.bucket = b AND a.profile_id = person
        UNION ALL
        SELECT x.finished_at, x.step, 3, format('%s: %s', x.step, x.status) || coalesce(' (' || nullif(x.reason, '') || ')', ''),
               nullif(concat_ws(', ', 'provider reference ' || x.provider_ref, 'error ' || x.error), '')
        FROM actions AS x
        WHERE x.finished_at IS NOT NULL
    )
    SELECT x.at, x.what, x.because
    FROM (
        SELECT t.at, coalesce((SELECT max(m.n) FROM moves AS m WHERE m.to_step = t.step AND m.at <= t.at), 0) AS n, t.place, t.what, t.because
        FROM told AS t
        UNION ALL
        SELECT m.at, m.n, 0,
               CASE WHEN m.from_step IS NULL THEN format('started at %s', m.to_step)
                    WHEN m.to_step IS NULL THEN format('ended at %s', m.from_step)
                    ELSE format('%s to %s', m.from_step, m.to_step) END
               || CASE WHEN m.edge IN ('entry', 'next') THEN '' ELSE ' by ' || m.edge END || coalesce(' (' || m.reason || ')', ''),
               (SELECT journey._clauses_said(d.clauses) FROM journey.decision AS d
                WHERE d.bucket = b AND d.profile_id = person AND d.enrollment_id = enrollment
                  AND d.verdict = 'branch' AND d.step = m.from_step AND d.decided_at >= m.at
                ORDER BY d.decided_at LIMIT 1)
        FROM moves AS m
        UNION ALL
        SELECT c.at, 2147483647, 0, format('reached the goal: %s', c.goal),
               nullif(concat_ws(', ', 'order ' || c.order_id, c.amount || coalesce(' ' || c.currency, '')), '')
        FROM journey.conversion AS c
        WHERE c.bucket = b AND c.profile_id = person AND c.enrollment_id = enrollment
    ) AS x
    ORDER BY x.at, x.n, x.place;
END
$$;
COMMENT ON FUNCTION journey._enrollment_told(uuid, uuid, uuid) IS
    'Everything that became of one enrollment, or of an action without one, in order, in words.';

CREATE FUNCTION journey.why(action_id uuid)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_action record;
BEGIN
    SELECT x.profile_id,
           coalesce(x.enrollment_id, (SELECT d.enrollment_id FROM journey.decision AS d
                                      WHERE d.bucket = x.bucket AND d.profile_id = x.profile_id AND d.decision_id = x.decision_id)) AS enrollment_id
    INTO found_action
    FROM (SELECT o.bucket, o.profile_id, o.enrollment_id, o.decision_id FROM journey.outbox AS o WHERE o.action_id = why.action_id
          UNION ALL
          SELECT h.bucket, h.profile_id, h.enrollment_id, h.decision_id FROM journey.outbox_history AS h WHERE h.action_id = why.action_id) AS x
    LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT t.at, t.what, t.because
        FROM journey._enrollment_told(found_action.profile_id, found_action.enrollment_id, why.action_id) AS t;
    END IF;
END
$$;
COMMENT ON FUNCTION journey.why(uuid) IS
    'How it came to an action and what became of it: entry, steps, decisions with each clause, permits, outcome. No row for an unknown action.';

CREATE FUNCTION journey.why(provider_ref text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    action uuid := (
        SELECT x.action_id
        FROM (SELECT o.action_id FROM journey.outbox AS o WHERE o.provider_ref = why.provider_ref
              UNION ALL
              SELECT h.action_id FROM journey.outbox_history AS h WHERE h.provider_ref = why.provider_ref) AS x
        LIMIT 1);
BEGIN
    IF action IS NOT NULL THEN
        RETURN QUERY SELECT t.at, t.what, t.because FROM journey.why(action) AS t;
    END IF;
END
$$;
COMMENT ON FUNCTION journey.why(text) IS
    'As why(action), found by the reference that the provider gave to the message.';

CREATE FUNCTION journey.why(subject jsonb, journey text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(why.subject);
BEGIN
    RETURN QUERY
    SELECT t.at, t.what, t.because
    FROM (SELECT e.enrollment_id, e.entered_at FROM journey.enrollment AS e
          WHERE e.bucket = journey.bucket(person) AND e.profile_id = person AND e.journey = why.journey
          ORDER BY e.entered_at DESC LIMIT 10) AS e
    CROSS JOIN LATERAL journey._enrollment_told(person, e.enrollment_id) WITH ORDINALITY AS t (at, what, because, n)
    ORDER BY e.entered_at, e.enrollment_id, t.n;
END
$$;
COMMENT ON FUNCTION journey.why(jsonb, text) IS
    'What a person has been through on a journey, their last ten enrollments. No row for an unknown subject.';

CREATE FUNCTION journey._refusals_told(person uuid, wanted text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.at, s.what, s.because
    FROM (
        SELECT d.decided_at, journey._decision_said(to_jsonb(d)), journey._decision_because(to_jsonb(d))
        FROM journey.decision AS d
        WHERE d.bucket = journey.bucket(person) AND d.profile_id = person AND d.journey = wanted
          AND d.verdict IN ('not_enrolled', 'refused', 'held')
        UNION ALL
        SELECT h.finished_at, format('%s: %s by the permit or the sender (%s%s)', h.step, h.status, h.reason,
                                     (SELECT ': ' || r.meaning FROM journey.reason_code AS r WHERE r.reason = h.reason)), h.error
        FROM journey.outbox_history AS h
        WHERE h.bucket = journey.bucket(person) AND h.profile_id = person AND h.journey = wanted AND h.status <> 'sent'
        UNION ALL
        SELECT e.exited_at, format('left %s at the end of %s steps (%s)', e.journey, e.visit, e.exit_reason), NULL
        FROM journey.enrollment AS e
        WHERE e.bucket = journey.bucket(person) AND e.profile_id = person AND e.journey = wanted AND e.status = 'exited'
    ) AS s (at, what, because)
    ORDER BY s.at;
END
$$;
COMMENT ON FUNCTION journey._refusals_told(uuid, text) IS
    'Each recorded reason for which a person was not contacted by a journey.';

CREATE FUNCTION journey._channel_obstacles(person uuid, in_scope text, on_channel text, for_purpose text)
    RETURNS TABLE (what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    b smallint := journey.bucket(person);
    live jsonb := (SELECT d.doc FROM journey.document AS d WHERE d.kind = 'channel' AND d.name = on_channel AND d.state = 'active');
    namespace text := CASE WHEN live IS NOT NULL THEN live ->> 'address'
                      ELSE (SELECT k.address FROM (VALUES ('email', 'email'), ('sms', 'phone'), ('push', 'push')) AS k (name, address) WHERE k.name = on_channel) END;
    answer text;
    said text;
BEGIN
    -- the questions that a permit asks in deliver/people.c
    IF live ->> 'mode' = 'ops' THEN
        RETURN;
    END IF;
    IF for_purpose = 'marketing' THEN
        SELECT coalesce(max(c.state) FILTER (WHERE c.state NOT IN ('granted', 'unknown', 'pending')),
                        max(c.state) FILTER (WHERE c.state = 'granted' AND (c.expires_at IS NULL OR c.expires_at > journey.clock())),
                        max(CASE c.state WHEN 'granted' THEN 'expired' ELSE c.state END)),
               string_agg(format('%s %s: %s since %s', c.channel, c.purpose, c.state, c.at)
                          || coalesce(format(', until %s', c.expires_at), ''), '; ' ORDER BY c.at)
        INTO answer, said
        FROM (SELECT bucket, profile_id, scope, channel, purpose, state, at, expires_at FROM journey.consent
              UNION ALL
              SELECT bucket, profile_id, scope, channel, purpose, state, at, expires_at FROM journey.consent_history
              WHERE unread AND state <> 'granted') AS c
        WHERE c.bucket = b AND c.profile_id = person AND c.scope IN (in_scope, '*')
          AND c.channel IN (on_channel, namespace, '*') AND c.purpose IN (for_purpose, '*');
        IF answer IS DISTINCT FROM 'granted' THEN
            RETURN QUERY SELECT format('there is no consent to marketing by %s', on_channel), coalesce(said, 'nothing has been said about it');
        END IF;
    END IF;
    IF namespace IS NOT NULL AND NOT EXISTS (
        SELECT FROM (SELECT c.state, bool_or(c.state IN ('hard', 'complained')) OVER (PARTITION BY c.address_hash) AS spoilt
                     FROM (SELECT bucket, profile_id, scope, channel, state, address_hash FROM journey.contact_point
                           UNION ALL
                           SELECT bucket, profile_id, scope, channel, 'hard', address_hash FROM journey.attempt_log
                           WHERE address_fault IS NOT NULL) AS c
                     WHERE c.bucket = b AND c.profile_id = person AND c.scope IN (in_scope, '*') AND c.channel IN (on_channel, namespace, '*')) AS c
        WHERE c.state <> 'replaced' AND NOT c.spoilt) THEN
        RETURN QUERY SELECT format('there is no usable address for %s', on_channel), (
            SELECT string_agg(format('%s: %s since %s', c.channel, c.state, c.since), '; ' ORDER BY c.since)
            FROM journey.contact_point AS c WHERE c.bucket = b AND c.profile_id = person);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._channel_obstacles(uuid, text, text, text) IS
    'Why a permit for a message of a purpose to a person by a channel would be refused at this moment: consent and address, as the permit reads them.';

CREATE FUNCTION journey._obstacles(person uuid, wanted text)
    RETURNS TABLE (what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live jsonb := (SELECT d.doc FROM journey.document AS d WHERE d.kind = 'journey' AND d.name = wanted AND d.state = 'active');
    entries text[] := ARRAY(SELECT DISTINCT t FROM jsonb_array_elements(live -> 'entry') AS x,
                            jsonb_array_elements_text(CASE jsonb_typeof(x -> 'on') WHEN 'array' THEN x -> 'on' ELSE jsonb_build_array(x -> 'on') END) AS t
                            WHERE x ? 'on');
    b smallint := journey.bucket(person);
    state text := journey.mode();
    -- of an action: that of the event which enters
    in_scope text := coalesce((SELECT e.scope FROM journey.event AS e WHERE e.bucket = b AND e.profile_id = person AND e.type = ANY (entries)
                               ORDER BY e.received_at DESC, e.seq DESC LIMIT 1), nullif(live ->> 'scope', '*'), 'default');
BEGIN
    IF live IS NULL THEN
        RETURN QUERY SELECT 'the journey is not live', format('no active document journey/%s', wanted);
        RETURN;
    END IF;
    IF state = 'off' OR (state = 'sandbox' AND NOT EXISTS (SELECT FROM journey.test_profile AS t WHERE t.bucket = b AND t.profile_id = person)) THEN
        RETURN QUERY SELECT format('this database is in mode %s', state), CASE state WHEN 'off' THEN 'which contacts nobody' ELSE 'which contacts test profiles only' END;
    END IF;
    IF NOT EXISTS (SELECT FROM journey.event AS e WHERE e.bucket = b AND e.profile_id = person AND e.type = ANY (entries)) THEN
        RETURN QUERY SELECT 'no event that enters the journey has been seen for this person', format('it enters on %s', array_to_string(entries, ', '));
    ELSIF NOT EXISTS (SELECT FROM journey.decision AS d WHERE d.bucket = b AND d.profile_id = person AND d.journey = wanted) THEN
        RETURN QUERY SELECT 'the entry condition was not true at any event', (
            SELECT string_agg(x ->> 'when', '; or ') FROM jsonb_array_elements(live -> 'entry') AS x);
    END IF;
    RETURN QUERY SELECT CASE p.what WHEN 'all' THEN 'everything is paused' ELSE format('%s %s is paused', p.what, p.name) END, p.reason
    FROM journey.pause AS p
    WHERE p.what = 'all' OR (p.what = 'journey' AND p.name = wanted) OR (p.what = 'scope' AND p.name = in_scope)
       OR (p.what = 'template' AND jsonb_path_exists(live, '$.steps.*.send.template ? (@ == $n)', jsonb_build_object('n', p.name)))
       OR (p.what = 'channel' AND jsonb_path_exists(live, '$.steps.*.send.channel[*] ? (@ == $n)', jsonb_build_object('n', p.name)));
    RETURN QUERY SELECT 'processing of this person''s data is restricted'::text, NULL::text FROM journey.profile AS p
    WHERE p.bucket = b AND p.profile_id = person AND p.restricted;
    RETURN QUERY SELECT 'somebody has suppressed this person by hand'::text, s.note FROM journey.suppression AS s
    WHERE s.bucket = b AND s.profile_id = person AND s.type = 'manual' AND live ->> 'purpose' <> 'transactional'
      AND s.released_at IS NULL AND (s.until IS NULL OR s.until > journey.clock()) AND s.scope IN (in_scope, '*');
    RETURN QUERY SELECT o.what, o.because
    FROM (SELECT DISTINCT c #>> '{}' AS channel FROM jsonb_path_query(live, '$.steps.*.send.channel[*]') AS c ORDER BY 1) AS x
    CROSS JOIN LATERAL journey._channel_obstacles(person, in_scope, x.channel, live ->> 'purpose') AS o;
END
$$;
COMMENT ON FUNCTION journey._obstacles(uuid, text) IS
    'What stands between a person and a journey at this moment.';

CREATE FUNCTION journey.why_not(subject jsonb, journey text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(why_not.subject);
BEGIN
    IF why_not.subject IS NULL OR why_not.journey IS NULL THEN
        RETURN;
    END IF;
    IF person IS NULL THEN
        RETURN QUERY SELECT NULL::timestamptz, 'nobody is known by this subject'::text,
                            'no event, customer row or order has named one of its keys'::text;
        RETURN;
    END IF;
    RETURN QUERY SELECT t.at, t.what, t.because FROM journey._refusals_told(person, why_not.journey) AS t;
    RETURN QUERY SELECT NULL::timestamptz, 'now: ' || o.what, o.because FROM journey._obstacles(person, why_not.journey) AS o;
END
$$;
COMMENT ON FUNCTION journey.why_not(jsonb, text) IS
    'Why a person was not, or would not be, contacted by a journey: each recorded refusal with its clauses, then what stands in the way now, as the permit asks (rows without a time). What changes by the minute (quiet hours, caps, stock) preview() judges.';

CREATE FUNCTION journey.contacts(subject jsonb, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL)
    RETURNS TABLE (at timestamptz, channel text, journey text, step text, purpose text, template text, template_version integer,
                   status text, provider_ref text, action_id uuid, decision_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(contacts.subject);
    b smallint := journey.bucket(person);
BEGIN
    RETURN QUERY
    SELECT a.granted_at, a.channel, a.journey, x.step, a.purpose, x.template, x.template_version,
           -- a late word settles the last attempt, of which nobody knew
           CASE WHEN x.status = 'sent' AND x.attempt = a.attempt THEN 'sent' ELSE coalesce(a.outcome, x.status) END,
           x.provider_ref, a.action_id, x.decision_id
    FROM journey.attempt_log AS a
    LEFT JOIN (
        SELECT o.action_id, o.step, o.template, o.template_version, o.status, o.attempt, o.provider_ref, o.decision_id
        FROM journey.outbox AS o WHERE o.bucket = b AND o.profile_id = person
        UNION ALL
        SELECT h.action_id, h.step, h.template, h.template_version, h.status, h.attempt, h.provider_ref, h.decision_id
        FROM journey.outbox_history AS h WHERE h.bucket = b AND h.profile_id = person
    ) AS x ON x.action_id = a.action_id
    WHERE a.bucket = b AND a.profile_id = person
      AND a.granted_at >= coalesce(contacts."from", '-infinity') AND a.granted_at < coalesce(contacts."to", 'infinity')
    ORDER BY a.granted_at, a.attempt;
END
$$;
COMMENT ON FUNCTION journey.contacts(jsonb, timestamptz, timestamptz) IS
    'Every permit that was granted to contact a person, with what became of it. No row for an unknown subject.';

-- orchestrate/60_usage.sql

CREATE FUNCTION journey.event_usage()
    RETURNS TABLE (type text, stage text, seen bigint, journeys text[], others text[], used boolean, meaning text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH words AS (
        -- every "on" names types, in whatever step or edge it stands; the lists may name them without one
        SELECT DISTINCT d.kind, d.name, w.word #>> '{}' AS word
        FROM journey.document AS d
        CROSS JOIN LATERAL (
            SELECT jsonb_path_query(d.doc, '$.**.on[*] ? (@.type() == "string")')
            UNION ALL SELECT jsonb_path_query(d.doc, '$.**.suppress_on[*] ? (@.type() == "string")')
            UNION ALL SELECT jsonb_path_query(d.doc, '$.**.restart_on[*] ? (@.type() == "string")')) AS w (word)
        WHERE d.state = 'active'),
    users AS (
        SELECT t.type, t.stage, t.seen, t.meaning,
            ARRAY(SELECT w.name FROM words AS w WHERE w.word = t.type AND w.kind = 'journey' ORDER BY 1) AS journeys,
            ARRAY(SELECT w.kind || '/' || w.name FROM words AS w WHERE w.word = t.type AND w.kind <> 'journey' ORDER BY 1) AS others
        FROM journey.event_type AS t)
    SELECT u.type, u.stage, u.seen, u.journeys, u.others, cardinality(u.journeys) + cardinality(u.others) > 0, u.meaning
    FROM users AS u ORDER BY 1;
END
$$;
COMMENT ON FUNCTION journey.event_usage() IS
    'Activation plan by event: each event type with the live journeys and other documents that listen to it; used is false where nobody does. seen counts the events taken in so far.';

-- deliver/20_sender.sql

CREATE FUNCTION journey.claim(channel text, n integer DEFAULT 100, lease interval DEFAULT NULL,
                              sender text DEFAULT current_user, wait interval DEFAULT NULL)
    RETURNS TABLE (action_id uuid, token bigint, profile_id uuid, journey text, step text, purpose text, scope text,
                   template text, template_version integer, locale text, payload jsonb, placement text, offer text,
                   attempt integer, idempotency_key text, not_after timestamptz, lease_until timestamptz,
                   decision_id uuid, test boolean)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_claim';
COMMENT ON FUNCTION journey.claim(text, integer, interval, text, interval) IS
    'Takes up to n (at most 1000) due actions of a channel under a lease, by priority, then by claim_at: the due time, or later after a retry, a rate or quiet hours. Gives no address: ask begin_send. Empty while the database is off or the channel paused. wait: sleeps in the server up to that long (at most 1 second) for work. Judges at most 100 for each of n and 1000 in all: when so many were refused it gives what it has, and next_due is still in the past. Needs READ COMMITTED (25001) and the primary; a channel with a rate is not claimed in a transaction block (25001).';

CREATE FUNCTION journey.begin_send(action_id uuid, token bigint)
    RETURNS TABLE (granted boolean, reason text, final boolean, retry_at timestamptz, contact jsonb, headers jsonb,
                   offer_code text)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_begin_send';
COMMENT ON FUNCTION journey.begin_send(uuid, bigint) IS
    'The permit to send one claimed action, judged at this moment: orders, opt-outs, consent, address, pause, stock, quiet hours, caps. Send only what was granted, with this contact and these headers. It counts once committed, so it must be a statement of the client: it refuses a transaction block, a function and a DO block (25001).';

CREATE FUNCTION journey.begin_send(action_ids uuid[], tokens bigint[])
    RETURNS TABLE (action_id uuid, granted boolean, reason text, final boolean, retry_at timestamptz, contact jsonb,
                   headers jsonb, offer_code text)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_begin_send_array';
COMMENT ON FUNCTION journey.begin_send(uuid[], bigint[]) IS
    'Permits for many actions, each judged by itself, in the order of the input; at most 1000 at once. With literals write ::uuid[], as there is a form for one action too.';

CREATE FUNCTION journey.claim_and_begin(channel text, n integer DEFAULT 100, lease interval DEFAULT NULL,
                                        sender text DEFAULT current_user)
    RETURNS TABLE (action_id uuid, token bigint, profile_id uuid, journey text, step text, purpose text, scope text,
                   template text, template_version integer, locale text, payload jsonb, placement text, offer text,
                   attempt integer, idempotency_key text, not_after timestamptz, lease_until timestamptz,
                   decision_id uuid, test boolean, contact jsonb, headers jsonb, offer_code text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_claim_and_begin';
COMMENT ON FUNCTION journey.claim_and_begin(text, integer, interval, text) IS
    'claim and begin_send in one call, for senders that send at once: every row returned is granted. Refuses a transaction block, a function and a DO block (25001).';

CREATE FUNCTION journey.next_due(channel text) RETURNS timestamptz
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_next_due';
COMMENT ON FUNCTION journey.next_due(text) IS
    'When the next action of the channel may be claimed; null when none waits, or when what waits is paused.';

-- deliver/30_outcome.sql

CREATE FUNCTION journey.ack(action_id uuid, token bigint, provider_ref text DEFAULT NULL, cost numeric DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ack';
COMMENT ON FUNCTION journey.ack(uuid, bigint, text, numeric) IS
    'The action was sent. False: not yours any more; never an error, and harmless to repeat. With literals write ack(''...''::uuid, 42), as there is a form for arrays too.';

CREATE FUNCTION journey.ack(action_ids uuid[], tokens bigint[], provider_refs text[] DEFAULT NULL,
                            costs numeric[] DEFAULT NULL)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ack_array';
COMMENT ON FUNCTION journey.ack(uuid[], bigint[], text[], numeric[]) IS
    'ack() for many actions; one answer each, in the order of the input. With literals write ack(''{...}''::uuid[], ''{42}'').';

CREATE FUNCTION journey.fail(action_id uuid, token bigint, error text, retryable boolean DEFAULT NULL,
                             code text DEFAULT NULL, retry_after interval DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_fail';
COMMENT ON FUNCTION journey.fail(uuid, bigint, text, boolean, text, interval) IS
    'The action was certainly not sent. Codes: rate_limited and provider_down (take no attempt), bad_address and blocked_address (the address is spoilt, the action refused), content_rejected (dead), other. It is tried again after the channel''s backoff or retry_after, until its attempts are used up or it expires. False: not yours any more.';

CREATE FUNCTION journey.fail(action_ids uuid[], tokens bigint[], error text, retryable boolean DEFAULT NULL,
                             code text DEFAULT NULL, retry_after interval DEFAULT NULL)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_fail_array';
COMMENT ON FUNCTION journey.fail(uuid[], bigint[], text, boolean, text, interval) IS
    'fail() for many actions with one cause; one answer each, in the order of the input.';

CREATE FUNCTION journey.unknown(action_id uuid, token bigint, error text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_unknown';
COMMENT ON FUNCTION journey.unknown(uuid, bigint, text) IS
    'Nobody knows whether the action was sent (a time-out). The channel''s on_unknown says what follows: hold, retry under the same key, or drop. False: not yours any more.';

CREATE FUNCTION journey.unknown(action_ids uuid[], tokens bigint[], error text DEFAULT NULL)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_unknown_array';
COMMENT ON FUNCTION journey.unknown(uuid[], bigint[], text) IS
    'unknown() for many actions; one answer each, in the order of the input.';

CREATE FUNCTION journey.resolve(action_id uuid, outcome text, provider_ref text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_resolve';
COMMENT ON FUNCTION journey.resolve(uuid, text, text) IS
    'Somebody found out about an action in state unknown: sent, failed, or retry it under the same key. False: it is not unknown.';

CREATE FUNCTION journey.extend(action_id uuid, token bigint, lease interval)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_extend';
COMMENT ON FUNCTION journey.extend(uuid, bigint, interval) IS
    'A longer lease, counted from now. False: not yours any more.';

CREATE FUNCTION journey.extend(action_ids uuid[], tokens bigint[], lease interval)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_extend_array';
COMMENT ON FUNCTION journey.extend(uuid[], bigint[], interval) IS
    'extend() for many actions; one answer each, in the order of the input.';

CREATE FUNCTION journey.release(action_ids uuid[], tokens bigint[])
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_release';
COMMENT ON FUNCTION journey.release(uuid[], bigint[]) IS
    'Gives back what the sender has not sent, for instance on shutdown: claimable again at once, and a permit gives its place under the caps back. One answer each, in the order of the input.';

CREATE FUNCTION journey.requeue(action_ids uuid[])
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_requeue';
COMMENT ON FUNCTION journey.requeue(uuid[]) IS
    'Dead letters back into the queue, under their old idempotency keys, as long as they have not expired; returns how many. Their enrollments have moved on and are not told.';

-- worker/10_install.sql

CREATE FUNCTION journey._publications() RETURNS TABLE (publication text, message text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT p.pubname::text,
           CASE WHEN p.puballtables THEN format('publication %I carries every table, the inbox included', p.pubname)
                ELSE format('publication %I carries tables that belong to this node: %s', p.pubname, t.names) END,
           CASE WHEN p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace n
                                               WHERE n.pnpubid = p.oid AND n.pnnspid = 'journey'::regnamespace)
                THEN format('Name the tables: ALTER PUBLICATION %I SET TABLE ...; the inbox means nothing in another cluster.', p.pubname)
                ELSE format('ALTER PUBLICATION %I DROP TABLE %s; they mean nothing in another cluster.', p.pubname, t.names) END
    FROM pg_publication p
    JOIN (SELECT x.pubname, string_agg(format('%I.%I', x.schemaname, x.tablename), ', ' ORDER BY x.tablename) AS names
          FROM pg_publication_tables x
          JOIN pg_class c ON c.relname = x.tablename AND c.relnamespace = 'journey'::regnamespace
          JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
          WHERE x.schemaname = 'journey'
          GROUP BY x.pubname) t ON t.pubname = p.pubname
    ORDER BY p.pubname;
END
$$;
COMMENT ON FUNCTION journey._publications() IS
    'Publications that carry tables of the node (inbox, cursor, ...), what is wrong with that, and what to do. For install() and health.';

CREATE FUNCTION journey.install() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT x.message, x.hint FROM journey._publications() x LOOP
        RAISE WARNING '%', p.message USING HINT = p.hint;
    END LOOP;
    IF to_regclass('journey.schema_version') IS NOT NULL THEN
        RETURN 'already installed';
    END IF;
    EXECUTE journey._ddl('tables');
    EXECUTE journey._ddl('views');
    EXECUTE journey._ddl('seed');
    EXECUTE journey._ddl('grants');
    INSERT INTO journey.schema_version (version, installed_at)
    SELECT extversion, clock_timestamp() FROM pg_extension WHERE extname = 'journey';
    RETURN 'installed';
END
$$;
COMMENT ON FUNCTION journey.install() IS
    'Creates the data tables, views and reports in schema journey, owned by journey_owner, as ordinary tables that pg_dump saves. Idempotent: does nothing when they exist. Then run journey.adopt().';

-- All in one statement: they may depend on each other, but nobody else's goes with them.
CREATE FUNCTION journey._drop(kind text, names name[], hint text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    list text;
    dependents text;
BEGIN
    SELECT string_agg(format('journey.%I', n), ', ') INTO list FROM unnest(names) n;
    IF list IS NULL THEN
        RETURN;
    ELSIF kind = 'view' THEN
        EXECUTE 'DROP VIEW ' || list;
    ELSE
        EXECUTE 'DROP TABLE ' || list;
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'other objects depend on %s of journey', kind
        USING ERRCODE = 'dependent_objects_still_exist', DETAIL = dependents, HINT = hint;
END
$$;
COMMENT ON FUNCTION journey._drop(text, name[], text) IS
    'Drops these tables or views; 2BP01 with their names when objects of others depend on them.';

CREATE FUNCTION journey.migrate() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    target text;
    ours name[];
    foreign_views text;
    mend text;
BEGIN
    IF to_regclass('journey.schema_version') IS NULL THEN
        RAISE EXCEPTION 'journey is not installed in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run journey.install() first.';
    END IF;
    SELECT string_agg(v.message, '; '), string_agg(v.hint, ' ') INTO foreign_views, mend FROM journey._views_of_others() v;
    IF foreign_views IS NOT NULL THEN
        RAISE EXCEPTION 'views of journey belong to others'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = foreign_views,
                  HINT = format('Those that are journey''s own, as after pg_restore --no-owner: %s One that somebody has made under such a name wants another: ALTER VIEW ... RENAME TO.', mend);
    END IF;
    SELECT extversion INTO target FROM pg_extension WHERE extname = 'journey';
    SELECT array_agg(c.relname) INTO ours
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind = 'v' AND c.relowner = current_user::regrole
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
    PERFORM journey._drop('view', ours, 'Drop them, run journey.migrate(), and create them again: its views are made anew.');
    EXECUTE journey._ddl('views');
    EXECUTE journey._ddl('grants');
    INSERT INTO journey.schema_version (version, installed_at) VALUES (target, clock_timestamp())
    ON CONFLICT (version) DO UPDATE SET installed_at = excluded.installed_at;
    PERFORM journey._nudge();
    RETURN target;
END
$$;
COMMENT ON FUNCTION journey.migrate() IS
    'Brings the data tables to the version of the extension, after ALTER EXTENSION journey UPDATE, and makes views and reports anew. Returns the version. 55000 when install() has not been run or a view of ours belongs to another, 2BP01 with their names when objects of others depend on the views.';

CREATE FUNCTION journey.uninstall(confirm text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    r record;
BEGIN
    IF confirm IS DISTINCT FROM 'drop all journey data' THEN
        RAISE EXCEPTION 'uninstall drops every customer, event, consent and decision that journey holds'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'To go on: SELECT journey.uninstall(''drop all journey data'').';
    END IF;
    SELECT t.tgrelid::regclass::text AS rel INTO r
    FROM pg_trigger t
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE p.proname = '_capture' AND p.pronamespace = 'journey'::regnamespace
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'table % is still attached', r.rel
            USING ERRCODE = 'dependent_objects_still_exist',
                  HINT = format('Run journey.detach(%L) first.', r.rel);
    END IF;
    SELECT string_agg(format('%s journey.%I of %I', CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END,
                             c.relname, pg_get_userbyid(c.relowner)), ', ' ORDER BY c.relname) AS names
    INTO r
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND c.relowner <> current_user::regrole;
    IF r.names IS NOT NULL THEN
        RAISE EXCEPTION 'schema journey holds tables or views of others'
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = r.names,
                  HINT = 'Move them to another schema with ALTER ... SET SCHEMA, or drop them, then run journey.uninstall() again. Those that are journey''s own, as after pg_restore --no-owner, get their owner back by the hints of journey.health.';
    END IF;
    UPDATE journey.node SET mode = 'off', incarnation = 0, test_clock = NULL, changed_at = clock_timestamp();
    TRUNCATE journey.inbox_0, journey.inbox_1, journey.inbox_2, journey.inbox_copy, journey.inbox_drained, journey.backfill, journey.leaf;
    UPDATE journey.cursor SET incarnation = 0, previous = NULL, window_snapshot = NULL;
    SELECT count(*) AS n, array_agg(c.relname) FILTER (WHERE c.relkind = 'v') AS views,
           array_agg(c.relname) FILTER (WHERE c.relkind <> 'v') AS tables
    INTO r
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
    PERFORM journey._drop('view', r.views, 'Drop them, then run journey.uninstall() again.');
    PERFORM journey._drop('table', r.tables, 'Drop them, then run journey.uninstall() again.');
    RETURN format('dropped %s tables and views', r.n);
END
$$;
COMMENT ON FUNCTION journey.uninstall(text) IS
    'Drops every data table, view and report of journey; the argument must be ''drop all journey data''. Refused (2BP01) while a table is attached, objects of others depend on what it drops, or tables or views of others are in schema journey; it names them. Afterwards DROP EXTENSION works.';

-- worker/20_run.sql

CREATE FUNCTION journey.run_once(max_events integer DEFAULT 10000)
    RETURNS TABLE (name text, value bigint)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' -- as the worker
    AS 'MODULE_PATHNAME', 'journey_run_once';
COMMENT ON FUNCTION journey.run_once(integer) IS
    'One lap without a worker: takes in about max_events events (a transaction that ends within four times as many is not cut), wakes due timers, steps, decides, enqueues. Returns what it did, a row per counter. Needs READ COMMITTED (25001 otherwise). Does nothing in a database that is not adopted.';

CREATE FUNCTION journey.run_until_idle()
    RETURNS TABLE (name text, value bigint)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' -- as the worker
    AS 'MODULE_PATHNAME', 'journey_run_until_idle';
COMMENT ON FUNCTION journey.run_until_idle() IS
    'Laps until nothing is due at journey.clock(); returns the sums of run_once''s counters. Raises 55006 when another session, such as the worker, is consuming.';

CREATE FUNCTION journey.maintain() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._maintain();
END
$$;
COMMENT ON FUNCTION journey.maintain() IS
    'The worker''s house-keeping for a server without one: empties what is consumed of the inbox, makes partitions, forgets old message ids. Schedule it beside run_once(), in a transaction of its own. Needs READ COMMITTED (25001 otherwise). Does nothing in a database that is not adopted.';

-- worker/30_modes.sql

CREATE FUNCTION journey._adopt() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_adopt';
COMMENT ON FUNCTION journey._adopt() IS
    'Opens a new incarnation for this cluster and database and gives the cursor a fresh start. Part of adopt().';

CREATE FUNCTION journey._set_mode(wanted text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.node
    SET mode = wanted, changed_at = clock_timestamp(),
        test_clock = CASE WHEN wanted = 'test' THEN test_clock END,
        site = CASE WHEN site = '' THEN current_setting('journey.site') ELSE site END;
    PERFORM journey._nudge();
END
$$;
COMMENT ON FUNCTION journey._set_mode(text) IS 'Writes the mode; the callers have checked that it may be entered.';

CREATE FUNCTION journey._nudge() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_nudge';
COMMENT ON FUNCTION journey._nudge() IS 'Wakes the launcher and this database''s worker when the transaction has committed.';

CREATE FUNCTION journey._node_hint(state text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN state = 'not installed' THEN 'Run journey.install(), then journey.adopt().'
                WHEN state LIKE 'the data tables are not of version %'
                THEN 'Run ALTER EXTENSION journey UPDATE, then journey.migrate(). A server that has the old library preloaded has to be restarted first.'
                ELSE 'If this database may contact customers, run journey.adopt().' END;
END
$$;
COMMENT ON FUNCTION journey._node_hint(text) IS 'What to do about a _node_state() other than adopted.';

CREATE FUNCTION journey._require_adopted() RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    state text := journey._node_state();
BEGIN
    IF state <> 'adopted' THEN
        RAISE EXCEPTION 'this database is not adopted: %', state
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A restored copy, a clone and a fresh install stay silent until somebody says that this is the real one.',
                  HINT = journey._node_hint(state);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_adopted() IS 'Raises 55000 with the reason unless this database is adopted.';

CREATE FUNCTION journey._require_reconciled() RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    open text;
BEGIN
    SELECT string_agg(format('%s: %s', i.name, i.message), '; ' ORDER BY i.name) INTO open
    FROM journey.incident i WHERE i.kind = 'reconcile_failed' AND i.resolved_at IS NULL;
    IF open IS NOT NULL THEN
        RAISE EXCEPTION 'adopt() could not read every attached table'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = open,
                  HINT = 'An order in them may be the one that ends a reminder. Mend the cause and run journey.reconcile() for each; journey.detach(name) gives one up that is gone for good.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_reconciled() IS 'Raises 55000 while an incident reconcile_failed is open.';

CREATE FUNCTION journey.adopt() RETURNS TABLE (name text, value text)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a record;
    v record;
    stranger record;
BEGIN
    IF to_regclass('journey.schema_version') IS NULL THEN
        RAISE EXCEPTION 'journey is not installed in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run journey.install() first.';
    END IF;
    SELECT s.message, s.hint INTO stranger FROM journey._strangers() s LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'this database cannot be adopted: %', stranger.message
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = stranger.hint;
    END IF;
    SELECT e.extversion AS code, (SELECT s.version FROM journey.schema_version s ORDER BY s.installed_at DESC LIMIT 1) AS tables
    INTO v FROM pg_extension e WHERE e.extname = 'journey';
    IF v.tables IS DISTINCT FROM v.code THEN
        RAISE EXCEPTION 'the data tables are of version %, the extension of version %', coalesce(v.tables, 'none'), v.code
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run journey.migrate() first.';
    END IF;
    -- each table is read behind a savepoint, which would make this a failure of each
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'adopt() needs isolation level READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'It reads the attached tables, and an older snapshot would miss what has been committed since.',
                  HINT = 'Run it in a transaction of its own, at READ COMMITTED.';
    END IF;
    PERFORM journey._adopt();
    -- Orders whose events stood in the inbox that no dump carries: read them again from the shop's tables.
    PERFORM journey._attach_follow();
    FOR a IN
        SELECT x.attachment, format('%I.%I', x.rel_schema, x.rel_name) AS rel, x.kind FROM journey.attachment x
        WHERE x.detached_at IS NULL ORDER BY array_position(journey._attach_kinds(), x.kind), x.attachment
    LOOP
        name := a.rel;
        UPDATE journey.node SET adopted_xid = pg_current_xact_id();
        BEGIN
            value := journey._reconcile(a.attachment) || ' rows as ' || a.kind;
            IF value IS NULL THEN
                RAISE EXCEPTION 'the table or its capture trigger is gone'
                    USING ERRCODE = 'undefined_table', HINT = 'Attach it again, or detach it by its name.';
            END IF;
        EXCEPTION WHEN OTHERS THEN
            value := format('not reconciled: %s (%s)', SQLERRM, SQLSTATE);
            PERFORM journey._incident('reconcile_failed', a.rel || ' ' || a.kind, 'error', value,
                                      format('Mend the cause, then run journey.reconcile(%L); journey.resume() waits for it. When the table is gone for good: SELECT journey.detach(%1$L).', a.rel),
                                      jsonb_build_object('attachment', a.attachment));
        END;
        RETURN NEXT;
    END LOOP;
    name := 'incarnation';
    value := (SELECT n.incarnation::text FROM journey.node n);
    RETURN NEXT;
    name := 'state';
    value := journey._node_state();
    RETURN NEXT;
    PERFORM journey._nudge();
END
$$;
COMMENT ON FUNCTION journey.adopt() IS
    'Says that this database and cluster are the real ones: opens a new incarnation, starts the cursor afresh, reads attached tables again so that no order is missed, and stays in mode off until resume(), sandbox() or set_clock(). Needed after install(), after a restore, a clone or pg_upgrade; not after failover.';

CREATE FUNCTION journey.set_clock(at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    node journey.node;
BEGIN
    PERFORM journey._require_adopted();
    SELECT * INTO node FROM journey.node FOR UPDATE;
    IF node.mode IN ('live', 'sandbox') THEN
        RAISE EXCEPTION 'the clock of a % database is the real one', node.mode
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Use a database of its own for tests; journey.mode() must be off or test.';
    END IF;
    IF at IS NOT NULL AND NOT isfinite(at) THEN
        RAISE EXCEPTION 'the test clock needs a finite time'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a timestamp, or null for real time.';
    END IF;
    IF at < node.test_clock AND EXISTS (SELECT FROM journey.outbox WHERE lease_until IS NOT NULL) THEN
        RAISE EXCEPTION 'the test clock cannot go back while actions are leased'
            USING ERRCODE = 'object_in_use',
                  HINT = 'Ack, fail or release what is claimed first, or go forward.';
    END IF;
    UPDATE journey.node
    SET test_clock = at, mode = CASE WHEN at IS NULL THEN 'off' ELSE 'test' END, changed_at = clock_timestamp();
    PERFORM journey._nudge();
    RETURN journey.clock();
END
$$;
COMMENT ON FUNCTION journey.set_clock(timestamptz) IS
    'Sets the one clock and enters mode test, where every row written carries test = true. Null returns to real time and mode off. 55000 while live or in the sandbox, 55006 when it would go back while actions are leased.';

CREATE FUNCTION journey._require_catch_up(catch_up text, spread interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF catch_up IS NULL OR catch_up NOT IN ('re-decide', 'drop', 'as-is') THEN
        RAISE EXCEPTION 'unknown catch_up: %', coalesce(catch_up, 'null')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use re-decide (what is late is decided again, spread over time), drop (what is late expires) or as-is.';
    END IF;
    IF spread IS NULL OR spread < interval '0' THEN
        RAISE EXCEPTION 'spread must not be negative'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval, such as ''1 hour''.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_catch_up(text, interval) IS
    'Raises 22023 for another catch_up than the three, or a negative spread.';

CREATE FUNCTION journey.resume(catch_up text DEFAULT 're-decide', spread interval DEFAULT '1 hour')
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    node journey.node;
    replanned bigint;
BEGIN
    PERFORM journey._require_catch_up(catch_up, spread);
    PERFORM journey._require_adopted();
    PERFORM journey._require_reconciled();
    SELECT * INTO node FROM journey.node FOR UPDATE;
    IF node.mode = 'test' THEN
        RAISE EXCEPTION 'this database runs on a test clock'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run journey.set_clock(null) and journey.discard_test() first.';
    END IF;
    IF current_setting('journey.site') = '' THEN
        RAISE EXCEPTION 'journey.site is not set in this server''s configuration'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'It is the second key: it lives outside the data directory, so that a copied database stays silent.',
                  HINT = 'Set journey.site = ''your-shop'' in postgresql.conf, reload, and run journey.resume() again.';
    END IF;
    -- nothing was held up that would have to be caught up with
    IF node.mode = 'live' AND NOT EXISTS (SELECT FROM journey.pause p WHERE p.what = 'all') THEN
        RETURN 'live already';
    END IF;
    replanned := journey._catch_up(catch_up, spread);
    DELETE FROM journey.pause WHERE what = 'all';
    PERFORM journey._set_mode('live');
    RETURN format('live, %s late items: %s', replanned, catch_up);
END
$$;
COMMENT ON FUNCTION journey.resume(text, interval) IS
    'Goes live: permits are granted from this commit on. What became due meanwhile is, by catch_up: re-decide (default: late actions and timers are decided again, spread evenly by profile over the interval), drop (late actions expire) or as-is. Changes nothing when the database is live and not paused as a whole. Needs adopt(), with every attached table read, and the setting journey.site (55000 otherwise, with the reason).';

CREATE FUNCTION journey._catch_up_within(spread interval, life interval) RETURNS interval
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN life > interval '0' THEN LEAST(spread, life / 2) ELSE spread END;
END
$$;
COMMENT ON FUNCTION journey._catch_up_within(interval, interval) IS
    'Over how long what is late is spread: the interval asked for, at most half of what is left of its life. What is over, or lasts for ever (null), has all of it.';

CREATE FUNCTION journey._shortest_life(doc jsonb) RETURNS interval
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (SELECT min(COALESCE(s.send ->> 'not_after', doc #>> '{defaults,not_after}')::interval)
            FROM jsonb_path_query(doc, '$.steps.*.send') s(send));
END
$$;
COMMENT ON FUNCTION journey._shortest_life(jsonb) IS
    'The shortest not_after among the sends of a journey''s document; null when none says one.';

CREATE FUNCTION journey._catch_up(catch_up text, spread interval, what text DEFAULT 'all', name text DEFAULT '')
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := journey.clock();
    n bigint := 0;
    m bigint;
BEGIN
    PERFORM journey._require_catch_up(catch_up, spread);
    IF catch_up = 'as-is' THEN
        RETURN 0;
    END IF;
    -- A person's place in the spread is fixed by the id: the same for all of their late items.
    -- Nobody's place lies behind the half of what is left of an item's life.
    -- What is transactional was asked for and is not spread.
    IF what IN ('all', 'scope', 'journey') THEN
        WITH lives AS MATERIALIZED (
            SELECT d.name, d.version, d.doc ->> 'purpose' AS purpose,
                   CASE WHEN journey._unreadable(d.kind, d.name, d.doc) IS NULL THEN journey._shortest_life(d.doc) END AS life
            FROM journey.document d
            WHERE d.kind = 'journey'
              AND EXISTS (SELECT FROM journey.enrollment x WHERE x.journey = d.name AND x.version = d.version AND x.exited_at IS NULL))
        UPDATE journey.timer t
        SET wake_at = at + journey._catch_up_within(spread, t.planned_at + d.life - at)
                           * journey.assign('catch_up', t.profile_id)
        FROM journey.enrollment e
        JOIN lives d ON d.name = e.journey AND d.version = e.version
        WHERE e.bucket = t.bucket AND e.profile_id = t.profile_id AND e.enrollment_id = t.enrollment_id
          AND t.wake_at < at AND d.purpose <> 'transactional'
          AND CASE _catch_up.what WHEN 'scope' THEN e.scope = _catch_up.name
                                  WHEN 'journey' THEN e.journey = _catch_up.name ELSE true END;
        GET DIAGNOSTICS n = ROW_COUNT;
    END IF;
    UPDATE journey.outbox o
    SET claim_at = CASE catch_up WHEN 'drop' THEN o.claim_at
                                 ELSE at + journey._catch_up_within(spread, o.not_after - at)
                                           * journey.assign('catch_up', o.profile_id) END,
        -- what comes of an enrollment is refused as too_late by the claim, which decides it again
        late = CASE WHEN catch_up = 're-decide' AND o.enrollment_id IS NOT NULL THEN interval '0' ELSE o.late END,
        not_after = CASE catch_up WHEN 'drop' THEN at ELSE o.not_after END,
        reap_at = CASE catch_up WHEN 'drop' THEN at ELSE o.reap_at END
    WHERE o.status = 'pending' AND o.claim_at < at AND o.not_after > at AND o.purpose <> 'transactional'
      AND CASE _catch_up.what WHEN 'scope' THEN o.scope = _catch_up.name
                              WHEN 'journey' THEN o.journey = _catch_up.name
                              WHEN 'channel' THEN o.channel = _catch_up.name
                              WHEN 'template' THEN o.template = _catch_up.name ELSE true END;
    GET DIAGNOSTICS m = ROW_COUNT;
    RETURN n + m;
END
$$;
COMMENT ON FUNCTION journey._catch_up(text, interval, text, text) IS
    'Plans what became due during a pause of everything, or of one scope, journey, channel or template: returns how many timers and actions it moved. Late waits are spread; late actions are spread too and decided again by claim, whatever their late says, or expire with drop. 22023 for another catch_up or a negative spread.';

CREATE FUNCTION journey.sandbox() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._require_adopted();
    PERFORM journey._require_reconciled();
    IF (SELECT n.mode FROM journey.node n FOR UPDATE) = 'test' THEN
        RAISE EXCEPTION 'this database runs on a test clock'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run journey.set_clock(null) and journey.discard_test() first.';
    END IF;
    PERFORM journey._set_mode('sandbox');
    RETURN 'sandbox';
END
$$;
COMMENT ON FUNCTION journey.sandbox() IS
    'Decides everything on live traffic, but only profiles marked by mark_test() get permits; others are refused with reason sandbox. Needs what resume() needs but journey.site.';

CREATE FUNCTION journey._require_whole_or_named(what text, name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF what IS NULL AND name IS NOT NULL THEN
        RAISE EXCEPTION 'no kind given for "%"', name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Say first whether it is a scope, journey, channel or template; with no argument everything is meant.';
    ELSIF what NOT IN ('scope', 'journey', 'channel', 'template') THEN
        RAISE EXCEPTION 'cannot pause a %', what
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pause everything with no argument, or a scope, journey, channel or template by name.';
    ELSIF what IS NOT NULL AND coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'no name given for the %', what
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give its name as the second argument.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_whole_or_named(text, text) IS
    'Raises 22023 unless a pause is of everything, or of a kind and a name.';

CREATE FUNCTION journey.pause(what text DEFAULT NULL, name text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known text[];
BEGIN
    PERFORM journey._require_whole_or_named(pause.what, pause.name);
    known := CASE pause.what
        WHEN 'scope' THEN ARRAY(SELECT 'default' UNION SELECT s.scope FROM journey.source s
                                UNION SELECT d.doc ->> 'scope' FROM journey.document d
                                WHERE d.kind IN ('journey', 'source') AND d.doc ->> 'scope' <> '*' ORDER BY 1)
        WHEN pause.what THEN ARRAY(SELECT DISTINCT d.name FROM journey.document d WHERE d.kind = pause.what) END;
    IF pause.name <> ALL (known) THEN
        RAISE EXCEPTION 'there is no % "%"', pause.what, pause.name
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('Did you mean "' || journey._nearest(pause.name, known) || '"?',
                                  CASE pause.what WHEN 'scope' THEN 'Scopes are those of sources and journeys: ' || array_to_string(known, ', ') || '.'
                                                  ELSE 'journey.document lists what can be paused.' END);
    END IF;
    INSERT INTO journey.pause (what, name, reason, paused_by, paused_at)
    VALUES (coalesce(pause.what, 'all'), coalesce(pause.name, ''), pause.reason, session_user, journey.clock())
    ON CONFLICT (what, name) DO UPDATE
    SET reason = excluded.reason, paused_by = excluded.paused_by, paused_at = excluded.paused_at;
    RETURN format('paused: %s', coalesce(pause.what || ' ' || pause.name, 'everything'));
END
$$;
COMMENT ON FUNCTION journey.pause(text, text, text) IS
    'Stops permits from this commit on: of everything, or of one scope, journey, channel or template. Events are still taken in. End it with unpause() or, for everything, resume().';

CREATE FUNCTION journey.unpause(what text DEFAULT NULL, name text DEFAULT NULL,
                                catch_up text DEFAULT 're-decide', spread interval DEFAULT '1 hour')
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM journey._require_whole_or_named(unpause.what, unpause.name);
    DELETE FROM journey.pause p
    WHERE p.what = coalesce(unpause.what, 'all') AND p.name = coalesce(unpause.name, '');
    IF NOT FOUND THEN
        RETURN 'was not paused';
    END IF;
    PERFORM journey._catch_up(unpause.catch_up, unpause.spread, coalesce(unpause.what, 'all'), coalesce(unpause.name, ''));
    PERFORM journey._nudge();
    RETURN 'permits are granted again';
END
$$;
COMMENT ON FUNCTION journey.unpause(text, text, text, interval) IS
    'Ends a pause(); what became due meanwhile is caught up as in resume().';

CREATE FUNCTION journey.discard_test() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    t text;
    n bigint;
    total bigint := 0;
BEGIN
    IF (SELECT mode FROM journey.node) = 'test' THEN
        RAISE EXCEPTION 'the test is still running'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run journey.set_clock(null) first.';
    END IF;
    -- A lap has the people it works on in memory and writes them at its end: not beside one.
    PERFORM FROM journey.cursor FOR UPDATE;
    -- No features: the next lap that sees the person, or whoever reads them, counts them from the log.
    UPDATE journey.profile_state s
    SET features = NULL, events = s.events - t.events,
        last_event_at = (SELECT max(e.occurred_at) FROM journey.event e
                         WHERE e.bucket = s.bucket AND e.profile_id = s.profile_id AND NOT e.test)
    FROM (SELECT e.bucket, e.profile_id, count(*) AS events FROM journey.event e WHERE e.test GROUP BY 1, 2) t
    WHERE s.bucket = t.bucket AND s.profile_id = t.profile_id;
    UPDATE journey.profile_state s
    SET stage = COALESCE((SELECT x.to_stage FROM journey.stage_transition x
                          WHERE x.bucket = s.bucket AND x.profile_id = s.profile_id AND NOT x.test
                          ORDER BY x.seq DESC, x.n DESC LIMIT 1), t.from_stage)
    FROM (SELECT DISTINCT ON (x.bucket, x.profile_id) x.bucket, x.profile_id, x.from_stage
          FROM journey.stage_transition x WHERE x.test ORDER BY x.bucket, x.profile_id, x.seq, x.n) t
    WHERE s.bucket = t.bucket AND s.profile_id = t.profile_id;
    DELETE FROM journey.message_event x USING journey.event e
    WHERE e.test AND (x.bucket, x.profile_id, x.event_id) = (e.bucket, e.profile_id, e.event_id);
    DELETE FROM journey.timer x USING journey.enrollment e
    WHERE e.test AND (x.bucket, x.profile_id, x.enrollment_id) = (e.bucket, e.profile_id, e.enrollment_id);
    DELETE FROM journey.transition x USING journey.enrollment e
    WHERE e.test AND (x.bucket, x.profile_id, x.enrollment_id) = (e.bucket, e.profile_id, e.enrollment_id);
    DELETE FROM journey.attempt_log x USING journey.outbox o
    WHERE o.test AND (x.bucket, x.profile_id, x.action_id) = (o.bucket, o.profile_id, o.action_id);
    DELETE FROM journey.attempt_log x USING journey.outbox_history o
    WHERE o.test AND (x.bucket, x.profile_id, x.action_id) = (o.bucket, o.profile_id, o.action_id);
    FOREACH t IN ARRAY ARRAY['event', 'decision', 'outbox', 'outbox_history', 'exposure', 'conversion',
                             'stage_transition', 'enrollment', 'early_message', 'event_key', 'journey_day'] LOOP
        EXECUTE format('DELETE FROM journey.%I WHERE test', t);
        GET DIAGNOSTICS n = ROW_COUNT;
        total := total + n;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION journey.discard_test() IS
    'Removes every row that a test clock left (test = true); returns how many. Counts, features and stages of people are what they are without them. Profiles, consents, carts and orders stay: they came from the shop. What the test has sent must have been consumed: what is taken in later is no test.';

-- worker/40_health.sql

CREATE FUNCTION journey._workers()
    RETURNS TABLE (database text, state text, pid integer, started_at timestamptz, last_lap_at timestamptz,
                   laps bigint, events bigint, failures integer, next_try timestamptz, here boolean,
                   lap_since timestamptz, held_since timestamptz)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_workers';
COMMENT ON FUNCTION journey._workers() IS
    'State of the worker of each database that the launcher knows; no rows when journey is not preloaded.';

CREATE FUNCTION journey._preloaded() RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_preloaded';
COMMENT ON FUNCTION journey._preloaded() IS 'Is journey in shared_preload_libraries of this server?';

CREATE FUNCTION journey._unconsumed(OUT events bigint, OUT oldest timestamptz, OUT untold text[])
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    c journey.cursor;
BEGIN
    IF current_setting('transaction_isolation') = 'serializable' THEN
        RAISE EXCEPTION 'the inbox is not read at isolation level SERIALIZABLE'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'Its predicate locks would fail the shop''s own transactions.',
                  HINT = 'Use READ COMMITTED or REPEATABLE READ.';
    END IF;
    SELECT * INTO c FROM journey.cursor;
    SELECT count(*), min(i.received_at), COALESCE(array_agg(i.action) FILTER (WHERE i.op = 'a'), '{}') INTO events, oldest, untold
    FROM (SELECT xact, seq, received_at, op, cols[2] AS action FROM journey.inbox_0
          UNION ALL SELECT xact, seq, received_at, op, cols[2] FROM journey.inbox_1
          UNION ALL SELECT xact, seq, received_at, op, cols[2] FROM journey.inbox_2
          UNION ALL SELECT xact, seq, received_at, op, NULL FROM journey.inbox_copy) i
    WHERE c.previous IS NOT NULL
      AND NOT pg_visible_in_snapshot(i.xact, c.previous)
      AND NOT (c.window_snapshot IS NOT NULL AND pg_visible_in_snapshot(i.xact, c.window_snapshot)
               AND i.seq <= c.window_seq);
END
$$;
COMMENT ON FUNCTION journey._unconsumed() IS
    'What waits in the inbox: rows not consumed, real time of the oldest, and the actions whose outcome is among them. 25001 at SERIALIZABLE.';

CREATE FUNCTION journey._inbox_state(OUT unconsumed bigint, OUT oldest timestamptz, OUT bytes bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    SELECT u.events, u.oldest INTO unconsumed, oldest FROM journey._unconsumed() u;
    bytes := pg_total_relation_size('journey.inbox_0') + pg_total_relation_size('journey.inbox_1')
           + pg_total_relation_size('journey.inbox_2') + pg_total_relation_size('journey.inbox_copy');
END
$$;
COMMENT ON FUNCTION journey._inbox_state() IS
    'What waits in the inbox: rows not consumed, real time of the oldest, bytes of all generations. 25001 at SERIALIZABLE.';

CREATE FUNCTION journey._progress()
    RETURNS TABLE (command text, name text, kind text, phase text, started_at timestamptz, blocks_total bigint,
                   blocks_done bigint, rows_appended bigint, holds_permits boolean, problem text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'back-fill', format('%I.%I', a.rel_schema, a.rel_name), a.kind,
           CASE WHEN max(b.problem) IS NOT NULL THEN 'failing'
                WHEN sum(b.blocks_done) < sum(b.blocks_total) THEN 'reading' ELSE 'consuming' END,
           min(b.started_at), sum(b.blocks_total)::bigint, sum(b.blocks_done)::bigint, sum(b.rows_appended)::bigint,
           bool_or(b.holds_permits), max(b.problem)
    FROM journey.backfill b JOIN journey.attachment a ON a.attachment = b.attachment
    GROUP BY a.attachment ORDER BY a.attachment;
END
$$;
COMMENT ON FUNCTION journey._progress() IS 'The rows of the view journey.stat_progress.';

CREATE FUNCTION journey._strangers() RETURNS TABLE (message text, hint text, of_owner boolean)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT format('the table journey.%I belongs to %I, not to journey_owner', c.relname, pg_get_userbyid(c.relowner)),
           format('ALTER TABLE journey.%I OWNER TO journey_owner;', c.relname), true
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND c.relowner <> 'journey_owner'::regrole
    UNION ALL
    SELECT format('the table journey.%I has the trigger %I, which is not of journey', c.relname, t.tgname),
           format('DROP TRIGGER %I ON journey.%I;', t.tgname, c.relname), false
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'journey'::regnamespace AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                      WHERE d.classid = 'pg_proc'::regclass AND d.objid = t.tgfoid AND d.deptype = 'e'
                        AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'journey')
    UNION ALL
    SELECT format('the table journey.%I has the rule %I', c.relname, r.rulename), format('DROP RULE %I ON journey.%I;', r.rulename, c.relname), false
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND r.ev_enabled <> 'D';
END
$$;
COMMENT ON FUNCTION journey._strangers() IS
    'What of somebody else''s hangs on tables of journey, so that no lap runs beside it: another owner, a trigger, a rule; and the command that takes it away.';

CREATE FUNCTION journey._views_of_others() RETURNS TABLE (message text, hint text, owner name)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT format('the view journey.%I belongs to %I, not to journey_owner', c.relname, pg_get_userbyid(c.relowner)),
           format('ALTER VIEW journey.%I OWNER TO journey_owner;', c.relname), pg_get_userbyid(c.relowner)
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind = 'v' AND c.relowner <> 'journey_owner'::regrole
      AND c.relname IN (SELECT m[1] FROM regexp_matches(journey._ddl('views'), '^CREATE VIEW journey\.(\w+)', 'gn') m)
    ORDER BY c.relname;
END
$$;
COMMENT ON FUNCTION journey._views_of_others() IS
    'Views under the names of ours that belong to another, as after pg_restore --no-owner, and the command that gives them back.';

CREATE FUNCTION journey._health()
    RETURNS TABLE (topic text, status text, detail text, hint text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    w record;
    i record;
    n bigint;
    state text := journey._node_state();
BEGIN
    topic := 'mode';
    detail := journey.mode();
    IF state <> 'adopted' THEN
        status := CASE WHEN state LIKE 'the data tables%' THEN 'error' ELSE 'warning' END;
        detail := detail || ': ' || state;
        hint := journey._node_hint(state);
    ELSE
        status := 'ok';
        hint := CASE detail WHEN 'off' THEN 'journey.resume() goes live; journey.sandbox() contacts test profiles only.' END;
    END IF;
    RETURN NEXT;

    topic := 'worker';
    SELECT * INTO w FROM journey._workers() WHERE here;
    IF NOT journey._preloaded() THEN
        status := 'warning';
        detail := 'no worker: journey is not in shared_preload_libraries';
        hint := 'Preload it and restart, or let a scheduler call journey.run_once().';
    ELSIF w.pid IS NULL THEN
        status := CASE WHEN state = 'adopted' THEN 'error' ELSE 'ok' END;
        detail := 'no worker is running: ' || CASE WHEN NOT current_setting('journey.worker')::boolean THEN 'journey.worker is off'
                                                   WHEN w.state = 'no room' THEN 'no room: as many databases as the launcher serves have journey, or had it'
                                                   ELSE coalesce(w.state, 'unknown') END;
        hint := CASE w.state WHEN 'no slot' THEN 'Raise max_worker_processes.'
                             WHEN 'no room' THEN 'Let a scheduler call journey.run_once() in this database, or drop a database that needs journey no more.'
                             ELSE 'Look into the server''s log; check journey.worker.' END;
    ELSIF w.held_since IS NOT NULL THEN
        status := 'error';
        detail := format('pid %s has waited for %s for a lock that is held by %s', w.pid,
                         date_trunc('second', clock_timestamp() - w.held_since),
                         coalesce('pid ' || nullif(array_to_string(pg_blocking_pids(w.pid), ', '), ''), 'somebody who has just let go'));
        hint := 'No event is taken in meanwhile. Look the pid up in pg_stat_activity (0 is a prepared transaction, see pg_prepared_xacts) and let it commit, or end it with pg_terminate_backend().';
    ELSE
        status := 'ok';
        detail := format('pid %s, %s laps, last %s', w.pid, w.laps,
                         coalesce(date_trunc('second', clock_timestamp() - w.last_lap_at)::text || ' ago', 'never'));
        hint := NULL;
    END IF;
    RETURN NEXT;

    topic := 'inbox';
    IF current_setting('transaction_isolation') = 'serializable' THEN
        status := 'warning';
        detail := 'not read at isolation level SERIALIZABLE';
        hint := 'Ask again at READ COMMITTED.';
    ELSE
        SELECT * INTO i FROM journey._inbox_state();
        status := CASE WHEN i.oldest < clock_timestamp() - make_interval(secs =>
                       extract(epoch FROM current_setting('journey.max_permit_lag')::interval)) THEN 'error' ELSE 'ok' END;
        detail := format('%s events wait%s, %s', i.unconsumed,
                         coalesce(', the oldest for ' || date_trunc('second', clock_timestamp() - i.oldest)::text, ''),
                         pg_size_pretty(i.bytes));
        hint := CASE status WHEN 'error' THEN 'Permits that an event could end answer stale_data: see to the worker, or run journey.run_once().' END;
    END IF;
    RETURN NEXT;

    FOR topic, status, detail, hint IN
        SELECT 'tables', 'error', s.message || ': it would run with the rights of journey_owner, so no lap runs', s.hint
        FROM journey._strangers() s
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'tables', 'warning', format('%s: it reads with the rights of %I, and migrate() refuses beside it', v.message, v.owner), v.hint
        FROM journey._views_of_others() v
    LOOP
        RETURN NEXT;
    END LOOP;

    -- a few minutes are a dump or a report
    FOR topic, status, detail, hint IN
        SELECT 'rotation', 'warning',
               format('%s (%s) has been read and cannot be emptied since %s: %s needs an older snapshot', b.name,
                      pg_size_pretty(b.bytes), date_trunc('second', b.drained_at), b.blocked_by),
               CASE WHEN b.blocked_by LIKE 'pid %' THEN format('Have it end its transaction, or SELECT pg_terminate_backend(%s).', substr(b.blocked_by, 5))
                    WHEN b.blocked_by LIKE 'prepared %' THEN 'COMMIT PREPARED or ROLLBACK PREPARED.'
                    ELSE 'See whether its consumer still runs; if not, SELECT pg_drop_replication_slot().' END
        FROM journey._inbox() b
        WHERE b.blocked_by IS NOT NULL AND b.drained_at < clock_timestamp() - interval '10 minutes'
    LOOP
        RETURN NEXT;
    END LOOP;

    -- the rest stands in the tables, which may be another's after pg_restore --no-owner
    IF to_regclass('journey.schema_version') IS NULL OR EXISTS (SELECT FROM journey._strangers() s WHERE s.of_owner) THEN
        RETURN;
    END IF;

    FOR topic, status, detail, hint IN
        SELECT 'incident', CASE x.severity WHEN 'error' THEN 'error' ELSE 'warning' END,
               format('%s %s: %s (%s times)', x.kind, x.name, x.message, x.count), x.hint
        FROM journey.incident x WHERE x.resolved_at IS NULL
        ORDER BY x.last_at DESC
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'attachment', 'error', format('%I.%I as %s: %s', a.rel_schema, a.rel_name, a.kind, a.broken),
               COALESCE((SELECT x.hint FROM journey.incident x
                         WHERE x.kind = 'stock_unreadable' AND x.message = a.broken AND x.detail ->> 'attachment' = a.attachment::text),
                        'Attach the table again with a mapping that fits. One that is gone for good: '
                        || format('SELECT journey.detach(%L).', format('%I.%I', a.rel_schema, a.rel_name)))
        FROM journey.attachment a WHERE a.broken IS NOT NULL AND a.detached_at IS NULL
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'attachment', 'warning',
               format('%I.%I as %s: rows that were there before it was attached have not been read', a.rel_schema, a.rel_name, a.kind),
               format('SELECT * FROM journey.reconcile(%L);', format('%I.%I', a.rel_schema, a.rel_name))
        FROM journey.attachment a
        WHERE a.backfilled_at IS NULL AND a.broken IS NULL AND a.detached_at IS NULL
          AND NOT EXISTS (SELECT FROM journey.backfill b WHERE b.attachment = a.attachment)
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'back-fill', CASE WHEN p.problem IS NULL THEN 'warning' ELSE 'error' END,
               format('%s as %s: %s of %s blocks read since %s', p.name, p.kind, p.blocks_done, p.blocks_total, date_trunc('second', p.started_at))
               || CASE WHEN p.holds_permits THEN '; permits that an event could end wait for the rest' ELSE '' END
               || COALESCE('. ' || p.problem, ''),
               CASE WHEN p.problem IS NULL THEN 'The laps go on by themselves; journey.stat_progress shows how far.'
                    ELSE format('Mend the cause: it is tried again every minute. To do without its history: SELECT journey.detach(%L), then attach it with backfill => false.', p.name) END
        FROM journey._progress() p
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'source', 'warning',
               format('%s has sent nothing for %s; its max_lag is %s', s.source,
                      date_trunc('second', clock_timestamp() - s.last_received_at), s.max_lag),
               'See whether it still sends and its events arrive; max_lag is in its source document.'
        FROM journey.source s
        WHERE clock_timestamp() - s.last_received_at > s.max_lag
        ORDER BY s.source
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'document', 'error', format('%s "%s" version %s is stored, but cannot be read: %s', x.kind, x.name, x.version, x.fault),
               CASE x.kind WHEN 'policy' THEN 'What it forbids is not known, so nothing but transactional messages is decided or permitted'
                           WHEN 'rule_set' THEN 'What it forbids is not known, so nothing but transactional messages is decided'
                           WHEN 'channel' THEN 'Nothing is decided or permitted for this channel'
                           ELSE 'It counts for nothing' END
               || format('. Apply a document that passes journey.lint(), or SELECT journey.retire(%L, %L).', x.kind, x.name)
        FROM (SELECT d.kind, d.name, d.version, journey._unreadable(d.kind, d.name, d.doc) AS fault
              FROM journey.document d WHERE d.state = 'active') x
        WHERE x.fault IS NOT NULL ORDER BY x.kind, x.name
    LOOP
        RETURN NEXT;
    END LOOP;

    SELECT count(*) INTO n FROM journey.quarantine q WHERE q.replayed_at IS NULL;
    topic := 'quarantine';
    status := CASE WHEN n > 0 THEN 'warning' ELSE 'ok' END;
    detail := format('%s messages set aside', n);
    hint := CASE WHEN n > 0 THEN 'Read journey.quarantine; after mending, run journey.replay_quarantine()'
        || CASE WHEN EXISTS (SELECT FROM journey.quarantine q WHERE q.replayed_at IS NULL AND q.origin = 'capture')
                THEN ', and for captured rows journey.reconcile(), which reads their tables again.' ELSE '.' END END;
    RETURN NEXT;

    SELECT count(*) INTO n FROM journey.outbox_history o
    WHERE o.status = 'dead' AND o.finished_at > journey.clock() - interval '1 day';
    topic := 'dead letters';
    status := CASE WHEN n > 0 THEN 'warning' ELSE 'ok' END;
    detail := format('%s in the last day', n);
    hint := CASE WHEN n > 0 THEN 'Read the error in journey.outbox_history; journey.requeue() tries again.' END;
    RETURN NEXT;

    SELECT count(*), count(*) || ' on hold'
               || coalesce(', the oldest for ' || date_trunc('second', journey.clock() - min(o.granted_at))::text, '')
    INTO n, detail
    FROM journey.outbox o WHERE o.status = 'unknown' AND o.reap_at IS NULL;
    topic := 'unknown outcomes';
    status := CASE WHEN n > 0 THEN 'warning' ELSE 'ok' END;
    hint := CASE WHEN n > 0 THEN 'Look at the provider what became of those with status unknown in journey.outbox, then say so: journey.resolve(action_id, ''sent''), ''failed'', or ''retry''.' END;
    RETURN NEXT;

    FOR topic, status, detail, hint IN
        SELECT 'pause', 'warning', format('%s since %s: %s', CASE p.what WHEN 'all' THEN 'everything' ELSE p.what || ' ' || p.name END,
                                          p.paused_at, coalesce(p.reason, 'no reason given')),
               CASE p.what WHEN 'all' THEN 'SELECT journey.unpause();' ELSE format('SELECT journey.unpause(%L, %L);', p.what, p.name) END
        FROM journey.pause p
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'publication', 'warning', p.message, p.hint FROM journey._publications() p
    LOOP
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._health() IS 'The rows of the view journey.health.';

-- worker/60_invariants.sql

-- The promises as queries: no rows, no violation. Snapshots and laps are
-- compared, wall clocks only where a lease should have ended.

CREATE FUNCTION journey._actions()
    RETURNS TABLE (bucket smallint, profile_id uuid, action_id uuid, status text, reason text, live boolean,
                   enrollment_id uuid, journey text, version integer, step text, visit integer, purpose text,
                   scope text, channel text, due_at timestamptz, not_after timestamptz, attempt integer,
                   idempotency_key text, decision_id uuid, decided_lap bigint, finished_at timestamptz,
                   removal boolean, entry_lap bigint, entry_seq bigint, own_ref text, fences jsonb)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT a.bucket, a.profile_id, a.action_id, a.status, a.reason, a.live, a.enrollment_id, a.journey, a.version,
           a.step, a.visit, a.purpose, a.scope, a.channel, a.due_at, a.not_after, a.attempt, a.idempotency_key,
           a.decision_id, a.decided_lap, a.finished_at, a.removal, e.lap, e.entry_seq, COALESCE(e.entry_ref, ''),
           (SELECT COALESCE(jsonb_object_agg(CASE jsonb_typeof(s) WHEN 'string' THEN s #>> '{}' ELSE s ->> 'on' END,
                                             jsonb_typeof(s) = 'object' AND s ? 'match'), '{}')
            FROM jsonb_array_elements(COALESCE(d.doc -> 'suppress_on', '[]')) s)
    FROM (SELECT o.bucket, o.profile_id, o.action_id, o.status, o.reason, true AS live, o.enrollment_id, o.journey,
                 o.version, o.step, o.visit, o.purpose, o.scope, o.channel, o.due_at, o.not_after, o.attempt,
                 o.idempotency_key, o.decision_id, o.decided_lap, NULL::timestamptz AS finished_at,
                 o.payload ? '_remove' AS removal
          FROM journey.outbox o
          UNION ALL
          SELECT h.bucket, h.profile_id, h.action_id, h.status, h.reason, false, h.enrollment_id, h.journey,
                 h.version, h.step, h.visit, h.purpose, h.scope, h.channel, h.due_at, h.not_after, h.attempt,
                 h.idempotency_key, h.decision_id, h.decided_lap, h.finished_at,
                 h.payload ? '_remove'
          FROM journey.outbox_history h) a
    LEFT JOIN journey.enrollment e
        ON e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.enrollment_id = a.enrollment_id
    LEFT JOIN journey.document d
        ON d.kind = 'journey' AND d.name = a.journey AND d.version = a.version;
END
$$;
COMMENT ON FUNCTION journey._actions() IS
    'Every action, live or final, with the event types that stop it (type to: has a match condition) and the object that caused it. For check_invariants().';

-- Documents live by real time, permits by journey.clock(): the id tells the former.
CREATE FUNCTION journey._house_at(permit_batch uuid) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := to_timestamp(('x' || left(replace(permit_batch::text, '-', ''), 12))::bit(48)::bigint / 1000.0);
BEGIN
    RETURN QUERY
    SELECT h.doc
    FROM (SELECT d.doc, d.state, COALESCE(d.activated_at, d.applied_at) AS since,
                 lead(COALESCE(d.activated_at, d.applied_at)) OVER (PARTITION BY d.name ORDER BY d.version) AS replaced_at
          FROM journey.document d
          WHERE d.kind = 'policy' AND (d.state = 'active' OR d.activated_at IS NOT NULL)) h
    WHERE h.since <= at AND (at < h.replaced_at OR h.replaced_at IS NULL AND h.state = 'active');
END
$$;
COMMENT ON FUNCTION journey._house_at(uuid) IS
    'The house policy as it was at a permit; no row when there was none. For check_invariants().';

-- A document's channel has the address that the document says; else its name implies one.
CREATE FUNCTION journey._address_of(channel text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    doc jsonb;
BEGIN
    SELECT d.doc INTO doc FROM journey.document d
    WHERE d.kind = 'channel' AND d.name = channel AND d.state = 'active';
    RETURN CASE WHEN FOUND THEN doc ->> 'address'
                ELSE CASE channel WHEN 'email' THEN 'email' WHEN 'sms' THEN 'phone' WHEN 'push' THEN 'push' END END;
END
$$;
COMMENT ON FUNCTION journey._address_of(text) IS
    'The namespace of the addresses that a channel sends to; null when it needs none. For check_invariants().';

CREATE FUNCTION journey._permit_people()
    RETURNS TABLE (bucket smallint, profile_id uuid, permit_batch uuid, other_bucket smallint, other_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE reached AS (
        SELECT t.bucket, t.profile_id, t.permit_batch, t.bucket AS other_bucket, t.profile_id AS other_id, true AS strong
        FROM journey.attempt_log t
        UNION
        SELECT r.bucket, r.profile_id, r.permit_batch, l.other_bucket, l.other_id, l.strong
        FROM reached r
        JOIN journey.profile_link l ON l.bucket = r.other_bucket AND l.profile_id = r.other_id
        JOIN journey.permit_batch b ON b.permit_batch = r.permit_batch
        -- what met in a browser or at an object is linked with each other and no further
        WHERE r.strong AND (l.strong OR r.other_id = r.profile_id)
          AND (l.incarnation < b.incarnation
               OR l.incarnation = b.incarnation AND pg_visible_in_snapshot(l.link_xact, b.snapshot))
    )
    SELECT DISTINCT r.bucket, r.profile_id, r.permit_batch, r.other_bucket, r.other_id FROM reached r;
END
$$;
COMMENT ON FUNCTION journey._permit_people() IS
    'Of each permit its person, and everybody with whom events that its snapshot sees have linked them. For check_invariants().';

CREATE FUNCTION journey._check_promises()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- I1, I11: a permit whose snapshot sees what should have stopped it, and nothing that takes it back
    RETURN QUERY
    SELECT DISTINCT CASE WHEN s.reason = 'opted_out' THEN 'I11' ELSE 'I1' END, a.action_id::text,
           format('permit %s of %s was granted on a snapshot that sees %s %s (seq %s)',
                  t.attempt, a.journey, s.type, s.ref, s.seq)
    FROM journey.attempt_log t
    JOIN journey.permit_batch b ON b.permit_batch = t.permit_batch
    JOIN journey._actions() a ON a.bucket = t.bucket AND a.profile_id = t.profile_id AND a.action_id = t.action_id
    JOIN journey._permit_people() p ON p.bucket = t.bucket AND p.profile_id = t.profile_id AND p.permit_batch = t.permit_batch
    JOIN journey.suppression s ON s.bucket = p.other_bucket AND s.profile_id = p.other_id
    -- those that a lap wrote for linked people follow from the others and from the links;
    -- what takes somebody out of an audience, nothing stops
    WHERE s.fence_xact IS NOT NULL AND NOT s.linked AND NOT a.removal
      AND CASE WHEN s.incarnation = b.incarnation
               THEN pg_visible_in_snapshot(s.fence_xact, b.snapshot)
                    AND (s.released_xact IS NULL OR NOT pg_visible_in_snapshot(s.released_xact, b.snapshot))
               -- adopt() stands between them; when it was taken back since, nothing tells
               ELSE s.incarnation < b.incarnation AND s.released_by IS NULL END
      AND (s.until IS NULL OR s.until > t.granted_at)
      AND (s.scope IN ('*', a.scope) OR a.scope = '*'
           OR EXISTS (SELECT FROM journey._house_at(t.permit_batch) h WHERE (h ->> 'fences_cross_scopes')::boolean))
      AND CASE WHEN s.type IN ('erased', 'restricted') THEN s.lap > a.decided_lap
               WHEN s.reason = 'opted_out'
               THEN s.lap > a.decided_lap AND a.purpose = 'marketing' AND s.purpose IN ('*', a.purpose)
                    AND (s.channel IN ('*', a.channel) OR s.channel = journey._address_of(a.channel))
               ELSE (s.lap > COALESCE(a.entry_lap, a.decided_lap) OR s.seq > a.entry_seq) AND a.fences ? s.type AND s.ref <> a.own_ref
                    AND (NOT (a.fences -> s.type)::boolean
                         OR EXISTS (SELECT FROM journey.suppression m
                                    WHERE m.bucket = a.bucket AND m.profile_id = a.profile_id AND m.seq = s.seq AND m.type = s.type
                                      AND a.enrollment_id = ANY (m.matched))) END;
    -- I3: one effect per idempotency key, attempts strictly rising
    RETURN QUERY
    SELECT 'I3', a.idempotency_key, format('%s actions with this key were sent', count(*))
    FROM journey._actions() a WHERE a.status = 'sent'
    GROUP BY a.idempotency_key HAVING count(*) > 1;
    RETURN QUERY
    SELECT 'I3', t.action_id::text, format('attempt %s follows attempt %s', t.attempt, t.before)
    FROM (SELECT l.action_id, l.attempt,
                 lag(l.attempt) OVER (PARTITION BY l.bucket, l.profile_id, l.action_id ORDER BY l.granted_at, l.attempt) AS before
          FROM journey.attempt_log l) t
    WHERE t.attempt <= t.before;
    -- I5: nobody held out is contacted, and anybody can recompute the arm
    RETURN QUERY
    SELECT 'I5', e.enrollment_id::text, format('action %s exists for a held-out person', a.action_id)
    FROM journey.enrollment e
    JOIN journey._actions() a USING (bucket, profile_id, enrollment_id)
    WHERE e.arm = 'control';
    RETURN QUERY
    SELECT 'I5', x.enrollment_id::text, format('place %s is not assign(%L, %s)', x.place, x.salt, x.profile_id)
    FROM journey.exposure x
    WHERE x.salt <> '' AND x.place IS DISTINCT FROM journey.assign(x.salt, x.profile_id);
    RETURN QUERY
    SELECT 'I5', x.enrollment_id::text, 'the exposure names another arm than the enrollment'
    FROM journey.exposure x
    JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)
    WHERE x.arm <> e.arm;
END
$$;
COMMENT ON FUNCTION journey._check_promises() IS 'I1, I3, I5 and I11 of check_invariants().';

CREATE FUNCTION journey._check_books()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- I2: each decision to contact has exactly one action, and each action its decision
    RETURN QUERY
    SELECT 'I2', d.decision_id::text, format('decided to enqueue action %s, which exists %s times', d.action_id, count(a.action_id))
    FROM journey.decision d
    LEFT JOIN journey._actions() a ON a.bucket = d.bucket AND a.profile_id = d.profile_id AND a.action_id = d.action_id
    WHERE d.verdict = 'enqueue'
    GROUP BY d.decision_id, d.action_id HAVING count(a.action_id) <> 1;
    RETURN QUERY
    SELECT 'I2', a.action_id::text, 'no decision says why this action exists'
    FROM journey._actions() a
    WHERE a.enrollment_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM journey.decision d
                      WHERE d.bucket = a.bucket AND d.profile_id = a.profile_id AND d.action_id = a.action_id
                        AND d.verdict = 'enqueue');
    -- I4: what was stopped has its audit row, exactly one
    RETURN QUERY
    SELECT 'I4', a.action_id::text, format('%s for %s without a decision or an exit that says so', a.status, a.reason)
    FROM journey._actions() a
    WHERE a.status IN ('refused', 'expired', 'cancelled') AND a.enrollment_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM journey.decision d
                      WHERE d.bucket = a.bucket AND d.profile_id = a.profile_id AND d.action_id = a.action_id
                        AND d.kind IN ('claim', 'permit'))
      AND NOT EXISTS (SELECT FROM journey.transition t
                      WHERE t.bucket = a.bucket AND t.profile_id = a.profile_id AND t.enrollment_id = a.enrollment_id
                        AND (t.edge IN ('exit', 'refused')
                             -- held as unknown, it was the end of the step whatever becomes of it
                             OR t.edge = 'unknown' AND t.from_step = a.step))
      -- as long as the enrollment stands there, it has not been told yet: see I13
      AND NOT EXISTS (SELECT FROM journey.enrollment e
                      WHERE e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.enrollment_id = a.enrollment_id
                        AND e.exited_at IS NULL AND e.step = a.step AND e.visit = a.visit);
    RETURN QUERY
    SELECT 'I4', d.action_id::text, format('%s final refusals at %s', count(*), d.kind)
    FROM journey.decision d
    JOIN journey.reason_code r ON r.reason = d.reason AND r.final
    WHERE d.kind IN ('claim', 'permit') AND d.verdict = 'refused'
    GROUP BY d.action_id, d.kind HAVING count(*) > 1;
    -- I7: one state, an unbroken chain, nothing after the end
    RETURN QUERY
    SELECT 'I7', t.enrollment_id::text, format('transition %s does not follow %s', t.n, t.before)
    FROM (SELECT x.enrollment_id, x.n, x.from_step,
                 lag(x.n) OVER w AS before, lag(x.to_step) OVER w AS stood
          FROM journey.transition x
          WINDOW w AS (PARTITION BY x.bucket, x.profile_id, x.enrollment_id ORDER BY x.n)) t
    WHERE (t.before IS NULL AND (t.n <> 1 OR t.from_step IS NOT NULL))
       OR (t.before IS NOT NULL AND (t.n <> t.before + 1 OR t.from_step IS DISTINCT FROM t.stood));
    RETURN QUERY
    SELECT 'I7', e.enrollment_id::text, format('stands on %s, the chain ends on %s', COALESCE(e.step, '(end)'), COALESCE(l.to_step, '(end)'))
    FROM journey.enrollment e
    LEFT JOIN LATERAL (SELECT t.to_step, t.n FROM journey.transition t
                       WHERE t.bucket = e.bucket AND t.profile_id = e.profile_id AND t.enrollment_id = e.enrollment_id
                       ORDER BY t.n DESC LIMIT 1) l ON true
    WHERE l.n IS NULL OR l.to_step IS DISTINCT FROM e.step OR (e.step IS NULL) <> (e.exited_at IS NOT NULL);
    RETURN QUERY
    SELECT 'I7', format('%s %s %s', e.journey, e.profile_id, e.key), format('%s live enrollments', count(*))
    FROM journey.enrollment e WHERE e.exited_at IS NULL
    GROUP BY e.journey, e.profile_id, e.key HAVING count(*) > 1;
END
$$;
COMMENT ON FUNCTION journey._check_books() IS 'I2, I4 and I7 of check_invariants().';

CREATE FUNCTION journey._check_caps()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- I6: in every window that ends with a permit, no more actions with a permit than the caps that it was judged by
    RETURN QUERY
    WITH permit AS (
        SELECT t.*, COALESCE(p.zone, (SELECT d.doc ->> 'zone' FROM journey.document d WHERE d.kind = 'policy' AND d.state = 'active' LIMIT 1), 'UTC') AS zone
        FROM journey.attempt_log t
        JOIN journey.profile p ON p.bucket = t.bucket AND p.profile_id = t.profile_id
        WHERE t.counted AND t.purpose <> 'transactional'
    ), cap AS (
        -- the journey's, as they were when the action was decided; frozen with it
        SELECT a.bucket, a.profile_id, a.action_id, c, COALESCE(c ->> 'scope', 'journey') = 'journey' AS own
        FROM journey._actions() a
        JOIN journey.document d ON d.kind = 'journey' AND d.name = a.journey AND d.version = a.version
        CROSS JOIN jsonb_array_elements(COALESCE(d.doc -> 'caps', '[]')) c
        WHERE a.purpose <> 'transactional'
        UNION ALL
        -- the house's on marketing, as they were at the permit
        SELECT t.bucket, t.profile_id, t.action_id, c, false
        FROM permit t
        CROSS JOIN journey._house_at(t.permit_batch) h
        CROSS JOIN jsonb_array_elements(COALESCE(h -> 'caps', '[]')) c
        WHERE t.purpose = 'marketing'
    ), judged AS (
        SELECT DISTINCT t.bucket, t.profile_id, t.scope, t.journey, t.granted_at, t.permit_batch, t.zone, c.own,
               NULLIF(c.c ->> 'channel', '*') AS channel, (c.c ->> 'max')::integer AS most,
               (c.c ->> 'per')::interval AS per, COALESCE(c.c ->> 'window', 'rolling') AS kind,
               EXISTS (SELECT FROM journey._house_at(t.permit_batch) h WHERE (h ->> 'caps_cross_scopes')::boolean) AS across
        FROM permit t
        JOIN cap c ON c.bucket = t.bucket AND c.profile_id = t.profile_id AND c.action_id = t.action_id
        LEFT JOIN journey.document ch ON ch.kind = 'channel' AND ch.name = t.channel AND ch.state = 'active'
        WHERE COALESCE(c.c ->> 'channel', '*') IN ('*', t.channel)
          AND COALESCE(ch.doc ->> 'mode', '') <> 'ops'
    )
    SELECT 'I6', j.profile_id::text,
           format('%s actions with a permit on %s up to %s, cap %s per %s (%s)', n.permits, COALESCE(j.channel, 'all channels'),
                  j.granted_at, j.most, j.per, j.kind)
    FROM judged j
    CROSS JOIN LATERAL (
        -- whole months, weeks from Monday, or days, up to the present one; shorter ones roll
        SELECT CASE WHEN j.kind <> 'calendar' OR j.per < '1 day' THEN NULL
                    WHEN extract(year FROM j.per) * 12 + extract(month FROM j.per) > 0
                    THEN date_trunc('month', j.granted_at AT TIME ZONE j.zone) + interval '1 month' - date_trunc('month', j.per)
                    WHEN extract(day FROM j.per)::integer % 7 = 0
                    THEN date_trunc('week', j.granted_at AT TIME ZONE j.zone) + interval '7 days' - date_trunc('day', j.per)
                    ELSE date_trunc('day', j.granted_at AT TIME ZONE j.zone) + interval '1 day' - date_trunc('day', j.per) END AS first) w
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT o.action_id) AS permits FROM permit o
        WHERE o.bucket = j.bucket AND o.profile_id = j.profile_id AND (j.across OR o.scope = j.scope)
          AND CASE WHEN j.own THEN o.journey = j.journey ELSE o.purpose = 'marketing' END
          AND (j.channel IS NULL OR o.channel = j.channel)
          AND (o.granted_at, o.permit_batch) <= (j.granted_at, j.permit_batch)
          AND CASE WHEN w.first IS NOT NULL THEN o.granted_at AT TIME ZONE j.zone >= w.first
              ELSE o.granted_at > j.granted_at - j.per END) n
    WHERE n.permits > j.most;
END
$$;
COMMENT ON FUNCTION journey._check_caps() IS
    'I6 of check_invariants(): every permit but transactional ones, by the caps of the version that decided it and of the house policy of its moment.';

CREATE FUNCTION journey._check_hygiene()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := journey.clock();
    untold text[]; -- actions whose outcome no lap has read yet; null = nobody may look
BEGIN
    IF current_setting('transaction_isolation') <> 'serializable' THEN
        SELECT u.untold INTO untold FROM journey._unconsumed() u;
    END IF;
    -- I9: a lease has an owner, and no token serves twice
    RETURN QUERY
    SELECT 'I9', o.action_id::text, format('%s without token, sender or end of lease', o.status)
    FROM journey.outbox o
    WHERE o.status IN ('claimed', 'sending') AND (o.token IS NULL OR o.lease_until IS NULL OR o.sender IS NULL);
    RETURN QUERY
    SELECT 'I9', t.action_id::text, format('token %s was given to %s permits', t.token, count(*))
    FROM journey.attempt_log t
    GROUP BY t.bucket, t.profile_id, t.action_id, t.token HAVING count(*) > 1;
    -- I10: nothing leaves before its time or after it
    RETURN QUERY
    SELECT 'I10', t.action_id::text, format('permit at %s, due %s, not after %s', t.granted_at, a.due_at, a.not_after)
    FROM journey.attempt_log t
    JOIN journey._actions() a ON a.bucket = t.bucket AND a.profile_id = t.profile_id AND a.action_id = t.action_id
    WHERE t.granted_at < a.due_at OR t.granted_at > a.not_after;
    -- I12: the shop's tables are still watched, by triggers that can fail nothing
    RETURN QUERY
    SELECT 'I12', format('%I.%I', a.rel_schema, a.rel_name), 'the capture trigger is missing or not ENABLE ALWAYS'
    FROM journey.attachment a
    WHERE a.detached_at IS NULL
      AND NOT EXISTS (SELECT FROM journey._captures() t
                      WHERE t.attachment = a.attachment AND t.root AND t.enabled = 'A');
    -- I13: nothing is forgotten
    RETURN QUERY
    SELECT 'I13', o.action_id::text, format('lease of a %s action ended at %s', o.status, o.lease_until)
    FROM journey.outbox o
    WHERE o.status IN ('claimed', 'sending') AND o.lease_until < at - interval '5 seconds'
      -- and a lap has run since; laps go by real time, and a test clock may have jumped since the last
      AND (SELECT c.moved_at > CASE WHEN n.test_clock IS NULL THEN o.lease_until + interval '5 seconds' ELSE n.changed_at END
           FROM journey.cursor c, journey.node n);
    RETURN QUERY
    SELECT 'I13', o.action_id::text, format('%s, and no row of lease leads the reaper to it', o.status)
    FROM journey.outbox o
    WHERE o.status IN ('claimed', 'sending')
      AND NOT EXISTS (SELECT FROM journey.lease l WHERE o.action_id = ANY (l.actions) AND l.until <= o.lease_until);
    RETURN QUERY
    SELECT 'I13', t.enrollment_id::text, 'a timer without a live enrollment'
    FROM journey.timer t
    WHERE NOT EXISTS (SELECT FROM journey.enrollment e
                      WHERE e.bucket = t.bucket AND e.profile_id = t.profile_id
                        AND e.enrollment_id = t.enrollment_id AND e.exited_at IS NULL);
    RETURN QUERY
    SELECT 'I13', e.enrollment_id::text, format('waits on %s for nothing: no timer, no action, no outcome to be told', e.step)
    FROM journey.enrollment e
    WHERE e.exited_at IS NULL
      AND NOT EXISTS (SELECT FROM journey.timer t
                      WHERE t.bucket = e.bucket AND t.profile_id = e.profile_id AND t.enrollment_id = e.enrollment_id)
      AND NOT EXISTS (SELECT FROM journey._actions() a
                      WHERE a.bucket = e.bucket AND a.profile_id = e.profile_id
                        AND a.enrollment_id = e.enrollment_id AND a.visit = e.visit
                        AND (a.live OR untold IS NULL OR a.action_id::text = ANY (untold)))
      -- whose journey cannot be read stands where it stood: health names the document
      AND EXISTS (SELECT FROM journey.document d WHERE d.kind = 'journey' AND d.name = e.journey AND d.version = e.version
                  AND journey._unreadable(d.kind, d.name, d.doc) IS NULL);
    RETURN QUERY
    SELECT 'I13', c.cart_id, format('cart says %s for %s, its lines %s for %s', c.items, c.value, l.items, l.value)
    FROM journey.cart c
    CROSS JOIN LATERAL (SELECT COALESCE(sum(x.quantity), 0) AS items, COALESCE(sum(x.quantity * x.price), 0) AS value
                        FROM journey.cart_line x
                        WHERE x.bucket = c.bucket AND x.profile_id = c.profile_id AND x.scope = c.scope AND x.cart_id = c.cart_id) l
    WHERE c.items <> l.items OR c.value <> l.value;
END
$$;
COMMENT ON FUNCTION journey._check_hygiene() IS 'I9, I10, I12 and I13 of check_invariants().';

CREATE FUNCTION journey.check_invariants()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' -- a day of a rolling cap is 24 hours
AS $$
BEGIN
    RETURN QUERY SELECT * FROM journey._check_promises();
    RETURN QUERY SELECT * FROM journey._check_books();
    RETURN QUERY SELECT * FROM journey._check_caps();
    RETURN QUERY SELECT * FROM journey._check_hygiene();
END
$$;
COMMENT ON FUNCTION journey.check_invariants() IS
    'A row per violation of what journey promises; none when all is well. I1 fence, I2 none lost, I3 one effect per key, I4 audit, I5 holdout, I6 caps, I7 one state, I9 leases, I10 timers, I11 consent, I12 the shop''s tables, I13 hygiene. Reads the data tables whole: for tests, after a crash, and at quiet hours.';

-- The published schema of documents, word for word.
CREATE FUNCTION journey.json_schema() RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $jny_function$
BEGIN
    RETURN $jny_schema$
{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "https://journey.example/schema/journey.schema.json",
  "title": "journey document",
  "description": "Everything a person defines for journey: one document, or an array of documents that are applied together in one transaction. journey.lint() interprets this very file, which ships inside the extension as journey.json_schema(). The keyword x-journey says what a text means (condition, expression, event_type, channel, template, step, zone), x-type which type of the server must take it; lint checks it accordingly.",
  "oneOf": [
    {"$ref": "#/$defs/document"},
    {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/document"}}
  ],
  "$defs": {
    "document": {
      "type": "object",
      "description": "One document. Its kind decides which fields it may have.",
      "oneOf": [
        {"$ref": "#/$defs/journey"},
        {"$ref": "#/$defs/template"},
        {"$ref": "#/$defs/channel"},
        {"$ref": "#/$defs/policy"},
        {"$ref": "#/$defs/rule_set"},
        {"$ref": "#/$defs/feature"},
        {"$ref": "#/$defs/source"}
      ]
    },

    "journey": {
      "type": "object",
      "description": "A journey: who enters, what happens to them step by step, and what ends it.",
      "required": ["kind", "name", "purpose", "entry", "steps"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "journey"},
        "name": {"$ref": "#/$defs/name"},
        "description": {"$ref": "#/$defs/text"},
        "scope": {"$ref": "#/$defs/scope"},
        "purpose": {"$ref": "#/$defs/purpose"},
        "stage": {"$ref": "#/$defs/stage"},
        "touchpoint": {"enum": ["search", "product_page", "cart", "checkout", "order_update", "service", "loyalty", "reactivation"], "description": "Where in the customer's path it acts; a column of its decisions. Default: by the stage, in the order of the stages, search, product_page, cart, order_update, service, loyalty and reactivation."},
        "objective": {"$ref": "#/$defs/text"},
        "kpi": {"$ref": "#/$defs/name", "description": "The measure that says whether the journey works. Needed for activation."},
        "guardrails": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/name"}, "description": "Measures that must not get worse while the journey runs."},
        "owners": {
          "type": "object",
          "description": "Who answers for the journey. All three are needed for activation.",
          "additionalProperties": false,
          "properties": {
            "business": {"$ref": "#/$defs/text", "description": "Who owns the goal."},
            "technical": {"$ref": "#/$defs/text", "description": "Who owns the data and the running system."},
            "qa": {"$ref": "#/$defs/text", "description": "Who tests it."}
          }
        },
        "identity": {
          "type": "object",
          "description": "How sure we must be of who somebody is before they enter.",
          "additionalProperties": false,
          "required": ["min_confidence"],
          "properties": {
            "min_confidence": {"enum": ["none", "low", "medium", "high"], "description": "none = everybody, low from 0.5, medium from 0.8, high = 1.0 (known by an id or an address)."},
            "otherwise": {"enum": ["refuse", "skip"], "description": "refuse records the refusal as a decision, skip records nothing. Default refuse."}
          }
        },
        "start": {"$ref": "#/$defs/step_name", "x-journey": "step", "description": "The first step. Needed only when edges lead to every step; otherwise it is the one that no edge leads to."},
        "entry": {
          "type": "array", "minItems": 1,
          "description": "What lets somebody in; the first entry that fits wins.",
          "items": {
            "oneOf": [
              {"$ref": "#/$defs/event_entry"},
              {"$ref": "#/$defs/later_entry"}
            ]
          }
        },
        "reentry": {
          "type": "object",
          "description": "Whether and when somebody may enter again. Default: once per key at a time, again as soon as the last enrollment has ended.",
          "additionalProperties": false,
          "required": ["per", "after"],
          "properties": {
            "per": {"enum": ["key", "person"], "description": "key: counted for each key (cart, product …) by itself; person: over all keys."},
            "after": {"description": "Time that must pass since the last enrollment ended, 0 = at once, or never.",
                      "oneOf": [{"$ref": "#/$defs/interval"}, {"enum": ["0", "never"]}]}
          }
        },
        "exit": {
          "type": "array",
          "description": "What ends the journey early. An exit without on is judged at every event of the person.",
          "items": {
            "type": "object",
            "additionalProperties": false,
            "description": "An exit: on an event, under a condition, or both.",
            "minProperties": 1,
            "properties": {
              "on": {"$ref": "#/$defs/event_types"},
              "match": {"$ref": "#/$defs/condition", "description": "Which events of that type count, for example event.cart_id = key."},
              "when": {"$ref": "#/$defs/condition"},
              "reason": {"$ref": "#/$defs/name", "description": "Recorded as the exit's reason; default: the event's type."}
            }
          }
        },
        "goal": {
          "type": "object",
          "description": "What counts as success, also after the journey has ended.",
          "additionalProperties": false,
          "required": ["on"],
          "properties": {
            "on": {"$ref": "#/$defs/event_types"},
            "match": {"$ref": "#/$defs/condition"},
            "within": {"$ref": "#/$defs/interval", "description": "Counted from the entry. Default: while enrolled."}
          }
        },
        "suppress_on": {
          "type": "array",
          "description": "Events that stop the journey's actions from the commit of the event on: at claim and at the permit. A bare event type stops every action; with match only those it fits.",
          "items": {
            "oneOf": [
              {"$ref": "#/$defs/event_type"},
              {"type": "object", "additionalProperties": false, "required": ["on"],
               "description": "An event type, and which of its events count.",
               "properties": {"on": {"$ref": "#/$defs/event_type"}, "match": {"$ref": "#/$defs/condition"}}}
            ]
          }
        },
        "exclusion_group": {
          "description": "Of the journeys in one group only one acts at a time: per person, or per key namespace such as order.",
          "oneOf": [
            {"$ref": "#/$defs/name"},
            {"type": "object", "additionalProperties": false, "required": ["per", "name"],
             "description": "The group and what it is counted by.",
             "properties": {"per": {"$ref": "#/$defs/name", "description": "person, or a key namespace such as order. A journey whose key is another object, a parcel say, counts by the order_id of its entry's data."}, "name": {"$ref": "#/$defs/name"}}}
          ]
        },
        "priority": {"type": "integer", "minimum": 0, "maximum": 1000, "description": "Greater goes first. Default 50."},
        "control": {
          "description": "How the journey's effect is measured. Needed for activation of marketing.",
          "oneOf": [
            {"type": "object", "additionalProperties": false, "required": ["holdout"],
             "description": "A share that is never contacted.",
             "properties": {"holdout": {"$ref": "#/$defs/share"}, "reason": {"$ref": "#/$defs/text"}}},
            {"type": "object", "additionalProperties": false, "required": ["none", "reason"],
             "description": "No control group, and why.",
             "properties": {"none": {"const": true}, "reason": {"$ref": "#/$defs/text"}}},
            {"const": "none", "description": "No control group; lint asks for the reason."},
            {"type": "object", "required": ["phased"], "not": {}, "description": "Phased control"}
          ]
        },
        "holdout": {"$ref": "#/$defs/share", "description": "Short form of control: {\"holdout\": …}. A share from 0 to below 1."},
        "rollout": {
          "type": "object",
          "description": "How widely the journey runs.",
          "additionalProperties": false,
          "properties": {
            "percent": {"type": "number", "minimum": 0, "maximum": 100, "description": "Percent of people who may enter. Raising it moves nobody out."},
            "max_per_day": {"type": "integer", "minimum": 1, "maximum": 1000000000, "description": "People who may enter per calendar day of the house's zone."}
          }
        },
        "caps": {"type": "array", "items": {"$ref": "#/$defs/cap"}, "description": "Limits on how often a person is contacted, besides those of the house."},
        "quiet_hours": {"$ref": "#/$defs/quiet_hours", "description": "Hours in which it contacts nobody, instead of those of the house. Frozen with each decision."},
        "defaults": {
          "type": "object",
          "description": "Edges and limits of every step that does not have its own.",
          "additionalProperties": false,
          "properties": {
            "on_refused": {"$ref": "#/$defs/refused_edge"},
            "on_failed": {"$ref": "#/$defs/edge"},
            "on_unknown": {"$ref": "#/$defs/edge"},
            "not_after": {"$ref": "#/$defs/interval", "description": "How long after its decision an action may still be sent."},
            "late": {"$ref": "#/$defs/interval", "description": "An action overdue by more is decided again, not sent."}
          }
        },
        "high_risk": {"type": "boolean", "description": "True for flows in which a wrong message hurts; no rule of theirs may rest on a model alone."},
        "follow": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/name"}, "description": "Names of templates that the journey takes in their newest active version, instead of the version locked when it was activated."},
        "steps": {
          "type": "object",
          "minProperties": 1,
          "description": "The steps by name. An enrollment starts at the step that no edge leads to, or at start.",
          "propertyNames": {"$ref": "#/$defs/step_name"},
          "additionalProperties": {"$ref": "#/$defs/step"}
        },
        "segment": {"$ref": "#/$defs/later"},
        "holds": {"$ref": "#/$defs/later"},
        "combine": {"$ref": "#/$defs/later"},
        "tests": {"$ref": "#/$defs/later"}
      }
    },

    "event_entry": {
      "type": "object",
      "description": "Entry by an event.",
      "additionalProperties": false,
      "required": ["on"],
      "properties": {
        "on": {"$ref": "#/$defs/event_types"},
        "key": {
          "description": "What one enrollment is about, so that a person can be in the journey once per cart, order or product. The short form names a namespace: cart = {\"cart\": \"event.cart_id\"}. Default: once per person.",
          "oneOf": [
            {"enum": ["cart", "order", "product", "session"]},
            {"type": "object", "minProperties": 1, "maxProperties": 1,
             "description": "Namespace and the expression that gives the key.",
             "propertyNames": {"$ref": "#/$defs/name"},
             "additionalProperties": {"$ref": "#/$defs/expression"}}
          ]
        },
        "when": {"$ref": "#/$defs/condition"},
        "data": {"$ref": "#/$defs/data", "description": "Values frozen at the entry, read later as entry.name."},
        "at_step": {"$ref": "#/$defs/later"}
      }
    },
    "later_entry": {
      "type": "object",
      "description": "Entry by a segment, a schedule or a back-fill",
      "anyOf": [{"required": ["segment"]}, {"required": ["backfill"]}, {"required": ["schedule"]}],
      "not": {}
    },

    "step": {
      "type": "object",
      "description": "A step is one of send, wait, branch or exit.",
      "oneOf": [
        {"$ref": "#/$defs/send_step"},
        {"$ref": "#/$defs/wait_step"},
        {"$ref": "#/$defs/branch_step"},
        {"$ref": "#/$defs/exit_step"},
        {"$ref": "#/$defs/later_step"}
      ]
    },
    "later_step": {
      "type": "object",
      "description": "A step of the kinds decide, split, set, start, stop, task, generate or action",
      "anyOf": [{"required": ["decide"]}, {"required": ["split"]}, {"required": ["set"]}, {"required": ["start"]}, {"required": ["stop"]},
                {"required": ["task"]}, {"required": ["generate"]}, {"required": ["action"]}],
      "not": {}
    },
    "send_step": {
      "type": "object",
      "description": "Puts one action into the outbox and waits until it is final.",
      "additionalProperties": false,
      "required": ["send"],
      "properties": {
        "send": {
          "type": "object",
          "description": "What is sent.",
          "additionalProperties": false,
          "required": ["channel", "template"],
          "properties": {
            "channel": {
              "description": "A channel, or a ladder of them: the first that reaches the person is taken.",
              "oneOf": [
                {"$ref": "#/$defs/channel_name"},
                {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/channel_name"}, "description": "A ladder of channels."}
              ]
            },
            "template": {"$ref": "#/$defs/name", "x-journey": "template", "description": "Name of a template document."},
            "data": {"$ref": "#/$defs/data", "description": "One expression for each variable that the template declares."},
            "require": {
              "type": "array",
              "description": "What must hold at the decision. Stock is asked for again at the claim and at the permit, conditions are not.",
              "items": {
                "oneOf": [
                  {"type": "string", "pattern": "^stock:[a-z][a-z0-9_]*$", "description": "stock:x, where x is the variable in data that holds a sku: it must be in stock."},
                  {"type": "object", "additionalProperties": false, "required": ["when", "reason"],
                   "description": "A condition, and the reason recorded when it does not hold.",
                   "properties": {"when": {"$ref": "#/$defs/condition"}, "reason": {"$ref": "#/$defs/name"}}}
                ]
              }
            },
            "placement": {"$ref": "#/$defs/name", "description": "Place on a page, for pull channels."},
            "not_after": {"$ref": "#/$defs/interval", "description": "How long after its decision the action may still be sent; default: that of defaults."},
            "late": {"$ref": "#/$defs/interval", "description": "Overdue by more: decided again, not sent; default: that of defaults."},
            "offer": {"$ref": "#/$defs/later"},
            "recommend": {"$ref": "#/$defs/later"}
          }
        },
        "next": {"$ref": "#/$defs/edge", "description": "Where a sent action leads."},
        "on_refused": {"$ref": "#/$defs/refused_edge"},
        "on_failed": {"$ref": "#/$defs/edge", "description": "Where an action leads that could not be delivered."},
        "on_unknown": {"$ref": "#/$defs/edge", "description": "Where an action leads of which nobody knows whether it was sent."}
      }
    },
    "wait_step": {
      "type": "object",
      "description": "Waits for a time or for an event.",
      "additionalProperties": false,
      "required": ["wait"],
      "properties": {
        "wait": {
          "type": "object",
          "description": "Either for (a time) or until_event.",
          "oneOf": [
            {
              "type": "object",
              "description": "A wait for a time.",
              "additionalProperties": false,
              "required": ["for"],
              "properties": {
                "for": {"$ref": "#/$defs/interval"},
                "restart_on": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/on_match"}, "description": "Events that start the time again."},
                "restart_max": {"type": "integer", "minimum": 0, "maximum": 1000, "description": "How often it may start again. Default 20."}
              }
            },
            {
              "type": "object",
              "description": "A wait for an event.",
              "additionalProperties": false,
              "required": ["until_event"],
              "properties": {
                "until_event": {
                  "type": "object",
                  "description": "The event that ends the wait.",
                  "additionalProperties": false,
                  "required": ["on"],
                  "properties": {
                    "on": {"$ref": "#/$defs/event_types"},
                    "of": {
                      "description": "The send steps whose message events count, also those that came before the wait began, unless there is a match. Other event types are not limited by it.",
                      "oneOf": [
                        {"$ref": "#/$defs/step_name", "x-journey": "step"},
                        {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/step_name", "x-journey": "step"}, "description": "Several send steps."}
                      ]
                    },
                    "match": {"$ref": "#/$defs/condition"}
                  }
                },
                "timeout": {"$ref": "#/$defs/interval", "description": "How long to wait for the event."}
              }
            },
            {"type": "object", "anyOf": [{"required": ["until"]}, {"required": ["until_true"]}], "not": {}, "description": "A wait until an expression's time or until a condition holds"}
          ]
        },
        "next": {"$ref": "#/$defs/edge"},
        "on_timeout": {"$ref": "#/$defs/edge", "description": "Where the end of the timeout leads; default next."}
      }
    },
    "branch_step": {
      "type": "object",
      "description": "Takes the first branch whose condition is true.",
      "additionalProperties": false,
      "required": ["branch", "else"],
      "properties": {
        "branch": {
          "type": "array", "minItems": 1,
          "description": "The branches, judged in order.",
          "items": {"type": "object", "additionalProperties": false, "required": ["when", "to"],
                    "description": "A condition and the step it leads to.",
                    "properties": {"when": {"$ref": "#/$defs/condition"}, "to": {"$ref": "#/$defs/edge"}}}
        },
        "else": {"$ref": "#/$defs/edge", "description": "Where it goes when no condition is true."},
        "on_unknown": {"$ref": "#/$defs/edge", "description": "Where it goes when a condition is neither true nor false; default: that of defaults."}
      }
    },
    "exit_step": {
      "type": "object",
      "description": "Ends the enrollment.",
      "additionalProperties": false,
      "required": ["exit"],
      "properties": {"exit": {"$ref": "#/$defs/name", "description": "Recorded as the exit's reason."}}
    },

    "template": {
      "type": "object",
      "description": "What a message says. The database never renders it: the sender does, with exactly the declared variables.",
      "required": ["kind", "name", "content"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "template"},
        "name": {"$ref": "#/$defs/name"},
        "description": {"$ref": "#/$defs/text"},
        "channels": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/channel_name"}, "description": "Channels it is written for. Default: any."},
        "contains": {"type": "array", "uniqueItems": true, "items": {"enum": ["discount", "recommendation"]}, "description": "Promotional content, which service and transactional journeys may not send."},
        "variables": {
          "type": "object",
          "description": "Its variables with their types. A journey's send gives each of them, and nothing else.",
          "propertyNames": {"$ref": "#/$defs/step_name"},
          "additionalProperties": {"enum": ["text", "numeric", "integer", "boolean", "timestamptz", "date", "interval", "jsonb"], "description": "Type of a variable."}
        },
        "locale": {"$ref": "#/$defs/locale", "description": "The locale taken when the person's is not among content. Default en."},
        "content": {
          "type": "object",
          "minProperties": 1,
          "description": "The texts by locale, for example {\"en\": {\"subject\": …, \"body\": …}}. A variable stands as {{name}}; {{unsubscribe_url}} needs no declaration: the permit of a marketing message gives it, in contact, on a channel with list_unsubscribe_url.",
          "propertyNames": {"$ref": "#/$defs/locale"},
          "additionalProperties": {
            "type": "object",
            "description": "The texts of one locale.",
            "additionalProperties": false,
            "required": ["body"],
            "properties": {
              "subject": {"$ref": "#/$defs/text", "description": "Subject line of a mail, title of a push message."},
              "preheader": {"$ref": "#/$defs/text", "description": "Preview line of a mail."},
              "body": {"$ref": "#/$defs/text", "description": "The plain text."},
              "html": {"$ref": "#/$defs/text", "description": "The same as HTML."},
              "url": {"$ref": "#/$defs/text", "description": "Where a tap or a click leads."}
            }
          }
        }
      }
    },

    "channel": {
      "type": "object",
      "description": "A way to reach people, or to hand work to other systems.",
      "required": ["kind", "name", "mode"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "channel"},
        "name": {"$ref": "#/$defs/name"},
        "description": {"$ref": "#/$defs/text"},
        "mode": {"enum": ["push", "pull", "state", "ops"], "description": "push: a sender contacts an address; pull: the action waits for its placement; state: membership of an audience; ops: work for machines or staff, no contact with the customer."},
        "address": {"$ref": "#/$defs/name", "description": "Namespace of the contact point it needs, for example email or phone. Without it none is needed."},
        "purposes": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/purpose"}, "description": "Purposes it may carry. Default: all."},
        "rate": {
          "type": "object",
          "description": "How fast it may be claimed. What is over the rate waits; nothing is dropped.",
          "additionalProperties": false,
          "properties": {
            "per_second": {"type": "number", "exclusiveMinimum": 0, "description": "Actions per second."},
            "burst": {"type": "integer", "minimum": 1, "description": "Actions at once after a pause. Default: one second's worth."},
            "per_day": {"type": "integer", "minimum": 1, "maximum": 1000000000, "description": "Actions per calendar day of the house's zone."}
          }
        },
        "lease": {"$ref": "#/$defs/interval", "description": "How long a sender may work on a claimed action. Default 5 minutes."},
        "attempts": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Attempts before an action is dead. Default 5."},
        "backoff": {
          "type": "object",
          "description": "Time between attempts: first, then factor times the last, at most max.",
          "additionalProperties": false,
          "properties": {
            "first": {"$ref": "#/$defs/interval", "description": "Before the second attempt. Default 1 minute."},
            "factor": {"type": "number", "minimum": 1, "maximum": 100, "description": "Growth per attempt. Default 2."},
            "max": {"$ref": "#/$defs/interval", "description": "Longest time between attempts. Default 1 hour."}
          }
        },
        "on_unknown": {"enum": ["retry", "hold", "drop"], "description": "What becomes of an action of which nobody knows whether it was sent: retry sends again under the same idempotency key, hold waits for resolve(), drop gives it up. Default hold."},
        "senders": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/text"}, "description": "Roles that may claim from it, with their members. Default: every member of journey_sender."},
        "list_unsubscribe_url": {"type": "string", "pattern": "^https://", "description": "https address for List-Unsubscribe (RFC 8058) and for {{unsubscribe_url}} of templates; {token} stands for the person's token."},
        "agreement": {"$ref": "#/$defs/text", "description": "Reference of the data processing agreement with whoever runs the channel."}
      }
    },

    "policy": {
      "type": "object",
      "description": "Rules of the house. They hold for every journey at once; journeys never lock them.",
      "required": ["kind", "name"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "policy"},
        "name": {"const": "house", "description": "There is one policy: house."},
        "description": {"$ref": "#/$defs/text"},
        "zone": {"$ref": "#/$defs/zone", "description": "Time zone of the house, and of people whose zone is unknown. Default UTC."},
        "holdout": {"$ref": "#/$defs/share", "description": "Share of all people who get no marketing at all. Default 0."},
        "caps": {"type": "array", "items": {"$ref": "#/$defs/cap"}, "description": "Limits on marketing, over all journeys."},
        "quiet_hours": {"$ref": "#/$defs/quiet_hours", "description": "Hours in which nobody is contacted by a journey that has none of its own. The permit takes them as they are then."},
        "vetoes": {
          "type": "array",
          "description": "Conditions under which nothing is sent, whatever a journey or a model says.",
          "items": {"type": "object", "additionalProperties": false, "required": ["when", "reason"],
                    "description": "A veto.",
                    "properties": {
                      "when": {"$ref": "#/$defs/condition"},
                      "reason": {"$ref": "#/$defs/name"},
                      "priority": {"$ref": "#/$defs/priority"},
                      "valid_from": {"$ref": "#/$defs/instant"},
                      "valid_to": {"$ref": "#/$defs/instant"}
                    }}
        },
        "fences_cross_scopes": {"type": "boolean", "description": "True: an order in one scope ends reminders of every scope. Default false."},
        "caps_cross_scopes": {"type": "boolean", "description": "True: caps count the messages of every scope together. Default false."}
      }
    },

    "rule_set": {
      "type": "object",
      "description": "A table of rules.",
      "required": ["kind", "name", "rules"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "rule_set"},
        "name": {"$ref": "#/$defs/name"},
        "description": {"$ref": "#/$defs/text"},
        "scope": {"$ref": "#/$defs/scope"},
        "rules": {
          "type": "array", "minItems": 1,
          "description": "The rules; greater priority first, then in order.",
          "items": {
            "type": "object",
            "description": "One rule. Its kind decides what it does when its condition is true.",
            "oneOf": [
              {
                "type": "object",
                "description": "A change of stage.",
                "additionalProperties": false,
                "required": ["kind", "on", "to"],
                "properties": {
                  "kind": {"const": "stage"},
                  "priority": {"$ref": "#/$defs/priority"},
                  "on": {"$ref": "#/$defs/event_types"},
                  "when": {"$ref": "#/$defs/condition"},
                  "from": {"description": "Stages it leaves. Default: any.",
                           "oneOf": [{"$ref": "#/$defs/stage"}, {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/stage"}, "description": "Several stages."}]},
                  "to": {"$ref": "#/$defs/stage"},
                  "reason": {"$ref": "#/$defs/name"},
                  "valid_from": {"$ref": "#/$defs/instant"},
                  "valid_to": {"$ref": "#/$defs/instant"}
                }
              },
              {"$ref": "#/$defs/gate_rule"},
              {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": ["choose", "route", "alert"]}}, "not": {}, "description": "A rule of the kinds choose, route or alert"}
            ]
          }
        }
      }
    },
    "gate_rule": {
      "type": "object",
      "description": "A rule before an action: veto and suppress refuse when their condition is true, eligible refuses unless it is true.",
      "additionalProperties": false,
      "required": ["kind", "when", "reason"],
      "properties": {
        "kind": {"enum": ["veto", "suppress", "eligible"]},
        "priority": {"$ref": "#/$defs/priority"},
        "when": {"$ref": "#/$defs/condition"},
        "outcome": {"$ref": "#/$defs/name", "description": "A name for what the rule decides, recorded with the decision."},
        "reason": {"$ref": "#/$defs/name", "description": "Recorded as the refusal's reason."},
        "valid_from": {"$ref": "#/$defs/instant"},
        "valid_to": {"$ref": "#/$defs/instant"}
      }
    },

    "feature": {
      "type": "object",
      "description": "A figure about a person, kept up to date with every event.",
      "required": ["kind", "name", "on", "aggregate"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "feature"},
        "name": {"$ref": "#/$defs/name"},
        "description": {"$ref": "#/$defs/text"},
        "on": {"$ref": "#/$defs/event_types"},
        "where": {"$ref": "#/$defs/condition", "description": "Which of these events count."},
        "aggregate": {"enum": ["count", "sum", "last", "first", "days_since"], "description": "days_since: days since the last such event, unknown when there was none."},
        "of": {"$ref": "#/$defs/event_value", "description": "The value, for sum, last and first: event.amount, for example, or amount for short."},
        "window": {"$ref": "#/$defs/interval", "description": "Only events of this last stretch of time count."},
        "grain": {"$ref": "#/$defs/interval", "description": "How finely the window moves: at least a second, at most the window, and at most 10000 of them. Default: window / 168, at least a minute."}
      }
    },

    "source": {
      "type": "object",
      "description": "A system that sends events.",
      "required": ["kind", "name", "system"],
      "additionalProperties": false,
      "properties": {
        "kind": {"const": "source"},
        "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.:-]{0,62}$", "description": "The name under which it sends: letters, digits, _ . : and -, at most 63."},
        "description": {"$ref": "#/$defs/text"},
        "system": {"enum": ["commerce", "crm", "customer_data", "pos", "loyalty", "search", "service", "messaging"], "description": "Which of the eight retail systems it is."},
        "scope": {"$ref": "#/$defs/scope", "description": "Brand, shop or country whose people it speaks of. Default: default."},
        "trusted": {"type": "boolean", "description": "False: anybody can send it, such as a browser. Its events are filed under the strongest known key that they name, but link no two keys, move no cart or order from one person to another and state no address; it grants no consent, while an opt-out or a revocation from it is taken. Default true."},
        "truth_for": {"type": "array", "uniqueItems": true, "items": {"enum": ["identity", "orders", "inventory", "consent", "eligibility"]}, "description": "Signals for which it is the source of truth."},
        "max_lag": {"$ref": "#/$defs/interval", "description": "Silence longer than this is a warning in the view journey.health."}
      }
    },

    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$", "description": "A name: lower-case letters, digits and _, starting with a letter, at most 63."},
    "step_name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$", "description": "A name: lower-case letters, digits and _, starting with a letter, at most 63."},
    "text": {"type": "string", "minLength": 1, "maxLength": 100000, "description": "A text, not empty."},
    "scope": {"type": "string", "pattern": "^(\\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,62})$", "description": "A brand, shop or country; * = every scope. Default *."},
    "purpose": {"enum": ["marketing", "service", "transactional"], "description": "marketing needs consent; service does not; transactional also ignores quiet hours."},
    "stage": {"enum": ["awareness", "consideration", "purchase", "fulfillment", "post_purchase", "loyalty", "win_back"], "description": "One of the seven stages."},
    "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": "A share, from 0 to below 1."},
    "priority": {"type": "integer", "minimum": 0, "maximum": 1000, "description": "Greater goes first. Default 50."},
    "interval": {"type": "string", "x-type": "interval", "pattern": "^[0-9]+ (seconds?|minutes?|hours?|days?|weeks?|months?)( [0-9]+ (seconds?|minutes?|hours?|days?|weeks?|months?))*$", "description": "A time with its unit written out: \"90 seconds\", \"45 minutes\", \"1 hour\", \"7 days\", \"1 day 12 hours\"."},
    "instant": {"type": "string", "x-type": "timestamptz", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?$", "description": "A date such as \"2026-01-31\" (its start in UTC), or a time with zone such as \"2026-01-31T09:00:00Z\"."},
    "time_of_day": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "description": "A time of day, 00:00 to 23:59."},
    "locale": {"type": "string", "pattern": "^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", "description": "A locale such as en or de-AT."},
    "zone": {"type": "string", "minLength": 1, "x-journey": "zone", "description": "A time zone such as Europe/Berlin."},
    "event_type": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$", "x-journey": "event_type", "description": "An event type such as order_placed."},
    "event_types": {
      "description": "One event type or several.",
      "oneOf": [
        {"$ref": "#/$defs/event_type"},
        {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/event_type"}, "description": "Several event types."}
      ]
    },
    "on_match": {
      "type": "object",
      "description": "An event type, and which of its events count.",
      "additionalProperties": false,
      "required": ["on"],
      "properties": {"on": {"$ref": "#/$defs/event_types"}, "match": {"$ref": "#/$defs/condition"}}
    },
    "condition": {"type": "string", "minLength": 1, "maxLength": 10000, "x-journey": "condition", "description": "A condition in SQL over the documented names, for example event.step = 'shipping' and cart.items > 0."},
    "expression": {"type": "string", "minLength": 1, "maxLength": 10000, "x-journey": "expression", "description": "An expression in SQL over the documented names, for example cart.top_sku."},
    "event_value": {"type": "string", "minLength": 1, "maxLength": 10000, "x-journey": "event_value", "description": "An expression in SQL over event.*, or the bare name of a property: amount is short for event.amount."},
    "data": {
      "type": "object",
      "description": "Names and the expressions that give their values.",
      "propertyNames": {"$ref": "#/$defs/step_name"},
      "additionalProperties": {"$ref": "#/$defs/expression"}
    },
    "channel_name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$", "x-journey": "channel", "description": "Name of a channel document."},
    "edge": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$", "x-journey": "step", "description": "Name of the step it leads to."},
    "refused_edge": {
      "description": "Where a refused or expired action leads: one step, or a step per reason code with * for every other reason.",
      "oneOf": [
        {"$ref": "#/$defs/edge"},
        {"type": "object", "minProperties": 1, "description": "A step per reason code.",
         "propertyNames": {"type": "string", "pattern": "^(\\*|[a-z][a-z0-9_]{0,62})$", "x-journey": "reason", "description": "A reason code, or *."},
         "additionalProperties": {"$ref": "#/$defs/edge"}}
      ]
    },
    "cap": {
      "type": "object",
      "description": "At most max contacts per time.",
      "additionalProperties": false,
      "required": ["max", "per"],
      "properties": {
        "scope": {"enum": ["journey", "house"], "description": "What is counted: contacts of this journey, or of all. Default: journey in a journey, house in the policy."},
        "channel": {"type": "string", "pattern": "^(\\*|[a-z][a-z0-9_]{0,62})$", "x-journey": "channel", "description": "A channel, or * for all together. Default *."},
        "max": {"type": "integer", "minimum": 1, "maximum": 1000000, "description": "Contacts."},
        "per": {"$ref": "#/$defs/interval", "description": "Per this time."},
        "window": {"enum": ["rolling", "calendar"], "description": "rolling: the time before the contact; calendar: days (weeks, months) of the person's calendar. Default rolling."},
        "otherwise": {"enum": ["drop", "hold"], "description": "drop refuses the action as capped; hold keeps it until the cap allows it or it expires. Default drop."}
      }
    },
    "quiet_hours": {
      "type": "object",
      "description": "Hours in which nobody is contacted.",
      "additionalProperties": false,
      "required": ["from", "to"],
      "properties": {
        "from": {"$ref": "#/$defs/time_of_day"},
        "to": {"$ref": "#/$defs/time_of_day"},
        "zone": {"$ref": "#/$defs/zone", "description": "profile = the person's own (the house's when unknown), or a zone such as Europe/Berlin. Default profile."},
        "otherwise": {"enum": ["hold", "drop"], "description": "hold keeps the action until the hours are over, drop refuses it. Default hold."}
      }
    },
    "later": {"not": {}, "description": "A field"}
  }
}
$jny_schema$::jsonb;
END
$jny_function$;
COMMENT ON FUNCTION journey.json_schema() IS
    'The JSON Schema (draft 2020-12) of everything that apply() takes; the same as docs/schema/journey.schema.json.';

-- What install() and migrate() run: the data tables are ordinary tables of
-- the user's, so their statements are text here, not members.
CREATE FUNCTION journey._ddl(part text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $jny_ddl$
BEGIN
    RETURN CASE part
        WHEN 'tables' THEN $jny_tables$
-- core/tables.sql
CREATE TABLE journey.schema_version (
    version text PRIMARY KEY,
    installed_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.schema_version IS
    'Which versions of the data tables this database has had: install() and migrate() add a row. The latest is what the tables are; unless the library is of that version too, nothing is consumed and nobody is contacted.';
COMMENT ON COLUMN journey.schema_version.version IS 'Version of the extension that made or changed the tables.';
COMMENT ON COLUMN journey.schema_version.installed_at IS 'When, real time.';
CREATE TABLE journey.incarnation (
    incarnation integer PRIMARY KEY,
    system_identifier text NOT NULL,
    database_oid text NOT NULL,
    first_xid xid8 NOT NULL,
    site text NOT NULL,
    adopted_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.incarnation IS
    'The lives of this database, one row per adopt(): a restored or copied database begins a new one. Transaction ids are compared only within one life.';
COMMENT ON COLUMN journey.incarnation.incarnation IS '1, 2, 3 ...';
COMMENT ON COLUMN journey.incarnation.system_identifier IS 'The cluster''s identifier at that time.';
COMMENT ON COLUMN journey.incarnation.database_oid IS 'The database''s oid at that time, as text: it names nothing here.';
COMMENT ON COLUMN journey.incarnation.first_xid IS 'First transaction id of this life; a stored one above the current id is of another.';
COMMENT ON COLUMN journey.incarnation.site IS 'journey.site when it was adopted: the second of the two keys without which nothing is sent.';
COMMENT ON COLUMN journey.incarnation.adopted_at IS 'When it was adopted, real time.';
CREATE TABLE journey.document (
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    doc jsonb NOT NULL,
    refs jsonb NOT NULL,
    owner text NOT NULL,
    applied_by text NOT NULL,
    applied_at timestamptz NOT NULL,
    activated_by text,
    activated_at timestamptz,
    digest text NOT NULL,
    PRIMARY KEY (kind, name, version)
);
COMMENT ON TABLE journey.document IS
    'Every version of every document that people define; at most one is active per kind and name. Versions never change once written.';
COMMENT ON COLUMN journey.document.kind IS 'journey, template, channel, policy, rule_set, feature or source.';
COMMENT ON COLUMN journey.document.name IS 'Its name, unique within the kind.';
COMMENT ON COLUMN journey.document.version IS '1, 2, 3 ... per kind and name.';
COMMENT ON COLUMN journey.document.state IS 'draft, active (live), replaced (by a newer version) or retired.';
COMMENT ON COLUMN journey.document.doc IS 'The document, canonical.';
COMMENT ON COLUMN journey.document.refs IS 'Versions that it locked when it went live: [{"kind", "name", "version"}].';
COMMENT ON COLUMN journey.document.owner IS 'Role whose rights its expressions have; never a superuser.';
COMMENT ON COLUMN journey.document.applied_by IS 'Role that applied it.';
COMMENT ON COLUMN journey.document.applied_at IS 'When it was applied, real time.';
COMMENT ON COLUMN journey.document.activated_by IS 'Role that brought it to life; null for a draft.';
COMMENT ON COLUMN journey.document.activated_at IS 'When it went live, real time.';
COMMENT ON COLUMN journey.document.digest IS 'md5 of the canonical text.';
CREATE UNIQUE INDEX document_active ON journey.document (kind, name) WHERE state = 'active';
CREATE TABLE journey.pause (
    what text NOT NULL,
    name text NOT NULL,
    reason text,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL,
    PRIMARY KEY (what, name)
);
COMMENT ON TABLE journey.pause IS
    'What is paused: its actions get no permit until it is taken up again.';
COMMENT ON COLUMN journey.pause.what IS 'all, scope, journey, channel or template.';
COMMENT ON COLUMN journey.pause.name IS 'Which one; empty for all.';
COMMENT ON COLUMN journey.pause.reason IS 'Why, in the words of whoever paused it.';
COMMENT ON COLUMN journey.pause.paused_by IS 'Role that paused it.';
COMMENT ON COLUMN journey.pause.paused_at IS 'When it was paused.';
CREATE TABLE journey.incident (
    kind text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    message text NOT NULL,
    hint text,
    detail jsonb NOT NULL,
    resolved_at timestamptz,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE journey.incident IS
    'What needs somebody''s attention: one row per kind and object, counted while it goes on.';
COMMENT ON COLUMN journey.incident.kind IS 'What happened: foreign_cursor, broken_rule, poison_event ...; docs/operations.md has all.';
COMMENT ON COLUMN journey.incident.name IS 'What it is about.';
COMMENT ON COLUMN journey.incident.severity IS 'info, warning or error.';
COMMENT ON COLUMN journey.incident.count IS 'How often it has been seen.';
COMMENT ON COLUMN journey.incident.first_at IS 'When it was seen first.';
COMMENT ON COLUMN journey.incident.last_at IS 'When it was seen last.';
COMMENT ON COLUMN journey.incident.message IS 'What happened.';
COMMENT ON COLUMN journey.incident.hint IS 'The next step.';
COMMENT ON COLUMN journey.incident.detail IS 'Particulars of the last time.';
COMMENT ON COLUMN journey.incident.resolved_at IS 'When it was settled; null while open.';
CREATE TABLE journey.reason_code (
    reason text PRIMARY KEY,
    final boolean NOT NULL,
    meaning text NOT NULL
);
COMMENT ON TABLE journey.reason_code IS
    'Why an action is refused or postponed: the codes that decisions and permits answer.';
COMMENT ON COLUMN journey.reason_code.reason IS 'The code.';
COMMENT ON COLUMN journey.reason_code.final IS 'False: the action is planned again; true: it is over and on_refused leads on.';
COMMENT ON COLUMN journey.reason_code.meaning IS 'What it says.';
CREATE TABLE journey.secret (
    name text PRIMARY KEY,
    value bytea NOT NULL
);
COMMENT ON TABLE journey.secret IS
    'Keys of this database''s own signatures; no role but the owner may read them.';
COMMENT ON COLUMN journey.secret.name IS 'unsubscribe (links in messages) or forget (tombstones of erased people).';
COMMENT ON COLUMN journey.secret.value IS 'The key.';
-- observe/tables.sql
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
    PRIMARY KEY (bucket, profile_id, seq, type)
);
CREATE INDEX suppression_unread ON journey.suppression (bucket, profile_id) WHERE unread;
CREATE INDEX suppression_lap ON journey.suppression (lap);
CREATE INDEX suppression_manual ON journey.suppression (bucket, profile_id) WHERE type = 'manual';
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
    type text NOT NULL,               -- message_delivered, message_opened, message_clicked, message_bounced, message_complained, message_replied, unsubscribed
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    machine boolean NOT NULL DEFAULT false,
    props jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (bucket, profile_id, action_id, type, event_id)
);

-- comments
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
COMMENT ON COLUMN journey.suppression.unread IS 'Written beside the laps: the next one takes the person out of audiences. Permits heed it all the same.';
COMMENT ON TABLE journey.cart IS 'Carts. Value and number of items are the sums over the lines.';
COMMENT ON COLUMN journey.cart.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.cart.profile_id IS 'The person who last named it.';
COMMENT ON COLUMN journey.cart.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.cart.cart_id IS 'Id in the shop.';
COMMENT ON COLUMN journey.cart.source IS 'Source.';
COMMENT ON COLUMN journey.cart.status IS 'open, ordered, emptied or deleted.';
COMMENT ON COLUMN journey.cart.items IS 'Sum of quantities.';
COMMENT ON COLUMN journey.cart.lines IS 'Number of lines.';
COMMENT ON COLUMN journey.cart.value IS 'Sum of quantity times price.';
COMMENT ON COLUMN journey.cart.currency IS 'Currency of the value.';
COMMENT ON COLUMN journey.cart.order_id IS 'Order that came out of it.';
COMMENT ON COLUMN journey.cart.created_at IS 'When first seen.';
COMMENT ON COLUMN journey.cart.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.cart_line IS 'Lines of carts.';
COMMENT ON COLUMN journey.cart_line.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.cart_line.profile_id IS 'The person.';
COMMENT ON COLUMN journey.cart_line.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.cart_line.cart_id IS 'Cart.';
COMMENT ON COLUMN journey.cart_line.line IS 'Line in the shop, else the sku.';
COMMENT ON COLUMN journey.cart_line.sku IS 'Product.';
COMMENT ON COLUMN journey.cart_line.quantity IS 'How many.';
COMMENT ON COLUMN journey.cart_line.price IS 'Price of one; null = unknown.';
COMMENT ON COLUMN journey.cart_line.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.orders IS 'Orders.';
COMMENT ON COLUMN journey.orders.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.orders.profile_id IS 'The buyer.';
COMMENT ON COLUMN journey.orders.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.orders.order_id IS 'Id in the shop.';
COMMENT ON COLUMN journey.orders.source IS 'Source.';
COMMENT ON COLUMN journey.orders.status IS 'pending, placed, paid, shipped, delivered, cancelled, refunded or returned.';
COMMENT ON COLUMN journey.orders.origin IS 'web, pos, subscription, exchange or marketplace.';
COMMENT ON COLUMN journey.orders.amount IS 'Total.';
COMMENT ON COLUMN journey.orders.currency IS 'Currency of the total.';
COMMENT ON COLUMN journey.orders.cart_id IS 'Cart it came from.';
COMMENT ON COLUMN journey.orders.codes IS 'Codes that were used.';
COMMENT ON COLUMN journey.orders.placed_at IS 'When it was placed; null = not yet.';
COMMENT ON COLUMN journey.orders.cancelled_at IS 'When it was cancelled; null = it stands.';
COMMENT ON COLUMN journey.orders.seq IS 'Order of capture of the last change.';
COMMENT ON COLUMN journey.orders.props IS 'Further columns of the map.';
COMMENT ON COLUMN journey.orders.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.order_line IS 'Lines of orders.';
COMMENT ON COLUMN journey.order_line.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.order_line.profile_id IS 'The person.';
COMMENT ON COLUMN journey.order_line.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.order_line.order_id IS 'Order.';
COMMENT ON COLUMN journey.order_line.line IS 'Line in the shop, else the sku.';
COMMENT ON COLUMN journey.order_line.sku IS 'Product.';
COMMENT ON COLUMN journey.order_line.quantity IS 'How many.';
COMMENT ON COLUMN journey.order_line.price IS 'Price of one; null = unknown.';
COMMENT ON COLUMN journey.order_line.status IS 'placed, returned or cancelled.';
COMMENT ON COLUMN journey.order_line.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.message_event IS 'What became of actions after they were sent.';
COMMENT ON COLUMN journey.message_event.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.message_event.profile_id IS 'The person.';
COMMENT ON COLUMN journey.message_event.action_id IS 'The action.';
COMMENT ON COLUMN journey.message_event.type IS 'message_delivered, message_opened, message_clicked, message_bounced, message_complained, message_replied or unsubscribed.';
COMMENT ON COLUMN journey.message_event.at IS 'When it happened.';
COMMENT ON COLUMN journey.message_event.event_id IS 'The event.';
COMMENT ON COLUMN journey.message_event.machine IS 'By a machine, such as a mail proxy: changes no decision.';
COMMENT ON COLUMN journey.message_event.props IS 'As received.';
-- interpret/tables.sql
-- the names that rules may read
CREATE TABLE journey.vocabulary (
    name text PRIMARY KEY,            -- event.step; event.* stands for any name after the dot
    type text NOT NULL,               -- type of the value
    served boolean NOT NULL,          -- false: reserved for a later release
    meaning text NOT NULL
);
COMMENT ON TABLE journey.vocabulary IS
    'The names that rules may read, besides features, which are read by their bare name. Change it with journey.define_name(), which tells every session.';
COMMENT ON COLUMN journey.vocabulary.name IS
    'Name as a rule writes it. event.* stands for any name after the dot, step.*.sent for any in the middle; source.age:* is written source.age(''…'').';
COMMENT ON COLUMN journey.vocabulary.type IS 'Type of the value; a value that does not fit it reads as null.';
COMMENT ON COLUMN journey.vocabulary.served IS 'False for names that a later release will serve: using one is an error (0A000).';
COMMENT ON COLUMN journey.vocabulary.meaning IS 'What the value is and where it comes from.';

-- the functions that rules may call, also by way of operators and casts
CREATE TABLE journey.allowed_function (
    signature text PRIMARY KEY,
    never_fails boolean NOT NULL,
    shipped boolean NOT NULL
);
COMMENT ON TABLE journey.allowed_function IS
    'The functions that rules may call, directly or through operators and casts. Change it with journey.allow_function() and journey.disallow_function(), which tell every session.';
COMMENT ON COLUMN journey.allowed_function.signature IS
    'Name and argument types as pg_catalog spells them: functions of other schemas carry their schema.';
COMMENT ON COLUMN journey.allowed_function.never_fails IS
    'True when no argument of the declared types makes the function raise an error; a clause of such functions runs without a subtransaction.';
COMMENT ON COLUMN journey.allowed_function.shipped IS 'True for the list that comes with journey, false for additions of an administrator.';
-- orchestrate/tables.sql
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
    'History of the stage of each person: which rule moved whom from where to where.';
COMMENT ON COLUMN journey.stage_transition.bucket IS 'Bucket of the profile.';
COMMENT ON COLUMN journey.stage_transition.profile_id IS 'The person.';
COMMENT ON COLUMN journey.stage_transition.seq IS 'Inbox position of the event.';
COMMENT ON COLUMN journey.stage_transition.n IS 'Number within the lap.';
COMMENT ON COLUMN journey.stage_transition.object IS 'Empty = the person''s main stage.';
COMMENT ON COLUMN journey.stage_transition.from_stage IS 'Stage before.';
COMMENT ON COLUMN journey.stage_transition.to_stage IS 'Stage after.';
COMMENT ON COLUMN journey.stage_transition.at IS 'When the event occurred.';
COMMENT ON COLUMN journey.stage_transition.rule IS 'The rule that fired: document, version and place in it.';
COMMENT ON COLUMN journey.stage_transition.event_id IS 'The event.';
COMMENT ON COLUMN journey.stage_transition.test IS 'Made under the test clock: in no figure.';

CREATE TABLE journey.journey_day (
    journey text NOT NULL,
    day date NOT NULL,
    entered bigint NOT NULL,
    not_entered bigint NOT NULL,
    test boolean NOT NULL,
    PRIMARY KEY (journey, day, test)
) WITH (fillfactor = 50);
COMMENT ON TABLE journey.journey_day IS
    'Entries of each journey per day of the house''s zone: what rollout.max_per_day counts, and how often a condition said no.';
COMMENT ON COLUMN journey.journey_day.journey IS 'Name of the journey.';
COMMENT ON COLUMN journey.journey_day.day IS 'Day in the house''s zone.';
COMMENT ON COLUMN journey.journey_day.entered IS 'People who entered.';
COMMENT ON COLUMN journey.journey_day.not_entered IS 'Events whose entry condition was false or unknown: counted, no decision row.';
COMMENT ON COLUMN journey.journey_day.test IS 'Counted under the test clock, apart from the others.';
-- deliver/tables.sql
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
    PRIMARY KEY (bucket, profile_id, granted_at, action_id, attempt)
) WITH (fillfactor = 80);
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
-- measure/tables.sql
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
COMMENT ON COLUMN journey.exposure.place IS 'journey.assign(salt, profile_id): recompute it to check the arm.';
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
$jny_tables$
        WHEN 'views' THEN $jny_views$
-- deliver/views.sql
CREATE VIEW journey.dead_letter WITH (security_barrier) AS
SELECT h.action_id, h.channel, h.reason, h.error, h.attempt, h.finished_at AS died_at, h.journey, h.step,
       h.purpose, h.scope, h.template, h.profile_id, h.idempotency_key, h.gates IS NOT NULL AS can_requeue, h.test
FROM journey.outbox_history h
WHERE h.status = 'dead';
COMMENT ON VIEW journey.dead_letter IS
    'Actions that were given up: attempts used up or the provider refused the content. Bring them back with journey.requeue().';
COMMENT ON COLUMN journey.dead_letter.action_id IS 'Action.';
COMMENT ON COLUMN journey.dead_letter.channel IS 'Channel.';
COMMENT ON COLUMN journey.dead_letter.reason IS 'Code of the last failure.';
COMMENT ON COLUMN journey.dead_letter.error IS 'What the last attempt said.';
COMMENT ON COLUMN journey.dead_letter.attempt IS 'Permits granted.';
COMMENT ON COLUMN journey.dead_letter.died_at IS 'When it was given up.';
COMMENT ON COLUMN journey.dead_letter.journey IS 'Journey.';
COMMENT ON COLUMN journey.dead_letter.step IS 'Step.';
COMMENT ON COLUMN journey.dead_letter.purpose IS 'marketing, service or transactional.';
COMMENT ON COLUMN journey.dead_letter.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.dead_letter.template IS 'Template.';
COMMENT ON COLUMN journey.dead_letter.profile_id IS 'Whom it concerned.';
COMMENT ON COLUMN journey.dead_letter.idempotency_key IS 'Key that the provider was given; requeue() keeps it.';
COMMENT ON COLUMN journey.dead_letter.can_requeue IS 'Whether requeue() can bring it back.';
COMMENT ON COLUMN journey.dead_letter.test IS 'Made under the test clock.';

-- Measured, not counted: what machines opened is no outcome.
CREATE VIEW journey.message WITH (security_barrier) AS
SELECT a.action_id, a.profile_id, a.journey, a.version, a.step, a.channel, a.purpose, a.scope, a.template, a.template_version,
       d.touchpoint, a.decided_at, d.rule, d.clauses, d.inputs, d.versions, d.arm, a.suppress_on,
       a.status, a.reason, s.inputs AS stopped_by, a.due_at, a.attempt, a.sent_at, a.provider_ref, a.cost,
       m.delivered_at, m.opened_at, m.clicked_at, m.replied_at, m.bounced_at, m.complained_at, m.unsubscribed_at,
       c.at AS converted_at, c.order_id, c.amount, c.currency, a.test
FROM (SELECT o.bucket, o.profile_id, o.action_id, o.enrollment_id, o.journey, o.version, o.step, o.channel, o.purpose, o.scope, o.template,
             o.template_version, o.decision_id, o.decided_at, o.suppress_on, o.status, o.reason, o.due_at, o.attempt,
             NULL::timestamptz AS sent_at, o.provider_ref, o.cost, o.test
      FROM journey.outbox o
      UNION ALL
      SELECT h.bucket, h.profile_id, h.action_id, h.enrollment_id, h.journey, h.version, h.step, h.channel, h.purpose, h.scope, h.template,
             h.template_version, h.decision_id, h.decided_at, CASE WHEN h.payload ? '_remove' THEN '[]' ELSE x.doc -> 'suppress_on' END, h.status, h.reason, h.due_at, h.attempt,
             h.sent_at, h.provider_ref, h.cost, h.test
      FROM journey.outbox_history h
      LEFT JOIN journey.document x ON x.kind = 'journey' AND x.name = h.journey AND x.version = h.version) a
LEFT JOIN journey.decision d ON d.bucket = a.bucket AND d.profile_id = a.profile_id AND d.decided_at = a.decided_at AND d.decision_id = a.decision_id
LEFT JOIN LATERAL (SELECT y.inputs FROM journey.decision y
                   WHERE y.bucket = a.bucket AND y.profile_id = a.profile_id AND y.action_id = a.action_id
                     AND y.kind IN ('claim', 'permit') AND y.verdict = 'refused' AND y.reason = a.reason
                   ORDER BY y.decided_at DESC LIMIT 1) s ON true
LEFT JOIN LATERAL (SELECT min(e.at) FILTER (WHERE e.type = 'message_delivered') AS delivered_at,
                          min(e.at) FILTER (WHERE e.type = 'message_opened' AND NOT e.machine) AS opened_at,
                          min(e.at) FILTER (WHERE e.type = 'message_clicked' AND NOT e.machine) AS clicked_at,
                          min(e.at) FILTER (WHERE e.type = 'message_replied') AS replied_at,
                          min(e.at) FILTER (WHERE e.type = 'message_bounced') AS bounced_at,
                          min(e.at) FILTER (WHERE e.type = 'message_complained') AS complained_at,
                          min(e.at) FILTER (WHERE e.type = 'unsubscribed') AS unsubscribed_at
                   FROM journey.message_event e
                   WHERE e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.action_id = a.action_id) m ON true
LEFT JOIN LATERAL (SELECT v.at, v.order_id, v.amount, v.currency FROM journey.conversion v
                   WHERE v.bucket = a.bucket AND v.profile_id = a.profile_id AND v.enrollment_id = a.enrollment_id
                   ORDER BY v.at LIMIT 1) c ON true;
COMMENT ON VIEW journey.message IS
    'A row per action: why it was allowed, what may stop it or did, and what became of it up to the goal of its enrollment. That the goal followed does not say that the message caused it.';
COMMENT ON COLUMN journey.message.action_id IS 'Action.';
COMMENT ON COLUMN journey.message.profile_id IS 'Whom it concerns.';
COMMENT ON COLUMN journey.message.journey IS 'Journey.';
COMMENT ON COLUMN journey.message.version IS 'Version of the journey.';
COMMENT ON COLUMN journey.message.step IS 'Step.';
COMMENT ON COLUMN journey.message.channel IS 'Channel.';
COMMENT ON COLUMN journey.message.purpose IS 'marketing, service or transactional.';
COMMENT ON COLUMN journey.message.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.message.template IS 'Template.';
COMMENT ON COLUMN journey.message.template_version IS 'Version of the template.';
COMMENT ON COLUMN journey.message.touchpoint IS 'Touchpoint of the decision.';
COMMENT ON COLUMN journey.message.decided_at IS 'When it was decided.';
COMMENT ON COLUMN journey.message.rule IS 'Rule that the decision names; null = none stood against it.';
COMMENT ON COLUMN journey.message.clauses IS 'Clauses that were judged for it, with their verdicts.';
COMMENT ON COLUMN journey.message.inputs IS 'Values that the decision read.';
COMMENT ON COLUMN journey.message.versions IS 'Documents that it went by.';
COMMENT ON COLUMN journey.message.arm IS 'treatment: nobody of the control group has an action.';
COMMENT ON COLUMN journey.message.suppress_on IS 'Events that stop it; of a final one, those of its journey''s version, but none for a removal from an audience.';
COMMENT ON COLUMN journey.message.status IS 'Where it stands, or how it ended.';
COMMENT ON COLUMN journey.message.reason IS 'Why it was refused, failed or waits; empty = nothing stood against it.';
COMMENT ON COLUMN journey.message.stopped_by IS 'What the claim or permit that refused it found, such as the event and the order.';
COMMENT ON COLUMN journey.message.due_at IS 'When it was due.';
COMMENT ON COLUMN journey.message.attempt IS 'Permits granted.';
COMMENT ON COLUMN journey.message.sent_at IS 'When it was acknowledged.';
COMMENT ON COLUMN journey.message.provider_ref IS 'Reference of the provider.';
COMMENT ON COLUMN journey.message.cost IS 'What sending it cost.';
COMMENT ON COLUMN journey.message.delivered_at IS 'When it was delivered.';
COMMENT ON COLUMN journey.message.opened_at IS 'When a person first opened it; machines do not count.';
COMMENT ON COLUMN journey.message.clicked_at IS 'When a person first followed a link.';
COMMENT ON COLUMN journey.message.replied_at IS 'When it was first answered.';
COMMENT ON COLUMN journey.message.bounced_at IS 'When it first bounced.';
COMMENT ON COLUMN journey.message.complained_at IS 'When it was reported as unwanted.';
COMMENT ON COLUMN journey.message.unsubscribed_at IS 'When it led to an opt-out.';
COMMENT ON COLUMN journey.message.converted_at IS 'When the goal of its enrollment was reached.';
COMMENT ON COLUMN journey.message.order_id IS 'Order that reached it.';
COMMENT ON COLUMN journey.message.amount IS 'Amount of that order.';
COMMENT ON COLUMN journey.message.currency IS 'Its currency.';
COMMENT ON COLUMN journey.message.test IS 'Made under the test clock.';
-- worker/views.sql
CREATE VIEW journey.health AS
SELECT h.topic, h.status, h.detail, h.hint FROM journey._health() h;
COMMENT ON VIEW journey.health IS
    'Is everything all right, and if not, what to do next: mode, worker, documents that cannot be read, inbox, who keeps it from being emptied, what others have put on journey''s tables, incidents, attachments and their back-fill, silent sources, quarantine, dead letters, unknown outcomes on hold, pauses, publications.';
COMMENT ON COLUMN journey.health.topic IS 'What the row is about.';
COMMENT ON COLUMN journey.health.status IS 'ok, warning or error.';
COMMENT ON COLUMN journey.health.detail IS 'What was found.';
COMMENT ON COLUMN journey.health.hint IS 'What to do next; null = nothing.';

CREATE VIEW journey.stat_worker AS
SELECT w.database, w.state, w.pid, w.started_at, w.last_lap_at, w.laps, w.events, w.failures, w.next_try, w.lap_since
FROM journey._workers() w;
COMMENT ON VIEW journey.stat_worker IS 'The background workers of the cluster, a row per database.';
COMMENT ON COLUMN journey.stat_worker.database IS 'Name of the database.';
COMMENT ON COLUMN journey.stat_worker.state IS 'unknown, starting, running, stopping, absent (no extension there), backoff (failed, tries again at next_try), no slot (max_worker_processes used up) or no room (as many databases as the launcher serves have journey, or had it).';
COMMENT ON COLUMN journey.stat_worker.pid IS 'Process id; null = not running.';
COMMENT ON COLUMN journey.stat_worker.started_at IS 'When it started; null = never.';
COMMENT ON COLUMN journey.stat_worker.last_lap_at IS 'When its last lap ended; null = none yet.';
COMMENT ON COLUMN journey.stat_worker.laps IS 'Laps since the server started.';
COMMENT ON COLUMN journey.stat_worker.events IS 'Events taken in since the server started.';
COMMENT ON COLUMN journey.stat_worker.failures IS 'Failures in a row.';
COMMENT ON COLUMN journey.stat_worker.next_try IS 'When the launcher tries again; null = at once.';
COMMENT ON COLUMN journey.stat_worker.lap_since IS 'When the lap under way began, of the worker or of run_once(); null = none is.';

CREATE VIEW journey.stat_progress AS
SELECT p.command, p.name, p.kind, p.phase, p.started_at, p.blocks_total, p.blocks_done, p.rows_appended, p.holds_permits, p.problem
FROM journey._progress() p;
COMMENT ON VIEW journey.stat_progress IS 'Work that takes many laps, and how far it is: the back-fill of attached tables. A row goes when the work is done.';
COMMENT ON COLUMN journey.stat_progress.command IS 'back-fill.';
COMMENT ON COLUMN journey.stat_progress.name IS 'The attached table.';
COMMENT ON COLUMN journey.stat_progress.kind IS 'As what it is attached.';
COMMENT ON COLUMN journey.stat_progress.phase IS 'reading; consuming: all is read and waits in the inbox; failing: see problem.';
COMMENT ON COLUMN journey.stat_progress.started_at IS 'When it began.';
COMMENT ON COLUMN journey.stat_progress.blocks_total IS 'Blocks of the table and its partitions to be read.';
COMMENT ON COLUMN journey.stat_progress.blocks_done IS 'Blocks read.';
COMMENT ON COLUMN journey.stat_progress.rows_appended IS 'Rows appended to the inbox.';
COMMENT ON COLUMN journey.stat_progress.holds_permits IS 'Until it is done, permits that an event could end answer stale_data.';
COMMENT ON COLUMN journey.stat_progress.problem IS 'Why it does not go on; null = it does.';
$jny_views$
        WHEN 'seed' THEN $jny_seed$
-- observe/seed.sql
INSERT INTO journey.event_type (type, known, stage, meaning) VALUES
    ('product_viewed', true, 'consideration', 'a product page was seen: sku, session_id'),
    ('product_engaged', true, 'consideration', 'a product page was used: sku, session_id'),
    ('list_viewed', true, 'awareness', 'a list of products was seen: category'),
    ('searched', true, 'awareness', 'a search was made: query'),
    ('wishlist_added', true, 'consideration', 'a product was put on a wish list: sku'),
    ('recommendation_shown', true, 'consideration', 'a recommendation was shown: sku, placement, decision_id'),
    ('recommendation_clicked', true, 'consideration', 'a recommendation was clicked: sku, placement, decision_id'),
    ('cart_item_added', true, 'purchase', 'items were put into a cart: sku, quantity, price, cart_id'),
    ('cart_item_removed', true, 'purchase', 'items were taken out of a cart: sku, quantity, cart_id'),
    ('cart_viewed', true, 'purchase', 'a cart was looked at: cart_id'),
    ('checkout_started', true, 'purchase', 'a checkout began: cart_id'),
    ('checkout_step_viewed', true, 'purchase', 'a step of the checkout was seen: step, cart_id'),
    ('payment_failed', true, 'purchase', 'a payment was refused: order_id, cart_id, reason'),
    ('order_placed', true, 'fulfillment', 'an order was placed: order_id, amount, currency, lines, codes, origin, cart_id'),
    ('order_paid', true, 'fulfillment', 'an order was paid: order_id, amount'),
    ('order_updated', true, NULL, 'an order changed: order_id, status'),
    ('order_cancelled', true, NULL, 'an order was cancelled: order_id, reason'),
    ('order_refunded', true, NULL, 'an order was refunded: order_id, amount'),
    ('order_line_placed', true, 'fulfillment', 'a line of a placed order: order_id, sku, quantity, price'),
    ('order_line_returned', true, 'post_purchase', 'a line came back: order_id, sku, quantity, reason'),
    ('shipment_shipped', true, 'fulfillment', 'a parcel left: shipment_id, order_id, promised_at'),
    ('shipment_updated', true, 'fulfillment', 'a parcel''s promise changed: shipment_id, order_id, promised_at, expected_at'),
    ('shipment_delivered', true, 'post_purchase', 'a parcel arrived: shipment_id, order_id'),
    ('delivery_delayed', true, 'fulfillment', 'a parcel is late: shipment_id, order_id, expected_at'),
    ('pickup_ready', true, 'fulfillment', 'an order can be picked up: order_id'),
    ('picked_up', true, 'post_purchase', 'an order was picked up: order_id'),
    ('return_requested', true, 'post_purchase', 'a return was asked for: order_id, sku, reason'),
    ('return_received', true, 'post_purchase', 'a return arrived: order_id, sku, reason'),
    ('ticket_opened', true, 'post_purchase', 'service was asked for: reason, order_id, severity'),
    ('ticket_closed', true, 'post_purchase', 'a service case was closed: reason, escalated'),
    ('points_earned', true, 'loyalty', 'loyalty points were earned: value'),
    ('points_redeemed', true, 'loyalty', 'loyalty points were spent: value'),
    ('tier_changed', true, 'loyalty', 'a loyalty tier changed: value'),
    ('reward_issued', true, 'loyalty', 'a reward was given: reward_id, value, expires_at'),
    ('reward_updated', true, 'loyalty', 'a reward changed: reward_id, value, expires_at'),
    ('reward_redeemed', true, 'loyalty', 'a reward was used: reward_id'),
    ('reward_cancelled', true, 'loyalty', 'a reward was taken back: reward_id'),
    ('reward_expiring', true, 'loyalty', 'a reward runs out soon: reward_id, expires_at'),
    ('message_delivered', true, NULL, 'a message reached its address: action_id'),
    ('message_opened', true, NULL, 'a message was opened: action_id, machine'),
    ('message_clicked', true, NULL, 'a link in a message was followed: action_id, url, machine'),
    ('message_bounced', true, NULL, 'a message could not be delivered: action_id, bounce (hard or soft), reason'),
    ('message_complained', true, NULL, 'a message was reported as unwanted: action_id'),
    ('message_replied', true, NULL, 'a message was answered: action_id'),
    ('consent_granted', true, NULL, 'somebody agreed to be contacted: channel, purpose, basis, proof'),
    ('consent_revoked', true, NULL, 'somebody took an agreement back: channel, purpose'),
    ('unsubscribed', true, NULL, 'somebody opted out: channel, purpose; without a channel from all'),
    ('subscription_started', true, 'loyalty', 'a subscription began: sku'),
    ('subscription_renewed', true, 'loyalty', 'a subscription went on: sku'),
    ('subscription_paused', true, 'loyalty', 'a subscription was paused: sku'),
    ('subscription_cancelled', true, 'win_back', 'a subscription ended: sku'),
    ('subscription_payment_failed', true, 'loyalty', 'a subscription''s payment was refused: sku'),
    ('product_changed', true, NULL, 'a product''s master data changed: sku; names no person'),
    ('stock_changed', true, NULL, 'what is in stock changed: sku, available; names no person'),
    ('price_changed', true, NULL, 'a price changed: sku, price; names no person'),
    ('session_started', true, 'awareness', 'a visit began: session_id, referrer, device, landing, action_id'),
    ('page_viewed', true, 'awareness', 'a page was seen: url'),
    ('screen_viewed', true, 'awareness', 'a screen of an app was seen'),
    ('identified', true, NULL, 'somebody said who they are: traits'),
    ('group_joined', true, NULL, 'somebody joined a group, such as a household or company'),
    ('signal', true, NULL, 'anything else that a rule may look at, such as weather'),
    ('erased', true, NULL, 'a person asked to be forgotten'),
    ('restricted', true, NULL, 'a person asked that their data rest')
ON CONFLICT DO NOTHING;

INSERT INTO journey.namespace (namespace, class, rank, crosses_scopes, confidence, meaning) VALUES
    ('customer_id', 'person', 100, true, 1.0, 'account number of the shop'),
    ('email', 'person', 90, true, 0.95, 'e-mail address'),
    ('loyalty_id', 'person', 80, true, 0.95, 'number of a loyalty card'),
    ('phone', 'person', 70, true, 0.9, 'telephone number'),
    ('anonymous_id', 'session', 40, true, 0.4, 'browser or app that did not say who uses it'),
    ('device_id', 'session', 30, true, 0.4, 'device'),
    ('company', 'group', 10, true, 0, 'a company: never makes two people one'),
    ('household', 'group', 10, true, 0, 'a household: never makes two people one'),
    ('cart', 'object', 2, false, 0.3, 'a cart, by scope and id: follows the person who names it'),
    ('order', 'object', 1, false, 0.3, 'an order, by scope and id')
ON CONFLICT DO NOTHING;

INSERT INTO journey.system (system, meaning) VALUES
    ('commerce', 'commerce platform: products, carts, orders'),
    ('crm', 'CRM and marketing platform: profiles, preferences, consents'),
    ('customer_data', 'customer data layer: events, identities, segments'),
    ('pos', 'point of sale and stores: purchases, returns, pick-ups'),
    ('loyalty', 'loyalty platform: tiers, points, rewards'),
    ('search', 'search and recommendation'),
    ('service', 'service platform: tickets, escalations, reasons of returns'),
    ('messaging', 'messaging tools: e-mail, SMS, push, onsite, retargeting')
ON CONFLICT DO NOTHING;

INSERT INTO journey.source_of_truth (signal) VALUES
    ('identity'), ('orders'), ('inventory'), ('consent'), ('eligibility')
ON CONFLICT DO NOTHING;

INSERT INTO journey.secret (name, value) VALUES ('unsubscribe', journey._random_bytes(32))
ON CONFLICT DO NOTHING;
-- interpret/seed.sql
-- the names that rules may read
INSERT INTO journey.vocabulary (name, type, served, meaning) VALUES
    ('now', 'timestamptz', true, 'The present moment by journey.clock(). now(), current_timestamp and current_date mean the same.'),
    ('key', 'text', true, 'Key of the enrollment, for example the id of its cart; unknown outside an enrollment.'),
    ('stage', 'text', true, 'Main stage of the person.'),
    ('event.type', 'text', true, 'Type of the event at hand. All event names are unknown where no event is at hand, such as when a timer fires.'),
    ('event.occurred_at', 'timestamptz', true, 'When it happened, by its source.'),
    ('event.source', 'text', true, 'Source that reported it.'),
    ('event.scope', 'text', true, 'Brand, shop or country of the source.'),
    ('event.sku', 'text', true, 'Product of the event.'),
    ('event.quantity', 'numeric', true, 'Quantity of the event.'),
    ('event.price', 'numeric', true, 'Price of one piece.'),
    ('event.amount', 'numeric', true, 'Amount of the order, in event.currency.'),
    ('event.value', 'numeric', true, 'Value, for example of a reward.'),
    ('event.currency', 'text', true, 'Currency of the amounts.'),
    ('event.cart_id', 'text', true, 'Cart of the event.'),
    ('event.order_id', 'text', true, 'Order of the event.'),
    ('event.line', 'text', true, 'Line of the order or cart.'),
    ('event.category', 'text', true, 'Category that was viewed or searched.'),
    ('event.query', 'text', true, 'Words that were searched.'),
    ('event.step', 'text', true, 'Step of the checkout, for example shipping.'),
    ('event.origin', 'text', true, 'Where an order came from: web, pos, subscription, exchange, marketplace.'),
    ('event.status', 'text', true, 'Status of the order after the event.'),
    ('event.session_id', 'text', true, 'Session of the event.'),
    ('event.channel', 'text', true, 'Channel of a message or consent.'),
    ('event.purpose', 'text', true, 'Purpose of a consent.'),
    ('event.state', 'text', true, 'State of a consent.'),
    ('event.action_id', 'text', true, 'Action that a message event belongs to.'),
    ('event.machine', 'boolean', true, 'True when a machine opened or clicked.'),
    ('event.url', 'text', true, 'Page of the event.'),
    ('event.referrer', 'text', true, 'Page before it.'),
    ('event.device', 'text', true, 'Device of the session.'),
    ('event.available', 'numeric', true, 'Stock after a stock change.'),
    ('event.code', 'text', true, 'Code that was used.'),
    ('event.codes', 'text[]', true, 'Codes that were used.'),
    ('event.reason', 'text', true, 'Reason, for example of a return.'),
    ('event.promised_at', 'timestamptz', true, 'When a delivery was promised.'),
    ('event.expected_at', 'timestamptz', true, 'When a delivery is expected now.'),
    ('event.expires_at', 'timestamptz', true, 'When a reward expires.'),
    ('event.severity', 'text', true, 'Severity of a ticket.'),
    ('event.*', 'text', true, 'Any other property of the event, as text: cast it, for example event.points::numeric, or declare its type with journey.define_name().'),
    ('profile.zone', 'text', true, 'Time zone of the person; unknown when nobody has told it. Rules in which the time zone matters use it, else UTC.'),
    ('profile.locale', 'text', true, 'Language and region of the person.'),
    ('profile.confidence', 'double precision', true, 'How sure it is who the person is: 0 to 1.'),
    ('profile.stage', 'text', true, 'The same as stage.'),
    ('profile.*', 'text', true, 'Any trait of the person, as text: cast it, or declare its type with journey.define_name().'),
    ('cart.id', 'text', true, 'The cart: of the enrollment or event, else the entry''s cart_id, else the person''s open cart that changed last.'),
    ('cart.status', 'text', true, 'open, ordered, emptied or deleted.'),
    ('cart.items', 'numeric', true, 'Number of pieces in the cart.'),
    ('cart.lines', 'bigint', true, 'Number of lines of the cart.'),
    ('cart.value', 'numeric', true, 'Sum of quantity times price, in cart.currency.'),
    ('cart.currency', 'text', true, 'Currency of the cart.'),
    ('cart.age', 'interval', true, 'Time since the cart last changed.'),
    ('cart.top_sku', 'text', true, 'Product of the line with the highest value; ties by sku.'),
    ('cart.top_category', 'text', true, 'Category of cart.top_sku.'),
    ('cart.skus', 'text[]', true, 'Products in the cart, highest value first.'),
    ('cart.categories', 'text[]', true, 'Categories of the products in the cart.'),
    ('order.id', 'text', true, 'The order: of the event, else the entry''s order_id, else the person''s last placed one.'),
    ('order.status', 'text', true, 'pending, placed, paid, shipped, delivered, cancelled, refunded or returned.'),
    ('order.amount', 'numeric', true, 'Amount of the order, in order.currency.'),
    ('order.currency', 'text', true, 'Currency of the order.'),
    ('order.origin', 'text', true, 'web, pos, subscription, exchange or marketplace.'),
    ('order.placed_at', 'timestamptz', true, 'When it was placed.'),
    ('order.lines', 'bigint', true, 'Number of its lines.'),
    ('order.skus', 'text[]', true, 'Products of the order.'),
    ('order.store', 'text', true, 'Store of purchase.'),
    ('order.pickup_place', 'text', true, 'Where it is or was to be picked up.'),
    ('order.opening_hours', 'text', true, 'When that place is open, as the shop writes it.'),
    ('orders.count', 'bigint', true, 'Number of the person''s orders that stand: placed, paid, shipped or delivered, in all scopes.'),
    ('orders.sum', 'numeric', true, 'Sum of their amounts; unknown when they have several currencies.'),
    ('orders.last_at', 'timestamptz', true, 'When the last of them was placed.'),
    ('orders.days_since', 'bigint', true, 'Whole days (24 hours) since orders.last_at; unknown without an order.'),
    ('product.sku', 'text', true, 'The product: event.sku, else entry.sku, else entry.top_sku, else key.'),
    ('product.name', 'text', true, 'Its name.'),
    ('product.category', 'text', true, 'Its category.'),
    ('product.class', 'text', true, 'essential or considered.'),
    ('product.price', 'numeric', true, 'Its price, in product.currency.'),
    ('product.currency', 'text', true, 'Currency of its price.'),
    ('product.available', 'numeric', true, 'What is in stock: by the attached stock table at this moment, else as last observed. Permits look again.'),
    ('product.replenishable', 'boolean', true, 'Whether people buy it again and again.'),
    ('product.replenish_after', 'interval', true, 'How long one piece lasts.'),
    ('consent.*', 'text', true, 'State of a consent in the scope, by channel and purpose: consent.email_marketing. unknown when there is none or it has expired.'),
    ('entry.*', 'text', true, 'Data frozen when the person entered the journey, as text: cast it, for example entry.bought_at::timestamptz.'),
    ('step.*.sent', 'boolean', true, 'Whether the send of this step went out.'),
    ('step.*.delivered', 'boolean', true, 'Whether its message was delivered.'),
    ('step.*.opened', 'boolean', true, 'Whether a person opened its message.'),
    ('step.*.clicked', 'boolean', true, 'Whether a person clicked in its message.'),
    ('step.*.refused', 'boolean', true, 'Whether the send of this step was refused.'),
    ('source.age:*', 'interval', true, 'Written source.age(''shipments''): time since the newest event of that source.'),
    ('session.*', 'text', false, 'Views and products of a session.'),
    ('decision.*', 'text', false, 'Outcome of a decide step.'),
    ('candidate.*', 'text', false, 'Candidate of a decide step.'),
    ('score.*', 'double precision', false, 'Score of a model.'),
    ('confidence.*', 'text', false, 'Confidence of a score.'),
    ('shipment.*', 'text', false, 'Shipment of the enrollment.'),
    ('reward.*', 'text', false, 'Reward of the enrollment.'),
    ('loyalty.*', 'text', false, 'Points and tier of the person.'),
    ('tickets.*', 'text', false, 'Tickets of the person.'),
    ('returns.*', 'text', false, 'Returns of the person.'),
    ('subscriptions.*', 'text', false, 'Subscriptions of the person.');

-- functions that never raise an error, whatever their arguments
INSERT INTO journey.allowed_function (signature, never_fails, shipped)
SELECT signature, true, true FROM unnest(ARRAY[
    '"numeric"(bigint)', '"numeric"(integer)', '"numeric"(smallint)', '"position"(text,text)',
    'array_eq(anyarray,anyarray)', 'array_ge(anyarray,anyarray)', 'array_gt(anyarray,anyarray)',
    'array_le(anyarray,anyarray)', 'array_length(anyarray,integer)', 'array_lt(anyarray,anyarray)',
    'array_ne(anyarray,anyarray)', 'arraycontained(anyarray,anyarray)', 'arraycontains(anyarray,anyarray)',
    'arrayoverlap(anyarray,anyarray)', 'bool(integer)', 'booleq(boolean,boolean)', 'boolge(boolean,boolean)',
    'boolgt(boolean,boolean)', 'boolle(boolean,boolean)', 'boollt(boolean,boolean)', 'boolne(boolean,boolean)',
    'bpchareq(character,character)', 'bpcharge(character,character)', 'bpchargt(character,character)',
    'bpcharle(character,character)', 'bpcharlt(character,character)', 'bpcharne(character,character)', 'btrim(text)',
    'btrim(text,text)', 'cardinality(anyarray)', 'char_length(character)', 'char_length(text)',
    'character_length(character)', 'character_length(text)', 'date_eq(date,date)',
    'date_eq_timestamp(date,timestamp without time zone)', 'date_eq_timestamptz(date,timestamp with time zone)',
    'date_ge(date,date)', 'date_ge_timestamp(date,timestamp without time zone)',
    'date_ge_timestamptz(date,timestamp with time zone)', 'date_gt(date,date)',
    'date_gt_timestamp(date,timestamp without time zone)', 'date_gt_timestamptz(date,timestamp with time zone)',
    'date_le(date,date)', 'date_le_timestamp(date,timestamp without time zone)',
    'date_le_timestamptz(date,timestamp with time zone)', 'date_lt(date,date)',
    'date_lt_timestamp(date,timestamp without time zone)', 'date_lt_timestamptz(date,timestamp with time zone)',
    'date_ne(date,date)', 'date_ne_timestamp(date,timestamp without time zone)',
    'date_ne_timestamptz(date,timestamp with time zone)', 'float48eq(real,double precision)',
    'float48ge(real,double precision)', 'float48gt(real,double precision)', 'float48le(real,double precision)',
    'float48lt(real,double precision)', 'float48ne(real,double precision)', 'float4eq(real,real)',
    'float4ge(real,real)', 'float4gt(real,real)', 'float4le(real,real)', 'float4lt(real,real)', 'float4ne(real,real)',
    'float8(bigint)', 'float8(integer)', 'float8(real)', 'float8(smallint)', 'float84eq(double precision,real)',
    'float84ge(double precision,real)', 'float84gt(double precision,real)', 'float84le(double precision,real)',
    'float84lt(double precision,real)', 'float84ne(double precision,real)', 'float8abs(double precision)',
    'float8eq(double precision,double precision)', 'float8ge(double precision,double precision)',
    'float8gt(double precision,double precision)', 'float8le(double precision,double precision)',
    'float8lt(double precision,double precision)', 'float8ne(double precision,double precision)',
    'float8um(double precision)', 'initcap(text)', 'int24eq(smallint,integer)', 'int24ge(smallint,integer)',
    'int24gt(smallint,integer)', 'int24le(smallint,integer)', 'int24lt(smallint,integer)',
    'int24ne(smallint,integer)', 'int28eq(smallint,bigint)', 'int28ge(smallint,bigint)', 'int28gt(smallint,bigint)',
    'int28le(smallint,bigint)', 'int28lt(smallint,bigint)', 'int28ne(smallint,bigint)', 'int2eq(smallint,smallint)',
    'int2ge(smallint,smallint)', 'int2gt(smallint,smallint)', 'int2le(smallint,smallint)',
    'int2lt(smallint,smallint)', 'int2ne(smallint,smallint)', 'int4(boolean)', 'int4(smallint)',
    'int42eq(integer,smallint)', 'int42ge(integer,smallint)', 'int42gt(integer,smallint)',
    'int42le(integer,smallint)', 'int42lt(integer,smallint)', 'int42ne(integer,smallint)', 'int48eq(integer,bigint)',
    'int48ge(integer,bigint)', 'int48gt(integer,bigint)', 'int48le(integer,bigint)', 'int48lt(integer,bigint)',
    'int48ne(integer,bigint)', 'int4eq(integer,integer)', 'int4ge(integer,integer)', 'int4gt(integer,integer)',
    'int4le(integer,integer)', 'int4lt(integer,integer)', 'int4ne(integer,integer)', 'int8(integer)',
    'int8(smallint)', 'int82eq(bigint,smallint)', 'int82ge(bigint,smallint)', 'int82gt(bigint,smallint)',
    'int82le(bigint,smallint)', 'int82lt(bigint,smallint)', 'int82ne(bigint,smallint)', 'int84eq(bigint,integer)',
    'int84ge(bigint,integer)', 'int84gt(bigint,integer)', 'int84le(bigint,integer)', 'int84lt(bigint,integer)',
    'int84ne(bigint,integer)', 'int8eq(bigint,bigint)', 'int8ge(bigint,bigint)', 'int8gt(bigint,bigint)',
    'int8le(bigint,bigint)', 'int8lt(bigint,bigint)', 'int8ne(bigint,bigint)', 'interval_eq(interval,interval)',
    'interval_ge(interval,interval)', 'interval_gt(interval,interval)', 'interval_le(interval,interval)',
    'interval_lt(interval,interval)', 'interval_ne(interval,interval)', 'isfinite(date)', 'isfinite(interval)',
    'isfinite(timestamp with time zone)', 'isfinite(timestamp without time zone)',
    'jsonb_array_element(jsonb,integer)', 'jsonb_array_element_text(jsonb,integer)', 'jsonb_contained(jsonb,jsonb)',
    'jsonb_contains(jsonb,jsonb)', 'jsonb_eq(jsonb,jsonb)', 'jsonb_exists(jsonb,text)',
    'jsonb_exists_all(jsonb,text[])', 'jsonb_exists_any(jsonb,text[])', 'jsonb_extract_path(jsonb,text[])',
    'jsonb_extract_path_text(jsonb,text[])', 'jsonb_ge(jsonb,jsonb)', 'jsonb_gt(jsonb,jsonb)',
    'jsonb_le(jsonb,jsonb)', 'jsonb_lt(jsonb,jsonb)', 'jsonb_ne(jsonb,jsonb)', 'jsonb_object_field(jsonb,text)',
    'jsonb_object_field_text(jsonb,text)', 'jsonb_typeof(jsonb)', 'length(character)', 'length(text)', 'lower(text)',
    'ltrim(text)', 'ltrim(text,text)', 'md5(text)', 'num_nonnulls("any")', 'num_nulls("any")', 'numeric_abs(numeric)',
    'numeric_eq(numeric,numeric)', 'numeric_ge(numeric,numeric)', 'numeric_gt(numeric,numeric)',
    'numeric_le(numeric,numeric)', 'numeric_lt(numeric,numeric)', 'numeric_ne(numeric,numeric)',
    'numeric_uminus(numeric)', 'octet_length(character)', 'octet_length(text)', 'reverse(text)', 'rtrim(text)',
    'rtrim(text,text)', 'sign(double precision)', 'sign(numeric)', 'starts_with(text,text)', 'strpos(text,text)',
    'text(boolean)', 'text(character)', 'text_ge(text,text)', 'text_gt(text,text)', 'text_le(text,text)',
    'text_lt(text,text)', 'textcat(text,text)', 'texteq(text,text)', 'textne(text,text)',
    'time_eq(time without time zone,time without time zone)',
    'time_ge(time without time zone,time without time zone)',
    'time_gt(time without time zone,time without time zone)',
    'time_le(time without time zone,time without time zone)',
    'time_lt(time without time zone,time without time zone)',
    'time_ne(time without time zone,time without time zone)',
    'timestamp_eq(timestamp without time zone,timestamp without time zone)',
    'timestamp_eq_date(timestamp without time zone,date)',
    'timestamp_eq_timestamptz(timestamp without time zone,timestamp with time zone)',
    'timestamp_ge(timestamp without time zone,timestamp without time zone)',
    'timestamp_ge_date(timestamp without time zone,date)',
    'timestamp_ge_timestamptz(timestamp without time zone,timestamp with time zone)',
    'timestamp_gt(timestamp without time zone,timestamp without time zone)',
    'timestamp_gt_date(timestamp without time zone,date)',
    'timestamp_gt_timestamptz(timestamp without time zone,timestamp with time zone)',
    'timestamp_le(timestamp without time zone,timestamp without time zone)',
    'timestamp_le_date(timestamp without time zone,date)',
    'timestamp_le_timestamptz(timestamp without time zone,timestamp with time zone)',
    'timestamp_lt(timestamp without time zone,timestamp without time zone)',
    'timestamp_lt_date(timestamp without time zone,date)',
    'timestamp_lt_timestamptz(timestamp without time zone,timestamp with time zone)',
    'timestamp_ne(timestamp without time zone,timestamp without time zone)',
    'timestamp_ne_date(timestamp without time zone,date)',
    'timestamp_ne_timestamptz(timestamp without time zone,timestamp with time zone)',
    'timestamptz_eq(timestamp with time zone,timestamp with time zone)',
    'timestamptz_eq_date(timestamp with time zone,date)',
    'timestamptz_eq_timestamp(timestamp with time zone,timestamp without time zone)',
    'timestamptz_ge(timestamp with time zone,timestamp with time zone)',
    'timestamptz_ge_date(timestamp with time zone,date)',
    'timestamptz_ge_timestamp(timestamp with time zone,timestamp without time zone)',
    'timestamptz_gt(timestamp with time zone,timestamp with time zone)',
    'timestamptz_gt_date(timestamp with time zone,date)',
    'timestamptz_gt_timestamp(timestamp with time zone,timestamp without time zone)',
    'timestamptz_le(timestamp with time zone,timestamp with time zone)',
    'timestamptz_le_date(timestamp with time zone,date)',
    'timestamptz_le_timestamp(timestamp with time zone,timestamp without time zone)',
    'timestamptz_lt(timestamp with time zone,timestamp with time zone)',
    'timestamptz_lt_date(timestamp with time zone,date)',
    'timestamptz_lt_timestamp(timestamp with time zone,timestamp without time zone)',
    'timestamptz_ne(timestamp with time zone,timestamp with time zone)',
    'timestamptz_ne_date(timestamp with time zone,date)',
    'timestamptz_ne_timestamp(timestamp with time zone,timestamp without time zone)', 'upper(text)',
    'uuid_eq(uuid,uuid)', 'uuid_ge(uuid,uuid)', 'uuid_gt(uuid,uuid)', 'uuid_le(uuid,uuid)', 'uuid_lt(uuid,uuid)',
    'uuid_ne(uuid,uuid)'
]) AS signature;

-- functions that may: overflow, bad input, bad patterns
INSERT INTO journey.allowed_function (signature, never_fails, shipped)
SELECT signature, false, true FROM unnest(ARRAY[
    '"extract"(text,date)', '"extract"(text,interval)', '"extract"(text,time without time zone)',
    '"extract"(text,timestamp with time zone)', '"extract"(text,timestamp without time zone)',
    '"interval"(interval,integer)', '"interval"(time without time zone)', '"left"(text,integer)', '"like"(text,text)',
    '"numeric"(double precision)', '"numeric"(jsonb)', '"numeric"(numeric,integer)', '"numeric"(real)',
    '"overlaps"(time without time zone,interval,time without time zone,interval)',
    '"overlaps"(time without time zone,interval,time without time zone,time without time zone)',
    '"overlaps"(time without time zone,time without time zone,time without time zone,interval)',
    '"overlaps"(time without time zone,time without time zone,time without time zone,time without time zone)',
    '"overlaps"(timestamp with time zone,interval,timestamp with time zone,interval)',
    '"overlaps"(timestamp with time zone,interval,timestamp with time zone,timestamp with time zone)',
    '"overlaps"(timestamp with time zone,timestamp with time zone,timestamp with time zone,interval)',
    '"overlaps"(timestamp with time zone,timestamp with time zone,timestamp with time zone,timestamp with time zone)',
    '"overlaps"(timestamp without time zone,interval,timestamp without time zone,interval)',
    '"overlaps"(timestamp without time zone,interval,timestamp without time zone,timestamp without time zone)',
    '"overlaps"(timestamp without time zone,timestamp without time zone,timestamp without time zone,interval)',
    '"overlaps"(timestamp without time zone,timestamp without time zone,timestamp without time zone,timestamp without time zone)',
    '"right"(text,integer)', '"substring"(text,integer)', '"substring"(text,integer,integer)',
    '"substring"(text,text)', '"substring"(text,text,text)', '"time"(interval)',
    '"time"(time without time zone,integer)', '"time"(timestamp with time zone)',
    '"time"(timestamp without time zone)', '"timestamp"(date)', '"timestamp"(date,time without time zone)',
    '"timestamp"(timestamp with time zone)', '"timestamp"(timestamp without time zone,integer)',
    '"varchar"(character varying,integer,boolean)', 'abs(bigint)', 'abs(double precision)', 'abs(integer)',
    'abs(numeric)', 'abs(real)', 'abs(smallint)', 'age(timestamp with time zone,timestamp with time zone)',
    'age(timestamp without time zone,timestamp without time zone)', 'anytextcat(anynonarray,text)',
    'array_append(anycompatiblearray,anycompatible)', 'array_cat(anycompatiblearray,anycompatiblearray)',
    'array_position(anycompatiblearray,anycompatible)', 'array_position(anycompatiblearray,anycompatible,integer)',
    'array_remove(anycompatiblearray,anycompatible)', 'array_to_string(anyarray,text)',
    'array_to_string(anyarray,text,text)', 'bool(jsonb)', 'bpchar(character,integer,boolean)',
    'bpchariclike(character,text)', 'bpcharicnlike(character,text)', 'bpcharicregexeq(character,text)',
    'bpcharicregexne(character,text)', 'bpcharlike(character,text)', 'bpcharnlike(character,text)',
    'bpcharregexeq(character,text)', 'bpcharregexne(character,text)', 'ceil(double precision)', 'ceil(numeric)',
    'ceiling(double precision)', 'ceiling(numeric)', 'concat("any")', 'concat_ws(text,"any")',
    'date(timestamp with time zone)', 'date(timestamp without time zone)',
    'date_bin(interval,timestamp with time zone,timestamp with time zone)',
    'date_bin(interval,timestamp without time zone,timestamp without time zone)', 'date_mi(date,date)',
    'date_mi_interval(date,interval)', 'date_mii(date,integer)', 'date_part(text,date)', 'date_part(text,interval)',
    'date_part(text,time without time zone)', 'date_part(text,timestamp with time zone)',
    'date_part(text,timestamp without time zone)', 'date_pl_interval(date,interval)', 'date_pli(date,integer)',
    'date_trunc(text,interval)', 'date_trunc(text,timestamp with time zone)',
    'date_trunc(text,timestamp with time zone,text)', 'date_trunc(text,timestamp without time zone)',
    'datetime_pl(date,time without time zone)', 'dcbrt(double precision)', 'div(numeric,numeric)',
    'dpow(double precision,double precision)', 'dsqrt(double precision)', 'float4(bigint)',
    'float4(double precision)', 'float4(integer)', 'float4(jsonb)', 'float4(numeric)', 'float4(smallint)',
    'float48div(real,double precision)', 'float48mi(real,double precision)', 'float48mul(real,double precision)',
    'float48pl(real,double precision)', 'float4abs(real)', 'float4div(real,real)', 'float4mi(real,real)',
    'float4mul(real,real)', 'float4pl(real,real)', 'float4um(real)', 'float4up(real)', 'float8(jsonb)',
    'float8(numeric)', 'float84div(double precision,real)', 'float84mi(double precision,real)',
    'float84mul(double precision,real)', 'float84pl(double precision,real)',
    'float8div(double precision,double precision)', 'float8mi(double precision,double precision)',
    'float8mul(double precision,double precision)', 'float8pl(double precision,double precision)',
    'float8up(double precision)', 'floor(double precision)', 'floor(numeric)', 'int2(bigint)',
    'int2(double precision)', 'int2(integer)', 'int2(jsonb)', 'int2(numeric)', 'int2(real)',
    'int24div(smallint,integer)', 'int24mi(smallint,integer)', 'int24mul(smallint,integer)',
    'int24pl(smallint,integer)', 'int28div(smallint,bigint)', 'int28mi(smallint,bigint)', 'int28mul(smallint,bigint)',
    'int28pl(smallint,bigint)', 'int2abs(smallint)', 'int2div(smallint,smallint)', 'int2mi(smallint,smallint)',
    'int2mod(smallint,smallint)', 'int2mul(smallint,smallint)', 'int2pl(smallint,smallint)', 'int2um(smallint)',
    'int2up(smallint)', 'int4(bigint)', 'int4(double precision)', 'int4(jsonb)', 'int4(numeric)', 'int4(real)',
    'int42div(integer,smallint)', 'int42mi(integer,smallint)', 'int42mul(integer,smallint)',
    'int42pl(integer,smallint)', 'int48div(integer,bigint)', 'int48mi(integer,bigint)', 'int48mul(integer,bigint)',
    'int48pl(integer,bigint)', 'int4abs(integer)', 'int4div(integer,integer)', 'int4mi(integer,integer)',
    'int4mod(integer,integer)', 'int4mul(integer,integer)', 'int4pl(integer,integer)', 'int4um(integer)',
    'int4up(integer)', 'int8(double precision)', 'int8(jsonb)', 'int8(numeric)', 'int8(real)',
    'int82div(bigint,smallint)', 'int82mi(bigint,smallint)', 'int82mul(bigint,smallint)', 'int82pl(bigint,smallint)',
    'int84div(bigint,integer)', 'int84mi(bigint,integer)', 'int84mul(bigint,integer)', 'int84pl(bigint,integer)',
    'int8abs(bigint)', 'int8div(bigint,bigint)', 'int8mi(bigint,bigint)', 'int8mod(bigint,bigint)',
    'int8mul(bigint,bigint)', 'int8pl(bigint,bigint)', 'int8um(bigint)', 'int8up(bigint)',
    'integer_pl_date(integer,date)', 'interval_div(interval,double precision)', 'interval_mi(interval,interval)',
    'interval_mul(interval,double precision)', 'interval_pl(interval,interval)', 'interval_pl_date(interval,date)',
    'interval_pl_time(interval,time without time zone)',
    'interval_pl_timestamp(interval,timestamp without time zone)',
    'interval_pl_timestamptz(interval,timestamp with time zone)', 'interval_um(interval)',
    'jsonb_array_length(jsonb)', 'justify_days(interval)', 'justify_hours(interval)', 'justify_interval(interval)',
    'like_escape(text,text)', 'ln(double precision)', 'ln(numeric)', 'log(double precision)', 'log(numeric)',
    'log(numeric,numeric)', 'make_date(integer,integer,integer)',
    'make_interval(integer,integer,integer,integer,integer,integer,double precision)',
    'make_time(integer,integer,double precision)',
    'make_timestamp(integer,integer,integer,integer,integer,double precision)',
    'make_timestamptz(integer,integer,integer,integer,integer,double precision)',
    'make_timestamptz(integer,integer,integer,integer,integer,double precision,text)', 'mod(bigint,bigint)',
    'mod(integer,integer)', 'mod(numeric,numeric)', 'mod(smallint,smallint)',
    'mul_d_interval(double precision,interval)', 'notlike(text,text)', 'numeric_add(numeric,numeric)',
    'numeric_div(numeric,numeric)', 'numeric_mod(numeric,numeric)', 'numeric_mul(numeric,numeric)',
    'numeric_sub(numeric,numeric)', 'numeric_uplus(numeric)', 'pow(double precision,double precision)',
    'power(double precision,double precision)', 'regexp_count(text,text)', 'regexp_count(text,text,integer)',
    'regexp_count(text,text,integer,text)', 'regexp_like(text,text)', 'regexp_like(text,text,text)',
    'regexp_replace(text,text,text)', 'regexp_replace(text,text,text,integer)',
    'regexp_replace(text,text,text,integer,integer)', 'regexp_replace(text,text,text,integer,integer,text)',
    'regexp_replace(text,text,text,text)', 'regexp_substr(text,text)', 'regexp_substr(text,text,integer)',
    'regexp_substr(text,text,integer,integer)', 'regexp_substr(text,text,integer,integer,text)',
    'regexp_substr(text,text,integer,integer,text,integer)', 'replace(text,text,text)', 'round(double precision)',
    'round(numeric)', 'round(numeric,integer)', 'similar_escape(text,text)', 'similar_to_escape(text)',
    'similar_to_escape(text,text)', 'split_part(text,text,integer)', 'sqrt(double precision)', 'sqrt(numeric)',
    'string_to_array(text,text)', 'string_to_array(text,text,text)', 'substr(text,integer)',
    'substr(text,integer,integer)', 'textanycat(text,anynonarray)', 'texticlike(text,text)', 'texticnlike(text,text)',
    'texticregexeq(text,text)', 'texticregexne(text,text)', 'textlike(text,text)', 'textnlike(text,text)',
    'textregexeq(text,text)', 'textregexne(text,text)', 'time_mi_interval(time without time zone,interval)',
    'time_mi_time(time without time zone,time without time zone)',
    'time_pl_interval(time without time zone,interval)', 'timedate_pl(time without time zone,date)',
    'timestamp_mi(timestamp without time zone,timestamp without time zone)',
    'timestamp_mi_interval(timestamp without time zone,interval)',
    'timestamp_pl_interval(timestamp without time zone,interval)', 'timestamptz(date)',
    'timestamptz(date,time without time zone)', 'timestamptz(timestamp with time zone,integer)',
    'timestamptz(timestamp without time zone)', 'timestamptz_mi(timestamp with time zone,timestamp with time zone)',
    'timestamptz_mi_interval(timestamp with time zone,interval)',
    'timestamptz_pl_interval(timestamp with time zone,interval)', 'timezone(interval,timestamp with time zone)',
    'timezone(interval,timestamp without time zone)', 'timezone(text,timestamp with time zone)',
    'timezone(text,timestamp without time zone)', 'to_char(bigint,text)', 'to_char(double precision,text)',
    'to_char(integer,text)', 'to_char(interval,text)', 'to_char(numeric,text)', 'to_char(real,text)',
    'to_char(timestamp with time zone,text)', 'to_char(timestamp without time zone,text)', 'to_date(text,text)',
    'to_number(text,text)', 'to_timestamp(double precision)', 'to_timestamp(text,text)', 'translate(text,text,text)',
    'trim_scale(numeric)', 'trunc(double precision)', 'trunc(numeric)', 'trunc(numeric,integer)',
    'width_bucket(anycompatible,anycompatiblearray)',
    'width_bucket(double precision,double precision,double precision,integer)',
    'width_bucket(numeric,numeric,numeric,integer)'
]) AS signature;

-- Features that most houses want. Versions of a retailer's own replace these.
SELECT journey._invalidate('journey.vocabulary');
SELECT a.change FROM journey._apply($doc$[
{"kind": "feature", "name": "product_views_7d", "description": "Product pages seen in the last 7 days.",
 "on": "product_viewed", "aggregate": "count", "window": "7 days"},
{"kind": "feature", "name": "cart_adds_7d", "description": "Additions to a cart in the last 7 days.",
 "on": "cart_item_added", "aggregate": "count", "window": "7 days"},
{"kind": "feature", "name": "last_viewed_sku", "description": "Product seen last.",
 "on": "product_viewed", "aggregate": "last", "of": "event.sku"},
{"kind": "feature", "name": "days_since_order", "description": "Whole days since the last order was placed.",
 "on": "order_placed", "aggregate": "days_since"}
]$doc$, 'journey_owner', 'journey_owner', true, NULL) AS a;
-- orchestrate/seed.sql
INSERT INTO journey.reason_code (reason, final, meaning) VALUES
('already_enrolled', true, 'The person is on this journey under the same key already.'),
('reentry',         true,  'The person has been on this journey too short a time ago, or may enter it once only.'),
('rollout',         true,  'The person is outside the share to which the journey is rolled out.'),
('max_per_day',     true,  'As many people have entered today as the rollout allows.'),
('not_effective',   true,  'An event that must stop this journey has only just become a fence; from the next laps on people may enter.'),
('no_key',          true,  'The event does not say which cart, order or object the enrollment would be about.'),
('wrong_purpose',   true,  'The channel does not carry messages of this purpose.'),
('no_content',      true,  'The template has no content for the channel.'),
('no_channel',      true,  'There is no such channel.'),
('required',        true,  'A condition that the step requires does not hold.'),
('erased',          true,  'The person has been erased.'),
('ordered',         true,  'An order ends it: committed before the permit, with a key of this person or of the action''s cart.'),
('opted_out',       true,  'The person has withdrawn, denied or never given consent, or an address has complained.'),
('bad_address',     true,  'There is no usable address for the channel.'),
('restricted',      true,  'Processing of this person''s data is restricted, or the person has been erased.'),
('suppressed',      true,  'Somebody has suppressed the person by hand, or a rule of kind suppress or eligible refuses.'),
('vetoed',          true,  'A veto of the house or of a rule set refuses.'),
('low_confidence',  true,  'It is not sure enough who the person is.'),
('holdout',         true,  'The person is in a control group and is never contacted.'),
('superseded',      true,  'Something newer has taken its place, or another journey of the same exclusion group is acting.'),
('capped',          true,  'The person has been contacted as often as a cap allows.'),
('out_of_stock',    true,  'The product that it speaks of is not in stock.'),
('expired',         true,  'It was not sent before its not_after.'),
('too_late',        true,  'It is overdue by more than its late allows.'),
('sandbox',         true,  'The database is in sandbox mode and this is no test profile.'),
('broken',          true,  'A condition that it needs does not compile any more; journey.health names it.'),
('quiet_hours',     false, 'It is night where the person lives; it is planned for the end of the quiet hours.'),
('paused',          false, 'Its scope, journey, channel or template is paused.'),
('stale_data',      false, 'What has been observed is not fresh enough, or what may forbid it cannot be read: nobody can be sure that nothing stops it.'),
('held',            false, 'An event that may stop it waits to be judged.'),
('changed',         false, 'What it was decided on has changed; it is decided again.');

-- The house as it is shipped. Versions of a retailer's own replace these.
SELECT a.change FROM journey._apply($doc$[
{"kind": "channel", "name": "email", "mode": "push", "address": "email", "description": "Mail to the person's address.",
 "rate": {"per_second": 50, "burst": 200}, "lease": "5 minutes", "attempts": 5,
 "backoff": {"first": "1 minute", "factor": 3, "max": "2 hours"}, "on_unknown": "hold"},
{"kind": "channel", "name": "sms", "mode": "push", "address": "phone", "description": "Text message to the person's phone.",
 "rate": {"per_second": 10, "burst": 20}, "lease": "2 minutes", "attempts": 3,
 "backoff": {"first": "1 minute", "factor": 2, "max": "30 minutes"}, "on_unknown": "drop"},
{"kind": "channel", "name": "push", "mode": "push", "address": "push", "description": "Notification on the person's device.",
 "rate": {"per_second": 200, "burst": 1000}, "lease": "2 minutes", "attempts": 3,
 "backoff": {"first": "30 seconds", "factor": 2, "max": "15 minutes"}, "on_unknown": "drop"},
{"kind": "channel", "name": "onsite", "mode": "pull", "description": "Content that a page of the shop asks for; shown is sent.",
 "lease": "1 minute", "attempts": 1, "on_unknown": "drop"},
{"kind": "channel", "name": "retargeting", "mode": "state", "address": "email", "purposes": ["marketing"], "description": "Membership of advertising audiences.",
 "rate": {"per_second": 20, "burst": 100}, "lease": "10 minutes", "attempts": 10,
 "backoff": {"first": "1 minute", "factor": 2, "max": "6 hours"}, "on_unknown": "retry"},
{"kind": "channel", "name": "webhook", "mode": "ops", "description": "A call to another system of the house.",
 "rate": {"per_second": 50, "burst": 100}, "lease": "1 minute", "attempts": 10,
 "backoff": {"first": "10 seconds", "factor": 3, "max": "6 hours"}, "on_unknown": "retry"},
{"kind": "channel", "name": "task", "mode": "ops", "description": "Work for a person of the house.",
 "lease": "10 minutes", "attempts": 5, "on_unknown": "retry"},
{"kind": "channel", "name": "generate", "mode": "ops", "description": "Requests for drafts to a generative model outside the database.",
 "lease": "5 minutes", "attempts": 3, "on_unknown": "retry"},
{"kind": "channel", "name": "ops", "mode": "ops", "description": "Notices to whoever runs the shop.",
 "lease": "5 minutes", "attempts": 10, "on_unknown": "retry"},
{"kind": "policy", "name": "house", "description": "Nobody gets more than three marketing messages a day.", "zone": "UTC",
 "caps": [{"scope": "house", "channel": "*", "max": 3, "per": "1 day", "window": "calendar", "otherwise": "drop"}],
 "fences_cross_scopes": false, "caps_cross_scopes": false},
{"kind": "rule_set", "name": "stages", "description": "How a person moves through the seven stages.",
 "rules": [
  {"kind": "stage", "priority": 90, "on": "order_placed", "to": "fulfillment", "from": ["awareness", "consideration", "purchase", "post_purchase", "loyalty", "win_back"], "reason": "ordered"},
  {"kind": "stage", "priority": 80, "on": ["shipment_delivered", "picked_up"], "from": "fulfillment", "to": "post_purchase", "reason": "delivered"},
  {"kind": "stage", "priority": 80, "on": ["order_cancelled", "order_refunded"], "from": "fulfillment", "to": "consideration", "reason": "order_ended"},
  {"kind": "stage", "priority": 70, "on": ["cart_item_added", "checkout_started", "checkout_step_viewed", "payment_failed"], "from": ["awareness", "consideration", "post_purchase", "loyalty", "win_back"], "to": "purchase", "reason": "cart"},
  {"kind": "stage", "priority": 60, "on": ["points_earned", "points_redeemed", "tier_changed", "reward_issued", "reward_redeemed", "subscription_started", "subscription_renewed"], "from": "post_purchase", "to": "loyalty", "reason": "loyal"},
  {"kind": "stage", "priority": 50, "on": "subscription_cancelled", "from": ["post_purchase", "loyalty"], "to": "win_back", "reason": "cancelled"},
  {"kind": "stage", "priority": 40, "on": ["product_viewed", "product_engaged", "list_viewed", "searched", "wishlist_added", "recommendation_clicked"], "from": ["awareness", "win_back"], "to": "consideration", "reason": "browsed"}
 ]}
]$doc$, 'journey_owner', 'journey_owner', true, NULL) AS a;
-- deliver/seed.sql
INSERT INTO journey.reason_code (reason, final, meaning) VALUES
('stale_token',      true,  'The lease is over, or another sender has it, or the permit was given before: this sender must not send.'),
('unknown',          true,  'Nobody knows whether it was sent.'),
('other',            true,  'Attempts failed and are used up, or the sender gave it up.'),
('content_rejected', true,  'The provider refuses the content.'),
('rate_limited',     false, 'The provider asks to slow down; no attempt was taken.'),
('provider_down',    false, 'The provider cannot be reached; no attempt was taken.'),
('requeued',         false, 'Somebody brought it back from the dead letters.');
$jny_seed$
        WHEN 'grants' THEN $jny_grants$
GRANT SELECT ON journey.document TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.reason_code TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.health TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.stat_progress TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.stat_worker TO journey_admin, journey_monitor;
GRANT SELECT ON journey.vocabulary TO journey_author, journey_approver, journey_admin, journey_analyst;
GRANT SELECT ON journey.allowed_function TO journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.enrollment TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.transition TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.timer TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.decision TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.stage_transition TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.journey_day TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.exposure TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.conversion TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.outbox TO journey_analyst, journey_admin;
GRANT SELECT ON journey.outbox_history TO journey_analyst, journey_admin;
GRANT SELECT ON journey.dead_letter TO journey_analyst, journey_admin;
GRANT SELECT ON journey.attempt_log TO journey_analyst, journey_admin;
GRANT SELECT ON journey.permit_batch TO journey_analyst, journey_admin;
GRANT SELECT ON journey.channel_state TO journey_analyst, journey_admin;
GRANT SELECT ON journey.event_type TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.source TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.source_of_truth TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.system TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.namespace TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT SELECT ON journey.attachment TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.incident TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.pause TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT SELECT ON journey.cart TO journey_analyst, journey_admin;
GRANT SELECT ON journey.cart_line TO journey_analyst, journey_admin;
GRANT SELECT ON journey.orders TO journey_analyst, journey_admin;
GRANT SELECT ON journey.order_line TO journey_analyst, journey_admin;
GRANT SELECT ON journey.product TO journey_analyst, journey_admin;
GRANT SELECT ON journey.profile_state TO journey_analyst, journey_admin;
GRANT SELECT ON journey.suppression TO journey_analyst, journey_admin;
GRANT SELECT ON journey.message TO journey_analyst, journey_admin;
GRANT SELECT ON journey.message_event TO journey_analyst, journey_admin;
GRANT SELECT ON journey.consent TO journey_analyst, journey_admin;
GRANT SELECT ON journey.profile TO journey_admin;
GRANT SELECT ON journey.test_profile TO journey_admin;
GRANT SELECT ON journey.identity TO journey_admin;
GRANT SELECT ON journey.profile_link TO journey_admin;
GRANT SELECT ON journey.contact_point TO journey_admin;
GRANT SELECT ON journey.consent_history TO journey_admin;
GRANT SELECT ON journey.event TO journey_admin;
GRANT SELECT ON journey.quarantine TO journey_admin;
GRANT SELECT ON journey.early_message TO journey_admin;
GRANT SELECT ON journey.early_opt_out TO journey_admin;
GRANT SELECT ON journey.incarnation TO journey_admin;
GRANT SELECT ON journey.schema_version TO journey_admin;
$jny_grants$
    END;
END
$jny_ddl$;
COMMENT ON FUNCTION journey._ddl(text) IS
    'Statements that install() and migrate() run: part tables, views, seed or grants; null for another part.';

-- Nobody but the roles named in the grants table may do anything.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journey FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA journey FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA journey FROM PUBLIC;
REVOKE ALL ON SCHEMA journey FROM PUBLIC;
GRANT USAGE ON SCHEMA journey TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey.json_schema() TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.lint(jsonb, boolean) TO journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.plan(jsonb) TO journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.apply(jsonb, text) TO journey_author, journey_admin;
GRANT EXECUTE ON FUNCTION journey.activate(text, text, integer) TO journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.export(text, text) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.export_all() TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.retire(text, text) TO journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.clock() TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey.mode() TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey.hash64(bytea, bigint) TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.key_hash(text, text) TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.normalise(text, text) TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.bucket(uuid) TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.assign(text, uuid) TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.uuid_v7() TO journey_app, journey_sender, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.install() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.migrate() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.uninstall(text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.adopt() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.run_once(integer) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.run_until_idle() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.set_clock(timestamptz) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.discard_test() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.resume(text, interval) TO journey_admin, journey_approver;
GRANT EXECUTE ON FUNCTION journey.sandbox() TO journey_admin, journey_approver;
GRANT EXECUTE ON FUNCTION journey.pause(text, text, text) TO journey_admin, journey_approver;
GRANT EXECUTE ON FUNCTION journey.unpause(text, text, text, interval) TO journey_admin, journey_approver;
GRANT EXECUTE ON FUNCTION journey.resolve_incident(text, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._health() TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey._progress() TO journey_analyst, journey_author, journey_approver, journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey._workers() TO journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey.track(text, text, jsonb, jsonb, timestamptz, text) TO journey_app, journey_admin;
GRANT EXECUTE ON FUNCTION journey.ingest(jsonb) TO journey_app, journey_admin;
GRANT EXECUTE ON FUNCTION journey.replay_quarantine(text, text) TO journey_admin;
GRANT INSERT (source, type, occurred_at, message_id, subject, props) ON journey.inbox_copy TO journey_app;
GRANT EXECUTE ON FUNCTION journey._next_seq() TO journey_app;
GRANT EXECUTE ON FUNCTION journey.check_rule(text) TO journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.explain_rule(text, jsonb, jsonb) TO journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.define_name(text, text, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.allow_function(regprocedure) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.disallow_function(text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.features(jsonb) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.attach(regclass, text, jsonb, boolean, boolean) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.detach(regclass, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.detach(text, text, name[]) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.reconcile(regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._capture() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._nearest(text, text[]) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_fields(text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_kinds() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_values(text, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_usual_values(text, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._column_text(regclass, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._rel_columns(regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_guess(regclass, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_columns(jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_check_field(regclass, text, text, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_check_consents(regclass, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_check_names(regclass, text, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_check(regclass, text, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_register(regclass, text, text, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_unregister(integer) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._captures() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_follow() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attached(regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._reconcile(integer) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._backfill_start(integer, regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._leaves_known(integer) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._watch_truncate() TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_parts(regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._detach(integer[], text, text, regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._short_lock(regclass, text[]) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_refuse(regclass, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_counts(regclass, text, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_nulls(regclass, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_describe(regclass, text, jsonb) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_readable(regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey._attach_unreadable(regclass) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.check_invariants() TO journey_analyst, journey_admin, journey_monitor;
GRANT EXECUTE ON FUNCTION journey.preview(text, jsonb, timestamptz) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.event_usage() TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.readiness() TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.why(uuid) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.why(text) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.why(jsonb, text) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.why_not(jsonb, text) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.contacts(jsonb, timestamptz, timestamptz) TO journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.claim(text, integer, interval, text, interval) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.begin_send(uuid, bigint) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.begin_send(uuid[], bigint[]) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.claim_and_begin(text, integer, interval, text) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.next_due(text) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.ack(uuid, bigint, text, numeric) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.ack(uuid[], bigint[], text[], numeric[]) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.fail(uuid, bigint, text, boolean, text, interval) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.fail(uuid[], bigint[], text, boolean, text, interval) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.unknown(uuid, bigint, text) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.unknown(uuid[], bigint[], text) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.extend(uuid, bigint, interval) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.extend(uuid[], bigint[], interval) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.release(uuid[], bigint[]) TO journey_sender;
GRANT EXECUTE ON FUNCTION journey.resolve(uuid, text, text) TO journey_sender, journey_admin;
GRANT EXECUTE ON FUNCTION journey.requeue(uuid[]) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.profile_id(jsonb, text) TO journey_app, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.stage(jsonb) TO journey_app, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.mark_test(jsonb, boolean) TO journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.declare_truth(text, text) TO journey_admin;
GRANT EXECUTE ON FUNCTION journey.unsubscribe(text, text) TO journey_app, journey_sender, journey_admin;
GRANT EXECUTE ON FUNCTION journey.preferences(text) TO journey_app, journey_sender, journey_admin;
GRANT EXECUTE ON FUNCTION journey.set_preferences(text, jsonb) TO journey_app, journey_sender, journey_admin;
GRANT EXECUTE ON FUNCTION journey.suppress(jsonb, text, text, timestamptz) TO journey_app, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.unsuppress(jsonb, text) TO journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.stages(jsonb) TO journey_app, journey_analyst, journey_author, journey_approver, journey_admin;
GRANT EXECUTE ON FUNCTION journey.maintain() TO journey_admin;
GRANT SELECT ON journey.fenced_type TO journey_analyst, journey_admin;

-- Members belong to the extension's own role: entry points that are SECURITY
-- DEFINER run as it, and it is no superuser.
DO $owner$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT p.oid::pg_catalog.regprocedure AS what
        FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'journey'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s OWNER TO journey_owner', r.what);
    END LOOP;
    FOR r IN
        SELECT c.oid::pg_catalog.regclass AS what, c.relkind
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'journey'::pg_catalog.regnamespace
          AND c.relkind IN ('r', 'S', 'v')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                            AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO journey_owner',
                                  CASE r.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
                                  r.what);
    END LOOP;
END
$owner$;
ALTER SCHEMA journey OWNER TO journey_owner;
