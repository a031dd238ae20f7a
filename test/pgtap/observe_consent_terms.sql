-- The terms of a consent: when it ends, its basis and its proof may change while
-- it stands, in the shop's row or found when the table is read again. A change of
-- them brings nothing back that was taken back elsewhere. Who agrees anew when a
-- consent has ended has agreed.
SELECT plan(26);
SELECT journey.set_clock('2026-03-02 12:00+00');

CREATE FUNCTION pg_temp.said(who text) RETURNS text LANGUAGE sql AS
$$ SELECT concat_ws(' ', c.state, to_char(c.at AT TIME ZONE 'UTC', 'MM-DD'), 'until ' || to_char(c.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), c.basis, c.proof ->> 'proof')
   FROM journey.consent c WHERE c.profile_id = journey.profile_id(jsonb_build_object('customer_id', who)) AND c.channel = 'email' $$;
CREATE FUNCTION pg_temp.token(who text) RETURNS text LANGUAGE sql AS
$$ SELECT journey._unsubscribe_token(journey.profile_id(jsonb_build_object('customer_id', who)), 'default', 'email') $$;
CREATE FUNCTION pg_temp.events(who text) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(e.type, ', ' ORDER BY e.seq) FROM journey.event e WHERE e.profile_id = journey.profile_id(jsonb_build_object('customer_id', who)) $$;

CREATE TABLE consents (customer text PRIMARY KEY, state text, valid_until timestamptz, basis text, proof text, given_at timestamptz);
SELECT count(*) FROM journey.attach('consents', 'consent', '{"subject": {"customer_id": "customer"}, "channel": {"const": "email"}, "state": "state",
    "expires_at": "valid_until", "basis": "basis", "proof": "proof", "at": "given_at"}');
INSERT INTO consents SELECT c, 'granted', '2027-01-01 00:00+00', 'consent', 'form 1', '2026-03-01 00:00+00' FROM unnest('{short,long,left,back,off,told}'::text[]) c;
UPDATE consents SET valid_until = '2026-03-05 00:00+00' WHERE customer = 'long';
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('short'), 'granted 03-01 until 2027-01-01 consent form 1', 'a consent has its terms');

SELECT journey.set_clock('2026-03-03 12:00+00');
UPDATE consents SET valid_until = '2026-03-04 00:00+00' WHERE customer = 'short';
UPDATE consents SET valid_until = '2027-03-04 00:00+00' WHERE customer = 'long';
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('short'), 'granted 03-01 until 2026-03-04 consent form 1', 'the shop ends it sooner: its date stays');
SELECT is(pg_temp.said('long'), 'granted 03-01 until 2027-03-04 consent form 1', 'or later');
UPDATE consents SET basis = 'contract', proof = 'form 2' WHERE customer = 'short';
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('short'), 'granted 03-01 until 2026-03-04 contract form 2', 'and corrects why it has it');
SELECT is((SELECT count(*) FROM journey.consent_history WHERE profile_id = journey.profile_id('{"customer_id": "short"}')), 3::bigint, 'each is history');
UPDATE consents SET valid_until = NULL WHERE customer = 'long';
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('long'), 'granted 03-01 consent form 1', 'one that ends no more');

-- what was said elsewhere
SELECT journey.unsubscribe(pg_temp.token('left'));
SELECT journey.unsubscribe(pg_temp.token('back'));
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-03 13:00+00');
SELECT journey.set_preferences(pg_temp.token('back'), '[{"channel": "email", "state": "granted"}]');
SELECT journey.run_until_idle();
SELECT journey.set_clock('2026-03-03 14:00+00');
UPDATE consents SET valid_until = '2028-01-01 00:00+00', proof = 'form 2' WHERE customer IN ('left', 'back');
SELECT journey.run_until_idle();
SELECT is(split_part(pg_temp.said('left'), ' ', 1), 'revoked', 'what was taken back elsewhere stays so');
SELECT is(pg_temp.said('back'), 'granted 03-03 consent', 'and what was agreed to elsewhere is as it was agreed to');

-- a row that says yes and no, and many rows of one person, of which the last counts
INSERT INTO consents VALUES ('tick', 'denied', NULL, NULL, NULL, '2026-03-01 00:00+00');
CREATE TABLE log (id int PRIMARY KEY, customer text, state text, valid_until timestamptz, proof text, given_at timestamptz);
SELECT count(*) FROM journey.attach('log', 'consent', '{"subject": {"customer_id": "customer"}, "channel": {"const": "email"}, "state": "state",
    "expires_at": "valid_until", "proof": "proof", "at": "given_at"}');
INSERT INTO log VALUES (1, 'many', 'granted', '2026-02-01 00:00+00', 'form 1', '2026-01-01 00:00+00'), (2, 'many', 'granted', NULL, 'form 2', '2026-02-02 00:00+00');
SELECT journey.run_until_idle();
UPDATE consents SET state = 'granted' WHERE customer = 'tick';
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('tick'), 'granted 03-03', 'who agrees in a row that was there agrees now');
UPDATE consents SET valid_until = '2027-01-01 00:00+00' WHERE customer = 'tick';
UPDATE log SET proof = NULL WHERE id = 1;
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('tick'), 'granted 03-03 until 2027-01-01', 'until when, the row may say later');
SELECT is(pg_temp.said('many'), 'granted 02-02 form 2', 'an old row that is tidied up says nothing of the last one');

-- while the triggers were off
ALTER TABLE consents DISABLE TRIGGER journey_capture_consent;
UPDATE consents SET valid_until = '2026-04-01 00:00+00' WHERE customer = 'off';
ALTER TABLE consents ENABLE ALWAYS TRIGGER journey_capture_consent;
SELECT count(*) FROM journey.reconcile('consents');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('off'), 'granted 03-01 until 2026-04-01 consent form 1', 'reading the table again finds it');
SELECT is(split_part(pg_temp.said('left'), ' ', 1), 'revoked', 'and brings nothing back');
SELECT count(*) FROM journey.reconcile('consents');
SELECT journey.run_until_idle();
SELECT is((SELECT count(*) FROM journey.consent_history WHERE profile_id = journey.profile_id('{"customer_id": "off"}')), 2::bigint, 'a second time it finds nothing');
SELECT count(*) FROM journey.reconcile('log');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('many'), 'granted 02-02 form 2', 'nor that an old row had other terms');
CREATE TABLE timeless (customer text PRIMARY KEY, state text, valid_until timestamptz);
INSERT INTO timeless VALUES ('less', 'granted', '2026-05-01 00:00+00');
SELECT count(*) FROM journey.attach('timeless', 'consent', '{"subject": {"customer_id": "customer"}, "channel": {"const": "email"}, "state": "state", "expires_at": "valid_until"}');
SELECT journey.run_until_idle();
ALTER TABLE timeless DISABLE TRIGGER journey_capture_consent;
UPDATE timeless SET valid_until = '2026-04-01 00:00+00';
ALTER TABLE timeless ENABLE ALWAYS TRIGGER journey_capture_consent;
SELECT count(*) FROM journey.reconcile('timeless');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('less'), 'granted 03-03 until 2026-04-01', 'also where no column says when it was given');
ALTER TABLE timeless DISABLE TRIGGER journey_capture_consent;
UPDATE timeless SET valid_until = '2030-01-01 00:00+00';
ALTER TABLE timeless ENABLE ALWAYS TRIGGER journey_capture_consent;
SELECT count(*) FROM journey.reconcile('timeless');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('less'), 'granted 03-03 until 2026-04-01', 'which takes rights away and gives none: it may be an older row');

-- journeys hear when there is a consent no more, and when there is one again
UPDATE consents SET valid_until = '2026-03-03 00:00+00' WHERE customer = 'told';
SELECT journey.run_until_idle();
UPDATE consents SET valid_until = '2026-06-01 00:00+00' WHERE customer = 'told';
SELECT journey.run_until_idle();
SELECT is(pg_temp.events('told'), 'consent_granted, consent_revoked, consent_granted', 'a consent that the shop has end in the past is over');

-- who agrees anew when it has ended
SELECT journey.track('crm', 'consent_granted', '{"customer_id": "anew"}', '{"channel": "email", "expires_at": "2026-03-10T00:00:00Z"}');
SELECT journey.run_until_idle();
SELECT journey.set_preferences(pg_temp.token('anew'), '[{"channel": "email", "state": "granted"}]');
SELECT is(journey.preferences(pg_temp.token('anew')) #>> '{0,state}', 'granted', 'until it ends it is one');
SELECT is((SELECT count(*) FROM journey.consent_history WHERE profile_id = journey.profile_id('{"customer_id": "anew"}')), 1::bigint, 'and need not be said again');
SELECT journey.set_clock('2026-03-10 00:00+00');
SELECT is(journey.preferences(pg_temp.token('anew')) #>> '{0,state}', 'expired', 'then the person reads that it has ended');
SELECT is(journey.set_preferences(pg_temp.token('anew'), '[{"channel": "email", "state": "granted"}]'), true, 'and may agree anew');
SELECT is(journey.preferences(pg_temp.token('anew')) #>> '{0,state}', 'granted', 'which they read, too');
SELECT journey.run_until_idle();
SELECT is(pg_temp.said('anew'), 'granted 03-10 consent', 'and which is a consent from the next lap on');
SELECT is((SELECT count(*) FROM journey.consent_history WHERE profile_id = journey.profile_id('{"customer_id": "anew"}')), 2::bigint, 'said once');

SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
