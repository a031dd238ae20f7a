# journey: PGXS build.
#
#   make            the library and the extension script
#   make install    into the server's folders (DESTDIR= for a staged install)
#   make installcheck   regress, isolation and TAP against a running server
#   make lint       the rules of the house, checked
#   make coverage   which items of the mission have no test
#   make crash CYCLES=100   the crash harness (CRASH= for its other options)
#   make crash-bugs  seeded bugs, each of which a test must catch
#   make replay-orders   half a year of real invoices as order tables, whole
#   make soak LAPS=100000    does the worker's memory grow?
#
# The version is written once, in journey.control.

EXTENSION = journey
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" journey.control)
MODULE_big = journey

# One line per room, in the order of the flow.
OBJS = src/journey.o \
	$(CORE_OBJS) $(OBSERVE_OBJS) $(INTERPRET_OBJS) $(ORCHESTRATE_OBJS) \
	$(DELIVER_OBJS) $(MEASURE_OBJS) $(WORKER_OBJS)
include src/objs.mk

DATA_built = sql/journey--$(EXTVERSION).sql
DOCS =

# Signatures of the function manager, of hooks and of callbacks leave
# parameters unused by design; every other warning is an error. (The server's
# own flags, made for gcc, hold some that clang does not know.)
PG_CPPFLAGS = -I$(srcdir)/src -DJNY_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wmissing-prototypes \
	-Wdeclaration-after-statement \
	$(if $(findstring clang,$(CC)),-Wno-ignored-optimization-argument -Wno-unknown-warning-option -Wno-ignored-attributes) $(JOURNEY_CFLAGS)

REGRESS = $(sort $(basename $(notdir $(wildcard $(srcdir)/test/sql/*.sql))))
REGRESS_OPTS = --inputdir=$(srcdir)/test --load-extension=journey
ISOLATION = $(sort $(basename $(notdir $(wildcard $(srcdir)/test/specs/*.spec))))
ISOLATION_OPTS = --inputdir=$(srcdir)/test --load-extension=journey
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

EXTRA_CLEAN = sql/journey--*.sql build results output_iso log tmp_check \
	tmp_check_iso regression.diffs regression.out

# Nothing of ours is inlined into queries, so no bitcode is built; this also
# keeps clang from being a build dependency.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

SQL_FRAGMENTS = $(wildcard $(srcdir)/sql/*/*.sql) $(srcdir)/sql/grants.tsv \
	$(srcdir)/docs/schema/journey.schema.json

sql/journey--$(EXTVERSION).sql: $(SQL_FRAGMENTS) scripts/build-sql
	$(srcdir)/scripts/build-sql $(srcdir)/sql > $@.tmp && mv $@.tmp $@

$(OBJS): $(wildcard $(srcdir)/src/*/*.h) journey.control

# The tests say themselves when a lap is run; a worker would run some between.
installcheck: worker-is-off
.PHONY: worker-is-off
worker-is-off:
	@if [ "$$($(bindir)/psql -XAtc 'SHOW journey.worker' postgres 2>/dev/null)" = on ]; then \
		echo "installcheck: the worker of this server would disturb the tests; first run, as a superuser:" >&2; \
		echo "  ALTER SYSTEM SET journey.worker = off; SELECT pg_reload_conf();" >&2; exit 1; fi

.PHONY: lint coverage crash crash-bugs replay-orders soak
lint:
	$(srcdir)/scripts/lint
coverage:
	$(srcdir)/scripts/coverage
crash:
	$(srcdir)/test/crash/run --cycles=$(or $(CYCLES),20) $(CRASH)
crash-bugs:
	$(srcdir)/test/crash/bugs
replay-orders:
	JOURNEY_DATA=$${JOURNEY_DATA:-$$(realpath -m $(srcdir)/../shared/data)} \
		$(srcdir)/scripts/with-cluster --conf journey.worker=off --conf journey.site=test \
		$(srcdir)/test/suites/replay_orders 0
soak:
	$(srcdir)/scripts/with-cluster --no-cron --conf journey.site=soak --conf logging_collector=on \
		$(srcdir)/test/soak/run $(LAPS)
