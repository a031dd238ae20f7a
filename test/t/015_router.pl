# One router and two shards by PL/Proxy: what is tracked, claimed, permitted and
# reported through the router is what one database would have done.
#
# What would break if this failed: a person in two shards gets everything twice,
# or an order that went to one shard does not end the reminder in the other.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $share = `pg_config --sharedir`);
plan skip_all => 'PL/Proxy is not installed' unless -e "$share/extension/plproxy.control";

my @shards = map { PostgreSQL::Test::Cluster->new("shard$_") } 0 .. 1;
my $router = PostgreSQL::Test::Cluster->new('router');
for my $node (@shards, $router)
{
	$node->init;
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'journey'
journey.site = 'test'
journey.worker = off
});
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION journey');
}
for my $i (0 .. 1)
{
	$shards[$i]->safe_psql('postgres', qq{ALTER DATABASE postgres SET router.shard = $i; SET client_min_messages = warning; SELECT journey.install(); SELECT journey.adopt()});
}
my ($n, @to) = (0);
push @to, sprintf(q{p%d '%s'}, $n++, $_->connstr('postgres') =~ s/'//gr) for @shards;
$router->safe_psql('postgres', 'CREATE EXTENSION plproxy; CREATE SERVER shop FOREIGN DATA WRAPPER plproxy OPTIONS ('
	  . join(', ', @to) . '); CREATE USER MAPPING FOR PUBLIC SERVER shop');
$router->safe_psql('postgres', "SET client_min_messages = warning;\n" . slurp_file('examples/plproxy.sql'));

sub route { return $router->safe_psql('postgres', $_[0]); }
sub each_shard { return map { $_->safe_psql('postgres', $_[0]) } @shards; }
sub laps { each_shard('SELECT journey.run_until_idle()'); return; }

# -- documents and people -----------------------------------------------------
is(route(q{SELECT change || ' ' || name || ' ' || count(*) FROM router.apply('[
 {"kind": "template", "name": "t", "variables": {}, "content": {"en": {"body": "x"}}},
 {"kind": "channel", "name": "email", "mode": "push", "address": "email", "lease": "5 minutes", "attempts": 5,
  "backoff": {"first": "1 second", "factor": 2, "max": "1 minute"}, "on_unknown": "hold"},
 {"kind": "journey", "name": "cart", "scope": "*", "purpose": "marketing", "stage": "purchase",
  "objective": "x", "kpi": "cart_recovery_rate", "owners": {"business": "b", "technical": "t", "qa": "q"},
  "entry": [{"on": "cart_viewed"}], "reentry": {"per": "person", "after": "1 day"},
  "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"], "control": {"none": true, "reason": "test"},
  "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "2 days"},
  "steps": {"say": {"send": {"channel": "email", "template": "t", "data": {}}, "next": "done"}, "done": {"exit": "finished"}}}]')
 WHERE kind = 'journey' GROUP BY change, name}), 'create cart 2', 'a document is applied to both shards');
each_shard('SELECT journey.resume()');

my $who = q{jsonb_build_object('customer_id', n, 'email', n || '@example.com')};
route(qq{SELECT router.track('shop', 'identified', $who), router.track('shop', 'consent_granted', $who,
  '{"channel": "email", "purpose": "marketing"}') FROM generate_series(1, 60) n});
laps();
route(qq{SELECT router.track('web', 'cart_viewed', $who) FROM generate_series(1, 60) n});
laps();
my @people = each_shard('SELECT count(*) FROM journey.profile');
is($people[0] + $people[1], 60, 'sixty people are in the two shards together');
cmp_ok(abs($people[0] - $people[1]), '<', 30, 'about as many in each');
is(join(' ', each_shard(q{SELECT string_agg(DISTINCT (journey.key_hash('customer_id', value) & 1)::text, ',') FROM journey.identity WHERE namespace = 'customer_id'})),
	'0 1', 'each where the hash of the key says');
like(($router->psql('postgres', q{SELECT router.track('shop', 'order_placed', '{"email": "1@example.com"}', '{"order_id": "x"}')}))[2],
	qr/the subject has no customer_id.*HINT/s, 'an order that could go to the wrong shard is refused');

# -- claim, an order in between, permits, outcomes ------------------------------
route(q{CREATE TABLE claimed AS SELECT * FROM router.claim('email', 100)});
is(route('SELECT count(*), count(DISTINCT action_id), count(DISTINCT shard) FROM claimed'), '60|60|2',
	'one claim has the work of both shards');
is(route(q{SELECT count(*) FROM router.claim('email', 100)}), '0', 'nobody is claimed twice');
route(qq{SELECT router.track('shop', 'order_placed', $who, jsonb_build_object('order_id', n), NULL, 'o' || n),
                router.track('shop', 'order_placed', $who, jsonb_build_object('order_id', n), NULL, 'o' || n)
         FROM generate_series(1, 20) n});
route('CREATE TABLE permit AS SELECT c.action_id, c.token, c.shard, b.granted, b.reason, b.contact FROM claimed c, router.begin_send(c.shard, c.action_id, c.token) b');
is(route('SELECT granted, reason, count(*) FROM permit GROUP BY 1, 2 ORDER BY 1'), "f|ordered|20\nt||40",
	'who has ordered is refused in either shard, before any lap');
is(route(q{SELECT count(*) FROM permit WHERE granted AND contact ->> 'address' LIKE '%@example.com'}), '40', 'with their addresses');
is(route('SELECT count(*) FROM permit p WHERE granted AND router.ack(shard, action_id, token)'), '40', 'outcomes find their shard');
laps();

# -- reports ------------------------------------------------------------------
is(route('SELECT journey, status, reason, messages FROM router.messages ORDER BY status'), "cart|refused|ordered|20\ncart|sent||40",
	'a report adds up what the shards count');
my @orders = each_shard('SELECT count(*) FROM journey.orders');
is($orders[0] + $orders[1], 20, 'a message that came twice took effect once');
is(route(q{SELECT count(*) FROM router.health() WHERE topic = 'mode' AND status = 'ok'}), '2', 'health of all in one list');

# -- a shard is down -------------------------------------------------------------
my $where = q{SELECT n FROM generate_series(1, 60) n WHERE router.home(jsonb_build_object('customer_id', n)) & 1 = %d LIMIT 1};
my @of = map { route(sprintf($where, $_)) } 0 .. 1;
my $view = q{SELECT router.track('web', 'cart_viewed', '{"customer_id": "%s"}', '{}', NULL, 'v%s')};
$shards[1]->stop('immediate');
is(route(sprintf($view, $of[0], 0)), '', 'people of the other shard are served');
isnt($router->psql('postgres', sprintf($view, $of[1], 1)), 0, 'its own get an error, and nothing is lost unseen');
$shards[1]->start;
is(route(sprintf($view, $of[1], 1)), '', 'until it is back: the router connects by itself');
laps();
is(join(' ', each_shard(q{SELECT count(*) FROM journey.event WHERE message_id IN ('v0', 'v1')})), '1 1', 'and each event is there once');
is(join(' ', each_shard('SELECT count(*) FROM journey.check_invariants()')), '0 0', 'invariants hold in each');
$_->stop for $router, @shards;
done_testing();
