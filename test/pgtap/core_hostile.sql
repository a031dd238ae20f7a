-- A hostile public schema, first in everybody's path: 40 objects that stand for the system's
-- and for ours. Every entry point answers as without them, a journey runs through to the
-- acknowledgement, the shop's trigger captures, and none of them is ever called.
-- And that what leaves for people or senders carries no line breaks into headers.
\set QUIET on
SET client_min_messages = warning;
-- the assertions' own words must not meet the shadows
CREATE SCHEMA tap;
ALTER EXTENSION pgtap SET SCHEMA tap;
SET search_path = tap, pg_catalog;
SELECT plan(18);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\o /dev/null
\ir ../fixtures/orchestrate.sql
\o
SELECT journey.apply(pg_temp.cart_doc()) \g /dev/null
SELECT pg_temp.person('h0') \g /dev/null
CREATE TABLE public.hostile_orders (id integer PRIMARY KEY, customer text, status text);
SELECT count(*) AS n FROM journey.attach('public.hostile_orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \gset
SELECT journey.run_until_idle() \g /dev/null

-- ---- the shadows ----
-- a sequence keeps its count when everything else is rolled back
CREATE SEQUENCE public.called;
-- only for what is called below pg_temp.hostile(), whatever the test itself says
CREATE FUNCTION public.sing() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    stack text;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    RETURN CASE WHEN stack OPERATOR(pg_catalog.~) 'hostile\(text\)' THEN pg_catalog.nextval('public.called'::pg_catalog.regclass) END;
END $$;
CREATE FUNCTION pg_temp.shadow(name text, args text, result text, op text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, args, result,
                   'BEGIN PERFORM public.sing(); RETURN NULL; END');
    IF op IS NOT NULL THEN
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%I)', op, split_part(args, ',', 1), split_part(args, ',', 2), name);
    END IF;
END $$;
SELECT count(pg_temp.shadow('shadow_' || n, args, result, op)) AS n FROM (VALUES
    (1, 'text,text', 'boolean', '='), (2, 'text,text', 'boolean', '<>'), (3, 'text,text', 'text', '||'), (4, 'text,text', 'boolean', '~'), (5, 'text,text', 'boolean', '!~'),
    (6, 'jsonb,text', 'jsonb', '->'), (7, 'jsonb,text', 'text', '->>'), (8, 'jsonb,jsonb', 'boolean', '@>'), (9, 'jsonb,text', 'boolean', '?'), (10, 'jsonb,jsonb', 'boolean', '='),
    (11, 'jsonb,jsonb', 'jsonb', '||'), (12, 'uuid,uuid', 'boolean', '='), (13, 'timestamptz,interval', 'timestamptz', '+'), (14, 'timestamptz,timestamptz', 'boolean', '<'),
    (15, 'integer,integer', 'boolean', '='), (16, 'bigint,bigint', 'boolean', '='), (17, 'boolean,boolean', 'boolean', '='), (18, 'name,name', 'boolean', '='), (19, 'name,text', 'boolean', '=')) v (n, args, result, op) \gset
SELECT count(pg_temp.shadow(name, args, result)) AS n FROM (VALUES
    ('now', '', 'timestamptz'), ('clock_timestamp', '', 'timestamptz'), ('statement_timestamp', '', 'timestamptz'), ('format', 'text,text', 'text'), ('format', 'text,text,text', 'text'), ('md5', 'text', 'text'),
    ('length', 'text', 'integer'), ('lower', 'text', 'text'), ('left', 'text,integer', 'text'), ('jsonb_typeof', 'jsonb', 'text'), ('to_regclass', 'text', 'regclass'),
    ('pg_has_role', 'name,name,text', 'boolean'), ('current_setting', 'text', 'text'), ('coalesce_all', 'text,text', 'text'), ('set_config', 'text,text,boolean', 'text'),
    ('gen_random_uuid', '', 'uuid'), ('session_user_name', '', 'name'), ('array_to_string', 'text[],text', 'text'), ('nextval', 'regclass', 'bigint'), ('jsonb_build_object', 'text,text', 'jsonb')) v (name, args, result) \gset
-- types and tables: under the system's names, and under ours
CREATE DOMAIN public.jsonb AS pg_catalog.jsonb CHECK (public.sing() < 0);
CREATE DOMAIN public.uuid AS pg_catalog.uuid CHECK (public.sing() < 0);
CREATE DOMAIN public.timestamptz AS pg_catalog.timestamptz CHECK (public.sing() < 0);
CREATE VIEW public.pg_roles AS SELECT public.sing()::text AS rolname, true AS rolsuper;
CREATE VIEW public.pg_class AS SELECT public.sing()::oid AS oid, 'x'::name AS relname;
CREATE VIEW public.node AS SELECT public.sing() AS mode;
CREATE VIEW public.outbox AS SELECT public.sing() AS action_id;
CREATE VIEW public.document AS SELECT public.sing() AS doc;
CREATE TEMP VIEW profile AS SELECT public.sing() AS profile_id;
CREATE TEMP VIEW event AS SELECT public.sing() AS event_id;
SELECT cmp_ok((SELECT count(*) FROM pg_catalog.pg_depend d WHERE refclassid = 'pg_catalog.pg_namespace'::regclass AND refobjid = 'public'::regnamespace
               AND classid IN ('pg_catalog.pg_operator'::regclass, 'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_type'::regclass, 'pg_catalog.pg_class'::regclass)
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')), '>=', 45::bigint, 'the shadows stand');

-- the path of the caller while it calls; nothing but the call is said under it
CREATE FUNCTION pg_temp.hostile(call text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp, pg_catalog, journey AS $$
BEGIN
    EXECUTE call;
END $$;
CREATE FUNCTION pg_temp.usual(call text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE call; END $$;
-- what a call says, and nothing of it remains; the sequence does
CREATE FUNCTION pg_temp.told(call text, hostile boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF hostile THEN PERFORM pg_temp.hostile(call); ELSE PERFORM pg_temp.usual(call); END IF;
    RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT isnt(pg_temp.told('SELECT ''a''::text = ''b''::text', true), NULL, 'the canary');
SELECT is((SELECT is_called FROM public.called), true, 'sings when a shadow is called');
SELECT setval('public.called', 1, false) \g /dev/null

-- ---- every entry point ----
CREATE TEMP TABLE entry AS
SELECT format('SELECT * FROM journey.%I(%s)', p.proname, (SELECT string_agg(CASE format_type(t, NULL)
    WHEN 'pg_catalog.jsonb' THEN '''{"customer_id": "h0", "kind": "template"}''' WHEN 'jsonb' THEN '''{"customer_id": "h0", "kind": "template"}''' WHEN 'integer' THEN '1' WHEN 'bigint' THEN '1' WHEN 'numeric' THEN '1' WHEN 'boolean' THEN 'true'
    WHEN 'interval' THEN '''1 minute''' WHEN 'uuid[]' THEN '''{11111111-1111-4111-8111-111111111111}''' WHEN 'bigint[]' THEN '''{1}''' WHEN 'text[]' THEN '''{x}''' WHEN 'numeric[]' THEN '''{1}'''
    WHEN 'regclass' THEN '''public.hostile_orders''' WHEN 'regprocedure' THEN '''pg_catalog.upper(text)''' WHEN 'bytea' THEN '''\x00''' WHEN 'name[]' THEN '''{x}'''
    ELSE CASE t WHEN 'pg_catalog.jsonb'::regtype THEN '''{"customer_id": "h0", "kind": "template"}''' WHEN 'pg_catalog.uuid'::regtype THEN '''11111111-1111-4111-8111-111111111111''' WHEN 'pg_catalog.timestamptz'::regtype THEN '''2026-03-02 13:00+00''' ELSE '''cart''' END END || '::' ||
        (SELECT 'pg_catalog.' || quote_ident(y.typname) FROM pg_type y WHERE y.oid = t), ', ' ORDER BY n)
    FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY x(t, n))) AS call
FROM pg_proc p
WHERE p.pronamespace = 'journey'::regnamespace AND p.proname !~ '^_' AND p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype);
CREATE TEMP TABLE answers AS SELECT call, pg_temp.told(call, false) AS usual FROM entry;
SELECT is((SELECT is_called FROM public.called), false, 'nothing has been called before');
ALTER TABLE answers ADD hostile text;
UPDATE answers SET hostile = pg_temp.told(call, true);
SELECT cmp_ok((SELECT count(*) FROM answers), '>', 70::bigint, 'entry points');
SELECT is_empty('SELECT call, usual, hostile FROM answers WHERE usual <> hostile', 'answer as without the shadows');
SELECT is_empty($$SELECT call, usual FROM answers WHERE usual ~ '^(42883|42P01|42601)'$$, 'and were called as meant');
SELECT is((SELECT is_called FROM public.called), false, 'none of which was called');

-- ---- a journey, from the cart to the acknowledgement ----
\o /dev/null
SELECT format('SELECT pg_temp.hostile(%L)', c) FROM unnest(ARRAY[
    $$SELECT journey.track('shop', 'identified', '{"customer_id": "h1", "email": "h1@example.com"}', '{}')$$,
    $$SELECT journey.track('shop', 'consent_granted', '{"customer_id": "h1"}', '{"channel": "email", "purpose": "marketing"}')$$,
    $$SELECT journey.track('shop', 'cart_item_added', '{"customer_id": "h1"}', '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "H1"}')$$,
    $$SELECT * FROM journey.ingest('[{"source": "shop", "type": "checkout_step_viewed", "subject": {"customer_id": "h1"}, "props": {"step": "shipping", "cart_id": "H1"}}]')$$,
    $$SELECT * FROM journey.run_until_idle()$$, $$SELECT journey.set_clock('2026-03-02 13:30+00')$$, $$SELECT * FROM journey.run_until_idle()$$]) c \gexec
\o
SELECT set_has($$SELECT pg_temp.outbox('h1')$$, $$VALUES ('cart remind email')$$, 'a cart leads to a reminder');
CREATE TABLE public.sent (action_id pg_catalog.uuid, token bigint, granted boolean);
\o /dev/null
SELECT format('SELECT pg_temp.hostile(%L)', c) FROM unnest(ARRAY[
    'INSERT INTO public.sent SELECT action_id, token FROM journey.claim(''email'')',
    'UPDATE public.sent SET granted = (SELECT b.granted FROM journey.begin_send(sent.action_id, sent.token) b)',
    'SELECT journey.ack(sent.action_id, sent.token) FROM public.sent']) c \gexec
\o
SELECT results_eq('SELECT h.status, s.granted FROM journey.outbox_history h JOIN public.sent s USING (action_id)', $$VALUES ('sent', true)$$, 'that is sent');
-- the shop
SELECT pg_temp.hostile($$INSERT INTO public.hostile_orders VALUES (1, 'h1', 'placed')$$) \g /dev/null
SELECT pg_temp.hostile('SELECT * FROM journey.run_until_idle()') \g /dev/null
SELECT is((SELECT count(*) FROM journey.orders WHERE order_id = '1'), 1::bigint, 'the shop''s order is captured');
SELECT is((SELECT is_called FROM public.called), false, 'and no shadow was called');
SELECT pg_temp.hostile('SELECT journey.detach(''public.hostile_orders'')') \g /dev/null

-- ---- what leaves for people and senders ----
SELECT matches((SELECT string_agg(l::text, ' ') FROM journey.lint(d::pg_catalog.jsonb) l), 'list_unsubscribe_url.*does not fit here', 'an address of the channel brings no ' || what || ' into headers') FROM (VALUES
    ('line', '{"kind": "channel", "name": "x", "mode": "push", "address": "email", "agreement": "DPA", "list_unsubscribe_url": "https://shop.example/u?t={token}\r\nBcc: all@example.com"}'),
    ('second address', '{"kind": "channel", "name": "x", "mode": "push", "address": "email", "agreement": "DPA", "list_unsubscribe_url": "https://shop.example/u>, <mailto:x@example.com"}')) v (what, d);
SELECT journey.track('shop', 'identified', '{"customer_id": "h2"}', '{"traits": {"email": "h2@example.com\r\nBcc: all@example.com", "phone": "+49\t30", "first_name": "<script>alert(1)</script>"}}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT address FROM journey.contact_point WHERE address ~ '[[:cntrl:]]'$$, 'no address holds a line break');
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'odd_address'), 2::bigint, 'which an incident says, for each channel');
SELECT is((SELECT traits ->> 'first_name' FROM journey.profile WHERE traits ? 'first_name'), '<script>alert(1)</script>', 'text is kept as it came: who shows it escapes it');
DROP VIEW pg_temp.profile, pg_temp.event;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
