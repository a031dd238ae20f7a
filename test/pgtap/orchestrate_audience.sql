-- Audiences: a purchase takes a person out of those that a channel of mode
-- state has put them into, in the next lap, and lets nobody be put in after it.
-- mission: 22
-- What would break if this failed: people are shown for weeks what they have bought.
\ir ../fixtures/orchestrate.sql
SELECT plan(26);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(pg_temp.journey_doc(name, '{"on": "wishlist_added", "data": {"sku": "event.sku"}}', jsonb_build_object(
    'add', jsonb_build_object('send', jsonb_build_object('channel', channel, 'template', 't_sku', 'data', '{"sku": "entry.sku"}'::jsonb), 'next', 'done'),
    'done', '{"exit": "finished"}'::jsonb), more))
FROM (VALUES ('audience', 'retargeting', '{}'::jsonb), ('mail', 'email', '{}')) v (name, channel, more);
CREATE FUNCTION pg_temp.member(c text, consent text DEFAULT 'retargeting') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.person(c);
    PERFORM journey.track('shop', 'consent_granted', pg_temp.who(c), jsonb_build_object('channel', consent, 'purpose', 'marketing'));
    PERFORM journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "J1"}');
END $$;
-- what of retargeting lies in the outbox: "removes sku due"
CREATE FUNCTION pg_temp.waits(c text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', CASE WHEN o.payload ? '_remove' THEN 'remove' ELSE 'add' END, o.payload ->> 'sku', o.purpose, to_char(o.due_at, 'HH24:MI'))
    FROM journey.outbox o WHERE o.profile_id = pg_temp.pid(c) AND o.channel = 'retargeting' ORDER BY o.due_at
$$;

-- in, and out by the purchase
SELECT pg_temp.member('ann');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.outbox('ann')$$, $$VALUES ('audience add retargeting'), ('mail add email')$$, 'an addition and a mail wait');
SELECT ok(pg_temp.send('ann', 'retargeting'), 'ann is put into the audience');
SELECT ok(pg_temp.send('ann'), 'and gets the mail');
SELECT journey.run_until_idle();
SELECT action_id AS added FROM journey.outbox_history WHERE profile_id = pg_temp.pid('ann') AND channel = 'retargeting' \gset
SELECT pg_temp.buy('ann', 'O1');
SELECT is_empty($$SELECT pg_temp.outbox('ann')$$, 'before the lap nothing');
SELECT journey.run_once();
SELECT results_eq($$SELECT pg_temp.waits('ann')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'the next lap makes the removal');
SELECT is((SELECT payload FROM journey.outbox WHERE profile_id = pg_temp.pid('ann')), jsonb_build_object('sku', 'J1', '_remove', :'added'), 'it names what it takes back');
SELECT is((SELECT count(*) FROM journey.outbox WHERE profile_id = pg_temp.pid('ann')), 1::bigint, 'a mail that was sent is not taken back');
SELECT results_eq($$SELECT d.kind, d.verdict, d.reason, d.rule, d.channel, d.template, d.event_id = e.event_id FROM journey.decision d JOIN journey.outbox o USING (decision_id), journey.event e WHERE e.type = 'order_placed'$$,
    $$VALUES ('removal', 'enqueue', 'ordered', 'suppress_on order_placed', 'retargeting', 't_sku', true)$$, 'a decision says why');
SELECT pg_temp.buy('ann', 'O2');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.outbox WHERE profile_id = pg_temp.pid('ann')), 1::bigint, 'a second purchase makes no second one');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('ann'), '{"channel": "retargeting", "purpose": "marketing"}');
SELECT journey.run_until_idle();
SELECT ok(pg_temp.send('ann', 'retargeting'), 'neither the purchase nor an opt-out stops the removal');
SELECT matches((SELECT string_agg(what, E'\n') FROM journey.why((SELECT action_id FROM journey.outbox_history WHERE payload ? '_remove'))),
               'add: decided to send \(ordered.*add: permit 1 for retargeting.*add: sent', 'why() tells of a removal, which has no enrollment');
SELECT pg_temp.buy('ann', 'O3');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.outbox('ann')$$, 'who is out is not taken out again');

-- the addition that waits is refused by the same fence, before any lap
SELECT pg_temp.member('bob');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('bob', 'O4');
SELECT is_empty($$SELECT action_id FROM journey.claim('retargeting', 10)$$, 'an addition is not claimed after the purchase');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.waits('bob')$$, 'who was never in is not taken out');

-- claimed before the purchase: the permit is refused
SELECT pg_temp.member('cid');
SELECT journey.run_until_idle();
SELECT action_id AS a, token AS t FROM journey.claim('retargeting', 10) \gset
SELECT pg_temp.buy('cid', 'O5');
SELECT is((SELECT reason FROM journey.begin_send(:'a', :t)), 'ordered', 'no permit after the purchase');

-- in the sender's hands at the purchase: taken out once the sender must be done
SELECT pg_temp.member('dan');
SELECT journey.run_until_idle();
SELECT action_id AS a, token AS t, profile_id FROM journey.claim('retargeting', 10) \gset
SELECT ok((SELECT granted FROM journey.begin_send(:'a', :t)), 'a permit, then the purchase');
SELECT pg_temp.buy('dan', 'O6');
SELECT journey.run_once();
SELECT results_eq($$SELECT pg_temp.waits('dan')$$, $$VALUES ('add J1 marketing 10:00'), ('remove J1 transactional 10:10')$$, 'the removal waits for the end of the lease');
SELECT journey.ack(:'a', :t, 'ref');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 10:10+00');
SELECT ok(pg_temp.send('dan', 'retargeting'), 'and then goes');

-- somebody else's purchase, and one of another brand
SELECT pg_temp.member('eve');
SELECT journey.run_until_idle();
SELECT ok(pg_temp.send('eve', 'retargeting'), 'eve is in');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('bob', 'O7');
SELECT journey.apply('{"kind": "source", "name": "abroad", "system": "commerce", "scope": "abroad"}');
SELECT pg_temp.buy('eve', 'O8', 'abroad');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.waits('eve')$$, 'a purchase elsewhere, or of somebody else, takes nobody out');
SELECT pg_temp.buy('eve', 'O9');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('eve')$$, $$VALUES ('remove J1 transactional 10:10')$$, 'their own does');

-- put in again, after which only the new one is to be taken back
SELECT ok(pg_temp.send('eve', 'retargeting'), 'eve is out');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('eve'), '{"sku": "J2"}');
SELECT journey.run_until_idle();
SELECT ok(pg_temp.send('eve', 'retargeting'), 'and in again');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('eve', 'O10');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('eve')$$, $$VALUES ('remove J2 transactional 10:10')$$, 'the later addition is taken back by the later purchase');
SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
