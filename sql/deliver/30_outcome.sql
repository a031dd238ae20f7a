CREATE FUNCTION journey.ack(action_id uuid, token bigint, provider_ref text DEFAULT NULL, cost numeric DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ack';
COMMENT ON FUNCTION journey.ack(uuid, bigint, text, numeric) IS
    'The action was sent. False: not yours any more; never an error, and harmless to repeat. With literals write ack(''...''::uuid, 42), as there is a form for arrays too.';

CREATE FUNCTION journey.ack(action_ids uuid[], tokens bigint[], provider_refs text[] DEFAULT NULL,
                            costs numeric[] DEFAULT NULL)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_ack_array';
COMMENT ON FUNCTION journey.ack(uuid[], bigint[], text[], numeric[]) IS
    'ack() for many actions; one answer each, in the order of the input. With literals write ack(''{...}''::uuid[], ''{42}'').';

CREATE FUNCTION journey.fail(action_id uuid, token bigint, error text, retryable boolean DEFAULT NULL,
                             code text DEFAULT NULL, retry_after interval DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_fail';
COMMENT ON FUNCTION journey.fail(uuid, bigint, text, boolean, text, interval) IS
    'The action was certainly not sent. Codes: rate_limited and provider_down (take no attempt), bad_address and blocked_address (the address is spoilt, the action refused), content_rejected (dead), other. It is tried again after the channel''s backoff or retry_after, until its attempts are used up or it expires. False: not yours any more.';

CREATE FUNCTION journey.fail(action_ids uuid[], tokens bigint[], error text, retryable boolean DEFAULT NULL,
                             code text DEFAULT NULL, retry_after interval DEFAULT NULL)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_fail_array';
COMMENT ON FUNCTION journey.fail(uuid[], bigint[], text, boolean, text, interval) IS
    'fail() for many actions with one cause; one answer each, in the order of the input.';

CREATE FUNCTION journey.unknown(action_id uuid, token bigint, error text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_unknown';
COMMENT ON FUNCTION journey.unknown(uuid, bigint, text) IS
    'Nobody knows whether the action was sent (a time-out). The channel''s on_unknown says what follows: hold, retry under the same key, or drop. False: not yours any more.';

CREATE FUNCTION journey.unknown(action_ids uuid[], tokens bigint[], error text DEFAULT NULL)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_unknown_array';
COMMENT ON FUNCTION journey.unknown(uuid[], bigint[], text) IS
    'unknown() for many actions; one answer each, in the order of the input.';

CREATE FUNCTION journey.resolve(action_id uuid, outcome text, provider_ref text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_resolve';
COMMENT ON FUNCTION journey.resolve(uuid, text, text) IS
    'Somebody found out about an action in state unknown: sent, failed, or retry it under the same key. False: it is not unknown.';

CREATE FUNCTION journey.extend(action_id uuid, token bigint, lease interval)
    RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_extend';
COMMENT ON FUNCTION journey.extend(uuid, bigint, interval) IS
    'A longer lease, counted from now. False: not yours any more.';

CREATE FUNCTION journey.extend(action_ids uuid[], tokens bigint[], lease interval)
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_extend_array';
COMMENT ON FUNCTION journey.extend(uuid[], bigint[], interval) IS
    'extend() for many actions; one answer each, in the order of the input.';

CREATE FUNCTION journey.release(action_ids uuid[], tokens bigint[])
    RETURNS boolean[]
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_release';
COMMENT ON FUNCTION journey.release(uuid[], bigint[]) IS
    'Gives back what the sender has not sent, for instance on shutdown: claimable again at once, and a permit gives its place under the caps back. One answer each, in the order of the input.';

CREATE FUNCTION journey.requeue(action_ids uuid[])
    RETURNS bigint
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_requeue';
COMMENT ON FUNCTION journey.requeue(uuid[]) IS
    'Dead letters back into the queue, under their old idempotency keys, as long as they have not expired; returns how many. Their enrollments have moved on and are not told.';
