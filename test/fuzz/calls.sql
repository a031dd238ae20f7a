-- Random calls of every function that a role of ours may execute, with odd values for
-- each type of argument. :n calls, made from :seed; each is a statement of its own.
SELECT setseed(:seed / 1000000.0);
SELECT journey.set_clock('2026-03-02 12:00+00');
\ir ../lib/deliver.sql
SELECT pg_temp.action(w, channel => c, suppress_on => s::jsonb, name => w)
FROM (VALUES ('A', 'email', '[]'), ('B', 'sms', '[{"on": "order_placed", "match": true}]'), ('C', 'email', '[{"on": "order_placed", "match": false}]')) v(w, c, s);
DROP FUNCTION pg_temp.pid(text);
\ir ../fixtures/orchestrate.sql
SELECT journey.apply(pg_temp.cart_doc());
CREATE TABLE public.shop_orders (id integer PRIMARY KEY, customer text, status text, cart text, total numeric, at timestamptz, x jsonb);
INSERT INTO public.shop_orders SELECT i, 'C' || i, 'placed', 'K' || i, i, now(), '{}' FROM generate_series(1, 20) i;
CREATE TABLE public.shop_stock (sku text, on_hand numeric);
CREATE TABLE public."odd "" name" (id integer, "a b" text);
CREATE VIEW public.shop_view AS SELECT 1 AS id;

CREATE FUNCTION pg_temp.one_of(list text[]) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT list[1 + floor(random() * cardinality(list))::integer] $$;

-- what stands for something in this database
CREATE FUNCTION pg_temp.word() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT pg_temp.one_of('{email,sms,push,cart,cart,journey,journey,channel,template,feature,policy,source,rule_set,house,t_sku,order,stock,cart_line,customer,order_placed,cart_item_added,identified,customer_id,all,*,default,shop,web,sent,failed,marketing,re-decide,discard,rate_limited,bad_address,remind,A,B,1,2,reason,x}')
$$;
CREATE FUNCTION pg_temp.odd_text() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT pg_temp.one_of(ARRAY['NULL', '''''', 'repeat(''x'', 1000000)', 'repeat(''('', 20000)', '''(''', '''[''', '''%s%n%1$s''', '''\''', '''"''', '''a''''b''', '''''''; DROP TABLE journey.outbox; --''',
        '''{{sku}}''', '''$1''', 'E''a\tb\nc\x01''', '''𝕏ﷺé''', '''-1''', '''NaN''', '''infinity''', '''1e999999''', '''2026-02-30''', '''null''', '''true''', '''{}''', '''[]''', ''' ''',
        '''cart.items > 0''', '''event.step = ''''x''''''', '''orders.count / 0 > 1''', '''now > now - interval ''''1 day''''''', '''product.available = 0 or''', 'repeat(''not '', 5000) || ''true''', 'repeat(''1 + '', 20000) || ''1 = 1''',
        '''a@example.org''', '''pg_catalog.pg_class''', '''<script>alert(1)</script>'''])
$$;
CREATE FUNCTION pg_temp.odd_json() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT pg_temp.one_of(ARRAY['NULL', 'null', '{}', '[]', '""', '"x"', '5', '-1', '1e300', '123456789012345678901234567890.5', 'true', '[null]', '{"a": {"b": [1, {"c": null}]}}', '"2026-13-45"', '"infinity"',
        '"294276-12-31"', '"0001-01-01"', '"\u0007\n"', '"a@b"', '{"": ""}', '["x", "x"]', '"cart.items > 0"', '"order_placed"', '"1 day"', '"-1 day"', '"170000000 years"', '"email"', '[{"on": "x", "match": "event.sku ="}]'])
$$;
-- a document or a message with some of its values replaced or taken away
CREATE FUNCTION pg_temp.bent(doc jsonb) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    path text[];
    value text;
BEGIN
    FOR i IN 1 .. floor(random() * 4)::integer LOOP
        WITH RECURSIVE node AS (
            SELECT ARRAY[]::text[] AS path, doc AS value
            UNION ALL
            SELECT n.path || c.key, c.value FROM node n, LATERAL (
                SELECT key, e.value FROM jsonb_each(CASE jsonb_typeof(n.value) WHEN 'object' THEN n.value ELSE '{}' END) e
                UNION ALL SELECT (o - 1)::text, a.value FROM jsonb_array_elements(CASE jsonb_typeof(n.value) WHEN 'array' THEN n.value ELSE '[]' END) WITH ORDINALITY a(value, o)) c)
        SELECT n.path INTO path FROM (SELECT n.path FROM node n WHERE n.path <> '{}' ORDER BY n.path) n ORDER BY random() LIMIT 1;
        EXIT WHEN path IS NULL;
        value := pg_temp.odd_json();
        doc := CASE WHEN value = 'NULL' THEN doc #- path ELSE jsonb_set(doc, path, value::jsonb) END;
    END LOOP;
    RETURN doc;
END $$;
CREATE FUNCTION pg_temp.subject() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT pg_temp.one_of(ARRAY['{"customer_id": "A"}', '{"customer_id": "B", "email": "b@example.org"}', '{"customer_id": "C1"}', '{"email": "a@example.org"}', '{"anonymous_id": "z"}', '{"cart": "K1"}', '{"customer_id": "A", "email": "b@example.org"}', '{"session_id": "s"}'])::jsonb
$$;
CREATE FUNCTION pg_temp.props() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT pg_temp.one_of(ARRAY['{"cart_id": "K1", "sku": "J1", "quantity": 1, "price": 10}', '{"order_id": "1", "amount": 5, "currency": "EUR", "status": "placed", "lines": [{"line": "1", "sku": "J1", "quantity": 1, "price": 5}]}',
        '{"channel": "email", "purpose": "marketing", "basis": "opt_in", "expires_at": "2027-01-01"}', '{"traits": {"first_name": "x", "zone": "Europe/Berlin"}}', '{"action_id": "11111111-1111-4111-8111-111111111111", "machine": false, "provider_ref": "r"}',
        '{"step": "shipping", "cart_id": "K1"}', '{"sku": "J1", "available": 5, "category": "x"}', '{"until": "2026-04-01", "reason": "x", "scope": "all"}'])::jsonb
$$;
CREATE FUNCTION pg_temp.json(function text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    pick double precision := random();
    doc jsonb;
BEGIN
    IF pick < 0.1 THEN
        RETURN pg_temp.one_of(ARRAY['NULL', '''null''', '''[]''', '''{}''', '''5''', '''"x"''', 'jsonb_build_object(repeat(''k'', 100000), repeat(''v'', 1000000))', '(repeat(''['', 6000) || repeat('']'', 6000))',
            'to_jsonb(ARRAY(SELECT i FROM generate_series(1, 1000) i))', '''[null, 1, {"type": 5}]''', '(repeat(''{"a":'', 6000) || ''1'' || repeat(''}'', 6000))']);
    END IF;
    doc := CASE
        WHEN function IN ('lint', 'plan', 'apply') THEN
            CASE floor(random() * 4)::integer WHEN 0 THEN pg_temp.bent(pg_temp.cart_doc()) WHEN 1 THEN pg_temp.bent('[{"kind": "template", "name": "t_x", "variables": {"sku": "text"}, "content": {"en": {"subject": "s", "body": "{{sku}}"}}}, {"kind": "policy", "name": "house", "zone": "UTC", "caps": [{"scope": "house", "channel": "email", "max": 1, "per": "1 day", "window": "calendar"}], "quiet_hours": {"from": "21:00", "to": "08:00", "zone": "profile"}}]')
            WHEN 2 THEN pg_temp.bent('[{"kind": "feature", "name": "f_x", "on": ["product_viewed"], "aggregate": "count", "of": "event.sku", "window": "7 days", "where": "event.sku = ''x''"}, {"kind": "rule_set", "name": "r_x", "rules": [{"kind": "veto", "priority": 1, "when": "cart.items > 3", "reason": "big"}]}]')
            ELSE pg_temp.bent('[{"kind": "channel", "name": "post", "contact": "address", "purposes": ["marketing"], "lease": "5 minutes", "max_attempts": 3}, {"kind": "source", "name": "web", "system": "web", "trusted": true, "scope": "default", "truth_for": ["stock"]}]') END
        WHEN function = 'ingest' THEN jsonb_build_array(pg_temp.bent(jsonb_build_object('source', 'shop', 'type', pg_temp.one_of('{order_placed,order_cancelled,cart_item_added,identified,consent_granted,consent_revoked,message_opened,stock_changed,erased,restricted,checkout_step_viewed,product_viewed,x}'),
            'subject', pg_temp.subject(), 'props', pg_temp.props(), 'message_id', 'm' || floor(random() * 50), 'occurred_at', '2026-03-02 11:00+00')),
            pg_temp.bent('{"type": "track", "event": "Order Completed", "userId": "A", "anonymousId": "z", "messageId": "n", "timestamp": "2026-03-02T11:00:00Z", "properties": {"order_id": "7", "total": 5, "currency": "EUR", "products": [{"sku": "J1", "quantity": 2}]}}'))
        WHEN function LIKE '%attach%' THEN pg_temp.bent('{"key": "id", "subject": {"customer_id": "customer"}, "status": {"column": "status", "values": {"placed": "placed"}}, "amount": "total", "currency": {"const": "EUR"}, "at": "at", "props": ["x"]}')
        WHEN pick < 0.6 THEN pg_temp.bent(pg_temp.subject())
        ELSE pg_temp.bent(pg_temp.props()) END;
    RETURN quote_literal(doc);
END $$;
CREATE FUNCTION pg_temp.id() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT pg_temp.one_of(ARRAY['NULL', '''00000000-0000-0000-0000-000000000000''', 'md5(''action A'')::uuid', 'md5(''action B'')::uuid', 'md5(''action C'')::uuid', 'md5(''profile A'')::uuid', '(SELECT action_id FROM journey.outbox ORDER BY 1 LIMIT 1)', '(SELECT action_id FROM journey.outbox_history ORDER BY 1 LIMIT 1)'])
$$;
CREATE FUNCTION pg_temp.value(type text, function text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE type
        WHEN 'text' THEN CASE WHEN random() < 0.6 THEN quote_literal(pg_temp.word()) ELSE pg_temp.odd_text() END
        WHEN 'jsonb' THEN pg_temp.json(function)
        WHEN 'uuid' THEN pg_temp.id()
        WHEN 'bigint' THEN pg_temp.one_of(ARRAY['NULL', '0', '1', '(-1)', '9223372036854775807', '(-9223372036854775808)', '(SELECT token FROM journey.outbox WHERE token IS NOT NULL ORDER BY action_id LIMIT 1)'])
        WHEN 'integer' THEN pg_temp.one_of(ARRAY['NULL', '0', '1', '2', '100', '(-1)', '2147483647', '(-2147483648)'])
        WHEN 'smallint' THEN pg_temp.one_of(ARRAY['NULL', '0', '(-1)', '32767'])
        WHEN 'numeric' THEN pg_temp.one_of(ARRAY['NULL', '0', '0.01', '-1', '''NaN''', '''infinity''', '1e131000'])
        WHEN 'boolean' THEN pg_temp.one_of(ARRAY['NULL', 'true', 'false'])
        WHEN 'interval' THEN pg_temp.one_of(ARRAY['NULL', '''0''', '''1 minute''', '''-1 day''', '''1 hour''', '''1 month''', '''170000000 years''', '''-170000000 years''', '''1 microsecond'''])
        WHEN 'timestamp with time zone' THEN pg_temp.one_of(ARRAY['NULL', '''infinity''', '''-infinity''', '''4713-01-01 BC''', '''0001-01-01''', '''294276-12-31''', '''2026-03-02 12:30+00''', '''2026-03-03''', '''2026-03-29 02:30 Europe/Berlin''', '''2025-01-01'''])
        WHEN 'regclass' THEN pg_temp.one_of(ARRAY['NULL', '''public.shop_orders''', '''public.shop_stock''', '''public."odd "" name"''', '''public.shop_view''', '''pg_class''', '''journey.outbox''', '''journey.inbox_0''', '''0''', '''4294967295'''])
        WHEN 'regprocedure' THEN pg_temp.one_of(ARRAY['NULL', '''upper(text)''', '''pg_sleep(double precision)''', '''0''', '''4294967295''', '''journey.clock()'''])
        WHEN 'bytea' THEN pg_temp.one_of(ARRAY['NULL', '''''', '''\x00ff''', 'decode(repeat(''00'', 100000), ''hex'')'])
        ELSE CASE WHEN type LIKE '%[]' THEN CASE floor(random() * 6)::integer WHEN 0 THEN 'NULL' WHEN 1 THEN '''{}''' WHEN 2 THEN '''{NULL}'''
                ELSE (SELECT 'ARRAY[' || string_agg(pg_temp.value(left(type, -2), function) || '::' || left(type, -2), ', ') || ']' FROM generate_series(1, 1 + floor(random() * 3)::integer)) END
            ELSE 'NULL' END
        END;
END $$;
-- what needs no luck to find something to do
CREATE FUNCTION pg_temp.call(p oid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    name text := (SELECT proname FROM pg_proc WHERE oid = p);
    args text[] := ARRAY[]::text[];
    a record;
BEGIN
    FOR a IN SELECT format_type(t, NULL) AS type FROM pg_proc, unnest(proargtypes::oid[]) WITH ORDINALITY x(t, n) WHERE oid = p ORDER BY n LOOP
        args := args || (pg_temp.value(a.type, name) || '::' || a.type);
    END LOOP;
    RETURN format('SELECT count(*), left(max(x::text), 60) FROM journey.%I(%s) x', name, array_to_string(args, ', '));
END $$;
CREATE TEMP TABLE function AS
SELECT p.oid, row_number() OVER (ORDER BY p.oid::regprocedure::text COLLATE "C") AS n
FROM pg_proc p
WHERE p.pronamespace = 'journey'::regnamespace AND p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
  AND EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner) AND p.proname NOT IN ('uninstall')
  AND (p.proname !~ '^_' OR p.proname ~ '^_(health|progress|workers|attach_guess|attach_check|column_text|nearest|captures|rel_columns)$');
CREATE TEMP TABLE call (n integer, call text, m serial);
DO $$
DECLARE
    functions oid[] := ARRAY(SELECT f.oid FROM function f ORDER BY n);
BEGIN
    FOR i IN 1 .. current_setting('fuzz.n')::integer LOOP
        INSERT INTO call (n, call) VALUES (i, pg_temp.call(functions[1 + floor(random() * cardinality(functions))::integer]));
        -- so that there is something to do, and it may be done
        IF i % 100 = 0 THEN
            INSERT INTO call (n, call) VALUES (i, 'SELECT count(*) FROM journey.adopt()'), (i, 'SELECT journey.set_clock(''2026-03-02 12:00+00'')'),
                (i, 'SELECT count(*) FROM (SELECT journey.unpause(what, nullif(name, '''')) FROM journey.pause WHERE what <> ''all'') x'), (i, 'SELECT journey.unpause()');
        END IF;
    END LOOP;
END $$;
SET statement_timeout = '60s';
\o /dev/null
RESET journey.allow_in_transaction;
\echo calls begin
\set ECHO all
SELECT call FROM call ORDER BY m
\gexec
\set ECHO none
\o
\echo calls end
