-- People leave audiences whatever became of the rows beside theirs: of their profile, of
-- a document that cannot be read any more, of many who leave at once.
-- mission: 22
-- no invariants: a profile is deleted by hand, and members are copied without one
-- What would break if this failed: one odd row takes the shop's server down, or
-- keeps everybody in the audience.
\ir ../fixtures/audience.sql
SELECT plan(12);
-- forgotten by hand, between the word and the lap
SELECT pg_temp.member(c) FROM unnest(ARRAY['ann', 'ben']) c;
SELECT journey.run_until_idle();
SELECT is(pg_temp.send_all(), 2::bigint, 'two are in');
SELECT journey.run_until_idle();
SELECT journey.suppress(pg_temp.who(c), reason => 'asked to be forgotten') FROM unnest(ARRAY['ann', 'ben']) c;
DELETE FROM journey.profile WHERE profile_id = pg_temp.pid('ann');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('ben')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'somebody whose profile is gone keeps nobody else in');
SELECT is_empty($$SELECT pg_temp.waits('ann') UNION ALL SELECT type FROM journey.suppression WHERE unread$$, 'nor is looked at again');

-- a journey that cannot be read any more, or a channel
SELECT pg_temp.send_all();
SELECT pg_temp.member(c) FROM unnest(ARRAY['no', 'buyer', 'abroad', 'nochannel']) c;
SELECT journey.run_until_idle();
SELECT is(pg_temp.send_all(), 4::bigint, 'four are in');
SELECT journey.run_until_idle();
SELECT journey.apply('{"kind": "source", "name": "abroad", "system": "commerce", "scope": "abroad"}') \g /dev/null
CREATE TEMP TABLE was AS SELECT kind, name, version, doc FROM journey.document WHERE state = 'active' AND name IN ('audience', 'retargeting');
UPDATE journey.document SET doc = doc - 'steps' WHERE kind = 'journey' AND name = 'audience';
SELECT journey._invalidate('journey.document');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('no'), '{"channel": "retargeting"}'), pg_temp.buy('buyer', 'O1'), pg_temp.buy('abroad', 'O2', 'abroad') \g /dev/null
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('no')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'an opt-out needs no journey that can be read');
SELECT results_eq($$SELECT pg_temp.waits('buyer')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'what it lists nobody can tell: a purchase takes out');
SELECT is_empty($$SELECT pg_temp.waits('abroad')$$, 'but not one of another brand');
SELECT results_eq($$SELECT journey, version, rule FROM journey.decision WHERE profile_id = pg_temp.pid('no') AND kind = 'removal'$$, $$VALUES ('audience', 1, 'consent_revoked')$$, 'the decision names the journey');
UPDATE journey.document d SET doc = w.doc FROM was w WHERE (d.kind, d.name, d.version) = (w.kind, w.name, w.version);
UPDATE journey.document SET doc = doc || '{"lease": "soon"}' WHERE kind = 'channel' AND name = 'retargeting' AND state = 'active';
SELECT journey._invalidate('journey.document');
SELECT journey.track('shop', 'consent_revoked', pg_temp.who('nochannel'), '{"channel": "email"}') \g /dev/null
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT pg_temp.waits('nochannel')$$, $$VALUES ('remove J1 transactional 10:00')$$, 'an opt-out from addresses that the channel may have');
UPDATE journey.document d SET doc = w.doc FROM was w WHERE (d.kind, d.name, d.version) = (w.kind, w.name, w.version);
SELECT journey._invalidate('journey.document');
SELECT is(pg_temp.send_all(), 3::bigint, 'and they go');

-- very many at once: no lap takes longer for it than a lap may
CREATE TEMP TABLE p AS SELECT md5('p' || g)::uuid AS id, journey.bucket(md5('p' || g)::uuid) AS b, g FROM generate_series(1, 1500) g;
INSERT INTO journey.profile (bucket, profile_id, class, confidence, created_at, changed_at) SELECT b, id, 'person', 1, journey.clock(), journey.clock() FROM p;
CREATE TEMP TABLE h AS SELECT * FROM journey.outbox_history WHERE channel = 'retargeting' AND NOT payload ? '_remove' LIMIT 1;
DO $$ BEGIN
    EXECUTE (SELECT 'INSERT INTO journey.outbox_history SELECT ' || string_agg(CASE a.attname WHEN 'bucket' THEN 'p.b' WHEN 'profile_id' THEN 'p.id'
                 WHEN 'action_id' THEN 'md5(p.g::text)::uuid' WHEN 'enrollment_id' THEN 'NULL' ELSE 'h.' || quote_ident(a.attname) END, ', ' ORDER BY a.attnum) || ' FROM p, h'
             FROM pg_attribute a WHERE a.attrelid = 'journey.outbox_history'::regclass AND a.attnum > 0 AND NOT a.attisdropped);
END $$;
INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, occurred_at, effective_at, incarnation, lap, unread)
SELECT p.b, p.id, journey._next_seq(), 'manual', '', '*', 'suppressed', journey.clock(), journey.clock(), c.incarnation, c.lap + 1, true FROM p, journey.cursor c;
SELECT journey.run_once(1) \g /dev/null
SELECT results_eq($$SELECT count(*), (SELECT count(*) FROM journey.suppression WHERE unread) FROM journey.outbox WHERE payload ? '_remove'$$, 'VALUES (1000::bigint, 500::bigint)', 'a lap takes out a thousand');
SELECT journey.run_until_idle();
SELECT results_eq($$SELECT count(*), (SELECT count(*) FROM journey.suppression WHERE unread) FROM journey.outbox WHERE payload ? '_remove'$$, 'VALUES (1500::bigint, 0::bigint)', 'and the next ones the rest');
SELECT * FROM finish();
