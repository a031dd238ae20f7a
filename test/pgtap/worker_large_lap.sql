-- One lap of thousands of events, by heap and index, does what many small ones do by statements.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(9);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(jsonb_build_array(
    pg_temp.journey_doc('own_words', '{"on": "product_viewed", "key": "product", "when": "event.price >= 40 and event.price < 42"}',
        '{"idle": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}', '{"reentry": {"per": "key", "after": "7 days"}}'),
    pg_temp.journey_doc('known_too', '{"on": "product_viewed", "key": "product", "when": "orders.count = 0 and event.price < 3 and stage <> ''nowhere''"}',
        '{"idle": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}', '{"reentry": {"per": "key", "after": "7 days"}}'),
    pg_temp.journey_doc('in_vain', '{"on": "product_viewed", "key": "product", "when": "event.price / 0 > 1 and event.price < 0"}',
        '{"done": {"exit": "finished"}}')));
SELECT pg_temp.move('2026-03-02 11:00+00');

-- 4,300 events of 700 people, one in fifty of them twice: two laps' portions and some
CREATE FUNCTION pg_temp.views(prefix text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.inbox_copy (source, type, occurred_at, message_id, subject, props)
    SELECT 'web', 'product_viewed', timestamptz '2026-03-02 10:30+00' + i * interval '1 ms', prefix || i - (i % 50 = 0)::integer,
           jsonb_build_object('customer_id', prefix || i % 700), jsonb_build_object('sku', 's' || i % 10, 'price', i % 97)
    FROM generate_series(1, 4300) AS i
$$;
CREATE FUNCTION pg_temp.counted() RETURNS TABLE (journey text, entered bigint, not_entered bigint) LANGUAGE sql AS $$
    SELECT d.journey, sum(d.entered)::bigint, sum(d.not_entered)::bigint FROM journey.journey_day d
    WHERE d.journey IN ('own_words', 'known_too', 'in_vain') GROUP BY d.journey
$$;
CREATE FUNCTION pg_temp.people(prefix text) RETURNS TABLE (customer text, events bigint, stage text, features jsonb, entered text[]) LANGUAGE sql AS $$
    SELECT substr(i.value, 2), s.events, s.stage, journey.features(jsonb_build_object('customer_id', i.value)),
           (SELECT array_agg(e.journey || ' ' || e.key ORDER BY e.journey, e.key) FROM journey.enrollment e WHERE e.bucket = s.bucket AND e.profile_id = s.profile_id)
    FROM journey.identity i JOIN journey.profile_state s ON s.bucket = i.profile_bucket AND s.profile_id = i.profile_id
    WHERE i.namespace = 'customer_id' AND i.value LIKE prefix || '%'
$$;

SELECT pg_temp.views('a');
CREATE TEMP TABLE lap AS SELECT * FROM journey.run_once(10000);
SELECT is((SELECT array_agg(value ORDER BY name) FROM lap WHERE name IN ('events', 'duplicates')), ARRAY[86, 4300]::bigint[], 'one lap takes them all');
SELECT is((SELECT count(*) FROM journey.event WHERE message_id LIKE 'a%'), 4214::bigint, 'and logs each once');
SELECT count(*) FROM journey.run_until_idle();
CREATE TEMP TABLE first AS SELECT * FROM pg_temp.counted();
-- what comes twice is the one before it
CREATE TEMP TABLE told AS SELECT i % 700 AS person, i % 10 AS sku, i % 97 AS price FROM generate_series(1, 4300) AS i WHERE i % 50 <> 0;
SELECT is((SELECT not_entered FROM first WHERE journey = 'own_words'), (SELECT count(*) FROM told WHERE price NOT IN (40, 41)), 'what the event itself rules out is counted');
SELECT is((SELECT entered FROM first WHERE journey = 'own_words'), (SELECT count(DISTINCT (person, sku)) FROM told WHERE price IN (40, 41)), 'others enter, once per key');
SELECT is((SELECT entered FROM first WHERE journey = 'known_too'), (SELECT count(DISTINCT (person, sku)) FROM told WHERE price < 3), 'also where more is asked than the event says');
SELECT is((SELECT not_entered FROM first WHERE journey = 'in_vain'), (SELECT count(*) FROM told), 'and nobody where it is never true');

-- the same again, of others
SET journey.direct_access = off;
SELECT pg_temp.views('b');
DO $$ BEGIN WHILE (SELECT value FROM journey.run_once(400) WHERE name = 'events') > 0 LOOP COMMIT; END LOOP; END $$;
SELECT count(*) FROM journey.run_until_idle();
RESET journey.direct_access;
SELECT results_eq('SELECT * FROM pg_temp.people(''a'') ORDER BY 1', 'SELECT * FROM pg_temp.people(''b'') ORDER BY 1', 'people are as those of many small laps');
SELECT results_eq('SELECT journey, entered * 2, not_entered * 2 FROM first ORDER BY 1', 'SELECT * FROM pg_temp.counted() ORDER BY 1', 'as many enter and do not');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
