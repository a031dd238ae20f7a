-- What a CRM keeps of people, in its own tables: who they are, which campaigns they got, what
-- they like and what they agreed to. All of it decides what is sent, and a change of it changes that.
-- What would break if this failed: somebody gets what they asked not to get, or where they do not read it.
-- mission: 16
\ir ../fixtures/orchestrate.sql
SELECT plan(8);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE TABLE crm_contact (id text PRIMARY KEY, email text, phone text, language text, prefers text);
CREATE TABLE crm_consent (contact text, medium text, state text, PRIMARY KEY (contact, medium));
CREATE TABLE crm_preference (contact text, topic text, wanted boolean, PRIMARY KEY (contact, topic));
CREATE TABLE crm_history (contact text, campaign text, what text, at timestamptz);
INSERT INTO crm_contact SELECT c, c || '@example.com', '+4366400' || n, CASE c WHEN 'eve' THEN 'de' ELSE 'en' END, CASE c WHEN 'fay' THEN 'sms' ELSE 'email' END
FROM unnest('{ann,bob,cid,dot,eve,fay,gus}'::text[]) WITH ORDINALITY t (c, n);
INSERT INTO crm_consent SELECT c, m, CASE WHEN c = 'gus' THEN 'denied' ELSE 'granted' END FROM unnest('{ann,bob,cid,dot,eve,fay,gus}'::text[]) c, unnest('{email,sms}'::text[]) m;
INSERT INTO crm_preference SELECT c, t, (c = 'bob') <> (t = 'offers') FROM unnest('{ann,bob,cid,eve,fay,gus}'::text[]) c, unnest('{offers,care}'::text[]) t;
INSERT INTO crm_history SELECT 'cid', 'spring ' || n, 'sent', '2026-02-28 10:00+00' FROM generate_series(1, 3) n;
INSERT INTO crm_history VALUES ('ann', 'spring 1', 'sent', '2026-02-28 10:00+00'), ('ann', 'spring 1', 'open', '2026-02-28 11:00+00'), ('bob', 'winter', 'sent', '2026-01-05 10:00+00');
SELECT count(*) FROM journey.attach('crm_contact', 'customer', '{"source": "crm", "subject": {"customer_id": "id", "email": "email"}, "phone": "phone", "locale": "language", "traits": ["prefers"]}');
SELECT count(*) FROM journey.attach('crm_consent', 'consent', '{"source": "crm", "subject": {"customer_id": "contact"}, "channel": "medium", "state": "state"}');
SELECT count(*) FROM journey.attach('crm_preference', 'consent', '{"source": "crm", "subject": {"customer_id": "contact"}, "channel": {"const": "email"}, "purpose": "topic",
    "state": {"column": "wanted", "values": {"true": "granted", "false": "denied"}}}');
SELECT count(*) FROM journey.attach('crm_history', 'message_event', '{"source": "crm", "subject": {"customer_id": "contact"}, "at": "at", "props": ["campaign"],
    "type": {"column": "what", "values": {"sent": "message_delivered", "open": "message_opened"}}}');
SELECT journey.apply('[{"kind": "feature", "name": "campaigns_7d", "on": "message_delivered", "where": "event.campaign is not null", "aggregate": "count", "window": "7 days"},
    {"kind": "template", "name": "t_offer", "content": {"en": {"subject": "For you", "body": "Look"}, "de": {"subject": "Für dich", "body": "Schau"}}},
    {"kind": "template", "name": "t_care", "content": {"en": {"subject": "Care", "body": "Wash at 30"}, "de": {"subject": "Pflege", "body": "Mit 30 waschen"}}}]');
SELECT journey.apply(pg_temp.journey_doc('news', '{"on": "wishlist_added"}',
    '{"which": {"branch": [{"when": "campaigns_7d > 2", "to": "enough"}, {"when": "consent.email_offers = ''granted'' and profile.prefers = ''sms''", "to": "text"},
                           {"when": "consent.email_offers = ''granted''", "to": "offer"}, {"when": "consent.email_care = ''granted''", "to": "care"}], "else": "nothing"},
      "text": {"send": {"channel": "sms", "template": "t_offer"}, "next": "done"},
      "offer": {"send": {"channel": "email", "template": "t_offer"}, "next": "done"},
      "care": {"send": {"channel": "email", "template": "t_care"}, "next": "done"},
      "enough": {"exit": "enough"}, "nothing": {"exit": "nothing"}, "done": {"exit": "finished"}}'));
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.quarantine), 0::bigint, 'the tables are taken as they are');
CREATE FUNCTION pg_temp.wishes(who text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.track('shop', 'wishlist_added', jsonb_build_object('customer_id', c), '{"sku": "J1"}') FROM unnest(who) c;
END $$;
-- What somebody gets: the message and its language, or where the last visit ended.
CREATE FUNCTION pg_temp.gets(c text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce((SELECT string_agg(concat_ws(' ', o.step, o.channel, o.locale), ', ') FROM journey.outbox o WHERE o.profile_id = pg_temp.pid(c)),
                    (SELECT d.reason FROM journey.decision d WHERE d.profile_id = pg_temp.pid(c) AND d.verdict = 'refused' AND d.lap = (SELECT max(lap) FROM journey.decision x WHERE x.profile_id = d.profile_id)),
                    (SELECT e.exit_reason FROM journey.enrollment e WHERE e.profile_id = pg_temp.pid(c) ORDER BY e.entered_at DESC, e.lap DESC LIMIT 1))
$$;
SELECT pg_temp.wishes('{ann,bob,cid,dot,eve,fay,gus}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT c, pg_temp.gets(c) FROM unnest('{ann,bob,cid,dot,eve,fay,gus}'::text[]) c$$,
    $$VALUES ('ann', 'offer email en'), ('bob', 'care email en'), ('cid', 'enough'), ('dot', 'nothing'), ('eve', 'offer email de'), ('fay', 'text sms en'), ('gus', 'opted_out')$$,
    'topic, campaigns of the last week, language, channel and consent decide, each for somebody');

-- what changes changes the next message
SELECT pg_temp.send(c, ch) FROM (VALUES ('ann', 'email'), ('bob', 'email'), ('eve', 'email'), ('fay', 'sms')) t (c, ch);
SELECT is((SELECT count(*) FROM journey.outbox_history WHERE status = 'sent'), 4::bigint, 'they are sent');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 12:00+00');
UPDATE crm_preference SET wanted = NOT wanted WHERE contact = 'ann';
UPDATE crm_contact SET prefers = 'email', language = 'de' WHERE id = 'fay';
UPDATE crm_consent SET state = 'granted' WHERE contact = 'gus';
INSERT INTO crm_preference VALUES ('dot', 'care', true);
INSERT INTO crm_history SELECT 'eve', 'summer ' || n, 'sent', '2026-03-02 11:00+00' FROM generate_series(1, 3) n;
SELECT journey.set_preferences(journey._unsubscribe_token(pg_temp.pid('bob'), 'default', 'email'), '[{"channel": "email", "purpose": "care", "state": "denied"}]');
SELECT journey.run_until_idle();
SELECT pg_temp.wishes('{ann,bob,cid,dot,eve,fay,gus}');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT c, pg_temp.gets(c) FROM unnest('{ann,bob,cid,dot,eve,fay,gus}'::text[]) c$$,
    $$VALUES ('ann', 'care email en'), ('bob', 'nothing'), ('cid', 'enough'), ('dot', 'care email en'), ('eve', 'enough'), ('fay', 'offer email de'), ('gus', 'offer email en')$$,
    'another topic, a campaign too many, another language, another channel, a consent given: each for its person');

-- what was agreed to is asked once more by the permit; a topic that is not wanted is no opt-out from the others
CREATE TEMP TABLE held AS SELECT * FROM journey.claim('email', 100);
UPDATE crm_consent SET state = 'revoked' WHERE contact = 'gus' AND medium = 'email';
SELECT results_eq($$SELECT c, concat(CASE WHEN b.granted THEN 'granted' END, b.reason) FROM unnest('{ann,gus}'::text[]) c JOIN held ON profile_id = pg_temp.pid(c), LATERAL journey.begin_send(action_id, token) b ORDER BY c$$,
    $$VALUES ('ann', 'granted'), ('gus', 'opted_out')$$, 'who left meanwhile gets nothing, who has other wishes does');

-- campaigns of the CRM are history of the person
SELECT results_eq($$SELECT e.props ->> 'campaign', e.type, e.occurred_at FROM journey.event e WHERE e.profile_id = pg_temp.pid('ann') AND e.source = 'crm' AND e.type LIKE 'message%' ORDER BY 3$$,
    $$VALUES ('spring 1', 'message_delivered', '2026-02-28 10:00+00'::timestamptz), ('spring 1', 'message_opened', '2026-02-28 11:00+00')$$, 'with the time of each');
SELECT is_empty($$SELECT kind, name FROM journey.incident$$, 'and nobody asks which of our messages they were');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
