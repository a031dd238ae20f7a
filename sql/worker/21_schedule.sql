-- Laps and maintenance by pg_cron, in a database that no worker serves. As
-- their caller: pg_cron runs a job as whoever has scheduled it, and that role
-- has to be one that may log in.

CREATE FUNCTION journey._cron_jobs() RETURNS TABLE (job text, command text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY VALUES (format('journey: laps of %s', current_database()), 'SELECT journey.run_until_idle()'),
                        (format('journey: maintenance of %s', current_database()), 'SELECT journey.maintain()');
END
$$;
COMMENT ON FUNCTION journey._cron_jobs() IS 'The jobs that schedule() gives to pg_cron: name and command.';

CREATE FUNCTION journey._require_cron(elsewhere text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home text;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        IF NOT has_schema_privilege('cron', 'USAGE') THEN
            RAISE EXCEPTION 'permission denied for pg_cron'
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Have a superuser run: GRANT USAGE ON SCHEMA cron TO %I.', current_user);
        END IF;
        RETURN;
    END IF;
    BEGIN
        home := current_setting('cron.database_name', true);
    EXCEPTION WHEN insufficient_privilege THEN
        home := ''; -- it is there, and a secret
    END;
    IF home IS NULL THEN
        RAISE EXCEPTION 'this server has no pg_cron'
            USING ERRCODE = 'undefined_object',
                  HINT = format('Install it, then in postgresql.conf: shared_preload_libraries with pg_cron, and cron.database_name = ''%s''; restart, and CREATE EXTENSION pg_cron. Or have any other scheduler call journey.run_until_idle() and journey.maintain().', current_database());
    ELSIF home = current_database() THEN
        RAISE EXCEPTION 'pg_cron is not installed in this database'
            USING ERRCODE = 'undefined_object', HINT = 'Have a superuser run: CREATE EXTENSION pg_cron.';
    END IF;
    RAISE EXCEPTION 'pg_cron lives in %', CASE home WHEN '' THEN 'another database' ELSE format('the database %I', home) END
        USING ERRCODE = 'object_not_in_prerequisite_state',
              DETAIL = 'A server has one pg_cron, which keeps the jobs of all databases in its own.',
              HINT = format('In %s, as a superuser or a role with EXECUTE on the function: %s',
                            CASE home WHEN '' THEN 'the database that cron.database_name says' ELSE format('the database %I', home) END, elsewhere);
END
$$;
COMMENT ON FUNCTION journey._require_cron(text) IS
    'Raises, with what to do, unless pg_cron is in this database and the caller may use it; elsewhere: the statements for its own database.';

CREATE FUNCTION journey.schedule(every text DEFAULT '* * * * *') RETURNS TABLE (job text, schedule text, command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    j record;
BEGIN
    IF every IS NULL THEN
        RAISE EXCEPTION 'schedule() was given null'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Say how often in the words of pg_cron, or nothing for every minute.';
    ELSIF journey._preloaded() AND current_setting('journey.worker')::boolean THEN
        RAISE EXCEPTION 'a worker serves this database'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'It runs laps and maintenance by itself; set journey.worker = off to leave them to pg_cron.';
    ELSIF NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'the role % may not log in', current_user
            USING ERRCODE = 'invalid_authorization_specification', DETAIL = 'pg_cron runs a job as the role that has scheduled it.',
                  HINT = 'Call it as a role with LOGIN that is a member of journey_admin.';
    END IF;
    PERFORM journey._require_cron((SELECT string_agg(format('SELECT cron.schedule_in_database(%L, %L, %L, %L, %L);', x.job, every, x.command, current_database(), current_user), ' ')
                                   FROM journey._cron_jobs() x));
    FOR j IN SELECT x.job, x.command FROM journey._cron_jobs() x LOOP
        EXECUTE 'SELECT cron.schedule($1, $2, $3)' USING j.job, every, j.command;
        job := j.job;
        schedule := every;
        command := j.command;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey.schedule(text) IS
    'Has pg_cron run laps and maintenance in this database, as its caller, every minute or as said in the words of pg_cron; repeated, it changes the jobs. 55000 where a worker does it, or where pg_cron lives in another database: the hint has the statements for that.';

CREATE FUNCTION journey.unschedule() RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    n integer;
BEGIN
    PERFORM journey._require_cron((SELECT format('SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname IN (%s);', string_agg(quote_literal(x.job), ', '))
                                   FROM journey._cron_jobs() x));
    EXECUTE 'SELECT count(cron.unschedule(j.jobid)) FROM cron.job j WHERE j.jobname = ANY ($1)'
    INTO n USING ARRAY(SELECT x.job FROM journey._cron_jobs() x);
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey.unschedule() IS
    'Takes back what schedule() has given to pg_cron; returns how many jobs that were. Its caller''s own, or for a superuser everybody''s.';
