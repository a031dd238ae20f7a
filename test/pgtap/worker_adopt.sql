-- A table that adopt() could not read may hold the order of somebody whose reminder waits:
-- nobody is contacted before it has been read, or given up by name.
-- What would break if this failed: a restored shop that mails people who have bought.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(18);
\ir ../lib/deliver.sql

CREATE FUNCTION pg_temp.permit(a uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT b.* INTO r FROM journey.claim('email', 100) AS c, journey.begin_send(c.action_id, c.token) AS b WHERE c.action_id = a;
    RETURN CASE WHEN r IS NULL THEN 'not claimed' WHEN r.granted THEN 'granted' ELSE r.reason END;
END $$;
\ir ../lib/said.sql

CREATE ROLE adopt_shop;
CREATE TABLE shop_order (id integer PRIMARY KEY, customer text, status text);
CREATE TABLE shop_other (LIKE shop_order INCLUDING ALL);
ALTER TABLE shop_order OWNER TO adopt_shop;
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \gset
SELECT count(*) AS n FROM journey.attach('shop_other', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \gset
SELECT journey.run_until_idle() \g /dev/null
-- as in a restored copy: the order is in the table, its event in no inbox
ALTER TABLE shop_order DISABLE TRIGGER USER;
INSERT INTO shop_order VALUES (1, 'A1', 'placed');
ALTER TABLE shop_order ENABLE ALWAYS TRIGGER journey_capture_order;
SELECT pg_temp.action('A1') AS a \gset

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT matches(pg_temp.said('SELECT * FROM journey.adopt()'), '^25001\s.*READ COMMITTED', 'adopt() does not run at a level at which it could not read the tables');
ROLLBACK;

REVOKE SELECT ON shop_order FROM adopt_shop;
DROP TABLE shop_other;
SELECT results_eq('SELECT name, value FROM journey.adopt() WHERE name LIKE ''public%'' ORDER BY 1',
    $$VALUES ('public.shop_order', 'not reconciled: permission denied for table shop_order (42501)'),
             ('public.shop_other', 'not reconciled: the table or its capture trigger is gone (42P01)')$$, 'it says what it could not read');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.health WHERE topic = 'incident' AND detail LIKE 'reconcile_failed%'), 2::bigint, 'health, too');
SELECT matches(pg_temp.said('SELECT journey.resume()'), '^55000\s.*public\.shop_order order.*public\.shop_other order.*reconcile.*detach', 'until then no going live');
SELECT matches(pg_temp.said('SELECT journey.sandbox()'), '^55000\s.*public\.shop_order order.*reconcile', 'nor into the sandbox');
SELECT is(journey.mode(), 'off', 'and it is still off');
SELECT throws_ok($$SELECT journey.reconcile('shop_order')$$, '42501', NULL, 'reading again what may not be read');
SELECT throws_ok('SELECT journey.resume()', '55000', NULL, 'changes nothing');

SELECT count(*) AS n FROM journey.detach('shop_other') \gset
SELECT results_eq('SELECT name FROM journey.incident WHERE resolved_at IS NULL', $$VALUES ('public.shop_order order')$$, 'what is given up by name stops nothing any more');
GRANT SELECT ON shop_order TO adopt_shop;
SELECT count(*) AS n FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}', backfill => false) \gset
SELECT throws_ok('SELECT journey.resume()', '55000', NULL, 'attaching again without reading does not do either');
SELECT is((SELECT appended FROM journey.reconcile('shop_order')), 1::bigint, 'it is read again');
SELECT is_empty('SELECT * FROM journey.incident WHERE resolved_at IS NULL', 'which closes the incident');
SELECT lives_ok($$SELECT journey.resume('as-is')$$, 'and resume() goes live');
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'before a lap has consumed what was read, the reminder waits');
SELECT journey.run_until_idle() \g /dev/null
UPDATE journey.outbox SET claim_at = now();
SELECT pg_temp.permit(:'a') \g /dev/null
SELECT is((SELECT status || ' ' || reason FROM journey.outbox_history), 'refused ordered', 'and then it is ended by the order');

-- mode off again, by adoption; now everything can be read
SELECT is((SELECT value FROM journey.adopt() WHERE name = 'public.shop_order'), '0 rows as order', 'adopted again: nothing is missing');
-- somebody had asked to be erased when the dump was taken: the transactions of this cluster have other numbers
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "dora"}', '{"sku": "J1"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.erase('{"customer_id": "dora"}') \g /dev/null
UPDATE journey.person_wish SET xact = '99999999999';
SELECT count(*) AS n FROM journey.adopt() \gset
SELECT journey.run_once() \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT pg_sleep(0.2) \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT is(journey.profile_id('{"customer_id": "dora"}'), NULL, 'the restored copy forgets them');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
