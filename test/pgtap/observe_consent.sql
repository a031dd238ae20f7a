-- Consent: basis, proof and history; the latest statement stands; taking
-- rights away wins a tie; one-click unsubscribe changes the state and nothing
-- else; back-fill never beats an opt-out. Addresses: normalised, fresh when
-- they change, a bounce belongs to the address.
SELECT plan(39);
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
    $$VALUES ('email', 'revoked'), ('push', 'revoked'), ('sms', 'revoked')$$, 'an opt-out from everything is one');

-- mission: 16
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

-- addresses
SELECT journey.set_clock('2026-03-01 12:00+00');
UPDATE customers SET email = 'kim@new.example' WHERE id = 7;
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT address, state FROM journey.contact_point WHERE channel = 'email' AND profile_id = journey.profile_id('{"customer_id": "7"}') ORDER BY since$$,
    $$VALUES ('kim@example.com', 'replaced'), ('kim@new.example', 'active')$$, 'a changed address starts fresh');
SELECT is(journey.profile_id('{"email": "KIM@new.example"}'), journey.profile_id('{"customer_id": "7"}'), 'and names the same person');
SELECT is(journey.mark_test('{"customer_id": "7"}', true), true, 'a person can be made a test profile');
SELECT is(journey.mark_test('{"customer_id": "nobody"}', true), false, 'nobody cannot');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
