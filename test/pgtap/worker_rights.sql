-- Who may read what, and that nobody writes our tables: docs/security.md
\set QUIET on
SET client_min_messages = warning;
SELECT plan(36);

CREATE FUNCTION pg_temp.may(who text, what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    EXECUTE what;
    RESET ROLE;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RESET ROLE;
    RETURN false;
END $$;

SELECT ok(pg_temp.may('journey_monitor', 'SELECT FROM journey.health'), 'monitoring sees health');
SELECT ok(pg_temp.may('journey_monitor', 'SELECT FROM journey.incident'), 'and incidents');
SELECT ok(NOT pg_temp.may('journey_monitor', 'SELECT FROM journey.decision'), 'but nobody''s decisions');
SELECT ok(pg_temp.may('journey_analyst', 'SELECT FROM journey.decision'), 'analysts see decisions');
SELECT ok(pg_temp.may('journey_analyst', 'SELECT FROM journey.orders'), 'and orders');
SELECT ok(NOT pg_temp.may('journey_analyst', 'SELECT FROM journey.contact_point'), 'but no addresses');
SELECT ok(NOT pg_temp.may('journey_analyst', 'SELECT FROM journey.identity'), 'no keys of people');
SELECT ok(NOT pg_temp.may('journey_analyst', 'SELECT FROM journey.quarantine'), 'no originals of messages');
SELECT ok(NOT pg_temp.may('journey_analyst', $$SELECT journey.track('s', 'x', '{"email": "a"}')$$), 'and send no events');
SELECT ok(pg_temp.may('journey_admin', 'SELECT FROM journey.quarantine, journey.contact_point, journey.identity, journey.event'), 'administrators see all of it');
SELECT ok(NOT pg_temp.may('journey_admin', 'SELECT FROM journey.secret'), 'but not the secret behind tokens');
SELECT ok(NOT pg_temp.may('journey_admin', 'UPDATE journey.consent SET state = state'), 'and write no table by hand');
SELECT ok(NOT pg_temp.may('journey_admin', 'SELECT FROM journey.inbox_0'), 'nor read the inbox');
SELECT ok(pg_temp.may('journey_admin', 'SELECT journey.maintain()'), 'house-keeping is theirs');
SELECT ok(NOT pg_temp.may('journey_author', 'SELECT journey.maintain()'), 'and not the authors''');
SELECT ok(NOT pg_temp.may('journey_author', 'SELECT journey.pause()'), 'who pause nothing');
SELECT ok(pg_temp.may('journey_approver', $$SELECT journey.pause('channel', 'sms')$$), 'approvers do');
SELECT ok(pg_temp.may('journey_sender', $$SELECT journey.claim('email')$$), 'senders claim');
SELECT ok(NOT pg_temp.may('journey_sender', 'SELECT FROM journey.outbox'), 'and read no table');
SELECT ok(NOT pg_temp.may('journey_sender', 'SELECT journey.requeue(ARRAY[]::uuid[])'), 'nor bring back dead letters');
SELECT is_empty($$
    SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND a.grantee <> 'journey_owner'::regrole AND a.privilege_type <> 'SELECT'$$,
    'nobody but the owner may change a table');

-- what the owner of a shop table writes never runs with journey's rights: not a view in
-- the place of the table, not a cast of its types, not a policy of its row security
CREATE ROLE rights_shop;
CREATE SCHEMA rights AUTHORIZATION rights_shop;
CREATE TABLE public.ran_as (who text);
GRANT INSERT ON public.ran_as TO PUBLIC;
SET ROLE rights_shop;
CREATE TABLE rights.orders (id text, customer text, status text);
CREATE TABLE rights.stock (sku text, on_hand integer);
INSERT INTO rights.orders VALUES ('1', 'R1', 'paid');
INSERT INTO rights.stock VALUES ('J1', 5);
CREATE FUNCTION rights.tell() RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.ran_as VALUES (current_user); PERFORM set_config('search_path', 'rights', false); RETURN 'J1'; END $$;
RESET ROLE;
SELECT count(*) AS n FROM journey.attach('rights.orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": {"const": "placed"}}') \gset
SELECT count(*) AS n FROM journey.attach('rights.stock', 'stock', '{"sku": "sku", "available": "on_hand"}') \gset
SELECT ok(NOT has_table_privilege('journey_owner', 'rights.orders', 'SELECT') AND NOT has_schema_privilege('journey_owner', 'rights', 'USAGE'),
    'attach gives journey_owner no right to the shop''s tables');
SELECT results_eq($$SELECT sku, available FROM journey._stock('{J1}')$$, $$VALUES ('J1', 5::numeric)$$, 'they are read as their owner');

SET ROLE rights_shop;
ALTER TABLE rights.stock RENAME TO kept;
DROP TABLE rights.orders;
CREATE VIEW rights.orders AS SELECT rights.tell() AS id, 'R1'::text AS customer, 'paid'::text AS status;
CREATE VIEW rights.stock AS SELECT rights.tell() AS sku, 5 AS on_hand;
GRANT USAGE ON SCHEMA rights TO PUBLIC; GRANT SELECT ON rights.orders, rights.stock TO PUBLIC;
RESET ROLE;
SELECT is_empty($$SELECT * FROM journey._stock('{J1}')$$, 'a view in the place of a table tells no stock');
SELECT results_eq($$SELECT attached, appended FROM journey.reconcile() ORDER BY 1$$, $$VALUES ('rights.kept', 1::bigint), ('rights.orders', NULL)$$,
    'nor is it read again: the table is, under its new name');
SELECT is((SELECT value FROM journey.adopt() WHERE name = 'rights.orders'), 'not reconciled: the table or its capture trigger is gone (42P01)', 'not at adoption either');
SELECT is_empty('SELECT * FROM ran_as', 'and nothing in it has run');

SET ROLE rights_shop;
DROP VIEW rights.stock, rights.orders;
CREATE TYPE rights.code AS (code text);
CREATE FUNCTION rights.as_text(rights.code) RETURNS text LANGUAGE sql AS 'SELECT rights.tell()';
CREATE CAST (rights.code AS text) WITH FUNCTION rights.as_text(rights.code);
CREATE TABLE rights.coded (id integer, customer text, sku rights.code, on_hand integer);
INSERT INTO rights.coded VALUES (1, 'R1', ROW('J1'), 5);
RESET ROLE;
SELECT is((SELECT string_agg(concat_ws(' ', what, value), '; ') FROM journey.attach('rights.coded', 'order',
        '{"key": "id", "subject": {"customer_id": "customer"}, "status": "sku"}', dry_run => true) WHERE what = 'unmapped'),
    'unmapped (J1)', 'values of the shop''s own types are what they print');
SELECT count(*) AS n FROM journey.attach('rights.coded', 'stock', '{"sku": "sku", "available": "on_hand"}') \gset
SELECT results_eq($$SELECT sku, available FROM journey._stock('{(J1)}')$$, $$VALUES ('(J1)', 5::numeric)$$, 'as stock, too');
SELECT is_empty('SELECT * FROM ran_as', 'no cast of theirs is called');

SET ROLE rights_shop;
ALTER TABLE rights.kept ENABLE ROW LEVEL SECURITY;
ALTER TABLE rights.kept FORCE ROW LEVEL SECURITY;
CREATE POLICY tells ON rights.kept USING (rights.tell() = 'J1');
RESET ROLE;
SELECT throws_ok($$SELECT journey.reconcile('rights.kept')$$, '42501', 'row security hides rows of rights.kept from its owner', 'a table that its owner sees in part is not read');
SELECT is_empty('SELECT * FROM ran_as', 'and no policy is asked');

-- an app's own operators, first in its path: what track() and the trigger read as journey_owner does not meet them
CREATE ROLE rights_app LOGIN IN ROLE journey_app;
CREATE SCHEMA rights_app AUTHORIZATION rights_app;
GRANT USAGE ON SCHEMA rights_app TO PUBLIC;
SET ROLE rights_app;
CREATE FUNCTION rights_app.eq(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    IF current_user = 'journey_owner'::name THEN RAISE EXCEPTION 'ran as journey_owner'; END IF;
    RETURN a OPERATOR(pg_catalog.=) b;
END $f$;
CREATE OPERATOR rights_app.= (LEFTARG = text, RIGHTARG = text, FUNCTION = rights_app.eq);
CREATE OPERATOR rights_app.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = rights_app.eq);
SET search_path = rights_app, pg_catalog, public;
-- as a session that has read no registry yet
SELECT journey.track('first', 'page_viewed', '{"customer_id": "R9"}', '{}');
RESET ROLE;
UPDATE journey.source SET scope = 'elsewhere' WHERE source OPERATOR(pg_catalog.=) 'first';
SET ROLE rights_app;
SELECT lives_ok($$SELECT journey.track('first', 'page_viewed', '{"customer_id": "R9"}', '{}')$$, 'track() runs nothing of its caller''s with rights of journey_owner');
SELECT is(current_setting('search_path'), 'rights_app, pg_catalog, public', 'and leaves the path as it is');
RESET ROLE;
RESET search_path;

-- nor does a trigger that somebody was given the right to make
GRANT USAGE ON SCHEMA journey TO rights_shop;
GRANT ALL ON journey.outbox TO rights_shop;
SET ROLE rights_shop;
CREATE FUNCTION rights.spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM rights.tell(); RETURN NEW; END';
SELECT throws_ok('CREATE TRIGGER spy BEFORE UPDATE ON journey.outbox FOR EACH ROW EXECUTE FUNCTION rights.spy()', '42501',
    'no trigger or rule of others may be put on journey.outbox', 'a trigger on a table of ours is the superuser''s to make');
RESET ROLE;
SELECT journey.detach('rights.orders'); -- which has gone, and is an invariant broken until somebody says so
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
