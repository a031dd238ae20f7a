-- Shipments and returns: one status machine for rows and events. Milestones are
-- ordered, what is told late moves nothing back, an illegal step is reported and
-- not taken, and the shop's statement never fails.
-- What would break if this failed: somebody is told that a parcel has left which they hold in their hands.
\ir ../lib/orphans.sql
SET client_min_messages = warning;
SET timezone = 'UTC';
\set QUIET on
SELECT plan(55);
SELECT journey.set_clock('2026-03-10 10:00+00') \g /dev/null
CREATE FUNCTION pg_temp.events(id text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(type || CASE WHEN backfill THEN ' (old)' ELSE '' END, ', ' ORDER BY seq, event_id) FROM journey.event
    WHERE coalesce(props ->> 'shipment_id', props ->> 'return_id') = id $$;

CREATE TABLE shop_orders (id int PRIMARY KEY, customer int, state text);
CREATE TABLE parcels (id text PRIMARY KEY, order_id int, state text, promised date, eta timestamptz, carrier text, changed timestamptz DEFAULT '2026-03-10 09:00+00');
CREATE TABLE rma (id text PRIMARY KEY, order_id int, why text, asked timestamptz, agreed timestamptz, came timestamptz);
INSERT INTO shop_orders VALUES (1, 41, 'placed'), (2, 42, 'placed');
INSERT INTO parcels VALUES ('old', 1, 'there', '2026-01-05', NULL, 'dhl', '2026-01-05 12:00+00');
INSERT INTO rma VALUES ('r0', 1, 'too small', '2026-01-07', NULL, NULL);
SELECT count(*) FROM journey.attach('shop_orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "state"}') \g /dev/null
SELECT throws_ok($$SELECT journey.attach('parcels', 'shipment', '{"key": "id", "status": "state"}')$$, '22023', 'the map of kind shipment names neither an order nor a person', 'whose it is must be said');
SELECT throws_ok($$SELECT journey.attach('parcels', 'shipment', '{"key": "id", "order": "order_id", "status": {"column": "state", "values": {"there": "arrived"}}}')$$, '22023', NULL, 'and with words that are known');
SELECT results_eq($$SELECT DISTINCT value FROM journey.attach('parcels', 'shipment', dry_run => true) WHERE what = 'map' AND name IN ('key', 'order', 'expected_at') ORDER BY 1$$,
    $$VALUES ('eta'), ('id'), ('order_id')$$, 'usual names are guessed');
SELECT count(*) FROM journey.attach('parcels', 'shipment', '{"key": "id", "order": "order_id", "promised_at": "promised", "expected_at": "eta", "at": "changed", "props": ["carrier"],
    "status": {"column": "state", "values": {"packed": "pending", "out": "shipped", "shop": "ready", "there": "delivered", "fetched": "picked_up", "lost": "failed", "void": "cancelled"}}}');
SELECT count(*) FROM journey.attach('rma', 'return', '{"key": "id", "order": "order_id", "reason": "why", "requested_at": "asked", "approved_at": "agreed", "received_at": "came"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

-- what was there
SELECT results_eq($$SELECT status, order_id, delivered_at, promised_at, props ->> 'carrier' FROM journey.shipment$$,
    $$VALUES ('delivered', '1', '2026-01-05 12:00+00'::timestamptz, '2026-01-05 00:00+00'::timestamptz, 'dhl')$$, 'a parcel that was there becomes state with its own time');
SELECT is(pg_temp.events('old'), 'shipment_delivered (old)', 'and an event that enrolls nobody');
SELECT is((SELECT profile_id FROM journey.shipment), journey.profile_id('{"customer_id": "41"}'), 'it is the buyer''s');
SELECT results_eq($$SELECT status, reason, requested_at FROM journey.returns$$, $$VALUES ('requested', 'too small', '2026-01-07 00:00+00'::timestamptz)$$, 'so does a return');
SELECT is((SELECT status FROM journey.orders WHERE order_id = '1'), 'delivered', 'an order follows its parcel');
SELECT count(*) FROM journey.reconcile('parcels') \g /dev/null
SELECT count(*) FROM journey.reconcile('rma') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.events('old') || '; ' || pg_temp.events('r0'), 'shipment_delivered (old); return_requested (old)', 'reading the tables again says nothing again');

-- the way of a parcel
INSERT INTO parcels VALUES ('p2', 2, 'packed', '2026-03-12', NULL, 'ups');
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET state = 'out' WHERE id = 'p2';
UPDATE parcels SET carrier = 'dpd' WHERE id = 'p2';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT status FROM journey.orders WHERE order_id = '2'), 'shipped', 'the order goes along');
UPDATE parcels SET state = 'there' WHERE id = 'p2';
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.events('p2'), 'shipment_updated, shipment_shipped, shipment_updated, shipment_delivered', 'each step is its event');
SELECT results_eq($$SELECT status, shipped_at IS NOT NULL, delivered_at IS NOT NULL, props ->> 'carrier' FROM journey.shipment WHERE shipment_id = 'p2'$$,
    $$VALUES ('delivered', true, true, 'dpd')$$, 'and a milestone');
SELECT is((SELECT props ->> 'order_id' FROM journey.event WHERE type = 'shipment_delivered' AND props ->> 'shipment_id' = 'p2'), '2', 'that names its order');
SELECT is((SELECT status FROM journey.orders WHERE order_id = '2'), 'delivered', 'which has arrived');

-- mission: 60
SELECT lives_ok($$UPDATE parcels SET state = 'out' WHERE id = 'p2'$$, 'a step back does not fail the shop''s statement');
SELECT lives_ok($$UPDATE parcels SET state = 'void' WHERE id = 'old'$$, 'nor does one that cannot be');
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT shipment_id, status FROM journey.shipment ORDER BY 1$$, $$VALUES ('old', 'delivered'), ('p2', 'delivered')$$, 'neither moves the state');
SELECT results_eq($$SELECT name FROM journey.incident WHERE kind = 'illegal_transition' ORDER BY 1$$,
    $$VALUES ('commerce: shipment delivered -> cancelled'), ('commerce: shipment delivered -> shipped')$$, 'each is an incident');
SELECT lives_ok($$UPDATE parcels SET state = 'beamed' WHERE id = 'p2'$$, 'nor does a word that nobody knows');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT status FROM journey.shipment WHERE shipment_id = 'p2'), 'delivered', 'which moves nothing');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'unmapped_status'), 'public.parcels: beamed', 'and is named');
DELETE FROM parcels WHERE id = 'old';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT status FROM journey.shipment WHERE shipment_id = 'old'), 'delivered', 'a row that goes takes nothing along');

-- the ways out, and from pick-up to another attempt
INSERT INTO parcels VALUES ('s1', 2, 'packed', NULL, NULL, NULL), ('s2', 2, 'out', NULL, NULL, NULL), ('s3', 2, 'packed', NULL, NULL, NULL);
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET state = 'shop' WHERE id = 's1';
UPDATE parcels SET state = 'lost' WHERE id = 's2';
UPDATE parcels SET state = 'void' WHERE id = 's3';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT array_agg(status ORDER BY shipment_id) FROM journey.shipment WHERE shipment_id ~ '^s'), '{ready,failed,cancelled}', 'to be picked up, lost, and not sent at all');
UPDATE parcels SET state = 'fetched' WHERE id = 's1';
UPDATE parcels SET state = 'out' WHERE id = 's2';
UPDATE parcels SET state = 'out' WHERE id = 's3';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT array_agg(status ORDER BY shipment_id) FROM journey.shipment WHERE shipment_id ~ '^s'), '{picked_up,shipped,cancelled}', 'picked up, sent again, and still not sent');
SELECT is(pg_temp.events('s1'), 'shipment_updated, pickup_ready, picked_up', 'a pick-up has its own events');

-- sent events, out of order
-- mission: 61
SELECT journey.track('wms', 'shipment_delivered', '{"customer_id": "42"}', '{"shipment_id": "e1", "order_id": "9"}', '2026-03-09 12:00+00') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.track('wms', 'shipment_shipped', '{"customer_id": "42"}', '{"shipment_id": "e1", "order_id": "9"}', '2026-03-08 12:00+00') \g /dev/null
SELECT journey.track('wms', 'pickup_ready', '{"customer_id": "42"}', '{"shipment_id": "e1", "order_id": "9"}', '2026-03-09 09:00+00') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT status, status_at, shipped_at, ready_at, delivered_at FROM journey.shipment WHERE shipment_id = 'e1'$$,
    $$VALUES ('delivered', '2026-03-09 12:00+00'::timestamptz, '2026-03-08 12:00+00'::timestamptz, '2026-03-09 09:00+00'::timestamptz, '2026-03-09 12:00+00'::timestamptz)$$,
    'what is told late is filled in and moves nothing back');
SELECT is((SELECT count(*) FROM journey.incident WHERE kind = 'illegal_transition' AND name LIKE 'wms%'), 0::bigint, 'nor is it an incident');
SELECT journey.track('wms', 'shipment_shipped', '{"customer_id": "42"}', '{"shipment_id": "e1", "order_id": "9"}', '2026-03-09 18:00+00') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT status, shipped_at FROM journey.shipment WHERE shipment_id = 'e1'$$, $$VALUES ('delivered', '2026-03-08 12:00+00'::timestamptz)$$, 'a step back that is no late word does not either');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'illegal_transition' AND name LIKE 'wms%'), 'wms: shipment delivered -> shipped', 'but is one');
-- in one lap, in any order, the end is the same
SELECT journey.track('wms', t, '{"customer_id": "42"}', jsonb_build_object('shipment_id', 'o' || o, 'status', 'shipped'), at)
FROM (SELECT o, unnest(CASE o WHEN 1 THEN '{shipment_shipped,pickup_ready,picked_up}' WHEN 2 THEN '{picked_up,shipment_shipped,pickup_ready}' WHEN 3 THEN '{pickup_ready,picked_up,shipment_shipped}'
    ELSE '{picked_up,pickup_ready,shipment_shipped}' END::text[]) AS t FROM generate_series(1, 4) o) x,
    LATERAL (SELECT ('2026-03-0' || CASE t WHEN 'shipment_shipped' THEN 1 WHEN 'pickup_ready' THEN 2 ELSE 3 END || ' 12:00+00')::timestamptz AS at) y;
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT DISTINCT status, shipped_at, ready_at, delivered_at FROM journey.shipment WHERE shipment_id ~ '^o[1-4]'$$,
    $$VALUES ('picked_up', '2026-03-01 12:00+00'::timestamptz, '2026-03-02 12:00+00'::timestamptz, '2026-03-03 12:00+00'::timestamptz)$$, 'in whatever order they come, the end is the same');
-- an order with one parcel that has no name
SELECT journey.track('wms', 'pickup_ready', '{"customer_id": "42"}', '{"order_id": "77"}') \g /dev/null
SELECT journey.track('wms', 'picked_up', '{"customer_id": "42"}', '{"order_id": "77"}') \g /dev/null
SELECT journey.track('wms', 'shipment_shipped', '{"customer_id": "42"}', '{"tracking": "none"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT status FROM journey.shipment WHERE shipment_id = '77'), 'picked_up', 'who names no parcel speaks of the order''s');
SELECT is((SELECT count(*) FROM journey.event WHERE props ? 'tracking'), 1::bigint, 'an event of no parcel at all is kept');
SELECT is((SELECT count(*) FROM journey.shipment WHERE shipment_id IS NULL OR status IS NULL), 0::bigint, 'and is none');

-- late parcels
INSERT INTO parcels VALUES ('d1', 2, 'out', '2026-03-12', '2026-03-11', 'ups');
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET eta = '2026-03-13' WHERE id = 'd1';
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET carrier = 'dhl' WHERE id = 'd1';
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.events('d1'), 'shipment_shipped, shipment_updated, delivery_delayed, shipment_updated', 'a parcel that will be late is so once');
UPDATE parcels SET eta = '2026-03-15' WHERE id = 'd1';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'delivery_delayed' AND props ->> 'shipment_id' = 'd1'), 2::bigint, 'later still is news');
SELECT is((SELECT props ->> 'expected_at' FROM journey.event WHERE type = 'delivery_delayed' AND props ->> 'shipment_id' = 'd1' ORDER BY event_id DESC LIMIT 1), '2026-03-15T00:00:00+00:00', 'that says until when');
UPDATE parcels SET state = 'there', eta = '2026-03-16' WHERE id = 'd1';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'delivery_delayed' AND props ->> 'shipment_id' = 'd1'), 2::bigint, 'what has arrived is late no more');
SELECT journey.track('wms', 'delivery_delayed', '{"customer_id": "42"}', '{"shipment_id": "d2", "promised_at": "2026-03-12", "expected_at": "2026-03-14T10:00:00Z"}') \g /dev/null
SELECT journey.track('wms', 'shipment_updated', '{"customer_id": "42"}', '{"shipment_id": "d2", "expected_at": "2026-03-14T10:00:00Z"}') \g /dev/null
SELECT journey.track('wms', 'shipment_updated', '{"customer_id": "42"}', '{"shipment_id": "d3", "expected_at": "soon"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.events('d2'), 'delivery_delayed, shipment_updated', 'who says so themselves is not told again');
SELECT is((SELECT reason FROM journey.quarantine WHERE original #>> '{props,shipment_id}' = 'd3'), 'expected_at is not a time', 'an odd time is set aside');

-- returns, by times alone
UPDATE rma SET agreed = '2026-03-09' WHERE id = 'r0';
SELECT journey.run_until_idle() \g /dev/null
UPDATE rma SET came = '2026-03-10' WHERE id = 'r0';
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.events('r0'), 'return_requested (old), return_updated, return_received', 'a table without a status moves by the times it has');
SELECT results_eq($$SELECT status, requested_at, approved_at, received_at FROM journey.returns WHERE return_id = 'r0'$$,
    $$VALUES ('received', '2026-01-07 00:00+00'::timestamptz, '2026-03-09 00:00+00'::timestamptz, '2026-03-10 00:00+00'::timestamptz)$$, 'and keeps them');
SELECT is((SELECT occurred_at FROM journey.event WHERE type = 'return_received'), '2026-03-10 00:00+00'::timestamptz, 'its events are of then');
SELECT journey.track('service', 'return_requested', '{"customer_id": "42"}', '{"order_id": "77", "sku": "A", "reason": "broken"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT return_id, status, reason FROM journey.returns WHERE source = 'service'$$, $$VALUES ('77/A', 'requested', 'broken')$$, 'a return of one product is known by it');

-- parcels before their order, and an order that changes hands
BEGIN;
INSERT INTO parcels VALUES ('early', 50, 'out', NULL, NULL, NULL);
COMMIT;
SELECT journey.run_until_idle() \g /dev/null
INSERT INTO shop_orders VALUES (50, 55, 'placed');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT profile_id FROM journey.shipment WHERE shipment_id = 'early'), journey.profile_id('{"customer_id": "55"}'), 'a parcel that comes before its order is the buyer''s');
UPDATE shop_orders SET customer = 56 WHERE id = 50;
UPDATE parcels SET state = 'there' WHERE id = 'early';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT profile_id FROM journey.shipment WHERE shipment_id = 'early'), journey.profile_id('{"customer_id": "56"}'), 'and goes with it when the order changes hands');
SELECT is((SELECT count(*) FROM journey.shipment WHERE shipment_id = 'early'), 1::bigint, 'once');

-- odd rows
INSERT INTO parcels VALUES ('lonely', NULL, 'out', NULL, NULL, NULL), (repeat('x', 5000), 2, 'out', NULL, NULL, NULL), ('far', 2, 'out', 'infinity', '-infinity', NULL);
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.quarantine WHERE reason IN ('the row names neither an order nor a person', 'the row has no shipment id', 'a key is too long')), 2::bigint, 'a row of nobody and one that is too long are set aside');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'delivery_delayed' AND props ->> 'shipment_id' = 'far'), 0::bigint, 'never is not late');
TRUNCATE parcels;
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.shipment WHERE status = 'delivered' AND shipment_id IN ('old', 'p2')), 2::bigint, 'TRUNCATE takes nothing along');

-- two people who turn out to be one, and do not
INSERT INTO shop_orders VALUES (60, 61, 'placed'), (62, 63, 'placed');
INSERT INTO parcels VALUES ('m1', 60, 'out', NULL, NULL, NULL), ('m2', 62, 'out', NULL, NULL, NULL);
INSERT INTO rma VALUES ('m3', 60, 'odd', '2026-03-10', NULL, NULL);
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.track('crm', 'identified', '{"customer_id": "61", "email": "one@x.example"}') \g /dev/null
SELECT journey.track('crm', 'identified', '{"loyalty_id": "63"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.track('crm', 'identified', '{"email": "one@x.example", "loyalty_id": "63"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.merge_log), 1::bigint, 'two people were one');
INSERT INTO parcels VALUES ('m4', 60, 'packed', NULL, NULL, NULL);
UPDATE parcels SET state = 'there' WHERE id = 'm1';
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT array_agg(s.shipment_id || ' ' || s.status ORDER BY 1) FROM journey.shipment s WHERE s.profile_id = journey.profile_id('{"email": "one@x.example"}')), '{"m1 delivered","m4 pending"}', 'their parcels go on');
SELECT journey.unmerge(merge_id) FROM journey.merge_log \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET state = 'out' WHERE id = 'm4';
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT s.shipment_id, s.status, s.profile_id = o.profile_id FROM journey.shipment s JOIN journey.orders o USING (scope, order_id) WHERE s.shipment_id ~ '^m' ORDER BY 1$$,
    $$VALUES ('m1', 'delivered', true), ('m2', 'shipped', true), ('m4', 'shipped', true)$$, 'and stay with their orders when they are taken apart');
SELECT is((SELECT r.profile_id FROM journey.returns r WHERE r.return_id = 'm3'), (SELECT o.profile_id FROM journey.orders o WHERE o.order_id = '60'), 'so do returns');

SELECT is_empty('SELECT * FROM pg_temp.orphans()', 'no row is left behind');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
