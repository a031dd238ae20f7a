-- What happened, in words.
\set ON_ERROR_STOP on
\t on


SELECT format('%s events came in, %s from the shop''s own tables and %s from its pages.',
              count(*), count(*) FILTER (WHERE source <> 'web'), count(*) FILTER (WHERE source = 'web'))
FROM journey.event WHERE NOT backfill;
SELECT format('%s people entered cart recovery: %s for treatment, %s held out and never contacted.',
              count(*), count(*) FILTER (WHERE arm = 'treatment'), count(*) FILTER (WHERE arm = 'control'))
FROM journey.enrollment WHERE journey = 'demo_cart_recovery';
SELECT format('%s reminders and %s order confirmations were sent.',
              count(*) FILTER (WHERE journey = 'demo_cart_recovery'),
              count(*) FILTER (WHERE journey = 'demo_order_confirmation'))
FROM journey.outbox_history WHERE status = 'sent';
SELECT format('%s reminders were ended by an order: %s while they waited, %s in the outbox, of these %s in a sender''s hands.',
              waited + stopped, waited, stopped, claimed)
FROM (SELECT count(*) AS waited FROM journey.enrollment e
      WHERE e.journey = 'demo_cart_recovery' AND e.exit_reason = 'ordered' AND e.arm = 'treatment'
        AND NOT EXISTS (SELECT FROM journey.outbox_history o
                        WHERE (o.bucket, o.profile_id, o.enrollment_id) = (e.bucket, e.profile_id, e.enrollment_id))) w,
     (SELECT count(*) AS stopped, count(*) FILTER (WHERE in_flight) AS claimed
      FROM journey.outbox_history
      WHERE journey = 'demo_cart_recovery' AND status IN ('refused', 'cancelled') AND reason = 'ordered') s;
SELECT format('%s held-out people were contacted.', count(*))
FROM journey.outbox_history o
JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)
WHERE e.arm = 'control';
SELECT format('Invariants checked: %s violations.', count(*)) FROM journey.check_invariants();
\echo
\echo 'One reminder that was sent:'
SELECT format('  %s  %s%s', to_char(y.at, 'HH24:MI:SS'), y.what, ': ' || y.because) FROM (
    SELECT action_id FROM journey.outbox_history
    WHERE journey = 'demo_cart_recovery' AND status = 'sent' ORDER BY finished_at LIMIT 1) a,
    LATERAL journey.why(a.action_id) y;
\echo
\echo 'One that an order ended:'
SELECT format('  %s  %s%s', to_char(y.at, 'HH24:MI:SS'), y.what, ': ' || y.because) FROM (
    SELECT action_id FROM journey.outbox_history
    WHERE journey = 'demo_cart_recovery' AND reason = 'ordered' ORDER BY in_flight DESC, finished_at LIMIT 1) a,
    LATERAL journey.why(a.action_id) y;
