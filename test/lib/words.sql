-- The rows that install() puts in, a line each. For psql -XqAt.
SELECT line FROM (
    SELECT format('event_type %s: %s %s %s', type, known, stage, meaning) FROM journey.event_type WHERE known
    UNION ALL SELECT format('reason_code %s', jsonb_strip_nulls(to_jsonb(r))) FROM journey.reason_code r
    UNION ALL SELECT format('vocabulary %s', jsonb_strip_nulls(to_jsonb(v))) FROM journey.vocabulary v
    UNION ALL SELECT format('namespace %s', jsonb_strip_nulls(to_jsonb(n))) FROM journey.namespace n
    UNION ALL SELECT format('system %s', to_jsonb(s)) FROM journey.system s
    UNION ALL SELECT format('source_of_truth %s', signal) FROM journey.source_of_truth
    UNION ALL SELECT format('allowed_function %s', jsonb_strip_nulls(to_jsonb(f))) FROM journey.allowed_function f
    UNION ALL SELECT format('secret %s', name) FROM journey.secret
    UNION ALL SELECT format('document %s %s: %s', kind, name, doc) FROM journey.document WHERE state = 'active' AND applied_by = 'journey_owner'
) AS x(line)
ORDER BY line COLLATE "C";
