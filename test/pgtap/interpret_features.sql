-- Features equal a recount of the event log: random streams with late,
-- duplicate and out-of-order events, and features that came later.
SELECT plan(16);
CREATE FUNCTION pg_temp.feature(doc jsonb, owner text DEFAULT 'journey_owner') RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, activated_by, activated_at, digest)
    VALUES ('feature', doc ->> 'name', 1, 'active', doc, '[]', owner, 'test', now(), 'test', now(), md5(doc::text));
    SELECT journey._invalidate('journey.document');
$$;
CREATE FUNCTION pg_temp.mismatches() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s of %s: kept %s, recounted %s', f.key, i.value, f.value, journey._feature_recount(f.key, i.profile_id))
    FROM journey.identity i
    CROSS JOIN LATERAL jsonb_each(journey.features(jsonb_build_object('customer_id', i.value))) f
    WHERE i.namespace = 'customer_id' AND f.value IS DISTINCT FROM journey._feature_recount(f.key, i.profile_id)
$$;
-- What is kept, not what a reader would count from the log.
CREATE FUNCTION pg_temp.kept() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM journey.profile_state WHERE features IS NOT NULL
$$;
CREATE FUNCTION pg_temp.stream(lap integer, at timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(journey.track('web',
        (ARRAY['product_viewed', 'order_placed', 'cart_item_added'])[1 + (random() * 2)::int],
        jsonb_build_object('customer_id', 'c' || c),
        jsonb_build_object('sku', 'S' || (random() * 3)::int, 'price', round((random() * 100)::numeric, 2),
                           'amount', round((random() * 50)::numeric, 3), 'order_id', 'o' || lap || '-' || i,
                           'cart_id', 'k' || c, 'points', (ARRAY['12', 'none', '7.5'])[1 + (random() * 2)::int]),
        CASE WHEN random() < 0.1 THEN at + interval '1 year' * random()
             WHEN random() < 0.3 THEN at - interval '60 days' * random()
             ELSE at - interval '2 hours' * random() END,
        'm' || lap || '-' || (random() * 90)::int))
    FROM (SELECT i, (random() * 5)::int AS c FROM generate_series(1, 100) AS i) AS t
$$;
SELECT pg_temp.feature('{"kind": "feature", "name": "views", "on": "product_viewed", "aggregate": "count"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "views_7d", "on": "product_viewed", "aggregate": "count", "window": "7 days"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "dear_30d", "on": ["product_viewed", "cart_item_added"], "where": "event.price > 50 and event.sku <> ''S1''", "aggregate": "count", "window": "30 days", "grain": "1 day"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "spent", "on": "order_placed", "aggregate": "sum", "of": "amount"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "spent_3h", "on": "order_placed", "aggregate": "sum", "of": "event.amount * 2", "window": "3 hours"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "last_sku", "on": ["product_viewed", "cart_item_added"], "aggregate": "last", "of": "sku"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "first_price", "on": "product_viewed", "aggregate": "first", "of": "price"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "points", "on": "product_viewed", "aggregate": "sum", "of": "event.points::numeric"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "days_since_order_placed", "on": "order_placed", "aggregate": "days_since"}');
SELECT is((SELECT count(*) FROM journey._feature_states() WHERE broken IS NOT NULL), 0::bigint, 'all compile');

SELECT setseed(0.42);
DO $$
BEGIN
    FOR lap IN 1..8 LOOP
        PERFORM journey.set_clock('2026-03-01 10:00+00'::timestamptz + lap * interval '11 hours');
        PERFORM pg_temp.stream(lap, journey.clock());
        COMMIT;
        PERFORM journey.run_until_idle();
        COMMIT;
    END LOOP;
END
$$;
SELECT cmp_ok((SELECT count(*) FROM journey.event), '>', 300::bigint, 'a few hundred events came through');
SELECT is(pg_temp.kept(), 6::bigint, 'every person has a vector');
SELECT is_empty($$SELECT pg_temp.mismatches()$$, 'kept incrementally, features equal a recount');
SELECT journey.set_clock('2026-03-08 09:30+00');
SELECT is_empty($$SELECT pg_temp.mismatches()$$, 'also days later, when windows have moved on');

-- the vector itself, and the rest of the row
SELECT is_empty($$SELECT s.profile_id, s.orders, r.orders, s.events, r.events FROM journey.profile_state s
                  LEFT JOIN journey._recount((SELECT array_agg(profile_id) FROM journey.profile_state)) r USING (profile_id)
                  WHERE ROW(s.features, s.last_event_at, s.last_order_at, s.orders, s.events)
                        IS DISTINCT FROM ROW(r.features, r.last_event_at, r.last_order_at, r.orders, r.events)$$,
                'counted anew, all that is kept of a person is the same, byte for byte');

-- a feature younger than the people
SELECT pg_temp.feature('{"kind": "feature", "name": "carts", "on": "cart_item_added", "aggregate": "count"}');
SELECT is(journey.features('{"customer_id": "c1"}') -> 'carts', 'null', 'a new feature is unknown until it has been counted for everybody');
SELECT pg_temp.stream(9, journey.clock());
SELECT count(*) FROM journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.mismatches()$$, 'then it equals a recount');
UPDATE journey.profile_state SET features = NULL;
SELECT is_empty($$SELECT pg_temp.mismatches()$$, 'where a vector has been emptied, features are counted from the log for whoever is asked for');
SELECT pg_temp.stream(10, journey.clock());
SELECT count(*) FROM journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.mismatches()$$, 'and for whoever comes along');

-- what cannot work says why, and rules that read it know nothing
SELECT pg_temp.feature('{"kind": "feature", "name": "sum_of_words", "on": "product_viewed", "aggregate": "sum", "of": "sku"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "nosy", "on": "product_viewed", "where": "cart.items > 1", "aggregate": "count"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "of_a_superuser", "on": "product_viewed", "where": "event.price > 1", "aggregate": "count"}', 'postgres');
SELECT results_eq($$SELECT name, broken FROM journey._feature_states() WHERE broken IS NOT NULL ORDER BY name COLLATE "C"$$,
                  $$VALUES ('nosy', 'feature "nosy" reads "cart.items" in where'),
                           ('of_a_superuser', 'rules of superuser "postgres" are not evaluated'),
                           ('sum_of_words', 'feature "sum_of_words" sums something that is no number')$$, 'broken features say why');
SELECT is((SELECT verdict FROM journey.explain_rule('nosy >= 0', '{"customer_id": "c1"}')), 'unknown', 'and are unknown, not zero');
SELECT throws_ok($$SELECT journey._feature_check('{"name": "x", "on": "product_viewed", "aggregate": "median"}')$$, '22023', NULL, 'an aggregate that nobody knows');
SELECT throws_ok($$SELECT journey._feature_check('{"name": "x", "on": "product_viewed", "aggregate": "count", "window": "1 year", "grain": "1 minute"}')$$, '22023', NULL, 'too fine a grain');
SELECT is(journey.features('{"customer_id": "nobody"}'), NULL, 'nobody has no features');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
