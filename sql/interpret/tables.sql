-- the names that rules may read
CREATE TABLE journey.vocabulary (
    name text PRIMARY KEY,            -- event.step; event.* stands for any name after the dot
    type text NOT NULL,               -- type of the value
    served boolean NOT NULL,          -- false: reserved for a later release
    meaning text NOT NULL
);
COMMENT ON TABLE journey.vocabulary IS
    'The names that rules may read, besides features, which are read by their bare name. Change it with journey.define_name(), which tells every session.';
COMMENT ON COLUMN journey.vocabulary.name IS
    'Name as a rule writes it. event.* stands for any name after the dot, step.*.sent for any in the middle; source.age:* is written source.age(''…'').';
COMMENT ON COLUMN journey.vocabulary.type IS 'Type of the value; a value that does not fit it reads as null.';
COMMENT ON COLUMN journey.vocabulary.served IS 'False for names that a later release will serve: using one is an error (0A000).';
COMMENT ON COLUMN journey.vocabulary.meaning IS 'What the value is and where it comes from.';

-- the functions that rules may call, also by way of operators and casts
CREATE TABLE journey.allowed_function (
    signature text PRIMARY KEY,
    never_fails boolean NOT NULL,
    shipped boolean NOT NULL
);
COMMENT ON TABLE journey.allowed_function IS
    'The functions that rules may call, directly or through operators and casts. Change it with journey.allow_function() and journey.disallow_function(), which tell every session.';
COMMENT ON COLUMN journey.allowed_function.signature IS
    'Name and argument types as pg_catalog spells them: functions of other schemas carry their schema.';
COMMENT ON COLUMN journey.allowed_function.never_fails IS
    'True when no argument of the declared types makes the function raise an error; a clause of such functions runs without a subtransaction.';
COMMENT ON COLUMN journey.allowed_function.shipped IS 'True for the list that comes with journey, false for additions of an administrator.';

-- features that have been counted, or are being counted, for people who are older
CREATE TABLE journey.feature_count (
    name text PRIMARY KEY,
    number bigint NOT NULL,
    started_at timestamptz NOT NULL,
    at_bucket smallint NOT NULL,
    after_id uuid NOT NULL,
    people bigint NOT NULL,
    finished_at timestamptz,
    problem text,
    retry_at timestamptz
);
COMMENT ON TABLE journey.feature_count IS
    'How far each feature has been counted from the event log for everybody. Until that is done rules read it as unknown; journey.stat_progress shows it.';
COMMENT ON COLUMN journey.feature_count.name IS 'The feature.';
COMMENT ON COLUMN journey.feature_count.number IS 'Hash of the definition that is counted: another one is counted from the start.';
COMMENT ON COLUMN journey.feature_count.started_at IS 'When this began.';
COMMENT ON COLUMN journey.feature_count.at_bucket IS 'Where the walk is: people of lesser buckets have been counted; 1024 = all.';
COMMENT ON COLUMN journey.feature_count.after_id IS 'And those of this bucket up to this id.';
COMMENT ON COLUMN journey.feature_count.people IS 'People looked at.';
COMMENT ON COLUMN journey.feature_count.finished_at IS 'When everybody had been counted; null = not yet.';
COMMENT ON COLUMN journey.feature_count.problem IS 'Why the last attempt to go on failed; null = it did not.';
COMMENT ON COLUMN journey.feature_count.retry_at IS 'Not tried again before, real time.';
