-- Who may read what, and that nobody writes our tables: docs/security.md
\set QUIET on
SET client_min_messages = warning;
SELECT plan(21);

CREATE FUNCTION pg_temp.may(who text, what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    EXECUTE what;
    RESET ROLE;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RESET ROLE;
    RETURN false;
END $$;

SELECT ok(pg_temp.may('journey_monitor', 'SELECT FROM journey.health'), 'monitoring sees health');
SELECT ok(pg_temp.may('journey_monitor', 'SELECT FROM journey.incident'), 'and incidents');
SELECT ok(NOT pg_temp.may('journey_monitor', 'SELECT FROM journey.decision'), 'but nobody''s decisions');
SELECT ok(pg_temp.may('journey_analyst', 'SELECT FROM journey.decision'), 'analysts see decisions');
SELECT ok(pg_temp.may('journey_analyst', 'SELECT FROM journey.orders'), 'and orders');
SELECT ok(NOT pg_temp.may('journey_analyst', 'SELECT FROM journey.contact_point'), 'but no addresses');
SELECT ok(NOT pg_temp.may('journey_analyst', 'SELECT FROM journey.identity'), 'no keys of people');
SELECT ok(NOT pg_temp.may('journey_analyst', 'SELECT FROM journey.quarantine'), 'no originals of messages');
SELECT ok(NOT pg_temp.may('journey_analyst', $$SELECT journey.track('s', 'x', '{"email": "a"}')$$), 'and send no events');
SELECT ok(pg_temp.may('journey_admin', 'SELECT FROM journey.quarantine, journey.contact_point, journey.identity, journey.event'), 'administrators see all of it');
SELECT ok(NOT pg_temp.may('journey_admin', 'SELECT FROM journey.secret'), 'but not the secret behind tokens');
SELECT ok(NOT pg_temp.may('journey_admin', 'UPDATE journey.consent SET state = state'), 'and write no table by hand');
SELECT ok(NOT pg_temp.may('journey_admin', 'SELECT FROM journey.inbox_0'), 'nor read the inbox');
SELECT ok(pg_temp.may('journey_admin', 'SELECT journey.maintain()'), 'house-keeping is theirs');
SELECT ok(NOT pg_temp.may('journey_author', 'SELECT journey.maintain()'), 'and not the authors''');
SELECT ok(NOT pg_temp.may('journey_author', 'SELECT journey.pause()'), 'who pause nothing');
SELECT ok(pg_temp.may('journey_approver', $$SELECT journey.pause('channel', 'sms')$$), 'approvers do');
SELECT ok(pg_temp.may('journey_sender', $$SELECT journey.claim('email')$$), 'senders claim');
SELECT ok(NOT pg_temp.may('journey_sender', 'SELECT FROM journey.outbox'), 'and read no table');
SELECT ok(NOT pg_temp.may('journey_sender', 'SELECT journey.requeue(ARRAY[]::uuid[])'), 'nor bring back dead letters');
SELECT is_empty($$
    SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND a.grantee <> 'journey_owner'::regrole AND a.privilege_type <> 'SELECT'$$,
    'nobody but the owner may change a table');
SELECT * FROM finish();
