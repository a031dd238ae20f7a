-- What the replay did, in words.
SELECT format('%s events, %s people, %s carts, %s orders', (SELECT count(*) FROM journey.event WHERE source = 'web' AND type <> 'order_line_placed'),
              (SELECT count(*) FROM journey.profile), (SELECT count(*) FROM journey.cart), (SELECT count(*) FROM journey.orders));
SELECT format('%s enrollments: %s reminded, %s ended by an order, %s held out, %s others', count(*),
              count(*) FILTER (WHERE h.status = 'sent'),
              count(*) FILTER (WHERE e.exit_reason = 'ordered'),
              count(*) FILTER (WHERE e.status = 'held_out'),
              count(*) FILTER (WHERE h.status IS DISTINCT FROM 'sent' AND e.exit_reason IS DISTINCT FROM 'ordered' AND e.status <> 'held_out'))
FROM journey.enrollment e LEFT JOIN journey.outbox_history h USING (bucket, profile_id, enrollment_id);
SELECT format('%s quarantined; %s invariants violated', (SELECT count(*) FROM journey.quarantine), count(*)) FROM journey.check_invariants();
