-- A merge taken apart: what was moved goes back, what was made one is two again,
-- and what has come since stays with whom it belongs to.
\ir ../fixtures/orchestrate.sql
\ir ../lib/orphans.sql
SELECT plan(27);
SELECT pg_temp.move('2026-03-02 10:00+00');
-- mission: 28
CREATE FUNCTION pg_temp.of(namespace text, value text) RETURNS uuid LANGUAGE sql AS $$ SELECT journey.profile_id(jsonb_build_object(namespace, value)) $$;
CREATE FUNCTION pg_temp.guest() RETURNS uuid LANGUAGE sql AS $$ SELECT pg_temp.of('email', 'ann@guest.com') $$;
-- Everything that is known of the two: every row of theirs, but for when and in which lap it was written.
CREATE FUNCTION pg_temp.known() RETURNS TABLE (name text, of_row jsonb) LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
    FOR t IN SELECT p.name FROM journey._personal_tables() p WHERE p.name NOT LIKE 'merge%' LOOP
        RETURN QUERY EXECUTE format($q$SELECT %1$L::text, to_jsonb(x) - '{changed_at,link_xact,claim_at,reap_at,reason}'::text[] FROM journey.%1$I x
            WHERE x.profile_id IN (SELECT id FROM pg_temp.both_of)$q$, t);
    END LOOP;
    RETURN QUERY SELECT 'identity', to_jsonb(i) FROM journey.identity i WHERE i.profile_id IN (SELECT id FROM pg_temp.both_of);
END $$;
CREATE FUNCTION pg_temp.unmerge() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE done boolean := (SELECT journey.unmerge(g.merge_id) FROM journey.merge_log g WHERE g.undone_at IS NULL ORDER BY g.merge_xact DESC LIMIT 1);
BEGIN
    PERFORM journey.run_once();
    RETURN done;
END $$;

SELECT journey.apply(pg_temp.cart_doc('{"identity": {"min_confidence": "none"}}')) \g /dev/null
SELECT pg_temp.person('bob');
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.move('2026-03-02 10:01+00');
SELECT pg_temp.person('ann');
SELECT journey.track('shop', 'consent_granted', '{"email": "ann@guest.com"}', '{"channel": "email", "purpose": "marketing"}');
SELECT journey.track('shop', 'identified', '{"customer_id": "ann"}', '{"city": "Bonn"}');
SELECT journey.track('shop', 'consent_granted', '{"customer_id": "ann"}', '{"channel": "sms", "purpose": "marketing"}');
SELECT pg_temp.cart('ann', 'AC');
SELECT journey.track('shop', t, '{"email": "ann@guest.com"}', p || '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "GC", "step": "shipping", "order_id": "GO", "amount": 9, "currency": "EUR", "city": "Ulm", "size": "M", "channel": "sms", "purpose": "marketing"}')
FROM (VALUES ('identified', '{}'::jsonb), ('order_placed', '{"cart_id": "old"}'), ('consent_revoked', '{}')) v (t, p);
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.move('2026-03-02 10:10+00');
SELECT journey.track('shop', t, '{"email": "ann@guest.com"}', '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "GC", "step": "shipping"}')
FROM unnest(ARRAY['cart_item_added', 'checkout_step_viewed']) t;
SELECT journey.run_once() \g /dev/null
SELECT pg_temp.pid('ann') AS ann, pg_temp.guest() AS guest \gset
CREATE TEMP TABLE both_of AS SELECT unnest(ARRAY[:'ann', :'guest']::uuid[]) AS id;
SELECT isnt(:'ann'::uuid, :'guest'::uuid, 'two people');
SELECT pg_temp.move('2026-03-02 11:20+00');
SELECT is((SELECT count(*) FROM journey.outbox), 2::bigint, 'with a reminder each');
CREATE TEMP TABLE before AS SELECT * FROM pg_temp.known();

-- ---- there and back ---------------------------------------------------------------
SELECT ok(journey.merge('{"customer_id": "ann"}', '{"email": "ann@guest.com"}'), 'somebody says that they are one');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.guest(), :'ann'::uuid, 'so they are');
SELECT results_eq(format('SELECT channel, state FROM journey.consent WHERE profile_id = %L ORDER BY 1', :'ann'), $$VALUES ('email', 'granted'), ('sms', 'revoked')$$, 'the stricter word stands');
SELECT is_empty(format('SELECT name FROM pg_temp.known() WHERE of_row ->> ''profile_id'' = %L', :'guest'), 'nothing is left of the other');
SELECT ok(pg_temp.unmerge(), 'then that they are not');
SELECT is(pg_temp.guest(), :'guest'::uuid, 'the guest has the id of before');
SELECT is_empty('TABLE before EXCEPT SELECT * FROM pg_temp.known()', 'everything is there again');
SELECT is_empty('SELECT * FROM pg_temp.known() EXCEPT TABLE before', 'and nothing more');
SELECT results_eq('SELECT undone_by = session_user, undone_at IS NOT NULL FROM journey.merge_log', 'VALUES (true, true)', 'the log says who did it');
SELECT is((SELECT count(*) FROM journey.merge_row) + (SELECT count(*) FROM journey.profile_alias), 0::bigint, 'what was kept for this is gone');
-- an event does not put together what somebody has taken apart
SELECT journey.track('shop', 'product_viewed', '{"customer_id": "ann", "email": "ann@guest.com"}', '{"sku": "J1"}');
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.guest(), :'guest'::uuid, 'what somebody has taken apart no event puts together');
SELECT is((SELECT refused FROM journey.merge_wish), 'somebody has taken them apart', 'the wish says why');
SELECT is((SELECT count(*) FROM journey.profile_link WHERE strong), 2::bigint, 'they are linked, so that a purchase of one ends what the other gets');

-- ---- what comes between -------------------------------------------------------------
SELECT journey.merge('{"customer_id": "ann"}', '{"email": "ann@guest.com"}') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT journey.ack(c.action_id, c.token) FROM journey.claim_and_begin('email', 1) c \g /dev/null
SELECT journey.track('shop', 'identified', '{"customer_id": "ann"}', '{"shoe": "40"}');
SELECT journey.track('shop', 'consent_revoked', '{"customer_id": "ann"}', '{"channel": "email", "purpose": "marketing"}');
SELECT journey.track('shop', 'cart_item_added', '{"email": "ann@guest.com"}', '{"sku": "J2", "quantity": 1, "price": 5, "cart_id": "GC"}');
SELECT journey.track('web', 'product_viewed', '{"customer_id": "ann", "anonymous_id": "new"}', '{"sku": "J1"}');
SELECT journey.run_once() \g /dev/null
SELECT ok(pg_temp.unmerge(), 'again');
SELECT is((SELECT traits FROM journey.profile WHERE profile_id = :'ann') ->> 'shoe', '40', 'what was told since stays');
SELECT is((SELECT traits FROM journey.profile WHERE profile_id = :'ann') ->> 'size', NULL, 'what was the other''s goes');
SELECT is(pg_temp.of('anonymous_id', 'new'), :'ann'::uuid, 'a key that came since stays');
SELECT is((SELECT count(*) FROM journey.cart_line WHERE profile_id = :'guest' AND cart_id = 'GC'), 2::bigint, 'a line that came since goes with its cart');
SELECT is((SELECT state FROM journey.consent WHERE profile_id = :'ann' AND channel = 'email'), 'revoked', 'an opt-out stands');
SELECT is((SELECT count(*) FROM journey.outbox_history h JOIN journey.attempt_log l USING (bucket, profile_id, action_id) WHERE h.status = 'sent'), 1::bigint, 'what was sent is where its permit is');

-- ---- one after another ----------------------------------------------------------------
SELECT journey.merge('{"customer_id": "ann"}', '{"email": "ann@guest.com"}') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT journey.merge('{"customer_id": "ann"}', '{"customer_id": "bob"}') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT is(pg_temp.guest(), pg_temp.pid('bob'), 'merged twice');
SELECT throws_ok(format('SELECT journey.unmerge(%L)', (SELECT merge_id FROM journey.merge_log WHERE from_id = :'guest' AND undone_at IS NULL)), '55000', NULL, 'the first one cannot be undone first');
SELECT ok(pg_temp.unmerge() AND pg_temp.unmerge(), 'the last one first');

SELECT is_empty('SELECT pg_temp.orphans()', 'no row of any table is left behind');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
