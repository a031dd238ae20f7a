-- What ends soon after a pause is spread over what is left of its life, not over an hour.
-- What would break if this failed: a pause of a minute costs reminders that could still be sent.
-- mission: 215
\ir ../fixtures/orchestrate.sql
SELECT plan(9);
SELECT pg_temp.move('2026-03-04 09:00+00');
CREATE FUNCTION pg_temp.mail(name text, event text, send jsonb, steps jsonb, more jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT pg_temp.journey_doc(name, jsonb_build_object('on', event), steps || jsonb_build_object(
        'mail', jsonb_build_object('send', '{"channel": "email", "template": "t_plain"}'::jsonb || send, 'next', 'done'),
        'done', '{"exit": "finished"}'::jsonb), more)
$$;
SELECT journey.apply(jsonb_build_array(
    pg_temp.mail('ready', 'wishlist_added', '{"not_after": "2 hours"}', '{}', '{}'),
    pg_temp.mail('waits', 'favourite_added', '{}', '{"idle": {"wait": {"for": "90 minutes"}, "next": "mail"}}', '{"defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "20 minutes"}}')));
SELECT pg_temp.person('p' || n) FROM generate_series(1, 60) n;
SELECT journey.run_until_idle();
SELECT journey.track('shop', CASE WHEN n <= 30 THEN 'wishlist_added' ELSE 'favourite_added' END, pg_temp.who('p' || n), '{"sku": "A"}') FROM generate_series(1, 60) n;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.outbox), 30::bigint, 'thirty lie ready until eleven');
SELECT is((SELECT count(*) FROM journey.timer WHERE wake_at = '2026-03-04 10:30+00'), 30::bigint, 'thirty wake at half past ten, and end at ten to eleven');
SELECT journey.pause('channel', 'email', 'a minute');
SELECT journey.pause('journey', 'waits', 'the same');
SELECT journey.set_clock('2026-03-04 10:40+00');
SELECT journey.unpause('channel', 'email');
SELECT journey.unpause('journey', 'waits');
SELECT is((SELECT count(*) FROM journey.outbox WHERE claim_at > timestamptz '2026-03-04 10:50+00'), 0::bigint, 'actions have half of what is left of their life');
SELECT cmp_ok((SELECT max(claim_at) FROM journey.outbox), '>', '2026-03-04 10:45+00'::timestamptz, 'and are spread over it');
SELECT is((SELECT count(*) FROM journey.timer WHERE wake_at > timestamptz '2026-03-04 10:45+00'), 0::bigint, 'so have those who wait');
CREATE TEMP TABLE sent (journey text);
SELECT format($$SELECT journey.set_clock(%L), journey.run_until_idle();
    WITH c AS (SELECT * FROM journey.claim_and_begin('email', 100)), k AS (SELECT journey.ack(array_agg(action_id), array_agg(token)) FROM c HAVING count(*) > 0)
    INSERT INTO sent SELECT journey FROM c, k;
    SELECT journey.run_until_idle();
    SELECT pg_sleep(CASE WHEN extract(minute FROM %L::timestamptz) IN (49, 55) THEN 1.1 ELSE 0 END)$$, at, at)
FROM generate_series(timestamptz '2026-03-04 10:41+00', '2026-03-04 10:59+00', interval '1 minute') at \o /dev/null
\gexec
\o
SELECT results_eq('SELECT journey, count(*) FROM sent GROUP BY 1 ORDER BY 1', $$VALUES ('ready', 30::bigint), ('waits', 30)$$, 'all are sent');
SELECT is_empty($$SELECT * FROM journey.outbox_history WHERE status <> 'sent' AND reason <> 'too_late'$$, 'none expires');
-- a document that cannot be read keeps nobody in the pause
SELECT journey.track('shop', 'favourite_added', pg_temp.who('p1'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT journey.pause(reason => 'again');
UPDATE journey.document SET doc = jsonb_set(doc, '{defaults,not_after}', '"soon"') WHERE name = 'waits';
SELECT journey.set_clock('2026-03-05 12:00+00');
SELECT lives_ok('SELECT journey.unpause()', 'a document that cannot be read keeps nobody in the pause');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
