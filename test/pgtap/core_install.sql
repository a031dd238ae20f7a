-- A database after CREATE EXTENSION, install() and adopt(): installed once,
-- adopted, silent until somebody says otherwise.
-- no invariants: at its end there is no journey.
SELECT plan(17);

SELECT is(journey.install(), 'already installed', 'install() is idempotent');
SELECT is(journey._node_state(), 'adopted', 'adopt() makes the node ours');
SELECT is(journey.mode(), 'off', 'a fresh node is off');
SELECT is((SELECT count(*)::int FROM journey.schema_version), 1, 'the schema version is recorded once');

-- uninstall() takes what is journey's, and nothing of anybody else
\ir ../lib/said.sql
\set remove 'SELECT journey.uninstall(''drop all journey data'')'
CREATE VIEW public.their_events AS SELECT type, count(*) FROM journey.event GROUP BY 1;
CREATE MATERIALIZED VIEW public.their_orders AS SELECT order_id FROM journey.orders;
CREATE MATERIALIZED VIEW public.their_health AS SELECT topic FROM journey.health;
SELECT matches(pg_temp.said(:'remove'), '^2BP01\nother objects depend on views of journey\n.*materialized view public\.their_health depends on view health\nDrop them', 'what depends on a view is named');
DROP MATERIALIZED VIEW IF EXISTS public.their_health;
SELECT matches(pg_temp.said(:'remove'), '^2BP01\nother objects depend on tables of journey\n(.|\n)*view public\.their_events depends on table event', 'what depends on a table is named');
SELECT matches(pg_temp.said(:'remove'), 'materialized view public\.their_orders depends on table orders', 'each of it');
SELECT is((SELECT count(*) FROM pg_class WHERE relname IN ('their_events', 'their_orders')), 2::bigint, 'and none is dropped');
SELECT is(journey._node_state(), 'adopted', 'nor is anything of ours');
DROP VIEW IF EXISTS public.their_events;
DROP MATERIALIZED VIEW IF EXISTS public.their_orders;
CREATE ROLE bob;
CREATE VIEW journey.of_bob AS SELECT 1 AS one;
CREATE TABLE journey.of_bob_too (a int);
ALTER TABLE journey.of_bob OWNER TO bob;
ALTER TABLE journey.of_bob_too OWNER TO bob;
SELECT matches(pg_temp.said(:'remove'), '^2BP01\nschema journey holds tables or views of others\nview journey\.of_bob of bob, table journey\.of_bob_too of bob\nMove them', 'what others have put into the schema is named');
SELECT is((SELECT count(*) FROM pg_class WHERE relname LIKE 'of\_bob%'), 2::bigint, 'and not dropped');
SELECT is(journey._node_state(), 'adopted', 'nor is anything of ours');
ALTER VIEW IF EXISTS journey.of_bob SET SCHEMA public;
ALTER TABLE IF EXISTS journey.of_bob_too SET SCHEMA public;
ALTER TABLE journey.event OWNER TO bob;
SELECT matches(pg_temp.said(:'remove'), '^2BP01\n.*\ntable journey\.event of bob\n.*pg_restore --no-owner', 'a table of ours that is another''s is not taken for his');
ALTER TABLE journey.event OWNER TO journey_owner;
SELECT matches(pg_temp.said(:'remove'), '^no error', 'when they are gone, it runs');
SELECT lives_ok('DROP EXTENSION journey', 'and nothing is left that holds the extension');
SELECT is((SELECT count(*) FROM pg_class WHERE relname LIKE 'of\_bob%'), 2::bigint, 'what was of others is there');
DROP OWNED BY bob;
DROP ROLE bob;
SELECT hasnt_table('journey', 'event', 'what was journey''s is not');

SELECT * FROM finish();
