-- Permits wait until the cursor has passed what adopt() read, for good: a lap
-- that is rolled back has not passed it, whatever this session saw meanwhile
-- mission: 97
\set QUIET on
SET client_min_messages = warning;
SELECT plan(5);
CREATE TABLE o (id text PRIMARY KEY, customer text, status text, total numeric);
SELECT journey.attach('o', 'order', '{"source": "shop", "key": "id", "subject": {"customer_id": "customer"}, "status": "status", "amount": "total"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
\ir ../lib/deliver.sql
SELECT pg_temp.action('A') AS a \gset
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.adopt() \g /dev/null
SELECT journey.set_clock('2026-03-02 12:00+00') \g /dev/null
BEGIN;
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*)::int FROM journey.claim('email')), 1, 'within the transaction that consumed it, a claim may go on');
ROLLBACK;
SELECT is((SELECT count(*)::int FROM journey.claim('email')), 0, 'that is rolled back: what adopt() read is not consumed');
SELECT is((SELECT row(status, reason)::text FROM journey.outbox WHERE action_id = :'a'), '(pending,stale_data)', 'and the action waits for it');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*)::int FROM journey.claim('email')), 1, 'once it is committed, the claim gives it');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
