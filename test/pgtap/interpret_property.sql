-- Every aggregate of a feature against an independent recount in plain SQL,
-- from what was sent, over random streams: late, ahead of their time, out of
-- order, sent twice, not fit to be taken, of people who are merged
-- or forgotten. The seed is printed; JOURNEY_SEED=0.123 runs one again.
SELECT plan(11);
\set seed `echo "${JOURNEY_SEED:-0.$(date +%N)}"`
SELECT diag('seed ' || :'seed');
SELECT setseed(:'seed'::float8);

CREATE TEMP TABLE sent (
    n bigint GENERATED ALWAYS AS IDENTITY,      -- the order of sending is that of the inbox
    lap integer, gone boolean NOT NULL DEFAULT false, who text, type text, props jsonb, occurred_at timestamptz, received_at timestamptz, message_id text);
-- Whose events are whose: two keys of one person share the person.
CREATE TEMP TABLE person (who text PRIMARY KEY, person text NOT NULL, subject jsonb NOT NULL);
INSERT INTO person SELECT 'c' || i, 'c' || i, jsonb_build_object('customer_id', 'c' || i) FROM generate_series(0, 4) AS i;
INSERT INTO person SELECT 'a' || i, 'a' || i, jsonb_build_object('anonymous_id', 'a' || i) FROM generate_series(0, 3) AS i;

CREATE TEMP TABLE feature AS
SELECT d ->> 'name' AS name, (d || '{"kind": "feature"}') - 'grain_us' AS doc FROM jsonb_array_elements($$[
    {"name": "views", "on": "product_viewed", "aggregate": "count"},
    {"name": "dear", "on": "product_viewed", "where": "event.price > 50", "aggregate": "count"},
    {"name": "views_7d", "on": "product_viewed", "aggregate": "count", "window": "7 days"},
    {"name": "spent", "on": "order_placed", "aggregate": "sum", "of": "amount"},
    {"name": "orders_all", "on": "order_placed", "aggregate": "count"},
    {"name": "spent_2d", "on": "order_placed", "aggregate": "sum", "of": "amount", "window": "2 days", "grain": "6 hours"},
    {"name": "cheapest", "on": "product_viewed", "aggregate": "min", "of": "price"},
    {"name": "dearest", "on": "product_viewed", "aggregate": "max", "of": "price"},
    {"name": "cheapest_3d", "on": "product_viewed", "aggregate": "min", "of": "price", "window": "3 days", "grain": "1 day"},
    {"name": "dearest_3d", "on": "product_viewed", "aggregate": "max", "of": "price", "window": "3 days", "grain": "1 day"},
    {"name": "first_name", "on": ["product_viewed", "cart_item_added"], "aggregate": "min", "of": "sku"},
    {"name": "last_name_3d", "on": ["product_viewed", "cart_item_added"], "aggregate": "max", "of": "sku", "window": "3 days", "grain": "1 day"},
    {"name": "price_avg", "on": "product_viewed", "aggregate": "avg", "of": "price"},
    {"name": "price_avg_3d", "on": "product_viewed", "aggregate": "avg", "of": "price", "window": "3 days", "grain": "1 day"},
    {"name": "skus", "on": ["product_viewed", "cart_item_added"], "aggregate": "distinct", "of": "sku"},
    {"name": "prices", "on": "product_viewed", "aggregate": "distinct", "of": "price"},
    {"name": "skus_2d", "on": ["product_viewed", "cart_item_added"], "aggregate": "distinct", "of": "sku", "window": "2 days", "grain": "1 hour"},
    {"name": "newest_sku", "on": "product_viewed", "aggregate": "last", "of": "sku"},
    {"name": "oldest_sku", "on": "product_viewed", "aggregate": "first", "of": "sku"},
    {"name": "since_order", "on": "order_placed", "aggregate": "days_since"},
    {"name": "heat", "on": "product_viewed", "aggregate": "decayed_count", "half_life": "3 days"},
    {"name": "worth", "on": "order_placed", "aggregate": "decayed_sum", "of": "amount", "half_life": "12 hours"},
    {"name": "seen", "on": "product_viewed", "aggregate": "recent", "of": "sku", "limit": 7},
    {"name": "seen_1d", "on": "product_viewed", "aggregate": "recent", "of": "sku", "limit": 7, "window": "1 day"},
    {"name": "dear_share", "aggregate": "ratio", "numerator": "dear", "denominator": "views"},
    {"name": "per_heat", "aggregate": "ratio", "numerator": "spent", "denominator": "heat"},
    {"name": "late_share", "aggregate": "ratio", "numerator": "views_7d", "denominator": "orders_all"}]$$) AS d;

-- A message's first telling counts, and none whose price is no number: it is set aside.
CREATE FUNCTION pg_temp.taken() RETURNS TABLE (person text, n bigint, at timestamptz, type text, sku text, price numeric, amount numeric) LANGUAGE sql AS $$
    SELECT p.person, s.n, least(s.occurred_at, s.received_at), s.type, s.props ->> 'sku',
           (s.props ->> 'price')::numeric, (s.props ->> 'amount')::numeric
    FROM sent AS s JOIN person AS p USING (who)
    WHERE s.props ->> 'price' IS DISTINCT FROM 'none' AND NOT s.gone
      AND NOT EXISTS (SELECT FROM sent AS before WHERE before.message_id = s.message_id AND before.n < s.n)
$$;
-- Is it in the window that ends now and moves by grains?
CREATE FUNCTION pg_temp.within(at timestamptz, size interval, grain interval) RETURNS boolean LANGUAGE sql AS $$
    SELECT g.event <= g.now AND g.event > g.now - ceil(extract(epoch FROM size) / extract(epoch FROM grain))
    FROM (SELECT floor((extract(epoch FROM at) - 946684800) / extract(epoch FROM grain)) AS event,
                 floor((extract(epoch FROM journey.clock()) - 946684800) / extract(epoch FROM grain)) AS now) AS g
$$;
CREATE FUNCTION pg_temp.fades(at timestamptz, half_life interval) RETURNS float8 LANGUAGE sql AS $$
    SELECT 2 ^ (extract(epoch FROM at - journey.clock())::float8 / extract(epoch FROM half_life)::float8)
$$;
CREATE FUNCTION pg_temp.expected() RETURNS TABLE (person text, value jsonb) LANGUAGE sql AS $$
    WITH counted AS (
        SELECT t.*, t.type = 'product_viewed' AS view, t.type IN ('product_viewed', 'cart_item_added') AS touch, t.type = 'order_placed' AS buy,
               pg_temp.within(at, '7 days', '1 hour') AS d7, pg_temp.within(at, '2 days', '6 hours') AS d2, pg_temp.within(at, '2 days', '1 hour') AS d2h,
               pg_temp.within(at, '3 days', '1 day') AS d3
        FROM pg_temp.taken() AS t
    ), simple AS (
        SELECT c.person,
            count(*) FILTER (WHERE view) AS views, count(*) FILTER (WHERE view AND price > 50) AS dear, count(*) FILTER (WHERE view AND d7) AS views_7d,
            coalesce(sum(amount) FILTER (WHERE buy), 0) AS spent, count(*) FILTER (WHERE buy) AS orders_all,
            coalesce(sum(amount) FILTER (WHERE buy AND d2), 0) AS spent_2d,
            min(price) FILTER (WHERE view) AS cheapest, max(price) FILTER (WHERE view) AS dearest,
            min(price) FILTER (WHERE view AND d3) AS cheapest_3d, max(price) FILTER (WHERE view AND d3) AS dearest_3d,
            min(sku COLLATE "C") FILTER (WHERE touch) AS first_name, max(sku COLLATE "C") FILTER (WHERE touch AND d3) AS last_name_3d,
            avg(price) FILTER (WHERE view) AS price_avg, avg(price) FILTER (WHERE view AND d3) AS price_avg_3d,
            count(DISTINCT sku) FILTER (WHERE touch) AS skus, count(DISTINCT price) FILTER (WHERE view) AS prices,
            count(DISTINCT sku) FILTER (WHERE touch AND d2h) AS skus_2d,
            (array_agg(sku ORDER BY at DESC, n DESC) FILTER (WHERE view AND sku IS NOT NULL))[1] AS newest_sku,
            (array_agg(sku ORDER BY at, n) FILTER (WHERE view AND sku IS NOT NULL))[1] AS oldest_sku,
            floor(extract(epoch FROM journey.clock() - max(at) FILTER (WHERE buy)) / 86400) AS since_order,
            coalesce(sum(pg_temp.fades(at, '3 days')) FILTER (WHERE view), 0) AS heat,
            coalesce(sum(amount::float8 * pg_temp.fades(at, '12 hours')) FILTER (WHERE buy), 0) AS worth,
            coalesce((array_agg(sku ORDER BY at DESC, n DESC) FILTER (WHERE view AND sku IS NOT NULL))[:7], '{}') AS seen,
            coalesce((array_agg(sku ORDER BY at DESC, n DESC) FILTER (WHERE view AND sku IS NOT NULL AND at > journey.clock() - interval '1 day'))[:7], '{}') AS seen_1d
        FROM counted AS c GROUP BY c.person
    )
    SELECT s.person, to_jsonb(s) - 'person' || jsonb_build_object(
        'dear_share', dear::numeric / nullif(views, 0), 'per_heat', spent / nullif(heat, 0)::numeric, 'late_share', views_7d::numeric / nullif(orders_all, 0))
    FROM simple AS s
$$;
-- Sums of floating-point numbers differ in the last digits with the order of their terms; nothing else may.
CREATE FUNCTION pg_temp.same(name text, a jsonb, b jsonb) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN name NOT IN ('heat', 'worth', 'per_heat') OR a = 'null' OR b = 'null' THEN a IS NOT DISTINCT FROM b
           ELSE abs(a::numeric - b::numeric) <= 1e-9 * greatest(abs(a::numeric), abs(b::numeric)) + 1e-15 END
$$;
CREATE FUNCTION pg_temp.mismatches() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s of %s: kept %s, recounted %s', f.name, e.person, k.value -> f.name, e.value -> f.name)
    FROM pg_temp.expected() AS e CROSS JOIN feature AS f
    CROSS JOIN LATERAL (SELECT journey.features(p.subject) AS value FROM person AS p WHERE p.who = e.person) AS k
    WHERE NOT pg_temp.same(f.name, k.value -> f.name, e.value -> f.name)
$$;
-- The rows themselves, byte for byte.
CREATE FUNCTION pg_temp.other_bytes() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s: kept %s, recounted %s', s.profile_id, s.kept, r.anew)
    FROM (SELECT profile_id, ROW(features, last_event_at, last_order_at, orders, events) AS kept FROM journey.profile_state) AS s
    LEFT JOIN (SELECT profile_id, ROW(features, last_event_at, last_order_at, orders, events) AS anew
               FROM journey._recount((SELECT array_agg(profile_id) FROM journey.profile_state))) AS r USING (profile_id)
    WHERE s.kept IS DISTINCT FROM r.anew
$$;
CREATE FUNCTION pg_temp.stream(lap integer, events integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sent (lap, who, type, props, occurred_at, received_at, message_id)
    SELECT lap, CASE WHEN random() < 0.3 THEN 'a' || floor(random() * 4) ELSE 'c' || floor(random() * 5) END, (ARRAY['product_viewed', 'product_viewed', 'order_placed', 'cart_item_added'])[1 + floor(random() * 4)::int],
           jsonb_strip_nulls(jsonb_build_object(
               'sku', CASE WHEN random() < 0.9 THEN 'S' || floor(random() * 40) END,
               'price', CASE WHEN random() < 0.1 THEN NULL WHEN random() < 0.1 THEN 'none' WHEN random() < 0.5 THEN round((random() * 9)::numeric) || '.0' ELSE round((random() * 100)::numeric, 2)::text END,
               'amount', round((random() * 50)::numeric, (random() * 3)::int), 'order_id', 'o' || lap || '-' || i, 'cart_id', 'k' || lap || '-' || i)),
           CASE WHEN random() < 0.1 THEN journey.clock() + interval '1 hour' * random()
                WHEN random() < 0.2 THEN journey.clock() - interval '60 days' * random()
                WHEN random() < 0.5 THEN date_trunc('hour', journey.clock()) - interval '1 hour' * floor(random() * 30)
                ELSE journey.clock() - interval '2 hours' * random() END,
           journey.clock(), 'm' || greatest(0, lap * 90 - floor(random() * 130))
    FROM generate_series(1, events) AS i;
    UPDATE sent SET message_id = NULL WHERE props ->> 'price' = 'none';
    SELECT journey.track('web', type, subject, props, occurred_at, message_id)
    FROM (SELECT * FROM sent JOIN person USING (who) WHERE sent.lap = stream.lap ORDER BY n) AS s;
$$;
-- Two people turn out to be one. What was sent before and after is theirs.
CREATE FUNCTION pg_temp.meet(a text, b text) RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('web', 'identified', (SELECT subject FROM person WHERE who = a) || (SELECT subject FROM person WHERE who = b));
    UPDATE person SET person = b WHERE person = a;
$$;

SELECT lives_ok($$SELECT journey.apply((SELECT jsonb_agg(doc) FROM feature))$$, 'every aggregate is applied');
SELECT is((SELECT count(*) FROM journey._feature_states() WHERE broken IS NOT NULL), 0::bigint, 'and can be computed');
CREATE TEMP TABLE wrong (lap integer, what text);
DO $$
BEGIN
    FOR lap IN 1..8 LOOP
        PERFORM journey.set_clock('2026-03-01 10:00+00'::timestamptz + lap * interval '11 hours 7 minutes');
        PERFORM pg_temp.stream(lap, 120);
        -- before, amid and after the events of a lap
        IF lap IN (3, 4, 6) THEN
            PERFORM pg_temp.meet('a' || lap / 2 - 1, 'c' || lap - 2);
            PERFORM pg_temp.stream(lap * 10, 30);
        END IF;
        COMMIT;
        PERFORM journey.run_until_idle();
        -- one who is forgotten, and comes again
        IF lap = 5 THEN
            PERFORM journey.erase('{"customer_id": "c3"}');
            COMMIT;
            PERFORM journey.run_until_idle();
            UPDATE sent SET gone = true WHERE who = 'c3';
        END IF;
        INSERT INTO wrong SELECT lap, pg_temp.mismatches();
        COMMIT;
    END LOOP;
END
$$;
SELECT is((SELECT count(*) FROM journey.merge_log), 3::bigint, 'three of the people were merged');
SELECT is(journey.features('{"customer_id": "c3"}') IS NOT NULL AND EXISTS (SELECT FROM sent WHERE gone), true, 'one was forgotten, and is somebody new');
SELECT cmp_ok((SELECT count(*) FROM pg_temp.taken()), '>', 400::bigint, 'some hundred events were taken');
SELECT is_empty('SELECT * FROM wrong', 'after each lap every feature equals its recount');
SELECT journey.set_clock(journey.clock() + interval '2 days 5 hours');
SELECT is_empty('SELECT pg_temp.mismatches()', 'also later, when windows have moved on and values have faded');
SELECT is_empty('SELECT pg_temp.other_bytes()', 'counted anew from the log, rows are the same byte for byte');

-- many different values: within three standard errors, and the same in any order
SELECT count(journey.track('web', 'product_viewed', '{"customer_id": "c0"}', jsonb_build_object('sku', 'many' || i)))
FROM (SELECT i FROM generate_series(1, 5000) AS i ORDER BY random()) AS s;
SELECT count(*) FROM journey.run_until_idle();
SELECT ok(abs((journey.features('{"customer_id": "c0"}') -> 'skus')::numeric / (5000 + (SELECT count(DISTINCT sku) FROM pg_temp.taken() WHERE person = 'c0' AND type <> 'order_placed')) - 1) < 0.0975,
          'approximate beyond 128, within three times the standard error');
SELECT is_empty('SELECT pg_temp.other_bytes()', 'and the same when it is counted anew');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
