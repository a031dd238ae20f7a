-- The activation plan by event: who listens to what, and what nobody listens to
-- mission: 118
SET client_min_messages = warning;
\set cart `cat test/fixtures/cart_recovery.json`
SELECT plan(9);
SELECT is((SELECT count(*) FROM journey.event_usage() WHERE cardinality(journeys) > 0), 0::bigint, 'no journey, no listener');
SELECT journey.apply(:'cart');
SELECT results_eq($$SELECT type FROM journey.event_usage() WHERE 'cart_recovery' = ANY (journeys) ORDER BY 1$$,
    ARRAY['cart_item_added', 'checkout_step_viewed', 'message_clicked', 'message_opened', 'order_placed', 'session_started'],
    'entry, exit, goal, suppression, restart and awaited events of a journey');
SELECT is((SELECT row(journeys, used)::text FROM journey.event_usage() WHERE type = 'order_placed'), '({cart_recovery},t)', 'once each, however often it is named');
SELECT is((SELECT row(journeys, others, used)::text FROM journey.event_usage() WHERE type = 'screen_viewed'), '({},{},f)', 'an event that nobody uses is listed as such');
SELECT is((SELECT count(*) FROM journey.event_usage()), (SELECT count(*) FROM journey.event_type), 'every type has its row');
SELECT journey.apply('{"kind": "feature", "name": "wishes", "on": "screen_viewed", "aggregate": "count"}');
SELECT is((SELECT row(journeys, others, used)::text FROM journey.event_usage() WHERE type = 'screen_viewed'), '({},{feature/wishes},t)', 'a feature listens too');
SELECT journey.track('web', 'store_visited', '{"customer_id": "1"}', '{}');
SELECT count(*) FROM journey.run_until_idle();
SELECT is((SELECT row(seen, used)::text FROM journey.event_usage() WHERE type = 'store_visited'), '(1,f)', 'one that is in no vocabulary is listed once it was seen');
SET ROLE journey_analyst;
SELECT isnt_empty('SELECT * FROM journey.event_usage()', 'an analyst may read it');
RESET ROLE;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
