CREATE FUNCTION journey.claim(channel text, n integer DEFAULT 100, lease interval DEFAULT NULL,
                              sender text DEFAULT current_user, wait interval DEFAULT NULL)
    RETURNS TABLE (action_id uuid, token bigint, profile_id uuid, journey text, step text, purpose text, scope text,
                   template text, template_version integer, locale text, payload jsonb, placement text, offer text,
                   attempt integer, idempotency_key text, not_after timestamptz, lease_until timestamptz,
                   decision_id uuid, test boolean)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_claim';
COMMENT ON FUNCTION journey.claim(text, integer, interval, text, interval) IS
    'Takes up to n (at most 1000) due actions of a channel under a lease, by priority, then by claim_at: the due time, or later after a retry, a rate or quiet hours. Gives no address: ask begin_send. Empty while the database is off or the channel paused. wait: sleeps in the server up to that long (at most 1 second) for work. Judges at most 100 for each of n and 1000 in all: when so many were refused it gives what it has, and next_due is still in the past. Needs READ COMMITTED (25001) and the primary; a channel with a rate is not claimed in a transaction block (25001).';

CREATE FUNCTION journey.begin_send(action_id uuid, token bigint)
    RETURNS TABLE (granted boolean, reason text, final boolean, retry_at timestamptz, contact jsonb, headers jsonb,
                   offer_code text)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_begin_send';
COMMENT ON FUNCTION journey.begin_send(uuid, bigint) IS
    'The permit to send one claimed action, judged at this moment: orders, opt-outs, consent, address, pause, stock, quiet hours, caps. Send only what was granted, with this contact and these headers. It counts once committed, so it must be a statement of the client: it refuses a transaction block, a function and a DO block (25001).';

CREATE FUNCTION journey.begin_send(action_ids uuid[], tokens bigint[])
    RETURNS TABLE (action_id uuid, granted boolean, reason text, final boolean, retry_at timestamptz, contact jsonb,
                   headers jsonb, offer_code text)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_begin_send_array';
COMMENT ON FUNCTION journey.begin_send(uuid[], bigint[]) IS
    'Permits for many actions, each judged by itself, in the order of the input; at most 1000 at once. With literals write ::uuid[], as there is a form for one action too.';

CREATE FUNCTION journey.claim_and_begin(channel text, n integer DEFAULT 100, lease interval DEFAULT NULL,
                                        sender text DEFAULT current_user)
    RETURNS TABLE (action_id uuid, token bigint, profile_id uuid, journey text, step text, purpose text, scope text,
                   template text, template_version integer, locale text, payload jsonb, placement text, offer text,
                   attempt integer, idempotency_key text, not_after timestamptz, lease_until timestamptz,
                   decision_id uuid, test boolean, contact jsonb, headers jsonb, offer_code text)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_claim_and_begin';
COMMENT ON FUNCTION journey.claim_and_begin(text, integer, interval, text) IS
    'claim and begin_send in one call, for senders that send at once: every row returned is granted. Refuses a transaction block, a function and a DO block (25001).';

CREATE FUNCTION journey.next_due(channel text) RETURNS timestamptz
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_next_due';
COMMENT ON FUNCTION journey.next_due(text) IS
    'When the next action of the channel may be claimed; null when none waits, or when what waits is paused.';
