-- The permit of a removal from an audience: neither a spoilt address nor a cap stops it,
-- it counts under no cap, and never overtakes the addition that a sender still has.
-- mission: 22
-- What would break if this failed: who complains or has bought stays in the audience for good.
\ir ../fixtures/audience.sql
SELECT plan(18);
SELECT journey.apply(pg_temp.journey_doc('mail', '{"on": "wishlist_added"}',
    '{"add": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}')) \g /dev/null
SELECT pg_temp.member(c) FROM unnest(ARRAY['angry', 'bounced', 'moved']) c \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT is(pg_temp.send_all(), 3::bigint, 'three are in');
SELECT is((SELECT count(*) FROM unnest(ARRAY['angry', 'bounced', 'moved']) c WHERE pg_temp.send(c)), 3::bigint, 'and have had a mail');
SELECT journey.run_until_idle() \g /dev/null

-- an address that takes no more messages
SELECT journey.track('shop', 'message_complained', '{}', jsonb_build_object('action_id', action_id)) FROM journey.outbox_history WHERE profile_id = pg_temp.pid('angry') AND channel = 'email' \g /dev/null
SELECT journey.track('shop', 'message_bounced', '{}', jsonb_build_object('action_id', action_id, 'hard', true)) FROM journey.outbox_history WHERE profile_id = pg_temp.pid('bounced') AND channel = 'email' \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.buy(c, 'O-' || c) FROM unnest(ARRAY['bounced', 'moved']) c \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
UPDATE journey.contact_point SET state = 'replaced' WHERE profile_id = pg_temp.pid('moved');
SELECT results_eq($$SELECT i.value, c.state FROM journey.contact_point c JOIN journey.identity i USING (profile_id) WHERE i.namespace = 'customer_id' AND c.channel = 'email' ORDER BY 1$$,
    $$VALUES ('angry', 'complained'), ('bounced', 'hard'), ('moved', 'replaced')$$, 'three addresses that take no more messages');
SELECT results_eq($$SELECT c, pg_temp.waits(c) FROM unnest(ARRAY['angry', 'bounced', 'moved']) c$$,
    $$SELECT c, 'remove J1 transactional 10:00' FROM unnest(ARRAY['angry', 'bounced', 'moved']) c$$, 'a complaint takes out, a purchase as well');
SELECT results_eq($$SELECT b.granted, b.contact ->> 'address', journey.ack(c.action_id, c.token, 'ref') FROM journey.claim('retargeting', 10) c, LATERAL journey.begin_send(c.action_id, c.token) b ORDER BY 2$$,
    $$VALUES (true, 'angry@example.com', true), (true, 'bounced@example.com', true), (true, 'moved@example.com', true)$$, 'the permit names the address all the same');
SELECT pg_temp.move('2026-03-02 10:30+00');

-- an address that is gone says nothing
SELECT pg_temp.member('none') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT ok(pg_temp.send('none', 'retargeting'), 'another is in');
SELECT pg_temp.buy('none', 'O2') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
DELETE FROM journey.contact_point WHERE profile_id = pg_temp.pid('none');
SELECT ok(NOT pg_temp.send('none', 'retargeting'), 'nobody can be taken out without an address');
SELECT is((SELECT reason FROM journey.outbox_history WHERE profile_id = pg_temp.pid('none') AND payload ? '_remove'), 'bad_address', 'which the refusal says');

-- a sender who asks for longer
SELECT pg_temp.member('slow') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT action_id AS a, token AS t FROM journey.claim('retargeting', 1) \gset
SELECT ok((SELECT granted FROM journey.begin_send(:'a'::uuid, :t::bigint)), 'a permit, then the purchase');
SELECT pg_temp.buy('slow', 'O3') \g /dev/null
SELECT journey.run_once() \g /dev/null
SELECT ok(journey.extend(:'a'::uuid, :t::bigint, '1 hour'), 'and an hour more');
SELECT pg_temp.move('2026-03-02 10:40+00');
SELECT results_eq($$SELECT status, lease_until > journey.clock() FROM journey.outbox WHERE channel = 'retargeting' AND NOT payload ? '_remove'$$, $$VALUES ('sending', true)$$, 'the sender may still be putting them in');
SELECT is_empty($$SELECT action_id FROM journey.claim_and_begin('retargeting')$$, 'nobody gets the removal');
SELECT results_eq($$SELECT status, reason, to_char(claim_at, 'HH24:MI') FROM journey.outbox WHERE payload ? '_remove'$$, $$VALUES ('pending', 'held', '11:30')$$, 'which waits for the end of the lease');
SELECT journey.ack(:'a'::uuid, :t::bigint, 'ref') \g /dev/null
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT ok(pg_temp.send('slow', 'retargeting'), 'and then goes');

-- caps
SELECT journey.apply(pg_temp.audience_doc('{"caps": [{"scope": "journey", "channel": "*", "max": 2, "per": "7 days", "window": "rolling", "otherwise": "drop"}]}')) \g /dev/null
SELECT pg_temp.member('capped') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT ok(pg_temp.send('capped', 'retargeting'), 'in, the first of two');
SELECT pg_temp.buy('capped', 'O4') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT ok(pg_temp.send('capped', 'retargeting'), 'out');
SELECT pg_temp.move('2026-03-03 10:00+00');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('capped'), '{"sku": "J2"}') \g /dev/null
SELECT journey.run_until_idle() \g /dev/null
SELECT ok(pg_temp.send('capped', 'retargeting'), 'in, the second: the removal counts for nothing');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
