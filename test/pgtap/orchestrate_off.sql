-- What happens to people on a journey while the database is off counts when it is on again.
-- What would break if this failed: a reminder to somebody who did meanwhile what it asks for.
\ir ../fixtures/orchestrate.sql
SELECT plan(10);
-- off has no test clock, so the test is set to the real time
SELECT journey.set_clock(date_trunc('second', clock_timestamp()));
SELECT journey.apply(pg_temp.journey_doc('nudge', '{"on": "wishlist_added"}',
    '{"idle": {"wait": {"for": "1 hour", "restart_on": [{"on": "product_viewed"}], "restart_max": 2}, "next": "say"},
      "say": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"exit": [{"on": "ticket_opened", "reason": "angry"}], "goal": {"on": "reward_redeemed", "within": "7 days"}}'));
SELECT journey.apply(pg_temp.journey_doc('prompt', '{"on": "searched"}',
    '{"say": {"send": {"channel": "email", "template": "t_plain"}, "next": "rest"},
      "rest": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"exit": [{"on": "ticket_opened", "reason": "angry"}]}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['waiter', 'redeemer', 'viewer', 'due', 'mailed', 'late']) c;
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['waiter', 'redeemer', 'viewer']) c;
SELECT journey.track('shop', 'searched', pg_temp.who(c), '{"query": "socks"}') FROM unnest(ARRAY['due', 'mailed']) c;
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE exited_at IS NULL), 5::bigint, 'five are on their way');
SELECT is((SELECT count(*) FROM journey.claim('email', 10) c, LATERAL journey.begin_send(c.action_id, c.token) b
           WHERE c.profile_id = pg_temp.pid('mailed') AND b.granted), 1::bigint, 'one is being mailed');
SELECT journey.release(array_agg(action_id), array_agg(token)) FROM journey.outbox WHERE profile_id = pg_temp.pid('due');

SELECT journey.set_clock(NULL);
SELECT is(journey.mode(), 'off', 'the database is off');
SELECT journey.ack(action_id, token, 'prov-1') FROM journey.outbox WHERE profile_id = pg_temp.pid('mailed');
SELECT journey.track('shop', 'ticket_opened', pg_temp.who(c), '{}') FROM unnest(ARRAY['waiter', 'due']) c;
SELECT journey.track('shop', 'reward_redeemed', pg_temp.who('redeemer'), '{"reward_id": "R"}');
SELECT journey.track('shop', 'product_viewed', pg_temp.who('viewer'), '{"sku": "A"}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('late'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE profile_id = pg_temp.pid('late')), 0::bigint, 'nobody enters');

SELECT journey.set_clock(clock_timestamp());
SELECT journey.run_until_idle();
SELECT is((SELECT exit_reason FROM journey.enrollment WHERE profile_id = pg_temp.pid('waiter')), 'angry', 'an exit of that time ends a wait');
SELECT is_empty($$SELECT c.action_id FROM journey.claim('email', 10) c WHERE c.profile_id = pg_temp.pid('due')$$, 'and a letter that stood ready');
SELECT isnt((SELECT goal_at FROM journey.enrollment WHERE profile_id = pg_temp.pid('redeemer')), NULL, 'a goal was reached');
SELECT cmp_ok((SELECT restarts FROM journey.enrollment WHERE profile_id = pg_temp.pid('viewer')), '=', 1, 'a wait began anew');
SELECT is((SELECT step FROM journey.enrollment WHERE profile_id = pg_temp.pid('mailed')), 'rest', 'and whoever was mailed is a step further');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
