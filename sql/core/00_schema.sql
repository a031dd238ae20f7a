CREATE SCHEMA journey;
COMMENT ON SCHEMA journey IS
    'Customer journeys inside the database: capture, interpretation, orchestration, delivery and measurement.';

-- Roles belong to the cluster, not to the extension: made when absent, kept when the extension goes.
DO $roles$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT *
        FROM (VALUES
            ('journey_owner',    'owns the schema journey and its data; nobody logs in as it'),
            ('journey_app',      'may send events: track, ingest'),
            ('journey_sender',   'may claim actions, get permits and report outcomes'),
            ('journey_analyst',  'may read decisions, funnels and reports without addresses'),
            ('journey_author',   'may write, lint and preview drafts'),
            ('journey_approver', 'may activate drafts of others, pause and resume'),
            ('journey_admin',    'may do everything the extension offers'),
            ('journey_monitor',  'may read health and metrics')) AS t(name, what)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) r.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r.name);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', r.name, 'journey: ' OPERATOR(pg_catalog.||) r.what);
        END IF;
    END LOOP;
END
$roles$;
