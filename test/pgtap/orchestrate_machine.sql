-- What a machine opens or clicks, such as a mail proxy or a scanner of links, decides nothing: no
-- entry, no exit, no goal, no wait that is over, no feature; unless a condition asks for it.
-- mission: 217
\ir ../fixtures/orchestrate.sql
SELECT plan(8);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply('{"kind": "feature", "name": "clicks", "on": ["message_clicked"], "aggregate": "count", "window": "7 days"}');
SELECT journey.apply('{"kind": "feature", "name": "scans", "on": ["message_clicked"], "aggregate": "count", "window": "7 days", "where": "event.machine"}');
SELECT journey.apply(pg_temp.journey_doc('base', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "idle"},
      "idle": {"wait": {"for": "5 days", "restart_on": [{"on": "message_opened"}], "restart_max": 3}, "next": "done"},
      "done": {"exit": "finished"}}', '{"exit": [{"on": "message_clicked", "reason": "clicked"}], "goal": {"on": "message_clicked", "within": "7 days"}}'));
SELECT journey.apply(pg_temp.journey_doc('clicker', '{"on": "message_clicked"}', '{"idle": {"wait": {"for": "9 days"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT journey.apply(pg_temp.journey_doc('scanned', '{"on": "message_clicked", "when": "event.machine"}', '{"idle": {"wait": {"for": "9 days"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['bot', 'man']) c;
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['bot', 'man']) c;
SELECT journey.run_until_idle() \g /dev/null
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT * FROM journey.claim('email', 100) LOOP
        PERFORM journey.begin_send(r.action_id, r.token);
        PERFORM journey.ack(r.action_id, r.token);
    END LOOP; END $$;
SELECT journey.run_until_idle() \g /dev/null
CREATE FUNCTION pg_temp.told(c text, type text, machine boolean) RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('esp', type, pg_temp.who(c), jsonb_build_object('machine', machine, 'action_id',
        (SELECT action_id FROM journey.outbox_history WHERE profile_id = pg_temp.pid(c)))) $$;
SELECT pg_temp.move('2026-03-03 10:00+00');
SELECT pg_temp.told('bot', 'message_opened', true), pg_temp.told('man', 'message_opened', false);
SELECT journey.run_until_idle() \g /dev/null
SELECT results_eq($$SELECT t.wake_at FROM journey.timer t WHERE t.profile_id = pg_temp.pid('bot')$$, $$VALUES ('2026-03-07 10:00+00'::timestamptz)$$, 'a machine''s open leaves a wait as it was');
SELECT results_eq($$SELECT t.wake_at FROM journey.timer t WHERE t.profile_id = pg_temp.pid('man')$$, $$VALUES ('2026-03-08 10:00+00'::timestamptz)$$, 'a person''s begins it anew');
SELECT pg_temp.told('bot', 'message_clicked', true), pg_temp.told('man', 'message_clicked', false);
SELECT journey.run_until_idle() \g /dev/null
SELECT set_eq($$SELECT pg_temp.stands('bot')$$, ARRAY['base idle active', 'scanned idle active'], 'a machine''s click ends nothing, and nobody enters by it but where it is asked for');
SELECT set_eq($$SELECT pg_temp.stands('man')$$, ARRAY['base exited clicked', 'clicker idle active'], 'a person''s does both');
SELECT results_eq($$SELECT profile_id FROM journey.conversion$$, $$SELECT pg_temp.pid('man')$$, 'nor is it a goal');
SELECT results_eq($$SELECT journey.features(pg_temp.who(c)) -> 'clicks', journey.features(pg_temp.who(c)) -> 'scans' FROM unnest(ARRAY['bot', 'man']) c$$,
    $$VALUES ('0'::jsonb, '1'::jsonb), ('1', '0')$$, 'and is counted only by a feature that asks for it');
SELECT is((SELECT count(*) FROM journey.message_event WHERE machine), 2::bigint, 'it is kept, as what it is');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
