CREATE VIEW journey.dead_letter WITH (security_barrier) AS
SELECT h.action_id, h.channel, h.reason, h.error, h.attempt, h.finished_at AS died_at, h.journey, h.step,
       h.purpose, h.scope, h.template, h.profile_id, h.idempotency_key, h.gates IS NOT NULL AS can_requeue, h.test
FROM journey.outbox_history h
WHERE h.status = 'dead'
  AND ((SELECT journey._scopes_of(current_user)) IS NULL OR h.scope = ANY ((SELECT journey._scopes_of(current_user))::text[]));
COMMENT ON VIEW journey.dead_letter IS
    'Actions that were given up: attempts used up or the provider refused the content. Bring them back with journey.requeue().';
COMMENT ON COLUMN journey.dead_letter.action_id IS 'Action.';
COMMENT ON COLUMN journey.dead_letter.channel IS 'Channel.';
COMMENT ON COLUMN journey.dead_letter.reason IS 'Code of the last failure.';
COMMENT ON COLUMN journey.dead_letter.error IS 'What the last attempt said.';
COMMENT ON COLUMN journey.dead_letter.attempt IS 'Permits granted.';
COMMENT ON COLUMN journey.dead_letter.died_at IS 'When it was given up.';
COMMENT ON COLUMN journey.dead_letter.journey IS 'Journey.';
COMMENT ON COLUMN journey.dead_letter.step IS 'Step.';
COMMENT ON COLUMN journey.dead_letter.purpose IS 'marketing, service or transactional.';
COMMENT ON COLUMN journey.dead_letter.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.dead_letter.template IS 'Template.';
COMMENT ON COLUMN journey.dead_letter.profile_id IS 'Whom it concerned.';
COMMENT ON COLUMN journey.dead_letter.idempotency_key IS 'Key that the provider was given; requeue() keeps it.';
COMMENT ON COLUMN journey.dead_letter.can_requeue IS 'Whether requeue() can bring it back.';
COMMENT ON COLUMN journey.dead_letter.test IS 'Made under the test clock.';

-- Measured, not counted: what machines opened is no outcome.
CREATE VIEW journey.message WITH (security_barrier) AS
SELECT a.action_id, a.profile_id, a.journey, a.version, a.step, a.channel, a.purpose, a.scope, a.template, a.template_version,
       d.touchpoint, a.decided_at, d.rule, d.clauses, d.inputs, d.versions, d.arm, a.suppress_on,
       a.status, a.reason, s.inputs AS stopped_by, a.due_at, a.attempt, a.sent_at, a.provider_ref, a.cost,
       m.delivered_at, m.opened_at, m.clicked_at, m.replied_at, m.bounced_at, m.complained_at, m.unsubscribed_at,
       c.at AS converted_at, c.order_id, c.amount, c.currency, a.test
FROM (SELECT o.bucket, o.profile_id, o.action_id, o.enrollment_id, o.journey, o.version, o.step, o.channel, o.purpose, o.scope, o.template,
             o.template_version, o.decision_id, o.decided_at, o.suppress_on, o.status, o.reason, o.due_at, o.attempt,
             NULL::timestamptz AS sent_at, o.provider_ref, o.cost, o.test
      FROM journey.outbox o
      UNION ALL
      SELECT h.bucket, h.profile_id, h.action_id, h.enrollment_id, h.journey, h.version, h.step, h.channel, h.purpose, h.scope, h.template,
             h.template_version, h.decision_id, h.decided_at, CASE WHEN h.payload ? '_remove' THEN '[]' ELSE x.doc -> 'suppress_on' END, h.status, h.reason, h.due_at, h.attempt,
             h.sent_at, h.provider_ref, h.cost, h.test
      FROM journey.outbox_history h
      LEFT JOIN journey.document x ON x.kind = 'journey' AND x.name = h.journey AND x.version = h.version) a
LEFT JOIN journey.decision d ON d.bucket = a.bucket AND d.profile_id = a.profile_id AND d.decided_at = a.decided_at AND d.decision_id = a.decision_id
LEFT JOIN LATERAL (SELECT y.inputs FROM journey.decision y
                   WHERE y.bucket = a.bucket AND y.profile_id = a.profile_id AND y.action_id = a.action_id
                     AND y.kind IN ('claim', 'permit') AND y.verdict = 'refused' AND y.reason = a.reason
                   ORDER BY y.decided_at DESC LIMIT 1) s ON true
LEFT JOIN LATERAL (SELECT min(e.at) FILTER (WHERE e.type = 'message_delivered') AS delivered_at,
                          min(e.at) FILTER (WHERE e.type = 'message_opened' AND NOT e.machine) AS opened_at,
                          min(e.at) FILTER (WHERE e.type = 'message_clicked' AND NOT e.machine) AS clicked_at,
                          min(e.at) FILTER (WHERE e.type = 'message_replied') AS replied_at,
                          min(e.at) FILTER (WHERE e.type = 'message_bounced') AS bounced_at,
                          min(e.at) FILTER (WHERE e.type = 'message_complained') AS complained_at,
                          min(e.at) FILTER (WHERE e.type = 'unsubscribed') AS unsubscribed_at
                   FROM journey.message_event e
                   WHERE e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.action_id = a.action_id) m ON true
LEFT JOIN LATERAL (SELECT v.at, v.order_id, v.amount, v.currency FROM journey.conversion v
                   WHERE v.bucket = a.bucket AND v.profile_id = a.profile_id AND v.enrollment_id = a.enrollment_id
                   ORDER BY v.at LIMIT 1) c ON true
WHERE (SELECT journey._scopes_of(current_user)) IS NULL OR a.scope = ANY ((SELECT journey._scopes_of(current_user))::text[]);
COMMENT ON VIEW journey.message IS
    'A row per action: why it was allowed, what may stop it or did, and what became of it up to the goal of its enrollment. That the goal followed does not say that the message caused it.';
COMMENT ON COLUMN journey.message.action_id IS 'Action.';
COMMENT ON COLUMN journey.message.profile_id IS 'Whom it concerns.';
COMMENT ON COLUMN journey.message.journey IS 'Journey.';
COMMENT ON COLUMN journey.message.version IS 'Version of the journey.';
COMMENT ON COLUMN journey.message.step IS 'Step.';
COMMENT ON COLUMN journey.message.channel IS 'Channel.';
COMMENT ON COLUMN journey.message.purpose IS 'marketing, service or transactional.';
COMMENT ON COLUMN journey.message.scope IS 'Brand, shop or country.';
COMMENT ON COLUMN journey.message.template IS 'Template.';
COMMENT ON COLUMN journey.message.template_version IS 'Version of the template.';
COMMENT ON COLUMN journey.message.touchpoint IS 'Touchpoint of the decision.';
COMMENT ON COLUMN journey.message.decided_at IS 'When it was decided.';
COMMENT ON COLUMN journey.message.rule IS 'Rule that the decision names; null = none stood against it.';
COMMENT ON COLUMN journey.message.clauses IS 'Clauses that were judged for it, with their verdicts.';
COMMENT ON COLUMN journey.message.inputs IS 'Values that the decision read.';
COMMENT ON COLUMN journey.message.versions IS 'Documents that it went by.';
COMMENT ON COLUMN journey.message.arm IS 'treatment: nobody of the control group has an action.';
COMMENT ON COLUMN journey.message.suppress_on IS 'Events that stop it; of a final one, those of its journey''s version, but none for a removal from an audience.';
COMMENT ON COLUMN journey.message.status IS 'Where it stands, or how it ended.';
COMMENT ON COLUMN journey.message.reason IS 'Why it was refused, failed or waits; empty = nothing stood against it.';
COMMENT ON COLUMN journey.message.stopped_by IS 'What the claim or permit that refused it found, such as the event and the order.';
COMMENT ON COLUMN journey.message.due_at IS 'When it was due.';
COMMENT ON COLUMN journey.message.attempt IS 'Permits granted.';
COMMENT ON COLUMN journey.message.sent_at IS 'When it was acknowledged.';
COMMENT ON COLUMN journey.message.provider_ref IS 'Reference of the provider.';
COMMENT ON COLUMN journey.message.cost IS 'What sending it cost.';
COMMENT ON COLUMN journey.message.delivered_at IS 'When it was delivered.';
COMMENT ON COLUMN journey.message.opened_at IS 'When a person first opened it; machines do not count.';
COMMENT ON COLUMN journey.message.clicked_at IS 'When a person first followed a link.';
COMMENT ON COLUMN journey.message.replied_at IS 'When it was first answered.';
COMMENT ON COLUMN journey.message.bounced_at IS 'When it first bounced.';
COMMENT ON COLUMN journey.message.complained_at IS 'When it was reported as unwanted.';
COMMENT ON COLUMN journey.message.unsubscribed_at IS 'When it led to an opt-out.';
COMMENT ON COLUMN journey.message.converted_at IS 'When the goal of its enrollment was reached.';
COMMENT ON COLUMN journey.message.order_id IS 'Order that reached it.';
COMMENT ON COLUMN journey.message.amount IS 'Amount of that order.';
COMMENT ON COLUMN journey.message.currency IS 'Its currency.';
COMMENT ON COLUMN journey.message.test IS 'Made under the test clock.';
