-- What a crash must not have done: a row per violation (check, subject,
-- detail). The harness has loaded crash.seen (commits that clients were told
-- of) and crash.accepted (what the provider took); everything is consumed and
-- nothing is in a sender's hands. :busy = a bulk load is still being walked:
-- then only what holds at every moment is checked. :upset = something was done
-- that raises an incident which is then settled. :adopted = adopt() has read the
-- shop's tables again, which still have whom the shop itself has not forgotten.
\set ON_ERROR_STOP on
\pset tuples_only on
\pset format unaligned
\pset fieldsep ' | '
SET client_min_messages = warning;
ANALYZE crash.seen, crash.accepted;

SELECT * FROM journey.check_invariants() LIMIT 20;

-- I2: what clients saw committed is in the tables
SELECT 'I2 lost', s.kind || ' ' || s.id, 'seen committed with synchronous_commit = on, and not there'
FROM crash.seen s
WHERE s.sync AND CASE s.kind
      WHEN 'cart' THEN NOT EXISTS (SELECT FROM shop.carts c WHERE c.id = s.id::bigint)
      WHEN 'order' THEN NOT EXISTS (SELECT FROM shop.orders o WHERE o.id = s.id::bigint)
      WHEN 'void' THEN NOT EXISTS (SELECT FROM shop.orders o WHERE o.id = s.id::bigint AND o.status = 'void') END LIMIT 20;
SELECT 'I12 bystander', s.id, 'a statement of the shop failed' FROM crash.seen s WHERE s.kind = 'error' LIMIT 20;

-- I3: per key one effect, and per order and cart one key
SELECT 'I3 no permit', a.key, 'the provider took a message that has no permit'
FROM crash.accepted a
WHERE a.address NOT LIKE '%@erased.example.com' -- nothing is kept of it
  AND NOT EXISTS (SELECT FROM journey._actions() x JOIN journey.attempt_log t USING (bucket, profile_id, action_id)
                  WHERE x.idempotency_key = a.key) LIMIT 20;
SELECT 'I3 not accepted', h.idempotency_key, 'acknowledged as sent, unknown to the provider'
FROM journey.outbox_history h
WHERE h.status = 'sent' AND NOT EXISTS (SELECT FROM crash.accepted a WHERE a.key = h.idempotency_key) LIMIT 20;
SELECT 'I3 twice', e.journey || ' ' || e.key, format('%s messages', count(DISTINCT a.key))
FROM crash.accepted a
JOIN journey._actions() x ON x.idempotency_key = a.key
JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)
GROUP BY e.journey, e.key HAVING count(DISTINCT a.key) > 1 LIMIT 20;

-- I1, from the shop's own tables: an order of the cart that the permit's snapshot sees, not voided
SELECT 'I1 ordered', t.action_id::text, format('reminder of cart %s, permit %s sees order %s', e.key, t.attempt, o.id)
FROM journey.attempt_log t
JOIN journey.permit_batch b USING (permit_batch)
JOIN journey._actions() x USING (bucket, profile_id, action_id)
JOIN journey.enrollment e ON e.enrollment_id = x.enrollment_id AND e.bucket = x.bucket AND e.profile_id = x.profile_id
JOIN shop.orders o ON o.cart_id = e.key::bigint
WHERE e.journey = 'crash_recovery' AND pg_visible_in_snapshot(o.xact, b.snapshot)
  AND (o.void_xact IS NULL OR NOT pg_visible_in_snapshot(o.void_xact, b.snapshot)) LIMIT 20;

\if :busy
\quit
\endif

-- I2: and consumed, each once; what was rolled back was not
SELECT 'I2 not consumed', 'order ' || o.id, format('status %s in the shop, %s here', o.status, COALESCE(j.status, 'nothing'))
FROM shop.orders o
LEFT JOIN journey.orders j ON j.order_id = o.id::text
WHERE (o.email NOT LIKE '%@erased.example.com') IS NOT FALSE
  AND j.status IS DISTINCT FROM CASE o.status WHEN 'paid' THEN 'placed' ELSE 'cancelled' END LIMIT 20;
SELECT 'I2 phantom', 'order ' || j.order_id, 'never committed'
FROM journey.orders j WHERE NOT EXISTS (SELECT FROM shop.orders o WHERE o.id = j.order_id::bigint) LIMIT 20;
SELECT 'I2 times', e.type || ' ' || (e.props ->> 'order_id'), format('%s events', count(*))
FROM journey.event e WHERE e.type IN ('order_placed', 'order_cancelled')
GROUP BY e.type, e.props ->> 'order_id' HAVING count(*) > 1 LIMIT 20;
SELECT 'I2 not consumed', 'cart ' || c.id, format('%s items in the shop, %s here', l.items, j.items)
FROM shop.carts c
CROSS JOIN LATERAL (SELECT COALESCE(sum(quantity), 0) AS items FROM shop.cart_lines x WHERE x.cart_id = c.id) l
LEFT JOIN journey.cart j ON j.cart_id = c.id::text
WHERE (c.email NOT LIKE '%@erased.example.com') IS NOT FALSE AND j.items IS DISTINCT FROM l.items LIMIT 20;
SELECT 'I2 lost', 'track ' || s.id, format('%s events', count(e.*))
FROM crash.seen s LEFT JOIN journey.event e ON e.message_id = s.id
WHERE s.kind = 'track' AND s.sync GROUP BY s.id HAVING count(e.*) <> 1 LIMIT 20;
SELECT 'I2 unconfirmed', 'order ' || o.id, 'consumed, and its confirmation was never decided'
FROM shop.orders o
WHERE (o.email NOT LIKE '%@erased.example.com') IS NOT FALSE
  AND NOT EXISTS (SELECT FROM journey.enrollment e WHERE e.journey = 'crash_confirmation' AND e.key = o.id::text) LIMIT 20;
SELECT 'I2 bulk', 'inbox_copy', format('%s rows were copied, %s were consumed', b.committed, n.events)
FROM crash.bulk b, (SELECT count(*) AS events FROM journey.event WHERE source = 'bulk') n
WHERE b.committed <> n.events;

-- who was said to be one is; who was forgotten is, with all that they did
SELECT 'merge', s.id, 'seen committed with synchronous_commit = on, and they are two'
FROM crash.seen s
WHERE s.kind = 'merge' AND s.sync
  AND journey.profile_id(jsonb_build_object('email', split_part(s.id, ' ', 1)))
      IS DISTINCT FROM journey.profile_id(jsonb_build_object('customer_id', split_part(s.id, ' ', 2))) LIMIT 20;
SELECT 'merge', t.name || ' ' || t.profile_id, 'a row of an id that was given up'
FROM (SELECT 'event' AS name, profile_id FROM journey.event UNION ALL SELECT 'orders', profile_id FROM journey.orders
      UNION ALL SELECT 'cart', profile_id FROM journey.cart UNION ALL SELECT 'enrollment', profile_id FROM journey.enrollment
      UNION ALL SELECT 'outbox_history', profile_id FROM journey.outbox_history UNION ALL SELECT 'attempt_log', profile_id FROM journey.attempt_log
      UNION ALL SELECT 'suppression', profile_id FROM journey.suppression) t
JOIN journey.profile_alias a USING (profile_id) LIMIT 20;
CREATE TEMP VIEW erased AS SELECT s.id AS email FROM crash.seen s WHERE s.kind = 'erase' AND s.sync;
SELECT 'erase', e.email, 'seen committed, and somebody is known by it'
FROM erased e WHERE NOT :adopted::boolean AND journey.profile_id(jsonb_build_object('email', e.email)) IS NOT NULL LIMIT 20;
SELECT 'erase', e.email, 'seen committed, and no digest of it is kept'
FROM erased e WHERE NOT EXISTS (SELECT FROM journey._forgotten(ARRAY['email'], ARRAY[e.email])) LIMIT 20;
SELECT 'erase', e.email, format('%s of cart %s is still there', t.name, c.id)
FROM erased e JOIN shop.carts c USING (email)
JOIN (SELECT 'cart' AS name, j.cart_id AS cart FROM journey.cart j
      UNION ALL SELECT 'event ' || v.type || ' ' || v.seq, v.props ->> 'cart_id' FROM journey.event v
      UNION ALL SELECT 'enrollment', n.key FROM journey.enrollment n WHERE n.journey = 'crash_recovery') t ON t.cart = c.id::text
WHERE NOT :adopted::boolean LIMIT 20;
SELECT 'quarantine', q.origin, q.reason FROM journey.quarantine q LIMIT 20;
SELECT 'incident', i.kind || ' ' || i.name, i.message FROM journey.incident i WHERE i.severity = 'error' AND (i.resolved_at IS NULL OR NOT :upset::boolean) LIMIT 20;

-- I13: nothing is stuck
SELECT 'I13 stuck', o.action_id::text, format('%s %s of %s, claim_at %s, lease until %s', o.status, o.reason, o.journey, o.claim_at, o.lease_until)
FROM journey.outbox o LIMIT 20;
SELECT 'I13 stuck', e.enrollment_id::text, format('%s stands on %s since %s', e.journey, e.step, e.stepped_at)
FROM journey.enrollment e WHERE e.exited_at IS NULL LIMIT 20;
