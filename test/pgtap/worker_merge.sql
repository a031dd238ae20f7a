-- People who turn out to be one: who is merged and who is not, what moves, and
-- what stands when both have it. The way back: worker_unmerge.sql.
\ir ../fixtures/orchestrate.sql
\ir ../lib/orphans.sql
SELECT plan(51);
SELECT pg_temp.move('2026-03-02 10:00+00');
-- mission: 28, 179
CREATE FUNCTION pg_temp.of(namespace text, value text) RETURNS uuid LANGUAGE sql AS $$ SELECT journey.profile_id(jsonb_build_object(namespace, value)) $$;
CREATE FUNCTION pg_temp.see(subject jsonb, sku text DEFAULT 'J1', source text DEFAULT 'shop') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track(source, 'product_viewed', subject, jsonb_build_object('sku', sku));
END $$;
-- a customer, and a guest who is known by an address
CREATE FUNCTION pg_temp.two(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.person(c), pg_temp.see(jsonb_build_object('email', c || '@guest.com'));
END $$;
CREATE FUNCTION pg_temp.meet(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.see(jsonb_build_object('customer_id', c, 'email', c || '@guest.com'), 'MET');
END $$;
CREATE FUNCTION pg_temp.guest(c text) RETURNS uuid LANGUAGE sql AS $$ SELECT pg_temp.of('email', c || '@guest.com') $$;
CREATE FUNCTION pg_temp.merges(c text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM journey.merge_log WHERE profile_id = pg_temp.pid(c) $$;

-- ---- a browser, and who uses it ---------------------------------------------------
SELECT pg_temp.see('{"anonymous_id": "b1"}', source => 'web'), pg_temp.person('ann');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.of('anonymous_id', 'b1') AS b1, pg_temp.pid('ann') AS ann \gset
SELECT isnt(:'b1'::uuid, :'ann'::uuid, 'a browser and a customer');
SELECT pg_temp.see('{"anonymous_id": "b1", "customer_id": "ann"}', 'J2', 'web');
SELECT results_eq($$SELECT value FROM journey.run_once() WHERE name = 'merged'$$, 'VALUES (1::bigint)', 'a lap says that it has merged');
SELECT is(pg_temp.of('anonymous_id', 'b1'), :'ann'::uuid, 'who logs in is one with what they did before');
SELECT results_eq(format($$SELECT event.props ->> 'sku' FROM journey.event WHERE profile_id = %L AND type = 'product_viewed' ORDER BY seq$$, :'ann'), $$VALUES ('J1'), ('J2')$$, 'with everything they looked at');
SELECT results_eq('SELECT from_id, into_id, method, keys, confidence FROM journey.merge_log', format($$VALUES (%L::uuid, %L::uuid, 'deterministic', 'customer_id anonymous_id', 1.0::float8)$$, :'b1', :'ann'), 'the merge is logged');
SELECT results_eq($$SELECT method, confidence FROM journey.identity WHERE namespace = 'anonymous_id' AND value = 'b1'$$, $$VALUES ('deterministic', 0.4::float8)$$, 'a browser stays the weak key it is');
SELECT results_eq(format('SELECT into_id FROM journey.profile_alias WHERE profile_id = %L', :'b1'), format('VALUES (%L::uuid)', :'ann'), 'the id that was given up is an alias');
SELECT is_empty('SELECT * FROM journey.profile_link', 'who is one is not linked with themselves');
-- another person on the same browser is another person
SELECT pg_temp.person('bob');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.see('{"anonymous_id": "b1", "customer_id": "bob"}', 'J3', 'web');
SELECT journey.run_once() \g /dev/null
SELECT isnt(pg_temp.pid('bob'), :'ann'::uuid, 'who else logs in there is somebody else');
SELECT is((SELECT count(*) FROM journey.merge_wish), 0::bigint, 'nobody wishes that');
-- a source that is not believed merges nobody
SELECT journey.apply('{"kind": "source", "name": "browser", "system": "commerce", "trusted": false}') \g /dev/null
SELECT pg_temp.see('{"anonymous_id": "b2"}');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.see('{"anonymous_id": "b2", "customer_id": "bob"}', 'J3', 'browser');
SELECT journey.run_once() \g /dev/null
SELECT isnt(pg_temp.of('anonymous_id', 'b2'), pg_temp.pid('bob'), 'a source that is not trusted merges nobody');

-- ---- a guest who has an account ----------------------------------------------------
SELECT pg_temp.two('cat');
SELECT journey.track('shop', 'order_placed', '{"email": "cat@guest.com"}', '{"order_id": "G1", "amount": 20, "currency": "EUR", "lines": [{"sku": "J1", "price": 20}]}');
SELECT journey.track('shop', 'order_placed', '{"customer_id": "cat"}', '{"order_id": "G2", "amount": 30, "currency": "EUR"}');
SELECT journey.track('shop', 'identified', '{"email": "cat@guest.com"}', '{"city": "Ulm", "size": "M", "zone": "Europe/Berlin"}');
SELECT journey.track('shop', 'identified', '{"customer_id": "cat"}', '{"city": "Bonn"}');
SELECT journey.track('shop', 'cart_item_added', '{"email": "cat@guest.com"}', '{"sku": "J1", "cart_id": "GC", "price": 3}');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.guest('cat') AS guest \gset
SELECT journey.mark_test('{"email": "cat@guest.com"}') \g /dev/null
SELECT pg_temp.meet('cat');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.guest('cat'), pg_temp.pid('cat'), 'the account keeps its id, having the stronger key');
SELECT results_eq(format('SELECT order_id FROM journey.orders WHERE profile_id = %L ORDER BY 1', pg_temp.pid('cat')), $$VALUES ('G1'), ('G2')$$, 'orders are theirs');
SELECT results_eq(format('SELECT orders, events = (SELECT count(*) FROM journey.event e WHERE e.profile_id = s.profile_id) FROM journey.profile_state s WHERE profile_id = %L', pg_temp.pid('cat')), 'VALUES (2, true)', 'and counted');
SELECT is((SELECT traits ->> 'city' || ' ' || (traits ->> 'size') || ' ' || zone FROM journey.profile WHERE profile_id = pg_temp.pid('cat')), 'Bonn M Europe/Berlin', 'what the account says goes before what the guest said');
SELECT is((SELECT count(*) FROM journey.cart_line WHERE profile_id = pg_temp.pid('cat')), 1::bigint, 'a cart comes with its lines');
SELECT is((SELECT count(*) FROM journey.test_profile WHERE profile_id = pg_temp.pid('cat')), 1::bigint, 'a test profile stays one');
SELECT is((SELECT encode(s.features, 'hex') FROM journey.profile_state s WHERE s.profile_id = pg_temp.pid('cat')), (SELECT encode(r.features, 'hex') FROM journey._recount(ARRAY[pg_temp.pid('cat')]) r), 'features are what the log says');
-- by an old id
SELECT ok(journey.unsubscribe(journey._unsubscribe_token(:'guest', 'default', 'email')), 'a link in an old message still works');
SELECT journey.run_once() \g /dev/null
SELECT results_eq(format('SELECT state FROM journey.consent WHERE profile_id = %L', pg_temp.pid('cat')), $$VALUES ('revoked')$$, 'for the person');
SELECT is(journey.preferences(journey._unsubscribe_token(:'guest', 'default', 'email')) -> 0 ->> 'state', 'revoked', 'whom it shows');

-- ---- the stricter word stands --------------------------------------------------------
SELECT pg_temp.two(c) FROM unnest(ARRAY['den', 'eve', 'fay']) c;
SELECT journey.track('shop', 'consent_granted', '{"email": "den@guest.com"}', '{"channel": "sms", "purpose": "marketing"}');
SELECT journey.track('shop', 'consent_revoked', '{"email": "eve@guest.com"}', '{"channel": "email", "purpose": "marketing"}');
SELECT journey.run_once() \g /dev/null
SELECT ok(journey.suppress('{"email": "fay@guest.com"}', '*', 'a complaint'), 'somebody is suppressed by hand');
SELECT pg_temp.meet(c) FROM unnest(ARRAY['den', 'eve', 'fay']) c;
SELECT journey.run_once() \g /dev/null
SELECT results_eq(format('SELECT channel, state FROM journey.consent WHERE profile_id = %L ORDER BY 1', pg_temp.pid('den')), $$VALUES ('email', 'granted'), ('sms', 'granted')$$, 'consents that only one has given stand');
SELECT results_eq(format('SELECT channel, state FROM journey.consent WHERE profile_id = %L ORDER BY 1', pg_temp.pid('eve')), $$VALUES ('email', 'revoked')$$, 'of two words about one consent the stricter does');
SELECT is((SELECT count(*) FROM journey.suppression WHERE profile_id = pg_temp.pid('fay') AND type = 'manual'), 1::bigint, 'and so does what was said by hand');

-- ---- who is not merged ------------------------------------------------------------------
SELECT pg_temp.person(c) FROM unnest(ARRAY['gus', 'hal']) c;
SELECT journey.run_once() \g /dev/null
SELECT journey.track('shop', 'order_placed', '{"customer_id": "gus", "email": "hal@example.com"}', '{"order_id": "GH", "amount": 5, "currency": "EUR"}');
SELECT journey.run_once() \g /dev/null
SELECT isnt(pg_temp.pid('gus'), pg_temp.pid('hal'), 'two accounts are two people');
SELECT is((SELECT refused FROM journey.merge_wish WHERE try_at IS NULL), 'each has a customer_id of their own', 'and the wish says why');
SELECT results_eq($$SELECT name, count, severity FROM journey.incident WHERE kind = 'identity_conflict'$$, $$VALUES ('customer_id anonymous_id', 2::bigint, 'info'), ('customer_id email', 1, 'warning')$$, 'an incident says that they were not');
SELECT pg_temp.see('{"customer_id": "gus", "email": "hal@example.com"}');
SELECT journey.run_once() \g /dev/null
SELECT is((SELECT count FROM journey.incident WHERE kind = 'identity_conflict' AND severity = 'warning'), 1::bigint, 'once');
SELECT ok(journey.merge('{"customer_id": "gus"}', '{"customer_id": "hal"}'), 'but somebody may know better');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.pid('gus'), pg_temp.pid('hal'), 'and say that they are one');
SELECT results_eq($$SELECT source = session_user FROM journey.merge_log WHERE method = 'asserted'$$, 'VALUES (true)', 'in their name');
SELECT is(journey.merge('{"customer_id": "gus"}', '{"customer_id": "nobody"}'), false, 'nobody is merged with who is not known');
UPDATE journey.namespace SET merges = false WHERE namespace = 'email';
SELECT pg_temp.two('ida');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.meet('ida');
SELECT journey.run_once() \g /dev/null
SELECT isnt(pg_temp.guest('ida'), pg_temp.pid('ida'), 'a shop may say that addresses make nobody one');
UPDATE journey.namespace SET merges = true WHERE namespace = 'email';

-- ---- on a journey --------------------------------------------------------------------------
SELECT journey.apply(pg_temp.cart_doc('{"identity": {"min_confidence": "none"}}')) \g /dev/null
SELECT pg_temp.two('jim'), pg_temp.cart('jim', 'JC');
SELECT journey.run_once() \g /dev/null
SELECT journey.track('shop', t, '{"email": "jim@guest.com"}', '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "JC2", "step": "shipping"}') FROM unnest(ARRAY['cart_item_added', 'checkout_step_viewed']) t;
SELECT journey.track('shop', t, '{"email": "jim@guest.com"}', '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "JC", "step": "shipping"}') FROM unnest(ARRAY['cart_item_added', 'checkout_step_viewed']) t;
SELECT journey.run_once() \g /dev/null
SELECT results_eq($$SELECT profile_id = pg_temp.pid('jim'), key FROM journey.enrollment WHERE exited_at IS NULL ORDER BY entered_at, entry_seq$$, $$VALUES (true, 'JC'), (false, 'JC2'), (false, 'JC')$$, 'two people, three carts, one of them the same');
SELECT pg_temp.meet('jim');
SELECT journey.run_once() \g /dev/null
SELECT results_eq($$SELECT profile_id = pg_temp.pid('jim'), key, exit_reason FROM journey.enrollment ORDER BY entered_at, entry_seq$$, $$VALUES (true, 'JC', NULL), (true, 'JC2', NULL), (true, 'JC', 'merged')$$, 'one person is on a journey once for one cart');
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT results_eq($$SELECT profile_id = pg_temp.pid('jim'), count(*) FROM journey.outbox GROUP BY 1$$, 'VALUES (true, 2::bigint)', 'and gets what both were to get');
-- what a sender has of them goes back and is judged anew
SELECT pg_temp.person('jim2');
SELECT journey.run_once() \g /dev/null
CREATE TEMP TABLE taken AS SELECT * FROM journey.claim('email', 10);
SELECT is((SELECT count(*) FROM taken), 2::bigint, 'a sender has both');
SELECT journey.merge('{"customer_id": "jim"}', '{"customer_id": "jim2"}') \g /dev/null
SELECT journey.track('shop', 'consent_revoked', '{"customer_id": "jim2"}', '{"channel": "email", "purpose": "marketing"}');
SELECT journey.run_once() \g /dev/null
SELECT results_eq('SELECT DISTINCT b.granted, b.reason FROM taken t, LATERAL journey.begin_send(t.action_id, t.token) b', $$VALUES (false, 'stale_token')$$, 'who has claimed before must claim again');
SELECT is((SELECT count(*) FROM journey.claim('email', 10)), 0::bigint, 'nothing is there to claim');
SELECT results_eq('SELECT status, reason, count(*) FROM journey.outbox_history GROUP BY 1, 2', $$VALUES ('refused', 'opted_out', 2::bigint)$$, 'for the other has opted out');

-- ---- by a link in a message ------------------------------------------------------------------
SELECT pg_temp.person('kim'), pg_temp.cart('kim', 'KC'), pg_temp.see('{"anonymous_id": "b7"}'), pg_temp.see('{"anonymous_id": "b8"}');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.move('2026-03-02 14:00+00');
SELECT journey.ack(c.action_id, c.token) FROM journey.claim_and_begin('email', 10) c \g /dev/null
SELECT action_id AS sent FROM journey.outbox_history WHERE profile_id = pg_temp.pid('kim') \gset
SELECT journey.track('esp', 'message_clicked', jsonb_build_object('anonymous_id', b), jsonb_build_object('action_id', :'sent', 'machine', m)) FROM (VALUES ('b7', false), ('b8', true), ('b9', false)) v (b, m) \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT results_eq($$SELECT value, method, confidence FROM journey.identity WHERE profile_id = pg_temp.pid('kim') AND namespace = 'anonymous_id' ORDER BY 1$$, $$VALUES ('b7', 'click', 0.4::float8), ('b9', 'click', 0.4)$$, 'the browser in which a link is followed is the person''s, a scanner''s is not');
SELECT results_eq($$SELECT method, confidence FROM journey.merge_log WHERE profile_id = pg_temp.pid('kim')$$, $$VALUES ('click', 0.7::float8)$$, 'by less than an account would say');

-- ---- caps count what both have got -----------------------------------------------------------
SELECT pg_temp.move('2026-03-02 16:00+00');
SELECT journey.apply(pg_temp.journey_doc('capped', '{"on": "searched"}', '{"tell": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"caps": [{"max": 1, "per": "1 day"}]}')) \g /dev/null
SELECT pg_temp.two('max');
SELECT journey.track('shop', 'consent_granted', '{"email": "max@guest.com"}', '{"channel": "email", "purpose": "marketing"}');
SELECT journey.track('shop', 'searched', '{"email": "max@guest.com"}', '{"query": "hats"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(journey.ack(c.action_id, c.token)) FROM journey.claim_and_begin('email', 10) c WHERE c.journey = 'capped'), 1::bigint, 'the guest has got one');
SELECT journey.track('shop', 'searched', '{"customer_id": "max"}', '{"query": "hats"}');
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.meet('max');
SELECT journey.run_until_idle() \g /dev/null
SELECT is((SELECT count(*) FROM journey.claim_and_begin('email', 10) c WHERE c.journey = 'capped'), 0::bigint, 'the account, being the same, gets no other');
SELECT results_eq($$SELECT d.reason FROM journey.decision d WHERE d.profile_id = pg_temp.pid('max') AND d.kind IN ('claim', 'permit')$$, $$VALUES ('capped')$$, 'because of the cap');

-- ---- a chain in one lap -------------------------------------------------------------------------
SELECT pg_temp.see('{"phone": "+4915112345678"}'), pg_temp.see('{"email": "leo@guest.com"}'), pg_temp.see('{"loyalty_id": "L1"}'), pg_temp.person('leo');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.see('{"phone": "+4915112345678", "email": "leo@guest.com"}'), pg_temp.see('{"loyalty_id": "L1", "email": "leo@guest.com"}'), pg_temp.see('{"customer_id": "leo", "phone": "+4915112345678"}');
SELECT journey.run_once() \g /dev/null
SELECT results_eq($$SELECT DISTINCT profile_id FROM journey.identity WHERE value IN ('+4915112345678', 'leo@guest.com', 'L1', 'leo')$$, $$SELECT pg_temp.pid('leo')$$, 'one of one of one is one');
SELECT is((SELECT count(*) FROM journey.profile_alias a WHERE a.into_id = pg_temp.pid('leo')), 3::bigint, 'every alias leads to them');
SELECT is_empty('SELECT * FROM journey.merge_wish WHERE try_at IS NOT NULL', 'no wish is left');

SELECT is_empty('SELECT pg_temp.orphans()', 'no row of any table is left behind');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
