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
