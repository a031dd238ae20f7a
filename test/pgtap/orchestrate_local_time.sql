-- Local time in journeys: quiet hours, calendar caps, waits and rules in the zone of the
-- person, at the hour that comes twice and the hour that never comes, whatever the
-- TimeZone of the session that runs the lap.
-- mission: 129
\ir ../fixtures/orchestrate.sql
\ir ../fixtures/local_time.sql
SELECT plan(12);
SELECT results_eq($$SELECT count(*) FROM change WHERE who <> 'kolkata' AND at AT TIME ZONE zone - (at - interval '1 minute') AT TIME ZONE zone <> interval '1 minute'$$,
    ARRAY[9::bigint], 'the clocks change where the test says so');
SELECT pg_temp.move('2011-12-28 00:00+00');

-- one mail per journey and moment
CREATE FUNCTION pg_temp.mail(name text, more jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT pg_temp.journey_doc(name, '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
        '{"reentry": {"per": "key", "after": "0 days"}}' || more)
$$;
SELECT journey.apply(pg_temp.mail('q_' || name, jsonb_build_object('quiet_hours', hours || '{"zone": "profile", "otherwise": "hold"}'))) FROM quiet;
SELECT journey.apply(pg_temp.mail('d_night', '{"quiet_hours": {"from": "21:00", "to": "08:00", "otherwise": "drop"}}'));
CREATE TEMP TABLE cap (name text PRIMARY KEY, per text, calendar text);
INSERT INTO cap VALUES ('c_day', '1 day', 'calendar'), ('c_days', '2 days', 'calendar'), ('c_week', '7 days', 'calendar'), ('c_month', '1 month', 'calendar'), ('r_day', '1 day', 'rolling');
SELECT journey.apply(pg_temp.mail(name, jsonb_build_object('priority', 50, 'caps',
    jsonb_build_array(jsonb_build_object('scope', 'journey', 'channel', 'email', 'max', 1, 'per', per, 'window', calendar, 'otherwise', 'drop'))))) FROM cap;
CREATE TEMP TABLE pause (name text PRIMARY KEY, days interval, rest interval, span text);
INSERT INTO pause VALUES ('w_day', '1 day', '0', '1 day'), ('w_hours', '0', '24 hours', '24 hours'), ('w_both', '1 day', '90 minutes', '1 day 90 minutes'), ('w_month', '1 month', '0', '1 month');
SELECT journey.apply(pg_temp.journey_doc(name, '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    jsonb_build_object('idle', jsonb_build_object('wait', jsonb_build_object('for', span), 'next', 'done'), 'done', '{"exit": "finished"}'::jsonb),
    '{"reentry": {"per": "key", "after": "0 days"}}')) FROM pause;
SELECT journey.apply(pg_temp.journey_doc('b_hour', '{"on": "wishlist_added", "key": {"product": "event.sku"}}',
    '{"look": {"branch": [{"when": "extract(hour from now) between 9 and 20", "to": "day"}], "on_unknown": "done", "else": "night"}, "day": {"exit": "day"}, "night": {"exit": "night"}, "done": {"exit": "finished"}}',
    '{"reentry": {"per": "key", "after": "0 days"}}'));

-- people
SELECT journey.track('shop', 'identified', pg_temp.who(who), jsonb_build_object('traits', jsonb_build_object('zone', zone))), pg_temp.person(who) FROM change \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

-- Each moment is a lap of its own, by a session that is elsewhere; what is due is sent.
CREATE FUNCTION pg_temp.send_all() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    tokens bigint[];
BEGIN
    SELECT array_agg(action_id), array_agg(token) INTO ids, tokens FROM journey.claim('email', 1000);
    IF ids IS NOT NULL THEN
        SET LOCAL journey.allow_in_transaction = on;
        PERFORM journey.begin_send(ids, tokens);
        PERFORM journey.ack(ids, tokens);
    END IF;
END $$;
CREATE TEMP TABLE planned (n bigint, journey text, due_at timestamptz);
CREATE TEMP TABLE woken (n bigint, journey text, wake_at timestamptz);
SELECT format('SET timezone = %L', (ARRAY['America/New_York', 'UTC', 'Europe/Berlin', 'Pacific/Apia', 'Australia/Lord_Howe'])[1 + n % 5]),
    format('SELECT journey.set_clock(%L)', at),
    'SELECT journey.run_until_idle()',
    format($$SELECT journey.track('shop', 'wishlist_added', pg_temp.who(%L), '{"sku": "m%s"}')$$, who, n),
    'SELECT journey.run_until_idle()',
    format($$INSERT INTO planned SELECT %s, journey, due_at FROM journey.outbox WHERE enrollment_id IN (SELECT enrollment_id FROM journey.enrollment WHERE key = 'm%1$s')$$, n),
    format($$INSERT INTO woken SELECT %s, e.journey, t.wake_at FROM journey.timer t JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id) WHERE e.key = 'm%1$s' AND e.step = 'idle'$$, n),
    'SELECT pg_temp.send_all()'
FROM moment ORDER BY n \o /dev/null
\gexec
\o
SET timezone = 'UTC';

-- quiet hours
SELECT is_empty($$
    SELECT l.*, p.due_at FROM loud l LEFT JOIN planned p ON p.n = l.n AND p.journey = 'q_' || l.name
    WHERE p.due_at IS NULL OR p.due_at NOT IN (coalesce(l.until, l.at), coalesce(l.others, l.until, l.at))$$, 'quiet hours end when the clock on the wall says so');
SELECT is_empty($$
    SELECT l.*, d.verdict, d.reason FROM loud l
    JOIN journey.enrollment e ON e.key = 'm' || l.n AND e.journey = 'd_night'
    JOIN journey.decision d USING (bucket, profile_id, enrollment_id)
    WHERE l.name = 'night' AND d.kind = 'step' AND (d.reason IS NOT DISTINCT FROM 'quiet_hours') = (l.until IS NULL)$$, 'and what is not held is dropped then, and only then');
SELECT is((SELECT count(*) FROM planned WHERE journey = 'q_night'), (SELECT count(*) FROM moment), 'every moment was played');

-- calendar caps: what had to be let through, step by step
CREATE FUNCTION pg_temp.let_through(cap_name text) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
    m moment;
    c cap := (SELECT c FROM cap c WHERE name = cap_name);
    since timestamp;
    sent jsonb := '{}';
BEGIN
    FOR m IN SELECT * FROM moment ORDER BY n LOOP
        since := CASE c.per WHEN '1 day' THEN date_trunc('day', m.at AT TIME ZONE m.zone) WHEN '2 days' THEN date_trunc('day', m.at AT TIME ZONE m.zone) - interval '1 day'
                            WHEN '7 days' THEN date_trunc('week', m.at AT TIME ZONE m.zone) ELSE date_trunc('month', m.at AT TIME ZONE m.zone) END;
        IF (CASE c.calendar WHEN 'calendar' THEN coalesce((sent ->> m.who)::timestamptz AT TIME ZONE m.zone < since, true)
                           ELSE coalesce((sent ->> m.who)::timestamptz <= m.at - interval '24 hours', true) END) THEN
            sent := sent || jsonb_build_object(m.who, m.at);
            RETURN NEXT m.n;
        END IF;
    END LOOP;
END $$;
SELECT set_eq(format($$SELECT n FROM planned WHERE journey = %L$$, name), format('SELECT pg_temp.let_through(%L)', name),
    format('a cap per %s (%s) lets through what the calendar there does', per, calendar)) FROM cap;

-- waits: days by the calendar, hours as they pass
SELECT is_empty($$
    SELECT m.*, w.journey, w.wake_at, x.wanted FROM moment m CROSS JOIN pause p
    LEFT JOIN woken w ON w.n = m.n AND w.journey = p.name
    CROSS JOIN LATERAL (SELECT CASE WHEN p.days = '0' THEN m.at + p.rest
        ELSE pg_temp.first_at(m.zone, (m.at + p.days) - interval '25 hours', m.at AT TIME ZONE m.zone + p.days) + p.rest END AS wanted) x
    WHERE w.wake_at IS DISTINCT FROM x.wanted$$, 'waits end at the same local time days later, and hours later after as many hours');
-- rules
SELECT is_empty($$
    SELECT m.*, e.exit_reason FROM moment m LEFT JOIN journey.enrollment e ON e.key = 'm' || m.n AND e.journey = 'b_hour'
    WHERE e.exit_reason IS DISTINCT FROM CASE WHEN extract(hour FROM m.at AT TIME ZONE m.zone) BETWEEN 9 AND 20 THEN 'day' ELSE 'night' END$$, 'a branch on the hour reads the person''s clock');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
