-- Whatever clocks and zones say: nothing occurred after it was received, and an
-- opt-out that a live row tells with a time of no zone counts from its receipt,
-- so that no earlier consent outlives it.
\ir ../fixtures/orchestrate.sql
SET client_min_messages = error;
SELECT plan(14);
SELECT pg_temp.move('2026-03-02 10:00+00');

CREATE FUNCTION pg_temp.state(who text) RETURNS text LANGUAGE sql AS
$$ SELECT c.state || ' ' || c.at FROM journey.consent c WHERE c.profile_id = pg_temp.pid(who) AND c.channel = 'email' AND c.purpose = 'marketing' $$;

-- a shop east of Greenwich, whose columns have no zone
CREATE TABLE choices (person text, medium text, choice text, changed_at timestamp);
SELECT count(*) FROM journey.attach('choices', 'consent', '{"subject": {"customer_id": "person"}, "channel": "medium", "at": "changed_at",
    "state": {"column": "choice", "values": {"yes": "granted", "no": "denied"}}}');
INSERT INTO choices VALUES ('east', 'email', 'yes', '2026-03-02 11:00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('east'), 'granted 2026-03-02 10:00:00+00', 'a grant that is dated later than it came counts from when it came');
SELECT pg_temp.move('2026-03-02 10:20+00');
SELECT journey.track('shop', 'unsubscribed', pg_temp.who('east'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('east'), 'revoked 2026-03-02 10:20:00+00', 'so an opt-out behind it stands');
SELECT pg_temp.move('2026-03-02 10:25+00');
INSERT INTO choices VALUES ('east', 'email', 'no', '2026-03-02 11:25');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 10:30+00');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('east'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('east'), 'granted 2026-03-02 10:30:00+00', 'and so does a consent behind an opt-out that was dated later');

-- the map of the README
CREATE TABLE signups (id text PRIMARY KEY, email text, accepts_marketing boolean, created_at timestamp);
SELECT count(*) FROM journey.attach('signups', 'customer', '{"subject": {"customer_id": "id", "email": "email"},
    "consents": [{"channel": "email", "purpose": "marketing", "column": "accepts_marketing", "values": {"true": "granted", "false": "denied"}, "at": "created_at"}]}');
INSERT INTO signups VALUES ('box', 'box@example.com', true, '2026-03-02 11:30');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('box'), 'granted 2026-03-02 10:30:00+00', 'a box of a new row, too, is ticked no later than it came');
SELECT pg_temp.move('2026-03-02 10:50+00');
UPDATE signups SET accepts_marketing = false WHERE id = 'box';
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('box'), 'denied 2026-03-02 10:50:00+00', 'and unticked when it is unticked');
INSERT INTO signups VALUES ('late', 'late@example.com', false, '2026-03-02 05:50');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('late'), '{"channel": "email"}', '2026-03-02 10:40+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('late'), 'denied 2026-03-02 10:50:00+00', 'west of Greenwich the row of a customer who wants none stands as well');

-- west of it
SELECT pg_temp.move('2026-03-02 15:00+00');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('west'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 15:30+00');
INSERT INTO choices VALUES ('west', 'email', 'no', '2026-03-02 10:30');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('west'), 'denied 2026-03-02 15:30:00+00', 'an opt-out whose time has no zone is not older than its row');
SELECT pg_temp.move('2026-03-02 15:40+00');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('west'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 15:50+00');
INSERT INTO choices VALUES ('west', 'email', 'no', '2026-02-20 10:30');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('west'), 'granted 2026-03-02 15:40:00+00', 'history that is written now stays history');
ALTER TABLE choices ALTER changed_at TYPE timestamptz USING changed_at AT TIME ZONE 'UTC';
INSERT INTO choices VALUES ('west', 'email', 'no', '2026-03-02 15:35+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('west'), 'granted 2026-03-02 15:40:00+00', 'a time with a zone is what it says');
INSERT INTO choices VALUES ('west', 'email', 'no', '2026-03-02 15:45+00');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('west'), 'denied 2026-03-02 15:45:00+00', 'either way');

-- an opt-out among the rows of messages
CREATE TABLE feedback (kind text, person text, medium text, happened_at timestamp);
SELECT count(*) FROM journey.attach('feedback', 'message_event', '{"subject": {"customer_id": "person"}, "channel": "medium", "type": {"column": "kind", "values": {"left": "unsubscribed"}}, "at": "happened_at"}');
SELECT journey.track('shop', 'consent_granted', pg_temp.who('left'), '{"channel": "email"}');
SELECT journey.run_until_idle();
SELECT pg_temp.move('2026-03-02 15:55+00');
INSERT INTO feedback VALUES ('left', 'left', 'email', '2026-03-02 10:55');
SELECT journey.run_until_idle();
SELECT is(pg_temp.state('left'), 'revoked 2026-03-02 15:55:00+00', 'a message that somebody left by, too');

-- orders
CREATE TABLE sales (id text PRIMARY KEY, customer text, status text, placed_at timestamp);
SELECT count(*) FROM journey.attach('sales', 'order', '{"key": "id", "subject": {"customer_id": "customer"}, "status": "status", "at": "placed_at"}');
INSERT INTO sales VALUES ('S1', 'east', 'paid', '2026-03-02 17:55');
SELECT journey.run_until_idle();
SELECT is((SELECT placed_at FROM journey.orders WHERE order_id = 'S1'), '2026-03-02 15:55+00'::timestamptz, 'an order is not placed later than it came');
SELECT is_empty($$SELECT * FROM journey.incident WHERE kind = 'clock_ahead'$$, 'none of which is a clock that is wrong');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
