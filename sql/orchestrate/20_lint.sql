-- What the schema cannot say: lint's rules over steps, references, purpose and conditions (docs/lint.md).

CREATE FUNCTION journey._lookup(wanted_kind text, wanted_name text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN coalesce(
        (SELECT b FROM jsonb_array_elements(bundle) AS b
         WHERE b ->> 'kind' = wanted_kind AND b ->> 'name' = wanted_name LIMIT 1),
        (SELECT d.doc FROM journey.document AS d
         WHERE d.kind = wanted_kind AND d.name = wanted_name AND d.state = 'active'));
END
$$;
COMMENT ON FUNCTION journey._lookup(text, text, jsonb) IS
    'The document that a name means: one of the bundle, else the active one.';

CREATE FUNCTION journey._names(wanted_kind text, bundle jsonb) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT d.name FROM journey.document AS d WHERE d.kind = wanted_kind AND d.state = 'active'
                 UNION SELECT b ->> 'name' FROM jsonb_array_elements(bundle) AS b WHERE b ->> 'kind' = wanted_kind
                 ORDER BY 1);
END
$$;
COMMENT ON FUNCTION journey._names(text, jsonb) IS
    'Names of the documents of a kind: active ones and those of the bundle.';

CREATE FUNCTION journey._list(value jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE jsonb_typeof(value)
        WHEN 'string' THEN ARRAY[value #>> '{}']
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(value))
        ELSE '{}'::text[] END;
END
$$;
COMMENT ON FUNCTION journey._list(jsonb) IS
    'A text or a list of texts, as a list.';

CREATE FUNCTION journey._instant(written text) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $$
BEGIN
    RETURN written::timestamptz;
END
$$;
COMMENT ON FUNCTION journey._instant(text) IS
    'A moment as documents write it; a bare date is its start in UTC.';

CREATE FUNCTION journey._bare(expression text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN regexp_replace(expression, $r$'([^']|'')*'$r$, '''''', 'g');
END
$$;
COMMENT ON FUNCTION journey._bare(text) IS
    'An expression without the contents of its quoted texts, so that names can be looked for in it.';

CREATE FUNCTION journey._edges(doc jsonb) RETURNS TABLE (from_step text, to_step text, edge text)
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT s.key, e.to_step, e.edge
    FROM jsonb_each(doc -> 'steps') AS s
    CROSS JOIN LATERAL (
        -- a step's own edge wins over the default; the reasons of on_refused add up
        SELECT s.value ->> n.name, n.name
        FROM (VALUES ('next'), ('on_timeout'), ('else'), ('on_failed'), ('on_unknown')) AS n (name)
        WHERE s.value ? n.name
        UNION ALL
        SELECT doc -> 'defaults' ->> n.name, n.name
        FROM (VALUES ('on_failed'), ('on_unknown')) AS n (name)
        WHERE doc -> 'defaults' ? n.name AND NOT s.value ? n.name
          AND (s.value ? 'send' OR s.value ? 'branch' AND n.name = 'on_unknown')
        UNION ALL
        SELECT b ->> 'to', 'branch' FROM jsonb_array_elements(s.value -> 'branch') AS b
        UNION ALL
        SELECT r.to_step, 'on_refused'
        FROM (VALUES (s.value -> 'on_refused', true),
                     (doc -> 'defaults' -> 'on_refused', s.value ? 'send' AND NOT coalesce(
                          jsonb_typeof(s.value -> 'on_refused') = 'string' OR s.value -> 'on_refused' ? '*', false))
             ) AS o (refused, holds)
        CROSS JOIN LATERAL (
            SELECT o.refused #>> '{}' WHERE jsonb_typeof(o.refused) = 'string'
            UNION ALL
            SELECT m.value FROM jsonb_each_text(CASE jsonb_typeof(o.refused) WHEN 'object' THEN o.refused END) AS m) AS r (to_step)
        WHERE o.holds
    ) AS e (to_step, edge);
END
$$;
COMMENT ON FUNCTION journey._edges(jsonb) IS
    'The edges between the steps of a journey, defaults included.';

CREATE FUNCTION journey._start_step(doc jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    roots text[];
BEGIN
    IF doc ? 'start' THEN
        RETURN doc ->> 'start';
    END IF;
    roots := ARRAY(SELECT jsonb_object_keys(doc -> 'steps')
                   EXCEPT SELECT e.to_step FROM journey._edges(doc) AS e WHERE e.from_step <> e.to_step);
    RETURN CASE cardinality(roots) WHEN 1 THEN roots[1] END;
END
$$;
COMMENT ON FUNCTION journey._start_step(jsonb) IS
    'Where an enrollment starts: at start, else at the one step that no edge leads to; null when that is not one step.';

CREATE FUNCTION journey._lint_condition(mark jsonb, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    is_condition boolean := mark ->> 'mark' = 'condition';
    words text := mark ->> 'value';
    feature text;
    verdict record;
BEGIN
    -- an expression of any type parses when the question whether it is null does
    SELECT * INTO verdict
    FROM journey.check_rule(CASE WHEN is_condition THEN words ELSE format('(%s) IS NOT NULL', words) END);
    IF verdict.ok THEN
        RETURN '[]';
    END IF;
    SELECT b ->> 'name' INTO feature
    FROM jsonb_array_elements(bundle) AS b
    WHERE b ->> 'kind' = 'feature' AND journey._bare(words) ~ ('\m' || (b ->> 'name') || '\M')
    LIMIT 1;
    IF feature IS NOT NULL THEN
        RETURN journey._finding('warning', 'condition_unchecked', mark ->> 'pointer',
            format('reads the feature "%s" of this bundle, which is not applied yet', feature),
            'It is checked when the bundle is applied.');
    END IF;
    RETURN journey._finding('error', 'broken_condition', mark ->> 'pointer', verdict.error,
        CASE WHEN verdict.position IS NOT NULL
             THEN format('At character %s of: %s', greatest(1, verdict.position - CASE WHEN is_condition THEN 0 ELSE 1 END), words) END);
END
$$;
COMMENT ON FUNCTION journey._lint_condition(jsonb, jsonb) IS
    'Whether a condition or an expression parses over the documented names.';

CREATE FUNCTION journey._zone_exists(zone text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF zone = 'UTC' THEN
        RETURN true;
    END IF;
    PERFORM now() AT TIME ZONE zone;
    -- The server also takes abbreviations and POSIX rules such as Europe/Berln+3; listing all zones takes
    -- a while, so only a name that could be one of these is looked up.
    RETURN zone ~ '^[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_]+)+$'
        OR EXISTS (SELECT FROM pg_timezone_names AS z WHERE z.name = zone);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION journey._zone_exists(text) IS
    'Whether a name is a time zone of the database''s list.';

CREATE FUNCTION journey._lint_mark(mark jsonb, bundle jsonb, activation boolean) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    name text := mark ->> 'value';
    pointer text := mark ->> 'pointer';
BEGIN
    CASE mark ->> 'mark'
    WHEN 'condition', 'expression' THEN
        RETURN journey._lint_condition(mark, bundle);
    WHEN 'event_value' THEN
        -- as features read it: a bare name is a property of the event
        RETURN journey._lint_condition(jsonb_set(mark, '{value}', to_jsonb(regexp_replace(name, '^[a-z0-9_]+$', 'event.\&'))), bundle);
    WHEN 'event_type' THEN
        IF NOT EXISTS (SELECT FROM journey.event_type AS t WHERE t.type = name AND t.known) THEN
            RETURN journey._finding('warning', 'unknown_event_type', pointer, format('unknown event type "%s"', name),
                coalesce(journey._did_you_mean(name, ARRAY(SELECT t.type FROM journey.event_type AS t WHERE t.known ORDER BY 1)),
                         'Events of types outside the vocabulary are kept too; ignore this when yours is one of them.'));
        END IF;
    WHEN 'channel' THEN
        IF name <> '*' AND journey._lookup('channel', name, bundle) IS NULL THEN
            RETURN journey._finding('error', 'unknown_channel', pointer, format('unknown channel "%s"', name),
                                    journey._did_you_mean(name, journey._names('channel', bundle)));
        END IF;
    WHEN 'template' THEN
        IF journey._lookup('template', name, bundle) IS NULL THEN
            RETURN journey._finding(CASE WHEN activation THEN 'error' ELSE 'warning' END, 'unknown_template', pointer,
                format('unknown template "%s"', name),
                coalesce(journey._did_you_mean(name, journey._names('template', bundle)), 'Apply the template before the journey is activated.'));
        END IF;
    WHEN 'feature' THEN
        IF journey._lookup('feature', name, bundle) IS NULL THEN
            RETURN journey._finding('error', 'unknown_feature', pointer, format('unknown feature "%s"', name),
                coalesce(journey._did_you_mean(name, journey._names('feature', bundle)), 'Apply that feature first, or in the same call.'));
        END IF;
    WHEN 'zone' THEN
        IF NOT (name = 'profile' AND pointer LIKE '%/quiet_hours/zone') AND NOT journey._zone_exists(name) THEN
            RETURN journey._finding('error', 'unknown_zone', pointer, format('unknown time zone "%s"', name),
                journey._did_you_mean(name, ARRAY(SELECT z.name FROM pg_timezone_names AS z ORDER BY 1)));
        END IF;
    ELSE
        NULL; -- steps and reasons are looked at together with their journey
    END CASE;
    RETURN '[]';
END
$$;
COMMENT ON FUNCTION journey._lint_mark(jsonb, jsonb, boolean) IS
    'Checks one text whose meaning the schema tells: a condition, an event type, a channel, a template or a zone.';

CREATE FUNCTION journey._lint_graph(doc jsonb, base text, marks jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    steps text[] := ARRAY(SELECT jsonb_object_keys(doc -> 'steps') ORDER BY 1);
    roots text[];
    first text := journey._start_step(doc);
    item record;
BEGIN
    FOR item IN SELECT m ->> 'pointer' AS pointer, m ->> 'value' AS step FROM jsonb_array_elements(marks) AS m
                WHERE m ->> 'mark' = 'step' AND m ->> 'value' <> ALL (steps) LOOP
        found := found || journey._finding('error', 'unknown_step', item.pointer, format('there is no step "%s"', item.step),
                                           journey._did_you_mean(item.step, steps));
    END LOOP;

    roots := ARRAY(SELECT unnest(steps) EXCEPT SELECT e.to_step FROM journey._edges(doc) AS e WHERE e.from_step <> e.to_step ORDER BY 1);
    IF first IS NULL THEN
        found := found || CASE WHEN cardinality(roots) = 0
            THEN journey._finding('error', 'start_ambiguous', base || '/steps', 'an edge leads to every step, so that it is unclear which is the first',
                                  'Name the first step with "start".')
            ELSE journey._finding('error', 'step_unreachable', base || '/steps',
                                  format('no edge leads to the steps %s', (SELECT string_agg(format('"%s"', r), ', ') FROM unnest(roots) AS r)),
                                  'One of them is the first step; lead an edge to the others, or name the first with "start".') END;
    ELSIF first = ANY (steps) THEN
        FOR item IN
            WITH RECURSIVE reached (step) AS (
                SELECT first
                UNION
                SELECT e.to_step FROM reached AS r JOIN journey._edges(doc) AS e ON e.from_step = r.step)
            SELECT s AS step FROM unnest(steps) AS s EXCEPT SELECT r.step FROM reached AS r ORDER BY 1
        LOOP
            found := found || journey._finding('error', 'step_unreachable', journey._pointer(base || '/steps', item.step),
                format('no path leads to the step "%s"', item.step), 'Lead an edge to it, or remove it.');
        END LOOP;
    END IF;

    FOR item IN
        WITH RECURSIVE moves AS MATERIALIZED (
            SELECT DISTINCT e.from_step, e.to_step FROM journey._edges(doc) AS e
            -- "0 minutes" is no wait
            WHERE NOT (doc #> ARRAY['steps', e.from_step] ? 'wait'
                       AND coalesce(doc #>> ARRAY['steps', e.from_step, 'wait', 'for'],
                                    doc #>> ARRAY['steps', e.from_step, 'wait', 'timeout'], '1') ~ '[1-9]')),
        path (from_step, to_step) AS (
            SELECT m.from_step, m.to_step FROM moves AS m
            UNION
            SELECT p.from_step, m.to_step FROM path AS p JOIN moves AS m ON m.from_step = p.to_step)
        SELECT min(p.from_step) AS step FROM path AS p WHERE p.from_step = p.to_step HAVING count(*) > 0
    LOOP
        found := found || journey._finding('error', 'loop_without_wait', journey._pointer(base || '/steps', item.step),
            format('a loop leads from the step "%s" back to it without a wait', item.step), 'Put a wait into the loop.');
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_graph(jsonb, text, jsonb) IS
    'Edges lead to steps, every step is reached, no loop runs without a wait.';

CREATE FUNCTION journey._lint_step(name text, step jsonb, doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    here text := journey._pointer(base || '/steps', name);
    defaults jsonb := coalesce(doc -> 'defaults', '{}');
    refused jsonb := coalesce(step -> 'on_refused', defaults -> 'on_refused');
    missing text[] := '{}';
    edge text;
    other text;
BEGIN
    IF step ? 'send' THEN
        IF NOT step ? 'next' THEN missing := missing || 'next'::text; END IF;
        IF refused IS NULL OR jsonb_typeof(refused) = 'object' AND NOT refused ? '*'
            AND NOT (jsonb_typeof(defaults -> 'on_refused') = 'string' OR defaults -> 'on_refused' ? '*') IS TRUE THEN
            missing := missing || 'on_refused'::text;
        END IF;
        IF NOT (step ? 'on_failed' OR defaults ? 'on_failed') THEN missing := missing || 'on_failed'::text; END IF;
        IF NOT (step -> 'send' ? 'not_after' OR defaults ? 'not_after') THEN
            found := found || journey._finding('warning', 'missing_not_after', here || '/send',
                'nothing says until when the action may still be sent', 'Set not_after in the send or in defaults; without it 7 days are taken.');
        END IF;
        RETURN found || journey._lint_edges(missing, here) || journey._lint_send(name, step -> 'send', doc, base, bundle);
    ELSIF step ? 'wait' THEN
        IF NOT step ? 'next' THEN missing := missing || 'next'::text; END IF;
        IF step -> 'wait' ? 'until_event' AND NOT step -> 'wait' ? 'timeout' THEN
            found := found || journey._finding('warning', 'wait_without_timeout', here || '/wait',
                'this wait has no end when the event does not come', 'Set timeout.');
        END IF;
        FOR other IN SELECT o FROM unnest(journey._list(step #> '{wait,until_event,of}')) AS o
                     WHERE doc -> 'steps' ? o AND NOT doc #> ARRAY['steps', o] ? 'send' LOOP
            found := found || journey._finding('error', 'not_a_send', here || '/wait/until_event/of',
                format('the step "%s" sends nothing', other), 'Name send steps here.');
        END LOOP;
    ELSIF step ? 'branch' THEN
        IF NOT (step ? 'on_unknown' OR defaults ? 'on_unknown') THEN missing := missing || 'on_unknown'::text; END IF;
    END IF;
    RETURN found || journey._lint_edges(missing, here);
END
$$;
COMMENT ON FUNCTION journey._lint_step(text, jsonb, jsonb, text, jsonb) IS
    'Every way out of a step leads somewhere.';

CREATE FUNCTION journey._lint_edges(missing text[], pointer text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    edge text;
BEGIN
    FOREACH edge IN ARRAY missing LOOP
        found := found || journey._finding('error', 'missing_edge', pointer, format('the edge "%s" is missing', edge),
            CASE edge WHEN 'next' THEN 'Name the step that follows; an exit step ends the journey.'
                      WHEN 'on_refused' THEN 'Set on_refused here or in defaults, with "*" for every other reason.'
                      ELSE format('Set %s here or in defaults.', edge) END);
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_edges(text[], text) IS
    'One finding per missing edge.';

CREATE FUNCTION journey._lint_send(name text, send jsonb, doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    here text := journey._pointer(base || '/steps', name) || '/send';
    template jsonb := journey._lookup('template', send ->> 'template', bundle);
    given text[] := ARRAY(SELECT jsonb_object_keys(send -> 'data') ORDER BY 1);
    declared text[] := ARRAY(SELECT jsonb_object_keys(template -> 'variables') ORDER BY 1);
    channel jsonb;
    word text;
BEGIN
    FOR word IN SELECT unnest(declared) EXCEPT SELECT unnest(given) ORDER BY 1 LOOP
        found := found || journey._finding('error', 'template_data', here || '/data',
            format('the template "%s" needs the variable "%s"', send ->> 'template', word), format('Give it in data: {"%s": …}.', word));
    END LOOP;
    IF template IS NOT NULL THEN
        FOR word IN SELECT unnest(given) EXCEPT SELECT unnest(declared) ORDER BY 1 LOOP
            found := found || journey._finding('error', 'template_data', journey._pointer(here || '/data', word),
                format('the template "%s" has no variable "%s"', send ->> 'template', word), journey._did_you_mean(word, declared));
        END LOOP;
    END IF;
    FOR word IN SELECT substr(r #>> '{}', 7) FROM jsonb_array_elements(send -> 'require') AS r WHERE jsonb_typeof(r) = 'string' LOOP
        IF word <> ALL (given) THEN
            found := found || journey._finding('error', 'stock_without_data', here || '/require',
                format('"stock:%s" names no variable of data', word), journey._did_you_mean(word, given));
        END IF;
    END LOOP;
    FOREACH word IN ARRAY journey._list(send -> 'channel') LOOP
        channel := journey._lookup('channel', word, bundle);
        IF NOT channel -> 'purposes' ? (doc ->> 'purpose') THEN
            found := found || journey._finding('error', 'channel_purpose', here || '/channel',
                format('the channel "%s" carries no %s messages', word, doc ->> 'purpose'), 'Choose another channel, or add the purpose to it.');
        END IF;
        IF NOT template -> 'channels' ? word THEN
            found := found || journey._finding('warning', 'template_channel', here || '/template',
                format('the template "%s" is not written for the channel "%s"', send ->> 'template', word), 'Add the channel to the template, or take another template.');
        END IF;
    END LOOP;
    IF doc ->> 'purpose' <> 'marketing' AND (jsonb_array_length(template -> 'contains') > 0 OR EXISTS (
            SELECT FROM unnest(given || declared) AS v WHERE v ~ '^(discount|coupon|voucher|promo|offer|recommend)')) THEN
        found := found || journey._finding('error', 'promotion_in_service', here,
            format('a discount or a recommendation in a %s message', doc ->> 'purpose'),
            'Such a message is marketing: send it from a journey with purpose marketing, which asks for consent.');
    END IF;
    IF doc ->> 'purpose' = 'marketing' AND NOT coalesce(send -> 'require' @> '[]' AND EXISTS (
            SELECT FROM jsonb_array_elements_text(send -> 'require') AS r WHERE r LIKE 'stock:%'), false)
        AND EXISTS (SELECT FROM unnest(given) AS v WHERE v ~ '(^|_)sku$') THEN
        found := found || journey._finding('warning', 'missing_stock_check', here,
            'it speaks of a product without asking whether that is in stock', 'Add "require": ["stock:sku"].');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_send(text, jsonb, jsonb, text, jsonb) IS
    'A send gives its template exactly what that declares, over channels that fit, with the checks its purpose asks for.';

CREATE FUNCTION journey._lint_purpose(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    purpose text := doc ->> 'purpose';
    sends boolean := EXISTS (SELECT FROM jsonb_each(doc -> 'steps') AS s WHERE s.value ? 'send');
    suppressing text[] := ARRAY(SELECT coalesce(e ->> 'on', e #>> '{}') FROM jsonb_array_elements(doc -> 'suppress_on') AS e);
    ending text[] := ARRAY(SELECT unnest(journey._list(e -> 'on')) FROM jsonb_array_elements(doc -> 'exit') AS e)
                     || journey._list(doc #> '{goal,on}');
BEGIN
    IF purpose = 'marketing' AND sends THEN
        IF cardinality(suppressing) = 0 THEN
            found := found || journey._finding('error', 'missing_suppress_on', base, 'a marketing journey sends, and no event stops it',
                'Add "suppress_on": ["order_placed"]: from the commit of such an event on nothing is sent any more.');
        ELSIF doc ->> 'stage' = 'purchase' AND 'order_placed' <> ALL (suppressing) THEN
            found := found || journey._finding('error', 'missing_suppress_on', base || '/suppress_on',
                'an order does not stop this reminder', 'Add "order_placed" to suppress_on.');
        END IF;
        IF coalesce(jsonb_array_length(doc -> 'caps'), 0) = 0
            AND journey._lookup('policy', 'house', bundle) #> '{caps,0}' IS NULL THEN
            found := found || journey._finding('warning', 'missing_cap', base, 'nothing limits how often it contacts a person',
                'Add caps here or to the policy of the house.');
        END IF;
        IF doc ->> 'stage' = 'purchase' AND 'order_placed' <> ALL (ending) THEN
            found := found || journey._finding('warning', 'missing_purchase_exit', base,
                'an order does not end it', 'Add "exit": [{"on": "order_placed", "reason": "ordered"}].');
        END IF;
        IF NOT doc ? 'rollout' AND EXISTS (SELECT FROM jsonb_array_elements(doc -> 'entry') AS e WHERE NOT e ? 'when') THEN
            found := found || journey._finding('warning', 'unbounded_audience', base || '/entry',
                'everybody with such an event enters', 'Add a condition to the entry, or a rollout.');
        END IF;
    END IF;
    IF purpose <> 'marketing' AND coalesce((doc #>> '{control,holdout}')::numeric, (doc ->> 'holdout')::numeric, 0) > 0 THEN
        found := found || journey._finding('error', 'holdout_in_service', base || CASE WHEN doc ? 'holdout' THEN '/holdout' ELSE '/control' END,
            format('a %s message is withheld from a control group', purpose), 'Remove the holdout; people need this message.');
    END IF;
    IF purpose = 'transactional' AND doc ? 'quiet_hours' THEN
        found := found || journey._finding('warning', 'quiet_hours_ignored', base || '/quiet_hours',
            'transactional messages are sent in quiet hours too', 'Remove quiet_hours, or make the purpose service.');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_purpose(jsonb, text, jsonb) IS
    'What marketing must have and what service must not.';

CREATE FUNCTION journey._lint_charter(doc jsonb, base text, activation boolean) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    grave text := CASE WHEN activation THEN 'error' ELSE 'warning' END;
    field text;
    share numeric := coalesce(doc #>> '{control,holdout}', doc ->> 'holdout')::numeric;
BEGIN
    FOREACH field IN ARRAY ARRAY['stage', 'kpi'] LOOP
        IF NOT doc ? field THEN
            found := found || journey._finding(grave, 'missing_' || field, base, format('nothing says its %s', field),
                format('Set "%s"; a journey is not activated without it.', field));
        END IF;
    END LOOP;
    IF NOT doc ? 'objective' THEN
        found := found || journey._finding('warning', 'missing_objective', base, 'nothing says what it is for', 'Set "objective".');
    END IF;
    FOREACH field IN ARRAY ARRAY['business', 'technical', 'qa'] LOOP
        IF NOT coalesce(doc -> 'owners' ? field, false) THEN
            found := found || journey._finding(grave, 'missing_owner', base || CASE WHEN doc ? 'owners' THEN '/owners' ELSE '' END,
                format('it has no %s owner', field), format('Set owners.%s; a journey is not activated without it.', field));
        END IF;
    END LOOP;
    IF doc ? 'control' AND doc ? 'holdout' THEN
        found := found || journey._finding('error', 'control_twice', base || '/holdout', 'the control group is given twice',
            '"holdout" is the short form of "control": keep one.');
    END IF;
    IF doc -> 'control' = '"none"' THEN
        found := found || journey._finding('error', 'control_without_reason', base || '/control', 'nothing says why there is no control group',
            'Write {"none": true, "reason": "…"}, or a holdout.');
    ELSIF share = 0 AND doc ->> 'purpose' = 'marketing' AND NOT coalesce(doc -> 'control' ? 'reason', false) THEN
        found := found || journey._finding('error', 'control_without_reason', base || CASE WHEN doc ? 'holdout' THEN '/holdout' ELSE '/control' END,
            'a holdout of 0 is no control group', 'Set a share, or write "control": {"none": true, "reason": "…"}.');
    ELSIF doc ->> 'purpose' = 'marketing' AND NOT doc ? 'control' AND NOT doc ? 'holdout' THEN
        found := found || journey._finding(grave, 'missing_control', base, 'nothing says how its effect is measured',
            'Set "holdout": 0.1, or "control": {"none": true, "reason": "…"}; marketing is not activated without it.');
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_charter(jsonb, text, boolean) IS
    'No activation without stage, measure, owners and control.';

CREATE FUNCTION journey._lint_names(doc jsonb, base text, marks jsonb, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    item record;
    word text;
    frozen text[] := ARRAY(SELECT DISTINCT jsonb_object_keys(e -> 'data') FROM jsonb_array_elements(doc -> 'entry') AS e ORDER BY 1);
    keyless boolean := EXISTS (SELECT FROM jsonb_array_elements(doc -> 'entry') AS e WHERE NOT e ? 'key');
    reasons text[] := ARRAY(SELECT r.reason FROM journey.reason_code AS r
                            UNION SELECT q ->> 'reason' FROM jsonb_each(doc -> 'steps') AS s, jsonb_array_elements(s.value #> '{send,require}') AS q
                            WHERE q ? 'reason'
                            UNION SELECT coalesce(e ->> 'on', e #>> '{}') FROM jsonb_array_elements(doc -> 'suppress_on') AS e
                            UNION SELECT v #>> '{}' FROM journey.document AS d, -- which may be damaged
                                    jsonb_path_query(d.doc, '$.keyvalue() ? (@.key == "vetoes" || @.key == "rules").value[*].reason', '{}', true) AS v
                            WHERE d.state = 'active' AND d.kind IN ('policy', 'rule_set')
                            ORDER BY 1);
BEGIN
    FOR item IN SELECT m ->> 'mark' AS mark, m ->> 'pointer' AS pointer, journey._bare(m ->> 'value') AS words, m ->> 'value' AS value
                FROM jsonb_array_elements(marks) AS m WHERE m ->> 'mark' IN ('condition', 'expression', 'reason') LOOP
        IF item.mark = 'reason' THEN
            IF item.value <> '*' AND item.value <> ALL (reasons) THEN
                found := found || journey._finding('warning', 'unknown_reason', item.pointer, format('no refusal has the reason "%s"', item.value),
                                                   journey._did_you_mean(item.value, reasons));
            END IF;
            CONTINUE;
        END IF;
        IF keyless AND item.words ~ '(^|[^.\w])key($|[^\w(])' AND item.pointer NOT LIKE base || '/entry/%' THEN
            found := found || journey._finding('error', 'entry_without_key', item.pointer, 'it reads key, which an entry of this journey does not set',
                'Give every entry a key, for example "key": "cart".');
        END IF;
        FOR word IN SELECT DISTINCT r[1] FROM regexp_matches(item.words, '\mentry\.([a-z_][a-z0-9_]*)', 'g') AS r LOOP
            IF word <> ALL (frozen) THEN
                found := found || journey._finding('error', 'unknown_entry_value', item.pointer, format('no entry freezes "%s"', word),
                    coalesce(journey._did_you_mean(word, frozen), 'Add it to the entry''s data.'));
            END IF;
        END LOOP;
        IF item.mark = 'condition' AND coalesce((doc ->> 'high_risk')::boolean, false) AND journey._model_only(item.words, bundle) THEN
            found := found || journey._finding('error', 'model_only_rule', item.pointer, 'a rule of a high-risk journey rests on a model alone',
                'Add a condition on facts, for example: and order.status = ''paid''.');
        END IF;
    END LOOP;
    IF keyless AND doc #>> '{reentry,per}' = 'key' THEN
        found := found || journey._finding('error', 'entry_without_key', base || '/reentry/per', 'an entry of this journey sets no key',
            'Give every entry a key, or count re-entry per person.');
    END IF;
    FOR word IN SELECT unnest(journey._list(doc -> 'follow'))
                EXCEPT SELECT s.value #>> '{send,template}' FROM jsonb_each(doc -> 'steps') AS s LOOP
        found := found || journey._finding('warning', 'unknown_follow', base || '/follow', format('no step sends the template "%s"', word), 'Remove it.');
    END LOOP;
    FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'exit') WITH ORDINALITY AS t (e, n) WHERE NOT e ? 'on' AND NOT e ? 'when' LOOP
        found := found || journey._finding('error', 'exit_without_cause', format('%s/exit/%s', base, item.n), 'nothing says when it ends',
                                           'Set on, when or both.');
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_names(jsonb, text, jsonb, jsonb) IS
    'Names that a journey reads are set somewhere: key, entry values, reasons; and what its conditions rest on.';

CREATE FUNCTION journey._model_only(words text, bundle jsonb) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    features text[] := journey._names('feature', bundle);
BEGIN
    RETURN coalesce((
        SELECT bool_or(r[1] ~ '^(score|confidence)\.')
               AND NOT bool_or(r[1] !~ '^(score|confidence)\.' AND (r[1] LIKE '%.%' OR r[1] IN ('stage', 'key') OR r[1] = ANY (features)))
        FROM regexp_matches(lower(words), '[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*', 'g') AS r), false);
END
$$;
COMMENT ON FUNCTION journey._model_only(text, jsonb) IS
    'Whether a condition reads scores and no fact.';

CREATE FUNCTION journey._lint_other(doc jsonb, base text, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    item record;
    other text;
BEGIN
    CASE doc ->> 'kind'
    WHEN 'template' THEN
        -- unsubscribe_url comes with the permit's contact, not with the data of a step
        FOR item IN SELECT DISTINCT l.key AS locale, f.key AS field, r[1] AS name
                    FROM jsonb_each(doc -> 'content') AS l, jsonb_each_text(l.value) AS f,
                         regexp_matches(f.value, '{{ *([A-Za-z0-9_.]+) *}}', 'g') AS r
                    WHERE r[1] <> 'unsubscribe_url' AND NOT coalesce(doc -> 'variables' ? r[1], false) ORDER BY 1, 2, 3 LOOP
            found := found || journey._finding('error', 'undeclared_variable', format('%s/content/%s/%s', base, item.locale, item.field),
                format('{{%s}} is not among the variables', item.name),
                coalesce(journey._did_you_mean(item.name, ARRAY(SELECT jsonb_object_keys(doc -> 'variables'))), 'Declare it in variables.'));
        END LOOP;
        FOR other IN SELECT v FROM jsonb_object_keys(doc -> 'variables') AS v
                     WHERE NOT (doc -> 'content')::text ~ ('{{ *' || v || ' *}}') ORDER BY 1 LOOP
            found := found || journey._finding('warning', 'unused_variable', journey._pointer(base || '/variables', other),
                format('no text shows {{%s}}', other), 'Remove it, unless the sender itself needs it.');
        END LOOP;
        IF NOT doc -> 'content' ? coalesce(doc ->> 'locale', 'en') THEN
            found := found || journey._finding('error', 'missing_locale', base || '/content',
                format('there is no content for the default locale "%s"', coalesce(doc ->> 'locale', 'en')), 'Add it, or set locale to one that content has.');
        END IF;
    WHEN 'channel' THEN
        IF doc ->> 'address' = 'email' AND coalesce(doc -> 'purposes' ? 'marketing', true) AND NOT doc ? 'list_unsubscribe_url' THEN
            found := found || journey._finding('warning', 'missing_unsubscribe_url', base, 'marketing mail has no one-click unsubscribe',
                'Set list_unsubscribe_url; large mailbox providers refuse bulk mail without it.');
        END IF;
        IF doc ->> 'mode' IN ('push', 'state') AND doc ? 'address' AND NOT doc ? 'agreement' THEN
            found := found || journey._finding('info', 'missing_agreement', base, 'no data processing agreement is named for who runs this channel',
                                               'Set agreement to its reference.');
        END IF;
        IF (doc #>> '{backoff,first}')::interval > coalesce((doc #>> '{backoff,max}')::interval, '1 hour') THEN
            found := found || journey._finding('error', 'backoff_order', base || '/backoff', 'the first wait is longer than the longest', 'Raise max or lower first.');
        END IF;
    WHEN 'policy' THEN
        FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'caps') WITH ORDINALITY AS t (c, n) WHERE c ->> 'scope' = 'journey' LOOP
            found := found || journey._finding('error', 'cap_scope', format('%s/caps/%s/scope', base, item.n), 'a cap of the house counts all journeys together',
                                               'Set it to house, or put the cap into the journey.');
        END LOOP;
    WHEN 'rule_set' THEN
        RETURN journey._lint_rules(doc, base);
    WHEN 'feature' THEN
        RETURN journey._lint_feature(doc, base, bundle);
    WHEN 'source' THEN
        FOR item IN SELECT d.name, t AS signal FROM journey.document AS d, unnest(journey._list(_lint_other.doc -> 'truth_for')) AS t
                    WHERE d.kind = 'source' AND d.state = 'active' AND d.name <> _lint_other.doc ->> 'name' AND d.doc -> 'truth_for' ? t
                      AND NOT EXISTS (SELECT FROM jsonb_array_elements(bundle) AS b WHERE b ->> 'kind' = 'source' AND b ->> 'name' = d.name)
                    UNION SELECT b ->> 'name', t FROM jsonb_array_elements(bundle) AS b, unnest(journey._list(_lint_other.doc -> 'truth_for')) AS t
                    WHERE b ->> 'kind' = 'source' AND b ->> 'name' <> _lint_other.doc ->> 'name' AND b -> 'truth_for' ? t
                    ORDER BY 1, 2 LOOP
            found := found || journey._finding('error', 'second_truth', base || '/truth_for',
                format('the source "%s" already is the truth for %s', item.name, item.signal), 'Take the signal from that source first.');
        END LOOP;
    ELSE
        NULL;
    END CASE;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_other(jsonb, text, jsonb) IS
    'Rules for the kinds other than journey.';

CREATE FUNCTION journey._lint_rules(doc jsonb, base text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    found jsonb := '[]';
    item record;
BEGIN
    FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n)
                WHERE journey._instant(r ->> 'valid_to') <= journey._instant(r ->> 'valid_from') LOOP
        found := found || journey._finding('error', 'empty_validity', format('%s/rules/%s/valid_to', base, item.n), 'the rule is never valid',
                                           'Let valid_to be after valid_from; it is exclusive.');
    END LOOP;
    FOR item IN SELECT n - 1 AS n FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n)
                WHERE r ->> 'kind' = 'stage' AND r ->> 'to' = ANY (journey._list(r -> 'from')) LOOP
        found := found || journey._finding('warning', 'stage_to_itself', format('%s/rules/%s/from', base, item.n), 'it leads from a stage to the same stage',
                                           'Remove that stage from from.');
    END LOOP;
    -- an earlier rule of the same kind that takes everything this one could take
    FOR item IN
        WITH rules AS (
            SELECT n, r, coalesce((r ->> 'priority')::integer, 50) AS priority, journey._list(r -> 'on') AS types, journey._list(r -> 'from') AS stages
            FROM jsonb_array_elements(doc -> 'rules') WITH ORDINALITY AS t (r, n))
        SELECT later.n - 1 AS n, min(sooner.n) - 1 AS shadow
        FROM rules AS later
        JOIN rules AS sooner ON (sooner.priority, -sooner.n) > (later.priority, -later.n)
        WHERE sooner.r ->> 'kind' = 'stage' AND later.r ->> 'kind' = 'stage'
          AND NOT sooner.r ?| ARRAY['when', 'valid_from', 'valid_to']
          AND later.types <@ sooner.types
          AND (cardinality(sooner.stages) = 0 OR cardinality(later.stages) > 0 AND later.stages <@ sooner.stages)
        GROUP BY later.n ORDER BY 1
    LOOP
        found := found || journey._finding('warning', 'rule_shadowed', format('%s/rules/%s', base, item.n),
            format('it is never reached: rule %s takes every case first', item.shadow), 'Raise its priority, or remove it.');
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION journey._lint_rules(jsonb, text) IS
    'Rules of a rule set that can never act.';

CREATE FUNCTION journey._lint_one(doc jsonb, base text, bundle jsonb, activation boolean) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    schema jsonb := journey.json_schema();
    found jsonb := journey._schema_check(schema -> '$defs', '{"$ref": "#/$defs/document"}', doc, base);
    marks jsonb := (SELECT jsonb_agg(f) FROM jsonb_array_elements(found) AS f WHERE f ? 'mark');
    mark jsonb;
    item record;
BEGIN
    found := coalesce((SELECT jsonb_agg(f) FROM jsonb_array_elements(found) AS f WHERE NOT f ? 'mark'), '[]');
    FOR mark IN SELECT m FROM jsonb_array_elements(marks) AS m LOOP
        found := found || journey._lint_mark(mark, bundle, activation);
    END LOOP;
    IF found @> '[{"severity": "error"}]'
        AND EXISTS (SELECT FROM jsonb_array_elements(found) AS f
                    WHERE f ->> 'code' IN ('unknown_field', 'missing_field', 'wrong_type', 'wrong_value', 'not_unique', 'not_in_release')) THEN
        RETURN found; -- the rest reads the structure and would only repeat its faults
    ELSIF doc ->> 'kind' <> 'journey' THEN
        RETURN found || journey._lint_other(doc, base, bundle) || journey._lint_unknown(doc, base, bundle);
    END IF;
    FOR item IN SELECT s.key, s.value FROM jsonb_each(doc -> 'steps') AS s LOOP
        found := found || journey._lint_step(item.key, item.value, doc, base, bundle);
    END LOOP;
    RETURN found || journey._lint_graph(doc, base, coalesce(marks, '[]')) || journey._lint_names(doc, base, coalesce(marks, '[]'), bundle)
        || journey._lint_purpose(doc, base, bundle) || journey._lint_charter(doc, base, activation)
        || journey._lint_unknown(doc, base, bundle);
END
$$;
COMMENT ON FUNCTION journey._lint_one(jsonb, text, jsonb, boolean) IS
    'All findings about one document of a bundle.';

CREATE FUNCTION journey._unreadable(kind text, name text, doc jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    fault text;
BEGIN
    SELECT format('%s %s', f ->> 'pointer', f ->> 'message') INTO fault
    FROM jsonb_array_elements(journey._schema_check(journey.json_schema() -> '$defs', '{"$ref": "#/$defs/document"}', doc, '')) AS f
    WHERE f ->> 'severity' = 'error' LIMIT 1;
    IF fault IS NULL AND kind = 'policy' AND NOT coalesce(journey._zone_exists(doc ->> 'zone'), true) THEN
        fault := format('/zone %s is no time zone', doc -> 'zone');
    ELSIF fault IS NULL AND (doc ->> 'kind' <> kind OR doc ->> 'name' <> name) THEN
        fault := format('it says that it is the %s "%s"', doc ->> 'kind', doc ->> 'name');
    ELSIF fault IS NULL AND kind = 'journey' THEN
        fault := (SELECT format('/steps/%s leads to "%s", which is no step', e.from_step, e.to_step)
                  FROM journey._edges(doc) AS e WHERE NOT doc -> 'steps' ? e.to_step LIMIT 1);
        IF fault IS NULL AND NOT coalesce(doc -> 'steps' ? journey._start_step(doc), false) THEN
            fault := 'it has no first step';
        END IF;
    END IF;
    RETURN ltrim(fault);
END
$$;
COMMENT ON FUNCTION journey._unreadable(text, text, jsonb) IS
    'Why the engine cannot walk a stored document; null when it can. apply() stores no such document, but a table may be written by hand.';

CREATE FUNCTION journey._bundle(doc jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE jsonb_typeof(doc) WHEN 'array' THEN doc ELSE jsonb_build_array(doc) END;
END
$$;
COMMENT ON FUNCTION journey._bundle(jsonb) IS
    'One document or an array of them, as an array.';

CREATE FUNCTION journey.lint(doc jsonb, activation boolean DEFAULT false)
    RETURNS TABLE (severity text, code text, pointer text, message text, hint text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    bundle jsonb := journey._bundle(doc);
    found jsonb := '[]';
    item record;
BEGIN
    -- each field is looked at many times, which nobody waits for with what is no document
    IF pg_column_size(bundle) > 8388608 THEN
        bundle := '[]';
        found := journey._finding('error', 'too_large', '', format('%s MB at once are too much', pg_column_size(bundle) >> 20),
                                  'Apply at most 8 MB in one call; pictures belong on a server of their own, and a template names them.');
    ELSIF bundle = '[]' THEN
        found := journey._finding('error', 'wrong_value', '', 'there is no document in it', 'Give one document or an array of documents.');
    END IF;
    FOR item IN SELECT e AS value, n - 1 AS n, CASE jsonb_typeof(doc) WHEN 'array' THEN '/' || (n - 1) ELSE '' END AS base,
                       count(*) OVER (PARTITION BY e -> 'kind', e -> 'name' ORDER BY n) AS copy
                FROM jsonb_array_elements(bundle) WITH ORDINALITY AS t (e, n) ORDER BY n LOOP
        found := found || journey._lint_one(item.value, item.base, bundle, activation);
        IF item.copy = 2 AND jsonb_typeof(item.value) = 'object' THEN
            found := found || journey._finding('error', 'duplicate_document', item.base,
                format('the bundle holds the %s "%s" twice', item.value ->> 'kind', item.value ->> 'name'), 'Keep one of them.');
        END IF;
    END LOOP;
    RETURN QUERY
    SELECT f ->> 'severity', f ->> 'code', f ->> 'pointer', f ->> 'message', f ->> 'hint'
    FROM jsonb_array_elements(found) WITH ORDINALITY AS t (f, n)
    ORDER BY CASE f ->> 'severity' WHEN 'error' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END, n;
END
$$;
COMMENT ON FUNCTION journey.lint(jsonb, boolean) IS
    'What is wrong with a document, or with an array of documents that are to be applied together: errors first, each with a JSON Pointer and the next step. activation = true judges it as if it were to go live, which turns some warnings into errors (docs/lint.md). No rows: nothing to complain about.';
