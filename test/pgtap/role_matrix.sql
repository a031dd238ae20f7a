-- The role matrix of docs/security.md: operations that are really carried out by each role,
-- and the rights on each object, read from sql/grants.tsv when the test runs.
\set QUIET on
SET client_min_messages = warning;
\ir ../lib/deliver.sql

-- ---- 1. operations: what is written here is the policy, not the grants table ----
CREATE TABLE public.actor (who text PRIMARY KEY, n integer);
GRANT SELECT ON public.actor TO PUBLIC;
INSERT INTO actor SELECT w, row_number() OVER () FROM unnest('{stranger,shop,app,sender,analyst,author,approver,admin,monitor,reader,root}'::text[]) w;
CREATE ROLE matrix_stranger LOGIN;
CREATE ROLE matrix_shop LOGIN;
CREATE ROLE matrix_root LOGIN SUPERUSER;
SELECT format('CREATE ROLE matrix_%s LOGIN IN ROLE journey_%1$s', who) FROM actor WHERE who NOT IN ('stranger', 'shop', 'root') \gexec

CREATE SCHEMA matrix_shop AUTHORIZATION matrix_shop;
SET ROLE matrix_shop;
CREATE TABLE matrix_shop.orders (id integer PRIMARY KEY, customer text, status text DEFAULT 'placed');
CREATE TABLE matrix_shop.own (id integer PRIMARY KEY, customer text, status text);
GRANT USAGE ON SCHEMA matrix_shop TO PUBLIC;
GRANT SELECT ON matrix_shop.own TO matrix_admin;
RESET ROLE;
SELECT count(*) AS n FROM journey.attach('matrix_shop.orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \gset
CREATE TABLE public.admins_own (id integer PRIMARY KEY, customer text, status text);
ALTER TABLE admins_own OWNER TO matrix_admin;
SELECT journey.run_until_idle() \g /dev/null

SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
SELECT pg_temp.action('A') AS a \gset
SELECT journey.apply('{"kind": "template", "name": "live", "content": {"en": {"subject": "s", "body": "b"}}}') \g /dev/null
SET ROLE matrix_author;
SELECT journey.apply('{"kind": "template", "name": "theirs", "content": {"en": {"subject": "s", "body": "b"}}}') \g /dev/null
RESET ROLE;
SELECT journey._incident('test', 'x', 'warning', 'a message', NULL, '{}') \g /dev/null
SELECT journey.ingest('[5]') \g /dev/null

CREATE TABLE public.operation (n serial, what text, who text, call text);
GRANT SELECT ON public.operation TO PUBLIC;
COPY operation (what, who, call) FROM STDIN (DELIMITER '|');
write own orders with the trigger attached|shop|INSERT INTO matrix_shop.orders VALUES (1, 'A')
send an event|app,admin|SELECT journey.track('s', 'x', '{"email": "a"}')
send a batch|app,admin|SELECT * FROM journey.ingest('[{"source": "s", "type": "x", "subject": {"email": "a"}}]')
land events by COPY|app|INSERT INTO journey.inbox_copy (source, type, subject, props) VALUES ('s', 'x', '{"email": "a"}', '{}')
follow an opt-out link|app,sender,admin|SELECT journey.unsubscribe('no token')
read preferences of a link|app,sender,admin|SELECT journey.preferences('no token')
set preferences of a link|app,sender,admin|SELECT journey.set_preferences('no token', '{}')
suppress a person|app,approver,admin|SELECT journey.suppress('{"customer_id": "A"}', '*', 'r')
lift a suppression|approver,admin|SELECT journey.unsuppress('{"customer_id": "A"}', '*')
find a profile|app,analyst,author,approver,admin|SELECT journey.profile_id('{"customer_id": "A"}')
read a stage|app,analyst,author,approver,admin|SELECT * FROM journey.stages('{"customer_id": "A"}')
claim|sender|SELECT * FROM journey.claim('email')
ask for a permit|sender|SELECT * FROM journey.begin_send(gen_random_uuid(), 1)
ask for many|sender|SELECT * FROM journey.begin_send(ARRAY[gen_random_uuid()], ARRAY[1::bigint])
claim with the permit|sender|SELECT * FROM journey.claim_and_begin('email')
acknowledge|sender|SELECT journey.ack(gen_random_uuid(), 1)
report a failure|sender|SELECT journey.fail(gen_random_uuid(), 1, 'e')
report an unknown outcome|sender|SELECT journey.unknown(gen_random_uuid(), 1, 'e')
extend a lease|sender|SELECT journey.extend(gen_random_uuid(), 1, '1 minute')
give back|sender|SELECT journey.release(ARRAY[gen_random_uuid()], ARRAY[1::bigint])
ask when to come again|sender|SELECT journey.next_due('email')
resolve an unknown outcome|sender,admin|SELECT journey.resolve(gen_random_uuid(), 'sent', 'r')
bring back dead letters|admin|SELECT journey.requeue(ARRAY[gen_random_uuid()])
read decisions|analyst,author,approver,admin,reader|SELECT count(*) FROM journey.decision
read enrollments|analyst,author,approver,admin,reader|SELECT count(*) FROM journey.enrollment
read the outbox|analyst,admin,reader|SELECT count(*) FROM journey.outbox
read messages with their outcome|analyst,admin,reader|SELECT count(*) FROM journey.message
read orders|analyst,admin,reader|SELECT count(*) FROM journey.orders
read contact details|admin|SELECT count(*) FROM journey.contact_point
read keys of people|admin|SELECT count(*) FROM journey.identity
read events|admin|SELECT count(*) FROM journey.event
read originals that were set aside|admin|SELECT count(*) FROM journey.quarantine
read the secret behind tokens|none|SELECT count(*) FROM journey.secret
read the inbox|none|SELECT count(*) FROM journey.inbox_0
ask why|analyst,author,approver,admin|SELECT * FROM journey.why(gen_random_uuid())
ask why not|analyst,author,approver,admin|SELECT * FROM journey.why_not('{"customer_id": "A"}', 'x')
recommend products to a person|app,analyst,author,approver,admin|SELECT * FROM journey.recommend('{"customer_id": "A"}')
ask for a person's contradictory messages|analyst,author,approver,admin|SELECT * FROM journey.contradictions('{"customer_id": "A"}', '-infinity', 'infinity')
ask for a person's contacts|analyst,author,approver,admin|SELECT * FROM journey.contacts('{"customer_id": "A"}', '-infinity', 'infinity')
export a document|analyst,author,approver,admin|SELECT journey.export('template', 'live')
lint|author,approver,admin|SELECT * FROM journey.lint('{"kind": "template"}')
plan|author,approver,admin|SELECT * FROM journey.plan('{"kind": "template", "name": "t", "content": {"en": {"subject": "s", "body": "b"}}}')
try a rule on a person|author,approver,admin|SELECT * FROM journey.explain_rule('true', '{"customer_id": "A"}')
mark a test person|author,approver,admin|SELECT journey.mark_test('{"customer_id": "A"}', true)
write a document|author,admin|SELECT * FROM journey.apply('{"kind": "template", "name": "t", "content": {"en": {"subject": "s", "body": "b"}}}')
publish another's draft|approver,admin|SELECT journey.activate('template', 'theirs', 1)
retire|approver,admin|SELECT journey.retire('template', 'live')
pause|approver,admin|SELECT journey.pause('channel', 'sms')
pause everything|approver,admin|SELECT journey.pause()
attach a table of one's own|admin|SELECT count(*) FROM journey.attach('public.admins_own', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}')
attach a table of the shop without TRIGGER on it|none|SELECT count(*) FROM journey.attach('matrix_shop.own', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}')
detach the shop's table without owning it|none|SELECT journey.detach('matrix_shop.orders')
erase a person|admin|SELECT journey.erase('{"customer_id": "A"}')
leave a person alone|admin|SELECT journey.restrict('{"customer_id": "A"}')
export a person|admin|SELECT journey.export_person('{"customer_id": "A"}')
run a lap|admin|SELECT count(*) FROM journey.run_once()
house-keeping|admin|SELECT journey.maintain()
let rules call a function|admin|SELECT journey.allow_function('pg_catalog.upper(text)')
replay what was set aside|admin|SELECT journey.replay_quarantine()
move the clock|admin|SELECT journey.set_clock('2026-03-02 13:00+00')
health|analyst,author,approver,admin,monitor|SELECT count(*) FROM journey.health
incidents|analyst,author,approver,admin,monitor|SELECT count(*) FROM journey.incident
workers|admin,monitor|SELECT count(*) FROM journey.stat_worker
check the invariants|analyst,admin,monitor|SELECT count(*) FROM journey.check_invariants()
close an incident|admin|SELECT journey.resolve_incident('test', 'x')
write a table by hand|none|UPDATE journey.consent SET state = 'granted'
forge an event|none|INSERT INTO journey.inbox_0 (source, type) VALUES ('s', 'x')
move the node's state|none|UPDATE journey.node SET mode = 'live'
rewrite what was decided|none|DELETE FROM journey.decision
empty the log of permits|none|TRUNCATE journey.attempt_log
make an object in the schema|none|CREATE TABLE journey.mine (a integer)
become the owner|none|SET LOCAL ROLE journey_owner
\.

-- Tries the call as a login of the role; nothing of it remains. What else than a refusal is wrong
-- with it does not matter to the refused, and must not happen to the others.
CREATE FUNCTION pg_temp.tried(who text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', 'matrix_' || who);
        EXECUTE call;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000';
    EXCEPTION WHEN OTHERS THEN
        said := CASE SQLSTATE WHEN 'ZZ000' THEN 'done' WHEN '42501' THEN 'refused' ELSE SQLSTATE || ' ' || SQLERRM END;
    END;
    RETURN said;
END $$;

CREATE TEMP TABLE cell AS
SELECT o.n, o.what, a.who, o.call, a.n AS place,
       CASE WHEN a.who = 'root' OR a.who = ANY (string_to_array(o.who, ',')) THEN 'done' ELSE 'refused' END AS policy
FROM operation o, actor a;

-- ---- 2. rights: what sql/grants.tsv says of each object, tried for each role ----
CREATE TEMP TABLE said (kind text, object text, privilege text, roles text);
\copy said FROM PROGRAM 'grep -vE "^(#|$)" sql/grants.tsv'
CREATE TEMP TABLE object AS
SELECT 'function' AS kind, p.oid, p.oid::regprocedure::text AS name, 'EXECUTE' AS privilege
FROM pg_proc p WHERE p.pronamespace = 'journey'::regnamespace
UNION ALL
SELECT 'relation', c.oid, c.oid::regclass::text, 'SELECT'
FROM pg_class c WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition;
CREATE TEMP TABLE allowed AS
SELECT CASE kind WHEN 'function' THEN 'function' ELSE 'relation' END AS kind,
       CASE kind WHEN 'function' THEN to_regprocedure('journey.' || object)::oid ELSE to_regclass('journey.' || object)::oid END AS oid, r AS role
FROM said, regexp_split_to_table(roles, ', *') r
WHERE kind <> 'schema' AND privilege IN ('EXECUTE', 'SELECT');
CREATE TEMP TABLE rights AS
SELECT o.kind, o.name,
       (SELECT string_agg(a.who, ', ' ORDER BY a.n) FROM actor a
        WHERE a.who <> 'root' AND CASE o.kind WHEN 'function' THEN has_function_privilege('matrix_' || a.who, o.oid, 'EXECUTE')
                                  ELSE CASE WHEN (SELECT relkind FROM pg_class WHERE oid = o.oid) = 'S' THEN has_sequence_privilege('matrix_' || a.who, o.oid, 'USAGE,SELECT,UPDATE')
                                       ELSE has_table_privilege('matrix_' || a.who, o.oid, 'SELECT') END END) AS have,
       (SELECT string_agg(a.who, ', ' ORDER BY a.n) FROM actor a JOIN allowed w ON w.kind = o.kind AND w.oid = o.oid AND w.role = 'journey_' || a.who) AS should
FROM object o;

SELECT plan((SELECT count(*) FROM cell)::integer + 6);
SELECT is(pg_temp.tried(who, call), policy, format('%s: %s', who, what)) FROM cell ORDER BY n, place;
SELECT cmp_ok((SELECT count(*) FROM rights), '>', 200::bigint, 'every object is looked at');
SELECT is_empty('SELECT kind, name, have, should FROM rights WHERE have IS DISTINCT FROM should', 'each role has the rights on it that sql/grants.tsv says, and no other');
SELECT is_empty($$SELECT o.name, a.who, p FROM object o, actor a, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
    WHERE o.kind = 'relation' AND a.who <> 'root' AND has_table_privilege('matrix_' || a.who, o.oid, p)$$, 'nobody writes a table, or puts a trigger on it');
SELECT is_empty($$SELECT c.relname, a.who FROM pg_class c, actor a
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relispartition AND c.relkind IN ('r', 'p') AND a.who <> 'root'
      AND has_any_column_privilege('matrix_' || a.who, c.oid, 'SELECT,INSERT,UPDATE')$$, 'nor reaches a partition past its table');
-- a plan that was made for one role is not used for another
PREPARE who_may AS SELECT count(*) FROM journey.contact_point;
EXECUTE who_may \g /dev/null
SET ROLE matrix_admin;
EXECUTE who_may \g /dev/null
SET ROLE matrix_analyst;
SELECT throws_ok('EXECUTE who_may', '42501', NULL, 'a prepared plan is checked for who runs it');
RESET ROLE;
SELECT journey.detach('matrix_shop.orders') \g /dev/null
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();

DROP SCHEMA matrix_shop CASCADE;
DROP TABLE admins_own;
SELECT format('DROP OWNED BY matrix_%s', who), format('DROP ROLE matrix_%s', who) FROM actor \gexec
