-- Documents that somebody wrote into the table by hand: none ends a session or
-- stops another document, and health names each. But what says what must not be
-- done, a policy, a rule set or a channel, stops what it could forbid until it is mended.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(40);
SELECT pg_temp.move('2026-03-02 10:00+00');
SELECT journey.apply(pg_temp.cart_doc('{"name": "sound"}'));
SELECT journey.apply(pg_temp.journey_doc('plain', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}', '{"priority": 90}'));
SELECT journey.apply('{"kind": "channel", "name": "email", "mode": "push", "address": "email"}');

CREATE FUNCTION pg_temp.store(its_kind text, its_name text, doc jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, activated_by, activated_at, digest)
    SELECT its_kind, its_name, 1, 'active', doc, '[]', owner, applied_by, applied_at, activated_by, activated_at, md5(doc::text)
    FROM journey.document WHERE kind = 'journey' AND name = 'sound' $$;
-- of each kind: nothing of what it must have
SELECT pg_temp.store(k, format('bare %s %s', k, row_number() OVER ()), d)
FROM unnest(ARRAY['journey', 'feature', 'template', 'channel', 'source']) k,
     unnest(ARRAY['{}', '[]', 'null', '"x"', '{"rules": {}, "vetoes": 1, "steps": [], "suppress_on": [null]}']::jsonb[]) d;
-- a journey without each field in turn, with each as null, and with a value in it that is of another type
CREATE TEMP TABLE whole AS SELECT pg_temp.journey_doc('whole', '{"on": "wishlist_added", "data": {"sku": "event.sku"}}',
    '{"remind": {"send": {"channel": "email", "template": "t_sku", "data": {"sku": "entry.sku"}}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"exclusion_group": {"name": "g", "per": "person"}, "rollout": {"percent": 50}}') AS doc;
SELECT pg_temp.store('journey', 'no ' || k, (doc - k) || jsonb_build_object('name', 'no ' || k)) FROM whole, jsonb_object_keys(doc) k WHERE k <> 'name';
SELECT pg_temp.store('journey', format('%s %s', k, v), doc || jsonb_build_object('name', format('%s %s', k, v)) || jsonb_build_object(k, v))
FROM whole, jsonb_object_keys(doc) k, unnest(ARRAY['null', '7', '[null]', '{"x": null}']::jsonb[]) v WHERE k <> 'name';
-- and each field of each step
SELECT pg_temp.store('journey', format('%s without %s', s.key, k), doc || jsonb_build_object('name', format('%s without %s', s.key, k),
    'steps', doc -> 'steps' || jsonb_build_object(s.key, s.value - k)))
FROM whole, jsonb_each(doc -> 'steps') s, jsonb_object_keys(s.value) k;
SELECT pg_temp.store('journey', format('send without %s', k), jsonb_set(doc || jsonb_build_object('name', format('send without %s', k)),
    '{steps,remind,send}', (doc #> '{steps,remind,send}') - k))
FROM whole, jsonb_object_keys(doc #> '{steps,remind,send}') k;
SELECT pg_temp.store('journey', 'to nowhere', jsonb_set(doc || '{"name": "to nowhere"}', '{steps,remind,next}', '"nowhere"')) FROM whole;

-- as a backend that has read no document yet
SELECT journey._invalidate('journey.document');
SELECT pg_temp.person('a');
SELECT journey.track('shop', 'checkout_step_viewed', pg_temp.who('a'), '{"step": "shipping", "cart_id": "c1"}');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('a'), '{"sku": "A"}');
SELECT lives_ok('SELECT * FROM journey.run_until_idle()', 'laps go on');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'wishlist_added'), 1::bigint, 'and take events in');
SELECT matches(pg_temp.outbox('a'), 'plain mail email', 'a sound journey enters and sends beside them');
SELECT cmp_ok((SELECT count(*) FROM journey.claim('email')), '>=', 1::bigint, 'a claim goes on');
SELECT lives_ok($$SELECT * FROM journey.preview('sound', pg_temp.who('a'))$$, 'a sound journey is read beside them');

-- what every call reads: fields of another type count as absent
UPDATE journey.document SET doc = '{"holdout": "much", "caps": [null, 1, {}], "quiet_hours": [], "zone": {}, "vetoes": {"x": 1}, "fences_cross_scopes": 3}' WHERE kind = 'policy' AND name = 'house';
UPDATE journey.document SET doc = '{"mode": [], "rate": {"per_second": "x"}, "backoff": {"factor": []}, "senders": {"a": 1}, "on_unknown": {}, "attempts": null}' WHERE kind = 'channel' AND name = 'email';
SELECT journey._invalidate('journey.document');
SELECT pg_temp.person('b');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('b'), '{"sku": "A"}');
SELECT lives_ok('SELECT * FROM journey.run_until_idle()', 'laps go on with a policy and a channel that say nothing');
SELECT lives_ok($$SELECT b.* FROM journey.claim('email') c, LATERAL journey.begin_send(c.action_id, c.token) b$$, 'and so do claims and permits');
SELECT ok(EXISTS (SELECT FROM journey.health WHERE topic = 'document' AND detail LIKE 'policy "house" %'), 'which health names, too');
SELECT is_empty($$SELECT * FROM journey.incident WHERE kind LIKE 'poison%'$$, 'no event is blamed');
SELECT is_empty($$SELECT d.kind, d.name FROM journey.document d WHERE d.state = 'active' AND d.name LIKE 'bare %'
    AND NOT EXISTS (SELECT FROM journey.health h WHERE h.topic = 'document' AND h.detail LIKE d.kind || ' "' || d.name || '"%')$$, 'health names each');
SELECT is(jsonb_array_length(journey._schema_check(journey.json_schema() -> '$defs', '{"$ref": "#/$defs/document"}',
    '{"kind": "channel", "name": "x", "mode": "push", "lease": "1 day 2 hours"}', '')), 0, 'an interval of several units is one');

-- a policy: whatever it forbids, nothing but what is transactional goes on
SELECT journey.apply(pg_temp.journey_doc('receipt', '{"on": "wishlist_added", "data": {"sku": "event.sku"}}',
    '{"mail": {"send": {"channel": "sms", "template": "t_sku", "data": {"sku": "entry.sku"}}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"purpose": "transactional", "suppress_on": []}'));
CREATE FUNCTION pg_temp.mend(policy jsonb DEFAULT '{}', channel jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
    DELETE FROM journey.document WHERE kind = 'policy' AND name <> 'house';
    UPDATE journey.document SET doc = '{"kind": "policy", "name": "house", "zone": "UTC"}'::jsonb || policy WHERE kind = 'policy' AND state = 'active';
    UPDATE journey.document SET doc = '{"kind": "channel", "name": "email", "mode": "push", "address": "email"}'::jsonb || channel
    WHERE kind = 'channel' AND name = 'email' AND state = 'active';
    SELECT journey._invalidate('journey.document') $$;
-- a person who puts something on the list
CREATE FUNCTION pg_temp.wishes(c text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.person(c);
    PERFORM journey.track('shop', 'identified', pg_temp.who(c) || jsonb_build_object('phone', '+49170' || abs(hashtext(c))), '{}');
    PERFORM journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}');
END $$;
-- what was last said of each send of theirs
CREATE FUNCTION pg_temp.said(c text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(x.journey || ' ' || x.verdict || ' ' || x.reason, ', ' ORDER BY x.journey)
    FROM (SELECT DISTINCT ON (d.journey) d.* FROM journey.decision d WHERE d.profile_id = pg_temp.pid(c) AND d.journey IN ('plain', 'receipt') AND d.kind = 'step'
          ORDER BY d.journey, d.decided_at DESC, d.lap DESC) x $$;
-- claims and asks for permits, and says what came of it
CREATE FUNCTION pg_temp.sends(channel text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(c.journey, ', ' ORDER BY c.journey), 'nothing') FROM journey.claim_and_begin(channel, 100) c $$;
CREATE FUNCTION pg_temp.health(k text, n text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(h.status || ': ' || h.hint, '; ') FROM journey.health h WHERE h.topic = 'document' AND h.detail LIKE format('%s "%s" %%', k, n) $$;

DELETE FROM journey.document WHERE name LIKE 'bare %';
SELECT pg_temp.mend();
-- what was claimed above comes back
SELECT pg_temp.move(journey.clock() + interval '10 minutes');
SELECT pg_temp.sends('email'), pg_temp.sends('sms');
SELECT pg_temp.wishes('sound');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('sound'), 'plain enqueue , receipt enqueue ', 'with a sound policy both are decided');
SELECT pg_temp.mend('{"vetoes": [{"when": "profile.country = ''de''"}]}');
SELECT pg_temp.wishes('veto');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('veto'), 'plain held stale_data, receipt enqueue ', 'a veto without its reason: marketing waits, what is transactional does not');
SELECT is(pg_temp.sends('email'), 'nothing', 'nor is there a permit for what was decided before');
SELECT is((SELECT status || ' ' || reason FROM journey.outbox WHERE profile_id = pg_temp.pid('sound') AND journey = 'plain'), 'pending stale_data', 'which waits, too');
SELECT is(pg_temp.sends('sms'), 'receipt, receipt', 'what is transactional is sent');
SELECT matches(pg_temp.health('policy', 'house'), 'nothing but transactional messages .* Apply a document', 'health says what that means, and what to do');
SELECT pg_temp.mend();
SELECT is(pg_temp.sends('email'), 'plain', 'mended, the one goes out');
SELECT pg_temp.move(journey.clock() + interval '10 minutes');
SELECT is(pg_temp.sends('email'), 'plain', 'and the other is decided, and goes out');

SELECT pg_temp.mend('{"vetoes": "none"}');
SELECT pg_temp.wishes('text');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('text'), 'plain held stale_data, receipt enqueue ', 'vetoes that are a text');
SELECT pg_temp.mend('{"caps": [{"max": 1, "per": "soon"}]}');
SELECT pg_temp.wishes('soon');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('soon'), 'plain held stale_data, receipt enqueue ', 'a cap per no interval');
SELECT lives_ok($$SELECT pg_temp.sends('email')$$, 'a claim does not fail of it');
SELECT pg_temp.mend('{"caps": [{"max": 1, "per": "1 day 2 days"}]}');
SELECT pg_temp.wishes('twice');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('twice'), 'plain held stale_data, receipt enqueue ', 'one that looks like an interval');
SELECT is(pg_temp.sends('email'), 'nothing', 'a claim does not fail of that, either');
SELECT pg_temp.mend('{"holdout": "half"}');
SELECT pg_temp.wishes('half');
SELECT journey.run_until_idle();
SELECT is((SELECT string_agg(d.kind || ' ' || d.reason, ', ') FROM journey.decision d WHERE d.profile_id = pg_temp.pid('half') AND d.journey = 'plain'),
    'entry stale_data', 'without a share to hold out nobody enters');
SELECT pg_temp.mend();
SELECT pg_temp.store('policy', 'second', '{"kind": "policy", "name": "second", "vetoes": []}');
SELECT journey._invalidate('journey.document');
SELECT pg_temp.wishes('second');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('second'), 'plain held stale_data, receipt enqueue ', 'a policy that there cannot be');
SELECT pg_temp.mend();
SELECT pg_temp.move(journey.clock() + interval '10 minutes');
SELECT is(pg_temp.sends('email'), 'plain, plain, plain, plain', 'all but the one who did not enter are mailed in the end');

-- a channel: nothing on that channel
SELECT pg_temp.wishes('before');
SELECT journey.run_until_idle();
SELECT pg_temp.mend(channel => '{"lease": "a while"}');
SELECT pg_temp.wishes('channel');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('channel'), 'plain held stale_data, receipt enqueue ', 'a channel with a lease that is no interval');
SELECT is(pg_temp.sends('email'), 'nothing', 'nothing goes out on it, and no claim fails');
SELECT is(pg_temp.sends('sms'), 'receipt, receipt, receipt, receipt, receipt, receipt, receipt', 'another is as before');
SELECT matches(pg_temp.health('channel', 'email'), 'for this channel', 'health says so');
SELECT pg_temp.mend(channel => '{"backoff": {"first": "1 day 2 days"}}');
SELECT lives_ok($$SELECT journey.run_until_idle()$$, 'laps go on beside a channel with a back-off that is no interval');
SELECT is(pg_temp.sends('email'), 'nothing', 'and claims');
SELECT pg_temp.mend();
SELECT pg_temp.move(journey.clock() + interval '10 minutes');
SELECT is(pg_temp.sends('email'), 'plain, plain', 'mended, both go out');
-- a rule set is the house's as its policy is: what it would have forbidden, nobody can tell
SELECT journey.apply('{"kind": "rule_set", "name": "guard", "rules": [{"priority": 10, "kind": "veto", "when": "profile.country = ''de''", "reason": "vetoed"}]}');
SELECT pg_temp.wishes('guarded');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('guarded'), 'plain enqueue , receipt enqueue ', 'a rule set that speaks of others');
UPDATE journey.document SET doc = doc - 'rules' WHERE kind = 'rule_set' AND name = 'guard';
SELECT journey._invalidate('journey.document');
SELECT pg_temp.wishes('unguarded');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('unguarded'), 'plain held stale_data, receipt enqueue ', 'without its rules: marketing waits, what is transactional does not');
SELECT is((SELECT DISTINCT d.rule FROM journey.decision d WHERE d.profile_id = pg_temp.pid('unguarded') AND d.verdict = 'held'),
    'rule_set/guard cannot be read', 'the decision names it');
SELECT matches(pg_temp.health('rule_set', 'guard'), 'nothing but transactional messages .* Apply a document', 'and so does health');
SELECT journey.apply('{"kind": "rule_set", "name": "guard", "rules": [{"priority": 10, "kind": "veto", "when": "profile.country = ''fr''", "reason": "vetoed"}]}');
SELECT pg_temp.move(journey.clock() + interval '10 minutes');
SELECT is(pg_temp.sends('email'), 'plain, plain', 'mended, both go out');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
