-- The till and the store: what happens there ends actions as on the web, and store of
-- purchase, pick-up place and opening hours are words of rules.
-- mission: 18
-- What would break if this failed: who bought in the store is reminded of the cart.
\ir ../fixtures/orchestrate.sql
SELECT plan(16);
SELECT pg_temp.move('2026-03-02 10:00+00');

-- orders, returns and pick-ups: each of a person of its own, whose reminder a sender has when it happens
SELECT journey.apply(pg_temp.cart_doc('{"suppress_on": ["order_placed", "order_line_returned", "return_received", "picked_up"]}'));
CREATE TABLE till (id text PRIMARY KEY, customer text, status text, store text, pickup text, hours text);
CREATE TABLE till_line (receipt text, sku text, status text, PRIMARY KEY (receipt, sku));
SELECT count(*) FROM journey.attach('till', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status", "source": "pos",
    "origin": {"const": "pos"}, "props": {"store": "store", "pickup_place": "pickup", "opening_hours": "hours"}}');
SELECT count(*) FROM journey.attach('till_line', 'order_line', '{"key": "receipt", "sku": "sku", "status": "status", "source": "pos"}');
INSERT INTO till VALUES ('B1', 'back', 'placed');
INSERT INTO till_line VALUES ('B1', 'S1', 'placed');
SELECT journey.run_until_idle();
CREATE TEMP TABLE happens (c text, what text);
INSERT INTO happens
SELECT source || '_' || type, format('SELECT journey.track(%L, %L, jsonb_build_object(''customer_id'', %L), ''{"order_id": "T-%s"}'')', source, type, source || '_' || type, source)
FROM unnest('{web,pos}'::text[]) source, unnest('{order_placed,return_received,picked_up}'::text[]) type;
INSERT INTO happens VALUES
    ('row', $$INSERT INTO till VALUES ('R1', 'row', 'placed')$$),
    ('back', $$UPDATE till_line SET status = 'returned'$$),
    ('void', $$INSERT INTO till VALUES ('V1', 'void', 'pending')$$),
    ('looks', $$SELECT journey.track('pos', 'product_viewed', '{"customer_id": "looks"}', '{"sku": "S1"}')$$);
SELECT pg_temp.person(c), pg_temp.cart(c, 'K-' || c) FROM happens;
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 11:00+00');
CREATE TEMP TABLE held AS SELECT * FROM journey.claim('email', 100);
SELECT is((SELECT count(*) FROM held), 10::bigint, 'ten reminders are in a sender''s hands');
SELECT what FROM happens \gexec
CREATE TEMP TABLE answer AS
SELECT h.c, CASE WHEN b.granted THEN 'granted' ELSE b.reason END AS answer
FROM happens h JOIN held ON held.profile_id = pg_temp.pid(h.c) CROSS JOIN LATERAL journey.begin_send(held.action_id, held.token) b;
SELECT results_eq($$SELECT a.c, a.answer FROM answer a WHERE a.c LIKE 'pos%' ORDER BY 1$$,
    $$VALUES ('pos_order_placed', 'ordered'), ('pos_picked_up', 'picked_up'), ('pos_return_received', 'return_received')$$,
    'an order, a return and a pick-up that the till sends stop the permit');
SELECT results_eq($$SELECT a.answer FROM answer a WHERE a.c LIKE 'pos%' ORDER BY a.c$$, $$SELECT a.answer FROM answer a WHERE a.c LIKE 'web%' ORDER BY a.c$$,
    'as those of the web do');
SELECT results_eq($$SELECT a.c, a.answer FROM answer a WHERE a.c IN ('row', 'back') ORDER BY 1$$, $$VALUES ('back', 'order_line_returned'), ('row', 'ordered')$$,
    'and so do rows of the till''s own tables');
SELECT results_eq($$SELECT a.c, a.answer FROM answer a WHERE a.c IN ('void', 'looks') ORDER BY 1$$, $$VALUES ('looks', 'granted'), ('void', 'granted')$$,
    'a receipt that is not placed and a product that is looked at do not');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT order_id, source, origin FROM journey.orders WHERE order_id IN ('R1', 'B1') ORDER BY 1$$, $$VALUES ('B1', 'pos', 'pos'), ('R1', 'pos', 'pos')$$, 'they are orders of the till');

-- words of rules, of rows and of events alike: as the order comes, and long after its event
SELECT journey.retire('journey', 'cart');
SELECT journey.apply(pg_temp.journey_doc('collect', '{"on": "order_placed", "key": "order", "when": "order.store = ''Graz'' and order.origin = ''pos''"}',
    '{"later": {"wait": {"for": "1 day"}, "next": "which"},
      "which": {"branch": [{"when": "order.pickup_place = ''desk 2'' and now::time >= split_part(order.opening_hours, ''-'', 1)::time and now::time < split_part(order.opening_hours, ''-'', 2)::time", "to": "open"},
                           {"when": "order.pickup_place = ''desk 2''", "to": "closed"}], "else": "elsewhere", "on_unknown": "nowhere"},
      "open": {"exit": "open"}, "closed": {"exit": "closed"}, "elsewhere": {"exit": "elsewhere"}, "nowhere": {"exit": "nowhere"}}', '{"purpose": "service", "suppress_on": [], "defaults": {"not_after": "1 day"}}'));
SELECT journey.run_until_idle();
CREATE TEMP TABLE receipts (c text, store text, pickup text, hours text);
INSERT INTO receipts VALUES ('a', 'Graz', 'desk 2', '09:00-18:00'), ('b', 'Graz', 'desk 2', '12:00-18:00'), ('c', 'Graz', 'desk 1', '09:00-18:00'), ('d', 'Linz', 'desk 2', '09:00-18:00'), ('e', 'Graz', NULL, NULL);
INSERT INTO till SELECT 'row ' || c, 'row_' || c, 'placed', store, pickup, hours FROM receipts;
SELECT journey.track('pos', 'order_placed', jsonb_build_object('customer_id', 'sent_' || c), jsonb_strip_nulls(jsonb_build_object('order_id', 'sent ' || c, 'origin', 'pos',
    'store', store, 'pickup_place', pickup, 'opening_hours', hours, 'lines', '[{"sku": "S1", "quantity": 1}]'::jsonb))) FROM receipts;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT key FROM journey.enrollment WHERE journey = 'collect' ORDER BY 1$$,
    $$VALUES ('row a'), ('row b'), ('row c'), ('row e'), ('sent a'), ('sent b'), ('sent c'), ('sent e')$$, 'the store of purchase lets in');
SELECT pg_temp.move('2026-03-03 11:00+00');
SELECT results_eq($$SELECT key, exit_reason FROM journey.enrollment WHERE journey = 'collect' ORDER BY 1$$,
    $$VALUES ('row a', 'open'), ('row b', 'closed'), ('row c', 'elsewhere'), ('row e', 'nowhere'), ('sent a', 'open'), ('sent b', 'closed'), ('sent c', 'elsewhere'), ('sent e', 'nowhere')$$,
    'place and hours decide a day later');
CREATE FUNCTION pg_temp.judge(c text, rule text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(verdict, ' ') FROM journey.explain_rule(rule, jsonb_build_object('customer_id', c)) $$;
SELECT is(pg_temp.judge('row_d', 'order.store = ''Linz'''), 'true', 'outside a journey they are those of the last order');
SELECT is((SELECT (error, "position")::text FROM journey.check_rule('order.stor = ''Linz''')), '("there is no name ""order.stor"" that a rule can read. Perhaps you meant ""order.store"". The names are listed in journey.vocabulary.",1)',
    'a word that is misspelt is refused');

-- what is said later
UPDATE till SET pickup = 'desk 3', hours = NULL WHERE customer = 'row_a';
SELECT journey.track('pos', 'order_updated', '{"customer_id": "sent_a"}', '{"order_id": "sent a", "pickup_place": "desk 3", "opening_hours": null}');
SELECT journey.track('crm', 'order_updated', '{"customer_id": "sent_b"}', '{"order_id": "sent b", "pickup_place": "desk 9"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.judge(c, 'order.store = ''Graz'' and order.pickup_place = ''desk 3'' and order.opening_hours is null'), 'true true true', c || ': what the till says later counts')
FROM unnest('{row_a,sent_a}'::text[]) c;
SELECT is(pg_temp.judge('sent_b', 'order.pickup_place = ''desk 2'''), 'true', 'what another system says of its order does not');
SELECT is((SELECT props FROM journey.orders WHERE order_id = 'sent c'), '{"store": "Graz", "pickup_place": "desk 1", "opening_hours": "09:00-18:00"}', 'nothing is kept twice');

-- a word of the house
SELECT journey.define_name('order.gift', 'boolean', 'wrapped as a gift');
SELECT journey.track('pos', 'order_placed', '{"customer_id": "gift"}', '{"order_id": "G1", "gift": "yes"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.judge('gift', 'order.gift'), 'true', 'the house may declare more of them');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
