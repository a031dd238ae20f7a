-- Cart recovery from entry to outbox, and each way in which it does not get there.
\ir ../fixtures/orchestrate.sql
SELECT plan(43);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(pg_temp.cart_doc());

-- the happy path
-- mission: 3, 53, 190
SELECT pg_temp.person('ann');
SELECT pg_temp.move('2026-03-02 10:01+00');
SELECT pg_temp.cart('ann', 'C1');
SELECT pg_temp.move('2026-03-02 10:01+00');
SELECT results_eq($$SELECT pg_temp.stands('ann')$$, $$VALUES ('cart C1 idle active')$$, 'a cart left at the shipping page enrolls');
SELECT is((SELECT data FROM journey.enrollment), '{"top_sku": "J1"}'::jsonb, 'entry data is frozen');
SELECT is((SELECT wake_at FROM journey.timer), '2026-03-02 11:01+00'::timestamptz, 'a timer waits for the hour');
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT is_empty($$SELECT pg_temp.outbox('ann')$$, 'a minute before the hour nothing is enqueued');
SELECT pg_temp.move('2026-03-02 11:01+00');
SELECT results_eq($$SELECT pg_temp.outbox('ann')$$, $$VALUES ('cart remind email')$$, 'after it the reminder is');
SELECT is((SELECT payload FROM journey.outbox), '{"sku": "J1"}'::jsonb, 'its payload is exactly the template''s variables');
SELECT results_eq($$SELECT suppress_on, purpose, scope, test FROM journey.outbox$$,
                  $$VALUES ('[{"on": "order_placed", "match": false}]'::jsonb, 'marketing', 'default', true)$$, 'it carries what may stop it');
SELECT is((SELECT d.verdict FROM journey.decision d JOIN journey.outbox o USING (decision_id)), 'enqueue', 'and names its decision');
-- mission: 5
SELECT results_eq($$SELECT d.profile_id = pg_temp.pid('ann'), d.touchpoint, d.channel, d.template, d.decided_at FROM journey.decision d JOIN journey.outbox o USING (decision_id)$$,
                  $$VALUES (true, 'cart', 'email', 't_sku', '2026-03-02 11:01+00'::timestamptz)$$, 'which message for whom, where, in which channel, when');
SELECT results_eq($$SELECT pg_temp.stands('ann')$$, $$VALUES ('cart C1 remind active')$$, 'the enrollment stays on the send');
SELECT ok(pg_temp.send('ann'), 'the sender gets its permit');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('ann')$$, $$VALUES ('cart C1 finished finished')$$, 'sent leads to next');

-- an order before the hour
-- mission: 97, 112, 183
SELECT pg_temp.person('bob');
SELECT pg_temp.cart('bob', 'C2');
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT pg_temp.buy('bob', 'O2');
SELECT pg_temp.move('2026-03-02 14:00+00');
SELECT results_eq($$SELECT pg_temp.stands('bob')$$, $$VALUES ('cart C2 exited ordered')$$, 'an order ends the wait');
SELECT is_empty($$SELECT pg_temp.outbox('bob')$$, 'and nothing is enqueued');
SELECT is((SELECT reason FROM journey.suppression WHERE profile_id = pg_temp.pid('bob')), 'ordered', 'the fence has become a suppression');
SELECT is((SELECT amount FROM journey.conversion WHERE profile_id = pg_temp.pid('bob')), 50::numeric, 'the goal is counted');

-- an order while the action waits for a sender
SELECT pg_temp.person('cid');
SELECT pg_temp.cart('cid', 'C3');
SELECT pg_temp.move('2026-03-02 14:00+00');
SELECT pg_temp.move('2026-03-02 15:00+00');
SELECT results_eq($$SELECT pg_temp.outbox('cid')$$, $$VALUES ('cart remind email')$$, 'the reminder waits');
SELECT pg_temp.buy('cid', 'O3');
SELECT journey.run_until_idle();
SELECT is_empty($$SELECT pg_temp.outbox('cid')$$, 'the order takes it out of the outbox');
SELECT results_eq($$SELECT status FROM journey.outbox_history WHERE profile_id = pg_temp.pid('cid')$$, $$VALUES ('cancelled')$$, 'as cancelled');

-- emptied: a condition on state
-- mission: 111
SELECT pg_temp.person('dan');
SELECT pg_temp.cart('dan', 'C4');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'cart_item_removed', pg_temp.who('dan'), '{"sku": "J1", "quantity": 1, "cart_id": "C4"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('dan')$$, $$VALUES ('cart C4 exited emptied')$$, 'an emptied cart ends it while it waits');

-- restart_on, at most restart_max times
SELECT pg_temp.person('eve');
SELECT pg_temp.cart('eve', 'C5');
SELECT pg_temp.move('2026-03-02 15:30+00');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('eve'), '{"sku": "J2", "quantity": 1, "price": 5, "cart_id": "C5"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 16:10+00');
SELECT is((SELECT wake_at FROM journey.enrollment WHERE key = 'C5'), '2026-03-02 16:30+00'::timestamptz, 'another item starts the hour again');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('eve'), '{"sku": "J2", "quantity": 1, "price": 5, "cart_id": "C5"}');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('eve'), '{"sku": "J2", "quantity": 1, "price": 5, "cart_id": "C5"}');
SELECT pg_temp.move('2026-03-02 16:50+00');
SELECT results_eq($$SELECT restarts, wake_at FROM journey.enrollment WHERE key = 'C5'$$,
                  $$VALUES (2, '2026-03-02 17:10+00'::timestamptz)$$, 'at most restart_max times');

-- two carts of one person; the same cart once
-- mission: 53
SELECT pg_temp.person('fay');
SELECT pg_temp.cart('fay', 'C6');
SELECT pg_temp.cart('fay', 'C7');
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('fay'), '{"step": "shipping", "cart_id": "C6"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('fay')$$, $$VALUES ('cart C6 idle active'), ('cart C7 idle active')$$, 'two carts are two enrollments, one each');
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('fay'), '{"step": "shipping", "cart_id": "C6"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('fay')$$, $$VALUES ('cart not_enrolled already_enrolled')$$, 'a refusal that repeats is one row');
SELECT is((SELECT repeats FROM journey.decision WHERE profile_id = pg_temp.pid('fay') AND reason = 'already_enrolled'), 2, 'that counts');
SELECT pg_temp.buy('fay', 'O6');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('fay')$$, $$VALUES ('cart C6 exited ordered'), ('cart C7 exited ordered')$$, 'an order ends both');

-- re-entry
SELECT pg_temp.move('2026-03-05 10:00+00');
SELECT pg_temp.cart('fay', 'C6');
SELECT journey.run_until_idle();
SELECT ok('cart not_enrolled reentry' IN (SELECT pg_temp.refusals('fay')), 'the same cart does not re-enter within its interval');
SELECT pg_temp.move('2026-03-10 10:00+00');
SELECT pg_temp.cart('fay', 'C6');
SELECT journey.run_until_idle();
SELECT is((SELECT max(occurrence) FROM journey.enrollment WHERE key = 'C6'), 2, 'and does after it');

-- an order that was cancelled stands in nobody's way; whether its cart may come again is for the policy of the journey
SELECT pg_temp.person('hal');
SELECT pg_temp.cart('hal', 'C10');
SELECT journey.run_until_idle();
SELECT pg_temp.buy('hal', 'O10');
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'order_cancelled', pg_temp.who('hal'), '{"order_id": "O10"}');
SELECT pg_temp.cart('hal', 'C10');
SELECT pg_temp.cart('hal', 'C11');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('hal')$$, $$VALUES ('cart C10 exited ordered'), ('cart C11 idle active')$$, 'after a cancelled order another cart enters');
SELECT results_eq($$SELECT pg_temp.refusals('hal')$$, $$VALUES ('cart not_enrolled reentry')$$, 'and its own is refused by the interval, not by the order');
SELECT pg_temp.move('2026-03-10 11:00+00');
SELECT ok(pg_temp.send('hal'), 'and no suppression stops the reminder');

-- an event that is older than an order never enrolls
SELECT pg_temp.person('gus');
SELECT pg_temp.buy('gus', 'O7');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('gus'), '{"sku": "J1", "quantity": 1, "price": 10, "cart_id": "C8"}', occurred_at => '2026-03-10 09:00+00');
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('gus'), '{"step": "shipping", "cart_id": "C8"}', occurred_at => '2026-03-10 09:00+00');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.refusals('gus')$$, $$VALUES ('cart not_enrolled ordered')$$, 'a late cart of somebody who has ordered since does not enroll');

-- a false condition is counted, not recorded
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('gus'), '{"step": "payment", "cart_id": "C8"}');
SELECT journey.run_until_idle();
SELECT is((SELECT sum(not_entered) FROM journey.journey_day), 1::numeric, 'a condition that does not hold is counted');

-- what was waiting, sent and refused: each action with what allowed it, what may stop it or did, and what came of it
-- mission: 3
SELECT pg_temp.person('mea'), pg_temp.person('meb');
SELECT pg_temp.cart('mea', 'M1'), pg_temp.cart('meb', 'M2');
SELECT pg_temp.move('2026-03-10 11:03+00');
SELECT pg_temp.move('2026-03-10 12:03+00');
CREATE FUNCTION pg_temp.message(c text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', m.status, nullif(m.reason, ''), m.stopped_by ->> 'ref', m.attempt, to_char(m.sent_at, 'HH24:MI'),
                     'opened ' || to_char(m.opened_at, 'HH24:MI'), 'clicked ' || to_char(m.clicked_at, 'HH24:MI'), m.order_id, m.amount)
    FROM journey.message m WHERE m.profile_id = pg_temp.pid(c) $$;
SELECT results_eq($$SELECT pg_temp.message(c) FROM unnest(ARRAY['mea', 'meb']) c$$, $$VALUES ('pending 0'), ('pending 0')$$, 'two actions, of which nothing has come yet');
SELECT pg_temp.send('mea');
SELECT pg_temp.buy('meb', 'OM2');
SELECT pg_temp.send('meb');
SELECT journey.run_until_idle();
SELECT journey.track('esp', 'message_opened', '{}', jsonb_build_object('action_id', action_id, 'machine', true), '2026-03-10 12:04+00') FROM journey.message WHERE profile_id = pg_temp.pid('mea');
SELECT journey.track('esp', 'message_opened', '{}', jsonb_build_object('action_id', action_id), '2026-03-10 12:10+00') FROM journey.message WHERE profile_id = pg_temp.pid('mea');
SELECT journey.track('esp', 'message_clicked', '{}', jsonb_build_object('action_id', action_id), '2026-03-10 12:11+00') FROM journey.message WHERE profile_id = pg_temp.pid('mea');
SELECT pg_temp.move('2026-03-10 12:15+00');
SELECT pg_temp.buy('mea', 'OM1');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.message('mea')$$, $$VALUES ('sent 1 12:03 opened 12:10 clicked 12:11 OM1 50')$$, 'the outcome of one that was sent, up to the order that it was for; what a machine opened is none');
SELECT results_eq($$SELECT pg_temp.message('meb')$$, $$VALUES ('refused ordered order:OM2 0 OM2 50')$$, 'and of one that an order stopped, with the order');
SELECT is_empty($$SELECT * FROM journey.message m WHERE m.suppress_on IS DISTINCT FROM '["order_placed"]' AND m.suppress_on IS DISTINCT FROM '[{"on": "order_placed", "match": false}]'
    OR m.versions -> 'journey/cart' IS NULL OR m.arm <> 'treatment' OR m.purpose <> 'marketing' OR m.clauses IS NULL OR m.status IS NULL$$, 'each has its eligibility and what may stop it');
SELECT results_eq($$SELECT count(*) FROM journey.message$$, $$SELECT (SELECT count(*) FROM journey.outbox) + (SELECT count(*) FROM journey.outbox_history)$$, 'and there is a row for every action');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
-- the touchpoint: the journey's own, else what goes with its stage
-- mission: 5
SELECT journey.apply(pg_temp.journey_doc('at_checkout', '{"on": "checkout_step_viewed", "key": "cart"}', '{"done": {"exit": "finished"}}', '{"touchpoint": "checkout"}'));
SELECT journey.apply(pg_temp.journey_doc('of_' || stage, '{"on": "checkout_step_viewed", "key": "cart"}', '{"done": {"exit": "finished"}}', jsonb_build_object('stage', stage)))
FROM unnest('{awareness,consideration,purchase,fulfillment,post_purchase,loyalty,win_back}'::text[]) stage;
SELECT pg_temp.move('2026-03-11 10:00+00');
SELECT pg_temp.person('guy');
SELECT pg_temp.cart('guy', 'C9');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT journey, touchpoint FROM journey.decision WHERE profile_id = pg_temp.pid('guy') AND journey <> 'cart' ORDER BY 1$$,
    $$VALUES ('at_checkout', 'checkout'), ('of_awareness', 'search'), ('of_consideration', 'product_page'), ('of_fulfillment', 'order_update'),
             ('of_loyalty', 'loyalty'), ('of_post_purchase', 'service'), ('of_purchase', 'cart'), ('of_win_back', 'reactivation')$$, 'every decision has its touchpoint');
SELECT is((SELECT code FROM journey.lint(pg_temp.journey_doc('odd', '{"on": "checkout_step_viewed"}', '{"done": {"exit": "finished"}}', '{"touchpoint": "basket"}')) WHERE severity = 'error' AND pointer LIKE '%/touchpoint'),
          'wrong_value', 'a touchpoint that is none');
SELECT is_empty($$SELECT * FROM journey.decision WHERE channel IS NOT NULL <> (verdict = 'enqueue') OR template IS NOT NULL <> (verdict = 'enqueue')$$, 'a decision that sends nothing has no channel');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
