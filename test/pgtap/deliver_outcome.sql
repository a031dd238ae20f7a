-- What becomes of an action after its permit: failures, leases that end, dead letters
\set QUIET on
SET client_min_messages = warning;
SELECT plan(82);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql

-- a channel of its own: backoff 1, 2, 4 ... minutes, at most 3
CREATE FUNCTION pg_temp.channel(n text, more jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
    VALUES ('channel', n, 1, 'active', '{"kind": "channel", "mode": "push", "address": "email", "lease": "5 minutes",
        "backoff": {"first": "1 minute", "factor": 2, "max": "3 minutes"}}'::jsonb || jsonb_build_object('name', n) || more,
        '[]', 'journey_owner', 'test', now(), md5(n))
$$;
SELECT pg_temp.channel('m1'), pg_temp.channel('m2', '{"on_unknown": "retry"}'), pg_temp.channel('m3', '{"on_unknown": "drop"}') \gset
CREATE FUNCTION pg_temp.mail(who text, channel text DEFAULT 'm1', enrolled boolean DEFAULT false) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    p uuid := pg_temp.person(who);
BEGIN
    INSERT INTO journey.consent (bucket, profile_id, scope, channel, purpose, state, source, at)
    SELECT journey.bucket(p), p, 'default', c, 'marketing', 'granted', 'test', journey.clock() FROM unnest(ARRAY['m1', 'm2', 'm3']) c
    ON CONFLICT DO NOTHING;
    INSERT INTO journey.contact_point (bucket, profile_id, scope, channel, address, address_hash, state, since, changed_at)
    SELECT journey.bucket(p), p, 'default', c, who || '@x', journey.key_hash('email', who || '@x'), 'active', journey.clock(), journey.clock()
    FROM unnest(ARRAY['m1', 'm2', 'm3']) c ON CONFLICT DO NOTHING;
    RETURN pg_temp.action(who, channel => channel, enrolled => enrolled);
END $$;
-- claims and begins; returns the token
CREATE FUNCTION pg_temp.send(a uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    t bigint;
    c text := (SELECT channel FROM journey.outbox WHERE action_id = a);
BEGIN
    SELECT token INTO t FROM journey.claim(c, 100) WHERE action_id = a;
    IF t IS NULL OR NOT (SELECT granted FROM journey.begin_send(a, t)) THEN
        RAISE 'no permit for %', a;
    END IF;
    RETURN t;
END $$;
CREATE FUNCTION pg_temp.at(t text) RETURNS void LANGUAGE sql AS $$ SELECT journey.set_clock(('2026-03-02 ' || t || '+00')::timestamptz) $$;
CREATE FUNCTION pg_temp.state(a uuid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', status, nullif(reason, ''), to_char(claim_at AT TIME ZONE 'UTC', 'HH24:MI'), 'attempt ' || attempt, 'failures ' || failures)
    FROM journey.outbox WHERE action_id = a
    UNION ALL SELECT concat_ws(' ', 'final:', status, nullif(reason, '')) FROM journey.outbox_history WHERE action_id = a
$$;

-- failures -------------------------------------------------------------------
SELECT pg_temp.mail('A', enrolled => true) AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT ok(journey.fail(:'a', :t, 'smtp 451'), 'fail');
SELECT is(pg_temp.state(:'a'), 'pending other 12:01 attempt 1 failures 1', 'tried again after the first backoff');
SELECT ok(NOT journey.fail(:'a', :t, 'again'), 'a second word of that lease is not taken');
SELECT is((SELECT row(outcome, counted)::text FROM journey.attempt_log WHERE action_id = :'a'), '(failed,f)', 'the attempt gives its place back');
SELECT pg_temp.at('12:01') \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'smtp 451') \gset
SELECT is(pg_temp.state(:'a'), 'pending other 12:03 attempt 2 failures 2', 'then after the next');
SELECT pg_temp.at('12:03') \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'down', code => 'provider_down') \gset
SELECT is(pg_temp.state(:'a'), 'pending provider_down 12:05 attempt 3 failures 2', 'a provider that is down takes no attempt');
SELECT pg_temp.at('12:05') \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'slow', code => 'rate_limited', retry_after => '10 minutes') \gset
SELECT is(pg_temp.state(:'a'), 'pending rate_limited 12:15 attempt 4 failures 2', 'what the provider asks for goes before the backoff');
SELECT pg_temp.at('12:15') \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'smtp 550') \gset
SELECT is(pg_temp.state(:'a'), 'final: dead other', 'the last attempt makes it a dead letter');
SELECT is((SELECT row(error, attempt, can_requeue)::text FROM journey.dead_letter WHERE action_id = :'a'), '("smtp 550",5,t)', 'which tells why');
SELECT is((SELECT array_agg(attempt ORDER BY granted_at) FROM journey.attempt_log WHERE action_id = :'a'), ARRAY[1, 2, 3, 4, 5], 'numbers of attempts rise strictly');
SELECT is((SELECT count(*) FROM journey.inbox_0 WHERE op = 'a' AND type = 'action_dead' AND cols[2] = :'a'), 1::bigint, 'its enrollment is told once');

SELECT is(journey.requeue(ARRAY[:'a']::uuid[]), 1::bigint, 'requeue brings it back');
SELECT is((SELECT row(idempotency_key, suppress_on)::text FROM journey.outbox WHERE action_id = :'a'),
          row(:'a', '[{"on": "order_placed", "match": false}]'::jsonb)::text, 'under its old key, with its gates');
SELECT pg_temp.send(:'a') AS t \gset
SELECT ok(journey.ack(:'a', :t), 'and it can be sent');
SELECT is(journey.requeue(ARRAY[:'a']::uuid[]), 0::bigint, 'what was sent is not brought back');

-- nobody judges any more whether an event matches what was brought back: it counts as one that does
SELECT pg_temp.mail('A2', enrolled => true) AS a \gset
UPDATE journey.outbox SET suppress_on = '[{"on": "order_placed", "match": true}]' WHERE action_id = :'a';
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'spam', code => 'content_rejected') \gset
SELECT journey.requeue(ARRAY[:'a']::uuid[]) \gset
SELECT token AS t FROM journey.claim('m1') WHERE action_id = :'a' \gset
SELECT journey.track('web', 'order_placed', '{"customer_id": "A2"}', '{"order_id": "a2"}') \gset
SELECT count(*) AS n FROM journey.run_once() \gset
SELECT is((SELECT reason FROM journey.begin_send(:'a', :t)), 'ordered', 'requeued, it is stopped by a consumed event that would need a match');

SELECT pg_temp.mail('B') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'no such user', code => 'bad_address') \gset
SELECT is(pg_temp.state(:'a'), 'final: refused bad_address', 'a bad address refuses');
SELECT is((SELECT address_fault FROM journey.attempt_log WHERE action_id = :'a'), 'bad_address', 'the attempt says whose fault it was');
SELECT pg_temp.action('B', channel => 'm1', step => 'next', name => 'next') AS b \gset
SELECT pg_temp.send(:'b') AS t \gset
SELECT is((SELECT address_hash FROM journey.attempt_log WHERE action_id = :'b'), journey.key_hash('email', 'b@example.org'), 'the next message goes to another one');
SELECT pg_temp.person('Y') \gset
SELECT pg_temp.action('Y', channel => 'm1', name => 'borrowed') AS b \gset
SELECT pg_temp.send(:'b') AS t \gset
SELECT journey.fail(:'b', :t, 'no such user', code => 'blocked_address') \gset
SELECT throws_like(format('SELECT pg_temp.send(%L)', pg_temp.action('Y', channel => 'm1', step => 'next')), 'no permit for %', 'and none to one who has no other');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT row(state, reason)::text FROM journey.contact_point WHERE profile_id = pg_temp.pid('B') AND channel = 'm1'), '(hard,bad_address)', 'a lap marks it');
SELECT is((SELECT count(address_fault) FROM journey.attempt_log), 0::bigint, 'once');
SELECT is((SELECT array_agg(channel || ' ' || state || coalesce(' ' || reason, '') ORDER BY channel) FROM journey.contact_point WHERE profile_id = pg_temp.pid('Y')),
          ARRAY['email active', 'm1 hard blocked_address'], 'a borrowed one under the borrower''s name');
SELECT throws_like(format('SELECT pg_temp.send(%L)', pg_temp.action('Y', channel => 'm1', step => 'later')), 'no permit for %', 'who still does not use it');
SELECT is((SELECT count(*) FROM pg_temp.send(pg_temp.action('Y', step => 'last'))), 1::bigint, 'its owner does');
SELECT is((SELECT state FROM journey.contact_point WHERE profile_id = pg_temp.pid('B') AND channel = 'email'), 'active', 'other channels keep theirs');
SELECT pg_temp.mail('C') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'spam', code => 'content_rejected') \gset
SELECT is(pg_temp.state(:'a'), 'final: dead content_rejected', 'rejected content is not tried again');
SELECT throws_ok($$SELECT journey.fail(gen_random_uuid(), 1, 'x', code => 'oops')$$, '22023', '"oops" is not a code of failure', 'codes are known');
SELECT pg_temp.mail('D') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'later', retry_after => '3 days') \gset
SELECT is(pg_temp.state(:'a'), 'final: expired expired', 'it is not planned beyond its not_after');

-- a token proves its own action only
SELECT pg_temp.mail('X1') AS x1, pg_temp.mail('X2') AS x2 \gset
CREATE TEMP TABLE held AS SELECT action_id, token FROM journey.claim('m1', 100);
SELECT token AS t1 FROM held WHERE action_id = :'x1' \gset
SELECT token AS t2 FROM held WHERE action_id = :'x2' \gset
SELECT is((SELECT array_agg(reason) FROM journey.begin_send(ARRAY[:'x1', :'x2']::uuid[], ARRAY[:t2, :t1]::bigint[])),
          ARRAY['stale_token', 'stale_token'], 'no permit with the token of another action');
SELECT is((SELECT array_agg(status || attempt) FROM journey.outbox WHERE action_id IN (:'x1', :'x2')), ARRAY['claimed0', 'claimed0'], 'and nothing has happened');
SELECT is((SELECT array_agg(granted) FROM journey.begin_send(ARRAY[:'x1', :'x2']::uuid[], ARRAY[:t1, :t2]::bigint[])),
          ARRAY[true, true], 'with its own it is granted');
SELECT is(journey.ack(ARRAY[:'x1', :'x2']::uuid[], ARRAY[:t2, :t1]::bigint[]), ARRAY[false, false], 'no ack with the token of another action');
SELECT is(journey.ack(ARRAY[:'x2', :'x1']::uuid[], ARRAY[:t2, :t1]::bigint[]), ARRAY[true, true], 'its own is taken, in any order');

-- an action that is named twice gets an answer for each place, by the token of that place
SELECT pg_temp.mail('Y1') AS y1, pg_temp.mail('Y2') AS y2 \gset
DELETE FROM held;
INSERT INTO held SELECT action_id, token FROM journey.claim('m1', 100);
SELECT token AS t1 FROM held WHERE action_id = :'y1' \gset
SELECT token AS t2 FROM held WHERE action_id = :'y2' \gset
\set twice 'ARRAY[:''y1'', :''y1'', :''y2'', :''y1'', null]::uuid[], ARRAY[1, :t1, :t2, :t1, 5]::bigint[]'
SELECT is((SELECT array_agg(granted) FROM journey.begin_send(:twice)), ARRAY[false, true, true, true, false], 'a permit');
SELECT is((SELECT array_agg(attempt ORDER BY attempt) FROM journey.outbox WHERE action_id IN (:'y1', :'y2')), ARRAY[1, 1], 'is one permit');
SELECT is((SELECT count(*) FROM journey.attempt_log WHERE action_id IN (:'y1', :'y2')), 2::bigint, 'and one row in the log');
SELECT is(journey.extend(:twice, '1 hour'), ARRAY[false, true, true, true, false], 'extend');
SELECT is(journey.ack(:twice, ARRAY['wrong', 'y1', 'y2', 'again', 'none'], ARRAY[9, 1, 2, 8, 7]), ARRAY[false, true, true, true, false], 'ack');
SELECT is((SELECT array_agg(provider_ref ORDER BY provider_ref) FROM journey.outbox_history WHERE action_id IN (:'y1', :'y2')), ARRAY['y1', 'y2'], 'the reference is that of the first place that proves it');
SELECT is((SELECT sum(cost) FROM journey.outbox_history WHERE action_id IN (:'y1', :'y2')), 3::numeric, 'and so is the cost');
SELECT is(journey.ack(:twice), ARRAY[false, false, false, false, false], 'said before');
SELECT pg_temp.mail('Y3') AS y1 \gset
SELECT token AS t1 FROM journey.claim('m1', 100) \gset
\set twice 'ARRAY[:''y1'', :''y1'', :''y1'']::uuid[], ARRAY[1, :t1, :t1]::bigint[]'
SELECT is((SELECT array_agg(granted) FROM journey.begin_send(:twice)), ARRAY[false, true, true], 'another permit');
SELECT is(journey.fail(:twice, 'no', code => 'provider_down'), ARRAY[false, true, true], 'fail');
SELECT pg_temp.at('12:59') \gset
SELECT token AS t1 FROM journey.claim('m1', 100) \gset
SELECT is(journey.release(:twice), ARRAY[false, true, true], 'release');

-- leases ---------------------------------------------------------------------
SELECT pg_temp.at('13:00') \gset
SELECT pg_temp.mail('E') AS a \gset
SELECT token AS t FROM journey.claim('m1') WHERE action_id = :'a' \gset
SELECT pg_temp.at('13:06') \gset
SELECT is((SELECT reason FROM journey.begin_send(:'a', :t)), 'stale_token', 'no permit after the lease');
SELECT count(*) AS n FROM journey.run_once() \gset
SELECT is(pg_temp.state(:'a'), 'pending 13:06 attempt 0 failures 0', 'a lease lost while claimed: claimable again');
SELECT token AS t2 FROM journey.claim('m1') WHERE action_id = :'a' \gset
SELECT isnt(:t::bigint, :t2::bigint, 'with another token');
SELECT is((SELECT reason FROM journey.begin_send(:'a', :t)), 'stale_token', 'the old one is worth nothing');
SELECT ok(NOT journey.ack(:'a', :t), 'nor its ack');
SELECT ok(journey.extend(:'a', :t2, '1 hour'), 'extend');
SELECT ok(NOT journey.extend(:'a', :t, '1 hour'), 'not with a stale token');
SELECT is((SELECT lease_until FROM journey.outbox WHERE action_id = :'a'), '2026-03-02 14:06+00'::timestamptz, 'from now');
SELECT throws_ok(format($$SELECT journey.extend(%L, %s, '0')$$, :'a', :t2), '22023', 'a lease must be longer than nothing', 'by more than nothing');
SELECT throws_ok(format($$SELECT journey.extend(ARRAY[%L]::uuid[], ARRAY[%s]::bigint[], '-1 hour')$$, :'a', :t2), '22023', 'a lease must be longer than nothing', 'for many too');
SELECT journey.extend(:'a', :t2, '100 years') AS x \gset
SELECT ok((SELECT lease_until = not_after AND reap_at = not_after FROM journey.outbox WHERE action_id = :'a'), 'and to the end of the action''s use at most');
SELECT ok(journey.extend(:'a', :t2, '170000000 years'), 'a lease to the end of time is no error');
SELECT is(journey.release(ARRAY[:'a']::uuid[], ARRAY[:t2::bigint]), ARRAY[true], 'release');
SELECT is(pg_temp.state(:'a'), 'pending 13:06 attempt 0 failures 0', 'gives it back at once');
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.release(ARRAY[:'a']::uuid[], ARRAY[:t::bigint]) AS r \gset
SELECT is((SELECT row(outcome, counted)::text FROM journey.attempt_log WHERE action_id = :'a'), '(returned,f)', 'a permit that was not used counts under no cap');

SELECT pg_temp.mail('F', enrolled => true) AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT pg_temp.at('13:20') \gset
SELECT count(*) AS n FROM journey.run_once() \gset
SELECT is(pg_temp.state(:'a'), 'unknown unknown attempt 1 failures 1', 'a lease lost while sending: unknown, never pending');
SELECT is((SELECT count(*) FROM journey.claim('m1') WHERE action_id = :'a'), 0::bigint, 'nobody sends it again');
SELECT is((SELECT count(*) FROM journey.inbox_0 WHERE op = 'a' AND type = 'action_unknown' AND cols[2] = :'a'), 1::bigint, 'its enrollment goes on');
SELECT ok(journey.ack(:'a', :t, 'late-ref'), 'a late ack of that very lease is the truth');
SELECT is(pg_temp.state(:'a'), 'final: sent', 'and settles it');
SELECT results_eq($$SELECT status, provider_ref FROM journey.contacts('{"customer_id": "F"}')$$, $$VALUES ('sent', 'late-ref')$$, 'contacts() says so');

-- unknown --------------------------------------------------------------------
SELECT pg_temp.mail('G') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT ok(journey.unknown(:'a', :t, 'timeout'), 'unknown');
SELECT is(pg_temp.state(:'a'), 'unknown unknown attempt 1 failures 1', 'hold waits for somebody');
SELECT ok(journey.resolve(:'a', 'retry'), 'resolve: retry');
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.unknown(:'a', :t) \gset
SELECT ok(journey.resolve(:'a', 'sent', 'ref-9'), 'resolve: sent');
SELECT is((SELECT row(status, provider_ref, sent_at = finished_at)::text FROM journey.outbox_history WHERE action_id = :'a'), '(sent,ref-9,t)', 'with its reference and the time it was said');
SELECT ok(NOT journey.resolve(:'a', 'failed'), 'once');
SELECT results_eq($$SELECT status FROM journey.contacts('{"customer_id": "G"}')$$, $$VALUES ('unknown'), ('sent')$$, 'of an attempt before it nobody knows still');
SELECT pg_temp.mail('H', 'm2') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.unknown(:'a', :t) \gset
SELECT pg_temp.at('13:21') \gset
SELECT count(*) AS n FROM journey.run_once() \gset
SELECT is(pg_temp.state(:'a'), 'pending 13:21 attempt 1 failures 1', 'retry plans it again under the same key');
SELECT pg_temp.mail('I', 'm3') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.unknown(:'a', :t) \gset
SELECT is(pg_temp.state(:'a'), 'final: unknown unknown', 'drop gives it up');

-- a late failure of what was unknown takes the place of not knowing
SELECT pg_temp.mail('K') AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.unknown(:'a', :t, 'timeout') \gset
SELECT journey.fail(:'a', :t, 'it was down', code => 'provider_down', retry_after => '1 minute') \gset
SELECT is(pg_temp.state(:'a'), 'pending provider_down 13:22 attempt 1 failures 0', 'a provider that was down takes no attempt, late as well');
SELECT pg_temp.at('13:22') \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.unknown(:'a', :t, 'timeout') \gset
SELECT journey.fail(:'a', :t, 'it failed', code => 'other') \gset
SELECT is(pg_temp.state(:'a'), 'pending other 13:23 attempt 2 failures 1', 'another failure takes one');

-- the last permit of what was refused, expired or cancelled after it is the one in the log
CREATE FUNCTION pg_temp.last_permit(a uuid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', h.status, h.attempt, to_char(h.granted_at AT TIME ZONE 'UTC', 'HH24:MI'),
                     CASE WHEN EXISTS (SELECT FROM journey.permit_batch b WHERE b.permit_batch = h.permit_batch) THEN 'with its batch' END)
    FROM journey.outbox_history h WHERE h.action_id = a
$$;
SELECT pg_temp.at('14:00') \gset
SELECT pg_temp.mail('L', enrolled => true) AS a \gset
SELECT pg_temp.send(:'a') AS t \gset
SELECT journey.fail(:'a', :t, 'down', code => 'provider_down', retry_after => '1 hour') \gset
SELECT pg_temp.mail('M') AS m \gset
SELECT pg_temp.send(:'m') AS t \gset
SELECT journey.fail(:'m', :t, 'down', code => 'provider_down', retry_after => '1 hour') \gset
SELECT pg_temp.at('15:00') \gset
SELECT token AS t FROM journey.claim('m1') WHERE action_id = :'a' \gset
SELECT journey.track('web', 'order_placed', '{"customer_id": "L"}', '{"order_id": "l"}') \gset
SELECT is((SELECT reason FROM journey.begin_send(:'a', :t)), 'ordered', 'an order stops the second permit');
SELECT is(pg_temp.last_permit(:'a'), 'refused 1 14:00 with its batch', 'the refused action keeps the first');

-- nobody claims it -------------------------------------------------------------
SELECT pg_temp.mail('J') AS a \gset
SELECT journey.set_clock('2026-03-09 12:00+00') \gset
SELECT count(*) AS n FROM journey.run_once() \gset
SELECT is(pg_temp.state(:'a'), 'final: expired expired', 'what nobody claims expires by itself');
SELECT is(pg_temp.last_permit(:'m'), 'expired 1 14:00 with its batch', 'and keeps its last permit');

-- I13 aside: these enrollments are of no journey, so that nothing leads them on
SELECT is_empty($$SELECT * FROM journey.check_invariants() WHERE invariant <> 'I13'$$, 'invariants hold');
SELECT * FROM finish();
