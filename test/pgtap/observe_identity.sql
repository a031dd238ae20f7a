-- Who is who: a person by account number and by e-mail; guests; keys of two
-- people are not merged but both are named; carts follow their person.
\ir ../lib/orphans.sql
SELECT plan(39);
SELECT journey.set_clock('2026-03-01 10:00+00');

-- mission: 17, 114
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "a1"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT is((SELECT class FROM journey.profile), 'session', 'a browser alone is a session');
SELECT is((SELECT confidence FROM journey.profile), 0.4::float8, 'of low confidence');
SELECT journey.profile_id('{"anonymous_id": "a1"}') AS a1 \gset
SELECT journey.track('web', 'identified', '{"anonymous_id": "a1", "email": "ann@example.com"}', '{}');
SELECT journey.run_once();
SELECT is((SELECT count(*) FROM journey.profile), 1::bigint, 'an e-mail address joins the session');
SELECT results_eq('SELECT class, confidence FROM journey.profile', $$VALUES ('person', 0.95::float8)$$, 'which is a person now');
SELECT journey.track('shop', 'order_placed', '{"customer_id": "42", "email": "ANN@example.com"}', '{"order_id": "O1", "amount": 10}');
SELECT journey.track('pos', 'order_placed', '{"customer_id": "42"}', '{"order_id": "P1", "amount": 20, "origin": "pos"}');
SELECT journey.run_once();
SELECT is((SELECT count(*) FROM journey.profile), 1::bigint, 'the account number joins by the address');
SELECT is(journey.profile_id('{"customer_id": "42"}'), :'a1'::uuid, 'and names the same person');
SELECT is((SELECT count(DISTINCT profile_id) FROM journey.event), 1::bigint, 'all events are theirs');
SELECT is((SELECT orders FROM journey.profile_state), 2, 'an order of the till counts as one of the web shop');
SELECT is((SELECT confidence FROM journey.profile), 1.0::float8, 'the strongest link is the confidence');

-- however a key is spelled and wherever it comes from, it is one key of one person
-- mission: 114
CREATE TABLE members (id text PRIMARY KEY, mail text, account text);
CREATE TABLE sales (id text PRIMARY KEY, mail text, account text);
SELECT count(*) FROM journey.attach('members', 'customer', '{"subject": {"customer_id": "account", "email": "mail"}}');
SELECT count(*) FROM journey.attach('sales', 'order', '{"key": "id", "subject": {"customer_id": "account", "email": "mail"}}');
INSERT INTO members VALUES ('m', E' Uma@Example.COM\n', ' u-1 ');
SELECT journey.run_once();
INSERT INTO sales VALUES ('s', 'UMA@EXAMPLE.COM', NULL);
SELECT count(*) FROM journey.ingest('[{"type": "track", "event": "Product Viewed", "userId": "u-1\t", "properties": {"product_id": "J1"}},
    {"source": "crm", "type": "product_viewed", "subject": {"email": " uma@example.com"}, "props": {"sku": "J1"}}]');
SELECT journey.track('shop', 'product_viewed', '{"email": "uMA@example.com  "}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT results_eq($$SELECT namespace, value, count(DISTINCT profile_id) FROM journey.identity WHERE value ~* 'uma@|u-1' GROUP BY 1, 2 ORDER BY 1$$,
    $$VALUES ('customer_id', 'u-1', 1::bigint), ('email', 'uma@example.com', 1)$$, 'an address and an account are one key each');
SELECT is((SELECT count(*) FROM journey.event WHERE profile_id = journey.profile_id('{"email": "UMA@example.com"}') AND type IN ('product_viewed', 'order_placed')), 4::bigint,
    'under which table, order, and events sent in three ways meet');
SELECT is((SELECT count(DISTINCT journey.profile_id(s)) FROM unnest(ARRAY['{"customer_id": "u-1"}', '{"customer_id": " u-1"}', '{"email": "Uma@Example.com "}']::jsonb[]) s), 1::bigint, 'who asks by it may spell it as he likes');
SELECT throws_ok($$INSERT INTO journey.identity SELECT (jsonb_populate_record(i, '{"profile_id": "00000000-0000-8000-8000-000000000001"}')).* FROM journey.identity i WHERE value = 'uma@example.com'$$,
    '23505', NULL, 'and no key can name two people');
SELECT journey.detach('members'), journey.detach('sales');

-- the id is made of the strongest key that was there first, for ever
SELECT journey.track('shop', 'product_viewed', '{"email": "bob@example.com", "customer_id": "43", "anonymous_id": "b1"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT is((SELECT method FROM journey.identity WHERE value = '43'), 'created', 'the strongest key makes the profile');
SELECT is((SELECT count(*) FROM journey.identity WHERE profile_id = journey.profile_id('{"customer_id": "43"}') AND method = 'deterministic'), 2::bigint, 'the others are linked');

-- two known people
SELECT journey.track('shop', 'order_placed', '{"customer_id": "42", "email": "bob@example.com"}', '{"order_id": "O2", "amount": 5}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.orders WHERE order_id = 'O2'), :'a1'::uuid, 'the stronger key takes the event');
SELECT isnt(journey.profile_id('{"email": "bob@example.com"}'), :'a1'::uuid, 'nobody is merged');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'identity_conflict'), 'customer_id email', 'the conflict is reported');
SELECT is((SELECT count(*) FROM journey.contact_point WHERE address = 'bob@example.com'), 1::bigint, 'and the address stays with its owner');

-- a group is nobody
SELECT journey.track('shop', 'product_viewed', '{"household": "h1", "anonymous_id": "c1"}', '{"sku": "J1"}');
SELECT journey.track('shop', 'product_viewed', '{"household": "h1", "anonymous_id": "c2"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT isnt(journey.profile_id('{"anonymous_id": "c1"}'), journey.profile_id('{"anonymous_id": "c2"}'), 'a household does not make two browsers one');

-- a cart of a session goes along with the person who logs in
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "d1"}', '{"sku": "J1", "cart_id": "C9", "price": 3}');
SELECT journey.run_once();
SELECT journey.track('web', 'cart_viewed', '{"customer_id": "42"}', '{"cart_id": "C9"}');
SELECT journey.track('web', 'cart_item_added', '{"customer_id": "42"}', '{"sku": "J2", "cart_id": "C9", "price": 4}');
SELECT journey.run_once();
SELECT results_eq($$SELECT profile_id, lines, value FROM journey.cart WHERE cart_id = 'C9'$$,
    format('VALUES (%L::uuid, 2, 7::numeric)', :'a1'), 'the cart moved with its lines');
SELECT is((SELECT count(DISTINCT profile_id) FROM journey.cart_line WHERE cart_id = 'C9'), 1::bigint, 'all of them');
-- but never from a person to a session: anybody may look at a cart
SELECT journey.track('web', 'cart_viewed', '{"anonymous_id": "d2"}', '{"cart_id": "C9"}');
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "d3"}', '{"sku": "J1"}');
SELECT journey.run_once();
SELECT journey.track('web', 'cart_viewed', '{"anonymous_id": "d3"}', '{"cart_id": "C9"}');
SELECT journey.run_once();
SELECT is((SELECT profile_id FROM journey.cart WHERE cart_id = 'C9'), :'a1'::uuid, 'a browser that looks at the cart of a person does not take it');
SELECT isnt(journey.profile_id('{"anonymous_id": "d3"}'), :'a1'::uuid, 'and stays who it was');
-- an order that has changed hands
SELECT journey.track('shop', 'order_paid', '{"customer_id": "77"}', '{"order_id": "O1", "amount": 10}');
SELECT journey.run_once();
SELECT isnt(journey.profile_id('{"customer_id": "77"}'), :'a1'::uuid, 'another account does not become a person by naming their order');
-- a guest's order through the cart alone
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "e1"}', '{"sku": "J1", "cart_id": "C10", "price": 3}');
SELECT journey.track('shop', 'order_placed', '{"email": "guest@example.com"}', '{"order_id": "O3", "cart_id": "C10", "amount": 3}');
SELECT journey.run_once();
SELECT is(journey.profile_id('{"email": "guest@example.com"}'), journey.profile_id('{"anonymous_id": "e1"}'), 'a guest''s order joins the session by its cart');
SELECT is((SELECT status FROM journey.cart WHERE cart_id = 'C10'), 'ordered', 'and closes the cart');

-- namespaces and vocabulary hold as they are when the lap begins
SELECT journey.track('pos', 'searched', '{"till_card": "t1", "anonymous_id": "f1"}', '{"query": "hats"}');
SELECT journey.run_once();
INSERT INTO journey.namespace (namespace, class, rank, confidence, meaning) VALUES ('till_card', 'person', 50, 1, '');
INSERT INTO journey.event_type (type, known, meaning) VALUES ('hat_tried', true, '');
SELECT journey.track('pos', 'searched', '{"till_card": "t1", "anonymous_id": "f1"}', '{"query": "hats"}');
SELECT journey.track('pos', 'hat_tried', '{"till_card": "t1"}', '{"price": "12.50"}');
SELECT journey.track('pos', 'hat_eaten', '{"till_card": "t1"}', '{"price": "12.50"}');
SELECT journey.run_once();
SELECT results_eq($$SELECT namespace FROM journey.identity WHERE profile_id = journey.profile_id('{"anonymous_id": "f1"}') ORDER BY 1$$,
    ARRAY['anonymous_id', 'till_card'], 'a namespace counts from the lap after it was registered');
SELECT results_eq($$SELECT type, props -> 'price' FROM journey.event WHERE type LIKE 'hat%' ORDER BY 1$$,
    $$VALUES ('hat_eaten', '"12.50"'::jsonb), ('hat_tried', '12.50')$$, 'numbers are read where the vocabulary has the type');

-- two scopes: the same cart id is another cart
INSERT INTO journey.source (source, scope) VALUES ('brand_b', 'b');
SELECT journey._invalidate('journey.source');
SELECT journey.track('brand_b', 'cart_item_added', '{"customer_id": "42"}', '{"sku": "J1", "cart_id": "C9", "price": 1}');
SELECT journey.run_once();
SELECT results_eq($$SELECT scope, value FROM journey.cart WHERE cart_id = 'C9' ORDER BY scope$$,
    $$VALUES ('b', 1::numeric), ('default', 7)$$, 'cart ids are apart by scope');
SELECT is(journey.stage('{"customer_id": "nobody"}'), NULL, 'nobody has no stage');
-- mission: 114
SELECT is_empty($$SELECT * FROM journey.identity WHERE value <> journey.normalise(namespace, value) AND namespace NOT IN ('cart', 'order')$$, 'all are kept normalised');

-- sessions, purchases, engagement, loyalty and service: five systems, five keys, one person
-- mission: 28
SELECT journey.track('web', 'session_started', '{"anonymous_id": "kim-phone"}', '{"session_id": "s1"}');
SELECT journey.track('web', 'cart_item_added', '{"anonymous_id": "kim-phone"}', '{"sku": "J1", "cart_id": "KC", "price": 3}');
SELECT journey.run_once();
SELECT journey.profile_id('{"anonymous_id": "kim-phone"}') AS kim \gset
SELECT journey.track('loyalty', 'identified', '{"loyalty_id": "L-9", "email": "kim@example.com"}');
SELECT journey.track('web', 'identified', '{"anonymous_id": "kim-tablet", "loyalty_id": "L-9"}');
SELECT journey.track('shop', 'order_placed', '{"customer_id": "90", "email": "kim@example.com"}', '{"order_id": "KO", "cart_id": "KC", "lines": [{"sku": "J1", "price": 3}]}');
SELECT journey.run_once();
SELECT journey.track('web', 'product_viewed', '{"anonymous_id": "kim-tablet"}', '{"sku": "J2"}');
SELECT journey.track('pos', 'order_placed', '{"loyalty_id": "L-9"}', '{"order_id": "KP", "origin": "pos"}');
SELECT journey.track('esp', 'message_opened', '{"email": "Kim@Example.com"}');
SELECT journey.track('loyalty', 'points_earned', '{"loyalty_id": "L-9"}', '{"value": 3}');
SELECT journey.track('desk', 'ticket_opened', '{"customer_id": "90"}', '{"reason": "late"}');
SELECT journey.run_once();
SELECT is((SELECT string_agg(DISTINCT e.type, ' ' ORDER BY e.type) FROM journey.event e WHERE e.profile_id = journey.profile_id('{"email": "kim@example.com"}')),
    'identified message_opened order_line_placed order_placed points_earned product_viewed ticket_opened', 'what each of them says is said of one person');
SELECT is((SELECT count(DISTINCT journey.profile_id(k)) FROM unnest('{"{\"customer_id\": \"90\"}","{\"email\": \"kim@example.com\"}","{\"loyalty_id\": \"L-9\"}","{\"anonymous_id\": \"kim-tablet\"}"}'::jsonb[]) k), 1::bigint,
    'whom each key names');
SELECT results_eq($$SELECT order_id, source FROM journey.orders WHERE profile_id = journey.profile_id('{"customer_id": "90"}') ORDER BY 1$$, $$VALUES ('KO', 'shop'), ('KP', 'pos')$$,
    'their orders stand together');
SELECT is((SELECT count(*) FROM journey.cart_line WHERE profile_id = :'kim'), 0::bigint, 'the cart of the session has gone to them, lines and all');
SELECT results_eq($$SELECT status, lines FROM journey.cart WHERE profile_id = journey.profile_id('{"customer_id": "90"}')$$, $$VALUES ('ordered', 1)$$, 'and is ordered');
-- whatever moved in this file, from a session to a person or from one buyer to another
SELECT is_empty('SELECT pg_temp.orphans()', 'no row of any table is left behind');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
