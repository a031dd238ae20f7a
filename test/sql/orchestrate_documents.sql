-- What authors read when a document is refused.
SET client_min_messages = warning;
SELECT journey.install() IS NOT NULL AS installed;
\set SHOW_CONTEXT never
-- shapes
\x on
SELECT * FROM journey.lint('{"kind": "channel", "name": "fax", "mode": "pussh", "lease": "5 min"}');
\x off
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM pg_proc
WHERE pronamespace = 'journey'::regnamespace
  AND proname IN ('lint', 'plan', 'apply', 'activate', 'export', 'export_all', 'retire', 'json_schema')
ORDER BY proname;
-- messages
\set VERBOSITY default
SELECT journey.apply('{"kind": "channel", "name": "fax", "mode": "pussh", "lease": "5 min"}');
SELECT journey.apply('{"kind": "template", "name": "t", "content": {"en": {"body": "{{sku}}"}}}');
SELECT * FROM journey.apply('{"kind": "template", "name": "t", "content": {"en": {"body": "hello"}}}', 'not the hash');
SELECT journey.activate('template', 'tt', 1);
SELECT journey.retire('channel', 'emial');
SELECT journey.export('channel', 'emial') IS NULL AS nothing;
