-- Modes, pauses and the clock: what may be entered from where, and what holds afterwards.
-- What would break if this failed: a test clock on a live shop, a pause that leaks, test rows in the figures.
\ir ../fixtures/orchestrate.sql
\set pw `echo "$PGPASSWORD"`
SELECT plan(65);
SELECT journey.set_clock('2026-03-02 09:00+00');

CREATE FUNCTION pg_temp.hint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    h text;
BEGIN
    EXECUTE call;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || h;
END $$;

-- the clock
SELECT is(journey.mode(), 'test', 'set_clock enters mode test');
SELECT is((SELECT count(*) FROM journey.health WHERE topic = 'mode' AND detail = 'test'), 1::bigint, 'health says so');
SELECT throws_ok($$SELECT journey.resume()$$, '55000', 'this database runs on a test clock', 'no going live on a test clock');
SELECT throws_ok($$SELECT journey.sandbox()$$, '55000', 'this database runs on a test clock', 'nor into the sandbox');
SELECT throws_ok($$SELECT journey.set_clock('infinity')$$, '22023', 'the test clock needs a finite time', 'an endless clock is refused');
SELECT throws_ok($$SELECT journey.discard_test()$$, '55000', 'the test is still running', 'a running test is not thrown away');
SELECT lives_ok($$SELECT journey.set_clock('2026-03-02 10:00+00')$$, 'the clock is set');
SELECT is(journey.clock(), '2026-03-02 10:00+00'::timestamptz, 'and read by everybody');

-- a journey that sends at once
SELECT journey.apply(pg_temp.journey_doc('hello', '{"on": "wishlist_added"}',
    '{"say": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(c) FROM unnest(ARRAY['m1', 'm2', 'm3']) c;
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('m1'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.outbox WHERE test), 1::bigint, 'under the test clock every action is marked test');
SELECT isnt_empty($$SELECT * FROM journey.claim('email', 1)$$, 'and claimable');
SELECT throws_ok($$SELECT journey.set_clock('2026-03-01 10:00+00')$$, '55006', 'the test clock cannot go back while actions are leased', 'the clock does not go back over a lease');
SELECT journey.release(array_agg(action_id), array_agg(token)) FROM journey.outbox;

-- pauses
SELECT is(journey.pause('journey', 'hello', 'too loud'), 'paused: journey hello', 'a journey is paused');
SELECT is_empty($$SELECT * FROM journey.claim('email', 10)$$, 'nothing of it is claimable');
SELECT is((SELECT count(*) FROM journey.health WHERE topic = 'pause' AND detail LIKE 'journey hello%too loud'), 1::bigint, 'health says what and why');
SELECT is(journey.unpause('journey', 'hello', 'as-is'), 'permits are granted again', 'unpaused');
SELECT is(journey.unpause('journey', 'hello'), 'was not paused', 'once');
SELECT isnt_empty($$SELECT * FROM journey.claim('email', 10)$$, 'claimable again');
SELECT journey.pause();
SELECT is((SELECT b.reason FROM journey.outbox o, journey.begin_send(o.action_id, o.token) b), 'paused', 'a pause of everything stops what is claimed already');
SELECT journey.unpause(catch_up => 'as-is');
SELECT throws_ok($$SELECT journey.pause('people', 'x')$$, '22023', 'cannot pause a people', 'what can be paused is said');
SELECT throws_ok($$SELECT journey.pause('channel')$$, '22023', 'no name given for the channel', 'a name is needed');
SELECT throws_ok($$SELECT journey.pause(NULL, 'hello')$$, '22023', 'no kind given for "hello"', 'and what it is the name of');
SELECT throws_ok($$SELECT journey.unpause(NULL, 'hello')$$, '22023', 'no kind given for "hello"', 'at the end of a pause, too');
SELECT is_empty('SELECT * FROM journey.pause', 'nothing is paused so');
SELECT journey.apply(pg_temp.journey_doc('salut', '{"on": "wishlist_added"}',
    '{"say": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}') || '{"scope": "fr"}');
SELECT is(journey.pause('scope', 'fr'), 'paused: scope fr', 'a scope that only a journey names can be paused');
SELECT journey.unpause('scope', 'fr', 'as-is');
SELECT is(pg_temp.hint($$SELECT journey.pause('scope', 'belgium')$$), '42704 Scopes are those of sources and journeys: default, fr.', 'an unknown one is answered with those that are known');
SELECT is(pg_temp.hint($$SELECT journey.pause('scope', 'defualt')$$), '42704 Did you mean "default"?', 'or the nearest');

SELECT throws_ok($$SELECT journey.pause('channel', 'emial')$$, '42704', 'there is no channel "emial"', 'a typing error stops loudly');
SELECT journey.pause('journey', 'hello');
SELECT throws_ok($$SELECT journey.unpause('journey', 'hello', 'redecide')$$, '22023', 'unknown catch_up: redecide', 'and expires nothing');
SELECT journey.unpause('journey', 'hello', 'as-is');

-- a lock that somebody holds sets no event aside
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('m1'), '{"channel": "email", "purpose": "marketing"}');
CREATE EXTENSION IF NOT EXISTS dblink;
SELECT dblink_connect('other', format('dbname=%s host=%s port=%s user=%s password=%s', current_database(),
    :'HOST', :'PORT', :'USER', COALESCE(NULLIF(:'pw', ''), 'x'))) \g /dev/null
SELECT dblink_exec('other', 'BEGIN; LOCK TABLE journey.consent IN ACCESS EXCLUSIVE MODE') \g /dev/null
SET lock_timeout = '200ms';
SELECT throws_ok($$SELECT journey.run_once()$$, '55P03', NULL, 'a lap that cannot get a lock says so');
RESET lock_timeout;
SELECT dblink_exec('other', 'ROLLBACK') \g /dev/null
SELECT dblink_disconnect('other') \g /dev/null
SELECT journey.run_until_idle();
SELECT is_empty('SELECT * FROM journey.quarantine', 'and nothing is in quarantine');

-- features, stages, a limited journey and a message id meet the test's events
SELECT journey.apply(pg_temp.journey_doc('few', '{"on": "product_viewed"}', '{"done": {"exit": "finished"}}', '{"rollout": {"max_per_day": 1}}'));
SELECT journey.set_clock(date_trunc('second', clock_timestamp()));
SELECT journey.track('shop', 'product_viewed', pg_temp.who('m1'), '{"sku": "A"}', message_id => 'seen');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT journey.features(pg_temp.who('m1')) -> 'product_views_7d', journey.stage(pg_temp.who('m1')), (SELECT count(*) FROM journey.enrollment WHERE journey = 'few')$$,
    $$VALUES ('1'::jsonb, 'consideration', 1::bigint)$$, 'the test counts, moves and enrolls');
-- leaving the test: its rows go, the shop's stay
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT lives_ok($$SELECT journey.set_clock(NULL)$$, 'back to real time');
SELECT is(journey.mode(), 'off', 'which is off');
SELECT is_empty($$SELECT * FROM journey.claim('email', 10)$$, 'where nothing is claimable');
SELECT cmp_ok(journey.discard_test(), '>', 0::bigint, 'the test''s rows are removed');
SELECT is((SELECT (SELECT count(*) FROM journey.outbox) + (SELECT count(*) FROM journey.enrollment) + (SELECT count(*) FROM journey.timer)), 0::numeric::bigint, 'no action, enrollment or timer of it is left');
SELECT is((SELECT count(*) FROM journey.identity WHERE namespace = 'customer_id' AND value IN ('m1', 'm2', 'm3')), 3::bigint, 'people stay');

SELECT is_empty($$SELECT f.key, f.value FROM jsonb_each(journey.features(pg_temp.who('m1'))) f WHERE f.value <> journey._feature_recount(f.key, pg_temp.pid('m1'))$$, 'features are what the log counts without it');
SELECT is(journey.stage(pg_temp.who('m1')), 'awareness', 'and the stage what it was');
SELECT is_empty($$SELECT s.events, s.last_event_at FROM journey.profile_state s WHERE ROW(s.events, s.last_event_at) IS DISTINCT FROM
    (SELECT ROW(count(*), max(e.occurred_at)) FROM journey.event e WHERE (e.bucket, e.profile_id) = (s.bucket, s.profile_id))$$, 'as are the numbers of events');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants still hold');

-- the sandbox decides for everybody and contacts test profiles
-- mission: 219
SELECT is(journey.sandbox(), 'sandbox', 'into the sandbox');
SELECT journey.mark_test(pg_temp.who('m2'), true);
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['m2', 'm3']) c;
SELECT journey.run_until_idle();
SELECT set_eq($$SELECT i.value, b.granted, b.reason FROM journey.claim('email', 10) c
                JOIN journey.identity i ON i.profile_id = c.profile_id AND i.namespace = 'customer_id',
                LATERAL journey.begin_send(c.action_id, c.token) b$$,
              $$VALUES ('m2', true, NULL::text), ('m3', false, 'sandbox')$$, 'the test profile gets its permit, the other is refused');
SELECT ok(journey.mark_test(pg_temp.who('m2'), false), 'it can be made one like the others');
SELECT is_empty('SELECT 1 FROM journey.test_profile', 'and is none then');

SELECT pg_temp.person('n' || n) FROM generate_series(1, 10) n;
SELECT journey.run_until_idle();
SELECT journey.mark_test(pg_temp.who('n7'), true);
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "B"}') FROM unnest('{n1,n2,n3,n4,n5,n6,n7,n8,n9,n10}'::text[]) c;
SELECT journey.run_until_idle();
SELECT set_eq($$SELECT i.value FROM journey.claim_and_begin('email', 100) c JOIN journey.identity i ON i.profile_id = c.profile_id AND i.namespace = 'customer_id'$$, ARRAY['n7'], 'in one call, too');
SELECT set_eq($$SELECT i.value FROM journey.attempt_log a JOIN journey.identity i ON i.profile_id = a.profile_id AND i.namespace = 'customer_id'$$, ARRAY['m2', 'n7'], 'nobody else ever had a permit');
SELECT is((SELECT count(*) FROM journey.decision d WHERE d.journey = 'hello' AND d.verdict = 'enqueue' AND NOT d.test), 12::bigint, 'but all of them were decided for, on live traffic');
SELECT journey.track('shop', 'product_viewed', pg_temp.who('m1'), '{"sku": "A"}', message_id => 'seen');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.event WHERE message_id = 'seen'), 1::bigint, 'a message that the test has seen is new');
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'few'), 1::bigint, 'the test''s entries leave today''s places free');
SELECT journey.track('shop', 'product_viewed', pg_temp.who('m2'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.enrollment WHERE journey = 'few'), 1::bigint, 'of which there is one');
SELECT results_eq($$SELECT entered, test FROM journey.journey_day WHERE journey = 'few'$$, $$VALUES (1::bigint, false)$$, 'and no count of the test is left');

-- live
SELECT throws_ok($$SELECT journey.set_clock(now())$$, '55000', 'the clock of a sandbox database is the real one', 'no test clock in the sandbox');
SELECT matches(journey.resume(), '^live', 'resume() goes live');
SELECT throws_ok($$SELECT journey.resume('whatever')$$, '22023', 'unknown catch_up: whatever', 'how to catch up is one of three');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('m3'), '{"sku": "C"}');
SELECT journey.run_until_idle();
CREATE TEMP TABLE ready AS SELECT action_id, claim_at, late, not_after FROM journey.outbox WHERE status = 'pending' AND claim_at <= journey.clock();
SELECT isnt_empty('SELECT * FROM ready', 'an action lies ready');
SELECT is(journey.resume(), 'live already', 'resume() once more');
SELECT set_eq('SELECT action_id, claim_at, late, not_after FROM journey.outbox WHERE status = ''pending''', 'SELECT * FROM ready', 'delays nothing');
SELECT journey.pause();
SELECT matches(journey.resume(), '^live, \d+ late items: re-decide', 'after a pause');
SELECT is((SELECT count(*) FROM journey.outbox o JOIN ready r USING (action_id) WHERE o.claim_at > r.claim_at), (SELECT count(*) FROM ready), 'what is late is spread');
SELECT throws_ok($$SELECT journey.uninstall('yes')$$, '22023', NULL, 'uninstall wants its sentence');
SELECT is(journey.mode(), 'live', 'and it is still live');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT throws_ok('SELECT journey.maintain()', '25001', 'maintenance needs isolation level READ COMMITTED', 'what maintenance reads must fail nobody''s writes');
ROLLBACK;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
