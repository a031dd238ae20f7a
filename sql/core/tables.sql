CREATE TABLE journey.schema_version (
    version text PRIMARY KEY,
    installed_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.schema_version IS
    'Which versions of the data tables this database has had: install() and migrate() add a row. The latest is what the tables are; unless the library is of that version too, nothing is consumed and nobody is contacted.';
COMMENT ON COLUMN journey.schema_version.version IS 'Version of the extension that made or changed the tables.';
COMMENT ON COLUMN journey.schema_version.installed_at IS 'When, real time.';
CREATE TABLE journey.incarnation (
    incarnation integer PRIMARY KEY,
    system_identifier text NOT NULL,
    database_oid text NOT NULL,
    first_xid xid8 NOT NULL,
    site text NOT NULL,
    adopted_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.incarnation IS
    'The lives of this database, one row per adopt(): a restored or copied database begins a new one. Transaction ids are compared only within one life.';
COMMENT ON COLUMN journey.incarnation.incarnation IS '1, 2, 3 ...';
COMMENT ON COLUMN journey.incarnation.system_identifier IS 'The cluster''s identifier at that time.';
COMMENT ON COLUMN journey.incarnation.database_oid IS 'The database''s oid at that time, as text: it names nothing here.';
COMMENT ON COLUMN journey.incarnation.first_xid IS 'First transaction id of this life; a stored one above the current id is of another.';
COMMENT ON COLUMN journey.incarnation.site IS 'journey.site when it was adopted: the second of the two keys without which nothing is sent.';
COMMENT ON COLUMN journey.incarnation.adopted_at IS 'When it was adopted, real time.';
CREATE TABLE journey.document (
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    doc jsonb NOT NULL,
    refs jsonb NOT NULL,
    owner text NOT NULL,
    applied_by text NOT NULL,
    applied_at timestamptz NOT NULL,
    activated_by text,
    activated_at timestamptz,
    digest text NOT NULL,
    PRIMARY KEY (kind, name, version)
);
COMMENT ON TABLE journey.document IS
    'Every version of every document that people define; at most one is active per kind and name. Versions never change once written.';
COMMENT ON COLUMN journey.document.kind IS 'journey, template, channel, policy, rule_set, feature or source.';
COMMENT ON COLUMN journey.document.name IS 'Its name, unique within the kind.';
COMMENT ON COLUMN journey.document.version IS '1, 2, 3 ... per kind and name.';
COMMENT ON COLUMN journey.document.state IS 'draft, active (live), replaced (by a newer version) or retired.';
COMMENT ON COLUMN journey.document.doc IS 'The document, canonical.';
COMMENT ON COLUMN journey.document.refs IS 'Versions that it locked when it went live: [{"kind", "name", "version"}].';
COMMENT ON COLUMN journey.document.owner IS 'Role whose rights its expressions have; never a superuser.';
COMMENT ON COLUMN journey.document.applied_by IS 'Role that applied it.';
COMMENT ON COLUMN journey.document.applied_at IS 'When it was applied, real time.';
COMMENT ON COLUMN journey.document.activated_by IS 'Role that brought it to life; null for a draft.';
COMMENT ON COLUMN journey.document.activated_at IS 'When it went live, real time.';
COMMENT ON COLUMN journey.document.digest IS 'md5 of the canonical text.';
CREATE UNIQUE INDEX document_active ON journey.document (kind, name) WHERE state = 'active';
CREATE TABLE journey.pause (
    what text NOT NULL,
    name text NOT NULL,
    reason text,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL,
    PRIMARY KEY (what, name)
);
COMMENT ON TABLE journey.pause IS
    'What is paused: its actions get no permit until it is taken up again.';
COMMENT ON COLUMN journey.pause.what IS 'all, scope, journey, channel or template.';
COMMENT ON COLUMN journey.pause.name IS 'Which one; empty for all.';
COMMENT ON COLUMN journey.pause.reason IS 'Why, in the words of whoever paused it.';
COMMENT ON COLUMN journey.pause.paused_by IS 'Role that paused it.';
COMMENT ON COLUMN journey.pause.paused_at IS 'When it was paused.';
CREATE TABLE journey.incident (
    kind text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    message text NOT NULL,
    hint text,
    detail jsonb NOT NULL,
    resolved_at timestamptz,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE journey.incident IS
    'What needs somebody''s attention: one row per kind and object, counted while it goes on.';
COMMENT ON COLUMN journey.incident.kind IS 'What happened: foreign_cursor, broken_rule, poison_event ...; docs/operations.md has all.';
COMMENT ON COLUMN journey.incident.name IS 'What it is about.';
COMMENT ON COLUMN journey.incident.severity IS 'info, warning or error.';
COMMENT ON COLUMN journey.incident.count IS 'How often it has been seen.';
COMMENT ON COLUMN journey.incident.first_at IS 'When it was seen first.';
COMMENT ON COLUMN journey.incident.last_at IS 'When it was seen last.';
COMMENT ON COLUMN journey.incident.message IS 'What happened.';
COMMENT ON COLUMN journey.incident.hint IS 'The next step.';
COMMENT ON COLUMN journey.incident.detail IS 'Particulars of the last time.';
COMMENT ON COLUMN journey.incident.resolved_at IS 'When it was settled; null while open.';
CREATE TABLE journey.reason_code (
    reason text PRIMARY KEY,
    final boolean NOT NULL,
    meaning text NOT NULL
);
COMMENT ON TABLE journey.reason_code IS
    'Why an action is refused or postponed: the codes that decisions and permits answer.';
COMMENT ON COLUMN journey.reason_code.reason IS 'The code.';
COMMENT ON COLUMN journey.reason_code.final IS 'False: the action is planned again; true: it is over and on_refused leads on.';
COMMENT ON COLUMN journey.reason_code.meaning IS 'What it says.';
CREATE TABLE journey.secret (
    name text PRIMARY KEY,
    value bytea NOT NULL
);
COMMENT ON TABLE journey.secret IS
    'Keys of this database''s own signatures; no role but the owner may read them.';
COMMENT ON COLUMN journey.secret.name IS 'unsubscribe (links in messages) or forget (tombstones of erased people).';
COMMENT ON COLUMN journey.secret.value IS 'The key.';
CREATE TABLE journey.retention (
    name text PRIMARY KEY,
    kept_since timestamptz NOT NULL,
    under_way boolean NOT NULL,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.retention IS
    'From when on tables are whole: what is older has been dropped, as the settings of retention say. No row: nothing has been.';
COMMENT ON COLUMN journey.retention.name IS 'The table.';
COMMENT ON COLUMN journey.retention.kept_since IS 'Rows of before may be gone.';
COMMENT ON COLUMN journey.retention.under_way IS 'Some older ones are there still, and go at the next maintenance.';
COMMENT ON COLUMN journey.retention.changed_at IS 'When maintenance last dropped anything here, real time.';
