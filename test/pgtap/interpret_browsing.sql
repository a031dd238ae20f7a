-- What somebody looked at and for how long, where a visit came from, on which
-- device, and how often they needed help.
-- mission: 34, 35, 36, 37, 64
SELECT plan(32);
CREATE FUNCTION pg_temp.says(condition text, context jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT verdict FROM journey.explain_rule(condition, '{"customer_id": "c"}', context)
$$;
CREATE FUNCTION pg_temp.send(type text, props jsonb, ago interval DEFAULT '0') RETURNS void LANGUAGE sql AS $$
    SELECT journey.track('web', type, '{"customer_id": "c"}', props, journey.clock() - ago)
$$;
CREATE FUNCTION pg_temp.laps() RETURNS void LANGUAGE sql AS $$ SELECT count(*) FROM journey.run_until_idle() $$;
SELECT journey.set_clock('2026-03-01 10:00+00');
SELECT pg_temp.send('identified', '{}');
SELECT pg_temp.laps();

-- a product page: views, repeat views, time spent
SELECT is(pg_temp.says('product.views = 0 and product.repeat_views = 0 and product.dwell_seconds = 0', '{"sku": "S1"}'), 'true', 'nothing was looked at');
SELECT is(pg_temp.says('product.views = 0'), 'unknown', 'of no product nothing is known');
SELECT pg_temp.send('product_viewed', '{"sku": "S1"}', '2 hours'), pg_temp.send('product_viewed', '{"sku": "S2"}', '1 hour');
SELECT pg_temp.send('product_engaged', '{"sku": "S1", "dwell_seconds": 40}', '2 hours');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('product.views = 1 and product.repeat_views = 0 and product.dwell_seconds = 40', '{"sku": "S1"}'), 'true', 'seen once, for 40 seconds');
SELECT pg_temp.send('product_viewed', '{"sku": "S1"}', '3 days'), pg_temp.send('product_engaged', '{"sku": "S1", "dwell_seconds": 25.5}', '3 days');
SELECT pg_temp.send('product_engaged', '{"sku": "S1"}'), pg_temp.send('product_engaged', '{"sku": "S2", "dwell_seconds": 7}');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('product.views = 2 and product.repeat_views = 1 and product.dwell_seconds = 65.5', '{"sku": "S1"}'), 'true', 'seen again, and what comes late counts');
SELECT is(pg_temp.says('product.views = 1 and product.dwell_seconds = 7', '{"sku": "S2"}'), 'true', 'each product by itself');
SELECT is(pg_temp.says('product.views >= 2', '{"event": {"type": "product_viewed", "props": {"sku": "S1"}}}'), 'true', 'the product of the event at hand');
SELECT journey.set_clock(journey.clock() + interval '29 days');
SELECT is(pg_temp.says('product.views = 1 and product.dwell_seconds = 40', '{"sku": "S1"}'), 'true', 'what is older than 30 days does not count');
SELECT journey.set_clock('2026-03-01 10:00+00');

-- browsing history: a bounded window, its limit enforced
SELECT is(journey.features('{"customer_id": "c"}') -> 'viewed_products', '["S2", "S1", "S1"]', 'the history, newest first');
SELECT pg_temp.send('product_viewed', jsonb_build_object('sku', 'M' || i), make_interval(mins => i)) FROM generate_series(1, 28) AS i;
SELECT pg_temp.laps();
SELECT is(jsonb_array_length(journey.features('{"customer_id": "c"}') -> 'viewed_products'), 30, 'is no longer than its limit');
SELECT is(journey.features('{"customer_id": "c"}') -> 'viewed_products' -> 29, '"S1"', 'the oldest view has gone');
SELECT is(pg_temp.says('product.views = 1', '{"sku": "S1"}'), 'true', 'from the counts, too');
CREATE TEMP TABLE full_size AS SELECT octet_length(features) AS bytes FROM journey.profile_state;
SELECT pg_temp.send('product_viewed', jsonb_build_object('sku', 'N' || i % 10), make_interval(secs => i)) FROM generate_series(1, 300) AS i;
SELECT pg_temp.laps();
SELECT cmp_ok((SELECT max(octet_length(features)) FROM journey.profile_state), '<=', (SELECT max(bytes) FROM full_size), 'hundreds of views more take no more room');
SELECT is(pg_temp.says('''N5'' = any (viewed_products) and not ''S1'' = any (viewed_products)'), 'true', 'rules read the history');
SELECT pg_temp.send('product_viewed', '{"sku": "S1"}', '10 days');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('product.views = 0', '{"sku": "S1"}'), 'true', 'a late view that is older than all of them changes nothing');

-- where a visit came from
SELECT pg_temp.send('session_started', '{"session_id": "v1", "referrer": "https://search.example/", "device": "phone"}', '50 minutes');
SELECT pg_temp.send('product_viewed', '{"session_id": "v1", "sku": "S1"}', '49 minutes');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('session.first_referrer = ''https://search.example/'' and session.last_referrer = session.first_referrer and session.id = ''v1'''), 'true', 'the first referrer is the last as well');
SELECT pg_temp.send('product_viewed', '{"session_id": "v1", "sku": "S1", "referrer": "https://mail.example/"}', '20 minutes');
SELECT pg_temp.laps();
SELECT pg_temp.send('product_viewed', '{"session_id": "v1", "sku": "S1", "referrer": "https://blog.example/"}', '30 minutes');
SELECT pg_temp.laps();
SELECT results_eq('SELECT session_id, started_at, seen_at, first_referrer, last_referrer FROM journey.session',
    $$VALUES ('v1', '2026-03-01 09:10+00'::timestamptz, '2026-03-01 09:40+00'::timestamptz, 'https://search.example/', 'https://mail.example/')$$, 'first and last go by the time of the events, not by their order');
SELECT pg_temp.send('session_started', '{"session_id": "v1", "referrer": "https://ad.example/"}', '55 minutes');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('session.first_referrer = ''https://ad.example/'' and session.started_at = ''2026-03-01 09:05+00'''), 'true', 'an earlier one that comes later is the first');
SELECT pg_temp.send('session_started', '{"session_id": "v2"}', '5 minutes');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('session.id = ''v2'''), 'true', 'without an event it is the newest visit');
SELECT is(pg_temp.says('session.first_referrer = ''https://ad.example/'''), 'unknown', 'which has no referrer');
SELECT is(pg_temp.says('session.last_referrer = ''https://mail.example/''', '{"event": {"type": "product_viewed", "props": {"session_id": "v1"}}}'), 'true', 'with one, it is the event''s');
SELECT is(pg_temp.says('session.id = ''v1''', '{"event": {"type": "product_viewed", "props": {"session_id": "v9"}}}'), 'unknown', 'and no other');

-- a visit in which somebody logs in is one
SELECT journey.track('web', 'session_started', '{"anonymous_id": "a"}', '{"session_id": "v4", "referrer": "https://news.example/"}', journey.clock() - interval '9 minutes');
SELECT journey.track('web', 'product_viewed', '{"customer_id": "c"}', '{"session_id": "v4", "sku": "S1", "referrer": "https://pay.example/"}', journey.clock() - interval '8 minutes');
SELECT pg_temp.laps();
SELECT is((SELECT count(*) FROM journey.session WHERE session_id = 'v4'), 2::bigint, 'before it is known who they are, a visit is of two');
SELECT journey.track('web', 'identified', '{"customer_id": "c", "anonymous_id": "a"}');
SELECT pg_temp.laps();
SELECT results_eq($$SELECT started_at, first_referrer, last_referrer FROM journey.session WHERE session_id = 'v4'$$,
    $$VALUES ('2026-03-01 09:51+00'::timestamptz, 'https://news.example/', 'https://pay.example/')$$, 'then of one, with the first referrer and the last');
SELECT journey.unmerge(merge_id) FROM journey.merge_log;
SELECT pg_temp.laps();
SELECT results_eq($$SELECT first_referrer, last_referrer FROM journey.session WHERE session_id = 'v4' ORDER BY started_at$$,
    $$VALUES ('https://news.example/', 'https://news.example/'), ('https://pay.example/', 'https://pay.example/')$$, 'taken apart, each has their own again');

-- the device, in conditions of rules and of features
SELECT is(pg_temp.says('event.device = ''phone''', '{"event": {"type": "session_started", "props": {"device": "phone"}}}'), 'true', 'a condition reads the device');
SELECT journey.apply('{"kind": "feature", "name": "phone_visits", "on": "session_started", "where": "event.device = ''phone''", "aggregate": "count"}');
SELECT pg_temp.send('session_started', '{"session_id": "v3", "device": "tablet"}');
SELECT pg_temp.laps();
SELECT is(journey.features('{"customer_id": "c"}') -> 'phone_visits', '1', 'and so does a feature');

-- support contacts: open, and of the last 30 days
SELECT is(pg_temp.says('tickets.open = 0 and tickets.contacts_30d = 0'), 'true', 'no contact yet');
SELECT pg_temp.send('ticket_opened', '{"ticket_id": "t1", "reason": "late"}', '40 days'), pg_temp.send('ticket_opened', '{"ticket_id": "t2"}', '3 days');
SELECT pg_temp.send('ticket_opened', '{"ticket_id": "t3"}', '2 days'), pg_temp.send('ticket_closed', '{"ticket_id": "t3"}', '1 day');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('tickets.open = 2 and tickets.contacts_30d = 2'), 'true', 'an old case that is open, a new one, and one that was closed');
SELECT pg_temp.send('ticket_closed', '{"ticket_id": "t2"}', '4 days');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('tickets.open = 2'), 'true', 'what was closed before it was opened again is open');
SELECT pg_temp.send('ticket_closed', '{"ticket_id": "t1"}'), pg_temp.send('ticket_opened', '{"ticket_id": "t3"}'), pg_temp.send('ticket_opened', '{}');
SELECT pg_temp.laps();
SELECT is(pg_temp.says('tickets.open = 3 and tickets.contacts_30d = 4'), 'true', 'opened again, and one without an id');
SELECT journey.set_clock('2026-04-05 10:00+00');
SELECT is(pg_temp.says('tickets.open = 3 and tickets.contacts_30d = 0'), 'true', 'contacts grow old, open cases stay open');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
