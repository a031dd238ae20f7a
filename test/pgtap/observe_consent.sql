-- Consent: basis, proof and history; the latest statement stands; taking
-- rights away wins a tie; one-click unsubscribe changes the state and nothing
-- else; back-fill never beats an opt-out. Addresses: normalised, fresh when
-- they change, a bounce belongs to the address. A box that is ticked later than
-- the row was made counts from then on.
SELECT plan(69);
SELECT journey.set_clock('2026-03-01 10:00+00');

CREATE FUNCTION pg_temp.state(who text, on_channel text DEFAULT 'email') RETURNS text LANGUAGE sql AS
$$ SELECT c.state FROM journey.consent c WHERE c.profile_id = journey.profile_id(jsonb_build_object('customer_id', who)) AND c.channel = on_channel $$;

-- mission: 116
SELECT journey.track('crm', 'identified', '{"customer_id": "1", "email": " Ann@Example.COM"}', '{"city": "Bonn"}');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), NULL, 'without a statement there is no consent');
SELECT is((SELECT address FROM journey.contact_point), 'ann@example.com', 'an address is stored normalised');

SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}',
    '{"channel": "email", "purpose": "marketing", "basis": "consent", "proof": {"ip": "192.0.2.1", "form": "footer"}}', '2026-02-01 00:00+00');
SELECT journey.run_once();
SELECT results_eq($$SELECT state, basis, proof ->> 'form', source, at FROM journey.consent$$,
    $$VALUES ('granted', 'consent', 'footer', 'crm', '2026-02-01 00:00+00'::timestamptz)$$, 'a consent keeps its basis, proof, source and time');

-- latest wins, by its own time
SELECT journey.track('crm', 'consent_revoked', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-10 00:00+00');
SELECT journey.run_once();
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-05 00:00+00');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), 'revoked', 'an older grant that arrives later does not stand');
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-10 00:00+00');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), 'revoked', 'at the same time the one that takes rights away stands');
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-11 00:00+00');
SELECT journey.track('crm', 'consent_revoked', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-11 00:00+00');
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-11 00:00+00');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), 'revoked', 'also within one batch');
SELECT is((SELECT count(*) FROM journey.consent_history), 7::bigint, 'each statement is history');
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "1"}', '{"channel": "email"}', '2026-02-12 00:00+00');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), 'granted', 'a newer grant stands again');

-- RFC 8058: the state, not the answer
SELECT journey._unsubscribe_token(journey.profile_id('{"customer_id": "1"}'), 'default', 'email') AS token \gset
SELECT ok(:'token' ~ '^[A-Za-z0-9_-]+$', 'a token is safe in a URL');
SELECT is(journey.unsubscribe(left(:'token', -1) || CASE right(:'token', 1) WHEN 'A' THEN 'Q' ELSE 'A' END), false, 'a forged token is refused');
SELECT is(journey.unsubscribe('nonsense'), false, 'and so is nonsense');
SELECT is(journey.unsubscribe('%%% /'), false, 'and what is no base64url');
SELECT is(pg_temp.state('1'), 'granted', 'neither changed anything');
SELECT is(journey.preferences(:'token') #>> '{0,state}', 'granted', 'looking (GET) changes nothing');
SELECT is(journey.unsubscribe(:'token'), true, 'the token is taken');
SELECT is(journey.preferences(:'token') #>> '{0,state}', 'revoked', 'and the person reads that they have left');
SELECT is(pg_temp.state('1'), 'granted', 'the state is the next lap''s to write');
SELECT is((SELECT count(*) FROM journey.consent_history WHERE source = 'link'), 1::bigint, 'with its history');
SELECT is(journey.unsubscribe(:'token'), true, 'POST a second time succeeds');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), 'revoked', 'which says the same');
SELECT is(journey.unsubscribe(:'token'), true, 'POST a third time succeeds, too');
SELECT is((SELECT count(*) FROM journey.consent_history WHERE state = 'revoked' AND source = 'link'), 1::bigint, 'and said once');
SELECT is((SELECT count(*) FROM journey.event WHERE type = 'unsubscribed'), 1::bigint, 'journeys hear of it once');
SELECT is(journey.set_preferences(:'token', '[{"channel": "email", "state": "granted"}]'), true, 'the person may come back');
SELECT is(journey.preferences(:'token') #>> '{0,state}', 'granted', 'and read that they have');
SELECT journey.set_preferences(:'token', '[{"channel": "email", "state": "no"}]');
SELECT journey.set_clock('2026-03-01 10:01+00');
SELECT journey.set_preferences(:'token', '[{"channel": "email", "state": "granted"}]');
SELECT journey.run_once();
SELECT is(pg_temp.state('1'), 'granted', 'of several words the last one stands, in the preference centre');

-- an opt-out without a channel is meant for every one
SELECT journey.track('crm', 'unsubscribed', '{"customer_id": "1"}', '{}');
SELECT journey.run_once();
SELECT results_eq($$SELECT channel, state FROM journey.consent ORDER BY channel$$,
    $$VALUES ('email', 'revoked'), ('onsite', 'revoked'), ('push', 'revoked'), ('retargeting', 'revoked'), ('sms', 'revoked')$$, 'an opt-out from everything is one');

-- the shop's own flag; reconcile reads it again and does not beat an opt-out
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, accepts_marketing boolean, city text, tz text);
INSERT INTO customers VALUES (7, 'Kim@Example.com', '+4912', true, 'Trier', 'Europe/Berlin'), (8, 'lee@example.com', NULL, false, 'Ulm', 'Nowhere/Land');
SELECT count(*) FROM journey.attach('customers', 'customer', '{"subject": {"customer_id": "id", "email": "email"}, "phone": "phone",
    "traits": ["city"], "zone": "tz", "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing", "values": {"true": "granted", "false": "denied"}}]}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('7'), 'granted', 'the flag of a row that was there is a consent');
SELECT is(pg_temp.state('8'), 'denied', 'or a refusal');
SELECT results_eq($$SELECT p.traits ->> 'city', p.zone FROM journey.profile p WHERE p.profile_id IN (journey.profile_id('{"customer_id": "7"}'), journey.profile_id('{"customer_id": "8"}')) ORDER BY 1$$,
    $$VALUES ('Trier', 'Europe/Berlin'), ('Ulm', NULL)$$, 'traits and a zone that exists are taken');
SELECT is((SELECT name FROM journey.incident WHERE kind = 'unknown_zone'), 'Nowhere/Land', 'one that does not exist is reported');
SELECT journey.unsubscribe(journey._unsubscribe_token(journey.profile_id('{"customer_id": "7"}'), 'default', 'email'));
SELECT count(*) FROM journey.reconcile('customers');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('7'), 'revoked', 'reading the table again does not bring a consent back');
UPDATE customers SET city = 'Ulm' WHERE id = 7;
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('7'), 'revoked', 'nor does another change of the row');
SELECT journey.set_clock('2026-03-01 11:00+00');
UPDATE customers SET accepts_marketing = false WHERE id = 7;
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-01 11:30+00');
UPDATE customers SET accepts_marketing = true WHERE id = 7;
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('7'), 'granted', 'ticking the box again does');

-- the map of the README: its time is that of the row, which is the consent's only while nobody changes the box
CREATE TABLE signups (id int PRIMARY KEY, email text, accepts_marketing boolean, created_at timestamptz, said_at timestamptz);
SELECT count(*) FROM journey.attach('signups', 'customer', '{"subject": {"customer_id": "id", "email": "email"},
    "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing", "values": {"true": "granted", "false": "denied"}, "at": "created_at"},
                 {"channel": "sms", "purpose": "marketing", "column": "accepts_marketing", "values": {"true": "granted", "false": "denied"}, "at": "said_at"}]}');
CREATE FUNCTION pg_temp.at(who text, on_channel text DEFAULT 'email') RETURNS timestamptz LANGUAGE sql AS
$$ SELECT c.at FROM journey.consent c WHERE c.profile_id = journey.profile_id(jsonb_build_object('customer_id', who)) AND c.channel = on_channel $$;
CREATE FUNCTION pg_temp.tick(box boolean, minute int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.set_clock('2026-03-01 12:00+00'::timestamptz + make_interval(mins => minute));
    UPDATE signups SET accepts_marketing = box WHERE id = 31;
    RETURN box::text;
END $$;
INSERT INTO signups VALUES (31, 'max@example.com', true, '2026-02-01 00:00+00', '2026-02-01 00:00+00');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state('31'), pg_temp.at('31')$$, $$VALUES ('granted', '2026-02-01 00:00+00'::timestamptz)$$, 'a new row states its consent at its own time');
SELECT pg_temp.tick(false, 1);
SELECT journey.run_until_idle();
SELECT pg_temp.tick(true, 2);
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state('31'), pg_temp.at('31')$$, $$VALUES ('granted', '2026-03-01 12:02+00'::timestamptz)$$, 'a box ticked again is a consent of that moment');
SELECT pg_temp.tick(false, 3);
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('31'), 'denied', 'and can be taken back');
SELECT journey.set_clock('2026-03-01 12:04+00');
SELECT journey.set_preferences(journey._unsubscribe_token(journey.profile_id('{"customer_id": "31"}'), 'default', 'email'), '[{"channel": "email", "state": "granted"}]');
UPDATE signups SET accepts_marketing = true WHERE id = 31;
SELECT journey.run_until_idle();
SELECT pg_temp.tick(false, 5);
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('31'), 'denied', 'also when it was given elsewhere in between');
UPDATE signups SET accepts_marketing = true, said_at = '2026-02-15 00:00+00' WHERE id = 31;
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('31', 'sms'), 'denied', 'a time that changes with the box is the consent''s own');
SELECT journey.set_clock('2026-03-01 12:06+00');
UPDATE signups SET accepts_marketing = false, said_at = '2026-03-01 12:06+00' WHERE id = 31;
SELECT journey.run_until_idle();
SELECT is(pg_temp.at('31', 'sms'), '2026-03-01 12:06+00', 'the newer as well as the older');

-- a table of consents that keeps one row per person and the time at which it was made
CREATE TABLE optins (person text, medium text, state text, created_at timestamptz, note text, PRIMARY KEY (person, medium));
SELECT count(*) FROM journey.attach('optins', 'consent', '{"subject": {"customer_id": "person"}, "channel": "medium", "state": "state", "at": "created_at", "props": ["note"]}');
INSERT INTO optins VALUES ('32', 'email', 'granted', '2026-02-01 00:00+00');
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-01 12:10+00');
SELECT journey.set_preferences(journey._unsubscribe_token(journey.profile_id('{"customer_id": "32"}'), 'default', 'email'), '[{"channel": "email", "state": "denied"}]');
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-01 12:11+00');
SELECT journey.set_preferences(journey._unsubscribe_token(journey.profile_id('{"customer_id": "32"}'), 'default', 'email'), '[{"channel": "email", "state": "granted"}]');
SELECT journey.set_clock('2026-03-01 12:12+00');
UPDATE optins SET state = 'revoked';
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('32'), 'revoked', 'a row of consents that changes counts from then on, too');
SELECT journey.set_clock('2026-03-01 12:13+00');
UPDATE optins SET state = 'granted';
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('32'), 'granted', 'either way');
SELECT journey.set_clock('2026-03-01 12:14+00');
SELECT journey.unsubscribe(journey._unsubscribe_token(journey.profile_id('{"customer_id": "32"}'), 'default', 'email'));
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-01 12:15+00');
UPDATE optins SET note = 'asked by phone for the catalogue';
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('32'), 'revoked', 'an UPDATE that leaves the consent alone states nothing again');

-- what proves a consent is kept as the row has it
CREATE TABLE doi (person text PRIMARY KEY, state text, proof jsonb);
SELECT count(*) FROM journey.attach('doi', 'consent', '{"subject": {"customer_id": "person"}, "channel": {"const": "email"}, "state": "state", "proof": "proof"}');
INSERT INTO doi VALUES ('37', 'granted', '{"ip": "192.0.2.7"}'), ('38', 'granted', NULL);
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT h.proof, c.proof = h.proof FROM journey.consent_history h JOIN journey.consent c USING (bucket, profile_id)
    WHERE c.profile_id IN (journey.profile_id('{"customer_id": "37"}'), journey.profile_id('{"customer_id": "38"}')) ORDER BY 1$$,
    $$VALUES ('{}'::jsonb, true), ('{"proof": "{\"ip\": \"192.0.2.7\"}"}', true)$$, 'a row''s proof is kept as text, in the state and its history');

-- addresses
SELECT journey.set_clock('2026-03-01 13:00+00');
UPDATE customers SET email = 'kim@new.example' WHERE id = 7;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT address, state FROM journey.contact_point WHERE channel = 'email' AND profile_id = journey.profile_id('{"customer_id": "7"}') ORDER BY since$$,
    $$VALUES ('kim@example.com', 'replaced'), ('kim@new.example', 'active')$$, 'a changed address starts fresh');
SELECT is(journey.profile_id('{"email": "KIM@new.example"}'), journey.profile_id('{"customer_id": "7"}'), 'and names the same person');
-- an address that is taken away is used no more; one that was never given takes nothing away
CREATE FUNCTION pg_temp.addresses(who text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', channel, address, state), ', ' ORDER BY channel, since, address)
    FROM journey.contact_point WHERE profile_id = journey.profile_id(jsonb_build_object('customer_id', who)) $$;
INSERT INTO customers VALUES (9, 'mia@example.com', '+491', true, 'Kiel');
SELECT journey.run_until_idle();
UPDATE customers SET email = NULL WHERE id = 9;
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com replaced, sms +491 active', 'an e-mail address that is emptied is used no more');
UPDATE customers SET phone = '  ' WHERE id = 9;
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com replaced, sms +491 replaced', 'blank is empty, too');
UPDATE customers SET email = 'mia@example.com' WHERE id = 9;
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com active, sms +491 replaced', 'given again it is used again');
ALTER TABLE customers DISABLE TRIGGER journey_capture_customer;
UPDATE customers SET email = NULL WHERE id = 9;
ALTER TABLE customers ENABLE ALWAYS TRIGGER journey_capture_customer;
SELECT count(*) FROM journey.reconcile('customers');
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com active, sms +491 replaced', 'a blank that is read again says nothing: nobody saw the row lose it');
SELECT journey.track('crm', 'identified', '{"customer_id": "9"}', '{"email": "mia@home.example", "phone": "+492"}');
SELECT journey.run_until_idle();
UPDATE customers SET city = 'Jena' WHERE id = 9;
DELETE FROM customers WHERE id = 8;
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com replaced, email mia@home.example active, sms +491 replaced, sms +492 active', 'a row that was empty before takes no other source''s away');
SELECT count(*) FROM journey.reconcile('customers');
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com replaced, email mia@home.example active, sms +491 replaced, sms +492 active', 'nor does reading it again');
SELECT is(pg_temp.addresses('8'), 'email lee@example.com active', 'a deleted row changes no address');
SELECT journey.track('crm', 'identified', '{"customer_id": "9"}', '{"phone": null, "city": "Gera"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.addresses('9'), 'email mia@example.com replaced, email mia@home.example active, sms +491 replaced, sms +492 replaced', 'an event that says null empties it');

-- rows that are deleted: nothing, unless the map says that they take the consent along
SELECT journey.set_clock('2026-03-01 14:00+00');
INSERT INTO customers VALUES (10, 'noa@example.com', NULL, true, 'Kiel');
INSERT INTO optins VALUES ('33', 'email', 'granted', '2026-02-01 00:00+00'), ('34', 'email', 'granted', '2026-02-01 00:00+00');
INSERT INTO signups VALUES (35, 'ida@example.com', true, '2026-02-01 00:00+00', '2026-02-01 00:00+00'), (36, 'ole@example.com', true, '2026-02-01 00:00+00', '2026-02-01 00:00+00');
SELECT journey.run_until_idle();
DELETE FROM customers WHERE id = 10;
DELETE FROM optins WHERE person = '33';
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('10'), 'granted', 'a customer''s row that is deleted takes no consent along');
SELECT is(pg_temp.state('33'), 'granted', 'nor does one of consents');
SELECT count(*) FROM journey.attach('signups', 'customer', '{"subject": {"customer_id": "id", "email": "email"}, "on_delete": "revoked",
    "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing", "at": "created_at"},
                 {"channel": "sms", "purpose": "marketing", "column": "accepts_marketing", "at": "created_at"}]}', backfill => false);
SELECT count(*) FROM journey.attach('optins', 'consent', '{"subject": {"customer_id": "person"}, "channel": "medium", "state": "state", "at": "created_at", "on_delete": "revoked"}', backfill => false);
SELECT journey.set_clock('2026-03-01 14:01+00');
DELETE FROM optins WHERE person = '34';
DELETE FROM signups WHERE id = 35;
SELECT results_eq($$SELECT type, channel, keys @> ARRAY[journey.key_hash('customer_id', '34')] FROM journey._fences()$$,
    $$VALUES ('unsubscribed', 'email', true), ('unsubscribed', 'email', false), ('unsubscribed', 'sms', false)$$, 'where the map says so it is an opt-out from its commit on');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('34'), 'revoked', 'a deleted row of consents is one taken back');
SELECT results_eq($$SELECT pg_temp.state('35'), pg_temp.state('35', 'sms')$$, $$VALUES ('revoked', 'revoked')$$, 'a deleted customer takes back every consent of the map');
SELECT is((SELECT count(*) FROM journey.suppression WHERE type = 'unsubscribed' AND profile_id = journey.profile_id('{"customer_id": "35"}')), 2::bigint, 'and what is under way ends');
SELECT journey.set_clock('2026-03-01 14:02+00');
INSERT INTO signups VALUES (35, 'ida@example.com', true, '2026-03-01 14:02+00', NULL);
BEGIN;
DELETE FROM signups WHERE id = 36;
INSERT INTO signups VALUES (36, 'ole@example.com', true, '2026-02-01 00:00+00', NULL);
COMMIT;
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('35'), 'granted', 'who comes back has agreed anew');
SELECT is(pg_temp.state('36'), 'granted', 'a row that is written anew within its transaction was not deleted');
SELECT throws_ok($$SELECT journey.attach('optins', 'consent', '{"subject": {"customer_id": "person"}, "channel": "medium", "state": "state", "on_delete": "cancelled"}')$$,
    '22023', NULL, 'a consent is not cancelled');
SELECT throws_ok($$SELECT journey.attach('signups', 'customer', '{"subject": {"customer_id": "id"}, "on_delete": "revoked"}')$$,
    '22023', NULL, 'and a map without consents has none to revoke');
SELECT is(journey.mark_test('{"customer_id": "7"}', true), true, 'a person can be made a test profile');
SELECT is(journey.mark_test('{"customer_id": "nobody"}', true), false, 'nobody cannot');

-- nobody can have said a thing after it came: a clock that goes ahead keeps no opt-out from counting
CREATE TABLE ahead (id text PRIMARY KEY, mail text, at timestamptz);
SELECT count(*) FROM journey.attach('ahead', 'customer', '{"subject": {"customer_id": "id"},
    "consents": [{"channel": "email", "purpose": "marketing", "column": "mail", "at": "at", "values": {"y": "granted"}}]}');
INSERT INTO ahead VALUES ('ahead1', 'y', '2222-01-01 00:00+00');
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "ahead2"}', '{"channel": "email"}', journey.clock() + interval '23 hours');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state(n) FROM unnest('{ahead1,ahead2}'::text[]) n$$, $$VALUES ('granted'), ('granted')$$, 'a consent dated ahead is one');
SELECT journey.track('crm', 'consent_revoked', jsonb_build_object('customer_id', n), '{"channel": "email"}') FROM unnest('{ahead1,ahead2}'::text[]) n;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.state(n) FROM unnest('{ahead1,ahead2}'::text[]) n$$, $$VALUES ('revoked'), ('revoked')$$, 'and is taken back by what is said now');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
