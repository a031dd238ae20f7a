-- Every rule of lint, with a document that breaks it and one that does not (docs/lint.md).
-- mission: 7, 9, 118, 183
SET client_min_messages = warning;
\set cart `cat test/fixtures/cart_recovery.json`
\set confirmation `cat test/fixtures/order_confirmation.json`
CREATE TABLE cases (code text, base text, patch text[], value jsonb, pointer text, note text);

-- The sample documents are the good fixtures: each case changes one thing in one of them.
CREATE TABLE good (base text PRIMARY KEY, doc jsonb);
INSERT INTO good
SELECT e ->> 'name', e FROM jsonb_array_elements((:'cart')::jsonb || (:'confirmation')::jsonb) AS e
UNION ALL VALUES
('bundle', (:'cart')::jsonb),
('sms2', '{"kind": "channel", "name": "sms2", "mode": "push", "address": "phone", "agreement": "DPA 7", "backoff": {"first": "1 minute", "max": "1 hour"}}'),
('mail2', '{"kind": "channel", "name": "mail2", "mode": "push", "address": "email", "agreement": "DPA 8", "list_unsubscribe_url": "https://shop.example/u?t={token}"}'),
('house', '{"kind": "policy", "name": "house", "zone": "Europe/Berlin", "caps": [{"max": 2, "per": "1 day"}], "vetoes": [{"when": "order.status = ''pending''", "reason": "open_order", "on_unknown": "pass"}]}'),
('shut', '{"kind": "rule_set", "name": "shut", "rules": [{"kind": "suppress", "when": "profile.mood is null", "reason": "mute"}, {"kind": "eligible", "when": "profile.tier = ''gold''", "reason": "tin"},
    {"kind": "veto", "when": "tickets.open > 0", "reason": "ticket", "on_unknown": "hold", "max_age": {"erp": "20 minutes"}}]}'),
('moves', '{"kind": "rule_set", "name": "moves", "rules": [{"kind": "stage", "on": "order_placed", "to": "fulfillment", "from": ["purchase"]}, {"kind": "stage", "on": "order_placed", "from": "awareness", "to": "purchase", "valid_from": "2026-01-01", "valid_to": "2026-02-01"}]}'),
('orders_seen', '{"kind": "feature", "name": "orders_seen", "on": "order_placed", "aggregate": "sum", "of": "event.amount", "window": "30 days"}'),
('till', '{"kind": "source", "name": "till", "system": "pos", "truth_for": ["orders"], "max_lag": "10 minutes"}');

INSERT INTO cases VALUES
-- structure, from the schema
('unknown_field', 'cart_recovery', '{prioritty}', '3', '/prioritty', 'a field nobody knows'),
('unknown_field', 'cart_recovery', '{steps,idle,wait,restart_onn}', '[]', '/steps/idle/wait/restart_onn', 'deep inside'),
('missing_field', 'cart_recovery', '{purpose}', NULL, '', 'a field that must be there'),
('wrong_type', 'cart_recovery', '{priority}', '"high"', '/priority', 'a text for a number'),
('wrong_value', 'cart_recovery', '{purpose}', '"advertising"', '/purpose', 'a value outside its list'),
('wrong_value', 'cart_recovery', '{steps,idle,wait,for}', '"1 m"', '/steps/idle/wait/for', 'a time in an ambiguous unit'),
('wrong_value', 'cart_recovery', '{control,holdout}', '1', '/control/holdout', 'everybody held out'),
('not_unique', 'cart_recovery', '{guardrails}', '["unsubscribe_rate", "unsubscribe_rate"]', '/guardrails', 'the same thing twice'),
('not_in_release', 'cart_recovery', '{holds}', '[]', '/holds', 'a field of a later release'),
('not_in_release', 'cart_recovery', '{steps,stock}', '{"decide": {}}', '/steps/stock/decide', 'a step of a later release'),
('not_in_release', 'cart_recovery', '{steps,remind,send,recommend}', '{}', '/steps/remind/send/recommend', 'a recommendation'),
('duplicate_document', 'bundle', '{1,name}', '"cart_reminder"', '/1', 'two documents of one name'),
-- names
('broken_condition', 'cart_recovery', '{exit,1,when}', '"cart.items = "', '/exit/1/when', 'not SQL'),
('broken_condition', 'cart_recovery', '{exit,1,when}', '"cart.itemz = 0"', '/exit/1/when', 'a name outside the vocabulary'),
('broken_condition', 'cart_recovery', '{entry,0,data,top_sku}', '"cart.top_skuu"', '/entry/0/data/top_sku', 'in an expression'),
('unknown_event_type', 'cart_recovery', '{exit,0,on}', '"ordre_placed"', '/exit/0/on', 'an event nobody sends'),
('unknown_channel', 'cart_recovery', '{steps,remind,send,channel}', '"emial"', '/steps/remind/send/channel', 'a channel nobody runs'),
('unknown_template', 'cart_recovery', '{steps,remind,send,template}', '"cart_remindr"', '/steps/remind/send/template', 'a template nobody wrote'),
('unknown_zone', 'cart_recovery', '{quiet_hours,zone}', '"Europe/Berln"', '/quiet_hours/zone', 'a zone that is not'),
('unknown_zone', 'house', '{zone}', '"CET+3"', '/zone', 'a POSIX rule is no zone'),
('unknown_reason', 'cart_recovery', '{steps,remind,on_refused,out_of_stok}', '"done"', '/steps/remind/on_refused/out_of_stok', 'an edge for a reason nobody gives'),
('unknown_follow', 'cart_recovery', '{follow}', '["cart_mail"]', '/follow', 'follows what it does not send'),
('unknown_entry_value', 'cart_recovery', '{steps,remind,send,data,sku}', '"entry.sku"', '/steps/remind/send/data/sku', 'a value that no entry freezes'),
('entry_without_key', 'cart_recovery', '{entry,0,key}', NULL, '/steps/idle/wait/restart_on/0/match', 'key is read and not set'),
('exit_without_cause', 'cart_recovery', '{exit,1}', '{"reason": "emptied"}', '/exit/1', 'an exit that nothing triggers'),
-- steps
('unknown_step', 'cart_recovery', '{steps,seen,next}', '"don"', '/steps/seen/next', 'an edge into nothing'),
('start_ambiguous', 'cart_recovery', '{steps,done}', '{"wait": {"for": "1 day"}, "next": "idle"}', '/steps', 'a ring has no beginning'),
('step_unreachable', 'cart_recovery', '{steps,lost}', '{"exit": "finished"}', '/steps', 'an orphan'),
('loop_without_wait', 'cart_recovery', '{steps,soft,next}', '"substitute"', NULL, NULL),
('loop_without_wait', 'cart_recovery', '{steps,substitute,next}', '"remind"', '/steps/remind', 'two sends in a ring'),
('loop_without_wait', 'cart_recovery', '{steps,soft}', '{"wait": {"for": "0 minutes"}, "next": "soft"}', '/steps/soft', 'a wait of no time'),
('missing_edge', 'cart_recovery', '{steps,remind,next}', NULL, '/steps/remind', 'sent, and then?'),
('missing_edge', 'cart_recovery', '{defaults,on_refused}', NULL, '/steps/soft', 'refused, and then?'),
('missing_edge', 'cart_recovery', '{defaults,on_failed}', NULL, '/steps/remind', 'failed, and then?'),
('missing_edge', 'cart_recovery', '{defaults,on_unknown}', NULL, '/steps/stock', 'a branch that cannot tell'),
('missing_not_after', 'cart_recovery', '{defaults,not_after}', NULL, '/steps/remind/send', 'good for ever'),
('wait_without_timeout', 'cart_recovery', '{steps,seen,wait,timeout}', NULL, '/steps/seen/wait', 'waits for ever'),
('not_a_send', 'cart_recovery', '{steps,seen,wait,until_event,of}', '["idle"]', '/steps/seen/wait/until_event/of', 'events of a step that sends nothing'),
-- sends
('template_data', 'cart_recovery', '{steps,remind,send,data}', '{}', '/steps/remind/send/data', 'a variable is missing'),
('template_data', 'cart_recovery', '{steps,remind,send,data,skuu}', '"entry.top_sku"', '/steps/remind/send/data/skuu', 'a variable too many'),
('stock_without_data', 'cart_recovery', '{steps,remind,send,require,0}', '"stock:product"', '/steps/remind/send/require', 'stock of what?'),
('channel_purpose', 'order_confirmation', '{steps,confirm,send,channel}', '"retargeting"', '/steps/confirm/send/channel', 'an audience for a confirmation'),
('template_channel', 'cart_recovery', '{steps,remind,send,channel}', '"sms"', '/steps/remind/send/template', 'a mail as a text message'),
('missing_stock_check', 'cart_recovery', '{steps,remind,send,require}', NULL, '/steps/remind/send', 'a product without asking for stock'),
-- purpose
('promotion_in_service', 'order_confirmation', '{steps,confirm,send,data,discount}', '"''5''"', '/steps/confirm/send', 'a discount in a confirmation'),
('missing_suppress_on', 'cart_recovery', '{suppress_on}', NULL, '', 'nothing stops the reminder'),
('missing_suppress_on', 'cart_recovery', '{suppress_on}', '["order_cancelled"]', '/suppress_on', 'an order does not stop it'),
('missing_purchase_exit', 'cart_recovery', '{goal,on}', '"order_paid"', NULL, NULL),
('unbounded_audience', 'cart_recovery', '{entry,0,when}', NULL, NULL, NULL),
('holdout_in_service', 'order_confirmation', '{holdout}', '0.1', '/holdout', 'a confirmation withheld'),
('quiet_hours_ignored', 'order_confirmation', '{quiet_hours}', '{"from": "21:00", "to": "08:00"}', '/quiet_hours', 'quiet hours of a confirmation'),
('model_only_rule', 'cart_recovery', '{high_risk}', 'true', NULL, NULL),
-- charter
('missing_stage', 'cart_recovery', '{stage}', NULL, '', 'no stage'),
('missing_kpi', 'cart_recovery', '{kpi}', NULL, '', 'no measure'),
('missing_objective', 'cart_recovery', '{objective}', NULL, '', 'no objective'),
('missing_owner', 'cart_recovery', '{owners,qa}', NULL, '/owners', 'no tester'),
('missing_control', 'cart_recovery', '{control}', NULL, '', 'no control'),
('control_without_reason', 'cart_recovery', '{control}', '"none"', '/control', 'no control and no reason'),
('control_without_reason', 'cart_recovery', '{control}', '{"holdout": 0}', '/control', 'a holdout of nobody'),
('control_twice', 'cart_recovery', '{holdout}', '0.2', '/holdout', 'two control groups'),
-- other kinds
('undeclared_variable', 'cart_reminder', '{content,en,body}', '"{{skuu}} {{sku}}"', '/content/en/body', 'a text shows what nobody gives'),
('unused_variable', 'cart_reminder', '{variables,price}', '"numeric"', '/variables/price', 'a variable that no text shows'),
('missing_locale', 'cart_reminder', '{locale}', '"fr"', '/content', 'no text for the default locale'),
('missing_unsubscribe_url', 'mail2', '{list_unsubscribe_url}', NULL, '', 'bulk mail without one-click unsubscribe'),
('missing_agreement', 'mail2', '{agreement}', NULL, '', 'a processor without agreement'),
('backoff_order', 'sms2', '{backoff,first}', '"2 hours"', '/backoff', 'the first wait is the longest'),
('cap_scope', 'house', '{caps,0,scope}', '"journey"', '/caps/0/scope', 'a cap of one journey in the policy'),
('missing_on_unknown', 'house', '{vetoes,0,on_unknown}', NULL, '/vetoes/0', 'a veto about what may be unknown'),
('missing_on_unknown', 'shut', '{rules,0,when}', '"profile.mood = ''angry''"', '/rules/0', 'a suppression, too'),
('missing_on_unknown', 'shut', '{rules,2,on_unknown}', NULL, '/rules/2', 'an age without a consequence'),
('missing_on_unknown', 'cart_recovery', '{steps,remind,send,require,1}', '{"when": "cart.items > 0", "reason": "emptied", "max_age": {"erp": "1 hour"}}', '/steps/remind/send/require/1', 'of a send'),
('unknown_source', 'shut', '{rules,2,max_age}', '{"erpp": "20 minutes"}', '/rules/2/max_age/erpp', 'a source that nobody knows'),
('wrong_value', 'shut', '{rules,2,max_age}', '{"erp": "20 m"}', '/rules/2/max_age/erp', 'an age in an ambiguous unit'),
('wrong_value', 'shut', '{rules,2,on_unknown}', '"maybe"', '/rules/2/on_unknown', 'neither of three'),
('wrong_value', 'shut', '{rules,2,max_age}', '{"e''p": "20 minutes"}', '/rules/2/max_age/e''p', 'a source with a quote'),
('feature_value', 'orders_seen', '{of}', NULL, '', 'a sum of nothing'),
('feature_value', 'orders_seen', '{aggregate}', '"count"', '/of', 'a count of something'),
('feature_grain', 'orders_seen', '{grain}', '"60 days"', '/grain', 'a grain above its window'),
('feature_window', 'orders_seen', '{aggregate}', '"last"', '/window', 'the last one of 30 days'),
('second_truth', 'till', '{truth_for}', '["inventory"]', '/truth_for', 'two truths'),
('empty_validity', 'moves', '{rules,1,valid_to}', '"2025-01-01"', '/rules/1/valid_to', 'over before it begins'),
('stage_to_itself', 'moves', '{rules,1,to}', '"awareness"', '/rules/1/from', 'from a stage to itself'),
('rule_shadowed', 'moves', '{rules,1,from}', '"purchase"', '/rules/1', 'a rule behind a wider one');
DELETE FROM cases WHERE note IS NULL; -- these need two changes; they follow below

SELECT plan((SELECT count(*)::integer * 2 FROM cases) + (SELECT count(*)::integer FROM good) + 25);
SELECT journey.apply('{"kind": "source", "name": "erp", "system": "commerce", "truth_for": ["inventory"]}');
SELECT journey.apply(jsonb_path_query_array((:'cart')::jsonb || (:'confirmation')::jsonb, '$[*] ? (@.kind == "template")'));

SELECT is_empty(format($$SELECT code, pointer, message FROM journey.lint(%L, true)$$, doc), 'good: ' || base) FROM good;

CREATE FUNCTION patched(doc jsonb, path text[], value jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE WHEN value IS NULL THEN doc #- path ELSE jsonb_set(doc, path, value) END;
END $$;
SELECT results_eq(
    format($$SELECT code, pointer FROM journey.lint(%L) WHERE code = %L AND pointer = %L LIMIT 1$$, patched(doc, patch, value), code, pointer),
    format($$VALUES (%L::text, %L::text)$$, code, pointer),
    format('bad: %s, %s', code, note))
FROM cases JOIN good USING (base) ORDER BY code, note;
SELECT isnt((SELECT message FROM journey.lint(patched(doc, patch, value)) AS l WHERE l.code = cases.code LIMIT 1), NULL,
            format('%s says what is wrong: %s', code, note))
FROM cases JOIN good USING (base) ORDER BY code, note;

SELECT is_empty(format($$SELECT * FROM journey.lint(%L) WHERE code = 'loop_without_wait'$$, patched(doc, '{steps,soft}', '{"wait": {"for": "10 minutes"}, "next": "soft"}')),
                'a wait of some time makes a loop a good one')
FROM good WHERE base = 'cart_recovery';

-- rules that take two changes
CREATE FUNCTION codes(doc jsonb, activation boolean DEFAULT false) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT DISTINCT l.severity || ' ' || l.code FROM journey.lint(doc, activation) AS l ORDER BY 1;
END $$;
SELECT results_eq($$SELECT codes(doc #- '{rollout}' #- '{entry,0,when}') FROM good WHERE base = 'cart_recovery'$$,
                  $$VALUES ('warning unbounded_audience')$$, 'bad: unbounded_audience, everybody enters, without a limit');
SELECT results_eq($$SELECT codes(doc #- '{goal}' #- '{exit,0}') FROM good WHERE base = 'cart_recovery'$$,
                  $$VALUES ('warning missing_purchase_exit')$$, 'bad: missing_purchase_exit, an order does not end it');
SELECT ok('error model_only_rule' IN (SELECT codes(jsonb_set(doc || '{"high_risk": true}', '{steps,stock,branch,0,when}', '"score.churn > 0.5"')) FROM good WHERE base = 'cart_recovery'),
          'bad: model_only_rule, a score alone decides');
SELECT ok('error model_only_rule' NOT IN (SELECT codes(jsonb_set(doc || '{"high_risk": true}', '{steps,stock,branch,0,when}', '"score.churn > 0.5 and cart.items > 0"')) FROM good WHERE base = 'cart_recovery'),
          'good: model_only_rule, a score beside a fact');
SELECT results_eq($$SELECT codes(jsonb_set(doc, '{steps,done}', '{"wait": {"for": "1 day"}, "next": "idle"}') || '{"start": "idle"}') FROM good WHERE base = 'cart_recovery'$$,
                  ARRAY[]::text[], 'good: start_ambiguous, a ring whose first step is named');
SELECT ok('error step_unreachable' IN (SELECT codes(jsonb_set(doc, '{steps,lost}', '{"exit": "finished"}') || '{"start": "idle"}') FROM good WHERE base = 'cart_recovery'),
          'bad: step_unreachable, beside a named first step');
SELECT ok('error promotion_in_service' IN (SELECT codes(jsonb_build_array(jsonb_set((:'confirmation')::jsonb -> 0, '{contains}', '["discount"]'), (:'confirmation')::jsonb -> 1))),
          'bad: promotion_in_service, a template that says so');

SELECT ok('warning missing_cap' IN (SELECT codes(jsonb_build_array('{"kind": "policy", "name": "house"}'::jsonb, doc #- '{caps}')) FROM good WHERE base = 'cart_recovery'),
          'bad: missing_cap, neither the journey nor the house limits it');

-- what makes a draft pass and an activation fail
SELECT results_eq($$SELECT codes(doc #- '{stage}' #- '{kpi}' #- '{owners}' #- '{control}') FROM good WHERE base = 'cart_recovery'$$,
                  $$VALUES ('warning missing_control'), ('warning missing_kpi'), ('warning missing_owner'), ('warning missing_stage')$$, 'a draft may lack its charter');
SELECT results_eq($$SELECT codes(doc #- '{stage}' #- '{kpi}' #- '{owners}' #- '{control}', true) FROM good WHERE base = 'cart_recovery'$$,
                  $$VALUES ('error missing_control'), ('error missing_kpi'), ('error missing_owner'), ('error missing_stage')$$, 'a live journey may not');
SELECT results_eq($$SELECT codes(jsonb_set(doc, '{steps,remind,send,template}', '"nowhere"')) FROM good WHERE base = 'cart_recovery'$$,
                  $$VALUES ('warning unknown_template')$$, 'an unknown template is a warning in a draft');
SELECT results_eq($$SELECT codes(jsonb_set(doc, '{steps,remind,send,template}', '"nowhere"'), true) FROM good WHERE base = 'cart_recovery'$$,
                  $$VALUES ('error unknown_template')$$, 'and an error on activation');

-- hints name the nearest
SELECT is((SELECT hint FROM journey.lint((SELECT patched(doc, '{prioritty}', '3') FROM good WHERE base = 'cart_recovery'))), 'Did you mean "priority"?', 'an unknown field names the nearest');
SELECT is((SELECT hint FROM journey.lint((SELECT patched(doc, '{exit,0,on}', '"ordre_placed"') FROM good WHERE base = 'cart_recovery')) WHERE code = 'unknown_event_type'), 'Did you mean "order_placed"?', 'so does an unknown event type');
SELECT is((SELECT hint FROM journey.lint((SELECT patched(doc, '{steps,seen,next}', '"don"') FROM good WHERE base = 'cart_recovery')) WHERE code = 'unknown_step'), 'Did you mean "done"?', 'and an unknown step');
SELECT is((SELECT hint FROM journey.lint('{"kind": "jurney", "name": "x"}')), 'Did you mean "journey"?', 'and an unknown kind');

-- bundles
SELECT ok('warning condition_unchecked' IN (SELECT codes(jsonb_build_array((SELECT doc FROM good WHERE base = 'orders_seen'),
              (SELECT patched(doc, '{exit,1,when}', '"orders_seen > 3"') FROM good WHERE base = 'cart_recovery')))), 'bad: condition_unchecked, it reads a feature of its own bundle');
SELECT is((SELECT min(pointer) FROM journey.lint(jsonb_build_array((SELECT doc FROM good WHERE base = 'till'), '{"kind": "source", "name": "x"}'::jsonb)) WHERE severity = 'error'), '/1', 'pointers lead into the bundle');
SELECT is_empty($$SELECT * FROM journey.lint((SELECT doc FROM good WHERE base = 'bundle'))$$, 'what a bundle brings along is known to it');
SELECT ok((SELECT count(*) FROM journey.lint('[]')) = 1, 'an empty bundle is a mistake');

-- one source of truth, and fast enough
SELECT ok(journey.json_schema() -> '$defs' ? 'journey' AND NOT jsonb_path_exists(journey.json_schema(), '$.** ? (@.type == "object" && exists(@.properties) && !exists(@.additionalProperties) && !exists(@.not) && !exists(@.oneOf))'),
          'the schema is closed: no object takes fields that it does not name');
-- a parallel worker can catch no errors
-- (named debug_parallel_query since 16)
SELECT name AS parallel FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
SET :parallel = on;
SELECT string_agg(DISTINCT severity, ' ') AS severities FROM journey.lint('{"kind": "channel", "name": "x", "mode": "push", "lease": "1 day", "owners": 1}') \gset
RESET :parallel;
SELECT matches(:'severities'::text, 'error', 'a parallel plan judges documents alike');
-- the two that are left out only print the names of others
CREATE TEMP TABLE function AS
SELECT p.proname AS name, p.proparallel AS parallel, p.prosrc AS body FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'journey'::regnamespace AND p.provolatile <> 'v' AND l.lanname IN ('plpgsql', 'sql') AND p.proname NOT IN ('_ddl', 'json_schema');
SELECT is_empty($$
    WITH RECURSIVE catching AS (
        SELECT name, parallel FROM function WHERE body ~ '\n\s*EXCEPTION(\s+WHEN|\s*\n)'
        UNION SELECT f.name, f.parallel FROM function f JOIN catching c ON f.body ~ ('journey\.' || c.name || '\('))
    SELECT name FROM catching WHERE parallel <> 'u'$$, 'what catches errors is parallel unsafe, and whatever calls it');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
