WITH c AS (UPDATE bare q SET status = 'claimed', token = q.token + 1, lease_until = now() + interval '5 minutes' WHERE q.id IN (SELECT id FROM bare WHERE channel = 'mail' AND status = 'pending' AND claim_at <= now() ORDER BY priority DESC, claim_at, id LIMIT 100 FOR UPDATE SKIP LOCKED) RETURNING q.id) SELECT array_agg(id)::text AS ids FROM c \gset
DELETE FROM bare WHERE id = ANY (:ids::uuid[]);
