-- What somebody else puts on our tables would run in a lap with its rights: no lap runs beside it.
SET client_min_messages = warning;
SELECT plan(23);
CREATE FUNCTION pg_temp.comes(name text) RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('web', 'identified', jsonb_build_object('customer_id', name), '{}') $$;
CREATE FUNCTION pg_temp.known(name text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM journey.identity WHERE value = name $$;
CREATE FUNCTION pg_temp.hints() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT hint FROM journey.health WHERE topic = 'tables' AND status = 'error' ORDER BY 1 $$;
SELECT pg_temp.comes('first');
SELECT lives_ok('SELECT journey.run_until_idle()', 'a lap runs');
SELECT is_empty('SELECT pg_temp.hints()', 'health has nothing to say');

CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER audit BEFORE INSERT ON journey.profile FOR EACH ROW EXECUTE FUNCTION public.audit();
SELECT pg_temp.comes('second');
SELECT throws_ok('SELECT journey.run_once()', '55000', 'no lap runs: the table journey.profile has the trigger audit, which is not of journey', 'a trigger of somebody else''s');
SELECT throws_ok('SELECT journey.run_once()', '55000', NULL, 'and so the next');
SELECT results_eq('SELECT pg_temp.hints()', $$VALUES ('DROP TRIGGER audit ON journey.profile;')$$, 'health says what to do');
ALTER TABLE journey.profile DISABLE TRIGGER audit;
SELECT lives_ok('SELECT journey.run_once()', 'one that is disabled is none');
ALTER TABLE journey.profile ENABLE TRIGGER audit;
SELECT throws_ok('SELECT journey.run_once()', '55000', NULL, 'enabled, it is one');
DROP TRIGGER audit ON journey.profile;
SELECT lives_ok('SELECT journey.run_until_idle()', 'when it has gone, laps go on');
SELECT is(pg_temp.known('second'), 1::bigint, 'and nothing is lost');

-- on a partition that comes later
CREATE TABLE journey.event_later (LIKE journey.event INCLUDING ALL);
ALTER TABLE journey.event_later OWNER TO journey_owner;
ALTER TABLE journey.event ATTACH PARTITION journey.event_later FOR VALUES FROM ('2199-01-01') TO ('2199-02-01');
SELECT lives_ok('SELECT journey.run_once()', 'a new partition is ours');
CREATE TRIGGER audit BEFORE INSERT ON journey.event_later FOR EACH ROW EXECUTE FUNCTION public.audit();
SELECT throws_ok('SELECT journey.run_once()', '55000', NULL, 'a trigger on it');
DROP TABLE journey.event_later;

CREATE RULE nothing AS ON INSERT TO journey.stage_transition DO INSTEAD NOTHING;
SELECT throws_ok('SELECT journey.run_once()', '55000', 'no lap runs: the table journey.stage_transition has the rule nothing', 'a rule');
SELECT throws_ok('SELECT journey.maintain()', '55000', 'no lap runs: the table journey.stage_transition has the rule nothing', 'nor does maintenance');
DROP RULE nothing ON journey.stage_transition;
CREATE ROLE somebody_else;
GRANT CREATE ON SCHEMA journey TO somebody_else;
ALTER TABLE journey.consent OWNER TO somebody_else;
SELECT throws_ok('SELECT journey.run_once()', '55000', 'no lap runs: the table journey.consent belongs to somebody_else, not to journey_owner', 'another owner');
SELECT results_eq('SELECT pg_temp.hints()', $$VALUES ('ALTER TABLE journey.consent OWNER TO journey_owner;')$$, 'health says what to do');
SELECT throws_ok('SELECT journey.adopt()', '55000', 'this database cannot be adopted: the table journey.consent belongs to somebody_else, not to journey_owner', 'nor is the database adopted');
ALTER TABLE journey.consent OWNER TO journey_owner;
-- as after pg_restore --no-owner, into a database that nobody has adopted yet
UPDATE journey.node SET incarnation = 0;
ALTER TABLE journey.schema_version OWNER TO somebody_else;
ALTER TABLE journey.incident OWNER TO somebody_else;
ALTER TABLE journey.attachment OWNER TO somebody_else;
SELECT results_eq('SELECT pg_temp.hints()', $$VALUES ('ALTER TABLE journey.attachment OWNER TO journey_owner;'), ('ALTER TABLE journey.incident OWNER TO journey_owner;'),
    ('ALTER TABLE journey.schema_version OWNER TO journey_owner;')$$, 'health says so of tables that it cannot read');
SELECT is_empty($$SELECT * FROM journey.health WHERE topic NOT IN ('mode', 'worker', 'inbox', 'tables')$$, 'and leaves out what stands in them');
SELECT throws_matching('SELECT journey.adopt()', 'this database cannot be adopted: the table journey\.(attachment|incident|schema_version) belongs to somebody_else', 'adopt() says it, too');
SELECT hint AS mend FROM journey.health WHERE topic = 'tables' \gexec
SELECT is_empty('SELECT pg_temp.hints()', 'with those commands it is mended');
SELECT isnt_empty('SELECT * FROM journey.adopt()', 'and adopted');
SELECT lives_ok('SELECT journey.run_until_idle()', 'laps go on');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
REVOKE CREATE ON SCHEMA journey FROM somebody_else;
DROP ROLE somebody_else;
SELECT * FROM finish();
