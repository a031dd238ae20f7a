-- The stage of each open cart, order and shipment beside the person's own, and
-- its history: one row for each move, from the first to the end.
-- What would break if this failed: how long orders take, and who waits for what, is anybody's guess.
-- mission: 217
\ir ../fixtures/orchestrate.sql
\set QUIET on
SELECT plan(18);
SELECT pg_temp.move('2026-03-02 10:00+00') \g /dev/null
CREATE FUNCTION pg_temp.stages(c text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', nullif(object, ''), stage, 'since', to_char(since, 'DD HH24:MI')), ', ' ORDER BY object) FROM journey.stages(pg_temp.who(c)) $$;
CREATE FUNCTION pg_temp.history(c text, o text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s -> %s (%s)', coalesce(nullif(from_stage, ''), '.'), coalesce(nullif(to_stage, ''), '.'), rule), ', ' ORDER BY seq, n)
    FROM journey.stage_transition WHERE profile_id = pg_temp.pid(c) AND object = o $$;
SELECT is((SELECT count(*) FROM journey.stages('{"customer_id": "nobody"}')), 0::bigint, 'of nobody nothing is known');
SELECT pg_temp.person('a') \g /dev/null
SELECT pg_temp.move('2026-03-02 10:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'awareness since 02 10:00', 'a person begins in awareness');

-- a cart
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('a'), '{"sku": "A", "quantity": 2, "price": 3, "cart_id": "C"}') \g /dev/null
SELECT pg_temp.move('2026-03-02 11:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'purchase since 02 10:00, cart:C purchase since 02 10:00', 'a cart is a purchase');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('a'), '{"sku": "B", "quantity": 1, "price": 3, "cart_id": "C"}') \g /dev/null
SELECT journey.track('shop', 'cart_item_removed', pg_temp.who('a'), '{"sku": "A", "quantity": 2, "cart_id": "C"}') \g /dev/null
SELECT pg_temp.move('2026-03-02 12:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'purchase since 02 10:00, cart:C purchase since 02 10:00', 'as long as something is in it');
SELECT journey.track('shop', 'cart_item_removed', pg_temp.who('a'), '{"sku": "B", "quantity": 1, "cart_id": "C"}') \g /dev/null
SELECT pg_temp.move('2026-03-02 13:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'purchase since 02 10:00', 'emptied it is none');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('a'), '{"sku": "A", "quantity": 1, "price": 3, "cart_id": "C"}') \g /dev/null
SELECT pg_temp.move('2026-03-02 14:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'purchase since 02 10:00, cart:C purchase since 02 13:00', 'filled again it is one, since then');

-- it becomes an order, of two parcels
SELECT journey.track('shop', 'order_placed', pg_temp.who('a'), '{"order_id": "O", "cart_id": "C", "amount": 3, "currency": "EUR"}') \g /dev/null
SELECT pg_temp.move('2026-03-03 10:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'fulfillment since 02 14:00, order:O fulfillment since 02 14:00', 'an order is to be fulfilled');
SELECT is(pg_temp.history('a', 'cart:C'), '. -> purchase (status open), purchase -> . (status emptied), . -> purchase (status open), purchase -> . (status ordered)', 'each move of the cart is a row');
SELECT journey.track('shop', 'order_paid', pg_temp.who('a'), '{"order_id": "O"}') \g /dev/null
SELECT journey.track('shop', 'shipment_shipped', pg_temp.who('a'), '{"order_id": "O", "shipment_id": "S1"}') \g /dev/null
SELECT journey.track('shop', 'shipment_shipped', pg_temp.who('a'), '{"order_id": "O", "shipment_id": "S2"}') \g /dev/null
SELECT pg_temp.move('2026-03-04 10:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'fulfillment since 02 14:00, order:O fulfillment since 02 14:00, shipment:S1 fulfillment since 03 10:00, shipment:S2 fulfillment since 03 10:00', 'each parcel by itself');
SELECT journey.track('shop', 'shipment_delivered', pg_temp.who('a'), '{"order_id": "O", "shipment_id": "S1"}') \g /dev/null
SELECT pg_temp.move('2026-03-05 10:00+00') \g /dev/null
SELECT is(pg_temp.stages('a'), 'post_purchase since 04 10:00, order:O post_purchase since 04 10:00, shipment:S2 fulfillment since 03 10:00', 'one has arrived, the other has not');
SELECT is(pg_temp.history('a', 'order:O'), '. -> fulfillment (status placed), fulfillment -> post_purchase (status delivered)', 'a step within a stage is no move');
-- out of order, and back
SELECT journey.track('shop', 'shipment_delivered', pg_temp.who('a'), '{"order_id": "O", "shipment_id": "S2"}', '2026-03-05 09:00+00') \g /dev/null
SELECT journey.track('shop', 'shipment_shipped', pg_temp.who('a'), '{"order_id": "O", "shipment_id": "S2"}', '2026-03-05 08:00+00') \g /dev/null
SELECT pg_temp.move('2026-03-06 10:00+00') \g /dev/null
SELECT is(pg_temp.history('a', 'shipment:S2'), '. -> fulfillment (status shipped), fulfillment -> post_purchase (status delivered)', 'what is told late moves nothing back');
SELECT journey.track('shop', 'order_refunded', pg_temp.who('a'), '{"order_id": "O", "amount": 3}') \g /dev/null
SELECT pg_temp.move('2026-03-07 10:00+00') \g /dev/null
SELECT is(pg_temp.history('a', 'order:O'), '. -> fulfillment (status placed), fulfillment -> post_purchase (status delivered), post_purchase -> . (status refunded)', 'an order that ends is in no stage');
SELECT is(pg_temp.stages('a'), 'post_purchase since 04 10:00', 'and not among the open ones');
SELECT is((SELECT count(*) FROM journey.stage_transition WHERE profile_id = pg_temp.pid('a') AND object = ''), 3::bigint, 'the person''s own moves are told apart');

-- what was tried out is taken away
SELECT journey.set_clock(NULL) \g /dev/null
SELECT journey.discard_test() \g /dev/null
SELECT is((SELECT stage FROM journey.profile_state), 'awareness', 'the person is where they were');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
