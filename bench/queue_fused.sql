SELECT array_agg(action_id)::text AS ids, array_agg(token)::text AS tokens FROM journey.claim_and_begin('mail', 100) \gset
SELECT array_length(journey.ack(:ids::uuid[], :tokens::bigint[]), 1) AS acked \gset
