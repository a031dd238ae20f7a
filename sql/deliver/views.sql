CREATE VIEW journey.dead_letter WITH (security_barrier) AS
SELECT h.action_id, h.channel, h.reason, h.error, h.attempt, h.finished_at AS died_at, h.journey, h.step,
       h.purpose, h.scope, h.template, h.profile_id, h.idempotency_key, h.gates IS NOT NULL AS can_requeue, h.test
FROM journey.outbox_history h
WHERE h.status = 'dead';
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
