-- Plan, apply, activate, export, retire: versions, locks, drafts, and what the caches see.
-- mission: 22, 23, 212
SET client_min_messages = warning;
\set cart `cat test/fixtures/cart_recovery.json`
\set confirmation `cat test/fixtures/order_confirmation.json`
SELECT plan(49);
CREATE ROLE doc_author LOGIN;
CREATE ROLE doc_approver LOGIN;
CREATE ROLE doc_both LOGIN;
CREATE ROLE doc_admin LOGIN;
GRANT journey_author TO doc_author, doc_both;
GRANT journey_approver TO doc_approver, doc_both;
GRANT journey_admin TO doc_admin;
GRANT USAGE ON SCHEMA public TO PUBLIC;

-- the house as shipped
SELECT is((SELECT count(*) FROM journey.document WHERE state = 'active' AND version = 1 AND owner = 'journey_owner' AND kind = 'channel'), 9::bigint, 'nine channels are shipped');
SELECT is_empty($$SELECT d.name, l.* FROM journey.document AS d, journey.lint(d.doc, true) AS l WHERE l.severity = 'error'$$, 'what is shipped passes lint');
SELECT is((SELECT count(DISTINCT r -> 'to') FROM journey.document AS d, jsonb_array_elements(d.doc -> 'rules') AS r WHERE d.name = 'stages'), 6::bigint, 'stage rules lead to every stage but the first');
SELECT results_eq($$SELECT reason FROM journey.reason_code WHERE NOT final ORDER BY 1$$, ARRAY['changed', 'held', 'paused', 'provider_down', 'quiet_hours', 'rate_limited', 'requeued', 'stale_data'], 'reasons that are not final');

-- plan, then apply
SELECT results_eq(format($$SELECT change, kind, name FROM journey.plan(%L)$$, :'cart'),
    $$VALUES ('create', 'template', 'cart_reminder'), ('create', 'template', 'cart_substitute'), ('create', 'template', 'cart_soft_followup'), ('create', 'journey', 'cart_recovery')$$,
    'a plan lists what would be made, in the order of making');
SELECT is((SELECT count(*) FROM journey.document WHERE name = 'cart_recovery'), 0::bigint, 'and makes nothing');
SELECT is((SELECT detail FROM journey.plan(:'cart') WHERE kind = 'journey'),
    'locks template cart_reminder version 1; locks template cart_soft_followup version 1; locks template cart_substitute version 1', 'it says which versions will be locked');
SELECT plan_hash AS hash FROM journey.plan(:'cart') LIMIT 1 \gset
SELECT results_eq(format($$SELECT kind, name, version, change FROM journey.apply(%L, %L)$$, :'cart', :'hash'),
    $$VALUES ('template', 'cart_reminder', 1, 'create'), ('template', 'cart_substitute', 1, 'create'), ('template', 'cart_soft_followup', 1, 'create'), ('journey', 'cart_recovery', 1, 'create')$$,
    'apply with the hash of the plan does it');
SELECT is((SELECT refs FROM journey.document WHERE name = 'cart_recovery'),
    '[{"kind": "template", "name": "cart_reminder", "version": 1}, {"kind": "template", "name": "cart_soft_followup", "version": 1}, {"kind": "template", "name": "cart_substitute", "version": 1}]', 'the versions are locked');
SELECT is((SELECT owner FROM journey.document WHERE name = 'cart_recovery'), 'journey_owner', 'a superuser''s document gets the rights of journey_owner');
SELECT throws_ok(format($$SELECT journey.apply(%L, %L)$$, :'cart', :'hash'), '55000', 'the plan is out of date', 'a plan is good once');
SELECT results_eq(format($$SELECT DISTINCT change FROM journey.apply(%L)$$, :'cart'), ARRAY['unchanged'], 'the same again changes nothing');
SELECT is((SELECT max(version) FROM journey.document WHERE name = 'cart_recovery'), 1, 'and makes no version');

-- export: byte-stable
SELECT is((SELECT journey.export('journey', 'cart_recovery')::text), (SELECT e::text FROM jsonb_array_elements((:'cart')::jsonb) AS e WHERE e ->> 'name' = 'cart_recovery'), 'export gives the document back');
SELECT is(journey.export('journey', 'nobody'), NULL, 'null for what does not exist');
SELECT md5(string_agg(e::text, '' ORDER BY n)) AS before, jsonb_agg(e ORDER BY n) AS everything FROM journey.export_all() WITH ORDINALITY AS t (e, n) \gset
SELECT results_eq(format($$SELECT DISTINCT change FROM journey.apply(%L)$$, :'everything'), ARRAY['unchanged'], 'everything that is exported can be applied and changes nothing');
SELECT is((SELECT md5(string_agg(e::text, '' ORDER BY n)) FROM journey.export_all() WITH ORDINALITY AS t (e, n)), :'before', 'byte for byte');

-- versions: immutable, locked, followed
SELECT jsonb_set((:'cart')::jsonb -> 0, '{content,en,subject}', '"Your cart"') AS mail2 \gset
SELECT results_eq(format($$SELECT version, change FROM journey.apply(%L)$$, :'mail2'), $$VALUES (2, 'update')$$, 'a changed template is a new version');
SELECT is((SELECT doc #>> '{content,en,subject}' FROM journey.document WHERE name = 'cart_reminder' AND version = 1), 'Still thinking about it?', 'the old one stays as it was');
SELECT is((SELECT refs #>> '{0,version}' FROM journey.document WHERE name = 'cart_recovery' AND state = 'active'), '1', 'the journey keeps the version that it locked');
SELECT (:'cart')::jsonb -> 3 AS cart_journey \gset
SELECT results_eq(format($$SELECT change, detail FROM journey.plan(%L)$$, :'cart_journey'), $$VALUES ('relock', 'template cart_reminder version 1 to 2')$$, 'applying it again would lock the new one, the plan says');
SELECT results_eq(format($$SELECT version, change FROM journey.apply(%L)$$, :'cart_journey'), $$VALUES (2, 'relock')$$, 'and does');
SELECT journey.apply((:'cart_journey')::jsonb || '{"follow": ["cart_reminder"]}');
SELECT ok(NOT (SELECT refs @> '[{"name": "cart_reminder"}]' FROM journey.document WHERE name = 'cart_recovery' AND state = 'active'), 'follow locks nothing');
SELECT is((SELECT count(*) FROM journey.document WHERE kind = 'journey' AND name = 'cart_recovery' AND state = 'active'), 1::bigint, 'one version is live');

-- what other rooms need to know
SELECT ok(EXISTS (SELECT FROM journey.fenced_type WHERE type = 'checkout_started') IS FALSE, 'nobody is stopped by a started checkout yet');
SELECT journey.apply((:'cart_journey')::jsonb || '{"suppress_on": ["order_placed", "checkout_started"]}');
SELECT ok(EXISTS (SELECT FROM journey.fenced_type WHERE type = 'checkout_started'), 'suppress_on makes a type a fence');
SELECT journey.apply('{"kind": "source", "name": "till", "system": "pos", "scope": "berlin", "truth_for": ["orders"], "max_lag": "5 minutes"}');
SELECT results_eq($$SELECT system, scope, max_lag FROM journey.source WHERE source = 'till'$$, $$VALUES ('pos', 'berlin', interval '5 minutes')$$, 'a source document fills the registry');
SELECT is((SELECT source FROM journey.source_of_truth WHERE signal = 'orders'), 'till', 'and says what it is the truth for');
SELECT throws_ok($$SELECT journey.apply('{"kind": "source", "name": "shop", "system": "commerce", "truth_for": ["orders"]}')$$, '22023', NULL, 'a second truth is refused');
SELECT journey.apply('{"kind": "source", "name": "till", "system": "pos"}');
SELECT is((SELECT source FROM journey.source_of_truth WHERE signal = 'orders'), NULL, 'a signal that is taken away has no source');

-- authors make drafts, approvers bring those of others to life
SELECT (:'confirmation')::jsonb -> 0 AS mail3, (:'confirmation')::jsonb -> 1 AS confirm \gset
SET SESSION AUTHORIZATION doc_author;
SELECT results_eq(format($$SELECT version, change FROM journey.apply(%L)$$, :'confirmation'), $$VALUES (1, 'draft'), (1, 'draft')$$, 'an author makes drafts');
SELECT results_eq(format($$SELECT DISTINCT change FROM journey.apply(%L)$$, :'confirmation'), ARRAY['unchanged'], 'the same draft again is none');
SELECT is(journey.export('journey', 'order_confirmation'), NULL, 'a draft is not live');
SELECT throws_ok($$SELECT journey.activate('journey', 'order_confirmation', 1)$$, '42501', NULL, 'an author activates nothing');
SET SESSION AUTHORIZATION doc_approver;
SELECT throws_ok($$SELECT journey.activate('journey', 'order_confirmation', 1)$$, '22023', NULL, 'activation needs the template to be live');
SELECT is((SELECT a.change FROM journey.activate('template', 'order_confirmed', 1) AS a), 'create', 'an approver activates the template');
SELECT is((SELECT a.change FROM journey.activate('journey', 'order_confirmation', 1) AS a), 'create', 'and the journey');
SELECT throws_ok($$SELECT journey.activate('journey', 'order_confirmation', 1)$$, '55000', 'version 1 of the journey "order_confirmation" is active, not a draft', 'once');
SELECT throws_ok($$SELECT journey.apply('{}')$$, '42501', NULL, 'an approver applies nothing');
RESET SESSION AUTHORIZATION;
SELECT results_eq($$SELECT owner, applied_by, activated_by, refs #>> '{0,name}' FROM journey.document WHERE name = 'order_confirmation'$$,
                  $$VALUES ('doc_author', 'doc_author', 'doc_approver', 'order_confirmed')$$, 'who did what is on record; locks are taken at activation');
SET SESSION AUTHORIZATION doc_both;
SELECT journey.apply((:'mail3')::jsonb || '{"description": "mine"}');
SELECT throws_ok($$SELECT journey.activate('template', 'order_confirmed', 2)$$, '42501', 'nobody activates a draft of their own', 'not even who may do both');
RESET SESSION AUTHORIZATION;
SET ROLE doc_admin;
SELECT results_eq(format($$SELECT version, change FROM journey.apply(%L)$$, (:'mail3')::jsonb || '{"description": "ours"}'), $$VALUES (3, 'update')$$, 'an administrator''s document is live at once');
RESET ROLE;
SELECT results_eq($$SELECT version, state, owner FROM journey.document WHERE name = 'order_confirmed' ORDER BY version$$,
                  $$VALUES (1, 'replaced', 'doc_author'), (2, 'replaced', 'doc_both'), (3, 'active', 'doc_admin')$$, 'SET ROLE counts; older drafts give way');

SELECT throws_ok($$SELECT journey.activate('journey', NULL, 1)$$, '22004', NULL, 'activate() wants to know what');
SELECT throws_ok($$SELECT journey.activate(NULL, 'cart_recovery', 1)$$, '22004', NULL, 'all of it');

-- all or nothing; retire
SELECT throws_ok($$SELECT journey.apply('[{"kind": "channel", "name": "fax", "mode": "ops"}, {"kind": "channel", "name": "fox", "mode": "opps"}]')$$, '22023', 'document refused: "opps" is not one of its values', 'one bad document refuses the bundle');
SELECT throws_ok($$SELECT journey.retire('template', 'cart_reminder')$$, '2BP01', 'the template "cart_reminder" is in use', 'what is used is not retired');
SELECT is(journey.retire('journey', 'cart_recovery'), (SELECT max(version) FROM journey.document WHERE kind = 'journey' AND name = 'cart_recovery'), 'a journey is');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
