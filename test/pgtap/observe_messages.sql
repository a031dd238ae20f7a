-- What comes back from messages: events find their person through the action,
-- a visit carries its action, a bounce belongs to the address, an opt-out to the
-- person and the channel of the message.
SELECT plan(55);
SELECT journey.set_clock('2026-03-01 10:00+00');
SELECT journey.track('crm', 'identified', '{"customer_id": "1", "email": "ann@example.com"}', '{}');
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}');
SELECT journey.run_once();
SELECT journey.profile_id('{"customer_id": "1"}') AS ann \gset
-- an action that was sent, as delivery leaves it
INSERT INTO journey.outbox_history (bucket, profile_id, finished_at, action_id, channel, status, reason, priority, due_at, not_after,
    journey, version, step, visit, purpose, scope, template, template_version, payload, attempt, provider_ref, idempotency_key, decision_id, decided_at, in_flight, decided_lap, test)
VALUES (journey.bucket(:'ann'), :'ann', '2026-03-01 09:00+00', '00000000-0000-8000-8000-000000000001', 'email', 'sent', '', 0, '2026-03-01 09:00+00', '2026-03-02 09:00+00',
    'j', 1, 's', 1, 'marketing', 'default', 't', 1, '{}', 1, 'prov-1', '00000000-0000-8000-8000-000000000001', '00000000-0000-8000-8000-0000000000d1', '2026-03-01 09:00+00', false, 0, true);

-- mission: 22, 115
SELECT journey.track('esp', 'message_delivered', '{}', '{"action_id": "00000000-0000-8000-8000-000000000001"}');
SELECT journey.track('esp', 'message_opened', '{}', '{"idempotency_key": "00000000-0000-8000-8000-000000000001", "machine": true}');
SELECT journey.track('esp', 'message_clicked', '{}', '{"provider_ref": "prov-1", "url": "https://shop.example/x"}');
SELECT journey.run_once();
SELECT results_eq('SELECT type, machine, profile_id FROM journey.message_event ORDER BY type',
    format($$VALUES ('message_clicked', false, %1$L::uuid), ('message_delivered', false, %1$L), ('message_opened', true, %1$L)$$, :'ann'),
    'events of a message find their person by action id, idempotency key or the provider''s reference');
SELECT is((SELECT count(*) FROM journey.event WHERE profile_id = :'ann' AND type LIKE 'message%'), 3::bigint, 'and are events of theirs');
SELECT ok((SELECT bool_and(e.event_id IS NOT NULL) FROM journey.message_event m LEFT JOIN journey.event e USING (event_id)), 'the same ones');
SELECT journey.track('web', 'session_started', '{"anonymous_id": "dev"}', '{"session_id": "s1", "action_id": "00000000-0000-8000-8000-000000000001"}');
SELECT journey.run_once();
SELECT is((SELECT props ->> 'action_id' FROM journey.event WHERE type = 'session_started'), '00000000-0000-8000-8000-000000000001', 'a visit carries the action it came from');
SELECT isnt(journey.profile_id('{"anonymous_id": "dev"}'), :'ann'::uuid, 'a forwarded link does not make its reader the addressee');

SELECT results_eq(format($$SELECT m.type, o.profile_id = m.profile_id, o.status FROM journey.message_event m JOIN journey.outbox_history o USING (action_id)
    UNION ALL SELECT e.type, o.profile_id = e.profile_id, o.status FROM journey.event e JOIN journey.outbox_history o ON o.action_id = (e.props ->> 'action_id')::uuid WHERE e.type = 'session_started' ORDER BY 1$$),
    $$VALUES ('message_clicked', true, 'sent'), ('message_delivered', true, 'sent'), ('message_opened', true, 'sent'), ('session_started', false, 'sent')$$, 'each leads to its row of the outbox');
CREATE FUNCTION pg_temp.orphans() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(': ', CASE WHEN NOT ready THEN 'not ready' END, item, detail) FROM journey.readiness() WHERE item LIKE 'orphans%' ORDER BY item $$;
SELECT results_eq('SELECT pg_temp.orphans()', $$VALUES ('orphans message events: 0.0 %, 0 of 3'), ('orphans visits: 0.0 %, 0 of 1')$$, 'none is an orphan');

-- orphans are counted
SELECT journey.track('esp', 'message_opened', '{}', '{"action_id": "00000000-0000-8000-8000-00000000ffff"}');
SELECT journey.track('esp', 'message_opened', '{"customer_id": "1"}', '{"provider_ref": "nobody knows"}');
SELECT journey.run_once();
SELECT results_eq($$SELECT name, count FROM journey.incident WHERE kind = 'orphan_message'$$, $$VALUES ('esp', 2::bigint)$$, 'message events without a known action are counted');
SELECT journey.track('web', 'session_started', '{"anonymous_id": "dev"}', jsonb_build_object('session_id', a, 'action_id', a)) FROM unnest('{00000000-0000-8000-8000-00000000ffff,summer}'::text[]) a;
SELECT journey.run_once();
SELECT results_eq('SELECT pg_temp.orphans()', $$VALUES ('not ready: orphans message events: 40.0 %, 2 of 5'), ('not ready: orphans visits: 66.7 %, 2 of 3')$$, 'their rate is reported, and that of visits');
SELECT is((SELECT count(*) FROM journey.message_event), 3::bigint, 'and belong to no action');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'message_opened'), 2::bigint, 'but to the person they name');

-- what a provider reports before the sender has told its reference waits for that
INSERT INTO journey.outbox (bucket, profile_id, action_id, channel, status, reap_at, priority, due_at, not_after, journey, version, step, visit, purpose, scope,
    template, template_version, payload, suppress_on, attempt, max_attempts, token, sender, lease_until, claimed_at, granted_at, idempotency_key, decision_id, decided_at, decided_lap, decided_seq, test)
SELECT journey.bucket(:'ann'), :'ann', md5('early ' || n)::uuid, 'email', 'sending', '2026-03-02 10:00+00', 0, '2026-03-01 10:00+00', '2026-03-02 10:00+00', 'j', 1, 's', 1, 'marketing', 'default',
    't', 1, '{}', '[]', 1, 1, n, 'test', '2026-03-02 10:00+00', '2026-03-01 10:00+00', '2026-03-01 10:00+00', 'early ' || n, md5('early decision ' || n)::uuid, '2026-03-01 10:00+00', 0, 0, true
FROM generate_series(1, 3) n;
INSERT INTO journey.lease VALUES ('2026-03-02 10:00+00', gen_random_uuid(), ARRAY[md5('early 1')::uuid, md5('early 2')::uuid, md5('early 3')::uuid]);
CREATE TABLE early_mails (id int PRIMARY KEY, what text, ref text, at timestamptz, why text);
SELECT count(*) FROM journey.attach('early_mails', 'message_event', '{"type": "what", "provider_ref": "ref", "at": "at", "reason": "why"}');
SELECT journey.track('esp', 'message_clicked', '{}', '{"provider_ref": "early-1", "url": "https://shop.example/y"}', '2026-03-01 09:59+00', 'hook-1');
INSERT INTO early_mails VALUES (1, 'message_bounced', 'early-2', '2026-03-01 09:58+00', 'no such box');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.message_event WHERE action_id IN (md5('early 1')::uuid, md5('early 2')::uuid)), 0::bigint, 'nobody knows yet whose they are');
SELECT is((SELECT array_agg(provider_ref ORDER BY provider_ref) FROM journey.early_message), ARRAY['early-1', 'early-2'], 'they are kept');
SELECT results_eq($$SELECT count FROM journey.incident WHERE kind = 'orphan_message' AND name = 'esp'$$, $$VALUES (2::bigint)$$, 'and are no orphans');
SELECT journey.track('esp', 'message_clicked', '{}', '{"provider_ref": "early-1", "url": "https://shop.example/y"}', '2026-03-01 09:59+00', 'hook-1');
SELECT journey.run_until_idle();
SELECT is(journey.ack(ARRAY[md5('early 1')::uuid, md5('early 2')::uuid], ARRAY[1, 2]::bigint[], ARRAY['early-1', 'early-2']), ARRAY[true, true], 'then the sender tells');
SELECT journey.run_until_idle();
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT type, at, action_id FROM journey.message_event WHERE action_id IN (md5('early 1')::uuid, md5('early 2')::uuid) ORDER BY type$$,
    $$VALUES ('message_bounced', '2026-03-01 09:58+00'::timestamptz, md5('early 2')::uuid), ('message_clicked', '2026-03-01 09:59+00', md5('early 1')::uuid)$$,
    'and each takes effect, once, at its own time');
SELECT results_eq('SELECT state, reason FROM journey.contact_point', $$VALUES ('hard', 'no such box')$$, 'a bounce marks the address');
SELECT is((SELECT props ->> 'url' FROM journey.event WHERE type = 'message_clicked' AND message_id = 'hook-1'), 'https://shop.example/y', 'with all that they said');
SELECT is_empty('SELECT 1 FROM journey.early_message', 'nothing is left of them');
SELECT journey.track('esp', 'message_complained', '{}', '{"provider_ref": "early-3"}');
SELECT journey.run_until_idle();
SELECT journey.ack(md5('early 3')::uuid, 3, 'early-3');
SELECT journey.run_until_idle();
SELECT journey.run_until_idle();
SELECT results_eq(format($$SELECT reason, channel FROM journey.suppression WHERE profile_id = %L AND type = 'message_complained'$$, :'ann'), $$VALUES ('opted_out', 'email')$$,
    'a complaint that came early is the opt-out that it is');
SELECT journey.track('esp', 'message_bounced', '{}', '{"provider_ref": "somebody else''s"}');
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-02 10:00+00');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT count FROM journey.incident WHERE kind = 'orphan_message' AND name = 'esp'$$, $$VALUES (3::bigint)$$, 'after a day it is an orphan');
SELECT is_empty('SELECT 1 FROM journey.early_message', 'and is not kept any longer');
UPDATE journey.contact_point SET state = 'active', reason = NULL;

-- addresses
SELECT journey.track('esp', 'message_bounced', '{}', '{"action_id": "00000000-0000-8000-8000-000000000001", "bounce": "soft", "reason": "mailbox full"}');
SELECT journey.run_once();
SELECT results_eq('SELECT state, reason FROM journey.contact_point', $$VALUES ('soft', 'mailbox full')$$, 'a soft bounce marks the address');
SELECT journey.track('esp', 'message_delivered', '{}', '{"action_id": "00000000-0000-8000-8000-000000000001", "email": "ann@example.com"}');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'active', 'a delivery heals it');
-- several words about one address, read in one lap
CREATE FUNCTION pg_temp.happens(VARIADIC what text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE journey.contact_point SET state = 'soft', reason = NULL;
    PERFORM journey.track('esp', 'message_' || split_part(h, ' ', 1), '{}',
                          jsonb_strip_nulls(jsonb_build_object('action_id', '00000000-0000-8000-8000-000000000001', 'email', 'ann@example.com',
                                                               'bounce', nullif(split_part(h, ' ', 2), ''))))
    FROM unnest(what) WITH ORDINALITY u(h, i) ORDER BY i;
END $$;
SELECT pg_temp.happens('delivered', 'bounced hard');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'hard', 'a hard bounce after a delivery');
SELECT pg_temp.happens('bounced hard', 'delivered');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'hard', 'and before one counts');
SELECT pg_temp.happens('bounced soft', 'delivered');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'active', 'of a soft one and a delivery, the last');
SELECT pg_temp.happens('delivered', 'bounced soft');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'soft', 'whichever that is');
SELECT pg_temp.happens('bounced hard', 'bounced soft');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'hard', 'of two bounces, the harder');
UPDATE journey.contact_point SET state = 'active', reason = NULL;
SELECT journey.track('esp', 'message_bounced', '{}', '{"action_id": "00000000-0000-8000-8000-000000000001", "reason": "no such user"}');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point), 'hard', 'a hard bounce does, too');
SELECT is((SELECT state FROM journey.consent), 'granted', 'and leaves consent alone');
SELECT journey.track('crm', 'identified', '{"customer_id": "1"}', '{"email": "ann@new.example"}');
SELECT journey.run_once();
SELECT results_eq('SELECT address, state FROM journey.contact_point ORDER BY address', $$VALUES ('ann@example.com', 'hard'), ('ann@new.example', 'active')$$,
    'a new address starts fresh, the old one keeps its mark');
SELECT journey.track('esp', 'message_complained', '{}', '{"action_id": "00000000-0000-8000-8000-000000000001", "email": "ann@new.example"}');
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point WHERE address = 'ann@new.example'), 'complained', 'a complaint belongs to the address');

-- one that bounced softly is the person's address still, until they have another or none; what is delivered late changes nothing
SELECT journey.track('crm', 'identified', '{"customer_id": "9", "email": "old@example.com"}', '{}');
SELECT journey.run_once();
SELECT journey.profile_id('{"customer_id": "9"}') AS eve \gset
INSERT INTO journey.outbox_history (bucket, profile_id, finished_at, action_id, channel, status, reason, priority, due_at, not_after,
    journey, version, step, visit, purpose, scope, template, template_version, payload, attempt, provider_ref, idempotency_key, decision_id, decided_at, in_flight, decided_lap, test)
VALUES (journey.bucket(:'eve'), :'eve', '2026-03-01 09:00+00', '00000000-0000-8000-8000-000000000009', 'email', 'sent', '', 0, '2026-03-01 09:00+00', '2026-03-02 09:00+00',
    'j', 1, 's', 1, 'marketing', 'default', 't', 1, '{}', 1, 'prov-9', '00000000-0000-8000-8000-000000000009', '00000000-0000-8000-8000-0000000000d9', '2026-03-01 09:00+00', false, 0, true);
\set eves 'SELECT address, state FROM journey.contact_point WHERE profile_id = ' :'eve' ' ORDER BY address'
SELECT journey.track('esp', 'message_bounced', '{}', '{"provider_ref": "prov-9", "email": "old@example.com", "bounce": "soft"}');
SELECT journey.run_once();
SELECT journey.track('web', 'page_viewed', '{"customer_id": "9", "email": "typo@example.com"}', '{}');
SELECT journey.run_once();
SELECT results_eq(:'eves', $$VALUES ('old@example.com', 'soft')$$, 'what merely comes along does not replace an address that bounced softly');
SELECT journey.track('crm', 'identified', '{"customer_id": "9", "email": "new@example.com"}', '{}');
SELECT journey.run_once();
SELECT results_eq(:'eves', $$VALUES ('new@example.com', 'active'), ('old@example.com', 'replaced')$$, 'a new one does');
SELECT journey.track('esp', 'message_bounced', '{}', '{"provider_ref": "prov-9", "email": "new@example.com", "bounce": "soft"}');
SELECT journey.run_once();
SELECT journey.track('crm', 'identified', '{"customer_id": "9"}', '{"email": null}');
SELECT journey.run_once();
SELECT results_eq(:'eves', $$VALUES ('new@example.com', 'replaced'), ('old@example.com', 'replaced')$$, 'and none does, too');
SELECT journey.track('esp', 'message_delivered', '{}', jsonb_build_object('provider_ref', 'prov-9', 'email', a || '@example.com')) FROM unnest('{old,new}'::text[]) a;
SELECT journey.run_once();
SELECT results_eq(:'eves', $$VALUES ('new@example.com', 'replaced'), ('old@example.com', 'replaced')$$, 'a late delivery brings neither back');

-- a channel that borrows the addresses of another
SELECT journey.track('crm', 'identified', '{"customer_id": "2", "email": "bob@example.com"}', '{}');
SELECT journey.run_once();
SELECT journey.profile_id('{"customer_id": "2"}') AS bob \gset
INSERT INTO journey.outbox_history (bucket, profile_id, finished_at, action_id, channel, status, reason, priority, due_at, not_after,
    journey, version, step, visit, purpose, scope, template, template_version, payload, attempt, provider_ref, idempotency_key, decision_id, decided_at, in_flight, decided_lap, test)
VALUES (journey.bucket(:'bob'), :'bob', '2026-03-01 09:00+00', '00000000-0000-8000-8000-000000000002', 'promo', 'sent', '', 0, '2026-03-01 09:00+00', '2026-03-02 09:00+00',
    'j', 1, 's', 1, 'marketing', 'default', 't', 1, '{}', 1, 'prov-2', '00000000-0000-8000-8000-000000000002', '00000000-0000-8000-8000-0000000000d2', '2026-03-01 09:00+00', false, 0, true);
INSERT INTO journey.attempt_log (bucket, profile_id, action_id, attempt, token, granted_at, sender, channel, journey, step, scope, purpose, address_hash, permit_batch)
VALUES (journey.bucket(:'bob'), :'bob', '00000000-0000-8000-8000-000000000002', 1, 1, '2026-03-01 09:00+00', 'test', 'promo', 'j', 's', 'default', 'marketing',
    journey.key_hash('email', 'bob@example.com'), '00000000-0000-8000-8000-0000000000b2');
SELECT journey.track('esp', 'message_bounced', '{}', '{"action_id": "00000000-0000-8000-8000-000000000002", "bounce": "soft"}');
SELECT journey.run_once();
SELECT results_eq(format('SELECT channel, state FROM journey.contact_point WHERE profile_id = %L', :'bob'), $$VALUES ('email', 'active')$$,
    'a soft bounce of a borrowed address says nothing');
SELECT journey.track('esp', 'message_bounced', '{}', '{"action_id": "00000000-0000-8000-8000-000000000002", "reason": "no such user"}');
SELECT journey.run_once();
SELECT results_eq(format('SELECT channel, state, reason FROM journey.contact_point WHERE profile_id = %L ORDER BY channel', :'bob'),
    $$VALUES ('email', 'active', NULL), ('promo', 'hard', 'no such user')$$, 'a hard one is noted under the name of the borrower');
SELECT journey.track('esp', 'message_complained', '{}', '{"provider_ref": "prov-2"}');
SELECT journey.run_once();
SELECT results_eq(format('SELECT channel, state FROM journey.contact_point WHERE profile_id = %L ORDER BY channel', :'bob'),
    $$VALUES ('email', 'active'), ('promo', 'complained')$$, 'and a complaint later beside it');

-- a table of message events
CREATE TABLE mails (id int PRIMARY KEY, what text, ref text, at timestamptz, why text);
SELECT count(*) FROM journey.attach('mails', 'message_event', '{"type": {"column": "what", "values": {"open": "message_opened", "bounce": "message_bounced"}}, "provider_ref": "ref", "at": "at", "reason": "why"}');
INSERT INTO mails VALUES (1, 'open', 'prov-1', '2026-03-01 09:30+00', NULL), (2, 'dance', 'prov-1', '2026-03-01 09:30+00', NULL);
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.message_event WHERE type = 'message_opened' AND at = '2026-03-01 09:30+00'), 1::bigint, 'a table of message events does the same');
SELECT is((SELECT count(*) FROM journey.quarantine), 1::bigint, 'a kind of event that its map does not know is set aside');

-- an opt-out in such a table is one of the person, channel and scope of the message, for marketing
CREATE FUNCTION pg_temp.sent(n text, in_scope text DEFAULT 'default') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id uuid := journey.profile_id(jsonb_build_object('customer_id', n));
BEGIN
    INSERT INTO journey.outbox_history (bucket, profile_id, finished_at, action_id, channel, status, reason, priority, due_at, not_after,
        journey, version, step, visit, purpose, scope, template, template_version, payload, attempt, provider_ref, idempotency_key, decision_id, decided_at, in_flight, decided_lap, test)
    VALUES (journey.bucket(id), id, '2026-03-01 09:00+00', ('00000000-0000-8000-8000-0000000001' || n)::uuid, 'email', 'sent', '', 0, '2026-03-01 09:00+00', '2026-03-02 09:00+00',
        'j', 1, 's', 1, 'service', in_scope, 't', 1, '{}', 1, 'prov-' || n, n, gen_random_uuid(), '2026-03-01 09:00+00', false, 0, true);
END $$;
CREATE FUNCTION pg_temp.consents(n text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', CASE WHEN scope <> 'default' THEN scope END, channel, purpose, state), ', ' ORDER BY scope, channel)
    FROM journey.consent WHERE profile_id = journey.profile_id(jsonb_build_object('customer_id', n)) $$;
SELECT journey.track('crm', 'consent_granted', jsonb_build_object('customer_id', n), jsonb_build_object('channel', c))
FROM generate_series(11, 15) n, unnest('{email,sms}'::text[]) c;
SELECT journey.run_until_idle();
SELECT pg_temp.sent(n) FROM unnest('{11,12,13,14}'::text[]) n;
SELECT pg_temp.sent('15', 'outlet');
SELECT journey.set_clock('2026-03-02 11:00+00');
CREATE TABLE mail_log (id int PRIMARY KEY, what text, action text, ref text, who text, medium text, at timestamptz);
SELECT count(*) FROM journey.attach('mails', 'message_event', '{"type": {"column": "what", "values": {"open": "message_opened", "unsub": "unsubscribed"}}, "provider_ref": "ref"}', backfill => false);
SELECT count(*) FROM journey.attach('mail_log', 'message_event', '{"type": {"column": "what", "values": {"open": "message_opened", "unsub": "unsubscribed"}},
    "subject": {"customer_id": "who"}, "action_id": "action", "channel": "medium", "at": "at"}');
INSERT INTO mails VALUES (11, 'unsub', 'prov-11', NULL, NULL);
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('11'), 'email marketing revoked, sms marketing granted', 'it is found by the provider''s reference');
SELECT results_eq($$SELECT type, props ->> 'channel' FROM journey.event WHERE profile_id = journey.profile_id('{"customer_id": "11"}') AND type NOT IN ('identified', 'consent_granted')$$,
    $$VALUES ('unsubscribed', 'email')$$, 'journeys hear of it once, and of which channel');
SELECT is((SELECT count(*) FROM journey.message_event WHERE type = 'unsubscribed'), 1::bigint, 'and it is what became of the message');
SELECT results_eq($$SELECT type, channel, reason FROM journey.suppression WHERE profile_id = journey.profile_id('{"customer_id": "11"}')$$,
    $$VALUES ('unsubscribed', 'email', 'opted_out')$$, 'which ends what is under way on that channel');
INSERT INTO mail_log VALUES (12, 'open', '00000000-0000-8000-8000-000000000112', NULL, '12', NULL, '2026-02-01 00:00+00');
SELECT journey.run_until_idle();
UPDATE mail_log SET what = 'unsub' WHERE id = 12;
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('12'), 'email marketing revoked, sms marketing granted', 'or by the action, in a row that changes, at the time of the change');
INSERT INTO mail_log VALUES (13, 'unsub', '00000000-0000-8000-8000-00000000ffff', NULL, '13', 'sms', '2026-03-02 10:30+00'),
    (14, 'unsub', '00000000-0000-8000-8000-00000000ffff', NULL, '14', NULL, '2026-03-02 10:30+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('13'), 'email marketing granted, sms marketing revoked', 'of a message that is not known the row names person and channel');
SELECT is(pg_temp.consents('14'), 'email marketing revoked, onsite marketing revoked, push marketing revoked, retargeting marketing revoked, sms marketing revoked', 'or the person alone');
INSERT INTO mails VALUES (15, 'unsub', 'prov-15', NULL, NULL);
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('15'), 'email marketing granted, sms marketing granted, outlet email marketing revoked', 'the scope is that of the message, too');
SELECT is((SELECT count(*) FROM journey.quarantine), 1::bigint, 'nothing more was set aside');

-- suppress and unsuppress
SELECT is(journey.suppress('{"customer_id": "1"}', '*', 'asked on the phone'), true, 'a person can be suppressed');
SELECT is(journey.suppress('{"customer_id": "nobody"}'), false, 'nobody cannot');
SELECT is(journey.unsuppress('{"customer_id": "1"}'), 1, 'and the suppression can be ended');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
