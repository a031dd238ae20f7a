-- A row of a table of message events tells what happened when it comes, and again
-- when it is of another type, message or person. A note beside it tells nothing,
-- neither to permits nor to the lap.
\ir ../fixtures/orchestrate.sql
SELECT plan(16);
SELECT pg_temp.move('2026-03-02 12:00+00');
CREATE FUNCTION pg_temp.state(c text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(channel || ' ' || state, ', ' ORDER BY channel) FROM journey.consent WHERE profile_id = pg_temp.pid(c)$$;
CREATE FUNCTION pg_temp.told(c text) RETURNS bigint LANGUAGE sql AS
$$SELECT count(*) FROM journey.event WHERE profile_id = pg_temp.pid(c) AND (type = 'unsubscribed' OR type LIKE 'message%')$$;
CREATE FUNCTION pg_temp.fences() RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM journey._fences()$$;

CREATE TABLE mails (id int PRIMARY KEY, who text, what text, action text, note text);
SELECT count(*) FROM journey.attach('mails', 'message_event', '{"type": "what", "subject": {"customer_id": "who"}, "channel": {"const": "email"}, "action_id": "action", "reason": "note"}');
SELECT pg_temp.person(c) FROM unnest('{anew,angry,late,clicks,moved}'::text[]) c;
SELECT journey.run_until_idle();
INSERT INTO mails VALUES (1, 'anew', 'unsubscribed'), (2, 'angry', 'message_complained');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state('anew'), pg_temp.told('anew'), pg_temp.told('angry')$$, $$VALUES ('email revoked', 1::bigint, 1::bigint)$$, 'a row tells what happened');

SELECT pg_temp.move('2026-03-03 12:00+00');
SELECT journey.track('crm', 'consent_granted', pg_temp.who('anew'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('anew'), 'email granted', 'who agrees anew has agreed');
SELECT pg_temp.move('2026-03-04 12:00+00');
UPDATE mails SET note = 'handled';
SELECT is(pg_temp.fences(), 0::bigint, 'a note on the old rows stops nothing');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state('anew'), pg_temp.told('anew'), pg_temp.told('angry')$$, $$VALUES ('email granted', 1::bigint, 1::bigint)$$, 'and tells nothing');
SELECT is((SELECT count(*) FROM journey.suppression WHERE type IN ('unsubscribed', 'message_complained')), 2::bigint, 'each was an opt-out once');
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('anew'), '{"sku": "A"}');
SELECT journey.apply(pg_temp.journey_doc('news', '{"on": "wishlist_added"}',
    '{"mail": {"send": {"channel": "email", "template": "t_plain"}, "next": "done"}, "done": {"exit": "finished"}}'));
SELECT journey.run_until_idle();
SELECT journey.track('shop', 'wishlist_added', pg_temp.who('anew'), '{"sku": "B"}');
SELECT journey.run_until_idle();
CREATE TABLE held AS SELECT action_id, token FROM journey.claim('email', 100);
UPDATE mails SET note = 'archived';
SELECT is((SELECT array_agg(b.granted) FROM held h, LATERAL journey.begin_send(h.action_id, h.token) b), '{true}', 'the next letter goes');

-- a row that says more than a note
INSERT INTO mails VALUES (3, 'late', 'message_opened');
SELECT journey.run_until_idle();
UPDATE mails SET what = 'unsubscribed' WHERE id = 3;
SELECT is(pg_temp.fences(), 1::bigint, 'another type is another event, from its commit on');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state('late'), pg_temp.told('late')$$, $$VALUES ('email revoked', 2::bigint)$$, 'and for the lap');
INSERT INTO mails VALUES (4, NULL, 'unsubscribed');
SELECT journey.run_until_idle();
UPDATE mails SET who = 'moved' WHERE id = 4;
SELECT is(pg_temp.fences(), 1::bigint, 'a person who is written in later is stopped');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('moved'), 'email revoked', 'and has left');
SELECT action_id AS action FROM held \gset
INSERT INTO mails VALUES (5, NULL, 'unsubscribed');
SELECT journey.run_until_idle();
UPDATE mails SET action = :'action' WHERE id = 5;
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('anew'), 'email revoked', 'and so has that of a message');
UPDATE mails SET who = 'anew' WHERE id = 5;
SELECT journey.run_until_idle();
SELECT is(pg_temp.told('anew'), 2::bigint, 'whom the message told already is no news');


-- the provider's reference, which many tables get when it is known
CREATE TABLE posts (id int PRIMARY KEY, what text, action text, ref text);
SELECT count(*) FROM journey.attach('posts', 'message_event', '{"type": "what", "channel": {"const": "email"}, "action_id": "action", "provider_ref": "ref"}');
SELECT journey.run_until_idle();
SELECT pg_temp.told('anew') AS before \gset
INSERT INTO posts VALUES (1, 'message_clicked', :'action'), (2, 'unsubscribed', :'action');
SELECT journey.run_until_idle();
SELECT is(pg_temp.told('anew') - :before, 2::bigint, 'two events of a message');
SELECT pg_temp.move('2026-03-05 12:00+00');
SELECT journey.track('crm', 'consent_granted', pg_temp.who('anew'), '{"channel": "email"}');
SELECT journey.run_until_idle();
UPDATE posts SET ref = 'prov-' || id;
SELECT is(pg_temp.fences(), 0::bigint, 'its reference is written in: that stops nothing');
SELECT journey.run_until_idle();
SELECT results_eq(format($$SELECT pg_temp.state('anew'), pg_temp.told('anew') - %s$$, :before), $$VALUES ('email granted', 2::bigint)$$, 'and tells nothing');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
