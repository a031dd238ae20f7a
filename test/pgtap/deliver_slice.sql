-- claim → begin_send → ack: the way of an action that nothing stops
-- mission: 22
\set QUIET on
SET client_min_messages = warning;
SELECT plan(31);

SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql

SELECT pg_temp.action('A', channel => 'email') AS a \gset
SELECT pg_temp.action('B', channel => 'email', priority => 9) AS b \gset
SELECT pg_temp.action('C', channel => 'email', due => '2026-03-02 13:00+00') AS c \gset

-- the columns of its indexes stay as they were, so the table does not grow with what is claimed
BEGIN;
CREATE TEMP TABLE got AS SELECT * FROM journey.claim('email', 10);
SELECT is(pg_stat_get_xact_tuples_hot_updated('journey.outbox'::regclass), 2::bigint, 'to take an action touches no index');
COMMIT;
SELECT is((SELECT array_agg(DISTINCT until) FROM journey.lease WHERE actions <@ (SELECT array_agg(action_id) FROM got)),
          ARRAY['2026-03-02 12:05+00'::timestamptz], 'the reaper is led to them by the lease');
SELECT is((SELECT count(*) FROM got), 2::bigint, 'what is due is claimed');
SELECT results_eq('SELECT action_id FROM got', format('VALUES (%L::uuid), (%L)', :'b', :'a'), 'by priority');
SELECT is((SELECT count(DISTINCT token) FROM got WHERE token > 0), 2::bigint, 'each has a token of its own');
SELECT is((SELECT count(*) FROM journey.claim('email', 10)), 0::bigint, 'nobody else gets them');
SELECT is(journey.next_due('email'), '2026-03-02 13:00+00', 'next_due says when to come again');
SELECT is((SELECT row(attempt, idempotency_key, test)::text FROM got WHERE action_id = :'a'),
          row(1, :'a', true)::text, 'first attempt, the action is the key');
SELECT is((SELECT lease_until FROM got WHERE action_id = :'a'), '2026-03-02 12:05+00'::timestamptz, 'the channel''s lease');

CREATE TEMP TABLE permit AS
    SELECT * FROM journey.begin_send((SELECT array_agg(action_id) FROM got), (SELECT array_agg(token) FROM got));
SELECT is((SELECT count(*) FROM permit WHERE granted), 2::bigint, 'both may go');
SELECT is((SELECT contact ->> 'address' FROM permit WHERE action_id = :'a'), 'a@example.org', 'the permit reveals the address');
SELECT is((SELECT headers ->> 'Idempotency-Key' FROM permit WHERE action_id = :'a'), :'a', 'and names the key');
SELECT is((SELECT row(granted, reason, final)::text FROM journey.begin_send(:'a', (SELECT token FROM got WHERE action_id = :'a'))),
          '(f,stale_token,t)', 'a permit is given once');
SELECT is((SELECT count(*) FROM journey.attempt_log), 2::bigint, 'every permit is logged');
SELECT is((SELECT count(*) FROM journey.attempt_log l JOIN journey.permit_batch b USING (permit_batch)), 2::bigint, 'with its snapshot');

SELECT ok(journey.ack(:'a', (SELECT token FROM got WHERE action_id = :'a'), 'ref-1', 0.01), 'ack');
SELECT ok(NOT journey.ack(:'a', (SELECT token FROM got WHERE action_id = :'a'), 'ref-1'), 'repeated: not yours any more, no error');
SELECT is((SELECT row(status, provider_ref, cost, attempt)::text FROM journey.outbox_history WHERE action_id = :'a'),
          '(sent,ref-1,0.01,1)', 'it is history');
SELECT is(journey.ack(ARRAY[:'b', :'a']::uuid[], (SELECT array_agg(token ORDER BY action_id = :'a') FROM got)),
          ARRAY[true, false], 'ack for many, each answered');
SELECT is((SELECT count(*) FROM journey.outbox), 1::bigint, 'the live table keeps what is not final');


-- claim after claim: each goes on where the last one stopped
SELECT count(pg_temp.action('many' || i, priority => i % 3)) AS n FROM generate_series(1, 40) i \gset
CREATE TEMP TABLE taken (action_id uuid);
INSERT INTO taken SELECT action_id FROM journey.claim('email', 7);
INSERT INTO taken SELECT action_id FROM journey.claim('email', 7);
INSERT INTO taken SELECT action_id FROM journey.claim('email', 7);
INSERT INTO taken SELECT action_id FROM journey.claim('email', 7);
INSERT INTO taken SELECT action_id FROM journey.claim('email', 7);
INSERT INTO taken SELECT action_id FROM journey.claim('email', 7);
SELECT is((SELECT count(DISTINCT action_id) FROM taken), 40::bigint, 'claims in a row get everything, each action once');

-- 40 priorities, only the least of which has something due
SELECT count(pg_temp.action('p' || p, channel => 'sms', priority => p, due => at)) AS n
FROM generate_series(0, 39) p, LATERAL (SELECT timestamptz '2026-03-02 12:00+00' + CASE p WHEN 0 THEN '0' WHEN 1 THEN '1 minute' ELSE '1 hour' END::interval AS at) d \gset
SELECT is((SELECT array_agg(action_id) FROM journey.claim('sms', 10)), (SELECT array_agg(action_id) FROM journey.outbox WHERE channel = 'sms' AND priority = 0),
          'what is due is found below any number of priorities that wait');
SELECT is(journey.next_due('sms'), '2026-03-02 12:01+00', 'and so is what comes next');

-- a pause has no end that anybody could wait for
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('journey', 'cart_recovery', 1, 'retired', '{}', '[]', 'journey_owner', 'test', now(), '');
SELECT count(pg_temp.action('z' || i, channel => 'push', priority => 1, journey => CASE i WHEN 1 THEN 'cart_recovery' ELSE 'other' END, due => at)) AS n
FROM (VALUES (1, '2026-03-02 11:00+00'::timestamptz), (2, '2026-03-02 14:00+00')) v(i, at) \gset
SELECT is(journey.next_due('push'), '2026-03-02 11:00+00', 'what is due is due');
SELECT journey.pause('journey', 'cart_recovery') \gset
SELECT is((SELECT count(*) FROM journey.claim('push')), 0::bigint, 'its journey is paused:');
SELECT is(journey.next_due('push'), '2026-03-02 14:00+00', 'then the next of another');
SELECT journey.pause('channel', 'push') \gset
SELECT is(journey.next_due('push'), NULL, 'of a paused channel nothing');
SELECT journey.unpause('channel', 'push', 'as-is') \gset
SELECT journey.pause() \gset
SELECT is(journey.next_due('push'), NULL, 'nor when everything is paused');
SELECT journey.unpause(catch_up => 'as-is') \gset
SELECT journey.unpause('journey', 'cart_recovery', 'as-is') \gset
SELECT is(journey.next_due('push'), '2026-03-02 11:00+00', 'afterwards it is as before');

-- what the caller has locked is not what others hold
SELECT pg_temp.action('D', channel => 'sms') AS d \gset
BEGIN;
SELECT count(*) FROM (SELECT FROM journey.outbox WHERE action_id = :'d' FOR UPDATE) x \g /dev/null
SELECT results_eq($$SELECT action_id FROM journey.claim('sms', 10)$$, format('VALUES (%L::uuid)', :'d'), 'a row that the caller has locked is claimed');
COMMIT;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
