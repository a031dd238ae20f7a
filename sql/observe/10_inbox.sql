-- Node-local and never dumped: transaction ids mean nothing in another cluster.

CREATE SEQUENCE journey.inbox_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE journey.inbox_seq IS
    'Order of capture on this node: rows of one object get it under the shop''s own row lock, so it is their true order.';

CREATE TABLE journey.inbox_0 (
    seq bigint NOT NULL DEFAULT pg_catalog.nextval('journey.inbox_seq'),
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
) WITH (autovacuum_enabled = on, vacuum_truncate = off, toast.vacuum_truncate = off);
CREATE INDEX inbox_0_xact ON journey.inbox_0 (xact);
CREATE INDEX inbox_0_fence ON journey.inbox_0 (xact) WHERE fence IS NOT NULL;
CREATE TABLE journey.inbox_1 (LIKE journey.inbox_0 INCLUDING ALL);
CREATE TABLE journey.inbox_2 (LIKE journey.inbox_0 INCLUDING ALL);
-- Bulk loads: COPY journey.inbox_copy (source, type, occurred_at, message_id, subject, props).
CREATE TABLE journey.inbox_copy (LIKE journey.inbox_0 INCLUDING ALL);

-- Which generation writers use now; read with the newest snapshot, and allowed to be stale.
CREATE TABLE journey.inbox_pointer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation integer NOT NULL DEFAULT 0,
    rotated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
INSERT INTO journey.inbox_pointer DEFAULT VALUES;

-- Event types that stop actions; the trigger and track() mark their rows.
CREATE TABLE journey.fenced_type (
    type text PRIMARY KEY,
    seen_xid xid8          -- first snapshot's xmax of the worker that saw the type; null = not yet seen, or always fenced
);

-- How far the inbox has been consumed: (previous snapshot, frozen window, last seq applied in it).
CREATE TABLE journey.cursor (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    incarnation integer NOT NULL DEFAULT 0,
    previous pg_snapshot,
    window_snapshot pg_snapshot,  -- null = no open window
    window_seq bigint NOT NULL DEFAULT 0,
    applied_seq bigint NOT NULL DEFAULT 0, -- greatest seq ever applied
    lap bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp() -- real time of the last complete window
) WITH (fillfactor = 20);
INSERT INTO journey.cursor DEFAULT VALUES;
