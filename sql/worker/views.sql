CREATE VIEW journey.health AS
SELECT h.topic, h.status, h.detail, h.hint FROM journey._health() h;
COMMENT ON VIEW journey.health IS
    'Is everything all right, and if not, what to do next: mode, worker, documents that cannot be read, inbox, who keeps it from being emptied, what others have put on journey''s tables, incidents, attachments and their back-fill, silent sources, quarantine, dead letters, unknown outcomes on hold, pauses, publications.';
COMMENT ON COLUMN journey.health.topic IS 'What the row is about.';
COMMENT ON COLUMN journey.health.status IS 'ok, warning or error.';
COMMENT ON COLUMN journey.health.detail IS 'What was found.';
COMMENT ON COLUMN journey.health.hint IS 'What to do next; null = nothing.';

CREATE VIEW journey.stat_worker AS
SELECT w.database, w.state, w.pid, w.started_at, w.last_lap_at, w.laps, w.events, w.failures, w.next_try, w.lap_since
FROM journey._workers() w;
COMMENT ON VIEW journey.stat_worker IS 'The background workers of the cluster, a row per database.';
COMMENT ON COLUMN journey.stat_worker.database IS 'Name of the database.';
COMMENT ON COLUMN journey.stat_worker.state IS 'unknown, starting, running, stopping, absent (no extension there), backoff (failed, tries again at next_try), no slot (max_worker_processes used up) or no room (as many databases as the launcher serves have journey, or had it).';
COMMENT ON COLUMN journey.stat_worker.pid IS 'Process id; null = not running.';
COMMENT ON COLUMN journey.stat_worker.started_at IS 'When it started; null = never.';
COMMENT ON COLUMN journey.stat_worker.last_lap_at IS 'When its last lap ended; null = none yet.';
COMMENT ON COLUMN journey.stat_worker.laps IS 'Laps since the server started.';
COMMENT ON COLUMN journey.stat_worker.events IS 'Events taken in since the server started.';
COMMENT ON COLUMN journey.stat_worker.failures IS 'Failures in a row.';
COMMENT ON COLUMN journey.stat_worker.next_try IS 'When the launcher tries again; null = at once.';
COMMENT ON COLUMN journey.stat_worker.lap_since IS 'When the lap under way began, of the worker or of run_once(); null = none is.';

CREATE VIEW journey.stat_progress AS
SELECT p.command, p.name, p.kind, p.phase, p.started_at, p.blocks_total, p.blocks_done, p.rows_appended, p.holds_permits, p.problem,
       p.share, p.people
FROM journey._progress() p;
COMMENT ON VIEW journey.stat_progress IS 'Work that takes many laps, and how far it is: the back-fill of attached tables, and features that are counted for people who are older. A row goes when the work is done.';
COMMENT ON COLUMN journey.stat_progress.command IS 'back-fill, of an attached table; count, of a feature.';
COMMENT ON COLUMN journey.stat_progress.name IS 'The attached table, or the feature.';
COMMENT ON COLUMN journey.stat_progress.kind IS 'As what it is attached; feature.';
COMMENT ON COLUMN journey.stat_progress.phase IS 'reading; consuming: all is read and waits in the inbox; failing: see problem; of a feature waiting (for the next lap) or counting.';
COMMENT ON COLUMN journey.stat_progress.started_at IS 'When it began; null = not yet.';
COMMENT ON COLUMN journey.stat_progress.blocks_total IS 'Blocks of the table and its partitions to be read; null for a feature, as are the next two.';
COMMENT ON COLUMN journey.stat_progress.blocks_done IS 'Blocks read.';
COMMENT ON COLUMN journey.stat_progress.rows_appended IS 'Rows appended to the inbox.';
COMMENT ON COLUMN journey.stat_progress.holds_permits IS 'Until it is done, permits that an event could end answer stale_data.';
COMMENT ON COLUMN journey.stat_progress.problem IS 'Why it does not go on; null = it does.';
COMMENT ON COLUMN journey.stat_progress.share IS 'How much of it is done, from 0 to 1.';
COMMENT ON COLUMN journey.stat_progress.people IS 'Of a feature: people looked at so far.';
