-- Orders: one status machine for rows and events, lines joined to their
-- order, illegal steps reported and not taken, odd values no loss of an order.
\ir ../lib/orphans.sql
SELECT plan(49);
SELECT journey.set_clock('2026-03-01 10:00+00');

CREATE TABLE "Orders" (id int PRIMARY KEY, customer int, cart text, state text, total text, coupon text, at timestamptz) ;
CREATE TABLE order_lines (order_id int, sku text, qty int, price numeric, state text, PRIMARY KEY (order_id, sku));
INSERT INTO "Orders" VALUES (1, 41, NULL, 'done', '9.90', NULL, '2026-01-05 00:00+00');
INSERT INTO order_lines VALUES (1, 'OLD', 1, 9.90);
-- mission: 15, 117
SELECT count(*) FROM journey.attach('"Orders"', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "cart": "cart",
    "status": {"column": "state", "values": {"new": "pending", "ok": "placed", "done": "paid", "out": "shipped", "there": "delivered", "void": "cancelled", "back": "refunded"}},
    "amount": "total", "currency": {"const": "EUR"}, "codes": "coupon", "at": "at"}');
SELECT count(*) FROM journey.attach('order_lines', 'order_line', '{"key": "order_id", "sku": "sku", "quantity": "qty", "price": "price",
    "status": {"column": "state", "values": {"": "placed", "ret": "returned"}}}');
SELECT journey.run_until_idle();
SELECT results_eq('SELECT status, amount, placed_at FROM journey.orders', $$VALUES ('paid', 9.90, '2026-01-05 00:00+00'::timestamptz)$$,
    'an order that was there becomes state with its own time');
SELECT ok((SELECT bool_and(backfill) FROM journey.event), 'and its events are back-fill');
SELECT results_eq('SELECT orders, last_order_at FROM journey.profile_state', $$VALUES (1, '2026-01-05 00:00+00'::timestamptz)$$, 'and its buyer a buyer');
SELECT count(*) FROM journey.reconcile('"Orders"');
SELECT count(*) FROM journey.reconcile('order_lines');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT type FROM journey.event ORDER BY event_id$$, $$VALUES ('order_placed'), ('order_paid'), ('order_line_placed')$$,
    'reading the tables again says nothing again');

-- an order before its lines, in one transaction
BEGIN;
INSERT INTO "Orders" VALUES (2, 42, 'k2', 'ok', '30', '{SPRING,VIP}', NULL);
INSERT INTO order_lines VALUES (2, 'A', 1, 10), (2, 'B', 2, 10);
COMMIT;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'order_placed' AND props ->> 'order_id' = '2'), 1::bigint, 'one order_placed');
SELECT is((SELECT jsonb_path_query_array(props, '$.lines[*].sku') FROM journey.event WHERE type = 'order_placed' AND props ->> 'order_id' = '2'),
    '["A", "B"]'::jsonb, 'with the lines of its transaction');
SELECT results_eq($$SELECT props ->> 'sku', (props ->> 'quantity')::int FROM journey.event WHERE type = 'order_line_placed' AND props ->> 'order_id' = '2' ORDER BY event_id$$,
    $$VALUES ('A', 1), ('B', 2)$$, 'and an event per line');
SELECT results_eq($$SELECT amount, currency, codes, cart_id FROM journey.orders WHERE order_id = '2'$$,
    $$VALUES (30::numeric, 'EUR', '{SPRING,VIP}'::text[], 'k2')$$, 'amounts carry their currency');
SELECT results_eq($$SELECT props -> 'codes', props ->> 'code' FROM journey.event WHERE type = 'order_placed' AND props ->> 'order_id' = '2'$$,
    $$VALUES ('["SPRING", "VIP"]'::jsonb, 'SPRING')$$, 'and the event all its codes');
SELECT is((SELECT string_agg(verdict, ' ') FROM journey.explain_rule('''VIP'' = any (event.codes) and event.code = ''SPRING''', '{"customer_id": "42"}',
    (SELECT jsonb_build_object('event', jsonb_build_object('type', type, 'props', props)) FROM journey.event WHERE type = 'order_placed' AND props ->> 'order_id' = '2'))), 'true true', 'which rules read');
-- lines before their order
BEGIN;
INSERT INTO order_lines VALUES (3, 'C', 1, 5);
INSERT INTO "Orders" VALUES (3, 42, NULL, 'ok', '5', NULL, NULL);
COMMIT;
SELECT journey.run_until_idle();
SELECT is((SELECT props #>> '{lines,0,sku}' FROM journey.event WHERE type = 'order_placed' AND props ->> 'order_id' = '3'), 'C', 'lines may come first');
SELECT is((SELECT count(DISTINCT profile_id) FROM journey.event WHERE props ->> 'order_id' IN ('2', '3')), 1::bigint, 'and belong to the order''s person');

-- the way of an order
-- mission: 60
INSERT INTO "Orders" VALUES (4, 43, NULL, 'new', '50', NULL, NULL);
INSERT INTO order_lines VALUES (4, 'D', 1, 50);
SELECT journey.run_until_idle();
SELECT is((SELECT placed_at FROM journey.orders WHERE order_id = '4'), NULL, 'a pending order is not placed');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'order_line_placed' AND props ->> 'order_id' = '4'), 0::bigint, 'nor are its lines');
UPDATE "Orders" SET state = 'ok' WHERE id = 4;
UPDATE "Orders" SET state = 'done' WHERE id = 4;
UPDATE "Orders" SET state = 'out' WHERE id = 4;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT type FROM journey.event WHERE props ->> 'order_id' = '4' ORDER BY event_id$$,
    $$VALUES ('order_updated'), ('order_placed'), ('order_line_placed'), ('order_paid'), ('order_updated')$$, 'each step is its event');
SELECT is((SELECT status FROM journey.orders WHERE order_id = '4'), 'shipped', 'and moves the state');
UPDATE "Orders" SET state = 'new' WHERE id = 4;
SELECT journey.run_until_idle();
SELECT is((SELECT status FROM journey.orders WHERE order_id = '4'), 'shipped', 'an illegal step does not');
SELECT results_eq($$SELECT kind, count FROM journey.incident WHERE kind = 'illegal_transition'$$, $$VALUES ('illegal_transition', 1::bigint)$$, 'it is an incident');
UPDATE "Orders" SET state = 'there' WHERE id = 4;
UPDATE "Orders" SET state = 'back' WHERE id = 4;
SELECT journey.run_until_idle();
SELECT is((SELECT status FROM journey.orders WHERE order_id = '4'), 'refunded', 'the legal ones go on from there');
SELECT is((SELECT orders FROM journey.profile_state WHERE profile_id = journey.profile_id('{"customer_id": "43"}')), 1, 'a refunded order was an order');

-- cancelled and placed again
UPDATE "Orders" SET state = 'void' WHERE id = 3;
SELECT journey.run_until_idle();
SELECT is((SELECT orders FROM journey.profile_state WHERE profile_id = journey.profile_id('{"customer_id": "42"}')), 1, 'a cancelled order does not count');
SELECT is((SELECT type FROM journey.event WHERE props ->> 'order_id' = '3' ORDER BY event_id DESC LIMIT 1), 'order_cancelled', 'cancelling is an event');
UPDATE "Orders" SET state = 'ok' WHERE id = 3;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT status, cancelled_at FROM journey.orders WHERE order_id = '3'$$, $$VALUES ('placed', NULL::timestamptz)$$, 'it may be placed again');
SELECT is((SELECT orders FROM journey.profile_state WHERE profile_id = journey.profile_id('{"customer_id": "42"}')), 2, 'and counts again');

-- a status that the map does not know
UPDATE "Orders" SET state = 'limbo' WHERE id = 3;
SELECT journey.run_until_idle();
SELECT is((SELECT status FROM journey.orders WHERE order_id = '3'), 'placed', 'an unmapped status moves nothing');
SELECT results_eq($$SELECT type, props ->> 'status' FROM journey.event WHERE props ->> 'order_id' = '3' ORDER BY event_id DESC LIMIT 1$$,
    $$VALUES ('order_updated', 'limbo')$$, 'it is order_updated');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'unmapped_status'), 'public.Orders: limbo', 'and an incident that names it');

-- odd values: the order is an order, its neighbours too
BEGIN;
INSERT INTO "Orders" VALUES (5, 44, NULL, 'ok', 'about ten', NULL, NULL);
INSERT INTO "Orders" VALUES (6, 45, NULL, 'ok', '6', NULL, '2026-02-28 00:00+00');
COMMIT;
SELECT is((SELECT value FROM journey.run_once() WHERE name = 'quarantined'), 1::bigint, 'an odd amount is set aside');
SELECT results_eq($$SELECT order_id, status, amount FROM journey.orders WHERE order_id IN ('5', '6') ORDER BY 1$$,
    $$VALUES ('5', 'placed', NULL::numeric), ('6', 'placed', 6)$$, 'but the order is known, and so are its neighbours');
SELECT is((SELECT reason FROM journey.quarantine), '"about ten" is not a number', 'with its reason');
SELECT ok((SELECT original_text LIKE '%about ten%' FROM journey.quarantine), 'and the row as it came');

-- returns
UPDATE order_lines SET state = 'ret' WHERE order_id = 2 AND sku = 'B';
SELECT journey.run_until_idle();
SELECT is((SELECT props ->> 'sku' FROM journey.event WHERE type = 'order_line_returned'), 'B', 'a line that came back is an event');
SELECT is((SELECT status FROM journey.order_line WHERE order_id = '2' AND sku = 'B'), 'returned', 'and state');

-- a new owner takes the order along
UPDATE "Orders" SET customer = 46 WHERE id = 6;
SELECT journey.run_until_idle();
SELECT is((SELECT profile_id FROM journey.orders WHERE order_id = '6'), journey.profile_id('{"customer_id": "46"}'), 'an order follows its customer');
SELECT results_eq($$SELECT orders FROM journey.profile_state WHERE profile_id IN (journey.profile_id('{"customer_id": "45"}'), journey.profile_id('{"customer_id": "46"}')) ORDER BY profile_id = journey.profile_id('{"customer_id": "46"}')$$,
    $$VALUES (0), (1)$$, 'and counts where it is');

-- sent events on the same machine
SELECT journey.track('pos', 'order_placed', '{"customer_id": "47"}', '{"order_id": "P1", "amount": "12.30", "currency": "EUR", "origin": "pos", "lines": [{"sku": "A", "quantity": 1, "price": 12.3}]}');
SELECT journey.track('pos', 'order_paid', '{"customer_id": "47"}', '{"order_id": "P1"}');
SELECT journey.track('pos', 'order_cancelled', '{"customer_id": "48"}', '{"order_id": "P2"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT status, amount, origin FROM journey.orders WHERE order_id = 'P1'$$, $$VALUES ('paid', 12.30, 'pos')$$, 'the till''s orders are orders');
SELECT is((SELECT props ->> 'sku' FROM journey.event WHERE type = 'order_line_placed' AND source = 'pos'), 'A', 'with their lines');
SELECT is((SELECT orders FROM journey.profile_state WHERE profile_id = journey.profile_id('{"customer_id": "48"}')), 0, 'an order first seen cancelled never counted');
SELECT journey.track('wms', 'shipment_delivered', '{"customer_id": "47"}', '{"order_id": "P1", "shipment_id": "S1"}');
SELECT journey.track('wms', 'shipment_shipped', '{"customer_id": "47"}', '{"order_id": "P1", "shipment_id": "S1"}');
SELECT journey.run_until_idle();
SELECT is((SELECT status FROM journey.orders WHERE order_id = 'P1'), 'delivered', 'a milestone that arrives late does not move an order back');

SELECT journey.declare_truth('orders', 'shop');
SELECT journey.run_until_idle();
SELECT journey.track('pos', 'order_placed', '{"customer_id": "47"}', '{"order_id": "P3"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT second_writer, second_count FROM journey.source_of_truth WHERE signal = 'orders'$$, $$VALUES ('pos', 1::bigint)$$,
    'a second writer of a signal is seen');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'second_writer'), 'orders: pos', 'and reported');
SELECT journey.declare_truth('orders', 'pos');
SELECT journey.track('pos', 'order_placed', '{"customer_id": "47"}', '{"order_id": "P4"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT second_writer, second_count FROM journey.source_of_truth WHERE signal = 'orders'$$, $$VALUES (NULL, 0::bigint)$$,
    'and is none any more once it is the declared one');
-- an order that was given to somebody else while its trigger was off
ALTER TABLE "Orders" DISABLE TRIGGER journey_capture_order;
UPDATE "Orders" SET customer = 49 WHERE id = 1;
ALTER TABLE "Orders" ENABLE ALWAYS TRIGGER journey_capture_order;
SELECT count(*) FROM journey.reconcile('"Orders"');
SELECT journey.run_until_idle();
SELECT is((SELECT profile_id FROM journey.orders WHERE order_id = '1'), journey.profile_id('{"customer_id": "49"}'), 'reconcile compares people, not statuses alone');
SELECT throws_ok($$SELECT journey.declare_truth('weather', 'shop')$$, '22023', 'there is no signal "weather"', 'there are five signals');

-- an order that is first seen by what changed or went was placed before that, whatever its row says
CREATE TABLE dated_ahead (id text PRIMARY KEY, customer text, status text, at timestamptz);
INSERT INTO dated_ahead VALUES ('ahead1', 'a', 'placed', '2222-01-01 00:00+00'), ('ahead2', 'a', 'placed', '294276-12-31 00:00+00');
SELECT count(*) FROM journey.attach('dated_ahead', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status", "at": "at"}', backfill => false);
UPDATE dated_ahead SET status = 'paid' WHERE id = 'ahead1';
DELETE FROM dated_ahead WHERE id = 'ahead2';
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT order_id, placed_at <= journey.clock() FROM journey.orders WHERE order_id LIKE 'ahead%' ORDER BY 1$$,
    $$VALUES ('ahead1', true), ('ahead2', true)$$, 'no order is placed in the future');

-- a till that counts from 1, too
CREATE TABLE till (id int PRIMARY KEY, customer int);
SELECT count(*) FROM journey.attach('till', 'order', '{"source": "till", "key": "id", "subject": {"customer_id": "customer"}}');
INSERT INTO till VALUES (2, 42);
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT * FROM journey.incident WHERE kind = 'order_clash'$$, 'an order that two sources tell of is one');
INSERT INTO till VALUES (1, 99);
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT name, severity, hint LIKE '%prefix%' FROM journey.incident WHERE kind = 'order_clash'$$, $$VALUES ('commerce and till', 'warning', true)$$,
    'two orders of one number are noticed');

SELECT is_empty('SELECT pg_temp.orphans()', 'no row of any table is left behind');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
