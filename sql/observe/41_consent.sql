CREATE FUNCTION journey._hmac(key bytea, data bytea) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_hmac';
COMMENT ON FUNCTION journey._hmac(bytea, bytea) IS 'HMAC-SHA256 of data under key.';

CREATE FUNCTION journey._random_bytes(n integer) RETURNS bytea
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_random_bytes';
COMMENT ON FUNCTION journey._random_bytes(integer) IS 'Random bytes fit for a secret.';

CREATE FUNCTION journey._append_opt_out(source text, scope text, at timestamptz, subject jsonb, props jsonb) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_append_opt_out';
COMMENT ON FUNCTION journey._append_opt_out(text, text, timestamptz, jsonb, jsonb) IS
    'Appends an unsubscribed event with its fence to the inbox: permits refuse from the commit on.';

-- A token is base64url without padding of: 16 bytes of the profile's id; scope,
-- channel and purpose separated by a unit separator; the first 16 bytes of the
-- HMAC-SHA256 of all that. It says nothing readable but who and what, never an address.
CREATE FUNCTION journey._unsubscribe_token(profile_id uuid, scope text, channel text, purpose text DEFAULT 'marketing') RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    body bytea := uuid_send(profile_id) || convert_to(concat_ws(chr(31), scope, channel, purpose), 'UTF8');
    secret bytea := (SELECT s.value FROM journey.secret s WHERE s.name = 'unsubscribe');
BEGIN
    RETURN translate(encode(body || substr(journey._hmac(secret, body), 1, 16), 'base64'), E'+/=\n', '-_');
END
$$;
COMMENT ON FUNCTION journey._unsubscribe_token(uuid, text, text, text) IS
    'Token that lets whoever holds it take one consent back: of this person, in this scope, channel and purpose. Unguessable: signed with a secret of this database.';

CREATE FUNCTION journey._read_token(token text, OUT profile_id uuid, OUT scope text, OUT channel text, OUT purpose text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    secret bytea := (SELECT s.value FROM journey.secret s WHERE s.name = 'unsubscribe');
    raw bytea;
    body bytea;
    words text[];
BEGIN
    IF token !~ '^[A-Za-z0-9_-]+$' OR length(token) > 2000 OR length(token) % 4 = 1 THEN
        RETURN;
    END IF;
    raw := decode(rpad(translate(token, '-_', '+/'), (length(token) + 3) / 4 * 4, '='), 'base64');
    IF length(raw) < 34 THEN
        RETURN;
    END IF;
    body := substr(raw, 1, length(raw) - 16);
    IF substr(journey._hmac(secret, body), 1, 16) <> substr(raw, length(raw) - 15) THEN
        RETURN;
    END IF;
    words := string_to_array(convert_from(substr(body, 17), 'UTF8'), chr(31));
    profile_id := encode(substr(body, 1, 16), 'hex')::uuid;
    scope := words[1];
    channel := words[2];
    purpose := words[3];
END
$$;
COMMENT ON FUNCTION journey._read_token(text) IS
    'What an unsubscribe token stands for; nulls when it is none of ours.';

-- One value per namespace: the keys under which a person can be named.
CREATE FUNCTION journey._subject_of(profile_id uuid, in_scope text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN (SELECT jsonb_object_agg(k.namespace, k.value)
            FROM (SELECT i.namespace, min(CASE WHEN n.crosses_scopes THEN i.value ELSE substr(i.value, length(in_scope) + 2) END) AS value
                  FROM journey.identity i
                  JOIN journey.namespace n ON n.namespace = i.namespace AND n.class IN ('person', 'session')
                  WHERE i.profile_bucket = journey.bucket(profile_id) AND i.profile_id = _subject_of.profile_id
                    AND (n.crosses_scopes OR starts_with(i.value, in_scope || ':'))
                  GROUP BY i.namespace) AS k);
END
$$;
COMMENT ON FUNCTION journey._subject_of(uuid, text) IS
    'A subject that names the person in a scope: one key of each namespace; null when there is none.';

-- What holds of a person's consents: journey.consent, which laps write, and
-- over it the last words that no lap has read.
CREATE FUNCTION journey._consents_said(id uuid)
    RETURNS TABLE (scope text, channel text, purpose text, state text, at timestamptz)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (s.scope, s.channel, s.purpose) s.scope, s.channel, s.purpose,
           CASE WHEN s.state = 'granted' AND s.expires_at <= journey.clock() THEN 'expired' ELSE s.state END, s.at
    FROM (SELECT c.scope, c.channel, c.purpose, c.state, c.at, c.expires_at, NULL AS seq
          FROM journey.consent c WHERE c.bucket = journey.bucket(id) AND c.profile_id = id
          UNION ALL
          SELECT h.scope, h.channel, h.purpose, h.state, h.at, h.expires_at, h.seq
          FROM journey.consent_history h WHERE h.bucket = journey.bucket(id) AND h.profile_id = id AND h.unread) s
    ORDER BY s.scope, s.channel, s.purpose, s.seq DESC NULLS LAST;
END
$$;
COMMENT ON FUNCTION journey._consents_said(uuid) IS
    'The last word about each consent of a person, whether a lap has read it or not; one that has ended is expired, not granted.';

-- Only history is written, so that no lap waits for the end of this transaction.
CREATE FUNCTION journey._say_consent(id uuid, in_scope text, on_channel text, for_purpose text, now_state text,
                                     on_basis text, from_source text, how jsonb, moment timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO journey.consent_history (bucket, profile_id, scope, channel, purpose, recorded_at, seq,
                                         state, basis, source, proof, at, unread)
    VALUES (journey.bucket(id), id, in_scope, on_channel, for_purpose, moment, journey._next_seq(),
            now_state, on_basis, from_source, how, moment, true);
END
$$;
COMMENT ON FUNCTION journey._say_consent(uuid, text, text, text, text, text, text, jsonb, timestamptz) IS
    'Records what a person says of one consent, for the next lap to take to journey.consent.';

-- Permits heed it when this commits; the event makes journeys notice, and its
-- fence stops what is under way meanwhile. Nothing happens a second time.
CREATE FUNCTION journey._opt_out(id uuid, in_scope text, on_channel text, for_purpose text, from_source text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := journey.clock();
BEGIN
    id := journey._hold_person(id);
    IF id IS NULL THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM journey._consents_said(id) c
                   WHERE c.scope = in_scope AND c.channel = on_channel AND c.purpose = for_purpose
                     AND c.state = 'revoked') THEN
        PERFORM journey._say_consent(id, in_scope, on_channel, for_purpose, 'revoked', NULL, from_source, '{}', moment);
        PERFORM journey._append_opt_out(from_source, in_scope, moment, journey._subject_of(id, in_scope),
                                        jsonb_build_object('channel', on_channel, 'purpose', for_purpose));
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey._opt_out(uuid, text, text, text, text) IS
    'Takes one consent back, at once and for what is already under way; false when the person is not known.';

CREATE FUNCTION journey.unsubscribe(token text, source text DEFAULT 'link') RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
BEGIN
    SELECT * INTO t FROM journey._read_token(token);
    RETURN COALESCE(journey._opt_out(t.profile_id, t.scope, t.channel, t.purpose, source), false);
END
$$;
COMMENT ON FUNCTION journey.unsubscribe(text, text) IS
    'What the address behind List-Unsubscribe does on POST (RFC 8058): the consent that the token names is taken back when this commits, and the next permit is refused; journey.consent says so from the next lap on. Repeating it changes nothing. False when the token is not one of ours.';

CREATE FUNCTION journey.preferences(token text) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
BEGIN
    SELECT * INTO t FROM journey._read_token(token);
    t.profile_id := COALESCE((SELECT a.into_id FROM journey.profile_alias a WHERE a.bucket = journey.bucket(t.profile_id) AND a.profile_id = t.profile_id), t.profile_id);
    IF t.profile_id IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT COALESCE(jsonb_agg(jsonb_build_object('channel', c.channel, 'purpose', c.purpose,
                                                         'state', c.state, 'at', c.at)
                                      ORDER BY c.channel, c.purpose), '[]')
            FROM journey._consents_said(t.profile_id) c WHERE c.scope = t.scope);
END
$$;
COMMENT ON FUNCTION journey.preferences(text) IS
    'The consents of the person that a token names, in its scope: [{"channel","purpose","state","at"}]; one that has ended is expired. Null when the token is not one of ours. Safe for GET: it changes nothing.';

CREATE FUNCTION journey.set_preferences(token text, preferences jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t record;
    p record;
    moment timestamptz := journey.clock();
    how jsonb := jsonb_build_object('by', 'preferences', 'token', left(token, 12));
BEGIN
    SELECT * INTO t FROM journey._read_token(token);
    t.profile_id := journey._hold_person(t.profile_id);
    IF t.profile_id IS NULL OR jsonb_typeof(preferences) <> 'array' THEN
        RETURN false;
    END IF;
    FOR p IN
        SELECT x.channel, COALESCE(x.purpose, 'marketing') AS purpose, x.state
        FROM jsonb_to_recordset(preferences) AS x(channel text, purpose text, state text)
        WHERE x.channel IS NOT NULL
    LOOP
        IF p.state IS DISTINCT FROM 'granted' THEN
            PERFORM journey._opt_out(t.profile_id, t.scope, p.channel, p.purpose, 'preferences');
        ELSIF NOT EXISTS (SELECT FROM journey._consents_said(t.profile_id) c
                          WHERE c.scope = t.scope AND c.channel = p.channel AND c.purpose = p.purpose
                            AND (c.state = 'granted' OR c.at > moment)) THEN
            PERFORM journey._say_consent(t.profile_id, t.scope, p.channel, p.purpose, 'granted', 'consent',
                                         'preferences', how, moment);
        END IF;
    END LOOP;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.set_preferences(text, jsonb) IS
    'Sets consents of the person that a token names: [{"channel", "purpose", "state": granted or anything else}]. What is taken back holds when this commits, what is granted from the next lap on. False when the token is not one of ours.';

CREATE FUNCTION journey._scopes() RETURNS text[]
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT 'default' UNION SELECT s.scope FROM journey.source s
                 UNION SELECT d.doc ->> 'scope' FROM journey.document d
                 WHERE d.kind IN ('journey', 'source') AND d.doc ->> 'scope' <> '*' ORDER BY 1);
END
$$;
COMMENT ON FUNCTION journey._scopes() IS
    'The scopes that there are: those of sources and journeys.';

CREATE FUNCTION journey._require_scope(scope text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known text[] := journey._scopes();
BEGIN
    IF scope <> '*' AND scope <> ALL (known) THEN
        RAISE EXCEPTION 'there is no scope "%"', left(scope, 60)
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('Did you mean "' || journey._nearest(scope, known) || '"? ', '') ||
                         format('Scopes are those of sources and journeys: %s; * stands for all.', array_to_string(known, ', '));
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_scope(text) IS
    'Raises 42704 for a scope that no source and no journey has: what is said of it would hold nowhere.';

CREATE FUNCTION journey.suppress(subject jsonb, scope text DEFAULT '*', reason text DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey._hold_person(journey.profile_id(subject, NULLIF(suppress.scope, '*')));
    moment timestamptz := journey.clock();
BEGIN
    PERFORM journey._demand(suppress.subject IS NOT NULL AND suppress.scope IS NOT NULL, 'suppress',
                            'Name the person, as {"customer_id": "42"}, and the scope; * stands for all.');
    PERFORM journey._require_scope(suppress.scope);
    IF id IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, reason, occurred_at, effective_at,
                                     incarnation, lap, until, note, unread)
    SELECT journey.bucket(id), id, journey._next_seq(), 'manual', '', suppress.scope, 'suppressed', moment, moment,
           c.incarnation, c.lap + 1, suppress.until, concat_ws(': ', session_user, suppress.reason), true
    FROM journey.cursor c;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.suppress(jsonb, text, text, timestamptz) IS
    'Stops all but transactional messages to a known person, in one scope or all (*), until a moment or for good: permits refuse from the commit on, and the next lap takes the person out of audiences. False when nobody is known by the subject; 42704 for a scope that no source and no journey has.';

CREATE FUNCTION journey.unsuppress(subject jsonb, scope text DEFAULT '*') RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey._hold_person(journey.profile_id(subject, NULLIF(unsuppress.scope, '*')));
    n integer;
BEGIN
    PERFORM journey._demand(unsuppress.subject IS NOT NULL AND unsuppress.scope IS NOT NULL, 'unsuppress',
                            'Name the person, as {"customer_id": "42"}, and the scope; * stands for all.');
    UPDATE journey.suppression s
    SET released_at = journey.clock(), released_by = s.seq
    WHERE s.bucket = journey.bucket(id) AND s.profile_id = id AND s.type = 'manual'
      AND s.released_at IS NULL AND (unsuppress.scope = '*' OR s.scope = unsuppress.scope);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey.unsuppress(jsonb, text) IS
    'Ends suppressions that suppress() made, of one scope or all (*); says how many. Opt-outs stay.';
