-- A claim that waits does not walk again and again what is paused: where a look from the
-- beginning is dear, it asks for nothing that costs as much.
-- no invariants: most actions are copied by hand, without a decision of their own
\set QUIET on
SET client_min_messages = warning;
SELECT plan(3);
UPDATE journey.node SET mode = 'live';
\ir ../lib/deliver.sql
SELECT pg_temp.action('P', journey => 'j1') \g /dev/null
DO $$ BEGIN
    EXECUTE (SELECT 'INSERT INTO journey.outbox SELECT ' || string_agg(CASE a.attname WHEN 'action_id' THEN 'md5(g::text)::uuid' WHEN 'idempotency_key' THEN 'g::text'
                 ELSE 'o.' || quote_ident(a.attname) END, ', ' ORDER BY a.attnum) || ' FROM generate_series(1, 30000) g, (SELECT * FROM journey.outbox LIMIT 1) o'
             FROM pg_attribute a WHERE a.attrelid = 'journey.outbox'::regclass AND a.attnum > 0 AND NOT a.attisdropped);
END $$;
INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, digest)
VALUES ('journey', 'j1', 1, 'retired', '{}', '[]', 'journey_owner', 'test', now(), '');
SELECT journey.pause('journey', 'j1') \g /dev/null
BEGIN;
SELECT is((SELECT count(*) FROM journey.claim('sms', 10, wait => '300 ms')), 0::bigint, 'nothing on another channel');
SELECT is((SELECT count(*) FROM journey.claim('email', 10, wait => '300 ms')), 0::bigint, 'nothing but what is paused');
SELECT cmp_ok((SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'outbox'), '<', 45000::bigint, 'which was walked once');
COMMIT;
SELECT * FROM finish();
