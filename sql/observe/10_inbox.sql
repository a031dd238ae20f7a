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
