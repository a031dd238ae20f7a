-- What makes a lap fail is set aside with its reason, and its neighbours go on.
-- A constraint that only one row breaks stands for whatever a statement may raise.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(17);
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
SELECT results_eq($$SELECT pg_temp.stands(c) FROM unnest(ARRAY['o1', 'o3']) c$$,
    $$VALUES ('nap finished finished'), ('nap finished finished')$$, 'the neighbours of a poisonous timer go on');
SELECT is((SELECT row(status, exit_reason)::text FROM journey.enrollment WHERE profile_id = pg_temp.pid('o2')), '(exited,error)', 'its enrollment ends');
SELECT ok((SELECT reason LIKE 'error:%poison%' FROM journey.transition WHERE profile_id = pg_temp.pid('o2') ORDER BY n DESC LIMIT 1), 'and says why');
SELECT is((SELECT count FROM journey.incident WHERE kind = 'poison_timer'), 1::bigint, 'with an incident');

-- two that are due at the same moment
SELECT pg_temp.person(c) FROM unnest(ARRAY['p1', 'p2', 'p3']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['p1', 'p2', 'p3']) c;
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT count(DISTINCT wake_at) FROM journey.timer), 1::bigint, 'three timers of one moment');
SELECT format('ALTER TABLE journey.transition ADD CONSTRAINT poison2 CHECK (profile_id NOT IN (%L, %L) OR reason LIKE ''error:%%'') NOT VALID',
    pg_temp.pid('p1'), pg_temp.pid('p3')) \gexec
SELECT pg_temp.move('2026-03-02 13:00+00');
SELECT results_eq($$SELECT pg_temp.stands(c) FROM unnest(ARRAY['p1', 'p2', 'p3']) c$$,
    $$VALUES ('nap exited error'), ('nap finished finished'), ('nap exited error')$$, 'each of two poisonous ones ends by itself, the third goes on');
SELECT is((SELECT count FROM journey.incident WHERE kind = 'poison_timer'), 3::bigint, 'and counts');

-- the timer of a send that was held
SELECT journey.retire('journey', 'nap');
SELECT journey.apply(pg_temp.journey_doc('held', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain", "require": [{"when": "source.age(''erp'') < interval ''1 hour''", "reason": "stale_data"}]}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['q1', 'q2']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['q1', 'q2']) c;
SELECT count(*) FROM journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals(c) FROM unnest(ARRAY['q1', 'q2']) c$$, $$VALUES ('held held stale_data'), ('held held stale_data')$$, 'two sends are held');
SELECT format('ALTER TABLE journey.outbox ADD CONSTRAINT poison CHECK (profile_id <> %L)', pg_temp.pid('q1')) \gexec
SELECT journey.track('erp', 'price_changed', '{}', '{"sku": "A", "price": 3}');
SELECT count(*) FROM journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 13:05+00');
SELECT results_eq($$SELECT pg_temp.outbox(c) FROM unnest(ARRAY['q1', 'q2']) c$$, $$VALUES ('held mail email')$$, 'of which one goes out');
SELECT results_eq($$SELECT pg_temp.stands(c) FROM unnest(ARRAY['q1', 'q2']) c$$, $$VALUES ('held exited error'), ('held mail active')$$, 'and the other, which cannot, ends');
SELECT is_empty('SELECT * FROM journey.timer', 'no timer is left');
SELECT is((SELECT count FROM journey.incident WHERE kind = 'poison_timer'), 4::bigint, 'and one more is counted');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
