-- Row security by scope: a member of journey_reader sees rows of the scopes whose roles it has,
-- in every table and view that it may read; a plan made for one role is not used for another.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(20);
INSERT INTO journey.source (source, scope) VALUES ('shop_de', 'de'), ('shop_fr', 'fr');
SELECT journey._invalidate('journey.source');
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\ir ../lib/deliver.sql

CREATE ROLE journey_scope_de; CREATE ROLE journey_scope_fr;
CREATE ROLE scope_de LOGIN IN ROLE journey_reader, journey_scope_de;
CREATE ROLE scope_both LOGIN IN ROLE journey_reader, journey_scope_de, journey_scope_fr;
CREATE ROLE scope_none LOGIN IN ROLE journey_reader;
CREATE ROLE scope_later LOGIN NOINHERIT IN ROLE journey_reader, journey_scope_fr;
CREATE ROLE scope_analyst LOGIN IN ROLE journey_reader, journey_scope_de, journey_analyst;

-- of each scope: somebody with a cart, an order, a parcel, a return, consents, an action that waits, one that was sent, one that died
SELECT count(pg_temp.action(w || s, scope => s, enrolled => true, name => w || s, journey => 'j_' || s)) AS n
FROM unnest('{waits,sent,dead}'::text[]) w, unnest('{de,fr}'::text[]) s \gset
SELECT count(pg_temp.action('later' || s, scope => s, due => '2026-03-03 12:00+00', enrolled => true)) AS n FROM unnest('{de,fr}'::text[]) s \gset
SELECT count(*) AS n FROM (SELECT journey.track('shop_' || s, 'cart_item_added', jsonb_build_object('customer_id', 'waits' || s), jsonb_build_object('sku', 'J1', 'cart_id', 'c' || s, 'quantity', 1, 'price', 1)),
    journey.track('shop_' || s, 'order_placed', jsonb_build_object('customer_id', 'sent' || s), jsonb_build_object('order_id', 'o' || s, 'amount', 1, 'currency', 'EUR', 'lines', '[{"line": "1", "sku": "J1", "quantity": 1, "price": 1}]'::jsonb)),
    journey.track('shop_' || s, 'shipment_shipped', jsonb_build_object('customer_id', 'sent' || s), jsonb_build_object('shipment_id', 's' || s, 'order_id', 'o' || s)),
    journey.track('shop_' || s, 'return_requested', jsonb_build_object('customer_id', 'sent' || s), jsonb_build_object('return_id', 'r' || s, 'order_id', 'o' || s)),
    journey.suppress(jsonb_build_object('customer_id', 'waits' || s), s)
    FROM unnest('{de,fr}'::text[]) s) x \gset
SELECT count(*) AS n FROM journey.claim('email', 100) c, LATERAL journey.begin_send(c.action_id, c.token) b \gset
SELECT journey.ack(action_id, token) FROM journey.outbox WHERE action_id IN (md5('action sentde')::uuid, md5('action sentfr')::uuid) \g /dev/null
SELECT journey.fail(action_id, token, 'no', false, 'content_rejected') FROM journey.outbox WHERE action_id IN (md5('action deadde')::uuid, md5('action deadfr')::uuid) \g /dev/null
INSERT INTO journey.exposure SELECT (jsonb_populate_record(NULL::journey.exposure, to_jsonb(e) || jsonb_build_object('arm', 'treatment', 'algo', 1, 'salt', '', 'place', 0.5, 'held_by', '', 'at', now(), 'exposed_at', now(), 'assigned_at', now(), 'test', true))).* FROM journey.enrollment e;
INSERT INTO journey.conversion SELECT (jsonb_populate_record(NULL::journey.conversion, to_jsonb(e) || jsonb_build_object('goal', 'g', 'at', now(), 'event_id', gen_random_uuid(), 'order_id', 'o', 'test', true))).* FROM journey.enrollment e;
SELECT journey.run_until_idle() \g /dev/null

-- what a role counts, by the scope that each row is of
CREATE TEMP TABLE readable AS
SELECT c.oid::regclass::text AS name, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'scope') AS scoped
FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'journey'::regnamespace AND a.grantee = 'journey_reader'::regrole AND c.relname <> 'reason_code';
GRANT SELECT ON readable TO PUBLIC;
CREATE FUNCTION pg_temp.sees(who text) RETURNS TABLE (name text, scopes text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', who);
    FOR r IN TABLE readable LOOP
        name := r.name;
        EXECUTE format(CASE WHEN r.scoped THEN 'SELECT string_agg(DISTINCT x.scope, '','' ORDER BY x.scope) FROM %1$s x'
                       -- an enrollment that the role cannot see has no scope here
                       ELSE 'SELECT string_agg(DISTINCT coalesce(e.scope, ''hidden''), '','' ORDER BY coalesce(e.scope, ''hidden'')) FROM %1$s x LEFT JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)' END, name) INTO scopes;
        RETURN NEXT;
    END LOOP;
    RESET SESSION AUTHORIZATION;
END $$;
SELECT cmp_ok((SELECT count(*) FROM readable), '>=', 16::bigint, 'tables and views of journey_reader');
SELECT is_empty($$SELECT * FROM pg_temp.sees('postgres') WHERE scopes IS NULL OR scopes !~ 'de.*fr'$$, 'hold rows of both scopes');
SELECT is_empty($$SELECT * FROM pg_temp.sees('scope_de') WHERE scopes IS DISTINCT FROM 'de'$$, 'a role of one scope sees its rows, in each of them');
SELECT is_empty($$SELECT * FROM pg_temp.sees('scope_both') WHERE scopes IS DISTINCT FROM 'de,fr'$$, 'a role of two sees those of both');
SELECT is_empty($$SELECT * FROM pg_temp.sees('scope_none') WHERE scopes IS NOT NULL$$, 'a role of none sees nothing');
SELECT is_empty($$SELECT * FROM pg_temp.sees('scope_analyst') WHERE scopes !~ 'de.*fr'$$, 'an analyst sees all, whatever else it is');
SELECT is(journey._scopes_of('scope_later'), '{*,fr}', 'a role that does not inherit is limited all the same');
SELECT is(journey._scopes_of('postgres'), NULL, 'a superuser is not');

-- a plan of one role, and the next
PREPARE mine AS SELECT DISTINCT scope FROM journey.orders ORDER BY 1;
EXECUTE mine \g /dev/null
SET ROLE scope_de;
SELECT results_eq('mine', $$VALUES ('de')$$, 'a prepared statement is planned anew for another role');
SET ROLE scope_both;
SELECT results_eq('mine', $$VALUES ('de'), ('fr')$$, 'and for the next');
SET ROLE scope_de;
SELECT results_eq('mine', $$VALUES ('de')$$, 'and back');
-- what tells nothing of the others
SELECT is_empty($$SELECT * FROM journey.message WHERE action_id = md5('action waitsfr')::uuid$$, 'not by its id');
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE EXCEPTION 'saw %', $1; END $$;
SELECT lives_ok($$SELECT * FROM journey.orders WHERE order_id = 'ofr' AND pg_temp.tell(order_id)$$, 'not by a function that tells what it is given');
SELECT lives_ok($$SELECT * FROM journey.message WHERE scope <> 'de' AND pg_temp.tell(journey)$$, 'through a view neither');
SELECT throws_ok('SELECT * FROM journey.event', '42501', NULL, 'events are not a reader''s');
SELECT throws_ok('SELECT * FROM journey.health', '42501', NULL, 'nor is health');
SELECT throws_ok($$SELECT * FROM journey.why(md5('action waitsfr')::uuid)$$, '42501', NULL, 'nor a function that answers for every scope');
RESET ROLE;
SELECT set_eq($$SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'journey'::regnamespace AND a.grantee = 'journey_reader'::regrole$$,
    ARRAY['journey.clock()', 'journey.mode()', 'journey._scopes_of(name)'], 'which it may not call');
SELECT set_eq($$SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND a.grantee = 'journey_reader'::regrole AND c.relname <> 'reason_code'$$,
    $$SELECT c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'journey'::regnamespace AND c.relrowsecurity$$, 'each table of a reader''s has its policy');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
SELECT format('DROP OWNED BY %I', r), format('DROP ROLE %I', r) FROM unnest('{scope_de,scope_both,scope_none,scope_later,scope_analyst,journey_scope_de,journey_scope_fr}'::text[]) r \gexec
