CREATE VIEW journey.unknown_events AS
SELECT u.type, u.seen, u.first_at, u.last_at, u.nearest FROM journey._unknown_events() u;
COMMENT ON VIEW journey.unknown_events IS
    'Event names that are not in the vocabulary: they are kept, counted and usable in rules by their name. The most frequent first.';
COMMENT ON COLUMN journey.unknown_events.type IS 'The name as it came.';
COMMENT ON COLUMN journey.unknown_events.seen IS 'How often.';
COMMENT ON COLUMN journey.unknown_events.first_at IS 'When first.';
COMMENT ON COLUMN journey.unknown_events.last_at IS 'When last.';
COMMENT ON COLUMN journey.unknown_events.nearest IS 'The canonical name that it resembles; null = none. Whether it means the same is for its source to say.';
