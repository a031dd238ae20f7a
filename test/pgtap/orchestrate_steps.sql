-- Steps and their edges: waits for events, branches with an unknown, refusals by reason, identity, limits, stages.
\ir ../fixtures/orchestrate.sql
SELECT plan(49);
SELECT pg_temp.move('2026-03-02 10:00+00');

-- until_event of a send, with timeout
SELECT journey.apply(pg_temp.journey_doc('chain', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "seen"},
      "seen": {"wait": {"until_event": {"on": ["message_opened", "session_started"], "of": ["mail"]}, "timeout": "1 day"}, "next": "opened", "on_timeout": "silent"},
      "opened": {"exit": "opened"}, "silent": {"exit": "silent"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['o1', 'o2', 'o3']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['o1', 'o2', 'o3']) c;
SELECT journey.run_until_idle();
SELECT pg_temp.send('o1');
SELECT journey.run_until_idle();
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT * FROM journey.claim('email', 100) LOOP
        PERFORM journey.begin_send(r.action_id, r.token);
        PERFORM journey.ack(r.action_id, r.token);
    END LOOP; END $$;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT DISTINCT step FROM journey.enrollment WHERE journey = 'chain'$$, $$VALUES ('seen')$$, 'sent leads to the wait');
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT journey.track('esp', 'message_opened', pg_temp.who('o1'), jsonb_build_object('action_id', (SELECT action_id FROM journey.outbox_history WHERE profile_id = pg_temp.pid('o1'))));
SELECT journey.track('esp', 'message_opened', pg_temp.who('o2'), jsonb_build_object('action_id', (SELECT action_id FROM journey.outbox_history WHERE profile_id = pg_temp.pid('o2')), 'machine', true));
SELECT journey.track('esp', 'message_opened', pg_temp.who('o3'), jsonb_build_object('action_id', gen_random_uuid()));
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('o1')$$, $$VALUES ('chain finished opened')$$, 'the open of that message wakes it');
-- mission: 217
SELECT results_eq($$SELECT pg_temp.stands('o2')$$, $$VALUES ('chain seen active')$$, 'a machine''s open does not');
SELECT results_eq($$SELECT pg_temp.stands('o3')$$, $$VALUES ('chain seen active')$$, 'the open of another message does not');
SELECT is((SELECT steps -> 'mail' ->> 'opened' FROM journey.enrollment WHERE profile_id = pg_temp.pid('o1')), 'true', 'the step remembers it');
SELECT pg_temp.move('2026-03-03 10:00+00');
SELECT results_eq($$SELECT pg_temp.stands('o2')$$, $$VALUES ('chain finished silent')$$, 'silence takes the time-out');
SELECT journey.retire('journey', 'chain');

-- until_event that has to match: of two tickets only the one about this order wakes
SELECT journey.apply(pg_temp.journey_doc('care', '{"on": "delivery_delayed", "key": {"shipment": "event.shipment_id"}, "data": {"order_id": "event.order_id"}}',
    '{"later": {"wait": {"until_event": {"on": "ticket_opened", "match": "event.order_id = entry.order_id"}, "timeout": "5 minutes"}, "next": "asked", "on_timeout": "quiet"},
      "asked": {"exit": "asked"}, "quiet": {"exit": "quiet"}}', '{"purpose": "service", "defaults": {"not_after": "1 day"}}') - 'control');
SELECT pg_temp.person('tic');
SELECT journey.track('shop', 'delivery_delayed', pg_temp.who('tic'), jsonb_build_object('shipment_id', 'S' || n, 'order_id', 'T' || n)) FROM generate_series(1, 2) n;
SELECT journey.run_until_idle();
SELECT journey.track('desk', 'ticket_opened', pg_temp.who('tic'), '{"order_id": "T2", "reason": "late"}');
SELECT journey.track('desk', 'ticket_opened', pg_temp.who('tic'), '{"reason": "no order is named"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('tic')$$, $$VALUES ('care S1 later active'), ('care S2 finished asked')$$, 'what matches wakes, what does not or cannot be judged does not');
SELECT pg_temp.move('2026-03-03 10:05+00');
SELECT results_eq($$SELECT pg_temp.stands('tic')$$, $$VALUES ('care S1 finished quiet'), ('care S2 finished asked')$$, 'and the other takes its time-out');
SELECT journey.retire('journey', 'care');

-- a document that runs in circles, which lint would not have let in: who is on it is led out, others go on
SELECT journey.apply(jsonb_build_array(
    pg_temp.journey_doc('wheel', '{"on": "wishlist_added"}',
        '{"one": {"branch": [{"when": "orders.count >= 0", "to": "two"}], "else": "done", "on_unknown": "done"},
          "two": {"branch": [{"when": "orders.count >= 0", "to": "done"}], "else": "done", "on_unknown": "done"}, "done": {"exit": "finished"}}'),
    pg_temp.journey_doc('stubborn', '{"on": "wishlist_added"}',
        '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'),
    pg_temp.journey_doc('plain', '{"on": "wishlist_added"}', '{"done": {"exit": "finished"}}')));
UPDATE journey.document SET doc = jsonb_set(doc, '{steps,two,branch,0,to}', '"one"') || '{"start": "one"}' WHERE name = 'wheel';
UPDATE journey.document SET doc = jsonb_set(doc, '{steps,mail,on_refused}', '"mail"') || '{"start": "mail"}' WHERE name = 'stubborn';
SELECT journey.apply('{"kind": "template", "name": "t_other", "content": {"en": {"body": "any change of a document refreshes them all"}}}'::jsonb);
SELECT pg_temp.person('rnd', false);
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('rnd'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('rnd')$$, $$VALUES ('plain finished finished'), ('stubborn exited error'), ('wheel exited error')$$, 'who goes round in circles is led out');
SELECT results_eq($$SELECT name, count, message FROM journey.incident WHERE kind = 'circle' ORDER BY name$$,
    $$VALUES ('journey/stubborn', 1::bigint, 'more than 64 steps at once, last to mail'), ('journey/wheel', 1, 'more than 64 steps at once, last to one')$$, 'and the incident names the journey');
SELECT journey.retire('journey', j) FROM unnest(ARRAY['wheel', 'stubborn', 'plain']) j;

-- a journey that enters on adding to a cart, and waits on while more is added to the same cart
SELECT journey.apply(pg_temp.journey_doc('basket', '{"on": "cart_item_added", "key": "cart"}',
    '{"idle": {"wait": {"for": "1 hour", "restart_on": [{"on": "cart_item_added", "match": "event.cart_id = key"}]}, "next": "done"},
      "done": {"exit": "finished"}}'));
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('r1'), '{"sku": "A", "quantity": 1, "cart_id": "R1"}', '2026-03-03 09:30+00');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('r1'), '{"sku": "B", "quantity": 1, "cart_id": "R1"}', '2026-03-03 09:50+00');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT restarts, wake_at FROM journey.enrollment WHERE key = 'R1'$$,
                  $$VALUES (1, '2026-03-03 10:50+00'::timestamptz)$$, 'the second item starts the hour again');
SELECT journey.retire('journey', 'basket');

-- branch: true, false, unknown
SELECT journey.apply(pg_temp.journey_doc('fork', '{"on": "wishlist_added"}',
    '{"fork": {"branch": [{"when": "profile.tier = ''gold'' and orders.count >= 0", "to": "gold"}], "else": "other", "on_unknown": "unknown"},
      "gold": {"exit": "gold"}, "other": {"exit": "other"}, "unknown": {"exit": "unknown"}}',
    '{"defaults": {"not_after": "1 day"}}'));
SELECT journey.track('shop', 'identified', pg_temp.who('b1'), '{"traits": {"tier": "gold"}}');
SELECT journey.track('shop', 'identified', pg_temp.who('b2'), '{"traits": {"tier": "tin"}}');
SELECT journey.track('shop', 'identified', pg_temp.who('b3'), '{"traits": {}}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['b1', 'b2', 'b3']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands(c) FROM unnest(ARRAY['b1', 'b2', 'b3']) c$$,
                  $$VALUES ('fork finished gold'), ('fork finished other'), ('fork finished unknown')$$, 'true, false and unknown each have their edge');
SELECT is((SELECT clauses -> 0 -> 'verdict' FROM journey.decision WHERE profile_id = pg_temp.pid('b3') AND kind = 'branch'), 'null'::jsonb, 'the decision says which clause was unknown');
SELECT journey.retire('journey', 'fork');

-- refusal by reason, and a failure
SELECT journey.apply(pg_temp.journey_doc('edges', '{"on": "wishlist_added", "data": {"sku": "event.sku"}}',
    '{"mail": {"send": {"channel": "email", "template": "t_sku", "data": {"sku": "entry.sku"}, "require": ["stock:sku"]}, "next": "done",
               "on_refused": {"out_of_stock": "empty", "*": "done"}, "on_failed": "broken"},
      "empty": {"exit": "empty"}, "broken": {"exit": "broken"}, "done": {"exit": "finished"}}'));
SELECT journey.track('shop', 'stock_changed', '{}', '{"sku": "YES", "available": 1}');
SELECT journey.track('shop', 'stock_changed', '{}', '{"sku": "NO", "available": 0}');
SELECT pg_temp.person(c) FROM unnest(ARRAY['e1', 'e2']) c;
SELECT pg_temp.person('e3', false);
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('e1'), '{"sku": "NO"}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('e2'), '{"sku": "YES"}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('e3'), '{"sku": "YES"}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('e1')$$, $$VALUES ('edges finished empty')$$, 'a reason has its own edge');
SELECT results_eq($$SELECT pg_temp.stands('e3')$$, $$VALUES ('edges finished finished')$$, 'every other reason takes *');
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT * FROM journey.claim('email', 100) LOOP
        PERFORM journey.begin_send(r.action_id, r.token);
        PERFORM journey.fail(r.action_id, r.token, 'no such address', false, 'content_rejected');
    END LOOP; END $$;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('e2')$$, $$VALUES ('edges finished broken')$$, 'what cannot be delivered takes on_failed');
SELECT journey.retire('journey', 'edges');

-- a session is not a person
-- mission: 29, 30, 31
SELECT journey.apply(pg_temp.journey_doc('known', '{"on": "wishlist_added"}', '{"done": {"exit": "finished"}}', '{"identity": {"min_confidence": "medium"}}'));
SELECT journey.track('web', 'wishlist_added', '{"anonymous_id": "x"}', '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT is((SELECT reason FROM journey.decision WHERE journey = 'known'), 'low_confidence', 'somebody known by a session only does not enter');
SELECT ok((SELECT identity_confidence FROM journey.decision WHERE journey = 'known') < 0.8, 'the decision names the confidence');
SELECT is_empty($$SELECT 1 FROM journey.enrollment WHERE journey = 'known'$$, 'and there is no enrollment');
SELECT journey.retire('journey', 'known');

-- rollout: share and volume
-- mission: 8, 205
SELECT journey.apply(pg_temp.journey_doc('pilot', '{"on": "wishlist_added"}', '{"done": {"exit": "finished"}}', '{"rollout": {"percent": 50, "max_per_day": 5}}'));
SELECT pg_temp.person('r' || n) FROM generate_series(1, 40) n;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('r' || n), '{"sku": "A"}') FROM generate_series(1, 40) n;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'pilot'), 5::bigint, 'no more than max_per_day enter');
SELECT is((SELECT entered FROM journey.journey_day WHERE journey = 'pilot'), 5::bigint, 'which is counted');
SELECT is_empty($$SELECT 1 FROM journey.decision WHERE journey = 'pilot' AND reason = 'rollout' AND journey.assign('rollout/pilot', profile_id) < 0.5$$,
                'who is left out follows from salt and profile');
SELECT is((SELECT count(*) FROM journey.decision WHERE journey = 'pilot' AND verdict = 'not_enrolled'), 35::bigint, 'every refusal is a row');
SELECT journey.retire('journey', 'pilot');

-- overdue: what a pause has made stale is not sent, what is left is decided with what is known now
-- mission: 215
SELECT journey.apply(pg_temp.journey_doc('short', '{"on": "wishlist_added"}',
    '{"wait": {"wait": {"for": "1 hour"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain", "not_after": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT journey.apply(pg_temp.journey_doc('long', '{"on": "wishlist_added"}',
    '{"wait": {"wait": {"for": "1 hour"}, "next": "mail"}, "mail": {"send": {"channel": "email", "template": "t_plain", "not_after": "5 days", "late": "2 hours"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person('slow');
SELECT pg_temp.move('2026-03-04 10:00+00');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('slow'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-06 12:00+00');
SELECT results_eq($$SELECT pg_temp.refusals('slow')$$, $$VALUES ('short refused too_late')$$, 'two days late: refused where not_after has passed');
SELECT results_eq($$SELECT pg_temp.outbox('slow')$$, $$VALUES ('long mail email')$$, 'decided and sent where it has not');
SELECT is((SELECT not_after FROM journey.outbox WHERE journey = 'long'), '2026-03-09 11:00+00'::timestamptz, 'not_after counts from the plan, not from the delay');
SELECT pg_temp.move('2026-03-07 12:00+00');
SELECT journey.claim('email', 10);
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.decision WHERE journey = 'long' AND kind = 'step'), 2::bigint, 'an action that lay too long is decided again');
SELECT results_eq($$SELECT edge, reason FROM journey.transition t JOIN journey.enrollment e USING (enrollment_id) WHERE e.journey = 'long' AND edge = 'again'$$,
                  $$VALUES ('again', 'too_late')$$, 'in a visit of its own');
SELECT ok((SELECT steps -> 'mail' ? 'action_id' AND NOT steps -> 'mail' ?| ARRAY['outcome', 'reason', 'refused'] FROM journey.enrollment WHERE journey = 'long'),
          'which does not remember how the one before it ended');
SELECT journey.retire('journey', 'short');
SELECT journey.retire('journey', 'long');

-- a send that is visited again begins anew
SELECT journey.apply(pg_temp.journey_doc('round', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "day"},
      "day": {"wait": {"for": "1 day"}, "next": "fork"},
      "fork": {"branch": [{"when": "step.mail.opened", "to": "mail"}], "else": "silent"},
      "silent": {"exit": "silent"}, "done": {"exit": "finished"}}', '{"start": "mail"}'));
SELECT pg_temp.person('rou');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('rou'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT pg_temp.send('rou');
SELECT journey.run_until_idle();
SELECT journey.track('esp', 'message_opened', '{}', jsonb_build_object('action_id', (SELECT action_id FROM journey.outbox_history WHERE profile_id = pg_temp.pid('rou'))));
SELECT pg_temp.move('2026-03-08 12:00+00');
SELECT results_eq($$SELECT pg_temp.outbox('rou')$$, $$VALUES ('round mail email')$$, 'who opened the mail gets another');
SELECT ok((SELECT NOT steps -> 'mail' ?| ARRAY['opened', 'sent'] FROM journey.enrollment WHERE profile_id = pg_temp.pid('rou')), 'of which nothing is known yet');
SELECT pg_temp.send('rou');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-09 12:00+00');
SELECT results_eq($$SELECT pg_temp.stands('rou')$$, $$VALUES ('round finished silent')$$, 'the open of the first is not one of the second');
SELECT journey.retire('journey', 'round');

-- what a message comes to before the sender has said that it is sent counts for the wait behind it
SELECT journey.apply(pg_temp.journey_doc('early', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "seen"},
      "seen": {"wait": {"until_event": {"on": ["message_clicked", "session_started"], "of": "mail"}, "timeout": "1 day"}, "next": "clicked", "on_timeout": "silent"},
      "clicked": {"exit": "clicked"}, "silent": {"exit": "silent"}, "done": {"exit": "finished"}}'));
CREATE FUNCTION pg_temp.early(c text, type text, props jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('esp', type, pg_temp.who(c), props || jsonb_build_object('action_id', (SELECT action_id FROM journey.outbox WHERE profile_id = pg_temp.pid(c))));
END $$;
SELECT pg_temp.person(c) FROM unnest(ARRAY['ec', 'ev', 'eo', 'em']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['ec', 'ev', 'eo', 'em']) c;
SELECT journey.run_until_idle();
CREATE TEMP TABLE batch AS SELECT action_id, token FROM journey.claim_and_begin('email', 100);
SELECT is((SELECT count(*) FROM batch), 4::bigint, 'a batch is under way');
SELECT pg_temp.early('ec', 'message_clicked'), pg_temp.early('ev', 'session_started', '{"session_id": "S"}'), pg_temp.early('eo', 'message_opened'), pg_temp.early('em', 'message_clicked', '{"machine": true}');
SELECT journey.run_until_idle();
SELECT journey.ack(array_agg(action_id), array_agg(token)) FROM batch;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.stands('ec')$$, $$VALUES ('early finished clicked')$$, 'a click from before the ack ends the wait at once');
SELECT results_eq($$SELECT edge, reason FROM journey.transition WHERE profile_id = pg_temp.pid('ec') AND from_step = 'seen'$$, $$VALUES ('next', 'message_clicked')$$, 'and the transition says so');
SELECT results_eq($$SELECT pg_temp.stands('ev')$$, $$VALUES ('early finished clicked')$$, 'so does a visit that the message led to');
SELECT results_eq($$SELECT pg_temp.stands(c) FROM unnest(ARRAY['eo', 'em']) c$$, $$VALUES ('early seen active'), ('early seen active')$$, 'an event of another type does not, nor a machine''s');
SELECT journey.retire('journey', 'early');

-- who is on an earlier version keeps the channel and the features that it uses
SELECT journey.apply('[{"kind": "channel", "name": "letter", "mode": "push", "address": "email"},
    {"kind": "feature", "name": "views", "on": "product_viewed", "aggregate": "count"}]');
SELECT journey.run_until_idle();   -- until a lap has counted it, a new feature is unknown
SELECT journey.track('shop', 'consent_granted', pg_temp.who('let'), '{"channel": "*", "purpose": "marketing"}');
SELECT journey.apply(pg_temp.journey_doc('moved', '{"on": "wishlist_added"}',
    '{"fork": {"branch": [{"when": "views > 3", "to": "done"}], "else": "mail"},
      "mail": {"send": {"channel": "letter", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"start": "fork"}'));
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('let'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT journey.apply(pg_temp.journey_doc('moved', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"start": "mail"}'));
CREATE FUNCTION pg_temp.used_by(kind text, name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
BEGIN
    RETURN 'version ' || journey.retire(kind, name);
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
    RETURN d;
END $$;
SELECT results_eq($$SELECT pg_temp.outbox('let')$$, $$VALUES ('moved mail letter')$$, 'a letter waits');
SELECT is(pg_temp.used_by('channel', 'letter'), 'Used by: actions that wait in the outbox, journey "moved" version 1, which people are on.', 'its channel is in use');
SELECT is(pg_temp.used_by('feature', 'views'), 'Used by: journey "moved" version 1, which people are on.', 'and so is the feature');
SELECT ok(pg_temp.send('let', 'letter'), 'it is sent');
SELECT journey.run_until_idle();
SELECT is(pg_temp.used_by('feature', 'views'), 'version 1', 'when nobody is on that version any more the feature may go');
SELECT is(pg_temp.used_by('channel', 'letter'), 'version 1', 'and the channel');
SELECT is_empty($$SELECT FROM journey.outbox WHERE channel = 'letter'$$, 'which leaves nothing behind');
SELECT journey.retire('journey', 'moved');

-- stages
SELECT pg_temp.person('sta');
SELECT journey.run_until_idle();
SELECT is(journey.stage(pg_temp.who('sta')), 'awareness', 'everybody begins in awareness');
SELECT journey.track('shop', 'product_viewed', pg_temp.who('sta'), '{"sku": "A"}');
SELECT journey.track('shop', 'cart_item_added', pg_temp.who('sta'), '{"sku": "A", "quantity": 1, "price": 3, "cart_id": "SC"}');
SELECT pg_temp.buy('sta', 'SO');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT from_stage, to_stage FROM journey.stage_transition WHERE profile_id = pg_temp.pid('sta') AND object = '' ORDER BY seq, n$$,
                  $$VALUES ('awareness', 'consideration'), ('consideration', 'purchase'), ('purchase', 'fulfillment')$$, 'each move is a row');
SELECT is(journey.stage(pg_temp.who('sta')), 'fulfillment', 'and the last is where they are');

SELECT is_empty($$SELECT pg_temp.broken_chains()$$, 'every chain of steps is unbroken');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
