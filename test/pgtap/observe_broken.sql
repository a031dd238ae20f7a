-- A mapping that no longer fits, and a capture trigger that somebody turned
-- off: the shop goes on, permits that an order could end wait until it is
-- mended, before and after the worker has consumed the wildcard.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(17);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql

CREATE FUNCTION pg_temp.permit(a uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT b.* INTO r FROM journey.claim('email', 100) AS c, journey.begin_send(c.action_id, c.token) AS b WHERE c.action_id = a;
    RETURN CASE WHEN r IS NULL THEN 'not claimed' WHEN r.granted THEN 'granted' ELSE r.reason END;
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

ALTER TABLE shop_order DISABLE TRIGGER USER;
SELECT journey._maintain() \g /dev/null
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'capture_disabled' AND resolved_at IS NULL), 1::bigint, 'a trigger that was turned off is found by maintenance');
SELECT pg_temp.action('B4') AS d \gset
SELECT isnt(pg_temp.permit(:'d'), 'granted', 'while it is off nothing is sent');
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "state"}') \gset
SELECT is(pg_temp.permit(:'d'), 'granted', 'attach turns it on again');
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
