-- Documents that somebody wrote into the table by hand: none ends a session or
-- stops another document, and health names each.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(10);
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
FROM unnest(ARRAY['journey', 'rule_set', 'feature', 'template', 'channel', 'policy', 'source']) k,
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
SELECT * FROM finish();
