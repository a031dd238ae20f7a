-- health: each topic appears when there is cause, and goes when it is mended.
-- Silent sources are in observe_sources, unknown outcomes in orchestrate_unknown,
-- back-fills in observe_attach, rotation in specs/inbox_rotation, a worker that
-- runs in t/002_worker.
-- What would break if this failed: something is wrong and nobody is told.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(35);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql
CREATE FUNCTION pg_temp.health(wanted text) RETURNS SETOF text LANGUAGE sql AS
    $$ SELECT concat_ws(': ', status, detail, hint) FROM journey.health WHERE topic = wanted $$;
SELECT set_eq('SELECT topic FROM journey.health', '{mode,worker,inbox,quarantine,dead letters,unknown outcomes}'::text[], 'these have a row always');
SELECT is((SELECT string_agg(topic, ' ') FROM journey.health WHERE status <> 'ok'), 'worker', 'and are well, but for the worker');

-- mode
SELECT is(pg_temp.health('mode'), 'ok: test', 'mode');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE journey.node SET incarnation = 0;
SELECT matches(pg_temp.health('mode'), '^warning: off: .*journey\.adopt\(\)', 'a copy');
ROLLBACK;
SELECT is(pg_temp.health('mode'), 'ok: test', 'and back');

-- worker: this server's is turned off
SELECT matches(pg_temp.health('worker'), '^error: no worker is running: journey.worker is off: Turn journey\.worker on .*reload.*journey\.run_once\(\)\.$', 'worker');

-- inbox
SELECT matches(pg_temp.health('inbox'), '^ok: 0 events wait', 'inbox');
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "h"}', '{"sku": "J1"}');
SELECT matches(pg_temp.health('inbox'), '^ok: 1 events wait, the oldest for 00:00:0', 'one waits');
UPDATE journey.inbox_0 SET received_at = received_at - interval '1 hour';
SELECT matches(pg_temp.health('inbox'), '^error: 1 events wait, the oldest for 01:00:.*stale_data.*run_once', 'for too long');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT matches(pg_temp.health('inbox'), '^warning: not read at isolation level SERIALIZABLE: .*READ COMMITTED', 'not at SERIALIZABLE');
COMMIT;
SELECT journey.run_until_idle() \g /dev/null
SELECT matches(pg_temp.health('inbox'), '^ok: 0 events wait', 'until a lap has consumed it');

-- attachments that do not fit, and their incidents
CREATE TABLE shop_order (id integer PRIMARY KEY, customer text, status text);
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \gset
SELECT is_empty($$SELECT pg_temp.health('attachment')$$, 'attached, and well');
ALTER TABLE shop_order RENAME status TO state;
INSERT INTO shop_order VALUES (1, 'h', 'placed');
SELECT journey.run_until_idle() \g /dev/null
SELECT matches(pg_temp.health('attachment'), '^error: public\.shop_order as order: mapped columns are missing: status: .*journey\.detach\(''public\.shop_order''\)', 'a map that does not fit');
SELECT matches(pg_temp.health('incident'), '^error: mapping_broken public\.shop_order', 'and the incident');
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "state"}') \gset
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT pg_temp.health('attachment')$$, 'attached again');
SELECT journey.resolve_incident(kind, name) FROM journey.incident WHERE resolved_at IS NULL \g /dev/null
SELECT is_empty($$SELECT pg_temp.health('incident')$$, 'and resolved');

-- quarantine
SELECT is(pg_temp.health('quarantine'), 'ok: 0 messages set aside', 'quarantine');
SELECT accepted FROM journey.ingest('{"type": 5}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT matches(pg_temp.health('quarantine'), '^warning: 1 messages set aside: .*replay_quarantine\(\)\.$', 'a message that cannot be read');
UPDATE journey.quarantine SET replayed_at = now();
SELECT is(pg_temp.health('quarantine'), 'ok: 0 messages set aside', 'until it is replayed');

-- dead letters
SELECT is(pg_temp.health('dead letters'), 'ok: 0 in the last day', 'dead letters');
SELECT pg_temp.action('D1') AS a \gset
SELECT token AS t FROM journey.claim('email', 10) WHERE action_id = :'a' \gset
SELECT granted FROM journey.begin_send(:'a', :t) \g /dev/null
SELECT journey.fail(:'a', :t, 'no', false, 'content_rejected') \g /dev/null
SELECT matches(pg_temp.health('dead letters'), '^warning: 1 in the last day: .*journey\.requeue\(\)', 'one');
SELECT journey.requeue(ARRAY[:'a'::uuid]) \g /dev/null
SELECT is(pg_temp.health('dead letters'), 'ok: 0 in the last day', 'until it is brought back');

-- pauses
SELECT is_empty($$SELECT pg_temp.health('pause')$$, 'nothing is paused');
SELECT journey.pause('channel', 'email', 'too loud') \g /dev/null
SELECT matches(pg_temp.health('pause'), '^warning: channel email since .*: too loud: SELECT journey\.unpause\(''channel'', ''email''\);$', 'a pause');
SELECT hint AS mend FROM journey.health WHERE topic = 'pause' \gexec
SELECT is_empty($$SELECT pg_temp.health('pause')$$, 'the hint ends it');
SELECT journey.pause() \g /dev/null
SELECT matches(pg_temp.health('pause'), '^warning: everything since .*: no reason given: SELECT journey\.unpause\(\);$', 'a pause of everything');
SELECT hint AS mend FROM journey.health WHERE topic = 'pause' \gexec
SELECT is_empty($$SELECT pg_temp.health('pause')$$, 'the hint ends it');
-- as after pg_restore --no-owner
ALTER VIEW journey.dead_letter OWNER TO postgres;
SELECT is(pg_temp.health('tables'), 'warning: the view journey.dead_letter belongs to postgres, not to journey_owner: it reads with the rights of postgres, and migrate() refuses beside it: ALTER VIEW journey.dead_letter OWNER TO journey_owner;', 'a view of ours that is another''s');
SELECT hint AS mend FROM journey.health WHERE topic = 'tables' \gexec
SELECT is_empty($$SELECT pg_temp.health('tables')$$, 'the hint mends it');

-- publications
SELECT is_empty($$SELECT pg_temp.health('publication')$$, 'nothing is published');
CREATE PUBLICATION part FOR TABLE shop_order, journey.decision;
SELECT is_empty($$SELECT pg_temp.health('publication')$$, 'tables of the shop, and what was decided, may be');
ALTER PUBLICATION part ADD TABLE journey.inbox_0, journey.cursor;
CREATE PUBLICATION here FOR TABLES IN SCHEMA journey;
CREATE PUBLICATION everything FOR ALL TABLES;
SELECT matches(string_agg(h, E'\n'), E'^warning: publication everything carries every table, the inbox included: Name the tables.*'
       '\nwarning: publication here carries .*journey\.inbox_0.*: Name the tables.*'
       '\nwarning: publication part carries tables that belong to this node: journey\.cursor, journey\.inbox_0: ALTER PUBLICATION part DROP TABLE journey\.cursor, journey\.inbox_0; .*', 'all of it, a schema, a table')
    FROM pg_temp.health('publication') h;
DROP PUBLICATION everything, here;
ALTER PUBLICATION part DROP TABLE journey.cursor, journey.inbox_0;
SELECT is_empty($$SELECT pg_temp.health('publication')$$, 'until they are taken out');

SELECT is((SELECT string_agg(topic, ' ') FROM journey.health WHERE status <> 'ok'), 'worker', 'all is well again');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
