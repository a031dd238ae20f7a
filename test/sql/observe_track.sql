-- What track() and ingest() say to callers: messages, SQLSTATEs and hints are
-- part of the interface.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT journey.install() IS NOT NULL AS installed;
\df journey.track
\df journey.ingest
\df journey.replay_quarantine
DO $$
DECLARE
    call text;
    said text;
    detail text;
    hint text;
BEGIN
    FOREACH call IN ARRAY ARRAY[
        $c$track(NULL, 'x', '{"email":"a"}')$c$,
        $c$track('s', '', '{"email":"a"}')$c$,
        $c$track('s', 'x', NULL)$c$,
        $c$track('s', 'x', '{}')$c$,
        $c$track('s', 'x', '{"email":true}')$c$,
        $c$track('s', 'x', '{"email":"a"}', '[]')$c$,
        $c$track('s', 'x', '{"email":"a"}', '{}', '-infinity')$c$,
        $c$track('s', repeat('x', 300), '{"email":"a"}')$c$,
        $c$track('s', 'x', (SELECT jsonb_object_agg('k' || i, 'v') FROM generate_series(1, 40) i))$c$,
        $c$track('s', 'x', '{"email":"a"}', jsonb_build_object('a', repeat('a', 2000000)))$c$,
        $c$ingest(NULL)$c$]
    LOOP
        BEGIN
            EXECUTE 'SELECT journey.' || call;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
            RAISE WARNING '%', left(call, 50) USING DETAIL = SQLSTATE || ' ' || said, HINT = hint;
        END;
    END LOOP;
END $$;
SELECT * FROM journey.ingest('[]');
SELECT * FROM journey.ingest('{}');
SELECT * FROM journey.ingest('7');
SELECT * FROM journey.ingest('[{"source":"s","type":"x","subject":{"email":"a"},"occurred_at":"2026-13-01"},
    {"source":"s","type":"x","subject":{"email":"a"},"occurred_at":1700000000},
    {"source":"s","type":"x","subject":"a"}, {"source":["s"],"type":"x","subject":{"email":"a"}},
    {"type":"group","userId":"u"}, {"type":"track","userId":"u"}]');
SELECT source, sqlstate, reason FROM journey.quarantine ORDER BY quarantine_id;
