# The worker reads the history of a large table, is killed in the middle, and
# goes on where it was.
#
# What would break if this failed: after a crash orders of before the attach
# are missing for ever, and their buyers are reminded; or each crash begins the
# whole table again, and a large one never ends.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('backfill');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
restart_after_crash = on
journey.site = 'shop'
journey.naptime = '100ms'
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION journey;
SET client_min_messages = warning;
SELECT journey.install();
SELECT journey.adopt();
CREATE TABLE flushed (n integer);
CREATE TABLE orders (id integer, email text, status text);
INSERT INTO orders SELECT n, 'c' || n % 10000 || '@x.example', 'placed' FROM generate_series(1, 60000) n;
});
is($node->safe_psql('postgres', q{SELECT count(*) FROM journey.attach('orders', 'order', '{"key": "id", "subject": {"email": "email"}, "status": "status"}') WHERE value LIKE 'above 1 MB%'}),
	'1', 'a table above 1 MB is left to the worker');

my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname = 'postgres'";
my $done = 0;
for my $percent (10, 30, 50)
{
	ok($node->poll_query_until('postgres', "SELECT blocks_done * 100 >= blocks_total * $percent FROM journey.stat_progress"),
		"the worker reads, $percent of 100");
	my $pid = $node->safe_psql('postgres', $worker);
	$done = $node->safe_psql('postgres', 'SELECT blocks_done FROM journey.stat_progress');
	# laps commit asynchronously: what they had committed before this is there after a crash
	$node->safe_psql('postgres', "INSERT INTO flushed VALUES ($percent)");
	kill 'KILL', $pid;
	for (1 .. 200)
	{
		kill 0, $pid or last;
		select(undef, undef, undef, 0.05);
	}
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
	my $left = $node->safe_psql('postgres', 'SELECT blocks_done >= ' . $done . ' AND blocks_done < blocks_total FROM journey.stat_progress');
	is($left, 't', 'killed in the middle: what was read is not read again');
}
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM journey.stat_progress'), 'it comes to an end');
is($node->safe_psql('postgres', 'SELECT backfilled_at IS NOT NULL FROM journey.attachment'), 't', 'which is noted');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT order_id) FROM journey.orders'), '60000|60000', 'each order is known');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT props ->> 'order_id') FROM journey.event WHERE type = 'order_placed'}),
	'60000|60000', 'and was taken in once');
is($node->safe_psql('postgres', 'SELECT sum(orders), max(orders), min(orders) FROM journey.profile_state'), '60000|6|6', 'none counts twice for its buyer');
is($node->safe_psql('postgres', 'SELECT * FROM journey.check_invariants()'), '', 'the invariants hold');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|segfault/, 'no crash in the log but the one that was asked for');
done_testing();
