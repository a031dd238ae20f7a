-- track() and ingest(): what is taken, what is refused or set aside, and what
-- each of them leaves in the inbox.
-- mission: 1
SELECT plan(48);

CREATE VIEW pg_temp.inbox AS SELECT * FROM journey.inbox_0 UNION ALL SELECT * FROM journey.inbox_1 UNION ALL SELECT * FROM journey.inbox_2;
CREATE FUNCTION pg_temp.last() RETURNS journey.inbox_0 LANGUAGE sql AS $$SELECT * FROM pg_temp.inbox ORDER BY seq DESC LIMIT 1$$;

-- one event
SELECT lives_ok($$SELECT journey.track('web', 'product_viewed', '{"anonymous_id":"a1"}', '{"sku":"s1"}', '2026-03-07 09:00+00', 'm1')$$, 'track() takes an event');
SELECT is((pg_temp.last()).op::text, 'e', 'as an event');
SELECT is((pg_temp.last()).source, 'web', 'with its source');
SELECT is((pg_temp.last()).occurred_at, '2026-03-07 09:00+00', 'the time it says');
SELECT is((pg_temp.last()).message_id, 'm1', 'and its id');
SELECT is((pg_temp.last()).fence, NULL, 'a person''s only key links nothing, so there is no mark');
SELECT is((pg_temp.last()).keys, NULL, 'and no hash is stored');

-- marks
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id":"a1"}', '{"cart_id":"c1","sku":"s1"}');
SELECT is((pg_temp.last()).fence::text, 'l', 'a cart and a visitor are a link');
SELECT is((pg_temp.last()).ref, 'cart:c1', 'that speaks of the cart');
SELECT set_eq('SELECT unnest((pg_temp.last()).keys)', $$VALUES (journey.key_hash('anonymous_id', 'a1')), (journey.key_hash('cart', 'default:c1'))$$, 'with both keys');
SELECT journey.track('web', 'order_placed', '{"email":" A@B.example ","customer_id":42}', '{"order_id":7,"cart_id":"c1"}');
SELECT is((pg_temp.last()).fence::text, 'f', 'an order is a fence');
SELECT is((pg_temp.last()).ref, 'order:7', 'that speaks of the order');
SELECT set_eq('SELECT unnest((pg_temp.last()).keys)',
    $$VALUES (journey.key_hash('email', 'a@b.example')), (journey.key_hash('customer_id', '42')),
             (journey.key_hash('cart', 'default:c1')), (journey.key_hash('order', 'default:7'))$$, 'for each key and object, normalised');
SELECT journey.track('web', 'unsubscribed', '{"email":"x@y.example"}', '{"channel":"email"}');
SELECT is((pg_temp.last()).fence::text, 'f', 'an opt-out is a fence');
SELECT is((SELECT channel FROM journey._fences() WHERE type = 'unsubscribed'), 'email', 'of its channel');
SELECT journey.track('web', 'order_cancelled', '{"customer_id":"42"}', '{"order_id":"7"}');
SELECT is((pg_temp.last()).fence::text, 'r', 'a cancelled order releases');
INSERT INTO journey.namespace (namespace, class, rank, confidence, meaning) VALUES ('company', 'group', 1, 1, '') ON CONFLICT DO NOTHING;
SELECT journey._invalidate('journey.namespace');
SELECT journey.track('web', 'cart_viewed', '{"company":"acme","customer_id":"43"}');
SELECT is((pg_temp.last()).fence, NULL, 'a company''s key links nobody');
SELECT journey.track('web', 'order_placed', '{"company":"acme","customer_id":"43"}', '{"order_id":"8"}');
SELECT ok(NOT journey.key_hash('company', 'acme') = ANY ((pg_temp.last()).keys), 'nor does an order of one stop reminders of all');
SELECT journey.track('web', 'Order Completed', '{"email":"o@c.example"}', '{"order_id":"9","revenue":12.5,"coupon":"X","products":[{"product_id":"p1","quantity":2,"price":5}]}');
SELECT is((pg_temp.last()).type, 'order_placed', 'other vocabularies'' names become canonical');
SELECT is((pg_temp.last()).props -> 'lines' -> 0 ->> 'sku', 'p1', 'and so do their lines');
SELECT is((pg_temp.last()).props ->> 'amount', '12.5', 'amounts');
SELECT is((pg_temp.last()).props -> 'codes', '["X"]', 'and codes');

-- scopes
INSERT INTO journey.source (source, scope) VALUES ('shop_fr', 'fr');
SELECT journey._invalidate('journey.source');
SELECT journey.track('shop_fr', 'order_placed', '{"email":"f@r.example"}', '{"order_id":"1"}');
SELECT is((pg_temp.last()).scope, 'fr', 'a source''s scope is the event''s');
SELECT ok(journey.key_hash('order', 'fr:1') = ANY ((pg_temp.last()).keys), 'and tells its objects from those of other shops');

-- what track() refuses
SELECT throws_ok($$SELECT journey.track(NULL, 'x', '{"email":"a"}')$$, '22004', NULL, 'no source');
SELECT throws_ok($$SELECT journey.track('s', '  ', '{"email":"a"}')$$, '22023', NULL, 'a blank type');
SELECT throws_ok($$SELECT journey.track('s', 'x', NULL)$$, '22004', NULL, 'no subject');
SELECT throws_ok($$SELECT journey.track('s', 'x', '[1]')$$, '22023', NULL, 'a subject that is no object');
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":"  "}')$$, '22023', 'the subject names nobody', 'a subject that names nobody');
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":{"a":1}}')$$, '22023', NULL, 'a key that is an object');
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":"a"}', '[]')$$, '22023', NULL, 'properties that are no object');
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":"a"}', '{}', 'infinity')$$, '22008', NULL, 'an infinite time');
SELECT throws_ok($$SELECT journey.track('s', 'x', jsonb_build_object('email', repeat('a', 600)))$$, '54000', NULL, 'a key of 600 bytes');
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":"a"}', jsonb_build_object('a', repeat('a', 2000000)))$$, '54000', NULL, 'two megabytes of properties');
SELECT lives_ok($$SELECT journey.track('s', 'x', '{"email":"a"}', jsonb_build_object('a', repeat('abc', 100000)))$$, 'but a long value is stored');
SELECT lives_ok($$SELECT journey.track('s', 'stock_changed', NULL, '{"sku":"s","available":0}')$$, 'facts about products need no subject');
SELECT lives_ok($$SELECT journey.track('s', 'x', '{"email":"a"}', NULL)$$, 'nor properties');

-- ingest
SELECT results_eq($$SELECT * FROM journey.ingest('[
    {"source":"s","type":"searched","subject":{"anonymous_id":"i1"},"props":{"query":"sock"},"occurred_at":"2026-02-28T23:59:59.25-05:00","message_id":"i1"},
    {"type":"identify","userId":"u1","anonymousId":"i1","traits":{"email":"U@x.example","name":"U"},"messageId":"i2","timestamp":"2026-03-01T00:00:00Z"},
    {"type":"track","event":"Product Added","anonymousId":"i1","properties":{"product_id":"p","cart_id":"c"}},
    {"source":"s","type":"order_placed","subject":{"email":"z@x.example"},"props":{"order_id":"z"},"backfill":true},
    {"source":"s","type":"x","subject":{"email":"a"},"occurred_at":"yesterday"},
    {"source":"s","type":"x","subject":{"email":"a"},"occurred_at":"2026-02-29T00:00:00Z"},
    {"source":"s","subject":{"email":"a"}}, {"type":"library","userId":"u"}, 7, null, [], "text"]')$$,
    $$VALUES (4, 8)$$, 'ingest() takes the good ones of an array and sets the others aside');
SELECT is((SELECT occurred_at FROM pg_temp.inbox WHERE message_id = 'i1'), '2026-03-01 04:59:59.25+00', 'zones are honoured');
SELECT is((SELECT subject FROM pg_temp.inbox WHERE message_id = 'i2'), '{"email":"U@x.example","customer_id":"u1","anonymous_id":"i1"}', 'Segment''s ids become a subject');
SELECT is((SELECT array[type, fence::text] FROM pg_temp.inbox WHERE message_id = 'i2'), array['identified', 'l'], 'and identify a link');
SELECT is((SELECT op::text FROM pg_temp.inbox WHERE ref = 'order:z'), 'b', 'backfill is told apart');
SELECT results_eq('SELECT sqlstate, count(*)::int FROM journey.quarantine GROUP BY 1 ORDER BY 1',
    $$VALUES ('0A000', 1), ('22004', 1), ('22007', 2), ('22023', 4)$$, 'with a reason and an SQLSTATE each');
SELECT is((SELECT original FROM journey.quarantine WHERE sqlstate = '0A000'), '{"type":"library","userId":"u"}', 'and the original');

-- replay
UPDATE journey.quarantine SET original = '{"source":"s","type":"x","subject":{"email":"a"}}' WHERE sqlstate = '22004';
SELECT results_eq('SELECT * FROM journey.replay_quarantine()', 'VALUES (1, 7)', 'what has become good is replayed, the rest kept');
SELECT results_eq('SELECT * FROM journey.replay_quarantine()', 'VALUES (0, 7)', 'once');
SELECT throws_ok('SELECT journey.ingest(NULL)', '22004', NULL, 'no messages');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
