-- Every public function, called with nulls and with nonsense: it answers null or
-- nothing, or says in words of its own what is wrong. What only reads answers
-- null or no row for a null; what changes something says what is missing.
\set QUIET on
SET client_min_messages = error;
SET journey.allow_in_transaction = on;
SELECT plan(14);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
SELECT journey.run_until_idle() \g /dev/null
-- somebody whom subjects name
SELECT journey.track('test', 'identified', '{"customer_id": "1"}', '{"traits": {}}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
CREATE TABLE public.shop_thing (id integer PRIMARY KEY, name text);

CREATE TABLE public.called AS
SELECT p.oid, p.oid::regprocedure::text AS function, p.proname::text AS name, p.provolatile = 'v' AS changes, x.args, x.nargs
FROM pg_proc p
CROSS JOIN LATERAL (SELECT array_agg(format_type(t, NULL) ORDER BY n) AS args, p.pronargs AS nargs
                    FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a(t, n)) x
WHERE p.pronamespace = 'journey'::regnamespace AND p.proname NOT LIKE '\_%' AND p.prokind = 'f' AND p.prorettype <> 'event_trigger'::regtype;

-- what a call answers: null, no row, a value, or the error; and nothing that it did remains
CREATE FUNCTION public.answer(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
    n bigint;
    hint text;
BEGIN
    BEGIN
        EXECUTE format('SELECT count(*), max(x::text) FROM %s AS x', call) INTO n, said;
        said := CASE WHEN n = 0 THEN 'no row' WHEN said IS NULL OR said ~ '^\(,*\)$' THEN 'null' ELSE 'a value' END;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000';
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE <> 'ZZ000' THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            said := SQLSTATE || CASE WHEN hint = '' THEN ' without a hint' ELSE '' END || ': ' || SQLERRM;
        END IF;
    END;
    RETURN said;
END $$;

CREATE FUNCTION public.sane(type text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE type WHEN 'text' THEN '''x''' WHEN 'jsonb' THEN '''{"customer_id": "1"}''' WHEN 'integer' THEN '1' WHEN 'bigint' THEN '1'
        WHEN 'interval' THEN '''1 minute''' WHEN 'timestamp with time zone' THEN '''2026-03-02 13:00+00''' WHEN 'boolean' THEN 'true'
        WHEN 'uuid' THEN '''11111111-1111-4111-8111-111111111111''' WHEN 'numeric' THEN '1'
        WHEN 'uuid[]' THEN '''{11111111-1111-4111-8111-111111111111}''' WHEN 'bigint[]' THEN '''{1}''' WHEN 'text[]' THEN '''{x}''' WHEN 'numeric[]' THEN '''{1}'''
        WHEN 'regclass' THEN '''public.shop_thing''' WHEN 'regprocedure' THEN '''upper(text)''' WHEN 'bytea' THEN '''\x00''' END || '::' || type
$$;
CREATE FUNCTION public.nonsense(type text) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(v || '::' || type) FROM unnest(CASE type
        WHEN 'text' THEN ARRAY['''''', '''no such thing''', 'repeat(''x'', 100000)', '''"; \ %s {token} ''''''']
        WHEN 'jsonb' THEN ARRAY['''null''', '''[]''', '''5''', '''"x"''', '''{}''', '''{"customer_id": {"a": [1]}}''', '''[null, 1, {"type": 5}]''', '''{"kind": "journey"}''', '''{"kind": 5, "name": []}''']
        WHEN 'integer' THEN ARRAY['(-2147483648)', '0', '2147483647'] WHEN 'bigint' THEN ARRAY['(-1)', '9223372036854775807']
        WHEN 'interval' THEN ARRAY['''-1 day''', '''0''', '''170000000 years''']
        WHEN 'timestamp with time zone' THEN ARRAY['''infinity''', '''-infinity''', '''4713-01-01 BC''', '''294276-12-31''']
        WHEN 'uuid[]' THEN ARRAY['''{}''', '''{null}''', '''{{11111111-1111-4111-8111-111111111111},{11111111-1111-4111-8111-111111111111}}''']
        WHEN 'bigint[]' THEN ARRAY['''{}''', '''{null}''', '''{{1},{1}}'''] WHEN 'text[]' THEN ARRAY['''{}''', '''{null}'''] WHEN 'numeric[]' THEN ARRAY['''{}''', '''{null}''', '''{NaN}''']
        WHEN 'numeric' THEN ARRAY['''NaN''', '-1'] WHEN 'boolean' THEN ARRAY['false'] WHEN 'bytea' THEN ARRAY['''''']
        WHEN 'regclass' THEN ARRAY['''pg_class''', '''journey.outbox''', '''0'''] WHEN 'regprocedure' THEN ARRAY['''pg_sleep(double precision)''', '''0''']
        ELSE '{}' END) v
$$;
-- a call of each function with one argument replaced (0 = none)
CREATE FUNCTION public.call_with(c public.called, place integer, value text) RETURNS text LANGUAGE sql AS $$
    SELECT format('journey.%I(%s)', c.name, string_agg(CASE WHEN n = place THEN value ELSE public.sane(t) END, ', ' ORDER BY n))
    FROM unnest(c.args) WITH ORDINALITY AS a(t, n)
$$;

CREATE TABLE public.nulls AS
SELECT c.name, c.changes, c.nargs, 0 AS place, x.call, public.answer(x.call) AS said
FROM called c, LATERAL (SELECT format('journey.%I(%s)', c.name, (SELECT string_agg('NULL::' || t, ', ') FROM unnest(c.args) t)) AS call) x WHERE nargs > 0
UNION ALL
SELECT c.name, c.changes, c.nargs, n, x.call, public.answer(x.call)
FROM called c, generate_series(1, nargs) n, LATERAL (SELECT public.call_with(c, n, 'NULL::' || c.args[n]) AS call) x WHERE nargs > 1;
CREATE TABLE public.odd AS
SELECT c.name, x.call, public.answer(x.call) AS said
FROM called c, generate_series(1, nargs) n, unnest(public.nonsense(c.args[n])) v, LATERAL (SELECT public.call_with(c, n, v) AS call) x;
-- neither a constraint nor an accident speaks for us
\set unclean 'said ~ ''^(23|XX|P0|ZZ|21|42702|42804|42883|22P0|42601 without|42703 without|22004 without)'' AND NOT (name = ''explain_rule'' AND said ~ ''^42'')'
SELECT cmp_ok((SELECT count(*) FROM nulls), '>', 150::bigint, 'calls with nulls');
SELECT is_empty('SELECT call, said FROM nulls WHERE ' || :'unclean', 'are answered in our words');
SELECT is_empty($$SELECT call, said FROM nulls WHERE said LIKE '22004 without a hint%'$$, 'with a hint of what to give');
SELECT is_empty($$SELECT call, said FROM nulls WHERE NOT changes AND place = 0 AND said NOT IN ('null', 'no row') $$, 'what reads answers null or nothing');
SELECT is_empty($$SELECT call, said FROM nulls WHERE changes AND place = 0 AND said IN ('null', 'no row') AND name NOT IN ('next_due', 'preview', 'reconcile', 'begin_send', 'unsubscribe', 'set_preferences')$$, 'what changes something says what is missing');
SELECT throws_ok($$SELECT journey.suppress('{"customer_id": "1"}', scope => NULL)$$, '22004', 'suppress() was given null', 'a person without a scope');
SELECT throws_ok($$SELECT journey.mark_test('{"customer_id": "1"}', NULL)$$, '22004', 'mark_test() was given null', 'a test or not');
SELECT throws_ok('SELECT journey.run_once(NULL)', '22004', 'run_once() was given null', 'a lap of how many');
SELECT cmp_ok((SELECT count(*) FROM odd), '>', 400::bigint, 'calls with nonsense');
SELECT is_empty('SELECT left(call, 200), left(said, 200) FROM odd WHERE ' || :'unclean', 'are answered in our words');
SELECT is_empty($$SELECT left(call, 200), left(said, 200) FROM (TABLE odd UNION ALL SELECT name, call, said FROM nulls) x WHERE said LIKE '_____ without a hint%' AND said NOT LIKE '42601 without a hint: % at or near %'$$, 'with a hint of what to do next');
-- what takes nothing; uninstall() has an argument, and these leave the database as it was
CREATE TABLE public.bare AS
SELECT c.name, x.call, public.answer(x.call) AS said FROM called c, LATERAL (SELECT format('journey.%I()', c.name) AS call) x WHERE nargs = 0;
SELECT cmp_ok((SELECT count(*) FROM bare), '>', 10::bigint, 'calls without arguments');
SELECT is_empty('SELECT call, said FROM bare WHERE said LIKE ''_____ without a hint%'' OR ' || :'unclean', 'are answered in our words, or do what they say');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');

SELECT * FROM finish();
