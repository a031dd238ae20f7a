-- A feature that is younger than the people is counted by the laps, portion by
-- portion, and unknown until everybody has been counted.
SELECT plan(27);
CREATE FUNCTION pg_temp.feature(name text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT journey.features('{"customer_id": "p7"}') -> name
$$;
CREATE FUNCTION pg_temp.wrong() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM journey.profile_state s
    LEFT JOIN journey._recount((SELECT array_agg(profile_id) FROM journey.profile_state)) r USING (profile_id)
    WHERE s.features IS DISTINCT FROM r.features
$$;
CREATE FUNCTION pg_temp.views(people integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(journey.track('web', 'product_viewed', jsonb_build_object('customer_id', 'p' || i), jsonb_build_object('sku', 'S' || i % 7, 'price', i)))
    FROM generate_series(1, people) AS i
$$;
SELECT journey.set_clock('2026-03-01 10:00+00');
SELECT pg_temp.views(1200), pg_temp.views(600);
SELECT count(*) FROM journey.run_until_idle();
SELECT is_empty('SELECT * FROM journey.stat_progress', 'the shipped features have been counted');

SELECT journey.apply('[{"kind": "feature", "name": "views", "on": "product_viewed", "aggregate": "count"},
                       {"kind": "feature", "name": "top_price", "on": "product_viewed", "aggregate": "max", "of": "price"},
                       {"kind": "feature", "name": "per_price", "aggregate": "ratio", "numerator": "views", "denominator": "top_price"}]');
SELECT is(pg_temp.feature('views'), 'null', 'a new feature is unknown at first');
SELECT is((SELECT verdict FROM journey.explain_rule('views >= 0', '{"customer_id": "p7"}')), 'unknown', 'to rules, too');
SELECT results_eq('SELECT command, name, kind, phase, share, people FROM journey.stat_progress',
    $$VALUES ('count', 'top_price', 'feature', 'waiting', 0.000, 0::bigint), ('count', 'views', 'feature', 'waiting', 0.000, 0::bigint)$$, 'the next lap will begin with it');

-- a lap that does not end leaves nothing behind
BEGIN;
SELECT count(*) FROM journey.run_once();
ROLLBACK;
SELECT is((SELECT array_agg(phase) FROM journey.stat_progress), '{waiting,waiting}', 'a lap that was rolled back has counted nobody');
SELECT count(*) FROM journey.run_once();
SELECT ok((SELECT bool_and(phase = 'counting' AND share > 0.3 AND share < 0.6 AND people = 500) FROM journey.stat_progress), 'a lap counts a portion');
SELECT is((SELECT count(*) FROM journey.stat_progress), 2::bigint, 'both of them');
SELECT is(pg_temp.feature('views'), 'null', 'and no feature is half-counted');
SELECT is((SELECT verdict FROM journey.explain_rule('per_price >= 0', '{"customer_id": "p7"}')), 'unknown', 'nor a ratio of what is');

-- events come in between, for people on both sides of the walk, and a new one
SELECT pg_temp.views(1201);
SELECT journey.apply('{"kind": "feature", "name": "skus", "on": "product_viewed", "aggregate": "distinct", "of": "sku"}');
SELECT name, value FROM journey.run_once() WHERE name = 'events';
SELECT is((SELECT array_agg(share = 0 OR phase = 'counting' ORDER BY name) FROM journey.stat_progress), '{t,t,t}', 'another feature joins');
SELECT is(pg_temp.feature('skus'), 'null', 'unknown as well');
SELECT count(*) FROM journey.run_until_idle();
SELECT is_empty('SELECT * FROM journey.stat_progress', 'then all has been counted');
SELECT is(pg_temp.feature('views'), '3', 'and the features have their values');
SELECT is(pg_temp.feature('per_price'), '0.42857142857142857143', 'the ratio as well');
SELECT is(pg_temp.wrong(), 0::bigint, 'of everybody, equal to a recount');

-- another definition is another feature; the same one, retired for a while, too
SELECT journey.apply('{"kind": "feature", "name": "views", "on": "product_viewed", "aggregate": "count", "where": "event.price > 5"}');
SELECT is(pg_temp.feature('views'), 'null', 'what is counted otherwise is counted anew');
SELECT count(*) FROM journey.run_until_idle();
SELECT is(pg_temp.feature('views'), '3', 'and known then');
SELECT journey.retire('feature', 'skus');
SELECT pg_temp.views(10);
SELECT count(*) FROM journey.run_until_idle();
SELECT journey.apply('{"kind": "feature", "name": "skus", "on": "product_viewed", "aggregate": "distinct", "of": "sku"}');
SELECT is(pg_temp.feature('skus'), 'null', 'a feature that comes again is counted again');
SELECT count(*) FROM journey.run_until_idle();
SELECT is(pg_temp.feature('skus'), '1', 'and known then');
SELECT is(pg_temp.wrong(), 0::bigint, 'with the events of the time between');
SELECT journey.apply('{"kind": "feature", "name": "skus", "description": "Products.", "on": "product_viewed", "aggregate": "distinct", "of": "sku"}');
SELECT is(pg_temp.feature('skus'), '1', 'a new version that counts the same goes on');

-- what cannot be read stops the counting, not the laps
CREATE TEMP TABLE kept AS SELECT profile_id, features FROM journey.profile_state WHERE profile_id = journey.profile_id('{"customer_id": "p9"}');
UPDATE journey.profile_state SET features = '\x09' WHERE profile_id = (SELECT profile_id FROM kept);
SELECT journey.apply('{"kind": "feature", "name": "cheap", "on": "product_viewed", "aggregate": "min", "of": "price"}');
SELECT count(journey.track('web', 'product_viewed', '{"customer_id": "p1"}', '{"sku": "S1", "price": 1}'));
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.event WHERE profile_id = journey.profile_id('{"customer_id": "p1"}')), 5::bigint, 'the laps go on');
SELECT matches((SELECT phase || ': ' || problem FROM journey.stat_progress), '^failing: a vector of features', 'stat_progress says why the counting does not');
SELECT is((SELECT status FROM journey.health WHERE topic = 'feature'), 'error', 'so does health');
UPDATE journey.profile_state s SET features = k.features FROM kept k WHERE s.profile_id = k.profile_id;
UPDATE journey.feature_count SET retry_at = '2000-01-01' WHERE finished_at IS NULL;
SELECT count(*) FROM journey.run_until_idle();
SELECT is(pg_temp.feature('cheap'), '7', 'it goes on when the cause is mended');
SELECT is(pg_temp.wrong(), 0::bigint, 'and all is as it should be');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
