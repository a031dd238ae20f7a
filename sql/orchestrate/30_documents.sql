-- Plan, apply, activate, export, retire: the one way in which a document comes to life.

CREATE FUNCTION journey._caller() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Inside a SECURITY DEFINER function current_user is its owner; the role that called is the one
    -- that SET ROLE has chosen, else the session's.
    RETURN CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END;
END
$$;
COMMENT ON FUNCTION journey._caller() IS
    'The role on whose behalf a SECURITY DEFINER function runs.';

CREATE FUNCTION journey._caller_is(role text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN pg_has_role(journey._caller()::name, role::name, 'USAGE');
END
$$;
COMMENT ON FUNCTION journey._caller_is(text) IS
    'Whether the calling role has the rights of a role; a superuser has those of all.';

CREATE FUNCTION journey._kind_rank(kind text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN array_position(ARRAY['source', 'channel', 'feature', 'template', 'policy', 'rule_set', 'journey'], kind);
END
$$;
COMMENT ON FUNCTION journey._kind_rank(text) IS
    'The order in which a bundle is applied: what others refer to comes first.';

CREATE FUNCTION journey._next_version(wanted_kind text, wanted_name text, bundle jsonb) RETURNS integer
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    live record;
    doc jsonb := (SELECT b FROM jsonb_array_elements(bundle) AS b WHERE b ->> 'kind' = wanted_kind AND b ->> 'name' = wanted_name LIMIT 1);
BEGIN
    SELECT d.version, d.doc INTO live FROM journey.document AS d
    WHERE d.kind = wanted_kind AND d.name = wanted_name AND d.state = 'active';
    IF doc IS NULL OR live.doc = doc THEN
        RETURN live.version;
    END IF;
    RETURN (SELECT coalesce(max(d.version), 0) + 1 FROM journey.document AS d WHERE d.kind = wanted_kind AND d.name = wanted_name);
END
$$;
COMMENT ON FUNCTION journey._next_version(text, text, jsonb) IS
    'The version that will be active once the bundle is applied; null when there will be none.';

CREATE FUNCTION journey._refs(doc jsonb, bundle jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN coalesce((
        SELECT jsonb_agg(jsonb_build_object('kind', 'template', 'name', t.name, 'version', t.version) ORDER BY t.name)
        FROM (SELECT n.name, journey._next_version('template', n.name, bundle) AS version
              FROM (SELECT DISTINCT s.value #>> '{send,template}' AS name FROM jsonb_each(doc -> 'steps') AS s WHERE s.value ? 'send') AS n
              WHERE NOT coalesce(doc -> 'follow' ? n.name, false)) AS t
        WHERE t.version IS NOT NULL), '[]');
END
$$;
COMMENT ON FUNCTION journey._refs(jsonb, jsonb) IS
    'The versions that a journey locks: those of its templates, except the ones that it follows.';

CREATE FUNCTION journey._refuse_errors(doc jsonb, activation boolean) RETURNS void
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    errors record;
BEGIN
    SELECT count(*) AS n, (array_agg(l.message))[1] AS message, (array_agg(l.pointer))[1] AS pointer, (array_agg(l.hint))[1] AS hint,
           string_agg(format('%s: %s [%s]', l.pointer, l.message, l.code), E'\n') AS all_of_them
    INTO errors
    FROM journey.lint(doc, activation) AS l WHERE l.severity = 'error';
    IF errors.n > 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('document refused: %s', errors.message),
            DETAIL = errors.all_of_them,
            HINT = coalesce(errors.hint, 'journey.lint() lists every finding.');
    END IF;
END
$$;
COMMENT ON FUNCTION journey._refuse_errors(jsonb, boolean) IS
    'Raises 22023 with all of lint''s errors.';

CREATE FUNCTION journey._world(bundle jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN md5(bundle::text || coalesce((
        SELECT string_agg(format('%s/%s/%s', d.kind, d.name, d.version), ',' ORDER BY d.kind, d.name)
        FROM journey.document AS d
        WHERE d.state = 'active'
          AND (d.kind IN ('policy', 'channel', 'rule_set', 'feature')
               OR bundle @> jsonb_build_array(jsonb_build_object('kind', d.kind, 'name', d.name))
               OR d.kind = 'template' AND EXISTS (
                   SELECT FROM jsonb_array_elements(bundle) AS b, jsonb_each(b -> 'steps') AS s WHERE s.value #>> '{send,template}' = d.name))), ''));
END
$$;
COMMENT ON FUNCTION journey._world(jsonb) IS
    'A hash of a bundle and of the live documents that its plan looked at.';

CREATE FUNCTION journey._changes(old_doc jsonb, new_doc jsonb, old_refs jsonb, new_refs jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN concat_ws('; ',
        'changes ' || (SELECT string_agg(k, ', ' ORDER BY k)
                       FROM (SELECT jsonb_object_keys(old_doc) UNION SELECT jsonb_object_keys(new_doc)) AS t (k)
                       WHERE old_doc -> k IS DISTINCT FROM new_doc -> k AND old_doc IS NOT NULL),
        (SELECT string_agg(CASE WHEN o ->> 'version' IS NULL THEN format('locks %s %s version %s', n ->> 'kind', n ->> 'name', n ->> 'version')
                                ELSE format('%s %s version %s to %s', n ->> 'kind', n ->> 'name', o ->> 'version', n ->> 'version') END, '; ')
         FROM jsonb_array_elements(new_refs) AS n
         LEFT JOIN jsonb_array_elements(old_refs) AS o ON o ->> 'name' = n ->> 'name' AND o ->> 'kind' = n ->> 'kind'
         WHERE o IS DISTINCT FROM n));
END
$$;
COMMENT ON FUNCTION journey._changes(jsonb, jsonb, jsonb, jsonb) IS
    'In words: the fields that differ and the versions that are locked anew.';

CREATE FUNCTION journey.plan(doc jsonb)
    RETURNS TABLE (change text, kind text, name text, detail text, people bigint, sends_24h bigint, plan_hash text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    bundle jsonb := journey._bundle(doc);
    hash text;
BEGIN
    PERFORM journey._refuse_errors(doc, journey._caller_is('journey_admin'));
    hash := journey._world(bundle);
    RETURN QUERY
    SELECT CASE WHEN live.version IS NULL THEN 'create'
                WHEN live.doc <> b.value THEN 'update'
                WHEN live.refs <> r.refs THEN 'relock'
                ELSE 'unchanged' END,
           b.value ->> 'kind', b.value ->> 'name',
           journey._changes(live.doc, b.value, live.refs, r.refs),
           touched.people, touched.sends, hash
    FROM jsonb_array_elements(bundle) WITH ORDINALITY AS b (value, n)
    CROSS JOIN LATERAL (SELECT journey._refs(b.value, bundle)) AS r (refs)
    LEFT JOIN journey.document AS live
        ON live.kind = b.value ->> 'kind' AND live.name = b.value ->> 'name' AND live.state = 'active'
    CROSS JOIN LATERAL journey._touched(b.value ->> 'kind', b.value ->> 'name') AS touched
    ORDER BY journey._kind_rank(b.value ->> 'kind'), b.n;
END
$$;
COMMENT ON FUNCTION journey.plan(jsonb) IS
    'What apply() would do, without doing it: a row per document (create, update, relock = only newer locked versions, unchanged), the people who are in it now, the sends that are due within 24 hours, and the hash that apply() takes so as to refuse when the documents have moved since.';

CREATE FUNCTION journey._touched(wanted_kind text, wanted_name text, OUT people bigint, OUT sends bigint)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    soon timestamptz := journey.clock() + interval '24 hours';
BEGIN
    SELECT count(DISTINCT e.profile_id) INTO people
    FROM journey.enrollment AS e
    JOIN journey.document AS d ON d.kind = 'journey' AND d.name = e.journey AND d.version = e.version
    WHERE e.exited_at IS NULL AND e.status = 'active'
      AND CASE wanted_kind
          WHEN 'journey' THEN e.journey = wanted_name
          WHEN 'template' THEN jsonb_path_exists(d.doc, '$.steps.*.send.template ? (@ == $n)', jsonb_build_object('n', wanted_name))
          WHEN 'channel' THEN jsonb_path_exists(d.doc, '$.steps.*.send.channel[*] ? (@ == $n)', jsonb_build_object('n', wanted_name))
          WHEN 'policy' THEN d.doc ->> 'purpose' = 'marketing'
          ELSE false END;
    SELECT count(*) INTO sends
    FROM journey.outbox AS o
    WHERE o.status IN ('pending', 'claimed') AND o.due_at < soon
      AND CASE wanted_kind
          WHEN 'journey' THEN o.journey = wanted_name
          WHEN 'template' THEN o.template = wanted_name
          WHEN 'channel' THEN o.channel = wanted_name
          WHEN 'policy' THEN o.purpose = 'marketing'
          ELSE false END;
    IF wanted_kind = 'journey' THEN
        -- and those whose wait ends before then, with a send right after it
        sends := sends + (
            SELECT count(*)
            FROM journey.timer AS t
            JOIN journey.enrollment AS e ON e.bucket = t.bucket AND e.profile_id = t.profile_id AND e.enrollment_id = t.enrollment_id
            JOIN journey.document AS d ON d.kind = 'journey' AND d.name = e.journey AND d.version = e.version
            CROSS JOIN LATERAL (SELECT d.doc #> ARRAY['steps', e.step]) AS s (step)
            WHERE t.wake_at < soon AND e.journey = wanted_name AND e.exited_at IS NULL AND e.status = 'active'
              AND d.doc #> ARRAY['steps', coalesce(s.step ->> 'on_timeout', s.step ->> 'next')] ? 'send');
    END IF;
END
$$;
COMMENT ON FUNCTION journey._touched(text, text) IS
    'People whom a document concerns now, and sends of it that are due within 24 hours.';

CREATE FUNCTION journey._went_live(doc jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    caller text := journey._caller();
BEGIN
    IF doc ->> 'kind' = 'journey' THEN
        PERFORM journey._fence(ARRAY(SELECT DISTINCT coalesce(e ->> 'on', e #>> '{}') FROM jsonb_array_elements(doc -> 'suppress_on') AS e));
    ELSIF doc ->> 'kind' = 'source' THEN
        INSERT INTO journey.source (source, system, scope, trusted, max_lag)
        VALUES (doc ->> 'name', doc ->> 'system', coalesce(doc ->> 'scope', 'default'),
                coalesce((doc ->> 'trusted')::boolean, true), (doc ->> 'max_lag')::interval)
        ON CONFLICT (source) DO UPDATE
        SET system = excluded.system, scope = excluded.scope, trusted = excluded.trusted, max_lag = excluded.max_lag;
        PERFORM journey._invalidate('journey.source');
        UPDATE journey.source_of_truth AS t
        SET source = NULL, declared_by = NULL, declared_at = NULL
        WHERE t.source = doc ->> 'name' AND t.signal <> ALL (journey._list(doc -> 'truth_for'));
        INSERT INTO journey.source_of_truth AS t (signal, source, declared_by, declared_at)
        SELECT s, doc ->> 'name', caller, statement_timestamp() FROM unnest(journey._list(doc -> 'truth_for')) AS s
        ON CONFLICT (signal) DO UPDATE
        SET source = excluded.source, declared_by = excluded.declared_by, declared_at = excluded.declared_at,
            second_writer = NULL, second_at = NULL, second_count = 0
        WHERE t.source IS DISTINCT FROM excluded.source;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._went_live(jsonb) IS
    'What other tables must know once a document is live: fenced types, sources and what they are the truth for.';

CREATE FUNCTION journey._put(doc jsonb, bundle jsonb, owner text, caller text, live boolean,
                             OUT version integer, OUT change text)
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    its_kind text := doc ->> 'kind';
    its_name text := doc ->> 'name';
    its_refs jsonb := journey._refs(doc, bundle);
    at timestamptz := clock_timestamp();
    last record;
BEGIN
    SELECT d.version, d.state, d.doc, d.refs INTO last
    FROM journey.document AS d
    WHERE d.kind = its_kind AND d.name = its_name AND (d.state = 'active' OR d.state = 'draft' AND NOT live)
    ORDER BY d.version DESC LIMIT 1;
    IF last.doc = doc AND (last.state = 'draft' OR last.refs = its_refs) THEN
        version := last.version;
        change := 'unchanged';
        RETURN;
    END IF;
    change := CASE WHEN NOT live THEN 'draft' WHEN last.version IS NULL THEN 'create' WHEN last.doc = doc THEN 'relock' ELSE 'update' END;
    SELECT coalesce(max(d.version), 0) + 1 INTO version
    FROM journey.document AS d WHERE d.kind = its_kind AND d.name = its_name;
    IF live THEN
        UPDATE journey.document AS d SET state = 'replaced'
        WHERE d.kind = its_kind AND d.name = its_name AND d.state IN ('active', 'draft');
    END IF;
    INSERT INTO journey.document (kind, name, version, state, doc, refs, owner, applied_by, applied_at, activated_by, activated_at, digest)
    VALUES (its_kind, its_name, version, CASE WHEN live THEN 'active' ELSE 'draft' END, doc,
            CASE WHEN live THEN its_refs ELSE '[]' END, owner, caller, at,
            CASE WHEN live THEN caller END, CASE WHEN live THEN at END, md5(doc::text));
    IF live THEN
        PERFORM journey._went_live(doc);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._put(jsonb, jsonb, text, text, boolean) IS
    'Writes the next version of one document, live or as a draft.';

CREATE FUNCTION journey._apply(doc jsonb, owner text, caller text, live boolean, plan_hash text)
    RETURNS TABLE (kind text, name text, version integer, change text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    bundle jsonb := journey._bundle(doc);
    one jsonb;
    put record;
BEGIN
    -- one at a time; readers are not held up
    LOCK TABLE journey.document IN SHARE ROW EXCLUSIVE MODE;
    PERFORM journey._refuse_errors(doc, live);
    IF plan_hash IS NOT NULL AND plan_hash <> journey._world(bundle) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'the plan is out of date',
            DETAIL = 'The documents are not the ones that were planned, or live documents that the plan looked at have changed since.',
            HINT = 'Call journey.plan() again and look at its rows.';
    END IF;
    FOR one IN SELECT b FROM jsonb_array_elements(bundle) WITH ORDINALITY AS t (b, n)
               ORDER BY journey._kind_rank(b ->> 'kind'), n LOOP
        put := journey._put(one, bundle, owner, caller, live);
        kind := one ->> 'kind';
        name := one ->> 'name';
        version := put.version;
        change := put.change;
        RETURN NEXT;
    END LOOP;
    PERFORM journey._invalidate('journey.document');
    IF live AND bundle @> '[{"kind": "feature"}]' THEN
        -- now that the features are there, conditions that read them can be checked
        PERFORM journey._refuse_errors(
            (SELECT jsonb_agg(b ORDER BY n) FROM jsonb_array_elements(bundle) WITH ORDINALITY AS t (b, n) WHERE b ->> 'kind' <> 'feature'), live);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._apply(jsonb, text, text, boolean, text) IS
    'apply() once it is known who asks: lint, compare, write, tell the caches.';

CREATE FUNCTION journey.apply(doc jsonb, plan_hash text DEFAULT NULL)
    RETURNS TABLE (kind text, name text, version integer, change text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    caller text := journey._caller();
BEGIN
    PERFORM journey._demand(apply.doc IS NOT NULL, 'apply', 'Give a document, or an array of documents.');
    RETURN QUERY
    SELECT a.kind, a.name, a.version, a.change
    FROM journey._apply(doc, journey._document_owner(caller), caller, journey._caller_is('journey_admin'), plan_hash) AS a;
END
$$;
COMMENT ON FUNCTION journey.apply(jsonb, text) IS
    'Applies one document or an array of them, all or none. A member of journey_admin brings them to life at once; anybody else makes drafts, which an approver activates. Versions never change once written; a document that is already live as it stands stays as it is (unchanged). With the hash of plan() it refuses (55000) when the documents have moved since. Raises 22023 with every error that lint() finds.';

CREATE FUNCTION journey._document_owner(caller text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = caller) THEN 'journey_owner' ELSE caller END;
END
$$;
COMMENT ON FUNCTION journey._document_owner(text) IS
    'The role whose rights a document''s expressions get: the caller''s, but never a superuser''s.';

CREATE FUNCTION journey.activate(INOUT kind text, INOUT name text, INOUT version integer, OUT change text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    caller text := journey._caller();
    draft record;
    before record;
    its_refs jsonb;
BEGIN
    PERFORM journey._demand(kind IS NOT NULL AND name IS NOT NULL AND version IS NOT NULL, 'activate',
                            'Give the kind, the name and the version of a draft, as in activate(''journey'', ''cart'', 2).');
    LOCK TABLE journey.document IN SHARE ROW EXCLUSIVE MODE;
    SELECT d.state, d.doc, d.applied_by INTO draft
    FROM journey.document AS d
    WHERE d.kind = activate.kind AND d.name = activate.name AND d.version = activate.version;
    IF NOT FOUND THEN
        PERFORM journey._no_document(activate.kind, activate.name, 'draft');
    ELSIF draft.state <> 'draft' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('version %s of the %s "%s" is %s, not a draft', version, kind, name, draft.state),
            HINT = 'Apply the document again to make a new version.';
    ELSIF draft.applied_by = caller AND NOT journey._caller_is('journey_admin') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'nobody activates a draft of their own',
            HINT = 'Ask another member of journey_approver.';
    END IF;
    PERFORM journey._refuse_errors(draft.doc, true);
    its_refs := journey._refs(draft.doc, '[]');
    SELECT d.doc INTO before FROM journey.document AS d
    WHERE d.kind = activate.kind AND d.name = activate.name AND d.state = 'active';
    change := CASE WHEN before.doc IS NULL THEN 'create' WHEN before.doc = draft.doc THEN 'relock' ELSE 'update' END;
    UPDATE journey.document AS d SET state = 'replaced'
    WHERE d.kind = activate.kind AND d.name = activate.name
      AND (d.state = 'active' OR d.state = 'draft' AND d.version < activate.version);
    UPDATE journey.document AS d
    SET state = 'active', refs = its_refs, activated_by = caller, activated_at = statement_timestamp()
    WHERE d.kind = activate.kind AND d.name = activate.name AND d.version = activate.version;
    PERFORM journey._went_live(draft.doc);
    PERFORM journey._invalidate('journey.document');
END
$$;
COMMENT ON FUNCTION journey.activate(text, text, integer) IS
    'Brings somebody else''s draft to life; locks the versions it refers to. Raises 42704 for an unknown draft, 55000 when it is none any more, 42501 for one''s own, 22023 with lint''s errors.';

CREATE FUNCTION journey._no_document(wanted_kind text, wanted_name text, wanted_state text) RETURNS void
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'undefined_object',
        MESSAGE = format('there is no %s %s named "%s"', wanted_state, wanted_kind, wanted_name),
        HINT = coalesce(journey._did_you_mean(wanted_name, ARRAY(
                            SELECT DISTINCT d.name FROM journey.document AS d WHERE d.kind = wanted_kind AND d.state = wanted_state ORDER BY 1)),
                        'The table journey.document lists all of them.');
END
$$;
COMMENT ON FUNCTION journey._no_document(text, text, text) IS
    'Raises 42704 with the nearest name.';

CREATE FUNCTION journey.export(kind text, name text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (SELECT d.doc FROM journey.document AS d
            WHERE d.kind = export.kind AND d.name = export.name AND d.state = 'active');
END
$$;
COMMENT ON FUNCTION journey.export(text, text) IS
    'The live document; null when there is none. Its text is canonical: the same document always gives the same bytes, and applying it changes nothing.';

CREATE FUNCTION journey.export_all() RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 100
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT d.doc FROM journey.document AS d
    WHERE d.state = 'active'
    ORDER BY journey._kind_rank(d.kind), d.name COLLATE "C";
END
$$;
COMMENT ON FUNCTION journey.export_all() IS
    'Every live document, in the order in which apply() takes them.';

CREATE FUNCTION journey.retire(kind text, name text) RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    gone integer;
    users text;
BEGIN
    PERFORM journey._demand(retire.kind IS NOT NULL AND retire.name IS NOT NULL, 'retire',
                            'Give the kind and the name of a document, as in retire(''journey'', ''cart'').');
    LOCK TABLE journey.document IN SHARE ROW EXCLUSIVE MODE;
    -- channels and features are taken as they are live, templates in the version that a journey has locked
    SELECT string_agg(u.said, ', ' ORDER BY u.said) INTO users
    FROM (SELECT format('%s "%s"', d.kind, d.name) || CASE WHEN d.state <> 'active' THEN format(' version %s, which people are on', d.version) ELSE '' END
          FROM journey.document AS d
          WHERE (d.state = 'active'
                 OR d.kind = 'journey' AND retire.kind IN ('channel', 'feature')
                    AND EXISTS (SELECT FROM journey.enrollment AS e WHERE e.journey = d.name AND e.version = d.version AND e.exited_at IS NULL))
            AND CASE retire.kind
                WHEN 'template' THEN jsonb_path_exists(d.doc, '$.steps.*.send.template ? (@ == $n)', jsonb_build_object('n', retire.name))
                WHEN 'channel' THEN jsonb_path_exists(d.doc, '$.steps.*.send.channel[*] ? (@ == $n)', jsonb_build_object('n', retire.name))
                -- no feature has a longer name, and a pattern has an end
                WHEN 'feature' THEN CASE WHEN length(retire.name) > 200 THEN false ELSE d.name <> retire.name AND (d.doc - 'description')::text ~ ('\m' || regexp_replace(retire.name, '(\W)', '\\\1', 'g') || '\M') END
                ELSE false END
          UNION ALL
          SELECT 'actions that wait in the outbox'
          WHERE retire.kind = 'channel' AND EXISTS (SELECT FROM journey.outbox AS o WHERE o.channel = retire.name)) AS u (said);
    IF users IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'dependent_objects_still_exist',
            MESSAGE = format('the %s "%s" is in use', kind, name),
            DETAIL = format('Used by: %s.', users),
            HINT = 'Change or retire these first; what people are still on, or what waits, ends by itself.';
    END IF;
    UPDATE journey.document AS d SET state = 'retired'
    WHERE d.kind = retire.kind AND d.name = retire.name AND d.state = 'active'
    RETURNING d.version INTO gone;
    IF NOT FOUND THEN
        PERFORM journey._no_document(retire.kind, retire.name, 'active');
    END IF;
    IF kind = 'feature' THEN
        -- events of the time between are in no vector: it is counted anew when it comes again
        DELETE FROM journey.feature_count AS c WHERE c.name = retire.name;
    END IF;
    IF kind = 'source' THEN
        UPDATE journey.source_of_truth AS t SET source = NULL, declared_by = NULL, declared_at = NULL WHERE t.source = retire.name;
    END IF;
    PERFORM journey._invalidate('journey.document');
    RETURN gone;
END
$$;
COMMENT ON FUNCTION journey.retire(text, text) IS
    'Takes a document out of use and returns the version that was live. Nobody enters a retired journey any more; people who are in it stay on their version to the end. Raises 2BP01 while live journeys use it or, a channel or feature, people are on a version that does, or actions wait on it; 42704 when there is none.';
