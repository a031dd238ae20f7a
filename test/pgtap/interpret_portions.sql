-- A feature that is younger than its people is counted from their history in
-- portions: what a backend or worker needs for it does not grow with that history.
SET client_min_messages = warning;
SELECT plan(6);
SELECT journey.set_clock('2026-03-02 10:00+00');
CREATE FUNCTION pg_temp.feature(doc jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, activated_by, activated_at, digest)
    VALUES ('feature', doc ->> 'name', 1, 'active', doc, '[]', 'journey_owner', 'test', now(), 'test', now(), md5(doc::text));
    SELECT journey._invalidate('journey.document');
$$;
-- the most memory that this backend has had, in kB; null where the system does not tell
CREATE FUNCTION pg_temp.peak() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RETURN substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)')::integer;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

-- one with a long history, two with a short one: several portions, one of which has events of two people
SELECT journey.track('web', 'product_viewed', jsonb_build_object('customer_id', c), '{"price": 1}') FROM unnest(ARRAY['long', 'short', 'other']) c;
SELECT count(*) FROM journey.run_until_idle();
INSERT INTO journey.event (bucket, profile_id, received_at, event_id, seq, type, occurred_at, source, scope, props, backfill, late, test, lap)
SELECT p.bucket, p.profile_id, journey.clock(), gen_random_uuid(), 0, 'product_viewed', journey.clock() - n * interval '1 second', 'web', 'default',
    jsonb_build_object('price', n, 'sku', 'S' || n, 'text', repeat(md5(n::text), 30)), false, false, true, 0
FROM journey.identity i JOIN journey.profile p USING (profile_id), generate_series(1, CASE i.value WHEN 'long' THEN 50000 ELSE 700 END) n;

SELECT pg_temp.feature('{"kind": "feature", "name": "views", "on": "product_viewed", "aggregate": "count"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "dear", "on": "product_viewed", "where": "event.price > 100", "aggregate": "sum", "of": "price"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "first_sku", "on": "product_viewed", "aggregate": "first", "of": "sku"}');
SELECT pg_temp.feature('{"kind": "feature", "name": "dear_1h", "on": "product_viewed", "aggregate": "sum", "of": "price", "window": "1 hour", "grain": "1 minute"}');
-- fails for each event that it is asked about, which rolls a subtransaction back while the log is open
SELECT pg_temp.feature('{"kind": "feature", "name": "odd", "on": "product_viewed", "where": "event.price between 2 and 1200", "aggregate": "sum", "of": "event.sku::numeric"}');
CREATE FUNCTION pg_temp.counted(c text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', f ->> 'views', f ->> 'dear', f ->> 'first_sku', f ->> 'odd') FROM journey.features(jsonb_build_object('customer_id', c)) f
$$;
SELECT pg_temp.peak() AS peak \gset

-- nothing is known before the laps have counted everybody
SELECT is(pg_temp.counted('short'), '', 'a reader knows nothing before the laps have counted');
SELECT journey.track('web', 'product_viewed', jsonb_build_object('customer_id', c), '{"price": 5}') FROM unnest(ARRAY['long', 'short', 'other']) c;
SELECT count(*) FROM journey.run_until_idle();
SELECT pg_temp.peak() - nullif(:'peak', '')::integer AS more \gset
SELECT is(pg_temp.counted('long'), '50002 1250019950 S50000 0', 'a lap counts all of a long history');
SELECT is(ARRAY[pg_temp.counted('short'), pg_temp.counted('other')], ARRAY['702 240300 S700 0', '702 240300 S700 0'], 'and each person''s own');
SELECT is((SELECT array_agg(f ORDER BY i.value) FROM journey.identity i, LATERAL (SELECT journey.features(jsonb_build_object('customer_id', i.value)) -> 'dear_1h' AS f) f),
    (SELECT array_agg(journey._feature_recount('dear_1h', i.profile_id) ORDER BY i.value) FROM journey.identity i), 'windows equal a recount');
SELECT CASE WHEN :'more' = '' THEN skip('this system does not tell the most memory that a process has had')
    ELSE ok(nullif(:'more', '')::integer < 24 * 1024, format('it takes %s kB, whatever the history', :'more')) END;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
