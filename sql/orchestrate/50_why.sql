-- Why somebody was contacted, why somebody was not, and what would happen: read from the rows that the engine wrote.

CREATE FUNCTION journey.preview(journey text, subject jsonb, at timestamptz DEFAULT NULL)
    RETURNS TABLE (at_time timestamptz, step text, what text, verdict text, reason text, clauses jsonb)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_preview';
COMMENT ON FUNCTION journey.preview(text, jsonb, timestamptz) IS
    'The way a person would take through a live journey from a moment on (default: now), by the engine itself and with nothing written: their last event of an entry type is played again, waits are passed, sends are taken as sent. No row for an unknown subject.';

CREATE FUNCTION journey._clauses_said(clauses jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT string_agg(format('%s is %s', c ->> 'clause',
                                     CASE c ->> 'verdict' WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE 'unknown' END)
                              || coalesce(' (' || (c ->> 'error') || ')', ''), '; ' ORDER BY n)
            FROM jsonb_array_elements(clauses) WITH ORDINALITY AS t (c, n));
END
$$;
COMMENT ON FUNCTION journey._clauses_said(jsonb) IS
    'The clauses of a decision as a sentence.';

CREATE FUNCTION journey._inputs_said(inputs jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT string_agg(format('%s = %s', i.key, i.value), ', ' ORDER BY i.key) FROM jsonb_each_text(inputs) AS i);
END
$$;
COMMENT ON FUNCTION journey._inputs_said(jsonb) IS
    'The values that a decision read, as a list.';

CREATE FUNCTION journey._decision_said(d jsonb) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    said text := CASE d ->> 'verdict'
        WHEN 'enrolled' THEN format('entered %s (version %s) as %s', d ->> 'journey', d ->> 'version', d ->> 'arm')
        WHEN 'not_enrolled' THEN format('did not enter %s (version %s)', d ->> 'journey', d ->> 'version')
        WHEN 'enqueue' THEN format(CASE d ->> 'kind' WHEN 'removal' THEN '%s: decided to take out of the audience' ELSE '%s: decided to send' END, d ->> 'step')
        WHEN 'refused' THEN format('%s: refused', d ->> 'step')
        WHEN 'held' THEN format('%s: held, to be decided again', d ->> 'step')
        WHEN 'branch' THEN format('%s: went on', d ->> 'step')
        ELSE format('%s: %s', d ->> 'step', d ->> 'verdict') END;
BEGIN
    IF d ->> 'reason' <> '' THEN
        said := said || format(' (%s%s)', d ->> 'reason',
            (SELECT ': ' || r.meaning FROM journey.reason_code AS r WHERE r.reason = d ->> 'reason'));
    END IF;
    IF (d ->> 'repeats')::integer > 1 THEN
        said := said || format(', %s times', d ->> 'repeats');
    END IF;
    RETURN said;
END
$$;
COMMENT ON FUNCTION journey._decision_said(jsonb) IS
    'One row of journey.decision, given as jsonb, in words.';

CREATE FUNCTION journey._decision_because(d jsonb) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN nullif(concat_ws('. ',
        'decided by ' || nullif(d ->> 'rule', ''),
        journey._clauses_said(d -> 'clauses'),
        'with ' || journey._inputs_said(d -> 'inputs'),
        'weighed: ' || (SELECT string_agg(concat_ws(' ', c ->> 'channel', c ->> 'winner', '(' || (c ->> 'reason') || ')'), ', ' ORDER BY n)
                        FROM jsonb_array_elements(d -> 'candidates') WITH ORDINALITY AS t (c, n)),
        'documents ' || (SELECT string_agg(format('%s v%s', v.key, v.value), ', ' ORDER BY v.key)
                         FROM jsonb_each_text(d -> 'versions') AS v)), '');
END
$$;
COMMENT ON FUNCTION journey._decision_because(jsonb) IS
    'What a row of journey.decision, given as jsonb, was based on: rule, clauses with their verdicts, values, rivals, versions.';

CREATE FUNCTION journey._enrollment_told(person uuid, enrollment uuid, action uuid DEFAULT NULL)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    b smallint := journey.bucket(person);
BEGIN
    -- What happens at one instant is told in the order of the steps: a step is entered (n), decided, permitted, done with, left (n + 1).
    RETURN QUERY
    WITH moves AS (
        SELECT t.n, t.from_step, t.to_step, t.edge, t.reason, t.at
        FROM journey.transition AS t
        WHERE t.bucket = b AND t.profile_id = person AND t.enrollment_id = enrollment
    ), actions AS (
        -- what requeue() has brought back belongs to no enrollment any more: the decision that made it says to which it did
        SELECT x.*
        FROM (SELECT o.action_id, o.step, o.enrollment_id, o.decision_id, NULL::timestamptz AS finished_at, o.status, o.reason, o.provider_ref, o.error
              FROM journey.outbox AS o WHERE o.bucket = b AND o.profile_id = person
              UNION ALL
              SELECT h.action_id, h.step, h.enrollment_id, h.decision_id, h.finished_at, h.status, h.reason, h.provider_ref, h.error
              FROM journey.outbox_history AS h WHERE h.bucket = b AND h.profile_id = person) AS x
        WHERE x.action_id = action OR x.enrollment_id = enrollment
           OR x.decision_id IN (SELECT d.decision_id FROM journey.decision AS d
                                WHERE d.bucket = b AND d.profile_id = person AND d.enrollment_id = enrollment)
    ), told (at, step, place, what, because) AS (
        SELECT d.decided_at, CASE WHEN d.kind = 'entry' THEN NULL ELSE d.step END, 1,
               journey._decision_said(to_jsonb(d)), journey._decision_because(to_jsonb(d))
        FROM journey.decision AS d
        WHERE d.bucket = b AND d.profile_id = person AND d.verdict <> 'branch'
          AND (d.enrollment_id = enrollment OR d.action_id IN (SELECT x.action_id FROM actions AS x))
        UNION ALL
        SELECT a.granted_at, x.step, 2,
               format('%s: permit %s for %s was granted to %s%s', x.step, a.attempt, a.channel, a.sender,
                      coalesce(', ' || a.outcome, '')), NULL
        FROM journey.attempt_log AS a
        JOIN actions AS x ON x.action_id = a.action_id
        WHERE a.bucket = b AND a.profile_id = person
        UNION ALL
        SELECT x.finished_at, x.step, 3, format('%s: %s', x.step, x.status) || coalesce(' (' || nullif(x.reason, '') || ')', ''),
               nullif(concat_ws(', ', 'provider reference ' || x.provider_ref, 'error ' || x.error), '')
        FROM actions AS x
        WHERE x.finished_at IS NOT NULL
    )
    SELECT x.at, x.what, x.because
    FROM (
        SELECT t.at, coalesce((SELECT max(m.n) FROM moves AS m WHERE m.to_step = t.step AND m.at <= t.at), 0) AS n, t.place, t.what, t.because
        FROM told AS t
        UNION ALL
        SELECT m.at, m.n, 0,
               CASE WHEN m.from_step IS NULL THEN format('started at %s', m.to_step)
                    WHEN m.to_step IS NULL THEN format('ended at %s', m.from_step)
                    ELSE format('%s to %s', m.from_step, m.to_step) END
               || CASE WHEN m.edge IN ('entry', 'next') THEN '' ELSE ' by ' || m.edge END || coalesce(' (' || m.reason || ')', ''),
               (SELECT journey._clauses_said(d.clauses) FROM journey.decision AS d
                WHERE d.bucket = b AND d.profile_id = person AND d.enrollment_id = enrollment
                  AND d.verdict = 'branch' AND d.step = m.from_step AND d.decided_at >= m.at
                ORDER BY d.decided_at LIMIT 1)
        FROM moves AS m
        UNION ALL
        SELECT c.at, 2147483647, 0, format('reached the goal: %s', c.goal),
               nullif(concat_ws(', ', 'order ' || c.order_id, c.amount || coalesce(' ' || c.currency, '')), '')
        FROM journey.conversion AS c
        WHERE c.bucket = b AND c.profile_id = person AND c.enrollment_id = enrollment
    ) AS x
    ORDER BY x.at, x.n, x.place;
END
$$;
COMMENT ON FUNCTION journey._enrollment_told(uuid, uuid, uuid) IS
    'Everything that became of one enrollment, or of an action without one, in order, in words.';

CREATE FUNCTION journey.why(action_id uuid)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_action record;
BEGIN
    SELECT x.profile_id,
           coalesce(x.enrollment_id, (SELECT d.enrollment_id FROM journey.decision AS d
                                      WHERE d.bucket = x.bucket AND d.profile_id = x.profile_id AND d.decision_id = x.decision_id)) AS enrollment_id
    INTO found_action
    FROM (SELECT o.bucket, o.profile_id, o.enrollment_id, o.decision_id FROM journey.outbox AS o WHERE o.action_id = why.action_id
          UNION ALL
          SELECT h.bucket, h.profile_id, h.enrollment_id, h.decision_id FROM journey.outbox_history AS h WHERE h.action_id = why.action_id) AS x
    LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT t.at, t.what, t.because
        FROM journey._enrollment_told(found_action.profile_id, found_action.enrollment_id, why.action_id) AS t;
    END IF;
END
$$;
COMMENT ON FUNCTION journey.why(uuid) IS
    'How it came to an action and what became of it: entry, steps, decisions with each clause, permits, outcome. No row for an unknown action.';

CREATE FUNCTION journey.why(provider_ref text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    action uuid := (
        SELECT x.action_id
        FROM (SELECT o.action_id FROM journey.outbox AS o WHERE o.provider_ref = why.provider_ref
              UNION ALL
              SELECT h.action_id FROM journey.outbox_history AS h WHERE h.provider_ref = why.provider_ref) AS x
        LIMIT 1);
BEGIN
    IF action IS NOT NULL THEN
        RETURN QUERY SELECT t.at, t.what, t.because FROM journey.why(action) AS t;
    END IF;
END
$$;
COMMENT ON FUNCTION journey.why(text) IS
    'As why(action), found by the reference that the provider gave to the message.';

CREATE FUNCTION journey.why(subject jsonb, journey text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(why.subject);
BEGIN
    RETURN QUERY
    SELECT t.at, t.what, t.because
    FROM (SELECT e.enrollment_id, e.entered_at FROM journey.enrollment AS e
          WHERE e.bucket = journey.bucket(person) AND e.profile_id = person AND e.journey = why.journey
          ORDER BY e.entered_at DESC LIMIT 10) AS e
    CROSS JOIN LATERAL journey._enrollment_told(person, e.enrollment_id) WITH ORDINALITY AS t (at, what, because, n)
    ORDER BY e.entered_at, e.enrollment_id, t.n;
END
$$;
COMMENT ON FUNCTION journey.why(jsonb, text) IS
    'What a person has been through on a journey, their last ten enrollments. No row for an unknown subject.';

CREATE FUNCTION journey._refusals_told(person uuid, wanted text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.at, s.what, s.because
    FROM (
        SELECT d.decided_at, journey._decision_said(to_jsonb(d)), journey._decision_because(to_jsonb(d))
        FROM journey.decision AS d
        WHERE d.bucket = journey.bucket(person) AND d.profile_id = person AND d.journey = wanted
          AND d.verdict IN ('not_enrolled', 'refused', 'held')
        UNION ALL
        SELECT h.finished_at, format('%s: %s by the permit or the sender (%s%s)', h.step, h.status, h.reason,
                                     (SELECT ': ' || r.meaning FROM journey.reason_code AS r WHERE r.reason = h.reason)), h.error
        FROM journey.outbox_history AS h
        WHERE h.bucket = journey.bucket(person) AND h.profile_id = person AND h.journey = wanted AND h.status <> 'sent'
        UNION ALL
        SELECT e.exited_at, format('left %s at the end of %s steps (%s)', e.journey, e.visit, e.exit_reason), NULL
        FROM journey.enrollment AS e
        WHERE e.bucket = journey.bucket(person) AND e.profile_id = person AND e.journey = wanted AND e.status = 'exited'
    ) AS s (at, what, because)
    ORDER BY s.at;
END
$$;
COMMENT ON FUNCTION journey._refusals_told(uuid, text) IS
    'Each recorded reason for which a person was not contacted by a journey.';

CREATE FUNCTION journey._channel_obstacles(person uuid, in_scope text, on_channel text, for_purpose text)
    RETURNS TABLE (what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    b smallint := journey.bucket(person);
    live jsonb := (SELECT d.doc FROM journey.document AS d WHERE d.kind = 'channel' AND d.name = on_channel AND d.state = 'active');
    namespace text := CASE WHEN live IS NOT NULL THEN live ->> 'address'
                      ELSE (SELECT k.address FROM (VALUES ('email', 'email'), ('sms', 'phone'), ('push', 'push')) AS k (name, address) WHERE k.name = on_channel) END;
    answer text;
    said text;
BEGIN
    -- the questions that a permit asks in deliver/people.c
    IF live ->> 'mode' = 'ops' THEN
        RETURN;
    END IF;
    IF for_purpose = 'marketing' THEN
        SELECT coalesce(max(c.state) FILTER (WHERE c.state NOT IN ('granted', 'unknown', 'pending')),
                        max(c.state) FILTER (WHERE c.state = 'granted' AND (c.expires_at IS NULL OR c.expires_at > journey.clock())),
                        max(CASE c.state WHEN 'granted' THEN 'expired' ELSE c.state END)),
               string_agg(format('%s %s: %s since %s', c.channel, c.purpose, c.state, c.at)
                          || coalesce(format(', until %s', c.expires_at), ''), '; ' ORDER BY c.at)
        INTO answer, said
        FROM (SELECT bucket, profile_id, scope, channel, purpose, state, at, expires_at FROM journey.consent
              UNION ALL
              SELECT bucket, profile_id, scope, channel, purpose, state, at, expires_at FROM journey.consent_history
              WHERE unread AND state <> 'granted') AS c
        WHERE c.bucket = b AND c.profile_id = person AND c.scope IN (in_scope, '*')
          AND c.channel IN (on_channel, namespace, '*') AND c.purpose IN (for_purpose, '*');
        IF answer IS DISTINCT FROM 'granted' THEN
            RETURN QUERY SELECT format('there is no consent to marketing by %s', on_channel), coalesce(said, 'nothing has been said about it');
        END IF;
    END IF;
    IF namespace IS NOT NULL AND NOT EXISTS (
        SELECT FROM (SELECT c.state, bool_or(c.state IN ('hard', 'complained')) OVER (PARTITION BY c.address_hash) AS spoilt
                     FROM (SELECT bucket, profile_id, scope, channel, state, address_hash FROM journey.contact_point
                           UNION ALL
                           SELECT bucket, profile_id, scope, channel, 'hard', address_hash FROM journey.attempt_log
                           WHERE address_fault IS NOT NULL) AS c
                     WHERE c.bucket = b AND c.profile_id = person AND c.scope IN (in_scope, '*') AND c.channel IN (on_channel, namespace, '*')) AS c
        WHERE c.state <> 'replaced' AND NOT c.spoilt) THEN
        RETURN QUERY SELECT format('there is no usable address for %s', on_channel), (
            SELECT string_agg(format('%s: %s since %s', c.channel, c.state, c.since), '; ' ORDER BY c.since)
            FROM journey.contact_point AS c WHERE c.bucket = b AND c.profile_id = person);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._channel_obstacles(uuid, text, text, text) IS
    'Why a permit for a message of a purpose to a person by a channel would be refused at this moment: consent and address, as the permit reads them.';

CREATE FUNCTION journey._obstacles(person uuid, wanted text)
    RETURNS TABLE (what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live jsonb := (SELECT d.doc FROM journey.document AS d WHERE d.kind = 'journey' AND d.name = wanted AND d.state = 'active');
    entries text[] := ARRAY(SELECT DISTINCT t FROM jsonb_array_elements(live -> 'entry') AS x,
                            jsonb_array_elements_text(CASE jsonb_typeof(x -> 'on') WHEN 'array' THEN x -> 'on' ELSE jsonb_build_array(x -> 'on') END) AS t
                            WHERE x ? 'on');
    b smallint := journey.bucket(person);
    state text := journey.mode();
    -- of an action: that of the event which enters
    in_scope text := coalesce((SELECT e.scope FROM journey.event AS e WHERE e.bucket = b AND e.profile_id = person AND e.type = ANY (entries)
                               ORDER BY e.received_at DESC, e.seq DESC LIMIT 1), nullif(live ->> 'scope', '*'), 'default');
BEGIN
    IF live IS NULL THEN
        RETURN QUERY SELECT 'the journey is not live', format('no active document journey/%s', wanted);
        RETURN;
    END IF;
    IF state = 'off' OR (state = 'sandbox' AND NOT EXISTS (SELECT FROM journey.test_profile AS t WHERE t.bucket = b AND t.profile_id = person)) THEN
        RETURN QUERY SELECT format('this database is in mode %s', state), CASE state WHEN 'off' THEN 'which contacts nobody' ELSE 'which contacts test profiles only' END;
    END IF;
    IF NOT EXISTS (SELECT FROM journey.event AS e WHERE e.bucket = b AND e.profile_id = person AND e.type = ANY (entries)) THEN
        RETURN QUERY SELECT 'no event that enters the journey has been seen for this person', format('it enters on %s', array_to_string(entries, ', '));
    ELSIF NOT EXISTS (SELECT FROM journey.decision AS d WHERE d.bucket = b AND d.profile_id = person AND d.journey = wanted) THEN
        RETURN QUERY SELECT 'the entry condition was not true at any event', (
            SELECT string_agg(x ->> 'when', '; or ') FROM jsonb_array_elements(live -> 'entry') AS x);
    END IF;
    RETURN QUERY SELECT CASE p.what WHEN 'all' THEN 'everything is paused' ELSE format('%s %s is paused', p.what, p.name) END, p.reason
    FROM journey.pause AS p
    WHERE p.what = 'all' OR (p.what = 'journey' AND p.name = wanted) OR (p.what = 'scope' AND p.name = in_scope)
       OR (p.what = 'template' AND jsonb_path_exists(live, '$.steps.*.send.template ? (@ == $n)', jsonb_build_object('n', p.name)))
       OR (p.what = 'channel' AND jsonb_path_exists(live, '$.steps.*.send.channel[*] ? (@ == $n)', jsonb_build_object('n', p.name)));
    RETURN QUERY SELECT 'processing of this person''s data is restricted'::text, NULL::text FROM journey.profile AS p
    WHERE p.bucket = b AND p.profile_id = person AND p.restricted;
    RETURN QUERY SELECT 'somebody has suppressed this person by hand'::text, s.note FROM journey.suppression AS s
    WHERE s.bucket = b AND s.profile_id = person AND s.type = 'manual' AND live ->> 'purpose' <> 'transactional'
      AND s.released_at IS NULL AND (s.until IS NULL OR s.until > journey.clock()) AND s.scope IN (in_scope, '*');
    RETURN QUERY SELECT o.what, o.because
    FROM (SELECT DISTINCT c #>> '{}' AS channel FROM jsonb_path_query(live, '$.steps.*.send.channel[*]') AS c ORDER BY 1) AS x
    CROSS JOIN LATERAL journey._channel_obstacles(person, in_scope, x.channel, live ->> 'purpose') AS o;
END
$$;
COMMENT ON FUNCTION journey._obstacles(uuid, text) IS
    'What stands between a person and a journey at this moment.';

CREATE FUNCTION journey.why_not(subject jsonb, journey text)
    RETURNS TABLE (at timestamptz, what text, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(why_not.subject);
BEGIN
    IF why_not.subject IS NULL OR why_not.journey IS NULL THEN
        RETURN;
    END IF;
    IF person IS NULL THEN
        RETURN QUERY SELECT NULL::timestamptz, 'nobody is known by this subject'::text,
                            'no event, customer row or order has named one of its keys'::text;
        RETURN;
    END IF;
    RETURN QUERY SELECT t.at, t.what, t.because FROM journey._refusals_told(person, why_not.journey) AS t;
    RETURN QUERY SELECT NULL::timestamptz, 'now: ' || o.what, o.because FROM journey._obstacles(person, why_not.journey) AS o;
END
$$;
COMMENT ON FUNCTION journey.why_not(jsonb, text) IS
    'Why a person was not, or would not be, contacted by a journey: each recorded refusal with its clauses, then what stands in the way now, as the permit asks (rows without a time). What changes by the minute (quiet hours, caps, stock) preview() judges.';

CREATE FUNCTION journey.contacts(subject jsonb, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL)
    RETURNS TABLE (at timestamptz, channel text, journey text, step text, purpose text, template text, template_version integer,
                   status text, provider_ref text, action_id uuid, decision_id uuid)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(contacts.subject);
    b smallint := journey.bucket(person);
BEGIN
    RETURN QUERY
    SELECT a.granted_at, a.channel, a.journey, x.step, a.purpose, x.template, x.template_version,
           -- a late word settles the last attempt, of which nobody knew
           CASE WHEN x.status = 'sent' AND x.attempt = a.attempt THEN 'sent' ELSE coalesce(a.outcome, x.status) END,
           x.provider_ref, a.action_id, x.decision_id
    FROM journey.attempt_log AS a
    LEFT JOIN (
        SELECT o.action_id, o.step, o.template, o.template_version, o.status, o.attempt, o.provider_ref, o.decision_id
        FROM journey.outbox AS o WHERE o.bucket = b AND o.profile_id = person
        UNION ALL
        SELECT h.action_id, h.step, h.template, h.template_version, h.status, h.attempt, h.provider_ref, h.decision_id
        FROM journey.outbox_history AS h WHERE h.bucket = b AND h.profile_id = person
    ) AS x ON x.action_id = a.action_id
    WHERE a.bucket = b AND a.profile_id = person
      AND a.granted_at >= coalesce(contacts."from", '-infinity') AND a.granted_at < coalesce(contacts."to", 'infinity')
    ORDER BY a.granted_at, a.attempt;
END
$$;
COMMENT ON FUNCTION journey.contacts(jsonb, timestamptz, timestamptz) IS
    'Every permit that was granted to contact a person, with what became of it. No row for an unknown subject.';
