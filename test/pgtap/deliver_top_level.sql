-- A permit that its caller gets before the commit counts for nothing: an order
-- can overtake it. begin_send and claim_and_begin therefore run as a statement
-- of the client or not at all.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(37);
SELECT journey.set_clock('2026-03-04 12:00+00') \gset
\ir ../lib/deliver.sql
RESET journey.allow_in_transaction;
SELECT count(pg_temp.action('A' || i)) AS n FROM generate_series(1, 30) i \gset
CREATE TEMP TABLE got AS SELECT row_number() OVER () AS n, c.* FROM journey.claim('email', 12) c;

-- as a statement of the client, in each of its shapes -----------------------------
SELECT count(*) AS n FROM journey.begin_send((SELECT array_agg(action_id) FROM got WHERE n = 1), (SELECT array_agg(token) FROM got WHERE n = 1)) WHERE granted \gset
SELECT is(:n, 1, 'as a table');
SELECT count(*) AS n FROM (SELECT (journey.begin_send(action_id, token)).granted FROM got WHERE n = 2) x WHERE granted \gset
SELECT is(:n, 1, 'in the list of a SELECT');
WITH b AS MATERIALIZED (SELECT b.granted FROM got, LATERAL journey.begin_send(action_id, token) b WHERE n = 3) SELECT count(*) AS n FROM b WHERE granted \gset
SELECT is(:n, 1, 'in WITH');
CREATE TEMP TABLE permit AS SELECT b.granted FROM got, LATERAL journey.begin_send(action_id, token) b WHERE n = 4;
INSERT INTO permit SELECT b.granted FROM got, LATERAL journey.begin_send(action_id, token) b WHERE n = 5;
SELECT is((SELECT count(*) FROM permit WHERE granted), 2::bigint, 'into a table');
PREPARE ask AS SELECT b.granted FROM got, LATERAL journey.begin_send(action_id, token) b WHERE n = $1;
EXECUTE ask(6) \gset
SELECT is(:'granted'::text, 't', 'prepared');
CREATE VIEW pg_temp.ask AS SELECT b.granted FROM got, LATERAL journey.begin_send(action_id, token) b WHERE n = 7;
SELECT granted FROM pg_temp.ask \gset
SELECT is(:'granted'::text, 't', 'through a view');
SELECT count(*) AS n FROM journey.claim_and_begin('email', 1) \gset
SELECT is(:n, 1, 'claim_and_begin');

-- and not inside anything --------------------------------------------------------------
CREATE FUNCTION pg_temp.in_sql(a uuid, t bigint) RETURNS boolean LANGUAGE sql VOLATILE SET work_mem = '4MB' AS 'SELECT granted FROM journey.begin_send(a, t)';
CREATE FUNCTION pg_temp.in_plpgsql(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT granted FROM journey.begin_send(a, t)); END';
CREATE FUNCTION pg_temp.in_sql_in_plpgsql(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN pg_temp.in_sql(a, t); END';
CREATE FUNCTION pg_temp.in_loop(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'DECLARE r record; BEGIN FOR r IN SELECT granted FROM journey.begin_send(a, t) LOOP RETURN r.granted; END LOOP; END';
CREATE FUNCTION pg_temp.in_execute(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'DECLARE g boolean; BEGIN EXECUTE ''SELECT granted FROM journey.begin_send($1, $2)'' INTO g USING a, t; RETURN g; END';
CREATE FUNCTION pg_temp.in_prepared(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'DECLARE g boolean; BEGIN EXECUTE ''EXECUTE ask(8)'' INTO g; RETURN g; END';
CREATE FUNCTION pg_temp.in_handler(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT granted FROM journey.begin_send(a, t)); EXCEPTION WHEN division_by_zero THEN RETURN NULL; END';
CREATE FUNCTION pg_temp.in_array(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT granted FROM journey.begin_send(ARRAY[a], ARRAY[t])); END';
CREATE FUNCTION pg_temp.in_fused(a uuid, t bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT FROM journey.claim_and_begin(''email'', 1)); END';
CREATE PROCEDURE pg_temp.in_procedure() LANGUAGE plpgsql AS 'BEGIN PERFORM journey.begin_send(action_id, token) FROM got WHERE n = 8; COMMIT; END';
CREATE PROCEDURE pg_temp.in_procedure_after_commit() LANGUAGE plpgsql AS 'BEGIN COMMIT; PERFORM journey.begin_send(action_id, token) FROM got WHERE n = 8; END';
CREATE FUNCTION pg_temp.in_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM journey.begin_send(action_id, token) FROM got WHERE n = 8; RETURN NULL; END';
CREATE TRIGGER ask AFTER UPDATE ON permit EXECUTE FUNCTION pg_temp.in_trigger();
SELECT throws_ok(format('SELECT pg_temp.%s(action_id, token) FROM got WHERE n = 8', f), '25001', NULL, f)
FROM unnest('{in_sql,in_plpgsql,in_sql_in_plpgsql,in_loop,in_execute,in_prepared,in_handler,in_array,in_fused}'::text[]) f;

-- the same where no other function is around it, as throws_ok is above
CREATE FUNCTION pg_temp.said(state text, what text) RETURNS text LANGUAGE sql AS $$ SELECT is(state, '25001', what) $$;
\set VERBOSITY sqlstate
\set ON_ERROR_STOP off
SELECT pg_temp.in_sql(action_id, token) FROM got WHERE n = 8;
SELECT pg_temp.said(:'LAST_ERROR_SQLSTATE', 'a function in SQL');
\set LAST_ERROR_SQLSTATE 00000
CREATE TEMP TABLE no AS SELECT pg_temp.in_sql(action_id, token) FROM got WHERE n = 8;
SELECT pg_temp.said(:'LAST_ERROR_SQLSTATE', 'into a table');
\set LAST_ERROR_SQLSTATE 00000
DO 'BEGIN PERFORM journey.begin_send(action_id, token) FROM got WHERE n = 8; END';
SELECT pg_temp.said(:'LAST_ERROR_SQLSTATE', 'a DO block');
\set LAST_ERROR_SQLSTATE 00000
CALL pg_temp.in_procedure_after_commit();
SELECT pg_temp.said(:'LAST_ERROR_SQLSTATE', 'a procedure, even one that commits');
\set LAST_ERROR_SQLSTATE 00000
UPDATE permit SET granted = true;
SELECT pg_temp.said(:'LAST_ERROR_SQLSTATE', 'a trigger');
SELECT is((SELECT count(*) FROM journey.outbox o JOIN got USING (action_id) WHERE n = 8 AND o.status = 'claimed'), 1::bigint, 'and nothing was granted');

\set ON_ERROR_STOP on
-- the way out
BEGIN;
SET LOCAL journey.allow_in_transaction = on;
SELECT pg_temp.in_plpgsql(action_id, token) AS granted FROM got WHERE n = 8 \gset
COMMIT;
SELECT is(:'granted'::text, 't', 'journey.allow_in_transaction lets it');

-- a claim alone commits asynchronously; what is written beside it does not --------------
SET synchronous_commit = on;
CREATE TEMP TABLE word (what text, synchronous text);
CREATE FUNCTION pg_temp.claims() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT count(*)::text FROM journey.claim('email', 1) $$;
SELECT current_setting('synchronous_commit') AS synchronous FROM (SELECT count(*) FROM journey.claim('email', 1)) c \gset
SELECT is(:'synchronous'::text, 'off', 'a claim by itself');
INSERT INTO word SELECT 'insert', current_setting('synchronous_commit') FROM (SELECT count(*) FROM journey.claim('email', 1)) c;
CREATE TEMP TABLE made AS SELECT current_setting('synchronous_commit') AS synchronous FROM (SELECT count(*) FROM journey.claim('email', 1)) c;
INSERT INTO word SELECT 'create table', synchronous FROM made;
WITH c AS MATERIALIZED (SELECT count(*) FROM journey.claim('email', 1)) INSERT INTO word SELECT 'with', current_setting('synchronous_commit') FROM c;
WITH c AS MATERIALIZED (SELECT count(*) FROM journey.claim('email', 1)), k AS (INSERT INTO word SELECT 'in with', current_setting('synchronous_commit') FROM c)
SELECT count(*) FROM c \gset
SELECT concat(pg_temp.claims(), current_setting('synchronous_commit')) AS synchronous \gset
INSERT INTO word VALUES ('function', substr(:'synchronous', 2));
DO $$ BEGIN PERFORM journey.claim('email', 1); INSERT INTO word VALUES ('do', current_setting('synchronous_commit')); END $$;
CREATE FUNCTION pg_temp.note(what text, n bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO word VALUES (what, current_setting('synchronous_commit'));
    RETURN 'email';
END $$;
SELECT pg_temp.note('beside', count(*)) FROM journey.claim('email', 1) \g /dev/null
SELECT token FROM (SELECT count(*) FROM journey.claim('email', 1)) c (token) WHERE pg_temp.note('in where', token) <> '' \g /dev/null
SELECT current_setting('synchronous_commit') AS synchronous FROM (SELECT count(*) FROM journey.claim(pg_temp.note('argument', 1), 1)) c \gset
INSERT INTO word VALUES ('beside an argument', :'synchronous');
SELECT is(synchronous, 'on', what) FROM word ORDER BY what;
RESET synchronous_commit;

-- a rate is counted at the commit: an open transaction would keep it from all others -------
\set ON_ERROR_STOP off
\set LAST_ERROR_SQLSTATE 00000
BEGIN;
SELECT count(*) FROM journey.claim('email', 1);
ROLLBACK;
SELECT pg_temp.said(:'LAST_ERROR_SQLSTATE', 'a channel with a rate is not claimed in a transaction block');
\set ON_ERROR_STOP on
BEGIN;
SELECT count(*) AS n FROM journey.claim('task', 1) \gset
ROLLBACK;
SELECT is(:n, 0, 'one without is');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
