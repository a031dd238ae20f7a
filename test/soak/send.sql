SELECT coalesce(array_agg(action_id), '{}')::text AS ids, coalesce(array_agg(token), '{}')::text AS tokens FROM journey.claim_and_begin('soak', 100) \gset
SELECT cardinality(journey.ack(:ids::uuid[], :tokens::bigint[])) AS acked \gset
\sleep 100 ms
