# A lap that pg_cron runs in a background worker of its own, held up by somebody.
#
# What would break if this failed: the lap takes pg_cron's process for ours, and
# what is an error of one job becomes a crash of the whole server, every minute.
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
$node->safe_psql('postgres', q{SELECT cron.schedule('lap', '* * * * *', 'SELECT journey.run_once()')});
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM cron.job_run_details WHERE status IN ('failed', 'succeeded')}),
	'within a minute the job has run');
like($node->safe_psql('postgres', 'SELECT return_message FROM cron.job_run_details'), qr/lock timeout/, 'and says what it waited for');
$holder->quit;
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'the server has not noticed');
$node->safe_psql('postgres', 'SELECT cron.unschedule(jobid) FROM cron.job; SELECT journey.run_until_idle()');
is($node->safe_psql('postgres', q{SELECT traits ->> 'city' FROM journey.profile}), 'Rome', 'nothing is lost');
is($node->safe_psql('postgres', 'SELECT count(*) FROM journey.check_invariants()'), '0', 'invariants hold');
$node->stop;
done_testing();
