-- A small shop with journey at work: people, consents, open carts, orders,
-- a message that was sent, one that is claimed and one that waits.
--   psql -v customers=40 -v seed=7 -f demo/shop.sql -f demo/attach.sql
--        -v doc="$(cat demo/journeys.json)" -f test/upgrade/fill.sql
-- No line of it depends on how fast the machine is.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT count(*) FROM journey.apply(:'doc'::jsonb) \g /dev/null
SELECT count(*) FROM journey.resume() \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

-- twenty open carts, whose owners were last seen on the shipping page
WITH c AS (INSERT INTO shop.carts (customer_id, email)
           SELECT id, email FROM shop.customers ORDER BY id LIMIT 20 RETURNING id)
INSERT INTO shop.cart_lines (cart_id, sku, quantity, unit_price) SELECT id, 'P0007', 2, 19.5 FROM c;
SELECT journey.track('web', 'product_viewed', jsonb_build_object('customer_id', customer_id), '{"sku": "P0007"}'),
       journey.track('web', 'checkout_step_viewed', jsonb_build_object('customer_id', customer_id),
       jsonb_build_object('step', 'shipping', 'cart_id', id))
FROM shop.carts \g /dev/null
-- events that nobody can read
SELECT journey.ingest('[{"type": "track"}, {"nonsense": true}]') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

-- ten orders: their carts end, their confirmations are due
WITH o AS (INSERT INTO shop.orders (customer_id, email, cart_id, status, total)
           SELECT customer_id, email, id, 'paid', 39 FROM shop.carts ORDER BY id LIMIT 10 RETURNING id)
INSERT INTO shop.order_lines (order_id, sku, quantity, unit_price) SELECT id, 'P0007', 2, 19.5 FROM o;
SELECT journey.run_until_idle() \g /dev/null
-- the other carts are silent long enough
SELECT pg_sleep(8.5) \g /dev/null
SELECT journey.run_until_idle() \g /dev/null

-- three are sent, two more have a permit and no outcome yet, one is only claimed
CREATE TEMP TABLE claimed AS SELECT row_number() OVER () AS n, c.action_id, c.token FROM journey.claim('email', 6) c;
SELECT array_agg(action_id) AS ids, array_agg(token) AS tokens FROM claimed WHERE n <= 5 \gset
SELECT count(*) FROM journey.begin_send(:'ids'::uuid[], :'tokens'::bigint[]) \g /dev/null
SELECT journey.ack(action_id, token) FROM claimed WHERE n <= 3 \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
