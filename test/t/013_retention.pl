# Tables that grow: partitions are there before their rows, old ones go by the
# settings of retention, and neither waits for anybody or keeps anybody waiting.
#
# What would break if this failed: the disk fills up, or a report that runs for
# an hour stops the laps.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.worker = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION journey; SELECT journey.install(); SELECT journey.adopt()');

sub q1 { return $node->safe_psql('postgres', $_[0]) }
sub parts { return q1("SELECT count(*) FROM journey._parts('$_[0]')") }
my $old = "p.upper <= clock_timestamp() - interval '30 days'";
sub old_parts { return q1("SELECT count(*) FROM journey._parts('$_[0]') p WHERE $old") }
sub set { $node->append_conf('postgresql.conf', "$_[0] = '$_[1]'\n"); $node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('$_[0]') <> '0'") }

is(parts('event'), 3, 'adopt() makes the first partitions, before anything can come');
is(q1(q{SELECT count(*) FROM journey.health WHERE topic = 'partitions'}), 0, 'and health has nothing to say of them');

# -- a journey a year ago, and one of today -------------------------------------
sub life {
	my ($clock) = @_;
	q1("SELECT journey.set_clock($clock)");
	q1('SELECT journey.maintain()');
	q1(q{SELECT journey.track('web', 'cart_viewed', '{"customer_id": "7"}', '{}')});
	q1('SELECT journey.run_until_idle()');
	q1(q{SELECT count(*) FROM journey.claim_and_begin('email', 10)});
	q1(q{SELECT count(journey.ack(o.action_id, o.token, 'ref')) FROM journey.outbox o});
	q1('SELECT journey.run_until_idle()');
	return;
}
q1(q{SELECT journey.apply('[{"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "service", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"}, "suppress_on": ["order_placed"],
  "control": {"none": true, "reason": "test"},
  "caps": [{"scope": "journey", "channel": "*", "max": 5, "per": "1 day", "window": "rolling", "otherwise": "drop"}],
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]')});
q1(q{SELECT journey.set_clock('2025-01-01 10:00+00')});
q1(q{SELECT journey.track('web', 'identified', '{"customer_id": "7", "email": "a@example.com"}', '{}', NULL, 'm1')});
q1('SELECT journey.run_until_idle()');
isnt(q1('SELECT count(*) FROM journey.event_default'), '0', 'before maintenance the day has no partition: its rows lie in the default one');
life(q{'2025-01-01 12:00+00'});
is(q1('SELECT count(*) FROM journey.event_default'), '0', 'maintenance moves them into the partition that it makes');
is(q1(q{SELECT string_agg(DISTINCT tableoid::regclass::text, ',') FROM journey.event}), 'journey.event_20250101', 'and none is lost');
life(q{clock_timestamp()});
is(q1(q{SELECT string_agg(status, ',') FROM journey.outbox_history}), 'sent,sent', 'two messages went out, one long ago');
isnt(old_parts($_), 0, "old partitions of $_") for qw(event decision outbox_history);

# -- nothing goes unless somebody says so, nor by a test clock ---------------------
q1('SELECT journey.set_clock(NULL)');
q1('SELECT journey.maintain()');
isnt(old_parts('event'), 0, 'by default events are kept for ever');
is(q1(q{SELECT count(*) FROM journey.event_key}), 0, 'message ids are forgotten after journey.dedupe_window');
set('journey.event_retention', '90d');
q1(q{SELECT journey.set_clock(clock_timestamp() + interval '10 years')});
q1('SELECT journey.maintain()');
isnt(old_parts('event'), 0, 'a test clock drops nothing');
q1('SELECT journey.set_clock(NULL)');

# -- whoever reads keeps its partition, and keeps nobody waiting ----------------------
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM journey.event');
my $began = time;
q1('SELECT journey.maintain()');
cmp_ok(time - $began, '<', 5, 'maintenance does not wait for a report that runs');
isnt(old_parts('event'), 0, 'its partition stays');
is(q1(q{SELECT under_way FROM journey.retention WHERE name = 'event'}), 't', 'journey.retention says that more is to go');
$reader->query_safe('COMMIT');
q1('SELECT journey.maintain()');
is(old_parts('event'), 0, 'and goes when the report is done');
is(q1(q{SELECT count(*) > 0 FROM journey.event}), 't', 'what is younger is there');
isnt(old_parts('decision'), 0, 'decisions are kept by another setting');
q1('SELECT journey.maintain()');
is(q1(q{SELECT under_way FROM journey.retention WHERE name = 'event'}), 'f', 'all of it is gone');

# -- decisions, actions and permits go together, at the worker's hands -------------------
q1(q{INSERT INTO journey.permit_batch SELECT '0194a000-0000-7000-8000-000000000000', 1, '1:1:', -1, '2025-01-25'});
q1('CREATE VIEW report AS SELECT * FROM journey.outbox_history_20250101');
set('journey.decision_retention', '90d');
$node->append_conf('postgresql.conf', 'journey.worker = on');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM journey.attempt_log}), 'the worker forgets permits');
is(q1(q{SELECT count(*) FROM journey.permit_batch WHERE lap = -1}), 0, 'and their snapshots');
is(q1(q{SELECT count(*) FROM journey.permit_batch}), 2, 'by the id, which is of real time');
is(old_parts('decision'), 0, 'decisions go with their partition');
is(q1(q{SELECT hint FROM journey.health WHERE topic = 'incident' AND detail LIKE 'retention outbox_history_20250101%'}),
	'Drop or change what needs it, or keep it for yourself: ALTER TABLE journey.outbox_history DETACH PARTITION journey.outbox_history_20250101.',
	'a partition that a view of somebody needs stays, and health says what to do');
is(q1(q{SELECT count(*) FROM journey.check_invariants()}), 0, 'the invariants hold over what is left, halfway');
q1('DROP VIEW report');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM journey._parts('outbox_history') p WHERE $old"), 'then it goes as well');
is(q1(q{SELECT count(*) FROM journey.incident WHERE kind = 'retention' AND resolved_at IS NULL}), 0, 'and the incident is closed');
is(q1(q{SELECT count(*) FROM journey.outbox_history}), 1, 'the message of today is there');
is(q1(q{SELECT count(*) FROM journey.check_invariants()}), 0, 'the invariants hold over what is left');
unlike(slurp_file($node->logfile), qr/could not maintain/, 'no maintenance has failed');
$node->stop;
done_testing();
