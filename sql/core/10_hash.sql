CREATE FUNCTION journey.hash64(data bytea, seed bigint DEFAULT 0) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_hash64';
COMMENT ON FUNCTION journey.hash64(bytea, bigint) IS
    'The frozen hash, version 1: FNV-1a 64 (offset basis xor seed) finished with fmix64 of MurmurHash3. Same bytes, same number, on every platform and major version.';

CREATE FUNCTION journey.key_hash(namespace text, value text) RETURNS bigint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_key_hash';
COMMENT ON FUNCTION journey.key_hash(text, text) IS
    'Hash of a subject key: of namespace, a zero byte and the normalised value. Null when the value is blank.';

CREATE FUNCTION journey.normalise(namespace text, value text) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_normalise';
COMMENT ON FUNCTION journey.normalise(text, text) IS
    'The spelling under which a key is known: outer white space removed, e-mail addresses in ASCII lower case. Null when blank. Frozen together with hash64.';

CREATE FUNCTION journey.bucket(profile_id uuid) RETURNS smallint
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_bucket';
COMMENT ON FUNCTION journey.bucket(uuid) IS
    'Bucket of a profile, 0 to 1023: the top ten bits of hash64 of the 16 bytes of its id. Leads every key of every per-profile table.';

CREATE FUNCTION journey.assign(salt text, unit uuid) RETURNS double precision
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_assign';
COMMENT ON FUNCTION journey.assign(text, uuid) IS
    'Place of a unit on the line from 0 to 1 (exclusive) that experiment arms divide: the top 53 bits of the hash of salt, a zero byte and the 16 bytes of the unit''s id. A unit is in the first p of the line when the result is below p, so raising p moves nobody out.';

CREATE FUNCTION journey.uuid_v7() RETURNS uuid
    LANGUAGE C VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_uuid_v7';
COMMENT ON FUNCTION journey.uuid_v7() IS
    'A new time-ordered id (RFC 9562, version 7), by the real clock even under the test clock.';
