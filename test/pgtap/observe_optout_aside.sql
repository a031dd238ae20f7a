-- Whoever opts out is not mailed, also when the row that says so had to be set aside.
\ir ../fixtures/orchestrate.sql
SELECT plan(39);
SELECT pg_temp.move('2026-03-02 10:00+00');

CREATE FUNCTION pg_temp.consents(c text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(channel || ' ' || purpose || ' ' || state, ', ' ORDER BY channel) FROM journey.consent WHERE profile_id = pg_temp.pid(c)$$;
CREATE FUNCTION pg_temp.aside() RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM journey.quarantine$$;

-- channels of one's own: that carry marketing, do not, or contact nobody
SELECT journey.apply('[{"kind": "channel", "name": "letter", "mode": "push", "address": "email"},
    {"kind": "channel", "name": "notes", "mode": "push", "address": "email", "purposes": ["service"]},
    {"kind": "channel", "name": "machine", "mode": "ops"}]');
\set every 'email marketing revoked, letter marketing revoked, onsite marketing revoked, push marketing revoked, retargeting marketing revoked, sms marketing revoked'

-- a row of which a part cannot be read
CREATE TABLE opt (who text, what text, mail text, said_at text, expires text);
SELECT journey.attach('opt', 'consent', '{"subject": {"customer_id": "who"}, "state": {"column": "what", "values": {"yes": "granted", "no": "revoked"}}, "channel": "mail", "purpose": {"const": "marketing"}, "at": "said_at", "expires_at": "expires"}');
CREATE TABLE client (id text PRIMARY KEY, by_mail text, by_sms text, born text);
SELECT journey.attach('client', 'customer', jsonb_build_object('subject', '{"customer_id": "id"}'::jsonb, 'at', 'born', 'consents',
    (SELECT jsonb_agg(jsonb_build_object('channel', c, 'purpose', 'marketing', 'column', b, 'values', '{"yes": "granted", "no": "revoked"}'::jsonb))
     FROM (VALUES ('email', 'by_mail'), ('sms', 'by_sms')) v(c, b))));
CREATE TABLE mails (what text, action uuid, said_at text);
SELECT journey.attach('mails', 'message_event', '{"type": "what", "action_id": "action", "at": "said_at"}');
SELECT pg_temp.person(c) FROM unnest(ARRAY['time', 'place', 'moved', 'event', 'until', 'long', 'mail', 'stays']) c;
INSERT INTO client VALUES ('moved', 'yes', 'yes', '2026-01-01'), ('stays', 'yes', 'yes', '2026-01-01');
SELECT journey.apply(pg_temp.journey_doc('care', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}',
    '{"stage": "post_purchase", "suppress_on": ["subscription_renewed"]}'));
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('mail'), '{"sku": "A"}');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.consent WHERE state = 'granted'), 10::bigint, 'everybody has agreed');

INSERT INTO opt VALUES ('time', 'no', 'email', 'yesterday evening', NULL), ('place', 'no', NULL, '2026-03-02 10:00', NULL),
    ('stays', 'yes', 'sms', 'last week', NULL);
UPDATE client SET by_mail = 'no', by_sms = 'no', born = 'long ago' WHERE id = 'moved';
SELECT journey.track('shop', 'unsubscribed', pg_temp.who('event'), '{"channel": "email", "price": "much"}');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('until'), '{"channel": "email", "expires_at": "never"}');
SELECT journey.track('shop', 'unsubscribed', pg_temp.who('long'), jsonb_build_object('channel', repeat('x', 3000)));
INSERT INTO mails SELECT 'unsubscribed', action_id, 'just now' FROM journey.outbox WHERE profile_id = pg_temp.pid('mail');
SELECT journey.run_until_idle();
SELECT is(pg_temp.aside(), 7::bigint, 'seven rows are set aside');
SELECT is(pg_temp.consents('time'), 'email marketing revoked', 'an opt-out with an odd time');
SELECT is(pg_temp.consents('place'), :'every', 'one without a channel: every one');
SELECT is(pg_temp.consents('moved'), 'email marketing revoked, sms marketing revoked', 'boxes that a customer cleared');
SELECT is(pg_temp.consents('event'), 'email marketing revoked', 'an event with an odd price');
SELECT is(pg_temp.consents('until'), 'email marketing revoked', 'what is taken back needs no end');
SELECT is(pg_temp.consents('long'), :'every', 'a channel that is none: every one');
SELECT is(pg_temp.consents('mail'), 'email marketing revoked', 'a message event that names its message only');
SELECT is(pg_temp.consents('stays'), 'email marketing granted, sms marketing granted', 'a consent that cannot be read says nothing');

SELECT is_empty('SELECT 1 FROM journey.claim(''email'', 100)', 'the message under way does not go');

-- an agreement to a channel of one's own that comes after the opt-out, and is older
SELECT journey.track('shop', 'consent_granted', pg_temp.who(c), '{"channel": "letter"}', '2026-03-01 10:00+00') FROM unnest(ARRAY['place', 'time']) c;
SELECT journey.track('shop', 'unsubscribed', pg_temp.who('until'), '{}');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('until'), '{"purpose": "service"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('place'), :'every', 'what was set aside takes consent away on a channel of one''s own');
SELECT is(pg_temp.consents('time'), 'email marketing revoked, letter marketing granted', 'where it is meant for every channel');
SELECT is((SELECT array_agg(channel ORDER BY channel) FROM journey.consent WHERE profile_id = pg_temp.pid('until') AND state = 'revoked' AND purpose = 'marketing'),
    '{email,letter,onsite,push,retargeting,sms}', 'as one does that need not be set aside');
SELECT is((SELECT array_agg(channel ORDER BY channel) FROM journey.consent WHERE profile_id = pg_temp.pid('until') AND state = 'revoked' AND purpose = 'service'),
    '{email,letter,notes,onsite,push,sms}', 'on the channels that carry the purpose');

-- what had nothing to do with consent says nothing of it again
SELECT pg_temp.move('2026-03-02 11:00+00');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('mail'), '{"channel": "email"}');
SELECT journey.run_until_idle();
UPDATE mails SET said_at = 'not now';
UPDATE opt SET expires = 'some day' WHERE who = 'time';
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('mail'), 'email marketing granted', 'who agrees anew has agreed');

-- one that no lap can take, of somebody whom nobody knows yet
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source <> 'sick') NOT VALID;
SELECT journey.track('sick', 'unsubscribed', '{"email": "new@example.com"}', '{"channel": "email"}');
SELECT journey.track('sick', 'unsubscribed', '{"email": "any@example.com"}', '{}');
SELECT journey.track('sick', 'unsubscribed', '{"email": "anew@example.com"}', '{"channel": "email"}');
SELECT journey.track('sick', 'unsubscribed', '{"email": "known@example.com"}', '{"channel": "email"}');
SELECT journey.track('shop', 'identified', '{"customer_id": "known"}', '{}');
SELECT journey.track('shop', 'consent_granted', '{"customer_id": "known"}', '{"channel": "email"}', '2026-03-01 10:00+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.aside(), 13::bigint, 'they are set aside');
ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT is(pg_temp.consents('known'), 'email marketing granted', 'somebody is known by another key');

INSERT INTO client VALUES ('new', 'yes', 'yes', '2026-01-01');
SELECT journey.track('shop', 'consent_granted', pg_temp.who(c), '{"channel": "email"}', '2026-03-01 10:00+00') FROM unnest(ARRAY['new', 'any', 'anew', 'known']) c;
SELECT journey.track('shop', 'consent_granted', pg_temp.who('any'), '{"channel": "letter"}', '2026-03-01 10:00+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.consents('new'), 'email marketing revoked, sms marketing granted', 'who becomes known with an older consent has opted out');
SELECT is(pg_temp.consents('any'), :'every', 'of every channel, where the event named none');
SELECT is(pg_temp.consents('known'), 'email marketing revoked', 'and so has somebody known who gets the key');
SELECT is((SELECT count(*) FROM journey.consent_history h WHERE h.profile_id = pg_temp.pid('new') AND h.state = 'revoked' AND h.proof @> '{"set_aside": true}'),
    1::bigint, 'which the history tells');
SELECT is_empty('SELECT 1 FROM journey.early_opt_out', 'nothing is left to be taken over');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('anew'), '{"channel": "email"}', '2026-03-02 11:30+00');
SELECT pg_temp.move('2026-03-02 12:00+00');
SELECT is(pg_temp.consents('anew'), 'email marketing granted', 'an agreement after it counts');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(c), '{"sku": "A"}') FROM unnest(ARRAY['new', 'any', 'anew', 'known']) c;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT c, d.verdict, d.reason FROM unnest(ARRAY['new', 'any', 'anew', 'known']) c
                    JOIN journey.decision d ON d.profile_id = pg_temp.pid(c) AND d.verdict IN ('refused', 'enqueue') ORDER BY c$$,
    $$VALUES ('anew', 'enqueue', ''), ('any', 'refused', 'opted_out'), ('known', 'refused', 'opted_out'), ('new', 'refused', 'opted_out')$$,
    'nobody else is mailed');
SELECT is((SELECT string_agg(profile_id::text, ',') FROM journey.claim('email', 100)), pg_temp.pid('anew')::text, 'and nobody else is claimed');

-- loaded in bulk, and sent with what no event may have
SELECT pg_temp.person(c) FROM unnest(ARRAY['bulk', 'ever', 'list', 'odd', 'sent', 'seg']) c;
SELECT pg_temp.move('2026-03-02 13:00+00');
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source <> 'sick') NOT VALID;
INSERT INTO journey.inbox_copy (source, type, occurred_at, subject, props) VALUES
    ('sick', 'unsubscribed', '2026-03-02 12:30+00', pg_temp.who('bulk'), '{"channel": "email"}'),
    ('load', 'unsubscribed', 'infinity', pg_temp.who('ever'), '{"channel": "email"}'),
    ('load', 'unsubscribed', '2026-03-02 12:30+00', pg_temp.who('list'), '["email"]');
SELECT is((SELECT quarantined FROM journey.ingest(jsonb_build_array(
    jsonb_build_object('source', 'web', 'type', 'unsubscribed', 'subject', pg_temp.who('odd'), 'props', '{"channel": "email"}'::jsonb, 'occurred_at', 'this morning'),
    jsonb_build_object('source', 'web', 'type', 'consent_revoked', 'subject', pg_temp.who('sent'), 'props', '"email"'::jsonb),
    jsonb_build_object('source', 'web', 'type', 'consent_granted', 'subject', pg_temp.who('one'), 'props', '"email"'::jsonb),
    jsonb_build_object('type', 'track', 'event', 'unsubscribed', 'userId', 'seg', 'properties', '{"channel": "email"}'::jsonb, 'timestamp', 12)))),
    4, 'four messages are set aside');
SELECT journey.run_until_idle();
ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT is(pg_temp.consents('bulk'), 'email marketing revoked', 'an opt-out that was copied and that no lap can take');
SELECT results_eq($$SELECT pg_temp.consents(c) FROM unnest(ARRAY['ever', 'odd', 'seg']) c$$, $$SELECT 'email marketing revoked' FROM generate_series(1, 3)$$,
    'one whose time cannot be');
SELECT is(pg_temp.consents(c), :'every', 'or whose properties are none') FROM unnest(ARRAY['list', 'sent']) c;
SELECT is((SELECT accepted FROM journey.ingest('[{"source": "web", "type": "unsubscribed", "subject": {}}, {"type": "consent_revoked"}, 7, "unsubscribed"]')),
    0, 'one that names nobody is set aside');
SELECT journey.run_until_idle();
SELECT results_eq('SELECT accepted, quarantined FROM journey.ingest(''[{"source": "web", "type": "unsubscribed", "subject": {"customer_id": "odd"}, "occurred_at": 1}, {"source": "web", "type": "searched", "subject": {"customer_id": "odd"}}]'')',
    'VALUES (1, 1)', 'what is set aside is not counted as accepted');
SELECT journey.run_until_idle();

-- odd keys beside good ones, and whatever else is odd about a message
SELECT pg_temp.person(c) FROM unnest(ARRAY['bool', 'tree', 'wide', 'many', 'fat', 'spaced', 'named']) c;
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 14:00+00');
CREATE FUNCTION pg_temp.out(c text, subject jsonb DEFAULT '{}', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$SELECT jsonb_build_object('source', 'web', 'type', 'unsubscribed', 'subject', jsonb_build_object('email', c || '@example.com') || subject, 'props', '{"channel": "email"}'::jsonb) || more$$;
SELECT results_eq($$SELECT accepted, quarantined FROM journey.ingest(jsonb_build_array(
    pg_temp.out('bool', '{"vip": true}'), pg_temp.out('tree', '{"plan": {"a": 1}, "b": [], "c": null, "blank": " "}'), pg_temp.out('wide', jsonb_build_object('note', repeat('x', 600))),
    pg_temp.out('many', (SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 20) n)), pg_temp.out('fat', '{}', jsonb_build_object('props', jsonb_build_object('note', repeat('x', 1100000)))),
    pg_temp.out('spaced', '{"vip": true}', '{"type": " unsubscribed ", "source": " "}'), pg_temp.out('named', '{"vip": true}', jsonb_build_object('source', repeat('x', 300)))))$$,
    'VALUES (0, 7)', 'seven more are set aside');
SELECT is((SELECT count(*) FROM journey._fences() f JOIN unnest(ARRAY['bool', 'tree', 'wide', 'many', 'fat', 'spaced', 'named']) c ON f.keys @> ARRAY[journey.key_hash('email', c || '@example.com')]), 7::bigint, 'each stops whom it names from its commit on');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT c, pg_temp.consents(c) FROM unnest(ARRAY['bool', 'tree', 'wide', 'many', 'spaced', 'named']) c$$,
    $$SELECT c, 'email marketing revoked' FROM unnest(ARRAY['bool', 'tree', 'wide', 'many', 'spaced', 'named']) c$$, 'by the keys that can be read');
SELECT is(pg_temp.consents('fat'), :'every', 'of properties that are too large none counts');
SELECT results_eq($$SELECT accepted, quarantined FROM journey.ingest(jsonb_build_array(pg_temp.out('odd', '{"email": true}')))$$, 'VALUES (0, 1)', 'where no key can be read nobody is meant');
SELECT journey.run_until_idle();
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
