# Laps and maintenance by pg_cron, in its own database and in another; and a lap
# that it runs in a background worker of its own, held up by somebody.
#
# What would break if this failed: where nothing may be preloaded, nobody is
# ever contacted; or the lap takes pg_cron's process for ours, and what is an
# error of one job becomes a crash of the whole server, every minute.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('cron');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey,pg_cron'
journey.site = 'shop'
journey.worker = off
cron.database_name = 'postgres'
cron.use_background_workers = on
cron.host = ''
max_worker_processes = 16
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION pg_cron; CREATE EXTENSION journey;
SET client_min_messages = warning;
SELECT journey.install(); SELECT journey.adopt();
ALTER DATABASE postgres SET lock_timeout = '300ms';
SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{"city": "Berlin"}')});
$node->safe_psql('postgres', 'SELECT journey.run_until_idle()');
$node->safe_psql('postgres', q{SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{"city": "Rome"}')});

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT 1 FROM journey.profile FOR UPDATE');

# -- schedule(), where pg_cron lives and where it does not -------------------------
$node->safe_psql('postgres', q{CREATE DATABASE shop; CREATE ROLE boss LOGIN; CREATE ROLE crowd NOLOGIN});
$node->safe_psql('shop', q{SET client_min_messages = warning; CREATE EXTENSION journey;
SELECT journey.install(); SELECT journey.adopt(); GRANT journey_admin TO boss, crowd;
SELECT journey.track('web', 'identified', '{"customer_id": "1"}', '{"city": "Berlin"}')});
sub refused { my ($db, $sql) = @_; return ($node->psql($db, $sql))[2] }
like(refused('shop', 'SET ROLE crowd; SELECT journey.schedule()'), qr/crowd may not log in.*role with LOGIN/s, 'a role that cannot log in runs no job');
like(refused('postgres', 'SET ROLE boss; SELECT journey.schedule()'), qr/permission denied for pg_cron.*GRANT USAGE ON SCHEMA cron TO boss/s,
	'rights that are missing are named');
like(refused('shop', 'SET ROLE boss; SELECT journey.schedule()'), qr/lives in another database.*that cron.database_name says/s, 'who may not know where pg_cron is');
my $err = refused('shop', 'SELECT journey.schedule()');
like($err, qr/pg_cron lives in the database postgres/, 'who may');
my ($hint) = $err =~ /^HINT:(.*)$/m;
my @there = $hint =~ /(SELECT cron\.schedule_in_database\(.*?\);)/g;
is(scalar @there, 2, 'is told what to run there');
$node->safe_psql('postgres', "@there");
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA cron TO boss');
is($node->safe_psql('postgres', 'SET ROLE boss; SELECT * FROM journey.schedule(); SELECT count(*) FROM journey.schedule()'),
	"journey: laps of postgres|* * * * *|SELECT journey.run_until_idle()\njourney: maintenance of postgres|* * * * *|SELECT journey.maintain()\n2",
	'where pg_cron is, it schedules');
is($node->safe_psql('postgres', q{SELECT string_agg(username, ',' ORDER BY jobname) FROM cron.job WHERE jobname LIKE 'journey: % of postgres'}),
	'boss,boss', 'as its caller, and once');
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM cron.job_run_details WHERE status IN ('failed', 'succeeded') AND jobid = (SELECT jobid FROM cron.job WHERE jobname = 'journey: laps of postgres')}),
	'within a minute the job has run');
like($node->safe_psql('postgres', q{SELECT return_message FROM cron.job_run_details WHERE jobid = (SELECT jobid FROM cron.job WHERE jobname = 'journey: laps of postgres')}), qr/lock timeout/, 'and says what it waited for');
$holder->quit;
ok($node->poll_query_until('shop', q{SELECT count(*) = 1 FROM journey.profile}), 'laps have run in the other database');
sub done { return "SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded' AND command LIKE '%maintain%' AND database = '$_[0]'" }
ok($node->poll_query_until('postgres', done($_)), "and maintenance in $_") for qw(shop postgres);
like(refused('shop', 'SELECT journey.unschedule()'), qr/SELECT cron\.unschedule\(jobid\) FROM cron\.job WHERE jobname IN \('journey: laps of shop', 'journey: maintenance of shop'\);/,
	'unschedule() tells, too');
is($node->safe_psql('postgres', 'SET ROLE boss; SELECT journey.unschedule()'), 2, 'and takes back');
is($node->safe_psql('postgres', 'SELECT journey.unschedule()'), 0, 'once');
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'the server has not noticed');
$node->safe_psql('postgres', 'SELECT cron.unschedule(jobid) FROM cron.job; SELECT journey.run_until_idle()');
is($node->safe_psql('postgres', q{SELECT traits ->> 'city' FROM journey.profile}), 'Rome', 'nothing is lost');
is($node->safe_psql($_, 'SELECT count(*) FROM journey.check_invariants()'), '0', "invariants hold in $_") for qw(postgres shop);
$node->append_conf('postgresql.conf', 'journey.worker = on');
$node->reload;
$node->poll_query_until('postgres', 'SHOW journey.worker', 'on');
like(refused('postgres', 'SELECT journey.schedule()'), qr/a worker serves this database/, 'beside a worker there is nothing to schedule');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->adjust_conf('postgresql.conf', 'cron.database_name', undef);
$node->restart;
like(refused('postgres', 'SELECT journey.schedule()'), qr/cron/, 'without preload it comes to pg_cron');
like(refused('shop', 'SELECT journey.schedule()'), qr/this server has no pg_cron.*shared_preload_libraries/s, 'without pg_cron it says how to get it');
$node->stop;
done_testing();
