-- No SECURITY DEFINER and no SET: this is the hot path of every event. The C
-- code names no object through the caller's search_path and writes without asking for the
-- caller's rights on the tables; EXECUTE is the right to send events.
CREATE FUNCTION journey.track(
    source text,
    type text,
    subject jsonb,
    props jsonb DEFAULT '{}',
    occurred_at timestamptz DEFAULT NULL,
    message_id text DEFAULT NULL)
    RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'journey_track';
COMMENT ON FUNCTION journey.track(text, text, jsonb, jsonb, timestamptz, text) IS
    'Records one event: source (which system says so), type (canonical, or as Segment or GA4 name it), subject (namespace -> value), props, when it occurred (default now) and its id at the source (repeated ones take effect once). Takes effect at commit; order_placed and opt-outs stop reminders from that moment.';

CREATE FUNCTION journey.ingest(messages jsonb, OUT accepted integer, OUT quarantined integer)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ingest';
COMMENT ON FUNCTION journey.ingest(jsonb) IS
    'Records one message or an array of messages: {source, type, subject, props, occurred_at, message_id, backfill}, a CloudEvent (structured, version 1.0), a call of Segment (identify, track, page, screen, group, alias) or a payload of GA4''s measurement protocol. A bad message goes to journey.quarantine with its reason and never fails the others.';

CREATE FUNCTION journey._ingest_one(message jsonb) RETURNS text
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ingest_one';
COMMENT ON FUNCTION journey._ingest_one(jsonb) IS
    'Takes one message: null when it was taken, otherwise the reason why not. For _replay_one().';

CREATE FUNCTION journey._replay_one(origin text, original jsonb, received_at timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    op text := original ->> 'op';
    at timestamptz;
BEGIN
    IF origin = 'ingest' THEN
        RETURN journey._ingest_one(original);
    END IF;
    -- an event that told no time occurred when it came, not when it is sent again
    at := coalesce((original ->> 'occurred_at')::timestamptz, least(received_at, journey.clock()));
    IF origin = 'track' THEN
        RETURN journey._ingest_one(original || jsonb_build_object('occurred_at', at, 'backfill', op = 'b'));
    ELSE
        -- a load may have set a scope of its own; the lap judges the row, as it did before
        INSERT INTO journey.inbox_copy (op, source, type, scope, message_id, occurred_at, subject, props)
        VALUES (op::"char", original ->> 'source', original ->> 'type', original ->> 'scope', original ->> 'message_id',
                at, original -> 'subject', original -> 'props');
        RETURN NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._replay_one(text, jsonb, timestamptz) IS
    'Sends one quarantined event again, on the way it came: null when it was taken, otherwise the reason why not.';

CREATE FUNCTION journey.replay_quarantine(
    source text DEFAULT NULL,
    sqlstate text DEFAULT NULL,
    reason text DEFAULT NULL,
    received_from timestamptz DEFAULT NULL,
    received_to timestamptz DEFAULT NULL,
    quarantine_ids uuid[] DEFAULT NULL,
    max integer DEFAULT NULL,
    OUT replayed integer,
    OUT kept integer)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    r record;
    why text;
    captured integer := 0;
BEGIN
    IF max < 1 THEN
        RAISE EXCEPTION 'replay_quarantine() was to send at most % events', max
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Say how many may be sent again, at least 1, or nothing for all.';
    END IF;
    replayed := 0;
    kept := 0;
    FOR r IN
        SELECT q.quarantine_id, q.origin, q.original, q.received_at,
               q.origin = 'ingest' OR q.origin IN ('track', 'copy') AND q.original ->> 'op' IN ('e', 'b')
                   AND NOT q.original ? 'recorded' AS is_event
        FROM journey.quarantine q
        WHERE q.replayed_at IS NULL AND q.original IS NOT NULL
          AND (replay_quarantine.source IS NULL OR q.source = replay_quarantine.source)
          AND (replay_quarantine.sqlstate IS NULL OR q.sqlstate = replay_quarantine.sqlstate)
          AND (replay_quarantine.reason IS NULL OR q.reason LIKE replay_quarantine.reason)
          AND (received_from IS NULL OR q.received_at >= received_from)
          AND (received_to IS NULL OR q.received_at < received_to)
          AND (quarantine_ids IS NULL OR q.quarantine_id = ANY (quarantine_ids))
        ORDER BY q.quarantine_id
        LIMIT max
        FOR UPDATE SKIP LOCKED
    LOOP
        IF NOT r.is_event THEN
            -- a table may have moved on since: an old row must not undo what came later;
            -- and an event that is recorded would count twice
            captured := captured + (r.origin = 'capture')::integer;
            kept := kept + 1;
            CONTINUE;
        END IF;
        why := journey._replay_one(r.origin, r.original, r.received_at);
        IF why IS NULL THEN
            UPDATE journey.quarantine SET replayed_at = clock_timestamp() WHERE quarantine_id = r.quarantine_id;
            replayed := replayed + 1;
        ELSE
            UPDATE journey.quarantine SET reason = why WHERE quarantine_id = r.quarantine_id;
            kept := kept + 1;
        END IF;
    END LOOP;
    IF captured > 0 THEN
        RAISE NOTICE '% captured rows are kept: their tables may have changed since', captured
            USING HINT = 'Run journey.reconcile() for their tables; it reads what is there now.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey.replay_quarantine(text, text, text, timestamptz, timestamptz, uuid[], integer) IS
    'Sends quarantined events again, all or those of a source, of an SQLSTATE, with a reason (a LIKE pattern), received in a span of time (from, and before to) or listed by id, the oldest first and at most max: after a source, a namespace or the extension has changed. Those that are sent are marked replayed, and are set aside anew when a lap cannot take them; the others keep their newest reason. Captured rows are kept: reconcile() reads their tables again.';
