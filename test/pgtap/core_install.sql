-- A database after CREATE EXTENSION, install() and adopt(): installed once,
-- adopted, silent until somebody says otherwise.
SELECT plan(4);

SELECT is(journey.install(), 'already installed', 'install() is idempotent');
SELECT is(journey._node_state(), 'adopted', 'adopt() makes the node ours');
SELECT is(journey.mode(), 'off', 'a fresh node is off');
SELECT is((SELECT count(*)::int FROM journey.schema_version), 1, 'the schema version is recorded once');

SELECT * FROM finish();
