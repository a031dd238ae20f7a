# The object files, room by room. Listed by hand: a file that nobody lists
# is a file that nobody builds.
CORE_OBJS = src/core/guc.o src/core/hash.o src/core/node.o src/core/plan.o \
	src/core/doc.o src/core/ids.o src/core/profile.o src/core/shmem.o src/core/zone.o
OBSERVE_OBJS =
INTERPRET_OBJS =
ORCHESTRATE_OBJS =
DELIVER_OBJS =
MEASURE_OBJS =
WORKER_OBJS = src/worker/lap.o src/worker/adopt.o src/worker/launcher.o \
	src/worker/worker.o src/worker/ddl_guard.o src/worker/status.o src/stubs.o
