-- Tables reached by heap and index keep the manners of a statement.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(9);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE FUNCTION pg_temp.searched(n integer) RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('web', 'searched', jsonb_build_object('customer_id', g), '{"query": "shoes"}') FROM generate_series(1, n) AS g
$$;

-- a read-only transaction
SELECT pg_temp.searched(1);
SET default_transaction_read_only = on;
SELECT throws_ok('SELECT journey.run_once()', '25006', NULL, 'a lap writes nothing in a read-only transaction');
SELECT throws_ok($$SELECT journey.ack(ARRAY[gen_random_uuid()], ARRAY[1::bigint])$$, '25006', NULL, 'nor does a sender');
SET default_transaction_read_only = off;
SELECT lives_ok('SELECT journey.run_until_idle()', 'elsewhere it does');

-- what somebody puts on a partition of ours: beside it no lap runs (worker_strangers), but what senders write there fires it
CREATE TABLE public.seen (what text);
GRANT INSERT ON public.seen TO journey_owner;
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
SELECT journey.apply(pg_temp.journey_doc('plain', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['one', 'two']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['one', 'two']) c;
SELECT count(*) FROM journey.run_until_idle();
SELECT format('CREATE TRIGGER noted AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.note()', inhrelid::regclass)
FROM pg_inherits WHERE inhparent = 'journey.outbox_history'::regclass \gexec
SELECT array_agg(action_id)::text AS ids, array_agg(token)::text AS tokens FROM journey.claim_and_begin('email', 2) \gset
SELECT cardinality(journey.ack(:'ids'::uuid[], :'tokens'::bigint[]));
SELECT is((SELECT count(*) FROM public.seen WHERE what LIKE 'outbox_history_%'), 2::bigint, 'a trigger on a partition fires');
SELECT format('DROP TRIGGER noted ON %s', inhrelid::regclass) FROM pg_inherits WHERE inhparent = 'journey.outbox_history'::regclass \gexec
-- and on a table of ours
CREATE TRIGGER noted AFTER INSERT ON journey.quarantine FOR EACH ROW EXECUTE FUNCTION public.note();
DROP TRIGGER noted ON journey.quarantine;

-- columns that come later, and tables that are written anew
ALTER TABLE journey.profile ADD COLUMN shop_note text DEFAULT 'none';
SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{"first_name": "Ada"}');
SELECT journey.track('web', 'identified', '{"customer_id": "new"}', '{"first_name": "Bob"}');
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT array_agg(DISTINCT shop_note) FROM journey.profile), ARRAY['none'], 'a column that came later has its default in old rows and new ones');
SELECT is((SELECT traits ->> 'first_name' FROM journey.profile WHERE profile_id = pg_temp.pid('1')), 'Ada', 'beside what was written');
VACUUM FULL journey.profile;
SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{"first_name": "Eve"}');
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT traits ->> 'first_name' FROM journey.profile WHERE profile_id = pg_temp.pid('1')), 'Eve', 'a table that has been written anew is found again');

-- an index that is not built knows less than its table
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'journey.identity_profile'::regclass;
SELECT journey.track('web', 'identified', '{"customer_id": "1", "email": "late@x.example"}');
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.identity WHERE profile_id = pg_temp.pid('1')), 2::bigint, 'rows come while an index is being built');
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'journey.identity_profile'::regclass;
REINDEX INDEX journey.identity_profile;

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
