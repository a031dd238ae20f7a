INSERT INTO journey.reason_code (reason, final, meaning) VALUES
('stale_token',      true,  'The lease is over, or another sender has it, or the permit was given before: this sender must not send.'),
('unknown',          true,  'Nobody knows whether it was sent.'),
('other',            true,  'Attempts failed and are used up, or the sender gave it up.'),
('content_rejected', true,  'The provider refuses the content.'),
('rate_limited',     false, 'The provider asks to slow down; no attempt was taken.'),
('provider_down',    false, 'The provider cannot be reached; no attempt was taken.'),
('requeued',         false, 'Somebody brought it back from the dead letters.')
ON CONFLICT (reason) DO UPDATE SET final = EXCLUDED.final, meaning = EXCLUDED.meaning;
