SELECT coalesce(array_agg(action_id), '{}')::text AS ids, coalesce(array_agg(token), '{}')::text AS tokens FROM journey.claim('mail', 100) \gset
SELECT count(*) AS granted FROM journey.begin_send(:ids::uuid[], :tokens::bigint[]) WHERE granted \gset
SELECT cardinality(journey.ack(:ids::uuid[], :tokens::bigint[])) AS acked \gset
