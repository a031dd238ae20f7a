-- Every reason why a claimed action is not sent, one by one
-- mission: 12
-- mission: 52
-- mission: 97
-- mission: 98
-- mission: 99
-- mission: 129
-- mission: 213
-- mission: 220
\set QUIET on
SET client_min_messages = warning;
SELECT plan(79);
SELECT journey.set_clock('2026-03-02 12:00+00') \gset
\ir ../lib/deliver.sql

-- claim one action, run a statement, ask for the permit: (granted, reason, final)
CREATE FUNCTION pg_temp.permit(a uuid, meanwhile text DEFAULT NULL, channel text DEFAULT 'email') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t bigint;
    r record;
BEGIN
    SELECT token INTO t FROM journey.claim(channel, 100) WHERE action_id = a;
    IF t IS NULL THEN
        RETURN 'not claimed';
    END IF;
    IF meanwhile IS NOT NULL THEN
        EXECUTE meanwhile;
    END IF;
    SELECT * INTO r FROM journey.begin_send(a, t);
    RETURN concat_ws(' ', CASE WHEN r.granted THEN 'granted' ELSE r.reason END, CASE WHEN NOT r.final THEN 'later' END);
END $$;
CREATE FUNCTION pg_temp.why(a uuid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', status, reason, CASE WHEN in_flight THEN 'in flight' END) FROM journey.outbox_history WHERE action_id = a
$$;

-- orders ----------------------------------------------------------------------
SELECT pg_temp.action('O1') AS a \gset
SELECT journey.track('web', 'order_placed', '{"customer_id": "O1"}', '{"order_id": "1"}') \gset
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'an order that nobody has consumed yet stops the claim');
SELECT is(pg_temp.why(:'a'), 'refused ordered', 'and the action is settled');
SELECT is((SELECT row(kind, verdict, reason, inputs ->> 'event', inputs ->> 'ref')::text FROM journey.decision WHERE action_id = :'a'),
          '(claim,refused,ordered,order_placed,order:1)', 'a row says why');

SELECT pg_temp.action('O2') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"email": "o2@example.org"}', '{"order_id": "2"}')$$),
          'ordered', 'an order after the claim, by another key of the person, stops the permit');
SELECT is(pg_temp.why(:'a'), 'refused ordered in flight', 'recorded as in flight');
SELECT is((SELECT inputs ->> 'in_flight_at_order' FROM journey.decision WHERE action_id = :'a'), 'true', 'in the decision row too');
SELECT is((SELECT attempt FROM journey.outbox_history WHERE action_id = :'a'), 0, 'no attempt was taken');

SELECT pg_temp.action('O3', own_ref => 'order:3') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"customer_id": "O3"}', '{"order_id": "3"}')$$),
          'granted', 'an order does not stop its own confirmation');
SELECT pg_temp.action('O4', suppress_on => '[]', purpose => 'service') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"customer_id": "O4"}', '{"order_id": "4"}')$$),
          'granted', 'an order does not stop what does not list it');
SELECT pg_temp.action('O5', suppress_on => '[{"on": "order_placed", "match": true}]') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"customer_id": "O5"}', '{"order_id": "5"}')$$),
          'held later', 'with a match it is held until somebody has judged it');
SELECT is((SELECT row(status, reason, attempt)::text FROM journey.outbox WHERE action_id = :'a'), '(pending,held,0)', 'and stays in the queue');
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'a held one is not claimed');

SELECT journey.track('web', 'identify', '{"anonymous_id": "x6", "email": "o6@example.org"}', '{}') \gset
SELECT pg_temp.action('O6', entry => 'C6') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"anonymous_id": "x6"}', '{"order_id": "6"}')$$),
          'ordered', 'a key that an unconsumed event links to the person stops it');
SELECT pg_temp.action('O7', entry => 'C7') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"customer_id": "somebody"}', '{"order_id": "7", "cart_id": "C7"}')$$),
          'ordered', 'an order of the cart that caused the action stops it, whoever orders');

SELECT journey.track('web', 'order_cancelled', '{"anonymous_id": "x9", "email": "o9@example.org"}', '{"order_id": "0"}') \gset
SELECT pg_temp.action('O9') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'order_placed', '{"anonymous_id": "x9"}', '{"order_id": "9"}')$$),
          'ordered', 'a cancellation links keys as well');

INSERT INTO journey.source (source, scope) VALUES ('web_b', 'brand_b') ON CONFLICT (source) DO UPDATE SET scope = 'brand_b';
SELECT journey._invalidate('journey.source') \gset
SELECT pg_temp.action('O8') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web_b', 'order_placed', '{"customer_id": "O8"}', '{"order_id": "8"}')$$),
          'granted', 'an order at another brand does not stop it');

-- consumed: suppressions and ended enrollments -----------------------------------
CREATE FUNCTION pg_temp.suppress(who text, type text, ref text DEFAULT '', matched uuid[] DEFAULT '{}', lap bigint DEFAULT NULL)
    RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, occurred_at, effective_at, incarnation, lap, matched)
    SELECT journey.bucket(pg_temp.pid(who)), pg_temp.pid(who), journey._next_seq(), type, ref, 'default',
           CASE type WHEN 'order_placed' THEN 'ordered' WHEN 'manual' THEN 'suppressed' ELSE type END,
           journey.clock(), journey.clock(), 1, coalesce(suppress.lap, c.lap + 1), matched
    FROM journey.cursor c
$$;
SELECT pg_temp.action('S1') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT pg_temp.suppress('S1', 'order_placed', 'order:s1')$$), 'ordered', 'a later lap''s suppression stops it');
-- more of them than a call looks through, before its own and behind
SELECT pg_temp.action('S9') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT pg_temp.suppress('crowd ' || i, 'order_placed', 'order:c' || i) FROM generate_series(1, 50) i;
    SELECT pg_temp.suppress('S9', 'order_placed', 'order:s9')$$), 'ordered', 'also in a crowd');
SELECT pg_temp.suppress('S10', 'order_placed', 'order:s10', lap => 0) \gset
SELECT pg_temp.action('S10') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'granted', 'in which one that the decision had seen still does not');
SELECT pg_temp.suppress('S2', 'order_placed', 'order:s2', lap => 0) \gset
SELECT pg_temp.action('S2') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'granted', 'one that the decision had seen does not');
SELECT pg_temp.action('S7'), pg_temp.action('S7', step => 'later') AS a \gset
SELECT pg_temp.suppress('S7', 'order_placed', 'order:s7', lap => (SELECT lap FROM journey.cursor)) \gset
UPDATE journey.outbox SET decided_lap = decided_lap - 1 WHERE profile_id = pg_temp.pid('S7') AND step = 'remind';
SELECT is(pg_temp.permit(:'a'), 'granted', 'nor one of the lap that decided it');
SELECT is((SELECT reason FROM journey.outbox_history WHERE profile_id = pg_temp.pid('S7') AND step = 'remind'), 'ordered', 'while an older decision of the same person falls');
SELECT pg_temp.action('S8') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT pg_temp.suppress('S8', 'manual'); UPDATE journey.suppression SET until = journey.clock() WHERE profile_id = pg_temp.pid('S8')$$),
          'granted', 'a suppression that has run out stops nothing');
SELECT pg_temp.action('S3', suppress_on => '[{"on": "order_placed", "match": true}]', enrolled => true) AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT pg_temp.suppress('S3', 'order_placed', 'order:s3')$$), 'granted', 'judged and not matched: it goes');
SELECT pg_temp.action('S4', suppress_on => '[{"on": "order_placed", "match": true}]', enrolled => true) AS a \gset
SELECT is(pg_temp.permit(:'a', format($$SELECT pg_temp.suppress('S4', 'order_placed', 'order:s4', ARRAY[md5('enrollment ' || %L)::uuid])$$, :'a')),
          'ordered', 'judged and matched: it is over');
SELECT pg_temp.action('S5', enrolled => true) AS a \gset
SELECT is(pg_temp.permit(:'a', $$WITH e AS (
    UPDATE journey.enrollment SET exited_at = journey.clock(), exit_reason = 'emptied', status = 'exited', step = NULL, transitions = 2
    WHERE profile_id = pg_temp.pid('S5') RETURNING *)
    INSERT INTO journey.transition (bucket, profile_id, enrollment_id, n, from_step, edge, at)
    SELECT bucket, profile_id, enrollment_id, 2, 'remind', 'exit', exited_at FROM e$$),
          'superseded', 'an ended enrollment sends nothing more');
SELECT pg_temp.action('S6') AS a \gset
SELECT pg_temp.suppress('S6', 'manual', lap => 0) \gset
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'a person suppressed by hand is left alone');
SELECT is(pg_temp.why(:'a'), 'refused suppressed', 'with that reason');

-- consent and person --------------------------------------------------------------
SELECT pg_temp.action('P1') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'unsubscribed', '{"email": "p1@example.org"}', '{"channel": "email"}')$$),
          'opted_out', 'an opt-out during the claim stops marketing');
SELECT pg_temp.action('P2', purpose => 'transactional', suppress_on => '[]') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'unsubscribed', '{"email": "p2@example.org"}', '{"channel": "email"}')$$),
          'granted', 'but not a confirmation');
SELECT pg_temp.action('P3') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'unsubscribed', '{"email": "p3@example.org"}', '{"channel": "sms"}')$$),
          'granted', 'nor another channel');
SELECT pg_temp.person('P4', consent => NULL) \gset
SELECT pg_temp.action('P4') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'opted_out', 'no consent row: no marketing');
SELECT pg_temp.action('P4', purpose => 'service') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'granted', 'service needs none');
SELECT pg_temp.action('P5') AS a \gset
SELECT is(pg_temp.permit(:'a', $$UPDATE journey.consent SET expires_at = journey.clock() WHERE profile_id = pg_temp.pid('P5')$$),
          'opted_out', 'expired consent is none');
SELECT pg_temp.action('P6', purpose => 'transactional', suppress_on => '[]') AS a \gset
SELECT is(pg_temp.permit(:'a', $$UPDATE journey.profile SET restricted = true WHERE profile_id = pg_temp.pid('P6')$$),
          'restricted', 'a restricted person gets nothing at all');
SELECT pg_temp.action('P7') AS a \gset
SELECT is(pg_temp.permit(:'a', $$UPDATE journey.contact_point SET state = 'hard' WHERE profile_id = pg_temp.pid('P7')$$),
          'bad_address', 'a dead address');
SELECT pg_temp.action('P7b') AS a \gset
SELECT is(pg_temp.permit(:'a', $$UPDATE journey.contact_point SET state = 'replaced' WHERE profile_id = pg_temp.pid('P7b')$$),
          'bad_address', 'one that another has taken the place of');
SELECT pg_temp.action('P8') AS a \gset
SELECT is(pg_temp.permit(:'a', $$DELETE FROM journey.contact_point WHERE profile_id = pg_temp.pid('P8')$$), 'bad_address', 'or none');

-- stock ----------------------------------------------------------------------------
INSERT INTO journey.product (sku, available, changed_at) VALUES ('J1', 3, now()), ('J2', 0, now());
SELECT pg_temp.action('K1', stock_sku => '{J1}') AS a \gset
SELECT is(pg_temp.permit(:'a', $$UPDATE journey.product SET available = 0 WHERE sku = 'J1'$$), 'out_of_stock', 'sold out between claim and permit');
SELECT pg_temp.action('K2', stock_sku => '{J2}') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'sold out before the claim');
SELECT is(pg_temp.why(:'a'), 'refused out_of_stock', 'refused with that reason');
CREATE TABLE public.counted (sku text, on_hand text);
INSERT INTO public.counted VALUES ('J3', 'n/a'), ('J4', ' 0.0 ');
SELECT count(*) FROM journey.attach('public.counted', 'stock', '{"sku": "sku", "available": "on_hand"}') \gset
SELECT journey.run_until_idle() \g /dev/null
SELECT pg_temp.action('K3', stock_sku => '{J3}') AS odd, pg_temp.action('K4', stock_sku => '{J4}') AS none, pg_temp.action('K5') AS other \gset
CREATE TEMP TABLE counted AS SELECT action_id, token FROM journey.claim('email', 100);
SELECT set_eq('SELECT action_id FROM counted', ARRAY[:'odd', :'other']::uuid[], 'a stock that is no number keeps nobody else from being claimed');
SELECT is(pg_temp.why(:'none'), 'refused out_of_stock', 'beside it others are read as numbers');
SELECT is((SELECT granted FROM counted c, journey.begin_send(c.action_id, c.token) WHERE c.action_id = :'odd'), true, 'unknown is not zero');
DROP TABLE public.counted;
SELECT count(*) FROM journey.detach('public.counted') \gset

-- time -----------------------------------------------------------------------------
SELECT pg_temp.action('T1', not_after => '2026-03-02 11:59+00') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'nothing is claimed after its not_after');
SELECT is(pg_temp.why(:'a'), 'expired expired', 'it expires');
SELECT pg_temp.action('T2', due => '2026-03-02 10:00+00', late => '1 hour') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'overdue by more than its late: not sent');
SELECT is(pg_temp.why(:'a'), 'refused too_late', 'but decided again');
SELECT pg_temp.person('T3', zone => 'America/New_York') \gset
SELECT pg_temp.action('T3', quiet => '{"from": "21:00", "to": "08:00"}') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'quiet_hours later', 'it is 7 in the morning where the person lives');
SELECT is((SELECT claim_at FROM journey.outbox WHERE action_id = :'a'), '2026-03-02 13:00+00'::timestamptz, 'planned for 8 there');
SELECT is((SELECT due_at FROM journey.outbox WHERE action_id = :'a'), '2026-03-02 12:00+00'::timestamptz, 'when it was due stays');
SELECT pg_temp.action('T3', quiet => '{"from": "21:00", "to": "08:00"}', purpose => 'transactional') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'granted', 'a confirmation does not wait for the morning');
SELECT pg_temp.action('T3', quiet => '{"from": "21:00", "to": "08:00", "otherwise": "drop"}') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'quiet_hours', 'unless it says so, it is not dropped');
SELECT pg_temp.action('T4', quiet => '{"from": "11:00", "to": "13:00", "zone": "UTC"}') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'quiet_hours later', 'a zone of its own');

-- pauses ---------------------------------------------------------------------------
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('journey', 'cart_recovery', 1, 'retired', '{}', '[]', 'journey_owner', 'test', now(), ''),
       ('template', 'reminder', 1, 'retired', '{}', '[]', 'journey_owner', 'test', now(), '');
INSERT INTO journey.source (source, scope) VALUES ('pauses', 'default') ON CONFLICT DO NOTHING;
SELECT pg_temp.action('Z1') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.pause()$$), 'paused later', 'a pause of everything');
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'and nothing is claimed');
SELECT journey.unpause(catch_up => 'as-is') \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.pause('journey', 'cart_recovery')$$), 'paused later', 'of a journey');
SELECT is(pg_temp.permit(:'a'), 'not claimed', 'whose actions are not claimed');
SELECT journey.unpause('journey', 'cart_recovery', 'as-is') \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.pause('template', 'reminder')$$), 'paused later', 'of a template');
SELECT journey.unpause('template', 'reminder', 'as-is') \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.pause('scope', 'default')$$), 'paused later', 'of a scope');
SELECT journey.unpause('scope', 'default', 'as-is') \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.pause('channel', 'email')$$), 'paused later', 'of a channel');
SELECT journey.unpause('channel', 'email', 'as-is') \gset
SELECT is(pg_temp.permit(:'a'), 'granted', 'and then it goes');

-- a channel that borrows its addresses: what is said of the namespace, or of all, is said of it
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('channel', 'promo', 1, 'active', '{"kind": "channel", "name": "promo", "mode": "push", "address": "email"}', '[]', 'journey_owner', 'test', now(), 'x');
CREATE FUNCTION pg_temp.say(who text, channel text, state text, scope text DEFAULT 'default', purpose text DEFAULT 'marketing') RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.consent (bucket, profile_id, scope, channel, purpose, state, source, at)
    VALUES (journey.bucket(pg_temp.pid(who)), pg_temp.pid(who), scope, channel, purpose, state, 'test', journey.clock())
$$;
SELECT is(pg_temp.permit(pg_temp.action('B1', channel => 'promo'), channel => 'promo'), 'granted', 'consent and address of the namespace are the channel''s');
SELECT pg_temp.action('B2', channel => 'promo') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT pg_temp.say('B2', 'promo', 'denied')$$, 'promo'), 'opted_out', 'but a denial of the channel beats them');
SELECT pg_temp.action('B3') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT pg_temp.say('B3', '*', 'denied', '*', '*')$$), 'opted_out', 'and so does one of all channels, scopes and purposes');
SELECT pg_temp.person('B4', consent => NULL), pg_temp.say('B4', '*', 'granted', '*', '*') \gset
SELECT is(pg_temp.permit(pg_temp.action('B4')), 'granted', 'consent to all is consent');
SELECT pg_temp.person('B5', consent => NULL), pg_temp.say('B5', '*', 'pending') \gset
SELECT is(pg_temp.permit(pg_temp.action('B5')), 'opted_out', 'pending is not');
SELECT pg_temp.action('B6', channel => 'promo') AS a \gset
SELECT is(pg_temp.permit(:'a', $$SELECT journey.track('web', 'unsubscribed', '{"email": "b6@example.org"}', '{"channel": "email"}')$$, 'promo'),
          'opted_out', 'an opt-out from the namespace that nobody has read yet stops it');
SELECT pg_temp.action('B7', channel => 'promo') AS a \gset
SELECT token AS t FROM journey.claim('promo') WHERE action_id = :'a' \gset
SELECT granted AS g FROM journey.begin_send(:'a', :t) \gset
SELECT journey.fail(:'a', :t, 'no such user', code => 'bad_address') \gset
SELECT is(pg_temp.permit(pg_temp.action('B7', channel => 'promo', step => 'next'), channel => 'promo'), 'bad_address', 'a borrowed address that fails is not used again by the borrower');
SELECT is(pg_temp.permit(pg_temp.action('B7', step => 'last')), 'granted', 'but by its owner');

-- a word that no lap has read counts without a fence: nobody is found by a key here
SELECT pg_temp.action('B8') AS a \gset
SELECT is(pg_temp.permit(:'a', $$DELETE FROM journey.identity WHERE profile_id = pg_temp.pid('B8');
                         SELECT journey.unsubscribe(journey._unsubscribe_token(pg_temp.pid('B8'), 'default', 'email'))$$), 'opted_out', 'an opt-out by token');
SELECT pg_temp.action('B9') AS a \gset
SELECT is(pg_temp.permit(:'a', $$DELETE FROM journey.identity WHERE profile_id = pg_temp.pid('B9');
                         SELECT journey.unsubscribe(journey._unsubscribe_token(pg_temp.pid('B9'), 'default', 'sms'))$$), 'granted', 'from another channel does not');
SELECT pg_temp.person('B10', consent => NULL) \gset
SELECT is(pg_temp.permit(pg_temp.action('B10'), $$SELECT journey.set_preferences(journey._unsubscribe_token(pg_temp.pid('B10'), 'default', 'email'), '[{"channel": "email", "state": "granted"}]')$$),
          'opted_out', 'a consent waits for the lap');

-- freshness ------------------------------------------------------------------------
SELECT pg_temp.action('F1') AS a \gset
SELECT is(pg_temp.permit(:'a', $$UPDATE journey.cursor SET moved_at = now() - interval '1 hour'; UPDATE journey.inbox_0 SET received_at = now() - interval '1 hour'$$),
          'stale_data later', 'while the consumer lags, what an event could end waits');
SELECT pg_temp.action('F2', purpose => 'transactional', suppress_on => '[]') AS a \gset
SELECT is(pg_temp.permit(:'a'), 'granted', 'a confirmation does not');
UPDATE journey.cursor SET moved_at = now();
SELECT is(pg_temp.permit((SELECT action_id FROM journey.outbox WHERE profile_id = pg_temp.pid('F1'))), 'granted', 'then it goes');

-- a refusal starves nobody -----------------------------------------------------------
SELECT journey.track('web', 'order_placed', '{"customer_id": "N"}', '{"order_id": "n"}') \gset
SELECT count(pg_temp.action('N', priority => 5)) AS n FROM generate_series(1, 50) \gset
SELECT pg_temp.action('N9') AS a \gset
SELECT is((SELECT array_agg(action_id) FROM journey.claim('email', 10)), ARRAY[:'a'::uuid], 'a block of ended actions at the head is passed');
SELECT is((SELECT count(*) FROM journey.outbox_history WHERE profile_id = pg_temp.pid('N') AND reason = 'ordered'), 50::bigint, 'and settled');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
