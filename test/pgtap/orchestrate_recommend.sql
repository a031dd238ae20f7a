-- Products for a person: ranked by what others order, of what the person looks at; never one that
-- came back, is owned or is not in stock, however it was told.
-- mission: 26
-- What would break if this failed: somebody is offered the shoes that they have just sent back.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(30);
SELECT journey.set_clock('2026-03-02 10:00+00') \g /dev/null
CREATE FUNCTION pg_temp.who(c text) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('customer_id', c) $$;
CREATE FUNCTION pg_temp.top(c text, n int DEFAULT 10, context jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(r.sku, ' ' ORDER BY i) FROM journey.recommend(pg_temp.who(c), n, context) WITH ORDINALITY AS r (sku, score, reason, i) $$;
-- n people order a product
CREATE FUNCTION pg_temp.orders(sku text, n int, at timestamptz DEFAULT journey.clock()) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(journey.track('shop', 'order_placed', pg_temp.who(format('other-%s-%s-%s', sku, i, at::date)),
        jsonb_build_object('order_id', format('%s-%s-%s', sku, i, at::date), 'amount', 5, 'currency', 'EUR', 'lines', jsonb_build_array(jsonb_build_object('sku', sku, 'quantity', 1, 'price', 5))), at))
    FROM generate_series(1, n) i $$;
CREATE FUNCTION pg_temp.buy(c text, order_id text, skus text[]) RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('shop', 'order_placed', pg_temp.who(c), jsonb_build_object('order_id', order_id, 'amount', 5, 'currency', 'EUR',
        'lines', (SELECT jsonb_agg(jsonb_build_object('sku', s, 'quantity', 1, 'price', 5)) FROM unnest(skus) s))) $$;
SELECT journey.track('shop', 'product_changed', '{}', jsonb_build_object('sku', sku, 'category', c, 'available', a, 'replenishable', r))
FROM (VALUES ('S1', 'shoes', 5, false), ('S2', 'shoes', 5, false), ('S3', 'shoes', 5, false), ('S4', 'shoes', 0, false), ('S5', 'shoes', NULL, false), ('S6', 'shoes', 5, false),
             ('H1', 'hats', 5, false), ('H2', 'hats', 5, false), ('C1', 'coffee', 5, true), ('C2', 'coffee', 5, true)) AS p (sku, c, a, r) \g /dev/null
SELECT pg_temp.orders(sku, n) FROM (VALUES ('S1', 2), ('S2', 4), ('S3', 4), ('S4', 9), ('S5', 8), ('H1', 6), ('C1', 3)) AS x (sku, n) \g /dev/null
SELECT pg_temp.orders('S6', 7, '2025-11-01 10:00+00') \g /dev/null
SELECT journey.track('web', 'product_viewed', pg_temp.who('ann'), '{"sku": "S1"}') \g /dev/null
SELECT journey.track('web', 'identified', pg_temp.who('new'), '{}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.top('ann'), NULL, 'before maintenance has counted nobody knows what is ordered');
SELECT journey.maintain() \g /dev/null

SELECT is(pg_temp.top('ann'), 'S2 S3 S1 S6 H1 C1', 'what is ordered most of what was looked at, then of all; ties by sku; none that is, or may be, out of stock');
SELECT results_eq($$SELECT sku, round(score::numeric, 2), reason FROM journey.recommend('{"customer_id": "ann"}', 2)$$,
    $$VALUES ('S2', 1.44, 'looked at shoes; ordered 4 times in 90 days'), ('S3', 1.44, 'looked at shoes; ordered 4 times in 90 days')$$, 'each with its score and reason');
SELECT is((SELECT reason FROM journey.recommend('{"customer_id": "ann"}') WHERE sku = 'S6'), 'looked at shoes; ordered 0 times in 90 days', 'orders older than that do not count');
SELECT is(pg_temp.top('new'), 'H1 S2 S3 C1 S1', 'of somebody who has looked at nothing: what is ordered most');
SELECT is(pg_temp.top('nobody'), NULL, 'no row for who is not known');
SELECT is(pg_temp.top('ann', 1), 'S2', 'as many as asked for');
SELECT is(pg_temp.top('ann', 0), NULL, 'none is none');
SELECT is(pg_temp.top('ann', 3), pg_temp.top('ann', 3), 'the same again');
SELECT is(pg_temp.top('ann', 10, '{"category": "hats"}'), 'H1 H2', 'of a category');
SELECT is(pg_temp.top('ann', 10, '{"sku": "S2"}'), 'S3 S1 S6', 'instead of a product');
SELECT is(pg_temp.top('ann', 10, '{"exclude": ["S2", "H1"]}'), 'S3 S1 S6 C1', 'without some');
SELECT throws_ok($$SELECT journey.recommend('{"customer_id": "ann"}', 3, '{"categori": "hats"}')$$, '22023', 'the context has an unknown field "categori"', 'a slip is told');

-- what is owned, unless it is used up
SELECT pg_temp.buy('bob', 'B1', '{S2,C1}') \g /dev/null
SELECT journey.run_until_idle(), journey.maintain() \g /dev/null
SELECT is(pg_temp.top('bob'), 'C1 S3 S1 C2 S6 H1', 'owned is not recommended, what is bought again and again is');
SELECT journey.track('shop', 'order_cancelled', pg_temp.who('bob'), '{"order_id": "B1"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(split_part(pg_temp.top('bob'), ' ', 1), 'S2', 'what was cancelled is not owned');

-- stock is that of this moment
CREATE TABLE stock (sku text PRIMARY KEY, on_hand int);
INSERT INTO stock SELECT p.sku, 3 FROM journey.product p;
SELECT journey.attach('stock', 'stock', '{"sku": "sku", "available": "on_hand"}') \g /dev/null
UPDATE stock SET on_hand = 0 WHERE sku = 'S2';
SELECT is(pg_temp.top('ann', 3), 'S4 S5 S3', 'as the shop''s table has it now');

-- what came back, in each way that it is told
SELECT pg_temp.buy('r' || i, 'R' || i, '{S3,C1,H1}') FROM generate_series(1, 9) i \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.top('r1', 10, '{"category": "coffee"}'), 'C1 C2', 'coffee is bought again');
SELECT journey.track('shop', 'order_line_returned', pg_temp.who('r1'), '{"order_id": "R1", "sku": "C1", "quantity": 1}') \g /dev/null
SELECT journey.track('shop', 'return_requested', pg_temp.who('r2'), '{"order_id": "R2", "sku": "C1", "reason": "too strong"}') \g /dev/null
SELECT journey.track('shop', 'return_requested', pg_temp.who('r3'), '{"return_id": "X3", "order_id": "R3", "sku": "C1"}') \g /dev/null
SELECT journey.track('shop', 'return_received', pg_temp.who('r4'), '{"return_id": "X4", "order_id": "R4"}') \g /dev/null
SELECT journey.track('shop', 'return_received', pg_temp.who('r5'), '{"return_id": "X5", "order_id": "elsewhere", "sku": "C1"}') \g /dev/null
SELECT journey.track('shop', 'return_requested', pg_temp.who('r7'), '{"return_id": "X7", "order_id": "R7", "sku": "H1"}') \g /dev/null
CREATE TABLE rma (id text PRIMARY KEY, order_no text, state text, article text);
SELECT journey.attach('rma', 'return', '{"key": "id", "order": "order_no", "status": "state", "props": {"sku": "article"}}') \g /dev/null
INSERT INTO rma VALUES ('X6', 'R6', 'received', 'C1'), ('X8', 'R8', 'requested', NULL), ('X9', 'R9', 'rejected', NULL);
SELECT journey.run_until_idle(), journey.maintain() \g /dev/null
SELECT is(pg_temp.top('r' || i, 10, '{"category": "coffee"}'), 'C2', format('returned: %s', how))
FROM (VALUES (1, 'a line'), (2, 'asked for, with order and product'), (3, 'with a number of its own'), (4, 'a return that does not say of what: all of the order'),
             (5, 'of an order that nobody knows'), (6, 'a row of a table'), (8, 'a row that does not say of what')) AS x (i, how);
SELECT is(pg_temp.top('r7', 10, '{"category": "coffee"}'), 'C1 C2', 'what was kept of the same order may come again');
SELECT is(pg_temp.top('r9', 10, '{"category": "coffee"}'), 'C1 C2', 'as may what was not taken back');
SELECT is_empty($$SELECT c, r.sku FROM unnest('{r1,r2,r3,r4,r5,r6,r8}'::text[]) c, journey.recommend(pg_temp.who(c), 100) r WHERE r.sku = 'C1'$$, 'nor among all there are');

-- beside a plan that runs in parallel: stock is read behind a savepoint
CREATE TABLE shelf (sku text, n integer);
INSERT INTO shelf VALUES ('S1', 5);
SELECT count(*) FROM journey.attach('shelf', 'stock', '{"sku": "sku", "available": "n"}') \g /dev/null
CREATE TABLE many AS SELECT i, 'new' AS who FROM generate_series(1, 20000) AS i;
ANALYZE many;
BEGIN;
SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
SELECT lives_ok($$SELECT (SELECT count(*) FROM journey.recommend(jsonb_build_object('customer_id', m.who))) FROM many AS m WHERE m.i = 5$$, 'somebody asks for many people at once');
COMMIT;

-- whose data rest
SELECT journey.restrict(pg_temp.who('ann'), true) \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.top('ann'), NULL, 'somebody whose data rest gets none');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
