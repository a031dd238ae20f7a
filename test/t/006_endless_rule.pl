# A rule that never ends on one event, or on one timer, costs that one and no
# other: the limit of a lap holds for each piece that a failed lap is split into.
#
# What would break if this failed: a worker that waits for ever for a rule, and
# with it every event of the shop.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('endless');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'shop'
journey.naptime = '100ms'
journey.lap_timeout = '500ms'
journey.batch_events = 64
journey.batch_timers = 64
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION journey; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt();
SELECT journey.set_clock('2026-03-02 10:00+00');
-- ends for all but two people; a sequence counts also what is rolled back
CREATE SEQUENCE public.tries;
GRANT USAGE ON SEQUENCE public.tries TO PUBLIC;
CREATE FUNCTION public.quick(who text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF who IN ('60', '62') THEN
		PERFORM nextval('public.tries'), pg_sleep(600);
	END IF;
	RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION public.quick(text) TO PUBLIC;
SELECT journey.allow_function('public.quick(text)');
CREATE FUNCTION public.doc(name text, entry jsonb, steps jsonb) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_build_object('kind', 'journey', 'name', name, 'scope', '*', 'purpose', 'service', 'stage', 'purchase', 'objective', 'a test',
	'kpi', 'cart_recovery_rate', 'owners', '{"business": "b", "technical": "t", "qa": "q"}'::jsonb, 'control', '{"none": true, "reason": "a test"}'::jsonb,
	'suppress_on', '["order_placed"]'::jsonb,
	'defaults', '{"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"}'::jsonb,
	'entry', jsonb_build_array(entry), 'steps', steps || '{"done": {"exit": "finished"}}') $$;
SELECT journey.apply(public.doc('asked', '{"on": "searched", "when": "public.quick(event.query)"}', '{"nap": {"wait": {"for": "2 hours"}, "next": "done"}}'));
SELECT journey.apply(public.doc('woken', '{"on": "wishlist_added", "data": {"who": "event.sku"}}',
	'{"nap": {"wait": {"for": "1 hour"}, "next": "fork"}, "fork": {"branch": [{"when": "public.quick(entry.who)", "to": "done"}], "on_unknown": "done", "else": "done"}}'));
});

# how often those that never end have been tried since the last time
my $known = 0;
sub tries
{
	my $n = $node->safe_psql('postgres', 'SELECT last_value FROM public.tries') - $known;
	$known += $n;
	return $n;
}

sub track
{
	my ($type, $name) = @_;
	$node->safe_psql('postgres', "SELECT journey.track('web', '$type', jsonb_build_object('customer_id', g), jsonb_build_object('$name', g::text)) FROM generate_series(1, 64) g");
	return;
}

# -- an event -------------------------------------------------------------
track('searched', 'query');
ok($node->poll_query_until('postgres', "SELECT count(*) = 62 FROM journey.enrollment WHERE journey = 'asked'"),
	'the neighbours of an event on which a rule never ends are taken');
is($node->safe_psql('postgres', q{SELECT original #>> '{props,query}', sqlstate FROM journey.quarantine ORDER BY 1}), "60|57014\n62|57014", 'each of two is set aside alone, with the reason');
cmp_ok(tries(), '<=', 6, 'they are found without being tried again and again');

# -- a timer --------------------------------------------------------------
track('wishlist_added', 'sku');
ok($node->poll_query_until('postgres', "SELECT count(*) = 64 FROM journey.timer t JOIN journey.enrollment e USING (enrollment_id) WHERE e.journey = 'woken'"),
	'the worker goes on');
$node->safe_psql('postgres', "SELECT journey.set_clock('2026-03-02 11:00:01+00')");
ok($node->poll_query_until('postgres', "SELECT count(*) = 62 FROM journey.enrollment WHERE journey = 'woken' AND exit_reason = 'finished'"),
	'the neighbours of a timer on which a rule never ends go on');
is($node->safe_psql('postgres', q{SELECT i.value, e.exit_reason FROM journey.enrollment e
	JOIN journey.identity i USING (profile_id) WHERE e.journey = 'woken' AND e.exit_reason <> 'finished' ORDER BY 1}), "60|error\n62|error", 'its enrollment ends alone');
cmp_ok(tries(), '<=', 12, 'and so are these, wherever they stand');
is($node->safe_psql('postgres', "SELECT kind, count FROM journey.incident WHERE kind LIKE 'poison%' ORDER BY 1"),
	"poison_event|2\npoison_timer|2", 'both are incidents');

# -- what somebody cancels is nobody's fault ---------------------------------
$node->safe_psql('postgres', q{ALTER SYSTEM SET journey.lap_timeout = '10min'});
$node->safe_psql('postgres', q{SELECT pg_reload_conf()});
$node->safe_psql('postgres', q{SELECT journey.track('web', 'searched', '{"customer_id": "new"}', '{"query": "60"}')});
for my $n (1 .. 2)
{
	ok($node->poll_query_until('postgres', q{SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity WHERE backend_type = 'journey worker' AND wait_event = 'PgSleep'}),
		"a lap that takes long is cancelled by hand ($n)");
	$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')});
}
$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION public.quick(who text) RETURNS boolean LANGUAGE sql AS 'SELECT true'});
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM journey.enrollment e JOIN journey.identity i USING (profile_id) WHERE e.journey = 'asked' AND i.value = 'new'}),
	'it is tried again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM journey.quarantine'), '2', 'and nothing was set aside');
is($node->safe_psql('postgres', 'SELECT * FROM journey.check_invariants()'), '', 'invariants hold');
$node->stop;
done_testing();
