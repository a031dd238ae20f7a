-- Whoever an event links with those whom it names leaves audiences with them, on a journey
-- or not, whichever came first, the link or the event.
-- mission: 22, 97
-- What would break if this failed: a guest's purchase leaves the account of the same
-- person in the audience for weeks.
\ir ../fixtures/audience.sql
SELECT plan(9);
-- stays on the journey after the addition, and matches by the order's sku
SELECT journey.apply(pg_temp.journey_doc('stay', '{"on": "searched", "data": {"sku": "event.query"}}',
    '{"add": {"send": {"channel": "retargeting", "template": "t_sku", "data": {"sku": "entry.sku"}}, "next": "wait"}, "wait": {"wait": {"for": "3 days"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"suppress_on": [{"on": "order_placed", "match": "event.order_id = entry.sku"}]}'));
CREATE FUNCTION pg_temp.guest(c text, o text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'order_placed', jsonb_build_object('email', c || '@guest.com'), jsonb_build_object('order_id', o, 'amount', 5, 'currency', 'EUR'));
END $$;
CREATE FUNCTION pg_temp.meet(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'product_viewed', jsonb_build_object('customer_id', c, 'email', c || '@guest.com'), '{"sku": "J1"}');
END $$;
CREATE FUNCTION pg_temp.stays(c text, sku text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.person(c);
    PERFORM journey.track('shop', 'consent_granted', pg_temp.who(c), '{"channel": "retargeting", "purpose": "marketing"}');
    PERFORM journey.track('shop', 'searched', pg_temp.who(c), jsonb_build_object('query', sku));
END $$;
SELECT journey.track('shop', 'product_viewed', jsonb_build_object('email', c || '@guest.com'), '{"sku": "J1"}')
FROM unnest(ARRAY['before', 'after', 'never', 'staylate', 'staymatch', 'staynot', 'old', 'gone']) c \g /dev/null
SELECT pg_temp.guest('old', 'G0') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.move('2026-03-02 10:00:01+00');
SELECT pg_temp.member(c) FROM unnest(ARRAY['before', 'after', 'never', 'old', 'gone']) c \g /dev/null
SELECT pg_temp.stays(c, s) FROM (VALUES ('staylate', 'G5'), ('staymatch', 'G6'), ('staynot', 'no')) v (c, s) \g /dev/null
SELECT journey.run_until_idle();
SELECT pg_temp.meet(c) FROM unnest(ARRAY['before', 'staymatch', 'staynot', 'gone']) c \g /dev/null
SELECT journey.run_until_idle();
SELECT is(pg_temp.send_all(), 8::bigint, 'eight are in');
SELECT journey.run_until_idle();
DELETE FROM journey.profile_alias WHERE into_id = pg_temp.pid('gone');
DELETE FROM journey.profile WHERE profile_id = pg_temp.pid('gone');
SELECT pg_temp.guest(c, o) FROM (VALUES ('before', 'G1'), ('after', 'G2'), ('staylate', 'G5'), ('staymatch', 'G6'), ('staynot', 'G7'), ('gone', 'G8')) v (c, o) \g /dev/null
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('before')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'linked first, then the guest orders');
SELECT results_eq($$SELECT pg_temp.waits('staymatch')$$, $$VALUES ('remove G6 transactional 10:00')$$, 'the same of somebody who is still on the journey, whose match holds');
SELECT is_empty($$SELECT pg_temp.waits(c) FROM unnest(ARRAY['after', 'staylate', 'staynot', 'gone']) c$$, 'and nobody else');
SELECT pg_temp.meet(c) FROM unnest(ARRAY['after', 'staylate', 'old']) c \g /dev/null
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('after')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'the guest orders, then they are linked');
SELECT results_eq($$SELECT pg_temp.waits('staylate')$$, $$VALUES ('remove G5 transactional 10:00')$$, 'the same on the journey');
SELECT results_eq($$SELECT d.reason, d.rule FROM journey.decision d WHERE d.profile_id = pg_temp.pid('after') AND d.kind = 'removal'$$,
    $$VALUES ('ordered', 'suppress_on order_placed')$$, 'a decision says why');
SELECT is_empty($$SELECT pg_temp.waits(c) FROM unnest(ARRAY['old', 'never']) c$$, 'an order that was there before the wish takes nobody out, nor one of a stranger');
SELECT is_empty($$SELECT * FROM journey.check_invariants() WHERE subject !~ pg_temp.pid('gone')::text$$, 'invariants hold');
SELECT * FROM finish();
