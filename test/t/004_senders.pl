# Senders that wait: for a notification, or in the server; one that waits
# stands in nobody's way; and what a pipeline may do.
#
# What would break if this failed: messages go out when the next poll comes,
# not when they are due; a sender believes in a permit that is not committed.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('senders');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '10s'
});
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', q{
SET client_min_messages = warning;
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.apply(jsonb '[{"kind": "channel", "name": "mail", "mode": "push"}, {"kind": "channel", "name": "other", "mode": "push"},
 {"kind": "channel", "name": "slow", "mode": "push", "rate": {"per_second": 100, "burst": 100}},
 {"kind": "template", "name": "t", "channels": ["mail", "slow", "other"], "variables": {}, "content": {"en": {"body": "x"}}}]'
 || (SELECT jsonb_agg(jsonb_build_object('kind', 'journey', 'name', 'confirm_' || c, 'scope', '*', 'purpose', 'transactional', 'stage', 'fulfillment',
  'objective', 'x', 'kpi', 'where_is_my_order_rate', 'owners', jsonb '{"business": "b", "technical": "t", "qa": "q"}',
  'entry', jsonb_build_array(jsonb_build_object('on', 'order_placed', 'key', 'order', 'when', format('event.category = ''%s''', c))),
  'reentry', jsonb '{"per": "key", "after": "never"}', 'control', jsonb '{"none": true, "reason": "test"}',
  'defaults', jsonb '{"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"}',
  'steps', jsonb_build_object('say', jsonb_build_object('send', jsonb_build_object('channel', c, 'template', 't', 'data', jsonb '{}'), 'next', 'done'),
                              'done', jsonb '{"exit": "finished"}'))) FROM unnest('{mail,slow,other}'::text[]) c));
SELECT journey.resume();
CREATE ROLE mailer LOGIN IN ROLE journey_sender;
});

my $n = 0;
sub order
{
	my ($channel) = @_;
	$n++;
	$node->safe_psql('shop', qq{SELECT journey.track('shop', 'order_placed', '{"customer_id": "c$n"}', '{"order_id": "o$n", "category": "$channel"}')});
	return;
}

# psql in the background: commands one after the other, or what is pumped into it
sub as
{
	my ($user, @commands) = @_;
	my %s = (in => '', out => '');
	$s{run} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('shop') . " user=$user", map { ('-c', $_) } @commands ],
		'<', \$s{in}, '>', \$s{out}, '2>&1', IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%s;
}

sub says
{
	my ($s, $sql, $what) = @_;
	$s->{in} .= $sql;
	$s->{run}->pump until $s->{out} =~ $what;
	return;
}

sub waits
{
	return $node->poll_query_until('shop',
		q{SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'mailer' AND state = 'active' AND wait_event_type = 'Extension'});
}

order('mail');
ok($node->poll_query_until('shop', 'SELECT count(*) = 1 FROM journey.outbox'), 'the worker works');

# -- LISTEN -------------------------------------------------------------------
# psql prints what has arrived after each statement
my $listener = as('mailer');
says($listener, "LISTEN journey_outbox_mail;\n\\echo listening\n", qr/listening/);
order('mail');
for (1 .. 100)
{
	last if $listener->{out} =~ /Asynchronous/;
	says($listener, "SELECT 'turn $_';\n", qr/turn $_\n/);
	sleep 0.1;
}
like($listener->{out}, qr/Asynchronous notification "journey_outbox_mail" received/, 'new work is announced to those who LISTEN');
# one transaction is one batch: twenty messages on two channels are one notification of each
says($listener, "LISTEN journey_outbox_other;\n\\echo both\n", qr/both/);
$node->safe_psql('shop', q{SELECT journey.track('shop', 'order_placed', jsonb_build_object('customer_id', 'b' || i),
	jsonb_build_object('order_id', 'b' || i, 'category', (ARRAY['mail', 'other'])[1 + i % 2])) FROM generate_series(1, 20) i});
$node->poll_query_until('shop', q{SELECT count(*) = 20 FROM journey.outbox o JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id) WHERE e.key ~ '^b'});
for (1 .. 100)
{
	last if $listener->{out} =~ /_other" received/;
	says($listener, "SELECT 'again $_';\n", qr/again $_\n/);
	sleep 0.1;
}
says($listener, "SELECT 'the end';\n", qr/the end\n/);
is(join(' ', map { my $c = $_; "$c " . (() = $listener->{out} =~ /"journey_outbox_$c" received/g) } qw(mail other)), 'mail 2 other 1', 'once per channel and batch');
$listener->{run}->finish;
$node->safe_psql('shop', q{SELECT count(*) FROM journey.claim('mail')});

# -- wait: sleeping in the server -----------------------------------------------
my $began = time;
is($node->safe_psql('shop', q{SELECT count(*) FROM journey.claim('mail', wait => '300 ms')}), '0', 'nothing comes');
cmp_ok(time - $began, '>=', 0.3, 'it has waited for it');
# A wait ends after a second at the latest: where that is over before it is seen, the
# next one begins. Who is not woken would look again when the wait ends.
my $try = "SELECT count(*) AS got FROM journey.claim('mail', wait => '1 second') \\gset\n\\if :got\n\\q\n\\endif\n";
for (1 .. 10)
{
	my $waiting = as('mailer');
	$waiting->{in} = $try x 20;
	$waiting->{run}->pump while length $waiting->{in};
	waits();
	order('mail');
	$waiting->{run}->finish;
	$node->safe_psql('shop', q{SELECT count(*) FROM journey.claim('mail')});
}
my $woken = $node->safe_psql('shop', q{SELECT count(*) FROM (SELECT * FROM journey.outbox ORDER BY claim_at DESC LIMIT 10) o
	WHERE claimed_at - claim_at < interval '0.4 s'});
cmp_ok($woken, '>=', 9, 'what comes while it sleeps wakes it');

# -- who waits on a channel with a rate holds nothing ------------------------------
# the waiting one is not told of an action that comes this way
order('slow');
$node->poll_query_until('shop', q{SELECT count(*) = 1 FROM journey.outbox WHERE channel = 'slow'});
is($node->safe_psql('shop', q{SELECT count(*) FROM journey.claim('slow')}), '1', 'a rate is begun');
my $waiting = as('mailer', q{SELECT 'got ' || count(*) FROM journey.claim('slow', wait => '1 second');});
waits();
$node->safe_psql('shop', q{UPDATE journey.outbox SET status = 'pending', claim_at = clock_timestamp(), token = NULL, lease_until = NULL WHERE channel = 'slow'});
is($node->safe_psql('shop', q{SELECT count(*) FROM journey.claim('slow')}), '1', 'another claim of the channel is served meanwhile');
ok($waiting->{run}->pumpable, 'while the first one still waits');
$waiting->{run}->finish;
like($waiting->{out}, qr/got 0/, 'and gets nothing');

# -- a lap that commits late ---------------------------------------------------------
# A claim remembers up to where it has taken everything, and one whose look from
# the beginning was dear makes another only a second later. What a slow lap decides
# is due when the lap began: a claim that looked meanwhile must not have passed it.
# Locks stand for a slow machine: of the look, and of the lap 0.5 s longer.
$node->safe_psql('shop', q{UPDATE journey.outbox SET status = 'pending', claim_at = now() + interval '1 day', token = NULL, lease_until = NULL WHERE channel = 'mail'});
my $owner = $node->safe_psql('shop', 'SELECT current_user');
sub blocked    # how many wait for the two tables
{
	my ($who) = @_;
	return $node->poll_query_until('shop', qq{SELECT count(DISTINCT pid) = $who FROM pg_locks
		WHERE NOT granted AND relation IN ('journey.outbox'::regclass, 'journey.decision'::regclass)});
}
my ($look, $lap) = (as($owner), as($owner));
says($look, "BEGIN; LOCK TABLE journey.outbox IN SHARE MODE; SELECT 'held';\n", qr/held/);
says($lap, "BEGIN; LOCK TABLE journey.decision IN EXCLUSIVE MODE; SELECT 'held';\n", qr/held/);
$waiting = as('mailer', q{SELECT count(*) FROM journey.claim('mail')}, 'SELECT pg_sleep(0.3)',
	q{SELECT action_id FROM journey.claim('mail', wait => '1 second')});
blocked(1);
order('mail');
blocked(2);
says($look, "COMMIT; SELECT 'over';\n", qr/over/);
sleep 0.5;
says($lap, "COMMIT; SELECT clock_timestamp();\n", qr/^20/m);
$_->{run}->finish for $look, $lap, $waiting;
my ($action) = $waiting->{out} =~ /([0-9a-f-]{36})/;
my ($released) = $lap->{out} =~ /^(20.*)$/m;
ok($action, 'the claim that waits has got the action');
cmp_ok($node->safe_psql('shop', "SELECT extract(epoch FROM claimed_at - '$released') FROM journey.outbox WHERE action_id = '$action'"),
	'<', 0.4, 'when the lap had committed');

# -- a pipeline -------------------------------------------------------------------
order('mail') for 1 .. 2;
$node->poll_query_until('shop', q{SELECT count(*) = 2 FROM journey.outbox WHERE channel = 'mail' AND status = 'pending' AND claim_at <= now()});
$node->safe_psql('shop', q{CREATE TABLE held AS SELECT row_number() OVER () AS n, c.* FROM journey.claim('mail') c});
my $permit = 'SELECT b.granted FROM held, LATERAL journey.begin_send(action_id, token) b WHERE n = %d;';
my $file = $node->basedir . '/pipeline.sql';
append_to_file($file, "\\startpipeline\n" . sprintf($permit, 1) . "\nSELECT 1 FROM pg_sleep(3600);\n\\endpipeline\n");
my $pipeline = IPC::Run::start([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-f', $file, $node->connstr('shop') ],
	'<', \undef, '>', '/dev/null', '2>', '/dev/null');
ok($node->poll_query_until('shop', 'SELECT count(*) = 1 FROM journey.attempt_log'), 'first in a pipeline it commits before what follows');
$node->safe_psql('shop', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()});
$pipeline->finish;
$file = $node->basedir . '/later.sql';
append_to_file($file, "\\startpipeline\nSELECT 1;\n" . sprintf($permit, 2) . "\n\\endpipeline\n");
my ($stdout, $stderr) = run_command([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-f', $file, $node->connstr('shop') ]);
like($stderr, qr/begin_send cannot run inside a transaction block/, 'later in one it is refused');
is($node->safe_psql('shop', 'SELECT count(*) FROM journey.attempt_log'), '1', 'and grants nothing');
# nothing that is written beside a claim commits asynchronously
$node->safe_psql('shop', q{CREATE TABLE note (synchronous text)});
$file = $node->basedir . '/claims.sql';
append_to_file($file, "\\startpipeline\n" . "SELECT 1 FROM journey.claim('mail');\nINSERT INTO note VALUES (current_setting('synchronous_commit'));\n" x 2 . "\\endpipeline\n");
run_command([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-f', $file, $node->connstr('shop') ]);
is($node->safe_psql('shop', q{SELECT string_agg(synchronous, ' ') FROM note}), 'on on', 'what a pipeline writes after a claim commits as the session does');
is($node->safe_psql('shop', 'SELECT * FROM journey.check_invariants()'), '', 'invariants hold');

$node->stop;
done_testing();
