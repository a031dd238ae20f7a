-- A restart after two days of pause: what is stale is not sent, what is left is decided with
-- what is known by then, and it comes over an hour, not at once.
-- What would break if this failed: the flood of old reminders on the day after an outage.
-- mission: 215
\ir ../fixtures/orchestrate.sql
SELECT plan(20);
SELECT pg_temp.move('2026-03-04 09:00+00');

-- reminders of three lengths of life, one that has a condition, and what somebody has asked for
CREATE FUNCTION pg_temp.mail(name text, send jsonb, steps jsonb DEFAULT '{}', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT pg_temp.journey_doc(name, '{"on": "wishlist_added"}', steps || jsonb_build_object(
        'mail', jsonb_build_object('send', '{"channel": "email", "template": "t_plain"}'::jsonb || send, 'next', 'done'),
        'done', '{"exit": "finished"}'::jsonb), more)
$$;
\set idle '{"idle": {"wait": {"for": "1 hour"}, "next": "mail"}}'
SELECT journey.apply(jsonb_build_array(
    pg_temp.mail('short', '{"not_after": "1 day"}', :'idle'), pg_temp.mail('long', '{"not_after": "5 days"}', :'idle'),
    pg_temp.mail('ready', '{"not_after": "5 days", "require": [{"when": "profile.mood is null", "reason": "changed_mind"}]}'),
    pg_temp.journey_doc('told', '{"on": "order_paid"}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain", "not_after": "5 days"}, "next": "done"}, "done": {"exit": "finished"}}', '{"purpose": "transactional"}') - 'control'));
SELECT pg_temp.person('p' || n) FROM generate_series(1, 60) n;
SELECT journey.run_until_idle();
-- p1..p40 before the pause; p41..p50 while the worker goes on beside it; p51..p60 when nothing runs any more
CREATE FUNCTION pg_temp.wish(a int, b int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'wishlist_added', pg_temp.who('p' || n), '{"sku": "A"}') FROM generate_series(a, b) n;
END $$;
SELECT pg_temp.move('2026-03-04 10:00+00'), pg_temp.wish(1, 40);
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.outbox), 40::bigint, 'some actions lie ready');
SELECT is((SELECT count(*) FROM journey.timer), 80::bigint, 'and more will be due');
SELECT journey.pause(reason => 'an outage');
SELECT pg_temp.move('2026-03-04 20:00+00'), pg_temp.wish(41, 50);
SELECT pg_temp.move('2026-03-04 20:30+00');
SELECT journey.set_clock('2026-03-05 11:00+00'), pg_temp.wish(51, 60);
SELECT pg_temp.buy('p' || n, 'O' || n) FROM unnest(ARRAY[1, 2, 3, 41]) n;
SELECT journey.track('shop', 'identified', pg_temp.who('p' || n), '{"traits": {"mood": "sated"}}') FROM unnest(ARRAY[4, 5, 42]) n;
SELECT journey.track('shop', 'order_paid', pg_temp.who('p1'), '{"order_id": "O1"}');
SELECT journey.set_clock('2026-03-06 13:00+00');
SELECT is_empty($$SELECT * FROM journey.claim('email', 100)$$, 'nothing leaves in the pause');

-- Everything that can be sent now is, as a sender does it; what it was told is read at once.
CREATE TEMP TABLE sent (at timestamptz, journey text, person text, due_at timestamptz);
CREATE FUNCTION pg_temp.work() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    LOOP
        WITH c AS (SELECT * FROM journey.claim_and_begin('email', 100)), a AS (SELECT journey.ack(array_agg(action_id), array_agg(token)) FROM c HAVING count(*) > 0)
        INSERT INTO sent SELECT journey.clock(), c.journey, i.value, o.due_at
        FROM c JOIN journey.identity i ON i.profile_id = c.profile_id AND i.namespace = 'customer_id'
        JOIN journey.outbox o USING (action_id), a;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM journey.run_until_idle();
        EXIT WHEN n = 0 AND NOT EXISTS (SELECT FROM journey.outbox WHERE claim_at <= journey.clock());
    END LOOP;
END $$;
SELECT is(journey.unpause(), 'permits are granted again', 'the pause ends');
SELECT is((SELECT count(*) FROM journey.outbox WHERE claim_at <= journey.clock() AND not_after > journey.clock()), 0::bigint, 'nothing of what lay ready is there to be claimed at once');
SELECT is_empty($$
    SELECT profile_id FROM (SELECT profile_id, claim_at AS at FROM journey.outbox WHERE not_after > journey.clock() UNION ALL SELECT profile_id, wake_at FROM journey.timer) x
    WHERE at <> journey.clock() + interval '1 hour' * journey.assign('catch_up', profile_id)$$, 'everybody has a place of their own in the hour, which follows from the id');
SELECT cmp_ok((SELECT count(*) FROM journey.timer), '>', 10::bigint, 'also who still waits');
SELECT journey.run_until_idle();
SELECT pg_temp.work();
SELECT is((SELECT count(*) FROM sent WHERE journey IN ('ready', 'long') AND person <> ALL (SELECT 'p' || n FROM generate_series(51, 60) n)), 0::bigint, 'nor sent');
SELECT results_eq($$SELECT journey, person FROM sent WHERE journey = 'told'$$, $$VALUES ('told', 'p1')$$, 'what was asked for comes at once');
SELECT format($$SELECT journey.set_clock(%L), journey.run_until_idle(), pg_temp.work()$$, at)
FROM generate_series(timestamptz '2026-03-06 13:01+00', '2026-03-06 14:00+00', interval '1 minute') at \o /dev/null
\gexec
\o
-- a claim looks below its mark once a second of real time
SELECT pg_sleep(1.1), pg_temp.work();
SELECT is((SELECT count(*) FROM journey.outbox), 0::bigint, 'an hour later nothing is left');
SELECT is((SELECT count(*) FROM journey.timer), 0::bigint, 'neither here nor there');

-- nothing stale
SELECT is((SELECT count(*) FROM sent WHERE journey = 'short'), 0::bigint, 'a reminder of one day''s life is not sent after two');
SELECT set_eq($$SELECT DISTINCT d.verdict || ' ' || d.reason FROM journey.decision d JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)
    WHERE e.journey = 'short' AND d.kind = 'step' AND d.decided_at >= '2026-03-06 13:00+00'$$, $$VALUES ('refused too_late')$$, 'it is refused as that');
SELECT is_empty($$SELECT * FROM sent WHERE journey <> 'told' AND person IN ('p1', 'p2', 'p3', 'p41')$$, 'who has bought meanwhile gets no reminder');
SELECT set_eq($$SELECT i.value FROM journey.decision d JOIN journey.identity i ON i.profile_id = d.profile_id AND i.namespace = 'customer_id' WHERE d.reason = 'changed_mind'$$,
    ARRAY['p4', 'p5', 'p42'], 'where only a condition says so, it was looked at again');
SELECT is_empty($$SELECT o.* FROM journey.outbox_history o WHERE o.status = 'sent' AND (o.decided_at < '2026-03-06 13:00+00' OR o.not_after < o.sent_at)$$,
    'everything that was sent was decided after the pause, and within its time');
-- and all the rest
SELECT results_eq($$SELECT journey, count(*), count(DISTINCT person) FROM sent WHERE journey <> 'told' GROUP BY 1 ORDER BY 1$$,
    $$VALUES ('long', 56::bigint, 56::bigint), ('ready', 53, 53)$$, 'everybody else gets the two that live, once');
-- no flood
SELECT cmp_ok((SELECT max(n) FROM (SELECT count(*) AS n FROM sent WHERE journey <> 'told' AND person <> ALL (SELECT 'p' || n FROM generate_series(51, 60) n) GROUP BY at) x),
    '<=', 10::bigint, 'in no minute more than a tenth of them leaves');
SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
