-- Shipments in journeys: one update for each milestone of a parcel, told once
-- however often it is said; a milestone that a journey ends by stops its actions
-- from the shop's commit on; rules read the shipment.
-- What would break if this failed: "your parcel is on its way", twice, or after it was picked up.
\ir ../fixtures/orchestrate.sql
\set QUIET on
SELECT plan(27);
SELECT pg_temp.move('2026-03-10 10:00+00') \g /dev/null
CREATE TABLE shop_orders (id text PRIMARY KEY, customer text, state text);
CREATE TABLE parcels (id text PRIMARY KEY, order_id text, state text, promised timestamptz, eta timestamptz, carrier text);
CREATE TABLE rma (id text PRIMARY KEY, order_id text, why text, asked timestamptz, came timestamptz);
SELECT count(*) FROM journey.attach('shop_orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "state"}') \g /dev/null
SELECT count(*) FROM journey.attach('parcels', 'shipment', '{"key": "id", "order": "order_id", "promised_at": "promised", "expected_at": "eta", "props": ["carrier"], "status": "state"}') \g /dev/null
SELECT count(*) FROM journey.attach('rma', 'return', '{"key": "id", "order": "order_id", "reason": "why", "requested_at": "asked", "received_at": "came"}') \g /dev/null
CREATE FUNCTION pg_temp.fence() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(f.type || ' ' || coalesce(f.ref, ''), ', ') FROM (SELECT DISTINCT type, ref FROM journey._fences() WHERE type IS NOT NULL) f $$;
SELECT pg_temp.person(c) FROM unnest('{a,b}'::text[]) c \g /dev/null
INSERT INTO shop_orders VALUES ('O1', 'a', 'placed'), ('O2', 'b', 'placed');
SELECT journey.run_until_idle() \g /dev/null
INSERT INTO parcels VALUES ('before', 'O2', 'shipped', NULL, NULL, NULL);
SELECT is(pg_temp.fence(), NULL, 'a milestone that no journey ends by is no fence');
SELECT journey.run_until_idle() \g /dev/null

-- mission: 67
SELECT journey.apply(pg_temp.journey_doc('updates', jsonb_build_object('on', e.on, 'key', '{"milestone": "event.shipment_id || '' '' || event.type"}'::jsonb, 'data', '{"order_id": "event.order_id"}'::jsonb),
        '{"tell": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
        '{"purpose": "service", "stage": "fulfillment", "reentry": {"per": "key", "after": "never"}, "suppress_on": []}')
    || jsonb_build_object('entry', (SELECT jsonb_agg(jsonb_build_object('on', t, 'key', '{"milestone": "event.shipment_id || '' '' || event.type"}'::jsonb))
                                    FROM unnest('{shipment_shipped,pickup_ready,shipment_delivered,delivery_delayed}'::text[]) t)))
FROM (VALUES ('shipment_shipped')) AS e ("on");
SELECT journey.run_until_idle() \g /dev/null
CREATE FUNCTION pg_temp.told(c text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(e.key, ', ' ORDER BY e.entered_at, e.key) FROM journey.enrollment e WHERE e.profile_id = pg_temp.pid(c) AND e.journey = 'updates' $$;
INSERT INTO parcels VALUES ('P1', 'O1', 'pending', '2026-03-12', NULL, 'ups'), ('P2', 'O1', 'shipped', NULL, NULL, NULL);
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET state = 'shipped' WHERE id = 'P1';
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.told('a'), 'P1 shipment_shipped, P2 shipment_shipped', 'each parcel that leaves is told of');
-- said again by the carrier, by reading the table again, and by a change of something else
SELECT journey.track('carrier', 'shipment_shipped', pg_temp.who('a'), '{"shipment_id": "P1", "order_id": "O1"}', message_id => m) FROM unnest('{c1,c1,c2}'::text[]) m \g /dev/null
SELECT count(*) FROM journey.reconcile('parcels') \g /dev/null
UPDATE parcels SET carrier = 'dhl' WHERE id = 'P1';
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.told('a'), 'P1 shipment_shipped, P2 shipment_shipped', 'once, however often it is said');
SELECT is((SELECT count(*) FROM journey.outbox WHERE profile_id = pg_temp.pid('a')), 2::bigint, 'with an action each');
SELECT pg_temp.move('2026-03-10 11:00+00') \g /dev/null
UPDATE parcels SET eta = '2026-03-13' WHERE id = 'P1';
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET eta = '2026-03-14' WHERE id = 'P1';
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.move('2026-03-10 12:00+00') \g /dev/null
UPDATE parcels SET state = 'delivered' WHERE id = 'P1';
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.track('carrier', 'shipment_delivered', pg_temp.who('a'), '{"shipment_id": "P1", "order_id": "O1"}') \g /dev/null
SELECT journey.track('carrier', 'shipment_shipped', pg_temp.who('a'), '{"shipment_id": "P1", "order_id": "O1"}', '2026-03-09 12:00+00') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.told('a'), 'P1 shipment_shipped, P2 shipment_shipped, P1 delivery_delayed, P1 shipment_delivered', 'one update for each milestone, and one for being late');
SELECT is((SELECT count(*) FROM journey.enrollment WHERE profile_id = pg_temp.pid('b') AND journey = 'updates'), 0::bigint, 'nobody is told what was there before');

-- rules read the shipment
SELECT results_eq($$SELECT clause, verdict FROM journey.explain_rule('shipment.status = ''delivered'' and shipment.carrier = ''dhl'' and shipment.expected_at > shipment.promised_at and shipment.order_id = ''O1''',
    '{"customer_id": "a"}', '{"event": {"type": "x", "props": {"shipment_id": "P1"}}}') ORDER BY 1$$,
    $$SELECT c, 'true' FROM unnest(ARRAY['shipment.carrier = ''dhl''', 'shipment.expected_at > shipment.promised_at', 'shipment.order_id = ''O1''', 'shipment.status = ''delivered''']) c ORDER BY 1$$, 'the shipment of the event');
SELECT ok(NOT journey.check_rule('shipment.promised_at = 3') IS NULL, 'types are checked');
SELECT is((SELECT ok FROM journey.check_rule('shipment.promised_at > now')), true, 'a promise is a time');
SELECT is((SELECT ok FROM journey.check_rule('shipment.promised_at > 3')), false, 'and no number');
INSERT INTO rma VALUES ('R1', 'O1', 'too small', '2026-03-10 11:00+00', NULL), ('R2', 'O1', 'broken', '2026-03-09', '2026-03-10');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.explain_rule('returns.count = 2 and returns.open = 1 and returns.last_at = ''2026-03-10 11:00+00''', '{"customer_id": "a"}') WHERE verdict = 'true'), 3::bigint, 'and their returns');
SELECT is((SELECT verdict FROM journey.explain_rule('returns.count = 0', '{"customer_id": "b"}')), 'true', 'who has none has none');
SELECT is((SELECT verdict FROM journey.explain_rule('shipment.delivered_at is null', '{"customer_id": "b"}')), 'true', 'what has not arrived has no time');

-- a journey that waits for a parcel, by its key
SELECT journey.apply(pg_temp.journey_doc('late', '{"on": "shipment_shipped", "key": {"shipment": "event.shipment_id"}, "when": "shipment.promised_at is not null", "data": {"order_id": "event.order_id"}}',
    '{"promise": {"wait": {"for": "40 hours"}, "next": "late"},
      "late": {"branch": [{"when": "shipment.status = ''delivered''", "to": "done"}], "else": "tell"},
      "tell": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"purpose": "service", "stage": "fulfillment", "reentry": {"per": "key", "after": "never"},
      "suppress_on": [{"on": "shipment_delivered", "match": "event.shipment_id = key"}, {"on": "return_received", "match": "event.order_id = entry.order_id"}]}'));
SELECT journey.run_until_idle() \g /dev/null
INSERT INTO parcels VALUES ('L1', 'O2', 'shipped', '2026-03-12', NULL, NULL), ('L2', 'O2', 'shipped', '2026-03-12', NULL, NULL);
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT pg_temp.stands('b')$$, $$VALUES ('late L1 promise active'), ('late L2 promise active'), ('updates L1 shipment_shipped tell active'), ('updates L2 shipment_shipped tell active')$$, 'both wait for what was promised');
SELECT is((SELECT array_agg(DISTINCT wake_at) FROM journey.enrollment WHERE journey = 'late'), '{"2026-03-12 04:00+00"}', 'and somewhat longer');
SELECT pg_temp.move('2026-03-12 05:00+00') \g /dev/null
SELECT is((SELECT array_agg(step ORDER BY key) FROM journey.enrollment WHERE journey = 'late'), '{tell,tell}', 'both are late');
UPDATE parcels SET state = 'delivered' WHERE id = 'L1';
SELECT is(pg_temp.fence(), 'shipment_delivered order:O2', 'a milestone that a journey ends by is a fence, of its order');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT array_agg(e.key) FROM journey.suppression s JOIN journey.enrollment e ON e.enrollment_id = ANY (s.matched) WHERE s.type = 'shipment_delivered'), '{L1}', 'that is about the enrollment of that parcel');
SELECT ok(pg_temp.send('b'), 'a sender comes');
SELECT results_eq($$SELECT e.key, h.status, h.reason FROM journey.outbox_history h JOIN journey.enrollment e USING (enrollment_id) WHERE h.journey = 'late' AND h.profile_id = pg_temp.pid('b') ORDER BY 1$$,
    $$VALUES ('L1', 'refused', 'shipment_delivered'), ('L2', 'sent', '')$$, 'and is given what is still true');
INSERT INTO parcels VALUES ('L3', 'O2', 'shipped', '2026-03-20', '2026-03-22', NULL);
SELECT is(pg_temp.fence(), NULL, 'a delay is none as long as nobody ends by it');
SELECT journey.run_until_idle() \g /dev/null
SELECT journey.apply(pg_temp.journey_doc('promo', '{"on": "product_viewed", "key": {"product": "event.sku"}}',
    '{"tell": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"suppress_on": ["delivery_delayed", "order_placed"]}'));
UPDATE parcels SET eta = '2026-03-23' WHERE id = 'L3';
SELECT is(pg_temp.fence(), 'delivery_delayed order:O2', 'else it is one');
SELECT journey.run_until_idle() \g /dev/null
UPDATE parcels SET carrier = 'x' WHERE id = 'L3';
SELECT is(pg_temp.fence(), NULL, 'once');
INSERT INTO rma VALUES ('R9', 'O2', NULL, NULL, '2026-03-12');
SELECT is(pg_temp.fence(), 'return_received order:O2', 'and so is a return that has only times');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT string_agg(DISTINCT type, ', ' ORDER BY type) FROM journey.suppression WHERE profile_id = pg_temp.pid('b')), 'delivery_delayed, order_placed, return_received, shipment_delivered', 'consumed, they are suppressions');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
