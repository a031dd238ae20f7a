-- What a sender gets for a person: nothing to claim, or the permit's answer.
-- Others' actions are claimed with theirs, and given back.
CREATE FUNCTION pg_temp.answer(c text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    answer text := 'nothing';
BEGIN
    FOR r IN SELECT * FROM journey.claim('email', 100) LOOP
        IF r.profile_id = pg_temp.pid(c) THEN
            SELECT CASE WHEN b.granted THEN 'granted' ELSE b.reason END INTO answer FROM journey.begin_send(r.action_id, r.token) b;
        ELSE
            PERFORM journey.release(ARRAY[r.action_id], ARRAY[r.token]);
        END IF;
    END LOOP;
    RETURN answer;
END $$;
