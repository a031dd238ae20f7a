-- Readiness: each of the minimum events, and the columns of the catalogue,
-- fails while it is missing and passes once it is there.
-- mission: 110, 111, 112, 113
-- What would break if this failed: a journey goes live on data that never comes.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(15);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
CREATE FUNCTION pg_temp.missing() RETURNS text LANGUAGE sql AS
    $$ SELECT coalesce(string_agg(item, ', ' ORDER BY item), 'nothing') FROM journey.readiness() WHERE NOT ready $$;
SELECT is(pg_temp.missing(), 'event cart_item_added, event cart_item_removed, event checkout_started, event list_viewed, event order_placed, event product_viewed, product available, product category, product price',
          'a new database is ready for nothing');
SELECT is_empty('SELECT * FROM journey.readiness() WHERE ready IS NULL OR ready <> (hint IS NULL) OR detail IS NULL', 'what is missing has a hint, and nothing else has');

-- events that are sent, and those that a cart's and an order's tables give
SELECT journey.track('web', t, '{"customer_id": "1"}', '{"sku": "A"}') FROM unnest('{product_viewed,list_viewed}'::text[]) t \g /dev/null
SELECT journey.track('web', 'checkout_started', '{"customer_id": "1"}', '{"cart_id": "9"}') \g /dev/null
SELECT is(pg_temp.missing() ~ 'product_viewed', true, 'what waits in the inbox has not been seen');
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.missing(), 'event cart_item_added, event cart_item_removed, event order_placed, product available, product category, product price', 'what was sent is there');
SELECT matches((SELECT detail FROM journey.readiness() WHERE item = 'event product_viewed'), '^1 seen, the last at 2026-03-02 ', 'how often, and when');
CREATE TABLE lines (id integer PRIMARY KEY, cart_id text, customer text, sku text, qty integer);
CREATE TABLE shop_orders (id integer PRIMARY KEY, customer text, status text);
SELECT count(*) FROM journey.attach('lines', 'cart_line', '{"key": "cart_id", "line": "id", "sku": "sku", "quantity": "qty", "subject": {"customer_id": "customer"}}') \g /dev/null
SELECT count(*) FROM journey.attach('shop_orders', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status"}') \g /dev/null
INSERT INTO lines VALUES (1, '9', '1', 'A', 1);
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.missing(), 'event cart_item_removed, event order_placed, product available, product category, product price', 'a line put in');
DELETE FROM lines;
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.missing(), 'event order_placed, product available, product category, product price', 'and taken out');
INSERT INTO shop_orders VALUES (1, '1', 'placed');
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.missing(), 'product available, product category, product price', 'an order');

-- the catalogue
CREATE TABLE products (sku text PRIMARY KEY, category text, price numeric, stock integer);
INSERT INTO products SELECT 'P' || g, CASE WHEN g > 1 THEN 'shoes' END, CASE WHEN g > 3 THEN 10 END FROM generate_series(1, 20) g;
SELECT results_eq($$SELECT name, value, rows FROM journey.attach('products', 'product', '{"sku": "sku", "category": "category", "price": {"column": "price"}, "available": "stock"}') WHERE what = 'nulls' ORDER BY name$$,
    $$VALUES ('category', '5.0 %', 1::bigint), ('price', '15.0 %', 3), ('stock', '100.0 %', 20)$$, 'attach says how much of each mapped column is null');
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.missing(), 'product available, product price', 'one in twenty may be null');
SELECT results_eq($$SELECT item, detail FROM journey.readiness() WHERE item LIKE 'product%' ORDER BY 1$$,
    $$VALUES ('product available', '100.0 % null: 20 of 20 products'), ('product category', '5.0 % null: 1 of 20 products'), ('product price', '15.0 % null: 3 of 20 products')$$, 'the rate is told');
UPDATE products SET price = 5, stock = 1;
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.missing(), 'nothing', 'ready');
SELECT is_empty($$SELECT * FROM journey.attach('products', 'product', '{"sku": "sku", "price": "price"}', dry_run => true) WHERE what = 'nulls'$$, 'a column without nulls is not named');

SET ROLE journey_analyst;
SELECT isnt_empty('SELECT * FROM journey.readiness()', 'an analyst may read it');
RESET ROLE;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
