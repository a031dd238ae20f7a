-- Local time at the permit: what was decided in daylight and is claimed at night, and
-- caps by the person's calendar, at the hour that comes twice and the hour that never
-- comes, whatever the TimeZone of the sender's session.
-- mission: 129
\set QUIET on
SET client_min_messages = warning;
\ir ../fixtures/local_time.sql
SELECT plan(7);
SELECT journey.set_clock('2011-12-28 00:00+00') \gset
\ir ../lib/deliver.sql
SELECT journey.apply('{"kind": "policy", "name": "house", "zone": "UTC"}') \g /dev/null
SELECT pg_temp.person(who, zone => zone) FROM change \g /dev/null

CREATE TEMP TABLE cap (name text PRIMARY KEY, cap jsonb);
INSERT INTO cap SELECT name, jsonb_build_array(jsonb_build_object('scope', 'journey', 'channel', 'email', 'max', 1, 'per', per, 'window', kind, 'otherwise', 'hold'))
FROM (VALUES ('c_day', '1 day', 'calendar'), ('c_days', '2 days', 'calendar'), ('c_week', '7 days', 'calendar'), ('c_month', '1 month', 'calendar'), ('r_day', '1 day', 'rolling')) c(name, per, kind);

CREATE TEMP TABLE answer (n bigint, name text, granted boolean, reason text, retry_at timestamptz);
-- An action that is due now, claimed and put to the permit at once; what is held goes.
CREATE FUNCTION pg_temp.ask(n bigint, name text, who text, quiet jsonb, caps jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a uuid := pg_temp.action(who, journey => 'j_' || name, step => name, quiet => quiet, caps => coalesce(caps, '[]'), suppress_on => '[]');
    t bigint;
BEGIN
    SET LOCAL journey.allow_in_transaction = on;
    SELECT c.token INTO t FROM journey.claim('email', 100) c WHERE c.action_id = a;
    INSERT INTO answer SELECT n, name, b.granted, b.reason, b.retry_at FROM journey.begin_send(a, t) b WHERE t IS NOT NULL;
    IF NOT FOUND THEN
        INSERT INTO answer SELECT n, name, false, o.reason, o.claim_at FROM journey.outbox o WHERE o.action_id = a;
    END IF;
    DELETE FROM journey.outbox WHERE action_id = a;
END $$;
SELECT format('SET timezone = %L', (ARRAY['Pacific/Apia', 'America/New_York', 'UTC', 'Australia/Lord_Howe', 'Europe/Berlin'])[1 + n % 5]),
    format('SELECT journey.set_clock(%L)', at),
    format('SELECT pg_temp.ask(%s, name, %L, hours, NULL) FROM quiet', n, who),
    format('SELECT pg_temp.ask(%s, name, %L, NULL, cap) FROM cap', n, who)
FROM moment ORDER BY n \o /dev/null
\gexec
\o
SET timezone = 'UTC';

SELECT is((SELECT count(*) FROM answer), (SELECT count(*) FROM moment) * 11, 'every moment had its answers');
SELECT is_empty($$
    SELECT l.*, a.granted, a.reason, a.retry_at FROM loud l JOIN answer a USING (n, name) WHERE a.granted <> (l.until IS NULL)$$, 'a permit in quiet hours is refused, one outside is granted');
SELECT is_empty($$
    SELECT l.*, a.retry_at FROM loud l JOIN answer a USING (n, name)
    WHERE NOT a.granted AND (a.reason <> 'quiet_hours' OR a.retry_at NOT IN (l.until, coalesce(l.others, l.until)))$$,
    'and planned for when they end');
-- Each answer against the permits before it, by the calendar of the person.
CREATE FUNCTION pg_temp.window_of(name text, local timestamp, OUT first timestamp, OUT next timestamp) LANGUAGE sql AS $$
    SELECT CASE name WHEN 'c_day' THEN date_trunc('day', local) WHEN 'c_days' THEN date_trunc('day', local) - interval '1 day'
                     WHEN 'c_week' THEN date_trunc('week', local) WHEN 'c_month' THEN date_trunc('month', local) END,
           CASE name WHEN 'c_week' THEN date_trunc('week', local) + interval '7 days' WHEN 'c_month' THEN date_trunc('month', local) + interval '1 month'
                     ELSE date_trunc('day', local) + interval '1 day' END
$$;
CREATE TEMP VIEW judged AS
    SELECT m.*, a.name, a.granted, a.retry_at, w.first, w.next,
           (SELECT max(p.at) FROM moment p JOIN answer b ON b.n = p.n AND b.name = a.name WHERE b.granted AND p.who = m.who AND p.n < m.n) AS before
    FROM moment m JOIN answer a USING (n) JOIN cap USING (name) CROSS JOIN LATERAL pg_temp.window_of(a.name, m.at AT TIME ZONE m.zone) w;
SELECT is_empty($$SELECT * FROM judged WHERE granted <> CASE name WHEN 'r_day' THEN coalesce(before <= at - interval '24 hours', true)
    ELSE coalesce(before AT TIME ZONE zone < first, true) END$$, 'a cap counts days, weeks from Monday and months of the person''s calendar');
SELECT is_empty($$SELECT * FROM judged WHERE NOT granted AND name <> 'c_month' AND name <> 'c_week' AND retry_at IS DISTINCT FROM
    CASE name WHEN 'r_day' THEN before + interval '24 hours' ELSE pg_temp.first_at(zone, at, next) END$$, 'and what is held waits for the next midnight there, or for 24 hours to pass');
SELECT is_empty($$SELECT * FROM judged WHERE NOT granted AND name IN ('c_week', 'c_month') AND retry_at IS DISTINCT FROM
    (SELECT min(h) FROM generate_series(date_trunc('hour', at), at + interval '32 days', interval '30 minutes') h WHERE h AT TIME ZONE zone >= next)$$, 'the next Monday, the next first of the month');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
