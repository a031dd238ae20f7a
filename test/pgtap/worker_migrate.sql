-- migrate() makes views anew and takes nobody else's with them.
-- What would break if this failed: an upgrade that silently drops the reports of an analyst.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(13);
CREATE FUNCTION pg_temp.said(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text; h text;
BEGIN
    EXECUTE call;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE, SQLERRM, d, h);
END $$;

CREATE TABLE before AS SELECT relname, pg_get_viewdef(oid), relacl::text FROM pg_class WHERE relnamespace = 'journey'::regnamespace AND relkind = 'v';
SELECT cmp_ok((SELECT count(*) FROM before), '>', 2::bigint, 'there are views');
SELECT is(journey.migrate(), (SELECT extversion FROM pg_extension WHERE extname = 'journey'), 'migrate() says the version');
SELECT set_eq('SELECT relname, pg_get_viewdef(oid), relacl::text FROM pg_class WHERE relnamespace = ''journey''::regnamespace AND relkind = ''v''',
    'SELECT * FROM before', 'and the views are there as they were, with their grants');

CREATE VIEW public.dead_by_channel AS SELECT channel, count(*) FROM journey.dead_letter GROUP BY 1;
CREATE MATERIALIZED VIEW public.checked AS SELECT topic FROM journey.health;
SELECT matches(pg_temp.said('SELECT journey.migrate()'), '^2BP01\nother objects depend on views of journey\n.*view public\.dead_by_channel depends on view dead_letter', 'what depends on them is named');
SELECT matches(pg_temp.said('SELECT journey.migrate()'), 'materialized view public\.checked depends on view health', 'each of it');
SELECT matches(pg_temp.said('SELECT journey.migrate()'), 'Drop them, run journey\.migrate\(\), and create them again', 'with what to do');
SELECT has_view('public', 'dead_by_channel', 'and is not dropped');
SELECT set_eq('SELECT relname, pg_get_viewdef(oid), relacl::text FROM pg_class WHERE relnamespace = ''journey''::regnamespace AND relkind = ''v''',
    'SELECT * FROM before', 'nor is anything of ours');
CREATE VIEW journey.of_ours AS SELECT 1 AS one;
DROP VIEW IF EXISTS public.dead_by_channel;
DROP MATERIALIZED VIEW IF EXISTS public.checked;
SELECT lives_ok('SELECT journey.migrate()', 'then it runs');
SELECT has_view('journey', 'of_ours', 'and leaves a view that somebody has put into the schema');
DROP VIEW journey.of_ours;
DROP VIEW journey.dead_letter;
SELECT lives_ok('SELECT journey.migrate()', 'a view that is gone comes back');
SELECT has_view('journey', 'dead_letter', 'as it was');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
