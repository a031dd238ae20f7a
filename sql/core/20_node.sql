CREATE TABLE journey.node (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    mode text NOT NULL DEFAULT 'off' CHECK (mode IN ('off', 'test', 'sandbox', 'live')),
    incarnation integer NOT NULL DEFAULT 0,
    system_identifier text NOT NULL DEFAULT '',
    database_oid text NOT NULL DEFAULT '',
    adopted_xid xid8,
    site text NOT NULL DEFAULT '',
    test_clock timestamptz,
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 50);
INSERT INTO journey.node DEFAULT VALUES;
COMMENT ON TABLE journey.node IS
    'The state of this node, one row, never dumped: the first of the two keys that let a database contact customers, and the clock.';
COMMENT ON COLUMN journey.node.one IS 'Always true: there is one row.';
COMMENT ON COLUMN journey.node.mode IS 'off, test, sandbox or live, as asked for; journey.mode() says what holds.';
COMMENT ON COLUMN journey.node.incarnation IS 'The life of the cluster to which stored transaction ids belong; 0 before adopt().';
COMMENT ON COLUMN journey.node.system_identifier IS 'System identifier of the adopted cluster.';
COMMENT ON COLUMN journey.node.database_oid IS 'Oid of the adopted database, as text.';
COMMENT ON COLUMN journey.node.adopted_xid IS 'Transaction of the last adopt(), attach() or reconcile() that read something of the shop''s tables: until the cursor has passed it, permits that an order could end answer stale_data. Null = none has.';
COMMENT ON COLUMN journey.node.site IS 'Value of the setting journey.site when the database was adopted.';
COMMENT ON COLUMN journey.node.test_clock IS 'The test clock; null = real time.';
COMMENT ON COLUMN journey.node.changed_at IS 'When this row last changed, real time.';

CREATE FUNCTION journey.clock() RETURNS timestamptz
    LANGUAGE C STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_clock';
COMMENT ON FUNCTION journey.clock() IS
    'The one clock: real time, or the test clock set by set_clock().';

CREATE FUNCTION journey.mode() RETURNS text
    LANGUAGE C STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_mode';
COMMENT ON FUNCTION journey.mode() IS
    'What this database may do now: off (nothing claimable), test, sandbox (only test profiles are contacted) or live. Off whenever one of the two keys does not fit.';

CREATE FUNCTION journey._node_state() RETURNS text
    LANGUAGE C STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_node_state';
COMMENT ON FUNCTION journey._node_state() IS
    'adopted, or the reason why this database is silent and inert.';
