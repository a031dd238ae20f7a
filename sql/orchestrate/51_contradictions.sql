-- Each system did what it was told, and the person is told two things: what does not go together in one outbox.
CREATE FUNCTION journey._messages_of(person uuid)
    RETURNS TABLE (at timestamptz, action_id uuid, enrollment_id uuid, journey text, step text, channel text, purpose text, scope text,
                   status text, payload jsonb, cart text, stage text, exclusion text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED ROWS 20
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    b smallint := journey.bucket(person);
BEGIN
    RETURN QUERY
    SELECT a.at, a.action_id, a.enrollment_id, a.journey, a.step, a.channel, a.purpose, a.scope, a.status, a.payload, nullif(e.entry_cart, ''), d.doc ->> 'stage',
           -- counted by person, or by an object, as in exclusion_group
           CASE jsonb_typeof(d.doc -> 'exclusion_group')
               WHEN 'string' THEN d.doc ->> 'exclusion_group'
               WHEN 'object' THEN concat_ws('/', d.doc #>> '{exclusion_group,name}',
                    CASE WHEN d.doc #>> '{exclusion_group,per}' <> 'person' THEN coalesce(e.data ->> ((d.doc #>> '{exclusion_group,per}') || '_id'), e.key) END) END
    FROM (
        SELECT coalesce(o.granted_at, o.due_at) AS at, o.action_id, o.enrollment_id, o.journey, o.version, o.step, o.channel, o.purpose, o.scope, o.status, o.payload
        FROM journey.outbox AS o WHERE o.bucket = b AND o.profile_id = person
        UNION ALL
        SELECT coalesce(h.sent_at, h.granted_at), h.action_id, h.enrollment_id, h.journey, h.version, h.step, h.channel, h.purpose, h.scope, h.status, h.payload
        FROM journey.outbox_history AS h WHERE h.bucket = b AND h.profile_id = person AND h.granted_at IS NOT NULL AND h.status IN ('sent', 'unknown')) AS a
    LEFT JOIN journey.enrollment AS e ON e.bucket = b AND e.profile_id = person AND e.enrollment_id = a.enrollment_id
    LEFT JOIN journey.document AS d ON d.kind = 'journey' AND d.name = a.journey AND d.version = a.version
    WHERE NOT a.payload ? '_remove';
END
$$;
COMMENT ON FUNCTION journey._messages_of(uuid) IS
    'What has been sent to a person, may have been, or waits to be, with what its journey and enrollment say of it.';

CREATE FUNCTION journey.contradictions(subject jsonb, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, within interval DEFAULT '1 day')
    RETURNS TABLE (at timestamptz, kind text, action_id uuid, journey text, step text, channel text, status text,
                   against text, against_at timestamptz, against_action uuid, because text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 20
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    person uuid := journey.profile_id(contradictions.subject);
    b smallint := journey.bucket(person);
BEGIN
    PERFORM journey._demand_span(contradictions.within, 'contradictions');
    RETURN QUERY
    WITH message AS MATERIALIZED (SELECT m.* FROM journey._messages_of(person) AS m),
    tickets AS (
        SELECT e.props ->> 'ticket_id' AS ticket, min(e.occurred_at) FILTER (WHERE e.type = 'ticket_opened') AS opened_at,
               max(e.occurred_at) FILTER (WHERE e.type = 'ticket_closed') AS closed_at
        FROM journey.event AS e WHERE e.bucket = b AND e.profile_id = person AND e.type IN ('ticket_opened', 'ticket_closed') GROUP BY 1),
    found AS (
        SELECT m.action_id, 'ordered_cart' AS kind, 'order ' || o.order_id AS against, o.placed_at AS against_at, NULL::uuid AS against_action,
               format('it reminds of cart %s, which was ordered', m.cart) AS because
        FROM message AS m
        JOIN journey.orders AS o ON o.bucket = b AND o.profile_id = person AND o.cart_id = m.cart AND (o.scope = m.scope OR m.scope = '*')
        WHERE m.purpose = 'marketing' AND o.placed_at <= m.at AND (o.cancelled_at IS NULL OR o.cancelled_at > m.at)
        UNION ALL
        SELECT m.action_id, 'open_return', 'return ' || r.return_id, coalesce(r.requested_at, r.status_at), NULL,
               'it wins back somebody whose return ' || CASE WHEN r.status IN ('requested', 'approved') THEN 'is open' ELSE 'was open then' END
        FROM message AS m
        JOIN journey.returns AS r ON r.bucket = b AND r.profile_id = person
        WHERE m.stage = 'win_back' AND coalesce(r.requested_at, r.status_at) <= m.at
          AND (r.status IN ('requested', 'approved') OR coalesce(r.received_at, r.status_at) > m.at)
        UNION ALL
        SELECT m.action_id, 'open_ticket', 'ticket ' || t.ticket, t.opened_at, NULL, 'it advertises to somebody whose complaint is not settled'
        FROM message AS m JOIN tickets AS t ON t.opened_at <= m.at AND (t.closed_at IS NULL OR t.closed_at > m.at)
        WHERE m.purpose = 'marketing'
        UNION ALL
        SELECT m.action_id, 'complained', coalesce(format('%s/%s', o.journey, o.step), 'a message'), c.at, c.action_id, 'it advertises to somebody who has reported a message as unwanted'
        FROM message AS m
        JOIN journey.message_event AS c ON c.bucket = b AND c.profile_id = person AND c.type = 'message_complained' AND c.at <= m.at AND c.action_id <> m.action_id
        LEFT JOIN message AS o ON o.action_id = c.action_id
        WHERE m.purpose = 'marketing'
          AND NOT EXISTS (SELECT FROM journey.consent_history AS h WHERE h.bucket = b AND h.profile_id = person AND h.channel IN (m.channel, '*')
                          AND h.state = 'granted' AND h.at > c.at AND h.at <= m.at)
        UNION ALL
        SELECT m.action_id, 'returned_product', 'order ' || l.order_id, l.changed_at, NULL, format('it speaks of %s, which came back', l.sku)
        FROM message AS m CROSS JOIN LATERAL jsonb_each_text(m.payload) AS p
        JOIN journey.order_line AS l ON l.bucket = b AND l.profile_id = person AND l.status = 'returned' AND l.sku = p.value
        WHERE m.purpose = 'marketing' AND p.key ~ '(^|_)sku$' AND l.changed_at <= m.at
        UNION ALL
        SELECT m.action_id, 'exclusion_group', format('%s/%s', o.journey, o.step), o.at, o.action_id,
               format('both are of the group %s, of which one speaks at a time', m.exclusion)
        FROM message AS m
        JOIN message AS o ON o.exclusion = m.exclusion AND o.enrollment_id <> m.enrollment_id AND (o.scope = m.scope OR '*' IN (o.scope, m.scope))
                         AND (o.at, o.action_id) < (m.at, m.action_id) AND o.at > m.at - within)
    SELECT m.at, f.kind, m.action_id, m.journey, m.step, m.channel, m.status, f.against, f.against_at, f.against_action, f.because
    FROM found AS f JOIN message AS m USING (action_id)
    WHERE m.at >= coalesce(contradictions."from", '-infinity') AND m.at < coalesce(contradictions."to", 'infinity')
    ORDER BY m.at, m.action_id, f.kind, f.against;
END
$$;
COMMENT ON FUNCTION journey.contradictions(jsonb, timestamptz, timestamptz, interval) IS
    'Messages to one person that do not go with what else the house has told or knows, though no rule stopped them: a reminder of a cart that was ordered (ordered_cart), a win-back beside an open return (open_return), advertising beside an open case (open_ticket) or after a complaint about a message (complained), or for what came back (returned_product), and two journeys of one exclusion group within a day (exclusion_group; within says otherwise). Also of what waits to be sent. No row for an unknown subject.';
