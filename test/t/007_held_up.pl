# Somebody who holds a row that a lap must write holds the inbox up. The worker
# waits in short turns and stays, health names who it is, and the lap goes on
# as soon as the row is free.
#
# What would break if this failed: reminders stop, nobody can tell why, and a
# worker that has left comes back up to a minute after the lock has gone.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('held');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '100ms'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();');

sub identified
{
	my ($city) = @_;
	$node->safe_psql('postgres', qq{SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{"city": "$city"}')});
	return;
}
sub lives_in
{
	my ($city) = @_;
	return "SELECT count(*) = 1 FROM journey.profile WHERE traits ->> 'city' = '$city'";
}
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'postgres'";

identified('Berlin');
ok($node->poll_query_until('postgres', lives_in('Berlin')), 'the worker knows a person');
my $pid = $node->safe_psql('postgres', $worker);

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
my $holder_pid = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe(q{SELECT 1 FROM journey.profile FOR UPDATE});
identified('Paris');
ok($node->poll_query_until('postgres', "SELECT status = 'error' AND detail LIKE '%held by pid $holder_pid' FROM journey.health WHERE topic = 'worker'"),
	'health names who holds the lap up');
# longer than a lap waits for a lock
sleep(3);
is($node->safe_psql('postgres', $worker), $pid, 'the worker stays');
is($node->safe_psql('postgres', "SELECT failures FROM journey.stat_worker WHERE database = 'postgres'"), '0', 'and does not count as failing');
$holder->query_safe('COMMIT');
$holder->quit;
my $began = time();
ok($node->poll_query_until('postgres', lives_in('Paris')), 'the lap goes on');
cmp_ok(time() - $began, '<=', 3, 'at once');
ok($node->poll_query_until('postgres', "SELECT status = 'ok' FROM journey.health WHERE topic = 'worker'"), 'and health says so');

# an administrator who marks a test profile and goes for lunch holds up nobody
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
is($holder->query_safe(q{SELECT journey.mark_test('{"customer_id": "1"}')}), 't', 'a test profile is marked, in a transaction that stays open');
identified('Lyon');
ok($node->poll_query_until('postgres', lives_in('Lyon')), 'laps write that very person meanwhile');
$holder->query_safe('COMMIT');
$holder->quit;
is($node->safe_psql('postgres', q{SELECT count(*) FROM journey.test_profile WHERE profile_id = journey.profile_id('{"customer_id": "1"}')}), '1', 'and the mark stands');

# in the search for an event that fails: what it writes at its end is held
$node->safe_psql('postgres', q{ALTER TABLE journey.event ADD CONSTRAINT poison CHECK (props ->> 'query' IS DISTINCT FROM 'poison')});
sub poisoned
{
	my ($n) = @_;
	$node->safe_psql('postgres', q{SELECT journey.track('web', 'searched', '{"customer_id": "1"}', '{"query": "poison"}')});
	return $node->poll_query_until('postgres', "SELECT count(*) = $n FROM journey.quarantine");
}
ok(poisoned(1), 'an event that fails is set aside');
$holder = $node->background_psql('postgres');
$holder_pid = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe('BEGIN');
$holder->query_safe(q{SELECT journey.resolve_incident('poison_event', 'inbox')});
$node->safe_psql('postgres', q{SELECT journey.track('web', 'searched', '{"customer_id": "1"}', '{"query": "poison"}')});
ok($node->poll_query_until('postgres', "SELECT detail LIKE '%held by pid $holder_pid' FROM journey.health WHERE topic = 'worker'"),
	'who holds up what the next one leaves is named');
sleep(3);
is($node->safe_psql('postgres', $worker), $pid, 'the worker stays');
$holder->query_safe('COMMIT');
$holder->quit;
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM journey.quarantine'), 'and goes on');
is($node->safe_psql('postgres', $worker), $pid, 'the same one');
is($node->safe_psql('postgres', "SELECT count FROM journey.incident WHERE kind = 'poison_event' AND resolved_at IS NULL"), '2', 'the incident is open again');
$node->safe_psql('postgres', 'ALTER TABLE journey.event DROP CONSTRAINT poison');

# a table that maintenance needs and laps do not
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('LOCK TABLE journey.attachment IN ACCESS EXCLUSIVE MODE');
ok($node->poll_query_until('postgres', "SELECT message LIKE '%lock timeout%' FROM journey.incident WHERE kind = 'maintenance' AND resolved_at IS NULL"),
	'maintenance that waits in vain for a lock says so');
is($node->safe_psql('postgres', $worker), $pid, 'the worker stays');
$holder->query_safe('COMMIT');
$holder->quit;
ok($node->poll_query_until('postgres', "SELECT resolved_at IS NOT NULL FROM journey.incident WHERE kind = 'maintenance'"),
	'and when it could be done');
is($node->safe_psql('postgres', $worker), $pid, 'in the same worker');

# what recommend() ranks by cannot be counted: the rest is maintained all the same
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('LOCK TABLE journey.product_sales IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', 'UPDATE journey.sales_count SET due_at = now()');
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM journey.incident WHERE kind = 'sales' AND resolved_at IS NULL"),
	'sales that cannot be counted are told of');
is($node->safe_psql('postgres', "SELECT count(*) FROM journey.incident WHERE kind = 'maintenance' AND resolved_at IS NULL"), '0', 'and hold up no other maintenance');
sleep(11);
is($node->safe_psql('postgres', "SELECT count FROM journey.incident WHERE kind = 'sales'"), '1', 'nor the laps, by being tried each time');
is($node->safe_psql('postgres', $worker), $pid, 'the worker stays');
$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', 'SELECT journey.maintain()');
is($node->safe_psql('postgres', "SELECT count(*) FROM journey.incident WHERE kind = 'sales' AND resolved_at IS NULL"), '0', 'when they can be, it is over');

# somebody else's trigger on a table of ours
$node->safe_psql('postgres', q{
CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER audit BEFORE UPDATE ON journey.profile FOR EACH ROW EXECUTE FUNCTION public.audit();
});
identified('Rome');
ok($node->poll_query_until('postgres', "SELECT hint = 'DROP TRIGGER audit ON journey.profile;' FROM journey.health WHERE topic = 'tables'"),
	'beside a trigger on a table of ours no lap runs, and health says what to do');
sleep(1);
is($node->safe_psql('postgres', lives_in('Rome')), 'f', 'the event waits');
$node->safe_psql('postgres', 'DROP TRIGGER audit ON journey.profile');
ok($node->poll_query_until('postgres', lives_in('Rome')), 'when it has gone, the laps go on');
is($node->safe_psql('postgres', $worker), $pid, 'in the same worker');
is($node->safe_psql('postgres', 'SELECT * FROM journey.check_invariants()'), '', 'invariants hold');
$node->stop;
done_testing();
