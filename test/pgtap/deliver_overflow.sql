-- More unread events than a permit reads: what it has not read could be that
-- somebody is erased, which stops a confirmation as well
-- mission: 97
\set QUIET on
SET client_min_messages = warning;
SELECT plan(5);
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\ir ../lib/deliver.sql
SELECT pg_temp.action('A', purpose => 'transactional', suppress_on => '[]') AS a,
       pg_temp.action('B', purpose => 'transactional', suppress_on => '[]') AS b \gset
SELECT journey.run_until_idle() \g /dev/null
SELECT count(journey.track('web', 'order_placed', jsonb_build_object('customer_id', 'crowd ' || i), jsonb_build_object('order_id', i::text)))
FROM generate_series(1, current_setting('journey.max_fences')::int + 1) i \g /dev/null
SELECT journey.track('crm', 'erased', '{"customer_id": "A"}') \g /dev/null
SELECT is((SELECT count(*)::int FROM journey.claim('email')), 0, 'nobody is served while too much is unread');
SELECT results_eq($$SELECT status || ' ' || reason FROM journey.outbox ORDER BY 1$$, ARRAY['pending stale_data', 'pending stale_data'], 'and all wait for it');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.set_clock('2026-03-02 12:01+00') \g /dev/null
SELECT results_eq($$SELECT action_id FROM journey.claim('email')$$, ARRAY[:'b'::uuid], 'once it is read, the other confirmation goes');
SELECT is((SELECT reason FROM journey.outbox_history WHERE action_id = :'a'), 'restricted', 'and the erased one''s never does');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
