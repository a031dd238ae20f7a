CREATE TABLE journey.schema_version (
    version text PRIMARY KEY,
    installed_at timestamptz NOT NULL
);
CREATE TABLE journey.incarnation (
    incarnation integer PRIMARY KEY,
    system_identifier text NOT NULL,
    database_oid text NOT NULL,
    first_xid xid8 NOT NULL,
    site text NOT NULL,
    adopted_at timestamptz NOT NULL
);
-- every version of every document; one active version per (kind, name)
CREATE TABLE journey.document (
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,              -- draft, active, replaced, retired
    doc jsonb NOT NULL,
    refs jsonb NOT NULL,              -- locked references: [{"kind","name","version"}]
    owner text NOT NULL,              -- role whose rights its rule text has; never a superuser
    applied_by text NOT NULL,
    applied_at timestamptz NOT NULL,
    activated_by text,
    activated_at timestamptz,
    digest text NOT NULL,             -- md5 of the canonical text
    PRIMARY KEY (kind, name, version)
);
CREATE UNIQUE INDEX document_active ON journey.document (kind, name) WHERE state = 'active';
CREATE TABLE journey.pause (
    what text NOT NULL,               -- all, scope, journey, channel, template
    name text NOT NULL,               -- '' for all
    reason text,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL,
    PRIMARY KEY (what, name)
);
CREATE TABLE journey.incident (
    kind text NOT NULL,               -- foreign_cursor, broken_rule, illegal_transition, capture_disabled, mapping_broken, poison_event ...
    name text NOT NULL,               -- what it is about
    severity text NOT NULL,           -- info, warning, error
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    message text NOT NULL,
    hint text,
    detail jsonb NOT NULL,
    resolved_at timestamptz,
    PRIMARY KEY (kind, name)
);
CREATE TABLE journey.reason_code (
    reason text PRIMARY KEY,
    final boolean NOT NULL,           -- false: the action is planned again
    meaning text NOT NULL
);
CREATE TABLE journey.secret (
    name text PRIMARY KEY,            -- unsubscribe, forget
    value bytea NOT NULL
);
