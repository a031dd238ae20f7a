-- SECURITY DEFINER: on the entry points that are listed here and nowhere else, owned by
-- journey_owner, who is no superuser, each with a pinned path, no grant to PUBLIC, and its
-- arguments judged before anything else. A new one wants a line here, and a reason.
SET client_min_messages = warning;
SELECT plan(9);
CREATE TEMP TABLE listed (function text, why text);
COPY listed FROM STDIN (DELIMITER '|');
ack(uuid,bigint,text,numeric)|a sender's word
ack(uuid[],bigint[],text[],numeric[])|a sender's word
activate(text,text,integer)|documents
adopt()|the node
allow_function(regprocedure)|what rules may call
apply(jsonb,text)|documents
begin_send(uuid,bigint)|permits
begin_send(uuid[],bigint[])|permits
check_invariants()|reads all
check_rule(text)|compiles as the caller, never as a superuser
claim(text,integer,interval,text,interval)|a sender's word
claim_and_begin(text,integer,interval,text)|a sender's word
clock()|reads the node
contacts(jsonb,timestamp with time zone,timestamp with time zone)|reads decisions
contradictions(jsonb,timestamp with time zone,timestamp with time zone,interval)|reads a person's messages
declare_truth(text,text)|sources
define_name(text,text,text)|the vocabulary
disallow_function(text)|what rules may call
discard_test()|the node
event_usage()|reads documents
explain_rule(text,jsonb,jsonb)|reads a person, evaluates as the caller
export(text,text)|documents
export_all()|documents
extend(uuid,bigint,interval)|a sender's word
extend(uuid[],bigint[],interval)|a sender's word
fail(uuid,bigint,text,boolean,text,interval)|a sender's word
fail(uuid[],bigint[],text,boolean,text,interval)|a sender's word
features(jsonb)|reads a person
ingest(jsonb)|appends, and sets aside
install()|makes the tables
lint(jsonb,boolean)|documents
maintain()|house-keeping
mark_test(jsonb,boolean)|a person
merge(jsonb,jsonb,text)|two people
migrate()|makes the views
mode()|reads the node
narrow_paths(interval,integer)|reads documents and decisions
next_due(text)|a sender's word
pause(text,text,text)|stops permits
plan(jsonb)|documents
preferences(text)|by a token
preview(text,jsonb,timestamp with time zone)|reads a person
profile_id(jsonb,text)|reads a person
readiness()|reads what came in
recommend(jsonb,integer,jsonb)|reads a person
requirements(text)|reads documents, the registries and what came in
reconcile(regclass)|reads attached tables, as the owner of each
release(uuid[],bigint[])|a sender's word
replay_quarantine(text,text,text,timestamp with time zone,timestamp with time zone,uuid[],integer)|sends again what was set aside
erase(jsonb,text)|a person
restrict(jsonb,boolean)|a person
export_person(jsonb)|reads a person
metrics_text()|reads counts
_metrics()|behind the view
_waiting()|behind the view
requeue(uuid[])|dead letters
resolve(uuid,text,text)|unknown outcomes
resolve_incident(text,text)|incidents
resume(text,interval)|the node
retire(text,text)|documents
run_once(integer)|a lap
run_until_idle()|laps
sandbox()|the node
set_clock(timestamp with time zone)|the node
set_preferences(text,jsonb)|by a token
stage(jsonb)|reads a person
stages(jsonb)|reads a person
suppress(jsonb,text,text,timestamp with time zone)|a person
uninstall(text)|drops the tables
unknown(uuid,bigint,text)|a sender's word
unknown(uuid[],bigint[],text)|a sender's word
unmerge(uuid)|two people
unpause(text,text,text,interval)|lets permits go on
unsubscribe(text,text)|by a token
unsuppress(jsonb,text)|a person
why(jsonb,text)|reads decisions
why(text)|reads decisions
why(uuid)|reads decisions
why_not(jsonb,text)|reads decisions
_attach_check_names(regclass,text,jsonb)|attach runs as its caller: the registries it reads
_attach_follow()|the registry of attachments
_attach_register(regclass,text,text,jsonb)|the registry of attachments
_attach_unregister(integer)|the registry of attachments
_attached(regclass)|the registry of attachments
_backfill_later(integer,oid[])|the list of what is to be read
_backfill_start(integer,regclass)|the list of what is to be read
_check_attachments()|the registry of attachments
_feature_check(jsonb)|reads the vocabulary
_feature_recount(text,uuid)|reads events
_feature_states()|reads the vocabulary
_health()|behind the view
_inbox_state()|reads the inbox
_key_forms(text,text,text)|reads the registry of namespaces
_leaf_truncated(integer)|the list of what is to be read
_leaves_known(integer)|the list of what is to be read
_note_leaves()|the list of what is to be read
_progress()|behind the view
_unknown_events()|behind the view
_reconcile(integer)|reads an attached table, as its owner
_recount(uuid[])|reads events
_rule_value(text,jsonb)|reads the vocabulary
_stock(text[])|reads attached tables, as the owner of each
_watch_truncate()|a trigger function
\.
CREATE TEMP VIEW definer AS
SELECT p.oid, regexp_replace(p.oid::regprocedure::text, '^journey\.', '') AS function, p.proowner, p.proconfig, p.proacl, p.proisstrict, p.prosrc, l.lanname, p.pronargs, p.provolatile
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'journey'::regnamespace AND p.prosecdef;
SELECT is_empty('SELECT function FROM definer EXCEPT SELECT function FROM listed', 'nothing else runs with rights of journey_owner');
SELECT is_empty('SELECT function FROM listed EXCEPT SELECT function FROM definer', 'and nothing is listed that does not');
SELECT is_empty($$SELECT function FROM definer WHERE proowner <> 'journey_owner'::regrole$$, 'each belongs to journey_owner');
SELECT results_eq($$SELECT rolsuper, rolcanlogin, rolcreaterole, rolbypassrls, rolreplication FROM pg_roles WHERE rolname = 'journey_owner'$$, 'VALUES (false, false, false, false, false)', 'who is no superuser, and nobody logs in as it');
SELECT is_empty($$SELECT function FROM definer WHERE NOT EXISTS (SELECT FROM unnest(proconfig) s WHERE s ~ '^search_path=pg_catalog, (journey, )?pg_temp$')$$, 'each has its path, with temporary objects last');
SELECT is_empty($$SELECT d.function FROM definer d, aclexplode(coalesce(d.proacl, acldefault('f', d.proowner))) a WHERE a.grantee = 0$$, 'none is everybody''s');
-- null arguments: strict, or looked at; core_nonsense and core_bad_input call each of them
SELECT is_empty($$SELECT function FROM definer WHERE lanname = 'plpgsql' AND pronargs > 0 AND provolatile = 'v' AND NOT proisstrict AND function !~ '^_' AND prosrc !~ '(_demand|_require_\w+|confirm IS DISTINCT|IS NULL|NOT FOUND)'$$, 'what changes something looks at its arguments');
-- text is made into SQL with quotes, or not at all
SELECT is_empty($$SELECT function FROM definer WHERE lanname = 'plpgsql' AND prosrc ~ 'EXECUTE [^;]*\|\|' AND prosrc !~ 'quote_|format\('$$, 'none puts text together to a statement without quoting');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
