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
            ('journey_monitor',  'may read health and metrics'),
            ('journey_reader',   'may read messages, orders and decisions of the scopes whose roles it is given: journey_scope_NAME')) AS t(name, what)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) r.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r.name);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', r.name, 'journey: ' OPERATOR(pg_catalog.||) r.what);
        END IF;
    END LOOP;
    -- somebody may have made them beforehand, so as to be the owner of what comes now
    SELECT a.rolname AS name INTO r FROM pg_catalog.pg_roles a
    WHERE a.rolname OPERATOR(pg_catalog.~) '^journey_(owner|app|sender|analyst|author|approver|admin|monitor|reader)$'
      AND (a.rolsuper OR a.rolcanlogin OR a.rolcreaterole OR a.rolcreatedb OR a.rolreplication OR a.rolbypassrls)
    ORDER BY a.rolname LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the role % is there already, and may do too much', r.name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'The roles of journey may not log in, and have no attribute of a superuser''s.',
                  HINT = pg_catalog.format('Find out who made it; then ALTER ROLE %I NOSUPERUSER NOLOGIN NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;', r.name);
    END IF;
    SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(m.member)) AS name INTO r
    FROM pg_catalog.pg_auth_members m WHERE m.roleid OPERATOR(pg_catalog.=) 'journey_owner'::pg_catalog.regrole
    ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% is a member of journey_owner', r.name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'Members of journey_owner can read and write all that journey holds, past its functions.',
                  HINT = pg_catalog.format('REVOKE journey_owner FROM %s; and grant journey_admin to whom it concerns.', r.name);
    END IF;
END
$roles$;
