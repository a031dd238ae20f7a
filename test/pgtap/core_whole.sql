-- One of everything in a row: rows captured and events told, a lap of each kind, a
-- message claimed, permitted and sent, an order that ends another. By itself it is a
-- summary; make check-discard runs it while the server forgets at each chance what it
-- knows of the catalogue, so that nothing may hang on that.
\ir ../fixtures/orchestrate.sql
SELECT plan(11);
\getenv discard JOURNEY_DISCARD
\if :{?discard}
\else
\set discard 0
\endif
CREATE TABLE shop_order (id text PRIMARY KEY, customer text, status text, cart text);
SELECT count(*) FROM journey.attach('shop_order', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "cart": "cart", "status": {"column": "status", "values": {"paid": "placed"}}}');
INSERT INTO journey.namespace (namespace, class, rank, crosses_scopes, confidence, meaning) VALUES ('till_no', 'person', 60, false, 0.9, 'number of a customer at one brand''s tills');
SELECT journey._invalidate('journey.namespace');
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(jsonb_build_array(pg_temp.cart_doc(), '{"kind": "feature", "name": "added", "on": "cart_item_added", "aggregate": "sum", "of": "quantity", "window": "7 days"}'::jsonb));

SET debug_discard_caches = :discard;
SELECT pg_temp.person(c) FROM unnest(ARRAY['ann', 'bob']) c;
SELECT pg_temp.cart(c, 'C' || c) FROM unnest(ARRAY['ann', 'bob']) c;
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "ann", "till_no": "7"}', '{"sku": "J1"}');
SELECT journey.run_once();
SET debug_discard_caches = 0;
SELECT results_eq($$SELECT c, s FROM unnest(ARRAY['ann', 'bob']) c, pg_temp.stands(c) s$$,
                  $$VALUES ('ann', 'cart Cann idle active'), ('bob', 'cart Cbob idle active')$$, 'two carts are left');
SELECT is(journey.profile_id('{"till_no": "default:7"}'), pg_temp.pid('ann'), 'a key of a scope''s own is known by it');
SELECT journey.set_clock('2026-03-02 11:01+00');

SET debug_discard_caches = :discard;
SELECT journey.run_once();
CREATE TEMP TABLE taken AS SELECT * FROM journey.claim('email', 10);
INSERT INTO shop_order VALUES ('o1', 'bob', 'paid', 'Cbob');
CREATE TEMP TABLE permit AS SELECT b.* FROM journey.begin_send((SELECT array_agg(action_id) FROM taken), (SELECT array_agg(token) FROM taken)) b;
CREATE TEMP TABLE acked AS SELECT journey.ack(t.action_id, t.token, 'ref') AS ok FROM taken t JOIN permit p USING (action_id) WHERE p.granted;
CREATE TEMP TABLE value AS SELECT journey.features('{"customer_id": "bob"}') AS f;
CREATE TEMP TABLE verdict AS SELECT journey.check_rule('added > 0 and profile.orders < 1 and lower(event.sku) = ''j1''') IS NOT NULL AS checked;
SET debug_discard_caches = 0;
SELECT is((SELECT count(*) FROM taken), 2::bigint, 'both are due and claimed');
SELECT results_eq($$SELECT t.profile_id = pg_temp.pid('ann'), p.granted, p.reason FROM permit p JOIN taken t USING (action_id) ORDER BY 1$$,
                  $$VALUES (false, false, 'ordered'), (true, true, NULL)$$, 'one may go, the other has ordered meanwhile');
SELECT is((SELECT array_agg(ok) FROM acked), ARRAY[true], 'what was sent is noted');
SELECT is((SELECT f -> 'added' FROM value), '1', 'what was added is counted');
SELECT ok((SELECT checked FROM verdict), 'a rule that reads it is understood');

SET debug_discard_caches = :discard;
SELECT journey.run_once();
SELECT journey.run_once();
SET debug_discard_caches = 0;
SELECT results_eq($$SELECT pg_temp.stands('ann')$$, $$VALUES ('cart Cann finished finished')$$, 'the one is at the end');
SELECT results_eq($$SELECT pg_temp.stands('bob')$$, $$VALUES ('cart Cbob exited ordered')$$, 'the other has left');
SELECT is((SELECT count(*) FROM journey.quarantine), 0::bigint, 'nothing had to be set aside');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
