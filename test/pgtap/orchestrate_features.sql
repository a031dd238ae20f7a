-- Every kind of feature passes lint and apply(), and what is kept equals a recount.
SET client_min_messages = warning;
SELECT plan(23);
CREATE FUNCTION pg_temp.codes(change jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(DISTINCT code, ' '), '') FROM journey.lint('{"kind": "feature", "name": "f", "on": "order_placed", "aggregate": "sum", "of": "amount"}' || change)
    WHERE severity = 'error'
$$;
SELECT is(pg_temp.codes('{}'), '', 'the bare name of a property is a value');
SELECT is(pg_temp.codes('{"of": "event.amount * 2"}'), '', 'an expression, too');
SELECT is(pg_temp.codes('{"of": "amount * 2"}'), 'broken_condition', 'but no bare name within one');
SELECT is(pg_temp.codes('{"window": "7 days", "grain": "1 hour"}'), '', 'a grain fits its window');
SELECT is(pg_temp.codes('{"grain": "1 hour"}'), 'feature_grain', 'a grain without a window');
SELECT is(pg_temp.codes('{"window": "1 hour", "grain": "1 day"}'), 'feature_grain', 'a grain above its window');
SELECT is(pg_temp.codes('{"window": "12 months", "grain": "1 minute"}'), 'feature_grain', 'a grain that is too fine');

SELECT is(pg_temp.codes('{"aggregate": "avg", "window": "7 days"}'), '', 'an average within a window');
SELECT is(pg_temp.codes('{"aggregate": "distinct", "window": "7 days", "grain": "1 hour"}'), 'feature_grain', 'a distinct of too many grains');
SELECT is(pg_temp.codes('{"aggregate": "decayed_sum", "window": "7 days"}'), 'feature_half_life feature_window', 'a decayed sum has a half-life, no window');
SELECT is(pg_temp.codes('{"half_life": "7 days"}'), 'feature_half_life', 'and nothing else has');
SELECT is(pg_temp.codes('{"aggregate": "recent", "of": "sku"}'), 'feature_limit', 'recent values have a limit');
SELECT is(pg_temp.codes('{"limit": 5}'), 'feature_limit', 'and nothing else has');
SELECT is((SELECT string_agg(code, ' ') FROM journey.lint('{"kind": "feature", "name": "f", "aggregate": "sum", "of": "amount"}') WHERE severity = 'error'), 'feature_on', 'a sum is of events');
SELECT is((SELECT string_agg(DISTINCT code, ' ' ORDER BY code) FROM journey.lint('[{"kind": "feature", "name": "r", "aggregate": "ratio", "numerator": "cart_adds_7d", "denominator": "product_views_7d"},
    {"kind": "feature", "name": "rr", "aggregate": "ratio", "numerator": "r", "denominator": "nothing_such", "on": "order_placed"}]') WHERE severity = 'error'),
    'feature_ratio unknown_feature', 'a ratio is of two features that are there, and are no ratios');
SELECT lives_ok($$SELECT journey.apply('{"kind": "feature", "name": "adds_per_view", "aggregate": "ratio", "numerator": "cart_adds_7d", "denominator": "product_views_7d"}')$$, 'and is applied');
SELECT throws_ok($$SELECT journey.retire('feature', 'cart_adds_7d')$$, '2BP01', NULL, 'what it is made of stays');
SELECT lives_ok($$SELECT journey.apply('[
    {"kind": "feature", "name": "views", "on": "product_viewed", "aggregate": "count"},
    {"kind": "feature", "name": "views_3h", "on": "product_viewed", "aggregate": "count", "window": "3 hours", "grain": "10 minutes"},
    {"kind": "feature", "name": "spent", "on": "order_placed", "aggregate": "sum", "of": "amount"},
    {"kind": "feature", "name": "spent_2d", "on": "order_placed", "aggregate": "sum", "of": "event.amount * 2", "window": "2 days", "grain": "1 day"},
    {"kind": "feature", "name": "last_sku", "on": ["product_viewed", "cart_item_added"], "aggregate": "last", "of": "sku"},
    {"kind": "feature", "name": "first_price", "on": "product_viewed", "where": "event.price > 5", "aggregate": "first", "of": "price"},
    {"kind": "feature", "name": "since_order", "on": "order_placed", "aggregate": "days_since"}]')$$, 'apply() takes each kind');
SELECT is((SELECT count(*) FROM journey._feature_states() WHERE broken IS NOT NULL), 0::bigint, 'and all can be computed');
SELECT is((SELECT array_agg(grain_us ORDER BY name COLLATE "C") FROM journey._feature_states() WHERE name IN ('spent_2d', 'views_3h')),
    ARRAY[86400000000, 600000000], 'windows move by their grain');

SELECT journey.set_clock('2026-03-05 10:00+00');
SELECT journey.track('web', 'product_viewed', '{"customer_id": "c"}', jsonb_build_object('sku', 'S' || i, 'price', i), journey.clock() - i * interval '40 minutes')
FROM generate_series(1, 10) i;
SELECT journey.track('web', 'order_placed', '{"customer_id": "c"}', jsonb_build_object('order_id', 'o' || i, 'amount', i * 10, 'currency', 'EUR'), journey.clock() - i * interval '1 day')
FROM generate_series(1, 4) i;
SELECT count(*) FROM journey.run_until_idle();
SELECT ok(journey.features('{"customer_id": "c"}') @>
    '{"views": 10, "spent": 100, "last_sku": "S1", "first_price": 10, "since_order": 1}', 'with the values that were sent');
SELECT is_empty($$SELECT f.key, f.value FROM journey.identity i
    CROSS JOIN LATERAL jsonb_each(journey.features('{"customer_id": "c"}')) f
    WHERE i.namespace = 'customer_id' AND i.value = 'c' AND f.value IS DISTINCT FROM journey._feature_recount(f.key, i.profile_id)$$, 'each equals its recount');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
