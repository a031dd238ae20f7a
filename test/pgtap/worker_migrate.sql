-- migrate() makes views anew and takes nobody else's with them.
-- What would break if this failed: an upgrade that silently drops the reports of an analyst.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(29);
\ir ../lib/said.sql

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

-- as after pg_restore --no-owner, or when somebody has taken a name of ours
ALTER VIEW journey.health OWNER TO postgres;
ALTER VIEW journey.message OWNER TO postgres;
SELECT matches(pg_temp.said('SELECT journey.migrate()'), '^55000\nviews of journey belong to others\nthe view journey\.health belongs to postgres, not to journey_owner; the view journey\.message belongs .*\n.*pg_restore --no-owner.*: ALTER VIEW journey\.health OWNER TO journey_owner; ALTER VIEW journey\.message OWNER TO journey_owner;', 'views of ours that belong to others are named');
SELECT is((SELECT relowner::regrole::text FROM pg_class WHERE oid = 'journey.health'::regclass), 'postgres', 'and not dropped');
SELECT hint AS mend FROM journey.health WHERE topic = 'tables' \gexec
SELECT lives_ok('SELECT journey.migrate()', 'with the hints of health it is mended');
SELECT set_eq('SELECT relname, pg_get_viewdef(oid), relacl::text FROM pg_class WHERE relnamespace = ''journey''::regnamespace AND relkind = ''v''',
    'SELECT * FROM before', 'and all is as it was');

-- Tables of another version than the library: nothing is read from them, nothing sent.
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
SELECT journey.run_until_idle() \g /dev/null
TRUNCATE journey.schema_version;
INSERT INTO journey.schema_version VALUES ('0.0-old', now() - interval '1 hour');
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "v"}', '{"sku": "J1"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT unconsumed FROM journey._inbox_state()), 1::bigint, 'no lap reads tables of another version');
SELECT is(journey.mode(), 'off', 'nothing is sent');
SELECT matches((SELECT concat_ws(': ', status, detail, hint) FROM journey.health WHERE topic = 'mode'),
    '^error: off: the data tables are not of version .*: Run ALTER EXTENSION journey UPDATE, then journey\.migrate\(\)', 'health says why, and what to do');
SELECT matches(pg_temp.said('SELECT journey.set_clock(now())'), '^55000\nthis database is not adopted: the data tables are not of version (.|\n)*journey\.migrate\(\)', 'so does what sets the mode');
SELECT matches(pg_temp.said('SELECT journey.adopt()'), '^55000\nthe data tables are of version 0\.0-old, the extension of version .*\nRun journey\.migrate\(\) first\.', 'and adopt()');
SELECT lives_ok('SELECT journey.migrate()', 'migrate() brings them up');
SELECT is(journey._node_state(), 'adopted', 'and the database is ours again');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT unconsumed FROM journey._inbox_state()), 0::bigint, 'what waited is read');
SELECT is((SELECT string_agg(version, ' ' ORDER BY installed_at) FROM journey.schema_version),
    (SELECT '0.0-old ' || extversion FROM pg_extension WHERE extname = 'journey'), 'each version has its row');
SELECT lives_ok('SELECT journey.migrate()', 'migrate() can be repeated');
SELECT is((SELECT count(*) FROM journey.schema_version), 2::bigint, 'and adds none then');
INSERT INTO journey.schema_version VALUES ('99', now() + interval '1 hour');
ALTER TABLE journey.schema_version SET (fillfactor = 90);
SELECT is(journey.mode(), 'off', 'a newer one is none of this library either');
DELETE FROM journey.schema_version WHERE version = '99';
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
