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
COMMENT ON COLUMN journey.stat_worker.last_lap_at IS 'When its last lap ended, or it last saw, at rest, that none is due; null = none yet.';
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

CREATE VIEW journey.metrics AS
SELECT m.name, m.labels, m.value, m.kind, m.help FROM journey._metrics() m;
COMMENT ON VIEW journey.metrics IS 'Figures for monitoring, a row per sample, named as Prometheus wants it; no person is in them. Costs a look at the outbox and at what waits in the inbox.';
COMMENT ON COLUMN journey.metrics.name IS 'Name of the metric.';
COMMENT ON COLUMN journey.metrics.labels IS 'Its labels, name to value.';
COMMENT ON COLUMN journey.metrics.value IS 'The value.';
COMMENT ON COLUMN journey.metrics.kind IS 'gauge, or counter: only ever rises, but begins anew with the server or a restored database.';
COMMENT ON COLUMN journey.metrics.help IS 'What it says.';

CREATE VIEW journey.stat_journey WITH (security_barrier) AS
SELECT d.journey, a.version, sum(d.entered)::bigint AS entered, sum(d.not_entered)::bigint AS not_entered,
       greatest(0, sum(d.entered) - sum(d.ended))::bigint AS active, sum(d.ended)::bigint AS ended, sum(d.held_out)::bigint AS held_out,
       sum(d.enqueued)::bigint AS enqueued, sum(d.withheld)::bigint AS withheld, sum(d.cancelled)::bigint AS cancelled,
       sum(d.sent)::bigint AS sent, sum(d.stopped)::bigint AS stopped, sum(d.dead)::bigint AS dead, sum(d.unknown)::bigint AS unknown,
       min(d.day) AS since
FROM journey.journey_day d
LEFT JOIN journey.document a ON a.kind = 'journey' AND a.name = d.journey AND a.state = 'active'
WHERE NOT d.test
GROUP BY d.journey, a.version;
COMMENT ON VIEW journey.stat_journey IS 'What has become of each journey, counted by the laps since the first day that journey.journey_day has; without test rows. By day: journey.journey_day.';
COMMENT ON COLUMN journey.stat_journey.journey IS 'Name of the journey.';
COMMENT ON COLUMN journey.stat_journey.version IS 'Its live version; null = none is.';
COMMENT ON COLUMN journey.stat_journey.entered IS 'Enrollments.';
COMMENT ON COLUMN journey.stat_journey.not_entered IS 'Events whose entry condition did not hold.';
COMMENT ON COLUMN journey.stat_journey.active IS 'Enrollments under way.';
COMMENT ON COLUMN journey.stat_journey.ended IS 'Enrollments that ended.';
COMMENT ON COLUMN journey.stat_journey.held_out IS 'Those of them that ended in the control group.';
COMMENT ON COLUMN journey.stat_journey.enqueued IS 'Actions put into the outbox.';
COMMENT ON COLUMN journey.stat_journey.withheld IS 'Sends that were decided against.';
COMMENT ON COLUMN journey.stat_journey.cancelled IS 'Actions that ended with their enrollment, as by a purchase.';
COMMENT ON COLUMN journey.stat_journey.sent IS 'Actions sent.';
COMMENT ON COLUMN journey.stat_journey.stopped IS 'Actions refused at claim or permit, or expired.';
COMMENT ON COLUMN journey.stat_journey.dead IS 'Actions given up.';
COMMENT ON COLUMN journey.stat_journey.unknown IS 'Actions put on hold with an unknown outcome.';
COMMENT ON COLUMN journey.stat_journey.since IS 'First day that is counted.';
