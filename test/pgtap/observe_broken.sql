-- A mapping that no longer fits, and a capture trigger that somebody turned
-- off: the shop goes on, permits that an order could end wait until it is
-- mended, before and after the worker has consumed the wildcard.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(23);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql

CREATE FUNCTION pg_temp.permit(a uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT b.* INTO r FROM journey.claim('email', 100) AS c, journey.begin_send(c.action_id, c.token) AS b WHERE c.action_id = a;
    RETURN CASE WHEN r IS NULL THEN 'not claimed' WHEN r.granted THEN 'granted' ELSE r.reason END;
END $$;

-- of all that is claimed, what became of these two
CREATE FUNCTION pg_temp.permits(a uuid, b uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT jsonb_object_agg(c.action_id, CASE WHEN x.granted THEN 'granted' ELSE x.reason END) INTO said
    FROM journey.claim('email', 100) AS c, journey.begin_send(c.action_id, c.token) AS x;
    -- the claim itself ends what no permit would be given for
    said := COALESCE(said, '{}') || COALESCE((SELECT jsonb_object_agg(h.action_id, h.reason) FROM journey.outbox_history h
                                              WHERE h.action_id IN (a, b) AND h.reason IS NOT NULL), '{}');
    RETURN concat_ws(', ', COALESCE(said ->> a::text, 'not claimed'), COALESCE(said ->> b::text, 'not claimed'));
END $$;

CREATE TABLE shop_order (id integer PRIMARY KEY, customer text, status text);
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \gset
SELECT journey.run_until_idle() \g /dev/null
ALTER TABLE shop_order RENAME status TO state;
SELECT pg_temp.action('B1') AS a \gset
SELECT lives_ok($$INSERT INTO shop_order VALUES (1, 'B1', 'placed')$$, 'a renamed column does not fail the order');
SELECT isnt(pg_temp.permit(:'a'), 'granted', 'nothing is sent while the wildcard stands');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT broken FROM journey.attachment), 'mapped columns are missing: status', 'the lap that consumes it notes what is broken');
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'mapping_broken' AND resolved_at IS NULL), 1::bigint, 'and opens an incident');
SELECT isnt(pg_temp.permit(:'a'), 'granted', 'nothing is sent after it was consumed either');
SELECT pg_temp.action('B2', purpose => 'transactional', suppress_on => '[]') AS b \gset
SELECT is(pg_temp.permit(:'b'), 'granted', 'but what no order could end');
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "state"}') \gset
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.attachment WHERE broken IS NOT NULL AND detached_at IS NULL), 0::bigint, 'attached again, it fits');
SELECT pg_temp.action('B3') AS c \gset
SELECT is(pg_temp.permit(:'c'), 'granted', 'and sending goes on');

SELECT pg_temp.action('B4') AS d \gset
SELECT action_id AS held, token FROM journey.claim('email', 100) \gset
SELECT pg_temp.action('C1') AS missed \gset
-- a trigger that somebody else turns off: the next lap looks, and laps look at no other time
SET track_functions = 'all';
CREATE FUNCTION pg_temp.checks() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN COALESCE((SELECT calls FROM pg_stat_user_functions WHERE schemaname = 'journey' AND funcname = '_check_attachments'), 0);
END $$;
SELECT journey.run_once() \g /dev/null
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT pg_temp.checks() AS checks \gset
SELECT journey.run_once() \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT is(pg_temp.checks(), :checks::bigint, 'laps between which nothing happened to the table do not look');
RESET track_functions;
CREATE EXTENSION IF NOT EXISTS dblink;
\set pw `echo "$PGPASSWORD"`
SELECT dblink_connect('other', format('dbname=%s host=%s port=%s user=%s password=%s', current_database(),
    :'HOST', :'PORT', :'USER', COALESCE(NULLIF(:'pw', ''), 'x'))) \g /dev/null
SELECT dblink_exec('other', 'ALTER TABLE shop_order DISABLE TRIGGER USER') \g /dev/null
BEGIN; SELECT journey.run_once() \g /dev/null
ROLLBACK;
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'capture_disabled' AND resolved_at IS NULL), 0::bigint, 'a lap that is rolled back has not looked');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'capture_disabled' AND resolved_at IS NULL), 1::bigint, 'the next one finds a trigger that was turned off');
SELECT is((SELECT reason FROM journey.begin_send(:'held', :token)), 'stale_data', 'while it is off nothing is sent');
INSERT INTO shop_order VALUES (2, 'C1', 'placed');
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "state"}') \gset
UPDATE journey.outbox SET claim_at = journey.clock();
SELECT is(pg_temp.permits(:'missed', :'d'), 'not claimed, not claimed', 'attached again: until what it read has been consumed nothing is sent');
SELECT journey.run_until_idle() \g /dev/null
UPDATE journey.outbox SET claim_at = journey.clock();
SELECT is(pg_temp.permits(:'missed', :'d'), 'ordered, granted', 'then the order of meanwhile stops its reminder, and no other');
-- attached in this moment, known to no lap
SELECT dblink_exec('other', 'CREATE TABLE shop_cart (id integer PRIMARY KEY, customer text)') \g /dev/null
SELECT * FROM dblink('other', $$SELECT count(*) FROM journey.attach('shop_cart', 'cart', '{"key": "id", "subject": {"customer_id": "customer"}}')$$) AS t(n bigint) \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT dblink_exec('other', 'DROP TRIGGER journey_capture_cart ON shop_cart') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT broken FROM journey.attachment WHERE rel_name = 'shop_cart'), 'the capture trigger is gone', 'so is that of a table that was attached meanwhile');
SELECT journey.detach('shop_cart') \g /dev/null
-- what laps read and roll back is not their look
CREATE TABLE shop_stock (sku text PRIMARY KEY, n integer);
INSERT INTO shop_stock VALUES ('A', 1);
SELECT journey.attach('shop_stock', 'stock', '{"sku": "sku", "available": "n"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SET track_functions = 'all';
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT pg_temp.checks() AS checks \gset
ALTER TABLE shop_stock ALTER n SET STATISTICS 50;
UPDATE shop_stock SET n = 2; SELECT journey.run_once() \g /dev/null
UPDATE shop_stock SET n = 3; SELECT journey.run_once() \g /dev/null
UPDATE shop_stock SET n = 4; SELECT journey.run_once() \g /dev/null
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT is(pg_temp.checks() - :checks, 1::bigint, 'the lap behind a change of a table looks, those that read stock after it do not');
RESET track_functions;
SELECT journey.detach('shop_stock') \g /dev/null
-- a session whose first looks fail
SELECT dblink_connect('late', format('dbname=%s host=%s port=%s user=%s password=%s', current_database(),
    :'HOST', :'PORT', :'USER', COALESCE(NULLIF(:'pw', ''), 'x'))) \g /dev/null
ALTER FUNCTION journey._captures() RENAME TO _captures_aside;
DO $$ BEGIN FOR i IN 1..12 LOOP PERFORM dblink_exec('late', 'DO $x$ BEGIN PERFORM journey.run_once(); END $x$', false); END LOOP; END $$;
ALTER FUNCTION journey._captures_aside() RENAME TO _captures;
SELECT lives_ok($$SELECT dblink_exec('late', 'DO $x$ BEGIN PERFORM journey.run_once(); END $x$')$$, 'looks again once it can');
SELECT dblink_disconnect('late') \g /dev/null
SELECT dblink_disconnect('other') \g /dev/null
SELECT is_empty('SELECT * FROM journey._check_attachments()', 'nothing is wrong any more');

-- a table that is dropped stops them, too, until somebody says that it is gone for good
DROP TABLE shop_order;
SELECT journey._maintain() \g /dev/null
SELECT pg_temp.action('B5') AS e \gset
SELECT isnt(pg_temp.permit(:'e'), 'granted', 'a dropped table stops what its orders could have ended');
SELECT is(pg_temp.permit(pg_temp.action('B6', purpose => 'transactional', suppress_on => '[]')), 'granted', 'and nothing else');
SELECT is((SELECT count(*) FROM journey.detach('public.shop_order')), 1::bigint, 'it is detached by its name');
SELECT journey.set_clock(journey.clock() + interval '2 seconds') \gset
SELECT is(pg_temp.permit(:'e'), 'granted', 'and sending goes on');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
