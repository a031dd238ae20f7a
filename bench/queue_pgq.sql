SELECT pgq.next_batch('mail', 'sender') AS batch \gset
SELECT coalesce(array_agg(ev_id), '{}')::text AS ids FROM pgq.get_batch_events(:batch) \gset
INSERT INTO pgq_done SELECT unnest(:ids::bigint[]);
SELECT pgq.finish_batch(:batch) AS finished \gset
