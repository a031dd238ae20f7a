-- Who is in an audience when a database goes into the sandbox leaves it once nothing
-- stands against it any more: the removal waits meanwhile, and is not refused for good.
-- mission: 22
\ir ../fixtures/orchestrate.sql
SELECT plan(6);
SELECT journey.run_until_idle() \g /dev/null
SELECT is(journey.sandbox(), 'sandbox', 'a sandbox');
SELECT journey.apply(pg_temp.journey_doc('audience', '{"on": "wishlist_added", "data": {"sku": "event.sku"}}',
    '{"add": {"send": {"channel": "retargeting", "template": "t_sku", "data": {"sku": "entry.sku"}}, "next": "done"}, "done": {"exit": "finished"}}')) \g /dev/null
SELECT pg_temp.person('s');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('s'), '{"channel": "retargeting", "purpose": "marketing"}'), journey.track('shop', 'wishlist_added', pg_temp.who('s'), '{"sku": "J1"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.mark_test(pg_temp.who('s')) \g /dev/null
SELECT ok(pg_temp.send('s', 'retargeting'), 'somebody is in');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.mark_test(pg_temp.who('s'), false) \g /dev/null
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('s'), '{"channel": "retargeting"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty($$SELECT action_id FROM journey.claim_and_begin('retargeting')$$, 'no test profile: no permit');
SELECT results_eq($$SELECT status, reason, claim_at > journey.clock() FROM journey.outbox WHERE payload ? '_remove'$$, $$VALUES ('pending', 'sandbox', true)$$, 'but the removal stays');
UPDATE journey.outbox SET claim_at = journey.clock();
SELECT journey.mark_test(pg_temp.who('s')) \g /dev/null
SELECT ok(pg_temp.send('s', 'retargeting'), 'and goes when it may');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
