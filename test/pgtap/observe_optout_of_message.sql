-- Who leaves by a message leaves marketing on its channel, or on the one that the
-- word states, whichever way it came in and whether the sender had told the
-- message's name by then or not. It is what became of the message, and is never
-- lost without a word.
\ir ../fixtures/orchestrate.sql
SELECT plan(26);
SELECT pg_temp.move('2026-03-02 10:00+00');
CREATE FUNCTION pg_temp.state(c text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(channel || ' ' || state, ', ' ORDER BY channel) FROM journey.consent WHERE profile_id = pg_temp.pid(c)$$;
CREATE FUNCTION pg_temp.became(c text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(m.type || ' ' || (m.props ->> 'channel') || ' ' || (SELECT count(*) FROM journey.event e WHERE e.profile_id = m.profile_id AND e.type = m.type), ', ')
  FROM journey.message_event m WHERE m.profile_id = pg_temp.pid(c)$$;
CREATE FUNCTION pg_temp.stopped(c text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(s.type || ' ' || s.channel, ', ') FROM journey.suppression s WHERE s.profile_id = pg_temp.pid(c)$$;
\ir ../lib/answer.sql

-- two letters each: the first is in the sender's hands
CREATE TABLE people (name text PRIMARY KEY, way text, early boolean, says jsonb);
INSERT INTO people SELECT w || CASE WHEN e THEN ' early' ELSE ' late' END, w, e, '{}' FROM unnest('{ingest,track,copy,table}'::text[]) w, unnest('{t,f}'::boolean[]) e;
INSERT INTO people VALUES ('states', 'track', true, '{"channel": "sms"}'), ('odd', 'ingest', true, '{}'), ('revokes', 'copy', true, '{}'),
    ('at once', 'track', false, '{}'), ('sms at once', 'track', false, '{"channel": "sms"}'), ('both', 'track', false, '{}'), ('loaded', 'copy', false, '{}');
CREATE TABLE esp (id serial PRIMARY KEY, what text, ref text);
SELECT count(*) FROM journey.attach('esp', 'message_event', '{"type": {"column": "what", "values": {"bye": "unsubscribed"}}, "provider_ref": "ref"}');
SELECT journey.apply(pg_temp.journey_doc('news', '{"on": "wishlist_added"}',
    '{"first": {"send": {"channel": "email", "template": "t_plain"}, "next": "idle"}, "idle": {"wait": {"for": "1 hour"}, "next": "second"},
      "second": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT pg_temp.person(name) FROM people;
SELECT journey.track('shop', 'consent_granted', pg_temp.who(name), '{"channel": "sms"}') FROM people;
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who(name), '{"sku": "A"}') FROM people;
SELECT journey.run_until_idle();
CREATE TABLE held AS SELECT p.*, c.action_id, c.token FROM journey.claim('email', 100) c JOIN people p ON pg_temp.pid(p.name) = c.profile_id;
SELECT is((SELECT count(*) FROM held h, LATERAL journey.begin_send(h.action_id, h.token) b WHERE b.granted), 15::bigint, 'the first letters go out');
CREATE FUNCTION pg_temp.ack(who_early boolean) RETURNS bigint LANGUAGE sql AS
$$SELECT count(*) FROM held h WHERE h.early = who_early AND journey.ack(h.action_id, h.token, 'ref ' || h.name)$$;
SELECT is(pg_temp.ack(false), 8::bigint, 'of some the sender tells the provider''s name');
SELECT journey.run_until_idle();

CREATE FUNCTION pg_temp.leave(p people, type text DEFAULT 'unsubscribed', more jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    props jsonb := p.says || jsonb_build_object('provider_ref', 'ref ' || p.name);
BEGIN
    CASE p.way
        WHEN 'ingest' THEN
            RETURN (SELECT i FROM journey.ingest(jsonb_build_object('source', 'esp', 'type', type, 'props', props) || more) i)::text;
        WHEN 'track' THEN PERFORM journey.track('esp', type, NULL, props);
        WHEN 'copy' THEN INSERT INTO journey.inbox_copy (source, type, props) VALUES ('esp', type, props);
        WHEN 'table' THEN INSERT INTO esp (what, ref) VALUES ('bye', 'ref ' || p.name);
    END CASE;
    RETURN 'taken';
END $$;
SELECT results_eq($$SELECT pg_temp.leave(p) FROM people p WHERE p.way = 'ingest' AND p.name <> 'odd' ORDER BY 1$$, $$VALUES ('(1,0)'), ('(1,0)')$$, 'it need not name the person');
SELECT count(pg_temp.leave(p)) FROM people p WHERE p.way <> 'ingest' AND p.name ~ 'early|late' OR p.name = 'states';
SELECT is(pg_temp.leave(p, 'unsubscribed', '{"occurred_at": "just now"}'), '(0,1)', 'one of which a part cannot be read is set aside') FROM people p WHERE p.name = 'odd';
SELECT pg_temp.leave(p, 'consent_revoked') FROM people p WHERE p.name = 'revokes';
SELECT journey.run_until_idle();
SELECT is((SELECT array_agg(p.name ORDER BY p.name) FROM journey.early_message e JOIN people p ON e.provider_ref = 'ref ' || p.name),
    (SELECT array_agg(p.name ORDER BY p.name) FROM people p WHERE p.early), 'what nobody knows yet is kept');
SELECT is_empty($$SELECT name FROM people WHERE early AND pg_temp.state(name) <> 'email granted, sms granted'$$, 'and is nobody''s so far');

-- the sender takes its time
SELECT pg_temp.move('2026-03-02 10:40+00');
SELECT pg_temp.ack(true);
SELECT journey.run_once();
SELECT journey.run_once();
SELECT is_empty('SELECT provider_ref FROM journey.early_message', 'the lap that reads the sender''s word calls them back');
SELECT is((SELECT count(*) FROM people WHERE early AND pg_temp.state(name) = 'email granted, sms granted'), 0::bigint, 'and the next one takes them');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT name, pg_temp.state(name), pg_temp.became(name), pg_temp.stopped(name) FROM people WHERE name ~ 'early|late' ORDER BY 1$$,
    $$SELECT name, 'email revoked, sms granted', 'unsubscribed email 1', 'unsubscribed email' FROM people WHERE name ~ 'early|late' ORDER BY 1$$,
    'whichever way and whenever it came in, it has one outcome');
SELECT results_eq($$SELECT pg_temp.state('states'), pg_temp.became('states'), pg_temp.stopped('states')$$,
    $$VALUES ('email granted, sms revoked', 'unsubscribed sms 1', 'unsubscribed sms')$$, 'one that states its channel has left that');
SELECT is(pg_temp.state('odd'), 'email revoked, sms granted', 'of one that was set aside the rest counts');
SELECT results_eq($$SELECT pg_temp.state('revokes'), pg_temp.became('revokes')$$, $$VALUES ('email revoked, sms granted', 'consent_revoked email 1')$$, 'by another name it is the same');

-- permits, before any lap
SELECT pg_temp.move('2026-03-02 11:30+00');
SELECT is(pg_temp.answer('at once'), 'granted', 'a second letter may go');
SELECT is((SELECT count(*) FROM journey.outbox WHERE profile_id = pg_temp.pid('table late')), 0::bigint, 'to those who have left none was written');
SELECT pg_temp.leave(p) FROM people p WHERE p.name IN ('at once', 'sms at once');
SELECT is(pg_temp.answer('sms at once'), 'granted', 'who has left another channel is written to');
SELECT isnt(pg_temp.answer('at once'), 'granted', 'who has left this one is not, from the commit on');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('at once'), 'email revoked, sms granted', 'as the lap finds');
SELECT is(pg_temp.state('sms at once'), 'email granted, sms revoked', 'for each');
SELECT journey.track('esp', 'unsubscribed', pg_temp.who('both'), '{"provider_ref": "ref both"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('both'), 'email revoked, onsite revoked, push revoked, retargeting revoked, sms revoked', 'who names themselves beside a message has left every channel');

-- one that no lap can take
ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (source <> 'sick') NOT VALID;
INSERT INTO journey.inbox_copy (source, type, props) VALUES ('sick', 'unsubscribed', '{"provider_ref": "ref loaded", "channel": "sms"}');
SELECT journey.run_until_idle();
ALTER TABLE journey.event DROP CONSTRAINT poison;
SELECT is(pg_temp.state('loaded'), 'email granted, sms revoked', 'is heeded all the same');

-- of messages that nobody knows
CREATE FUNCTION pg_temp.orphans() RETURNS bigint LANGUAGE sql AS $$SELECT COALESCE(sum(count), 0)::bigint FROM journey.incident WHERE kind = 'orphan_message'$$;
SELECT journey.ingest('[{"source": "esp", "type": "unsubscribed", "props": {"action_id": "00000000-0000-8000-8000-00000000ffff"}}, {"source": "esp", "type": "unsubscribed", "props": {"provider_ref": "somebody else''s"}}]');
SELECT journey.run_until_idle();
SELECT is(pg_temp.orphans(), 1::bigint, 'an action that is not known is reported');
SELECT pg_temp.move('2026-03-03 12:00+00');
SELECT is(pg_temp.orphans(), 2::bigint, 'and a name that nobody has told within a day');
SELECT is((SELECT quarantined FROM journey.ingest('[{"source": "esp", "type": "unsubscribed", "props": {}}]')), 1, 'one that names nothing is set aside');
SELECT throws_ok($$SELECT journey.track('esp', 'unsubscribed', '{}', '{}')$$, '22023', NULL, 'or refused');

-- a complaint that came long before the sender's word counts as soon as that is read
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('states'), '{"sku": "B"}');
SELECT journey.run_until_idle();
CREATE TABLE again AS SELECT c.action_id, c.token FROM journey.claim('email', 100) c WHERE c.profile_id = pg_temp.pid('states');
SELECT count(*) FROM again h, LATERAL journey.begin_send(h.action_id, h.token) b WHERE b.granted;
SELECT journey.track('esp', 'message_complained', NULL, '{"provider_ref": "ref again"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-03 14:00+00');
SELECT journey.ack(action_id, token, 'ref again') FROM again;
SELECT journey.run_once();
SELECT journey.run_once();
SELECT is((SELECT state FROM journey.contact_point WHERE profile_id = pg_temp.pid('states')), 'complained', 'a complaint waits no longer than for that');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
