-- why_not() tells what the permit would say: every way in which consent, address
-- and the rest stand in the way, asked of both.
\set QUIET on
SET client_min_messages = warning;
SELECT plan(7);
SELECT journey.set_clock('2026-03-04 12:00+00') \gset
\ir ../lib/deliver.sql
INSERT INTO journey.source (source, scope) VALUES ('web_b', 'brand_b');
SELECT count(*) AS n FROM journey.apply('[
 {"kind": "template", "name": "reminder", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "channel", "name": "letters", "mode": "push", "address": "email", "list_unsubscribe_url": "https://shop.example/u?{token}"},
 {"kind": "channel", "name": "slack", "mode": "ops"},
 {"kind": "journey", "name": "cart_recovery", "scope": "*", "purpose": "marketing", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"},
  "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"], "control": {"none": true, "reason": "test"},
  "caps": [{"scope": "journey", "channel": "*", "max": 5, "per": "1 day", "window": "rolling", "otherwise": "drop"}],
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"remind": {"send": {"channel": "letters", "template": "reminder", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]') \gset

CREATE FUNCTION pg_temp.permit(who text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a uuid := pg_temp.action(who, channel => 'letters');
    t bigint := (SELECT token FROM journey.claim('letters', 100) WHERE action_id = a);
BEGIN
    RETURN coalesce((SELECT coalesce(b.reason, 'granted') FROM journey.begin_send(a, t) b),
                    (SELECT h.reason FROM journey.outbox_history h WHERE h.action_id = a), 'not claimed');
END $$;
CREATE FUNCTION pg_temp.told(who text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(what, '; '), 'nothing') FROM journey.why_not(jsonb_build_object('customer_id', who), 'cart_recovery')
    WHERE at IS NULL AND what !~ 'no event that enters'
$$;
CREATE FUNCTION pg_temp.consent(who text, channel text, state text, scope text DEFAULT 'default', purpose text DEFAULT 'marketing', until timestamptz DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.consent (bucket, profile_id, scope, channel, purpose, state, source, at, expires_at)
    SELECT journey.bucket(pg_temp.pid(who)), pg_temp.pid(who), scope, channel, purpose, state, 'test', journey.clock(), until
    ON CONFLICT (bucket, profile_id, scope, channel, purpose) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at
$$;
CREATE FUNCTION pg_temp.address(who text, channel text, address text, state text, scope text DEFAULT 'default') RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.contact_point (bucket, profile_id, scope, channel, address, address_hash, state, since, changed_at)
    SELECT journey.bucket(pg_temp.pid(who)), pg_temp.pid(who), scope, channel, address, journey.key_hash('email', address), state, journey.clock(), journey.clock()
    ON CONFLICT (bucket, profile_id, scope, channel, address_hash) DO UPDATE SET state = excluded.state
$$;
CREATE TEMP TABLE person (who text, damage text);
INSERT INTO person VALUES
('fine', NULL),
('sms only', $$DELETE FROM journey.consent WHERE profile_id = pg_temp.pid('sms only') AND channel <> 'sms'$$),
('of this channel', $$SELECT pg_temp.consent('of this channel', 'letters', 'revoked')$$),
('of all channels', $$SELECT pg_temp.consent('of all channels', '*', 'denied')$$),
('of all purposes', $$SELECT pg_temp.consent('of all purposes', 'email', 'revoked', purpose => '*')$$),
('of all scopes', $$SELECT pg_temp.consent('of all scopes', 'email', 'revoked', scope => '*')$$),
('of another scope', $$SELECT pg_temp.consent('of another scope', 'email', 'revoked', scope => 'brand_b')$$),
('of another purpose', $$SELECT pg_temp.consent('of another purpose', 'email', 'revoked', purpose => 'service')$$),
('of another channel', $$SELECT pg_temp.consent('of another channel', 'sms', 'revoked')$$),
('granted elsewhere', $$DELETE FROM journey.consent WHERE profile_id = pg_temp.pid('granted elsewhere'); SELECT pg_temp.consent('granted elsewhere', 'email', 'granted', scope => 'brand_b')$$),
('expired', $$SELECT pg_temp.consent('expired', 'email', 'granted', until => '2026-03-01')$$),
('pending', $$SELECT pg_temp.consent('pending', 'email', 'pending')$$),
('hard', $$SELECT pg_temp.address('hard', 'email', 'hard@example.org', 'hard')$$),
('hard by another name', $$SELECT pg_temp.address('hard by another name', 'letters', 'hard by another name@example.org', 'hard')$$),
('another address', $$SELECT pg_temp.address('another address', 'email', 'another address@example.org', 'hard'); SELECT pg_temp.address('another address', 'email', 'new@example.org', 'active')$$),
('phone only', $$UPDATE journey.contact_point SET channel = 'phone' WHERE profile_id = pg_temp.pid('phone only')$$),
('replaced', $$SELECT pg_temp.address('replaced', 'email', 'replaced@example.org', 'replaced')$$),
('opted out just now', $$SELECT journey.unsubscribe(journey._unsubscribe_token(pg_temp.pid('opted out just now'), 'default', 'letters'))$$),
('failed just now', $$INSERT INTO journey.attempt_log (bucket, profile_id, granted_at, action_id, attempt, token, sender, channel, journey, step, scope, purpose, address_hash, permit_batch, outcome, counted, address_fault)
    SELECT bucket, profile_id, changed_at, gen_random_uuid(), 1, 1, 'test', 'letters', 'none', 'none', 'default', 'marketing', address_hash, gen_random_uuid(), 'failed', false, 'bad_address'
    FROM journey.contact_point WHERE profile_id = pg_temp.pid('failed just now')$$),
('restricted', $$UPDATE journey.profile SET restricted = true WHERE profile_id = pg_temp.pid('restricted')$$),
('by hand', $$SELECT journey.suppress('{"customer_id": "by hand"}', reason => 'asked us by phone')$$),
('by hand elsewhere', $$SELECT journey.suppress('{"customer_id": "by hand elsewhere"}', 'brand_b')$$);
SELECT count(pg_temp.person(who)) AS n FROM person \gset
SELECT format('%s', damage) FROM person WHERE damage IS NOT NULL \gexec

CREATE TEMP TABLE answer AS SELECT who, pg_temp.permit(who) AS permit, pg_temp.told(who) AS told FROM person;
SELECT is_empty($$SELECT * FROM answer WHERE (permit = 'granted') <> (told = 'nothing')$$, 'an obstacle is told when the permit is refused, and only then');
SELECT is_empty($$SELECT * FROM answer WHERE told <> CASE permit WHEN 'granted' THEN 'nothing' WHEN 'opted_out' THEN 'now: there is no consent to marketing by letters'
    WHEN 'bad_address' THEN 'now: there is no usable address for letters' WHEN 'restricted' THEN 'now: processing of this person''s data is restricted'
    WHEN 'suppressed' THEN 'now: somebody has suppressed this person by hand' ELSE 'unknown' END$$, 'and it is the same');
SELECT is((SELECT array_agg(who ORDER BY who) FROM answer WHERE permit = 'granted'),
    ARRAY['another address', 'by hand elsewhere', 'fine', 'of another channel', 'of another purpose', 'of another scope'], 'who is contacted');
SELECT matches((SELECT because FROM journey.why_not('{"customer_id": "by hand"}', 'cart_recovery') WHERE at IS NULL AND what ~ 'by hand'), 'asked us by phone', 'with what was said of it');

-- pauses
SELECT count(journey.pause('channel', 'letters', 'the printer burns')) AS n \gset
SELECT is(pg_temp.told('fine'), 'now: channel letters is paused', 'a pause of the channel');
SELECT is(pg_temp.permit('fine'), 'not claimed', 'which is not claimed meanwhile');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
