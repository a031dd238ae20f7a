# A worker that has nothing to do makes no lap, and yet misses nothing: whatever
# commits, however it came in, and whatever the clock makes due, it sees at once, as if
# it looked all the time.
#
# What would break if this failed: a reminder, an expiry or an erasure waits
# until somebody happens to buy something; or a database that nobody uses costs
# a transaction a second, and two of them keep each other awake.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('rest');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '100ms'
max_prepared_transactions = 5
autovacuum = off
});
$node->start;
my $install = 'SET client_min_messages = warning; CREATE EXTENSION journey; SELECT journey.install(); SELECT journey.adopt();';
for my $db ('shop', 'other')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $install);
}
$node->safe_psql('shop', q{
SELECT journey.apply(jsonb '[{"kind": "channel", "name": "mail", "mode": "push"},
 {"kind": "template", "name": "t", "channels": ["mail"], "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "service", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"}, "suppress_on": ["order_placed"],
  "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"nap": {"wait": {"for": "1 day"}, "next": "done"}, "done": {"exit": "finished"}}},
 {"kind": "journey", "name": "order", "scope": "*", "purpose": "transactional", "stage": "fulfillment",
  "objective": "x", "kpi": "where_is_my_order_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "order_placed", "key": "order"}], "reentry": {"per": "key", "after": "never"},
  "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "mail", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]');
SELECT journey.resume();
CREATE TABLE large (id integer, email text, status text);
INSERT INTO large SELECT n, 'l' || n || '@x.example', 'placed' FROM generate_series(1, 2000) n;
ALTER TABLE large ADD filler text DEFAULT repeat('x', 600);
CREATE TABLE kept (id integer, email text, status text);
SELECT count(*) FROM journey.attach('kept', 'order', '{"key": "id", "subject": {"email": "email"}, "status": "status"}');
SELECT journey.track('s', 'cart_viewed', jsonb_build_object('customer_id', c), '{}', NULL, 'first-' || c) FROM unnest('{ann,ben,cid,dan,eve,fay}'::text[]) c;
SELECT journey.track('s', 'order_placed', jsonb_build_object('customer_id', c), jsonb_build_object('order_id', c), NULL, 'order-' || c) FROM unnest('{ann,ben}'::text[]) c;
});

sub laps { return $node->safe_psql('shop', q{SELECT string_agg(laps::text, ' ' ORDER BY database) FROM journey.stat_worker WHERE laps > 0}) }

sub rests
{
	return $node->poll_query_until('postgres',
		q{SELECT count(*) = 2 AND bool_and(query = 'journey: rest') FROM pg_stat_activity WHERE backend_type = 'journey worker' AND datname IN ('shop', 'other')});
}

# The query is true within so much time as a busy machine may need, and long before maintenance would have brought a lap.
sub soon
{
	my ($query, $what) = @_;
	my $began = time;
	my $came = $node->poll_query_until('shop', $query);
	my $took = time - $began;
	ok($came && $took < 4, $what) or diag("after $took s");
	return;
}

sub taken { return "SELECT count(*) > 0 FROM journey.event WHERE message_id = '$_[0]'" }
sub tracked { return "SELECT journey.track('s', 'searched', '{\"customer_id\": \"ann\"}', '{}', NULL, '$_[0]')" }

ok($node->poll_query_until('shop', 'SELECT count(*) = 2 FROM journey.outbox') && $node->poll_query_until('shop', 'SELECT count(*) >= 4 FROM journey.timer'), 'the workers work');

# -- rest ----------------------------------------------------------------------
# after what has been committed, maintenance comes once more
my ($still, $n, $id) = (0);
for (1 .. 10)
{
	rests();
	($id, $n) = ($node->safe_psql('shop', 'SELECT pg_snapshot_xmax(pg_current_snapshot())'), laps());
	sleep 1.5;
	$still = $n eq laps() && $id eq $node->safe_psql('shop', 'SELECT pg_snapshot_xmax(pg_current_snapshot())');
	last if $still;
}
ok($still, 'with nothing to do they make no lap, and take no transaction id');

# -- what wakes them, however it came in ------------------------------------------
$node->safe_psql('shop', tracked('plain'));
soon(taken('plain'), 'a commit');

$node->safe_psql('shop', 'BEGIN; ' . tracked('prepared') . q{; PREPARE TRANSACTION 'later'});
rests();
$node->safe_psql('shop', q{COMMIT PREPARED 'later'});
soon(taken('prepared'), 'COMMIT PREPARED, which wakes nobody');

rests();
$node->safe_psql('shop', qq{COPY journey.inbox_copy (source, type, message_id, subject, props) FROM STDIN;
s\tsearched\tcopied\t{"customer_id": "ann"}\t{}
\\.
});
soon(taken('copied'), 'COPY into the inbox');

rests();
$node->safe_psql('shop', q{UPDATE journey.timer SET wake_at = now() WHERE enrollment_id =
 (SELECT enrollment_id FROM journey.enrollment WHERE journey = 'cart' AND profile_id = journey.profile_id('{"customer_id": "eve"}'))});
soon(q{SELECT exited_at IS NOT NULL FROM journey.enrollment WHERE journey = 'cart' AND profile_id = journey.profile_id('{"customer_id": "eve"}')},
	'a timer that a statement has moved');

rests();
$node->safe_psql('shop', q{SELECT journey.restrict('{"customer_id": "fay"}')});
soon(q{SELECT restricted FROM journey.profile WHERE profile_id = journey.profile_id('{"customer_id": "fay"}')}, 'what somebody asks for');

rests();
$node->safe_psql('shop', q{SELECT count(*) FROM journey.attach('large', 'order', '{"key": "id", "subject": {"email": "email"}, "status": "status"}')});
soon(q{SELECT count(*) = 2000 FROM journey.orders WHERE order_id NOT IN ('ann', 'ben')}, 'a table that is to be read');
$node->poll_query_until('shop', 'SELECT count(*) = 0 FROM journey.stat_progress');

rests();
$node->safe_psql('shop', 'ALTER TABLE kept DISABLE TRIGGER ALL');
soon(q{SELECT broken IS NOT NULL FROM journey.attachment WHERE rel_name = 'kept'}, 'a trigger that is turned off');
$node->safe_psql('shop', q{SELECT journey.detach('kept')});

# another consumer has the cursor, and lets go without a word
rests();
my %s = (in => '', out => '');
$s{run} = IPC::Run::start([ 'psql', '-XqAt', $node->connstr('shop') ], '<', \$s{in}, '>', \$s{out}, '2>&1', IPC::Run::timeout(60));
$s{in} .= "BEGIN; SELECT count(*) FROM journey.run_once(); SELECT 'holds';\n";
$s{run}->pump until $s{out} =~ /holds/;
$node->safe_psql('shop', tracked('held'));
sleep 1.5;
$s{in} .= "ROLLBACK;\n\\q\n";
$s{run}->finish;
soon(taken('held'), 'what came while another consumer held the cursor');

rests();
$n = laps();
$node->reload;
ok($node->poll_query_until('shop', "SELECT '$n' <> (SELECT string_agg(laps::text, ' ' ORDER BY database) FROM journey.stat_worker WHERE laps > 0)"),
	'new settings');

# -- what the clock makes due --------------------------------------------------------
# Each a moment of its own, so that a lap for one of them is too early for the
# next; all are over before maintenance, which brings a lap, has its next turn.
$node->append_conf('postgresql.conf', 'journey.worker = off');
$node->reload;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'journey worker'}) or die 'no end of the worker';
$node->safe_psql('shop', q{
CREATE FUNCTION public.person(c text) RETURNS uuid LANGUAGE sql AS $$ SELECT journey.profile_id(jsonb_build_object('customer_id', c)) $$;
-- what the last lines have left
SELECT journey.run_until_idle();
SELECT count(*) FROM journey.claim('mail', 1);
CREATE TABLE public.moment (what text PRIMARY KEY, at timestamptz NOT NULL, over text NOT NULL);
INSERT INTO public.moment SELECT what, clock_timestamp() + interval '3 seconds' + (n - 1) * interval '1.2 seconds', over FROM (VALUES
 (1, 'a timer', $$SELECT exited_at IS NOT NULL FROM journey.enrollment WHERE journey = 'cart' AND profile_id = public.person('dan')$$),
 (2, 'a lease', $$SELECT count(*) = 0 FROM journey.outbox WHERE status = 'claimed'$$),
 (3, 'a person who waits to be restricted', $$SELECT count(*) = 0 FROM journey.person_wish$$),
 (4, 'an event of a message that nobody knows', $$SELECT look_at > m.at FROM journey.early_message, public.moment m WHERE m.what LIKE 'an event%'$$),
 (5, 'a merge', $$SELECT count(*) = 0 FROM journey.merge_wish w, public.moment m WHERE w.try_at = m.at AND m.what = 'a merge'$$),
 (6, 'an action whose time is over', $$SELECT count(*) = 1 FROM journey.outbox_history WHERE status = 'expired'$$)) AS v (n, what, over);
UPDATE journey.timer t SET wake_at = m.at FROM public.moment m WHERE m.what = 'a timer' AND t.profile_id = public.person('dan');
UPDATE journey.outbox o SET lease_until = m.at FROM public.moment m WHERE m.what = 'a lease' AND o.status = 'claimed';
UPDATE journey.lease l SET until = m.at FROM public.moment m WHERE m.what = 'a lease';
SELECT journey.restrict('{"customer_id": "cid"}');
UPDATE journey.person_wish w SET try_at = m.at FROM public.moment m WHERE m.what LIKE 'a person%';
INSERT INTO journey.early_message SELECT gen_random_uuid(), 'nobody', m.at, m.at, 's', 'default', 'message_clicked', NULL, m.at, false, '{}', false FROM public.moment m WHERE m.what LIKE 'an event%';
INSERT INTO journey.merge_wish SELECT journey.bucket(public.person('ann')), public.person('ann'), journey.bucket(public.person('ben')), public.person('ben'),
  'asserted', 0.9, 'customer_id customer_id', 's', m.at, pg_current_xact_id(), (SELECT incarnation FROM journey.node), m.at FROM public.moment m WHERE m.what = 'a merge';
UPDATE journey.outbox o SET reap_at = m.at, not_after = m.at FROM public.moment m WHERE m.what LIKE 'an action%' AND o.status = 'pending';
});
is($node->safe_psql('shop', q{SELECT count(*) FROM public.moment m WHERE m.at IN (SELECT wake_at FROM journey.timer UNION ALL SELECT until FROM journey.lease
 UNION ALL SELECT try_at FROM journey.person_wish UNION ALL SELECT look_at FROM journey.early_message UNION ALL SELECT try_at FROM journey.merge_wish
 UNION ALL SELECT reap_at FROM journey.outbox)}), '6', 'six moments are to come');
$node->append_conf('postgresql.conf', 'journey.worker = on');
$node->reload;
my $late = $node->safe_psql('shop', q{
DO $$
DECLARE
    m record;
    over boolean;
    ended timestamptz := clock_timestamp() + interval '20 seconds';
    report text := '';
BEGIN
    FOR m IN SELECT * FROM public.moment ORDER BY at LOOP
        LOOP
            EXECUTE m.over INTO over;
            EXIT WHEN over OR clock_timestamp() > ended;
            PERFORM pg_sleep(0.02);
        END LOOP;
        report := report || CASE WHEN over AND clock_timestamp() < m.at THEN m.what || ' is early; '
                                 WHEN NOT coalesce(over, false) OR clock_timestamp() > m.at + interval '0.9 seconds' THEN m.what || ' is late by ' || clock_timestamp() - m.at || '; '
                                 ELSE '' END;
    END LOOP;
    PERFORM set_config('public.report', report, false);
END $$;
SELECT current_setting('public.report')});
is($late, '', 'a timer, a lease, a wish of a person, an early event, a merge, an expiry: each is seen to when it is due');

# -- the test clock stands, and moves by a commit ---------------------------------------
$node->safe_psql('other', q{
SELECT journey.set_clock('2026-03-02 10:00+00');
SELECT journey.apply(jsonb '[{"kind": "journey", "name": "cart", "scope": "*", "purpose": "service", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"}, "suppress_on": ["order_placed"],
  "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"nap": {"wait": {"for": "1 hour"}, "next": "done"}, "done": {"exit": "finished"}}}]');
SELECT journey.track('s', 'cart_viewed', '{"customer_id": "ann"}', '{}')});
ok($node->poll_query_until('other', 'SELECT count(*) = 1 FROM journey.timer'), 'by the test clock somebody waits');
ok(rests(), 'a timer that is long over by the real clock keeps no worker awake');
my $began = time;
$node->safe_psql('other', q{SELECT journey.set_clock('2026-03-02 11:00:01+00')});
ok($node->poll_query_until('other', 'SELECT exited_at IS NOT NULL FROM journey.enrollment'), 'the clock is moved: the timer fires');
cmp_ok(time - $began, '<', 4, 'soon');

# ahead of the real clock, too: leases are looked after 200 at a time
$node->safe_psql('other', q{
SELECT journey.set_clock('2100-01-01 10:00+00');
INSERT INTO journey.lease SELECT '2100-01-01 09:00+00', gen_random_uuid(), '{}' FROM generate_series(1, 5000)});
ok($node->poll_query_until('other', 'SELECT count(*) = 0 FROM journey.lease'), 'what is due by a clock that is ahead is not left for the day');

for my $db ('shop', 'other')
{
	is($node->safe_psql($db, 'SELECT * FROM journey.check_invariants()'), '', "the invariants hold in $db");
}
$node->stop;
done_testing();
