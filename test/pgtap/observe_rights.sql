-- Who may send events, and that sending needs no right on our tables.
SELECT plan(12);

CREATE ROLE journey_test_shop LOGIN;
CREATE ROLE journey_test_app LOGIN IN ROLE journey_app;

SET ROLE journey_test_shop;
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":"a"}')$$, '42501', NULL, 'a role without a grant cannot track');
RESET ROLE;

SET ROLE journey_test_app;
SELECT lives_ok($$SELECT journey.track('s', 'x', '{"email":"a","customer_id":"1"}')$$, 'journey_app can');
SELECT lives_ok($$SELECT journey.ingest('[{"source":"s","type":"x","subject":{"email":"a"}}, 1]')$$, 'and ingest, quarantine included');
SELECT throws_ok('SELECT count(*) FROM journey.inbox_0', '42501', NULL, 'but not read the inbox');
SELECT throws_ok('SELECT * FROM journey._fences()', '42501', NULL, 'nor the fences');
SELECT throws_ok($$INSERT INTO journey.inbox_0 (source) VALUES ('s')$$, '42501', NULL, 'nor write the inbox by hand');
SELECT lives_ok($$INSERT INTO journey.inbox_copy (source, type, subject, props) VALUES ('s', 'x', '{"email":"a"}', '{}')$$, 'COPY has its own way in');
SELECT throws_ok($$INSERT INTO journey.inbox_copy (source, type, seq) VALUES ('s', 'x', 1)$$, '42501', NULL, 'where nobody sets the order');
SELECT throws_ok($$INSERT INTO journey.inbox_copy (source, type, op) VALUES ('s', 'x', 'a')$$, '42501', NULL, 'or the kind of row');
RESET ROLE;

SET default_transaction_read_only = on;
SELECT throws_ok($$SELECT journey.track('s', 'x', '{"email":"a"}')$$, '25006', NULL, 'a read-only transaction cannot track');
RESET default_transaction_read_only;
SELECT is((SELECT count(*)::int FROM journey.inbox_0 WHERE source = 's'), 2, 'what was taken is there');

DROP ROLE journey_test_shop, journey_test_app;
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
