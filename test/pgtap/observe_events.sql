-- Sent events: once per message id, kept although unknown, set aside when odd
-- while their neighbours pass, late ones flagged.
SELECT plan(23);
SELECT journey.set_clock('2026-03-01 10:00+00');

-- mission: 17
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}', message_id => 'm1');
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}', message_id => 'm1');
SELECT journey.track('app', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}', message_id => 'm1');
SELECT is((SELECT value FROM journey.run_once() WHERE name = 'duplicates'), 1::bigint, 'a repeated message of one batch is counted');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'product_viewed'), 2::bigint,
          'a message id counts once per source');
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}', message_id => 'm1');
SELECT is((SELECT value FROM journey.run_once() WHERE name = 'duplicates'), 1::bigint, 'and in a later batch too');
SELECT is((SELECT count(*) FROM journey.event), 2::bigint, 'nothing was added by it');
SELECT is((SELECT events FROM journey.profile_state), 2::bigint, 'the person''s count says the same');

-- unknown types are kept and counted
SELECT journey.track('web', 'lamp_rubbed', '{"anonymous_id": "a1"}', '{"quantity": "thrice"}');
SELECT journey.run_once();
SELECT is((SELECT props FROM journey.event WHERE type = 'lamp_rubbed'), '{"quantity": "thrice"}'::jsonb,
          'an unknown type keeps its props as they are');
SELECT results_eq($$SELECT known, seen FROM journey.event_type WHERE type = 'lamp_rubbed'$$,
                  $$VALUES (false, 1::bigint)$$, 'and is counted as unknown');

-- odd values
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "a2"}', '{"sku": "A", "cart_id": "c2", "quantity": 1, "price": "12.50"}');
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "a2"}', '{"sku": "B", "cart_id": "c2", "quantity": "two"}');
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "a2"}', '{"sku": "C", "cart_id": "c2", "quantity": "1e999999"}');
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "a2"}', '{"sku": "D", "cart_id": "c2", "price": "NaN"}');
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "a2"}', '{"sku": "E", "cart_id": "c2", "quantity": 2, "price": 3}');
SELECT is((SELECT value FROM journey.run_once() WHERE name = 'quarantined'), 3::bigint, 'odd values are set aside');
SELECT results_eq($$SELECT sku, quantity, price FROM journey.cart_line WHERE cart_id = 'c2' ORDER BY sku$$,
                  $$VALUES ('A', 1::numeric, 12.50), ('E', 2, 3)$$, 'their neighbours pass');
SELECT results_eq($$SELECT reason, original #>> '{props,sku}' FROM journey.quarantine ORDER BY 2$$,
                  $$VALUES ('quantity is not a number', 'B'), ('quantity is not a number', 'C'), ('price is not a number', 'D')$$,
                  'quarantine has reason and original');
SELECT is((SELECT jsonb_typeof(props -> 'price') FROM journey.event WHERE props ->> 'sku' = 'A'), 'number',
          'a number sent as text is a number in the log');

-- late events
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a3"}', '{"sku": "old"}', occurred_at => '2026-02-01 00:00+00');
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a3"}', '{"sku": "new"}', occurred_at => '2026-02-28 00:00+00');
SELECT journey.run_once();
SELECT results_eq($$SELECT props ->> 'sku', late FROM journey.event WHERE props ->> 'sku' IN ('old', 'new') ORDER BY occurred_at$$,
                  $$VALUES ('old', true), ('new', false)$$, 'an event older than journey.max_event_age is flagged');
SELECT is((SELECT last_event_at FROM journey.profile_state s JOIN journey.identity i USING (profile_id) WHERE i.value = 'a3'),
          '2026-02-28 00:00+00'::timestamptz, 'the latest event by its own time is the last');
SELECT is((SELECT DISTINCT received_at FROM journey.event WHERE props ->> 'sku' IN ('old', 'new')),
          '2026-03-01 10:00+00'::timestamptz, 'events are filed by the clock at consumption');

-- a clock that is wrong by years
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a3"}', '{"sku": "far"}', occurred_at => '2222-01-01 00:00+00');
SELECT journey.run_once();
SELECT is((SELECT occurred_at FROM journey.event WHERE props ->> 'sku' = 'far'), '2026-03-01 10:00+00'::timestamptz,
          'an event from the far future happened now');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'clock_ahead'), 'web', 'and its source is reported');

-- mission: 110, 111, 112
SELECT is((SELECT count(*) FROM journey.event_type WHERE known AND type IN
              ('product_viewed', 'list_viewed', 'cart_item_added', 'cart_item_removed', 'checkout_started', 'order_placed')),
          6::bigint, 'the minimum events are in the vocabulary');
SELECT results_eq($$SELECT type, seen FROM journey.event_type WHERE known AND seen > 0 ORDER BY type$$,
                  $$VALUES ('cart_item_added', 2::bigint), ('product_viewed', 5::bigint)$$, 'and counted as they come');

-- mission: 24
SELECT results_eq($$SELECT source, events FROM journey.source ORDER BY source$$,
                  $$VALUES ('app', 1::bigint), ('web', 7)$$, 'each source is counted');
SELECT ok((SELECT bool_and(last_received_at > '2026-03-02'::timestamptz AND last_event_at <= '2026-03-01 10:00+00') FROM journey.source),
          'with the latest event by its own and by real time');

-- events about things name no person
SELECT journey.track('erp', 'stock_changed', '{}', '{"sku": "A", "available": 7}');
SELECT journey.track('erp', 'product_changed', '{}', '{"sku": "A", "name": "Anorak", "category": "jackets", "class": "considered", "price": 99}');
SELECT journey.run_once();
-- mission: 113
SELECT results_eq($$SELECT name, category, class, price, available FROM journey.product WHERE sku = 'A'$$,
                  $$VALUES ('Anorak', 'jackets', 'considered', 99::numeric, 7::numeric)$$, 'catalogue events make a product');
SELECT is((SELECT count(*) FROM journey.event WHERE source = 'erp'), 0::bigint, 'and no person''s event');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
