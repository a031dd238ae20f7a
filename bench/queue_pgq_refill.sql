-- :batches batches of 100 events, each with a tick behind it: a batch lies between two ticks.
TRUNCATE pgq_done;
SELECT format($$SELECT count(pgq.insert_event('mail', 'reminder', '{"sku": "J1", "price": 10}')) FROM generate_series(1, 100)$$),
    $$SELECT pgq.force_tick('mail'), pgq.ticker('mail')$$
FROM generate_series(1, :batches) \gexec
