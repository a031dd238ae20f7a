-- What makes a lap fail is set aside with its reason, and its neighbours go on.
-- A constraint that only one row breaks stands for whatever a statement may raise.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(9);
SELECT pg_temp.move('2026-03-02 10:00+00');

-- an event
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (props ->> 'query' IS DISTINCT FROM 'poison');
SELECT journey.track('web', 'searched', jsonb_build_object('customer_id', g), jsonb_build_object('query', CASE g WHEN 5 THEN 'poison' ELSE 'shoes' END))
FROM generate_series(1, 9) AS g;
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'searched'), 8::bigint, 'the neighbours of a poisonous event are taken');
SELECT is((SELECT count(*) FROM journey.quarantine), 1::bigint, 'it is set aside alone');
SELECT ok((SELECT reason LIKE '%poison%' FROM journey.quarantine), 'with the reason');
SELECT is((SELECT count FROM journey.incident WHERE kind = 'poison_event'), 1::bigint, 'and an incident');

-- a timer
SELECT journey.apply(pg_temp.journey_doc('nap', '{"on": "wishlist_added"}',
    '{"idle": {"wait": {"for": "1 hour"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['o1', 'o2', 'o3']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['o1', 'o2', 'o3']) c;
SELECT count(*) FROM journey.run_until_idle();
SELECT format('ALTER TABLE journey.transition ADD CONSTRAINT poison CHECK (profile_id <> %L OR reason LIKE ''error:%%'') NOT VALID', pg_temp.pid('o2')) \gexec
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT count(*) FROM journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands(c) FROM unnest(ARRAY['o1', 'o3']) c$$,
    $$VALUES ('nap finished finished'), ('nap finished finished')$$, 'the neighbours of a poisonous timer go on');
SELECT is((SELECT row(status, exit_reason)::text FROM journey.enrollment WHERE profile_id = pg_temp.pid('o2')), '(exited,error)', 'its enrollment ends');
SELECT ok((SELECT reason LIKE 'error:%poison%' FROM journey.transition WHERE profile_id = pg_temp.pid('o2') ORDER BY n DESC LIMIT 1), 'and says why');
SELECT is((SELECT count FROM journey.incident WHERE kind = 'poison_timer'), 1::bigint, 'with an incident');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
