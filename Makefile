# journey: PGXS build.
#
#   make            the library and the extension script
#   make install    into the server's folders (DESTDIR= for a staged install)
#   make installcheck   regress, isolation and TAP against a running server
#   make lint       the rules of the house, checked
#   make reference  docs/reference.md, of the comments in the catalogue
#   make coverage   which items of the mission have no test
#   make crash CYCLES=100   the crash harness (CRASH= for its other options)
#   make crash-faults  each named fault, with error, sleep and crash
#   make fuzz N=20000   random calls and queries (SEED= to have a run again)
#   make check-major PG=17   build and all suites on another major (also 18)
#   make check-upgrade       pg_upgrade through the majors, with data
#   make crash-bugs  seeded bugs, each of which a test must catch
#   make replay-orders   half a year of real invoices as order tables, whole
#   make soak LAPS=100000    does the worker's memory grow?
#   make check-cassert PG_SOURCE=dir   suites on a server that checks itself (SUITES=; also
#                            check-discard and check-valgrind; see scripts/check-server)
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

# Releases are kept as they were; the newest of them is what an update starts from.
RELEASES = $(wildcard $(srcdir)/sql/releases/journey--*.sql)
PREVIOUS = $(shell ls $(srcdir)/sql/releases | sed -nE 's/^journey--([0-9.]+)\.sql$$/\1/p' | sort -V | tail -1)
DATA_built = sql/journey--$(EXTVERSION).sql sql/journey--$(PREVIOUS)--$(EXTVERSION).sql
DATA = $(RELEASES)
DOCS =

# Signatures of the function manager, of hooks and of callbacks leave
# parameters unused by design; every other warning is an error. (The server's
# own flags, made for gcc, hold some that clang does not know. The headers of 15
# are no C23, which newer compilers take by default.)
PG_CPPFLAGS = -I$(srcdir)/src -DJNY_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -std=gnu17 -Wall -Wextra -Werror -Wno-unused-parameter -Wmissing-prototypes \
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

SQL_FRAGMENTS = $(wildcard $(srcdir)/sql/*/*.sql) $(wildcard $(srcdir)/sql/update/*/*.sql) $(srcdir)/sql/grants.tsv \
	$(srcdir)/docs/schema/journey.schema.json

sql/journey--$(EXTVERSION).sql: $(SQL_FRAGMENTS) scripts/build-sql
	$(srcdir)/scripts/build-sql $(srcdir)/sql > $@.tmp && mv $@.tmp $@

sql/journey--$(PREVIOUS)--$(EXTVERSION).sql: sql/journey--$(EXTVERSION).sql sql/releases/journey--$(PREVIOUS).sql scripts/build-update
	$(srcdir)/scripts/build-update $(srcdir)/sql/releases/journey--$(PREVIOUS).sql sql/journey--$(EXTVERSION).sql \
		$(srcdir)/sql/update/$(PREVIOUS)--$(EXTVERSION)/members.sql > $@.tmp && mv $@.tmp $@

$(OBJS): $(wildcard $(srcdir)/src/*/*.h) journey.control

# The tests say themselves when a lap is run; a worker would run some between.
installcheck: worker-is-off
.PHONY: worker-is-off
worker-is-off:
	@if [ "$$($(bindir)/psql -XAtc 'SHOW journey.worker' postgres 2>/dev/null)" = on ]; then \
		echo "installcheck: the worker of this server would disturb the tests; first run, as a superuser:" >&2; \
		echo "  ALTER SYSTEM SET journey.worker = off; SELECT pg_reload_conf();" >&2; exit 1; fi

.PHONY: lint reference coverage check-major check-upgrade crash crash-faults crash-bugs fuzz replay-orders soak check-cassert check-discard check-valgrind
reference:
	$(srcdir)/scripts/with-cluster scripts/reference > docs/reference.md.tmp && grep -v '^Creating new\|^Dropping cluster' docs/reference.md.tmp > docs/reference.md && rm docs/reference.md.tmp
lint:
	$(srcdir)/scripts/lint
coverage:
	$(srcdir)/scripts/coverage
check-major:
	$(srcdir)/scripts/check-major $(or $(PG),17) $(SUITES)
check-upgrade:
	$(srcdir)/scripts/in-chroot all test/upgrade/majors
crash:
	$(srcdir)/test/crash/run --cycles=$(or $(CYCLES),20) $(CRASH)
crash-faults:
	$(srcdir)/test/crash/run --faults $(CRASH)
fuzz:
	$(srcdir)/test/fuzz/run --calls=$(or $(N),20000) --queries=$(or $(N),20000) $(if $(SEED),--seed=$(SEED))
crash-bugs:
	$(srcdir)/test/crash/bugs
replay-orders:
	JOURNEY_DATA=$${JOURNEY_DATA:-$$(realpath -m $(srcdir)/../shared/data)} \
		$(srcdir)/scripts/with-cluster --conf journey.worker=off --conf journey.site=test \
		$(srcdir)/test/suites/replay_orders 0
soak:
	$(srcdir)/scripts/with-cluster --no-cron --conf journey.site=soak --conf logging_collector=on \
		$(srcdir)/test/soak/run $(or $(LAPS),100000) $(RATE)
check-cassert check-discard check-valgrind:
	PG_SOURCE="$(PG_SOURCE)" $(srcdir)/scripts/check-server $(@:check-%=%) $(SUITES)
