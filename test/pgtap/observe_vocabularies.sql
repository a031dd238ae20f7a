-- Sample payloads of other vocabularies, CloudEvents, Segment and GA4, become the
-- same canonical rows as our own envelope.
-- What would break if this failed: a shop's events come in, and no rule knows them.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(40);
CREATE VIEW pg_temp.inbox AS SELECT * FROM journey.inbox_0 UNION ALL SELECT * FROM journey.inbox_1 UNION ALL SELECT * FROM journey.inbox_2;

-- ---- what each payload becomes -----------------------------------------------
CREATE TEMP TABLE sample (n integer GENERATED ALWAYS AS IDENTITY, payload jsonb, type text, subject jsonb, props jsonb);
-- Segment, e-commerce version 2
INSERT INTO sample (payload, type, subject, props)
SELECT jsonb_build_object('type', 'track', 'event', s.event, 'userId', 'u1', 'anonymousId', 'a1', 'properties', s.given),
       s.type, '{"customer_id": "u1", "anonymous_id": "a1"}', s.props
FROM (VALUES
    ('Product Viewed', '{"product_id": "p1", "price": 9}'::jsonb, 'product_viewed', '{"sku": "p1", "price": 9}'::jsonb),
    ('Product Clicked', '{"sku": "s1", "product_id": "p1"}', 'product_engaged', '{"sku": "s1"}'),
    ('Product List Viewed', '{"list_id": "shoes", "products": [{"sku": "s1"}]}', 'list_viewed', '{"category": "shoes", "lines": [{"sku": "s1"}]}'),
    ('Products Searched', '{"query": "blue hat"}', 'searched', '{"query": "blue hat"}'),
    ('Product Added', '{"cart_id": "c1", "product_id": "p1", "quantity": 2, "price": 5}', 'cart_item_added', '{"cart_id": "c1", "sku": "p1", "quantity": 2, "price": 5}'),
    ('Product Removed', '{"cart_id": "c1", "product_id": "p1"}', 'cart_item_removed', '{"cart_id": "c1", "sku": "p1"}'),
    ('Cart Viewed', '{"cart_id": "c1"}', 'cart_viewed', '{"cart_id": "c1"}'),
    ('Checkout Started', '{"order_id": "o1", "value": 30}', 'checkout_started', '{"order_id": "o1", "amount": 30}'),
    ('Checkout Step Viewed', '{"step": 2}', 'checkout_step_viewed', '{"step": 2}'),
    ('Payment Info Entered', '{"payment_method": "card"}', 'checkout_step_viewed', '{"step": "payment"}'),
    ('Order Completed', '{"order_id": "o1", "total": 30, "currency": "EUR", "coupon": "X", "products": [{"product_id": "p1", "quantity": 1}]}', 'order_placed',
        '{"order_id": "o1", "amount": 30, "codes": ["X"], "lines": [{"sku": "p1", "quantity": 1}]}'),
    ('Order Cancelled', '{"order_id": "o1"}', 'order_cancelled', '{"order_id": "o1"}'),
    ('Order Refunded', '{"order_id": "o1", "total": 10}', 'order_refunded', '{"order_id": "o1", "amount": 10}'),
    ('Product Added to Wishlist', '{"product_id": "p1"}', 'wishlist_added', '{"sku": "p1"}'),
    ('Hat Tried On', '{"product_id": "p1"}', 'Hat Tried On', '{"sku": "p1"}')) AS s (event, given, type, props);
INSERT INTO sample (payload, type, subject, props) VALUES
    ('{"type": "identify", "userId": "u1", "traits": {"email": "a@x.example", "name": "A"}}', 'identified', '{"customer_id": "u1", "email": "a@x.example"}', '{"name": "A"}'),
    ('{"type": "page", "anonymousId": "a1", "name": "Home", "category": "Docs", "properties": {"url": "/"}}', 'page_viewed', '{"anonymous_id": "a1"}', '{"name": "Home", "category": "Docs", "url": "/"}'),
    ('{"type": "screen", "anonymousId": "a1", "name": "Start"}', 'screen_viewed', '{"anonymous_id": "a1"}', '{"name": "Start"}'),
    ('{"type": "group", "userId": "u1", "groupId": "g1", "traits": {"email": "info@firm.example", "name": "Firm"}}', 'group_joined', '{"customer_id": "u1", "company": "g1"}', '{"group_id": "g1", "name": "Firm"}'),
    ('{"type": "alias", "userId": "u1", "previousId": "a1"}', 'alias', '{"customer_id": "u1", "anonymous_id": "a1"}', '{"previous_id": "a1"}');
-- GA4, as names in our own envelope and as payloads of the measurement protocol
INSERT INTO sample (payload, type, subject, props)
SELECT p.payload, s.type, p.subject, s.props
FROM (VALUES
    ('view_item', '{"currency": "EUR", "value": 9, "items": [{"item_id": "p1", "item_name": "Hat", "price": 9}]}'::jsonb, 'product_viewed', '{"sku": "p1", "price": 9, "amount": 9, "item_name": "Hat"}'::jsonb),
    ('select_item', '{"items": [{"item_id": "p1"}]}', 'product_engaged', '{"sku": "p1"}'),
    ('view_item_list', '{"item_list_id": "shoes"}', 'list_viewed', '{"category": "shoes"}'),
    ('search', '{"search_term": "hat"}', 'searched', '{"query": "hat"}'),
    ('add_to_cart', '{"cart_id": "c1", "items": [{"item_id": "p1", "quantity": 2, "price": 5}]}', 'cart_item_added', '{"cart_id": "c1", "sku": "p1", "quantity": 2, "price": 5}'),
    ('remove_from_cart', '{"items": [{"item_id": "p1"}]}', 'cart_item_removed', '{"sku": "p1"}'),
    ('view_cart', '{"value": 3}', 'cart_viewed', '{"amount": 3}'),
    ('begin_checkout', '{"value": 3}', 'checkout_started', '{"amount": 3}'),
    ('add_shipping_info', '{"shipping_tier": "Ground"}', 'checkout_step_viewed', '{"step": "shipping", "shipping_tier": "Ground"}'),
    ('add_payment_info', '{"payment_type": "card"}', 'checkout_step_viewed', '{"step": "payment"}'),
    ('purchase', '{"transaction_id": "T1", "value": 30.03, "currency": "EUR", "coupon": "X", "items": [{"item_id": "p1"}]}', 'order_placed',
        '{"order_id": "T1", "amount": 30.03, "codes": ["X"], "lines": [{"sku": "p1", "item_id": "p1"}]}'),
    ('refund', '{"transaction_id": "T1", "value": 5}', 'order_refunded', '{"order_id": "T1", "amount": 5}'),
    ('add_to_wishlist', '{"items": [{"item_id": "p1"}]}', 'wishlist_added', '{"sku": "p1"}'),
    ('page_view', '{"page_location": "https://x.example/", "page_referrer": "https://y.example/"}', 'page_viewed', '{"url": "https://x.example/", "referrer": "https://y.example/"}'),
    ('session_start', '{"ga_session_id": 7}', 'session_started', '{"session_id": 7}'),
    ('level_up', '{"level": 5}', 'level_up', '{"level": 5}')) AS s (event, given, type, props),
LATERAL (VALUES
    (jsonb_build_object('source', 'web', 'type', s.event, 'subject', '{"anonymous_id": "a1"}'::jsonb, 'props', s.given), '{"anonymous_id": "a1"}'::jsonb),
    (jsonb_build_object('client_id', 'a1', 'user_id', 'u1', 'timestamp_micros', '1772359200000000', 'events', jsonb_build_array(jsonb_build_object('name', s.event, 'params', s.given))),
     '{"customer_id": "u1", "anonymous_id": "a1"}')) AS p (payload, subject);
-- CloudEvents, structured
INSERT INTO sample (payload, type, subject, props)
SELECT jsonb_build_object('specversion', '1.0', 'source', '/shop', 'id', c.id, 'time', '2026-03-01T10:00:00Z', 'datacontenttype', 'application/json') || c.payload, c.type, c.subject, c.props
FROM (VALUES
    ('1', '{"type": "order_placed", "subject": "customer_id:42", "data": {"order_id": "o9", "amount": 5}}'::jsonb, 'order_placed', '{"customer_id": "42"}'::jsonb, '{"order_id": "o9", "amount": 5}'::jsonb),
    ('2', '{"type": "com.example.shop.order_placed", "subject": "email/b@x.example", "data": {"order_id": "o8"}}', 'order_placed', '{"email": "b@x.example"}', '{"order_id": "o8"}'),
    ('3', '{"type": "com.example.Product Viewed", "subject": "anything", "data": {"subject": {"customer_id": "42", "email": "b@x.example"}, "product_id": "p1"}}',
        'product_viewed', '{"customer_id": "42", "email": "b@x.example"}', '{"sku": "p1", "product_id": "p1"}'),
    ('4', '{"type": "com.example.hat.worn", "subject": "customer_id:42"}', 'com.example.hat.worn', '{"customer_id": "42"}', NULL),
    ('5', '{"type": "com.example.stock_changed", "subject": "sku-1", "data": {"sku": "s1", "available": 3}}', 'stock_changed', NULL, '{"sku": "s1", "available": 3}'))
    AS c (id, payload, type, subject, props);
SELECT cmp_ok((SELECT count(*) FROM sample), '>=', 50::bigint, 'there are samples of each vocabulary');

CREATE TEMP TABLE came AS SELECT NULL::integer AS n, * FROM pg_temp.inbox WHERE false;
DO $$
DECLARE
    s record;
    last bigint;
BEGIN
    FOR s IN SELECT * FROM sample ORDER BY n LOOP
        last := (SELECT coalesce(max(seq), 0) FROM pg_temp.inbox);
        PERFORM journey.ingest(s.payload);
        INSERT INTO came SELECT s.n, i.* FROM pg_temp.inbox i WHERE i.seq > last;
    END LOOP;
END $$;
SELECT is_empty('SELECT reason, original FROM journey.quarantine', 'none is set aside');
SELECT is_empty($$SELECT s.payload, c.type, s.type FROM sample s LEFT JOIN came c USING (n) WHERE c.type IS DISTINCT FROM s.type$$, 'each has its canonical type');
SELECT is_empty($$SELECT s.payload, c.subject FROM sample s JOIN came c USING (n) WHERE c.subject IS DISTINCT FROM s.subject$$, 'names the person');
SELECT is_empty($$SELECT s.payload, c.props FROM sample s JOIN came c USING (n) WHERE NOT coalesce(c.props @> s.props, s.props IS NULL)$$, 'and has its properties under canonical names');
SELECT is((SELECT array_agg(DISTINCT occurred_at) FROM came JOIN sample USING (n) WHERE payload ? 'client_id' OR payload ? 'specversion'),
          '{"2026-03-01 10:00+00"}'::timestamptz[], 'points in time are understood');
SELECT is((SELECT array_agg(DISTINCT c.source ORDER BY c.source) FROM came c), '{/shop,ga4,segment,web}', 'each has its source');
SELECT is((SELECT array_agg(message_id ORDER BY message_id) FROM came WHERE source = '/shop'), '{1,2,3,4,5}', 'a CloudEvent its id');
SELECT is((SELECT fence::text FROM came WHERE message_id = '2' AND source = '/shop'), 'f', 'an order is a fence, however it is named');

-- every name of ours may carry the name of its sender in front
SELECT is_empty($$
    SELECT t.type FROM journey.event_type t,
        LATERAL journey.ingest(jsonb_build_object('specversion', '1.0', 'source', 'all', 'id', t.type, 'type', 'com.example.' || t.type, 'subject', 'customer_id:c', 'data', '{"x": 1}'::jsonb)) AS i
    WHERE t.known AND i.accepted <> 1$$, 'the seeded types are taken as CloudEvents');
SELECT is_empty($$SELECT message_id, type FROM pg_temp.inbox WHERE source = 'all' AND type <> message_id$$, 'and known by their own names');

-- ---- several products, several events -------------------------------------------
SELECT results_eq($$SELECT * FROM journey.ingest('{"source": "many", "type": "add_to_cart", "message_id": "m", "subject": {"anonymous_id": "a1"}, "props": {"cart_id": "c7", "value": 20,
        "items": [{"item_id": "x", "quantity": 1, "price": 10}, {"item_id": "y", "quantity": 2, "price": 5}]}}')$$, 'VALUES (1, 0)', 'a message about two products is one message');
SELECT results_eq($$SELECT props ->> 'sku', (props ->> 'quantity')::int, message_id, props ?| '{items,lines}' FROM pg_temp.inbox WHERE source = 'many' ORDER BY seq$$,
    $$VALUES ('x', 1, 'm', false), ('y', 2, 'm#1', false)$$, 'and two events');
SELECT lives_ok($$SELECT journey.track('many2', 'add_to_cart', '{"anonymous_id": "a1"}', '{"cart_id": "c8", "items": [{"item_id": "x"}, {"item_id": "y"}]}')$$, 'sent by track()');
SELECT is((SELECT count(*) FROM pg_temp.inbox WHERE source = 'many2'), 2::bigint, 'the same');
SELECT results_eq($$SELECT * FROM journey.ingest(jsonb_build_object('source', 'many3', 'type', 'view_item', 'subject', '{"anonymous_id": "a1"}'::jsonb, 'props',
    jsonb_build_object('items', (SELECT jsonb_agg(jsonb_build_object('item_id', g)) FROM generate_series(1, 201) g))))$$, 'VALUES (0, 1)', 'two hundred are the most');
SELECT results_eq($$SELECT * FROM journey.ingest((SELECT jsonb_agg(jsonb_build_object('source', 'many4', 'type', 'view_item', 'subject', '{"anonymous_id": "a1"}'::jsonb, 'props',
    jsonb_build_object('items', (SELECT jsonb_agg(jsonb_build_object('item_id', g)) FROM generate_series(1, 150) g)))) FROM generate_series(1, 10)))$$, 'VALUES (10, 0)', 'many messages about many products');
SELECT is((SELECT count(*) FROM pg_temp.inbox WHERE source = 'many4'), 1500::bigint, 'lose none');
SELECT results_eq($$SELECT * FROM journey.ingest('{"source": "ga", "client_id": "a1", "events": [{"name": "search", "params": {"search_term": "hat"}}, {"params": {}}, {"name": "view_cart"}]}')$$,
    'VALUES (2, 1)', 'the events of a GA4 payload are good or bad each by itself');
SELECT is((SELECT original FROM journey.quarantine WHERE source = 'ga'), '{"source": "ga", "client_id": "a1", "events": [{"params": {}}]}', 'and the bad one alone is set aside');

-- ---- what cannot be read --------------------------------------------------------
SELECT results_eq($$SELECT * FROM journey.ingest('[
    {"specversion": "0.3", "source": "bad", "type": "searched", "id": "1", "subject": "customer_id:1"},
    {"specversion": "1.0", "source": "bad", "type": "searched", "subject": "customer_id:1"},
    {"specversion": "1.0", "source": "bad", "type": "searched", "id": "1", "subject": "order-7"},
    {"specversion": "1.0", "source": "bad", "type": "searched", "id": "1", "subject": "https://x.example/1"},
    {"specversion": "1.0", "source": "bad", "type": "searched", "id": "1", "subject": "customer_id:1", "data": "text"},
    {"specversion": "1.0", "source": "bad", "type": "searched", "id": "1", "subject": "customer_id:1", "data_base64": "AA=="},
    {"specversion": "1.0", "source": "bad", "type": "searched", "id": "1", "subject": "customer_id:1", "time": "noon"},
    {"type": "alias", "userId": "u", "source": "bad"}, {"type": "alias", "previousId": "u", "source": "bad"},
    {"type": "group", "userId": "u", "source": "bad"}, {"type": "library", "userId": "u", "source": "bad"},
    {"source": "bad", "client_id": "a", "timestamp_micros": "soon", "events": [{"name": "search"}]},
    {"source": "bad", "client_id": "a", "events": []}]')$$, 'VALUES (0, 13)', 'what cannot be read is set aside');
SELECT results_eq($$SELECT sqlstate, count(*)::int FROM journey.quarantine WHERE source = 'bad' OR source IS NULL GROUP BY 1 ORDER BY 1$$,
    $$VALUES ('0A000', 3), ('22004', 6), ('22007', 2), ('22023', 2)$$, 'each with what is wrong');
SELECT results_eq($$SELECT * FROM journey.ingest('{"specversion": "1.0", "source": "bad", "type": "com.example.unsubscribed", "id": "9", "subject": "email:gone@x.example", "time": "noon", "data": {"channel": "email"}}')$$,
    'VALUES (0, 1)', 'an opt-out that has a fault');
SELECT is((SELECT array[type, fence::text, props ->> 'channel'] FROM pg_temp.inbox WHERE subject ->> 'email' = 'gone@x.example'), '{unsubscribed,f,email}', 'counts all the same');

-- ---- alias and group, for good ----------------------------------------------------
SELECT journey.run_until_idle() \g /dev/null
CREATE FUNCTION pg_temp.pid(ns text, v text) RETURNS uuid LANGUAGE sql AS $$SELECT journey.profile_id(jsonb_build_object(ns, v))$$;
SELECT journey.ingest('[{"type": "identify", "userId": "old", "traits": {"email": "same@x.example"}},
    {"type": "alias", "userId": "new", "previousId": "old"}, {"type": "alias", "userId": "fresh", "previousId": "browser"},
    {"type": "track", "event": "Product Viewed", "anonymousId": "visitor", "properties": {"sku": "s"}}, {"type": "alias", "userId": "both", "previousId": "visitor"},
    {"type": "identify", "userId": "twice"}, {"type": "track", "event": "Product Viewed", "anonymousId": "twice", "properties": {"sku": "s"}},
    {"type": "alias", "userId": "somebody", "previousId": "twice"}, {"type": "alias", "userId": "self", "previousId": "self"}]') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.pid('customer_id', 'new'), pg_temp.pid('customer_id', 'old'), 'an account that had another name is one person');
SELECT is(pg_temp.pid('anonymous_id', 'old'), NULL, 'and no browser has that name');
SELECT is(pg_temp.pid('customer_id', 'fresh'), pg_temp.pid('anonymous_id', 'browser'), 'what nobody knows is a browser');
SELECT is(pg_temp.pid('customer_id', 'browser'), NULL, 'and no account');
SELECT is(pg_temp.pid('customer_id', 'both'), pg_temp.pid('anonymous_id', 'visitor'), 'a browser''s person gets the account');
SELECT is(pg_temp.pid('customer_id', 'somebody'), pg_temp.pid('anonymous_id', 'twice'), 'where both are known it is the browser');
SELECT isnt(pg_temp.pid('customer_id', 'somebody'), pg_temp.pid('customer_id', 'twice'), 'two accounts are not made one on a guess');
SELECT isnt(pg_temp.pid('customer_id', 'self'), NULL, 'somebody who was who they are is known');
INSERT INTO journey.source (source, trusted) VALUES ('page', false);
SELECT journey._invalidate('journey.source') \g /dev/null
SELECT journey.ingest('{"type": "alias", "source": "page", "userId": "u77", "previousId": "same@x.example"}') \g /dev/null
SELECT journey.ingest('{"type": "alias", "source": "page", "userId": "victim", "previousId": "visitor"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT isnt(coalesce(pg_temp.pid('customer_id', 'victim')::text, ''), pg_temp.pid('anonymous_id', 'visitor')::text, 'a source that is not trusted makes nobody one');
SELECT journey.ingest('[{"type": "group", "userId": "m1", "groupId": "acme", "traits": {"email": "info@acme.example"}}, {"type": "group", "userId": "m2", "groupId": "acme", "traits": {"email": "info@acme.example"}}]') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT isnt(pg_temp.pid('customer_id', 'm1'), pg_temp.pid('customer_id', 'm2'), 'two members of a group are two people');
SELECT is((SELECT count(*) FROM journey.profile_link l WHERE l.profile_id IN (pg_temp.pid('customer_id', 'm1'), pg_temp.pid('customer_id', 'm2'))), 0::bigint, 'who are not linked');
SELECT is((SELECT props ->> 'group_id' FROM journey.event WHERE type = 'group_joined' AND profile_id = pg_temp.pid('customer_id', 'm1')), 'acme', 'and the group is kept');

-- ---- names that nobody knows ---------------------------------------------------
SELECT journey.track('web', t, '{"customer_id": "1"}', '{"sku": "A"}') FROM unnest('{order_palced,order_palced,Checkout-Startd}'::text[]) t \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT type, seen, nearest FROM journey.unknown_events WHERE type ~ 'palced|Startd'$$,
    $$VALUES ('order_palced', 2::bigint, 'order_placed'), ('Checkout-Startd', 1, 'checkout_started')$$, 'are listed with their counts and the name they resemble');
SELECT is((SELECT nearest FROM journey.unknown_events WHERE type = 'com.example.hat.worn'), NULL, 'or none');
SET ROLE journey_analyst;
SELECT isnt_empty('SELECT * FROM journey.unknown_events', 'an analyst may read it');
RESET ROLE;

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
