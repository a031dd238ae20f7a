-- Who is forgotten is taken out of audiences first: while the removal waits for its
-- sender, what it needs is kept, and no longer.
-- mission: 22, 218
\ir ../fixtures/audience.sql
SELECT plan(8);
SELECT pg_temp.member(c) FROM unnest(ARRAY['ann', 'ben']) c;
SELECT journey.run_until_idle();
SELECT is(pg_temp.send_all(), 2::bigint, 'two are in');
SELECT journey.run_until_idle();
SELECT pg_temp.pid('ann') AS ann \gset
SELECT journey.erase(pg_temp.who('ann')) AS proof \gset
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('ann')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'the one who is to be forgotten has to come out');
SELECT is((SELECT erased_at FROM journey.erasure), NULL, 'nothing is deleted before that');
SELECT is(pg_temp.send_all(), 1::bigint, 'they come out');
SELECT journey.run_until_idle();
SELECT isnt((SELECT erased_at FROM journey.erasure), NULL, 'and are forgotten');
SELECT is_empty(format('SELECT FROM journey.outbox_history WHERE profile_id = %L UNION ALL SELECT FROM journey.profile WHERE profile_id = %1$L', :'ann'), 'with what they got');
SELECT is((SELECT count(*) FROM journey.outbox_history WHERE profile_id = pg_temp.pid('ben')), 1::bigint, 'the other is still in');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
