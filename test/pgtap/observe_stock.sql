-- Stock in several places: what is available is the sum over them, for rules,
-- decisions and permits alike, whichever row was written last.
-- mission: 15
\set QUIET on
SET client_min_messages = warning;
SELECT plan(25);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\ir ../lib/deliver.sql

CREATE FUNCTION pg_temp.known(wanted text) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.run_until_idle();
    RETURN (SELECT p.available FROM journey.product p WHERE p.sku = wanted);
END $$;

CREATE TABLE levels (sku text, location text, on_hand int, PRIMARY KEY (sku, location));
INSERT INTO levels VALUES ('J1', 'main', 50), ('J1', 'outlet', 0);
SELECT journey.attach('levels', 'stock', '{"sku": "sku", "available": "on_hand"}') \g /dev/null
SELECT is(pg_temp.known('J1'), 50::numeric, 'the sum, not the row that was read last');
UPDATE levels SET on_hand = 3 WHERE location = 'outlet';
SELECT is(pg_temp.known('J1'), 53::numeric, 'an update of one row');
DELETE FROM levels WHERE location = 'outlet';
SELECT is(pg_temp.known('J1'), 50::numeric, 'a deleted row takes its own part with it');
INSERT INTO levels VALUES ('J1', 'outlet', 0), ('J2', 'main', 0), ('J2', 'outlet', 7);
SELECT is(pg_temp.known('J1'), 50::numeric, 'a new place without any');
SELECT is(pg_temp.known('J2'), 7::numeric, 'one of which the first row says none');
SELECT journey.reconcile('levels') \g /dev/null
SELECT is(pg_temp.known('J1'), 50::numeric, 'reconcile');

-- a send that requires it
SELECT pg_temp.person('p1') \g /dev/null
SELECT is((SELECT count(*) FROM journey.claim('email', 100)), 0::bigint, 'nothing is due yet');
SELECT pg_temp.action('p1', stock_sku => ARRAY['J1'], suppress_on => '[]') AS a \gset
SELECT is((SELECT x.granted FROM journey.claim('email', 100) c, journey.begin_send(c.action_id, c.token) x WHERE c.action_id = :'a'), true, 'the permit sees the goods of the other place');
CREATE TABLE outlets (sku text PRIMARY KEY, on_hand int);
INSERT INTO outlets VALUES ('J1', 0);
SELECT journey.attach('outlets', 'stock', '{"sku": "sku", "available": "on_hand"}') \g /dev/null
SELECT is(pg_temp.known('J1'), 50::numeric, 'a second table adds to the first');
SELECT pg_temp.action('p1', stock_sku => ARRAY['J1'], suppress_on => '[]') AS b \gset
SELECT is((SELECT x.granted FROM journey.claim('email', 100) c, journey.begin_send(c.action_id, c.token) x WHERE c.action_id = :'b'), true, 'for the permit, too');
SELECT journey.detach('outlets') \g /dev/null

UPDATE levels SET on_hand = 0 WHERE sku = 'J1';
SELECT is(pg_temp.known('J1'), 0::numeric, 'none anywhere');
DELETE FROM levels WHERE sku = 'J2';
SELECT is(pg_temp.known('J2'), 0::numeric, 'no row any more');

-- a table that cannot be read keeps no lap from its work
CREATE ROLE stock_owner;
ALTER TABLE levels OWNER TO stock_owner;
UPDATE levels SET on_hand = 4 WHERE sku = 'J1' AND location = 'main';
REVOKE SELECT ON levels FROM stock_owner;
SELECT is(pg_temp.known('J1'), 4::numeric, 'its owner may not read it: the row counts as it came');
SELECT is((SELECT count(*) FROM journey.quarantine), 0::bigint, 'and nothing is set aside');

-- nor a permit from what needs no stock; how much there is nobody can tell
CREATE FUNCTION pg_temp.permits() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    UPDATE journey.outbox SET claim_at = journey.clock();
    SELECT string_agg(c.step || CASE WHEN x.granted THEN ' granted' ELSE ' ' || x.reason END, ', ' ORDER BY c.step) INTO said
    FROM journey.claim('email', 100) c, journey.begin_send(c.action_id, c.token) x;
    RETURN said;
END $$;
CREATE FUNCTION pg_temp.health() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(h.topic || ': ' || h.detail || ' ' || h.hint, E'\n' ORDER BY h.topic) FROM journey.health h
    WHERE h.topic IN ('attachment', 'incident') $$;
SELECT pg_temp.person('p2') \g /dev/null
SELECT pg_temp.action('p2', step => 'goods', stock_sku => ARRAY['J1'], suppress_on => '[]') AS c \gset
SELECT pg_temp.action('p2', step => 'news', suppress_on => '[]') \g /dev/null
SELECT is(pg_temp.permits(), 'news granted', 'the others are claimed and permitted');
SELECT matches(pg_temp.health(), 'attachment: public\.levels as stock: stock is unknown: stock_owner may not read public\.levels .*GRANT SELECT ON public\.levels TO stock_owner', 'health names the table and what to run');
SELECT matches(pg_temp.health(), 'incident: stock_unreadable public\.levels stock: .*GRANT SELECT ON public\.levels TO stock_owner', 'and so does the incident');
GRANT SELECT ON levels TO stock_owner;
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.health(), NULL, 'granted, all is said to be well');
UPDATE journey.outbox SET claim_at = journey.clock();
SELECT action_id AS held, token FROM journey.claim('email', 100) \gset
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
SELECT is((SELECT reason || ' ' || final FROM journey.begin_send(:'held', :token)), 'stale_data false', 'one that was claimed before waits, too');
SELECT journey.run_once() \g /dev/null
SELECT matches(pg_temp.health(), 'GRANT USAGE ON SCHEMA public TO stock_owner', 'the next lap notices a right to the schema that went');
GRANT USAGE ON SCHEMA public TO PUBLIC;
ALTER TABLE levels ENABLE ROW LEVEL SECURITY;
ALTER TABLE levels FORCE ROW LEVEL SECURITY;
SELECT journey.run_once() \g /dev/null
SELECT matches(pg_temp.health(), 'attachment: public\.levels as stock: stock is unknown: row security hides rows .*NO FORCE', 'hidden by row security is not read either');
SELECT is(pg_temp.permits(), NULL, 'and grants nothing');
ALTER TABLE levels NO FORCE ROW LEVEL SECURITY;
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.health(), NULL, 'hidden no more, all is said to be well');
SELECT is(pg_temp.permits(), 'goods granted', 'and what waited goes out');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
