-- Caps, shared addresses, rates, modes
-- mission: 213
-- mission: 219
-- mission: 220
\set QUIET on
SET client_min_messages = warning;
SELECT plan(43);
SELECT journey.set_clock('2026-03-04 12:00+00') \gset
\ir ../lib/deliver.sql
CREATE FUNCTION pg_temp.permit(a uuid, sent boolean DEFAULT true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t bigint;
    r record;
BEGIN
    SELECT token INTO t FROM journey.claim((SELECT channel FROM journey.outbox WHERE action_id = a), 100) WHERE action_id = a;
    IF t IS NULL THEN
        RETURN 'not claimed';
    END IF;
    SELECT * INTO r FROM journey.begin_send(a, t);
    IF r.granted AND sent THEN
        PERFORM journey.ack(a, t);
    END IF;
    RETURN concat_ws(' ', CASE WHEN r.granted THEN 'granted' ELSE r.reason END, CASE WHEN NOT r.final THEN 'until ' || to_char(r.retry_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') END);
END $$;
\set daily '[{"scope": "journey", "channel": "email", "max": 1, "per": "1 day", "window": "calendar"}]'
\set rolling '[{"scope": "journey", "channel": "*", "max": 2, "per": "2 hours", "window": "rolling", "otherwise": "hold"}]'

-- calendar days of the person -------------------------------------------------
SELECT pg_temp.person('A', zone => 'America/New_York') \gset
SELECT is(pg_temp.permit(pg_temp.action('A', caps => :'daily')), 'granted', 'one a day');
SELECT is(pg_temp.permit(pg_temp.action('A', caps => :'daily')), 'capped', 'and no more');
SELECT is(pg_temp.permit(pg_temp.action('A', caps => :'daily', journey => 'other')), 'granted', 'a journey''s cap counts that journey');
SELECT is(pg_temp.permit(pg_temp.action('A', caps => :'daily', purpose => 'transactional')), 'granted', 'a confirmation is not capped');
SELECT journey.set_clock('2026-03-05 04:30+00') \gset
SELECT is(pg_temp.permit(pg_temp.action('A', caps => :'daily')), 'capped', 'at half past four in UTC it is still yesterday there');
SELECT journey.set_clock('2026-03-05 05:30+00') \gset
SELECT is(pg_temp.permit(pg_temp.action('A', caps => :'daily')), 'granted', 'after midnight there it is another day');

-- rolling, held -----------------------------------------------------------------
SELECT journey.set_clock('2026-03-05 06:00+00') \gset
SELECT is(pg_temp.permit(pg_temp.action('B', caps => :'rolling')), 'granted', 'rolling: one');
SELECT journey.set_clock('2026-03-05 07:00+00') \gset
SELECT is(pg_temp.permit(pg_temp.action('B', caps => :'rolling')), 'granted', 'two');
SELECT pg_temp.action('B', caps => :'rolling') AS b3 \gset
SELECT is(pg_temp.permit(:'b3'), 'capped until 03-05 08:00', 'the third waits until the first is two hours old');
SELECT journey.set_clock('2026-03-05 08:01+00') \gset
SELECT is(pg_temp.permit(:'b3'), 'granted', 'then it goes');

-- given back, and tried again ------------------------------------------------------
SELECT pg_temp.action('C', caps => :'daily') AS c1 \gset
SELECT token AS t FROM journey.claim('email') WHERE action_id = :'c1' \gset
SELECT granted AS g FROM journey.begin_send(:'c1', :t) \gset
SELECT is(pg_temp.permit(pg_temp.action('C', caps => :'daily', step => 'x')), 'capped', 'an open permit counts');
SELECT journey.fail(:'c1', :t, 'no', retry_after => '1 minute') \gset
SELECT is(pg_temp.permit(pg_temp.action('C', caps => :'daily', step => 'y')), 'granted', 'one that failed does not');
SELECT journey.set_clock('2026-03-05 08:03+00') \gset
SELECT is(pg_temp.permit(:'c1'), 'capped', 'and must queue again');

-- a message that is tried again under its key is one message ------------------------
SELECT pg_temp.person('G') \gset
\set twice '[{"scope": "journey", "channel": "*", "max": 2, "per": "1 day", "window": "calendar"}]'
-- the books judge by documents
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
SELECT 'journey', 'twice', 1, 'retired', jsonb_build_object('kind', 'journey', 'name', 'twice', 'caps', :'twice'::jsonb), '[]', 'journey_owner', 'test', now(), 'x';
SELECT pg_temp.action('G', journey => 'twice', caps => :'twice') AS g1 \gset
SELECT token AS t FROM journey.claim('email') WHERE action_id = :'g1' \gset
SELECT granted AS g FROM journey.begin_send(:'g1', :t) \gset
SELECT journey.unknown(:'g1', :t) \gset
SELECT journey.resolve(:'g1', 'retry') \gset
SELECT is(pg_temp.permit(:'g1'), 'granted', 'tried again after an unknown outcome');
SELECT is(pg_temp.permit(pg_temp.action('G', journey => 'twice', caps => :'twice', step => 'x')), 'granted', 'two attempts of one message leave room for another');
SELECT is(pg_temp.permit(pg_temp.action('G', journey => 'twice', caps => :'twice', step => 'y')), 'capped', 'for one');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'and the books agree');

-- what is given back without a permit says nothing about the permits before it -------
SELECT pg_temp.action('H', caps => :'daily') AS h1 \gset
SELECT token AS t FROM journey.claim('email') WHERE action_id = :'h1' \gset
SELECT granted AS g FROM journey.begin_send(:'h1', :t) \gset
SELECT journey.unknown(:'h1', :t) \gset
SELECT journey.resolve(:'h1', 'retry') \gset
SELECT token AS t FROM journey.claim('email') WHERE action_id = :'h1' \gset
SELECT journey.release(ARRAY[:'h1']::uuid[], ARRAY[:t]::bigint[]) \gset
SELECT results_eq($$SELECT attempt, outcome, counted FROM journey.attempt_log WHERE profile_id = pg_temp.pid('H')$$, $$VALUES (1, 'unknown', true)$$,
                  'an attempt that may have been sent still counts');
SELECT is(pg_temp.permit(pg_temp.action('H', caps => :'daily', step => 'x')), 'capped', 'under the caps too');

-- one call -------------------------------------------------------------------------
SELECT count(pg_temp.action('D', caps => :'daily')) AS n FROM generate_series(1, 5) \gset
SELECT is((SELECT count(*) FROM journey.claim_and_begin('email', 100) WHERE profile_id = pg_temp.pid('D')), 1::bigint, 'within one call too');
SELECT is((SELECT count(*) FROM journey.outbox_history WHERE profile_id = pg_temp.pid('D') AND reason = 'capped'), 4::bigint, 'the others are settled');

-- the house --------------------------------------------------------------------------
DELETE FROM journey.document WHERE kind = 'policy';
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('policy', 'house', 1, 'active', '{"kind": "policy", "name": "house", "zone": "UTC", "caps": [{"channel": "*", "max": 1, "per": "1 day", "window": "calendar"}]}',
        '[]', 'journey_owner', 'test', now(), 'x');
SELECT is(pg_temp.permit(pg_temp.action('E', journey => 'j1')), 'granted', 'house: the first of the day');
SELECT is(pg_temp.permit(pg_temp.action('E', journey => 'j2')), 'capped', 'holds over all journeys, at once, whatever was frozen');
SELECT is(pg_temp.permit(pg_temp.action('E', journey => 'j3', purpose => 'service')), 'granted', 'for marketing only');
SELECT is(pg_temp.permit(pg_temp.action('E', journey => 'j1', scope => 'brand_b')), 'granted', 'brand by brand');
UPDATE journey.document SET doc = doc - 'caps' WHERE kind = 'policy';

-- one address ------------------------------------------------------------------------
SELECT pg_temp.person('F1', address => 'family@example.org'), pg_temp.person('F2', address => 'family@example.org') \gset
SELECT is(pg_temp.permit(pg_temp.action('F1')), 'granted', 'two people with one address');
SELECT is(pg_temp.permit(pg_temp.action('F2')), 'superseded', 'get one message');
SELECT is(pg_temp.permit(pg_temp.action('F2', step => 'other')), 'granted', 'of each step');
SELECT is(pg_temp.permit(pg_temp.action('F2', purpose => 'transactional')), 'granted', 'but each the own confirmation');
SELECT pg_temp.action('F1', step => 'z'), pg_temp.action('F2', step => 'z') \gset
SELECT is((SELECT count(*) FROM journey.claim_and_begin('email', 100) WHERE step = 'z'), 1::bigint, 'within one call too');

-- rates ------------------------------------------------------------------------------
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('channel', 'slow', 1, 'active', '{"kind": "channel", "name": "slow", "mode": "push", "rate": {"per_second": 2, "burst": 3, "per_day": 6}}',
        '[]', 'journey_owner', 'test', now(), 'x');
SELECT count(pg_temp.action('R' || i, channel => 'slow', purpose => 'service')) AS n FROM generate_series(1, 20) i \gset
SELECT is((SELECT count(*) FROM journey.claim('slow', 100)), 3::bigint, 'a burst');
SELECT is((SELECT count(*) FROM journey.claim('slow', 100)), 0::bigint, 'then nothing');
SELECT journey.set_clock('2026-03-05 08:03:01+00') \gset
SELECT is((SELECT count(*) FROM journey.claim('slow', 100)), 2::bigint, 'then so many a second');
SELECT journey.set_clock('2026-03-05 08:10+00') \gset
SELECT is((SELECT count(*) FROM journey.claim('slow', 100)), 1::bigint, 'and so many a day');
SELECT is((SELECT count(*) FROM journey.outbox WHERE channel = 'slow'), 20::bigint, 'nothing is dropped');
SELECT throws_ok($$SELECT * FROM journey.claim('emial')$$, '42704', 'channel "emial" does not exist', 'a channel that nobody knows');

-- a test clock far ahead leaves no mark on the time after it
DELETE FROM journey.outbox;
SELECT journey.set_clock('2100-01-01 12:00+00') \gset
SELECT count(pg_temp.action('R' || i, channel => 'slow', purpose => 'service')) AS n FROM generate_series(21, 40) i \gset
CREATE TEMP TABLE far AS SELECT action_id, token FROM journey.claim('slow', 100);
SELECT is((SELECT count(*) FROM far), 3::bigint, 'in another century');
DO $$ BEGIN PERFORM journey.release(array_agg(action_id), array_agg(token)) FROM far; END $$;
DELETE FROM journey.outbox;
SELECT journey.set_clock('2026-03-06 08:00+00') \gset
SELECT count(pg_temp.action('R' || i, channel => 'slow', purpose => 'service')) AS n FROM generate_series(41, 60) i \gset
SELECT is((SELECT count(*) FROM journey.claim('slow', 100)), 3::bigint, 'back from it a burst is there, as on any new clock');
SELECT journey.set_clock('2026-03-06 08:00:01+00') \gset
SELECT is((SELECT count(*) FROM journey.claim('slow', 100)), 2::bigint, 'and the rate goes on');

-- modes --------------------------------------------------------------------------------
SELECT journey.set_clock(NULL) \gset
SELECT is((SELECT count(*) FROM journey.claim('email')), 0::bigint, 'off: nothing is claimable');
UPDATE journey.node SET mode = 'sandbox';
DELETE FROM journey.outbox;
SELECT pg_temp.person('S2', is_test => true) \gset
SELECT is(pg_temp.permit(pg_temp.action('S1')), 'sandbox', 'sandbox: nobody is contacted');
SELECT is(pg_temp.permit(pg_temp.action('S2')), 'granted', 'but test profiles');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
