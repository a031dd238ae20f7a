-- Stock of a place that has not told of it for longer than the map's max_age: nobody knows
-- whether there is any, so that what needs it is held, not sent, and not refused either.
-- mission: 72
-- What would break if this failed: somebody is called to a shop for what was sold an hour ago.
\ir ../fixtures/orchestrate.sql
SELECT plan(26);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE TABLE store_stock (sku text, store text, on_hand int, counted_at timestamptz, PRIMARY KEY (sku, store));
INSERT INTO store_stock VALUES ('J1', 'north', 4, '2026-03-02 09:50+00'), ('J2', 'north', 0, '2026-03-02 09:50+00');

-- the limit is the map's, and wants a column to go by
SELECT throws_ok($$SELECT journey.attach('store_stock', 'stock', '{"sku": "sku", "available": "on_hand", "max_age": "30 minutes"}')$$, '22023',
    'the map has "max_age", and no column that says how old a row is', 'no limit without a time');
SELECT throws_ok($$SELECT journey.attach('store_stock', 'stock', '{"sku": "sku", "available": "on_hand", "at": "counted_at", "max_age": "counted_at"}')$$, '22023',
    'field "max_age" of the map has the wrong value "counted_at"', 'nor one that is none');
SELECT journey.attach('store_stock', 'stock', '{"sku": "sku", "available": "on_hand", "at": "counted_at", "max_age": "30 minutes"}');
SELECT results_eq($$SELECT * FROM journey._stock('{J1,J2,J3}') ORDER BY 1$$, $$VALUES ('J1', 4::numeric, false), ('J2', 0, false)$$, 'young enough, it counts');
SELECT pg_temp.move('2026-03-02 10:20+00');
SELECT results_eq($$SELECT * FROM journey._stock('{J1,J2,J3}') ORDER BY 1$$, $$VALUES ('J1', 4::numeric, false), ('J2', 0, false)$$, 'to the minute');
SELECT pg_temp.move('2026-03-02 10:21+00');
SELECT results_eq($$SELECT * FROM journey._stock('{J1,J2,J3}') ORDER BY 1$$, $$VALUES ('J1', NULL::numeric, true), ('J2', NULL, true)$$, 'too old, nobody knows: neither some nor none');
INSERT INTO store_stock VALUES ('J1', 'south', 2, '2026-03-02 10:15+00'), ('J2', 'south', 0, '2026-03-02 10:15+00');
SELECT results_eq($$SELECT * FROM journey._stock('{J1,J2,J3}') ORDER BY 1$$, $$VALUES ('J1', 2::numeric, false), ('J2', NULL, true)$$, 'what another place has is there; what it lacks may be in the first');
UPDATE store_stock SET counted_at = NULL WHERE sku = 'J1';
SELECT results_eq($$SELECT * FROM journey._stock('{J1}')$$, $$VALUES ('J1', NULL::numeric, true)$$, 'of no known age is too old');
UPDATE store_stock SET counted_at = '2026-03-03 10:15+00' WHERE sku = 'J1';
SELECT results_eq($$SELECT * FROM journey._stock('{J1}')$$, $$VALUES ('J1', NULL::numeric, true)$$, 'and what was counted tomorrow was misread');
DELETE FROM store_stock WHERE store = 'south';
UPDATE store_stock SET counted_at = '2026-03-02 10:15+00';

-- a decision holds
SELECT journey.apply(pg_temp.journey_doc('pickup', '{"on": "wishlist_added", "data": {"sku": "event.sku"}}',
    '{"look": {"branch": [{"when": "product.available > 0", "to": "mail"}], "else": "gone", "on_unknown": "mail"},
      "mail": {"send": {"channel": "email", "template": "t_sku", "data": {"sku": "entry.sku"}, "require": ["stock:sku"]}, "next": "done", "on_refused": {"out_of_stock": "gone", "*": "done"}},
      "gone": {"exit": "out_of_stock"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest('{ann,bob,cy}'::text[]) c;
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('ann'), '{"sku": "J1"}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('bob'), '{"sku": "J2"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT d.step, d.verdict, d.reason, d.rule FROM journey.decision d WHERE d.profile_id = pg_temp.pid('ann') AND d.kind = 'step'$$,
    $$VALUES ('mail', 'held', 'stale_data', 'stock')$$, 'the send is held');
SELECT is((SELECT clauses -> -1 FROM journey.decision d WHERE d.profile_id = pg_temp.pid('ann') AND d.kind = 'step'), '{"clause": "J1 is in stock", "verdict": null}', 'and says that nobody knows');
SELECT results_eq($$SELECT pg_temp.stands('bob')$$, $$VALUES ('pickup mail active')$$, 'a rule does not take what was last seen for what is: unknown, not none');
SELECT is((SELECT count(*) FROM journey.outbox), 0::bigint, 'nothing is sent');
UPDATE store_stock SET counted_at = '2026-03-02 11:01+00';
SELECT pg_temp.move('2026-03-02 11:05+00');
SELECT results_eq($$SELECT pg_temp.outbox('ann')$$, $$VALUES ('pickup mail email')$$, 'once the place has told, it is decided again');
SELECT results_eq($$SELECT pg_temp.stands('bob')$$, $$VALUES ('pickup finished out_of_stock')$$, 'and refused where there is none');

-- so does a permit, for stock that has grown old since
SELECT pg_temp.move('2026-03-02 11:40+00');
SELECT is((SELECT count(*) FROM journey.claim('email', 10)), 0::bigint, 'a claim looks, too');
SELECT results_eq($$SELECT status, reason FROM journey.outbox WHERE profile_id = pg_temp.pid('ann')$$, $$VALUES ('pending', 'stale_data')$$, 'the action waits');
UPDATE store_stock SET counted_at = '2026-03-02 11:39+00';
SELECT action_id AS a, token AS t FROM journey.claim('email', 10) \gset
SELECT is(length(:'a'), 36, 'told of again, it is claimed');
UPDATE store_stock SET counted_at = '2026-03-02 11:00+00';
SELECT is((SELECT concat_ws(' ', granted, reason, final) FROM journey.begin_send(:'a'::uuid, :t)), 'f stale_data f', 'and the permit looks once more: held, not refused');
UPDATE store_stock SET counted_at = '2026-03-02 11:39+00';
SELECT is((SELECT b.granted FROM journey.claim('email', 10) c, journey.begin_send(c.action_id, c.token) b), true, 'after fresh data it is sent');

-- who ran out meanwhile is refused, also after having been held
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('cy'), '{"sku": "J1"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 12:30+00');
SELECT is((SELECT count(*) FROM journey.claim('email', 10)), 0::bigint, 'held');
UPDATE store_stock SET on_hand = 0, counted_at = '2026-03-02 12:29+00';
SELECT is((SELECT count(*) FROM journey.claim('email', 10)), 0::bigint, 'sold out');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('cy')$$, $$VALUES ('pickup finished out_of_stock')$$, 'takes the edge of what is out of stock');

-- a place whose clock is off by ages is unknown, and the others go on telling
INSERT INTO store_stock VALUES ('J9', 'north', 1, '294276-12-31 23:59:59+00');
SELECT results_eq($$SELECT s.sku, s.available, s.stale FROM journey._stock('{J1,J9}') s ORDER BY s.sku$$, $$VALUES ('J1', 0::numeric, false), ('J9', NULL, true)$$, 'a time at the end of the calendar makes nothing else unknown');
DELETE FROM store_stock WHERE sku = 'J9';

-- without a limit the figure counts however old it is
SELECT journey.attach('store_stock', 'stock', '{"sku": "sku", "available": "on_hand", "at": "counted_at"}');
UPDATE store_stock SET on_hand = 3, counted_at = '2026-01-01 12:29+00';
SELECT results_eq($$SELECT * FROM journey._stock('{J1}')$$, $$VALUES ('J1', 3::numeric, false)$$, 'no limit, no age');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT * FROM journey.quarantine$$, 'nothing is set aside');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
