-- Audiences: a purchase takes a person out of those that a channel of mode
-- state has put them into, in the next lap, and lets nobody be put in after it.
-- So do an opt-out, an erasure, suppress().
-- mission: 22
-- What would break if this failed: people are shown for weeks what they have
-- bought, and advertisers keep the addresses of people who said no.
\ir ../fixtures/audience.sql
SELECT plan(51);
SELECT journey.apply(pg_temp.journey_doc('mail', '{"on": "wishlist_added", "data": {"sku": "event.sku"}}',
    '{"add": {"send": {"channel": "email", "template": "t_sku", "data": {"sku": "entry.sku"}}, "next": "done"}, "done": {"exit": "finished"}}'));

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
SELECT results_eq($$SELECT suppress_on FROM journey.message WHERE channel = 'retargeting' AND purpose = 'transactional'$$, $$VALUES ('[]'::jsonb)$$, 'nothing stops a removal that waits');
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
               'add: decided to take out of the audience \(ordered.*add: permit 1 for retargeting.*add: sent', 'why() tells of a removal, which has no enrollment');
SELECT results_eq($$SELECT purpose, suppress_on FROM journey.message WHERE channel = 'retargeting' ORDER BY 1$$, $$VALUES ('marketing', '["order_placed"]'::jsonb), ('transactional', '[]')$$, 'an order would have stopped the addition, and nothing the removal');
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

-- out by what the person says, which no journey lists
SELECT pg_temp.move('2026-03-03 10:00+00');
SELECT pg_temp.send_all();
SELECT pg_temp.member(p) FROM unnest(ARRAY['opt', 'all', 'byaddress', 'other', 'cust', 'gone', 'rest', 'hand', 'back', 'brand', 'aside']) p;
SELECT journey.run_until_idle();
SELECT is(pg_temp.send_all(), 11::bigint, 'eleven are in');
SELECT journey.run_until_idle();
CREATE TABLE client (id text PRIMARY KEY, ads text);
SELECT journey.attach('client', 'customer', '{"subject": {"customer_id": "id"}, "consents": [{"channel": "retargeting", "purpose": "marketing", "column": "ads", "values": {"yes": "granted", "no": "denied"}}]}');
INSERT INTO client VALUES ('cust', 'yes');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('opt'), '{"channel": "retargeting", "purpose": "marketing"}');
SELECT journey.track('shop', 'unsubscribed', pg_temp.who('all'), '{}');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('byaddress'), '{"channel": "email"}');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('other'), '{"channel": "sms"}');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('other'), '{"channel": "retargeting", "purpose": "service"}');
UPDATE client SET ads = 'no';
SELECT journey.track('shop', 'erased', pg_temp.who('gone'), '{}');
SELECT journey.track('shop', 'restricted', pg_temp.who('rest'), '{}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('opt')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'an opt-out from the channel takes out');
SELECT results_eq($$SELECT pg_temp.waits('all')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'and so does one from everything');
SELECT results_eq($$SELECT pg_temp.waits('byaddress')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'one from what its addresses are');
SELECT is_empty($$SELECT pg_temp.waits('other')$$, 'but not one from something else');
SELECT results_eq($$SELECT pg_temp.waits('cust')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'a box that a customer cleared');
SELECT results_eq($$SELECT pg_temp.waits('gone')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'an erasure');
SELECT results_eq($$SELECT pg_temp.waits('rest')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'and a restriction');
SELECT results_eq($$SELECT d.reason, d.rule FROM journey.decision d WHERE d.kind = 'removal' AND d.profile_id IN (pg_temp.pid('opt'), pg_temp.pid('gone')) ORDER BY 1$$,
    $$VALUES ('erased', 'erased'), ('opted_out', 'consent_revoked')$$, 'decisions say why');
SELECT journey.track('shop', 'erased', pg_temp.who('gone'), '{}', message_id => 'again');
UPDATE journey.profile SET restricted = true WHERE profile_id = pg_temp.pid('rest');
SELECT ok(pg_temp.send(p, 'retargeting'), 'neither erasure nor restriction stops the removal') FROM unnest(ARRAY['gone', 'rest']) p;

-- suppress() writes no event
SELECT ok(journey.suppress(pg_temp.who('hand'), reason => 'asked by phone'), 'somebody is suppressed by hand');
SELECT journey.suppress(pg_temp.who('back'));
SELECT journey.unsuppress(pg_temp.who('back'));
SELECT journey.suppress(pg_temp.who('brand'), 'abroad');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('hand')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'the next lap takes them out');
SELECT is_empty($$SELECT pg_temp.waits(p) FROM unnest(ARRAY['back', 'brand']) p$$, 'unless it has been taken back, or is about another brand');
SELECT is_empty($$SELECT 1 FROM journey.suppression WHERE unread$$, 'once');
SELECT ok(pg_temp.send('hand', 'retargeting'), 'the suppression does not stop the removal');

-- an opt-out that no lap can take, and a purchase
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source <> 'sick') NOT VALID;
SELECT journey.track('sick', 'unsubscribed', pg_temp.who('aside'), '{"channel": "retargeting"}');
SELECT journey.track('sick', 'order_placed', pg_temp.who('brand'), '{"order_id": "O77"}');
SELECT journey.run_until_idle();
ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT results_eq($$SELECT pg_temp.waits('aside')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'an opt-out that had to be set aside takes out');
SELECT results_eq($$SELECT pg_temp.waits('brand')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'a purchase as well');

-- put in by an order: that order does not take out, however often it is told
SELECT journey.apply(pg_temp.journey_doc('buyers', '{"on": "order_placed", "key": "order", "data": {"sku": "''J9''"}}',
    '{"add": {"send": {"channel": "retargeting", "template": "t_sku", "data": {"sku": "entry.sku"}}, "next": "done"}, "done": {"exit": "finished"}}', '{"reentry": {"per": "key", "after": "7 days"}}'));
SELECT pg_temp.person('fan');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('fan'), '{"channel": "retargeting"}');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('fan', 'O90');
SELECT journey.run_until_idle();
SELECT ok(pg_temp.send('fan', 'retargeting'), 'a buyer is put in');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('fan', 'O90', 'till');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.waits('fan')$$, 'the same order, told by another source, takes nobody out');
SELECT pg_temp.buy('fan', 'O91');
SELECT journey.run_until_idle();
SELECT ok('remove J9 transactional 10:00' IN (SELECT pg_temp.waits('fan')), 'the next one does');

-- no template can pass an addition off as a removal, which nothing would stop
SELECT results_eq($$SELECT DISTINCT severity, code FROM journey.lint('{"kind": "template", "name": "sly", "variables": {"_remove": "text"}, "content": {"en": {"subject": "x", "body": "{{_remove}}"}}}') WHERE pointer = '/variables/_remove'$$,
    $$VALUES ('error', 'wrong_value')$$, 'a variable cannot be called as what marks a removal');
SELECT throws_ok($$SELECT journey.apply('{"kind": "template", "name": "sly", "variables": {"_remove": "text"}, "content": {"en": {"subject": "x", "body": "y"}}}')$$, '22023', NULL, 'and is not taken');
SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
