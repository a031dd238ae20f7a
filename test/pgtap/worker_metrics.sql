-- stat_journey and metrics: what is counted by the laps is what the tables say,
-- and monitoring reads it without a right to anything else.
\set QUIET on
SET client_min_messages = warning;
SET journey.allow_in_transaction = on;
SELECT plan(27);
SELECT journey.apply('[{"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "marketing", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed", "when": "event.sku is null"}], "reentry": {"per": "person", "after": "1 day"},
  "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"], "control": {"holdout": 0.3},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "rest"}, "rest": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}}]') \g /dev/null
SELECT journey.resume() \g /dev/null
SELECT journey.track('web', 'identified', jsonb_build_object('customer_id', n, 'email', n || '@x.example'), '{}'),
       CASE WHEN n <> 20 THEN journey.track('web', 'consent_granted', jsonb_build_object('customer_id', n), '{"channel": "email", "purpose": "marketing"}') END
FROM generate_series(1, 20) n \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.track('web', 'cart_viewed', jsonb_build_object('customer_id', n), CASE n WHEN 19 THEN '{"sku": "X"}' ELSE '{}' END::jsonb) FROM generate_series(1, 20) n \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
CREATE TEMP TABLE held AS SELECT row_number() OVER () AS n, c.action_id, c.token, c.profile_id FROM journey.claim_and_begin('email', 6) c;
SELECT is((SELECT count(*) FROM held), 6::bigint, 'six messages are on their way');
SELECT journey.ack(action_id, token, 'a') FROM held WHERE n = 1 \g /dev/null
SELECT journey.fail(action_id, token, 'no', code => 'content_rejected') FROM held WHERE n = 2 \g /dev/null
SELECT journey.unknown(action_id, token, 'line lost') FROM held WHERE n = 3 \g /dev/null
-- one buys while it is on its way, one before it is claimed, one while nobody has it
CREATE FUNCTION pg_temp.buys(p uuid) RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('web', 'order_placed', jsonb_build_object('customer_id', (SELECT value FROM journey.identity WHERE profile_id = p AND namespace = 'customer_id')),
                         jsonb_build_object('order_id', p)) $$;
SELECT pg_temp.buys(profile_id) FROM held WHERE n = 4 \g /dev/null
CREATE TEMP TABLE waiting AS SELECT row_number() OVER (ORDER BY action_id) AS n, profile_id FROM journey.outbox WHERE status = 'pending';
SELECT pg_temp.buys(profile_id) FROM waiting WHERE n = 1 \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.ack(action_id, token, 'b') FROM held WHERE n = 4 \g /dev/null
SELECT pg_temp.buys(profile_id) FROM waiting WHERE n = 2 \g /dev/null
SELECT count(*) FROM journey.claim('email', 100) \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

SELECT is((SELECT entered FROM journey.stat_journey), (SELECT count(*) FROM journey.enrollment), 'entered: as many as there are enrollments');
SELECT is((SELECT not_entered FROM journey.stat_journey), 1::bigint, 'not_entered: the condition that did not hold');
SELECT is((SELECT ended FROM journey.stat_journey), (SELECT count(*) FROM journey.enrollment WHERE exited_at IS NOT NULL), 'ended');
SELECT is((SELECT active FROM journey.stat_journey), (SELECT count(*) FROM journey.enrollment WHERE exited_at IS NULL), 'active: the rest');
SELECT is((SELECT held_out FROM journey.stat_journey), (SELECT count(*) FROM journey.enrollment WHERE status = 'held_out'), 'held_out');
SELECT isnt((SELECT held_out FROM journey.stat_journey), 0::bigint, 'some are');
SELECT is((SELECT withheld FROM journey.stat_journey), (SELECT count(*) FROM journey.decision WHERE kind = 'step' AND verdict = 'refused' AND reason <> 'holdout'), 'withheld');
SELECT is((SELECT enqueued FROM journey.stat_journey), (SELECT count(*) FROM journey.decision WHERE verdict = 'enqueue'), 'enqueued');
SELECT results_eq('SELECT cancelled, sent, stopped, dead, unknown FROM journey.stat_journey',
    $$SELECT count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE status = 'sent'), count(*) FILTER (WHERE status IN ('refused', 'expired')),
             count(*) FILTER (WHERE status = 'dead'), (SELECT count(*) FROM journey.outbox WHERE status = 'unknown')
      FROM journey.outbox_history$$, 'outcomes, one by one, as the tables have them');
SELECT results_eq('SELECT cancelled, sent, stopped, dead, unknown FROM journey.stat_journey', 'VALUES (1::bigint, 2::bigint, 1::bigint, 1::bigint, 1::bigint)',
    'what was on its way when its journey ended is counted, too');
SELECT is((SELECT version FROM journey.stat_journey), 1, 'the live version');
SELECT is((SELECT since FROM journey.stat_journey), current_date, 'since when');

SELECT is((SELECT value FROM journey.metrics WHERE name = 'journey_sent_total' AND labels = '{"journey": "cart"}'), 2::double precision, 'the same as a metric');
SELECT is((SELECT string_agg(labels ->> 'mode', ',') FROM journey.metrics WHERE name = 'journey_mode' AND value = 1), 'live', 'one mode holds');
SELECT is((SELECT value FROM journey.metrics WHERE name = 'journey_outbox_actions' AND labels = '{"channel": "email", "status": "sending"}'), 2::double precision, 'the outbox by channel and status');
SELECT is((SELECT value FROM journey.metrics WHERE name = 'journey_inbox_events'), 0::double precision, 'nothing waits in the inbox');
SELECT journey.track('web', 'product_viewed', '{"customer_id": "1"}', '{"sku": "X"}') FROM generate_series(1, 3) \g /dev/null
SELECT is((SELECT value FROM journey.metrics WHERE name = 'journey_inbox_events'), 3::double precision, 'then something does');
SELECT is((SELECT value FROM journey.metrics WHERE name = 'journey_inbox_events'), (SELECT events::double precision FROM journey._unconsumed()), 'which is what health counts');
SELECT is((SELECT count(*) FROM (SELECT name, labels FROM journey.metrics GROUP BY 1, 2 HAVING count(*) > 1) x), 0::bigint, 'no sample comes twice');
SELECT is_empty($$SELECT name FROM journey.metrics WHERE name !~ '^journey_[a-z_]+$' OR kind = 'counter' AND name !~ '_total$' OR help = '' OR value IS NULL$$, 'names and types as Prometheus wants them');
SELECT is_empty($$SELECT line FROM regexp_split_to_table(journey.metrics_text(), E'\n') line
    WHERE line <> '' AND line !~ '^# (HELP|TYPE) journey_[a-z_]+ ' AND line !~ '^journey_[a-z_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? [0-9.e+-]+$'$$, 'the text is what Prometheus reads');
SELECT journey.pause('journey', 'cart', 'x') \g /dev/null
INSERT INTO journey.pause VALUES ('scope', E'a"b\\c\nd', NULL, 'x', now());
SELECT matches(journey.metrics_text(), 'journey_paused\{name="a\\"b\\\\c\\nd",what="scope"\} 1', 'odd names are quoted');
DELETE FROM journey.pause;

GRANT USAGE ON SCHEMA public TO journey_monitor;
SET ROLE journey_monitor;
SELECT lives_ok('SELECT * FROM journey.metrics, journey.stat_journey, journey.stat_worker', 'a monitor may read them');
SELECT throws_ok('SELECT * FROM journey.outbox', '42501', NULL, 'and nothing of people');
RESET ROLE;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is((SELECT count(*) FROM journey.metrics WHERE name ~ 'inbox_events'), 0::bigint, 'at SERIALIZABLE the inbox is left out');
COMMIT;
SELECT journey.run_until_idle() \g /dev/null
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
