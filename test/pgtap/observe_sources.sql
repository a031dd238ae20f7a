-- What a source document says of its source: trusted or not, how long it may
-- be silent, which of the eight systems it is.
-- What would break if this failed: a browser that gives consent for others or joins two people.
SELECT plan(25);
SELECT journey.set_clock('2026-03-01 10:00+00');
SELECT journey.apply('{"kind": "source", "name": "browser", "system": "commerce", "trusted": false}');
SELECT journey.apply('{"kind": "source", "name": "shop", "system": "commerce"}');

CREATE FUNCTION pg_temp.who(namespace text, value text) RETURNS uuid LANGUAGE sql AS
$$ SELECT journey.profile_id(jsonb_build_object(namespace, value)) $$;

-- no consent from it
SELECT journey.track('shop', 'identified', '{"customer_id": "1", "email": "ann@example.com"}', '{}');
SELECT journey.track('browser', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}');
SELECT journey.run_once();
SELECT is_empty('SELECT * FROM journey.consent', 'a browser grants no consent');
SELECT is_empty('SELECT * FROM journey.consent_history', 'it is no statement');
SELECT is_empty($$SELECT * FROM journey.event WHERE type = 'consent_granted'$$, 'and no journey hears of it');
SELECT results_eq($$SELECT name, severity FROM journey.incident WHERE kind = 'untrusted_consent'$$, $$VALUES ('browser', 'warning')$$, 'it is reported');
SELECT journey.track('shop', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-03-01 09:00+00');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.consent), 'granted', 'a trusted source grants it');
SELECT journey.track('browser', 'consent_revoked', '{"customer_id": "1"}', '{"channel": "email"}');
SELECT journey.run_once();
SELECT results_eq('SELECT state, source FROM journey.consent', $$VALUES ('revoked', 'browser')$$, 'a browser takes it away');

-- no links from it
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT isnt(pg_temp.who('anonymous_id', 'a1'), NULL, 'a browser alone is a session');
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a2", "email": "ann@example.com"}', '{"sku": "J2"}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.event WHERE props ->> 'sku' = 'J2'), pg_temp.who('customer_id', '1'), 'its event is filed under the strongest key');
SELECT is(pg_temp.who('anonymous_id', 'a2'), NULL, 'the other key joins nobody');
SELECT journey.track('browser', 'identified', '{"anonymous_id": "a1", "email": "eve@example.com"}', '{"email": "eve@example.com"}');
SELECT journey.run_once();
SELECT is(pg_temp.who('email', 'eve@example.com'), NULL, 'a new address joins no session');
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a3", "email": "new@example.com"}', '{"sku": "J3"}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.event WHERE props ->> 'sku' = 'J3'), pg_temp.who('email', 'new@example.com'), 'of two new keys the stronger makes the person');
SELECT is(pg_temp.who('anonymous_id', 'a3'), NULL, 'and the weaker is nobody''s');
SELECT journey.track('browser', 'identified', '{"customer_id": "1"}', '{"email": "eve@example.com"}');
SELECT journey.run_once();
SELECT results_eq($$SELECT address FROM journey.contact_point WHERE profile_id = pg_temp.who('customer_id', '1') AND state = 'active'$$,
    ARRAY['ann@example.com'], 'it changes nobody''s address');

-- nor by way of a cart
SELECT journey.track('shop', 'cart_item_added', '{"customer_id": "1"}', '{"sku": "J1", "cart_id": "C1", "price": 3}');
SELECT journey.track('browser', 'cart_item_added', '{"anonymous_id": "b1"}', '{"sku": "J1", "cart_id": "C2", "price": 4}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C2'), pg_temp.who('anonymous_id', 'b1'), 'a new cart of a browser is its session''s');
SELECT journey.track('browser', 'cart_viewed', '{"anonymous_id": "b2"}', '{"cart_id": "C1"}');
SELECT journey.track('browser', 'cart_viewed', '{"customer_id": "1"}', '{"cart_id": "C2"}');
SELECT journey.run_once();
SELECT isnt(pg_temp.who('anonymous_id', 'b2'), pg_temp.who('customer_id', '1'), 'a browser that names a person''s cart is not that person');
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C2'), pg_temp.who('anonymous_id', 'b1'), 'and moves no cart');
SELECT journey.track('shop', 'cart_viewed', '{"email": "guest@example.com"}', '{"cart_id": "C2"}');
SELECT journey.run_once();
SELECT isnt(pg_temp.who('email', 'guest@example.com'), pg_temp.who('anonymous_id', 'b1'), 'nobody joins a session because a browser said whose the cart is');
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C2'), pg_temp.who('email', 'guest@example.com'), 'the cart goes to whom the shop names');

-- the document decides from the next lap on
SELECT journey.apply('{"kind": "source", "name": "browser", "system": "commerce"}');
SELECT journey.track('browser', 'identified', '{"anonymous_id": "a1", "email": "ann@example.com"}', '{}');
SELECT journey.track('browser', 'product_viewed', '{"anonymous_id": "a2", "email": "ann@example.com"}', '{"sku": "J2"}');
SELECT journey.run_once();
SELECT is(pg_temp.who('anonymous_id', 'a2'), pg_temp.who('customer_id', '1'), 'a source that is trusted again links');

-- silence
SELECT is_empty($$SELECT * FROM journey.health WHERE topic = 'source'$$, 'without max_lag silence is no matter');
SELECT journey.apply('{"kind": "source", "name": "shop", "system": "commerce", "max_lag": "10 minutes"}');
SELECT is_empty($$SELECT * FROM journey.health WHERE topic = 'source'$$, 'a source that has just sent is not silent');
UPDATE journey.source SET last_received_at = clock_timestamp() - interval '11 minutes' WHERE source IN ('shop', 'browser');
SELECT results_eq($$SELECT status, detail LIKE 'shop has sent nothing for 00:11:0%; its max\_lag is 00:10:00', hint IS NOT NULL FROM journey.health WHERE topic = 'source'$$,
    $$VALUES ('warning', true, true)$$, 'one that is silent for longer is a warning');
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "1"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT is_empty($$SELECT * FROM journey.health WHERE topic = 'source'$$, 'until it sends again');

SELECT set_eq($$SELECT jsonb_array_elements_text(journey.json_schema() #> '{$defs,source,properties,system,enum}')$$,
    'SELECT system FROM journey.system', 'documents and the registry name the same eight systems');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
