-- People leave audiences whatever became of the rows beside theirs: of their profile, of
-- a document that cannot be read any more, of many who leave at once.
-- mission: 22
-- What would break if this failed: one odd row takes the shop's server down, or
-- keeps everybody in the audience.
\ir ../fixtures/audience.sql
SELECT plan(3);
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

SELECT * FROM finish();
