# The object files, room by room. Listed by hand: a file that nobody lists
# is a file that nobody builds.
CORE_OBJS = src/core/guc.o src/core/hash.o src/core/node.o src/core/pin.o src/core/plan.o src/core/cols.o src/core/snap.o src/core/table.o src/core/table_read.o src/core/table_write.o \
	src/core/doc.o src/core/fault.o src/core/ids.o src/core/profile.o src/core/shmem.o src/core/rest.o src/core/zone.o src/core/inbox.o src/core/keys.o \
	src/core/fenced.o src/core/fence.o src/core/link.o src/core/stock.o src/core/text.o src/core/try.o src/core/value.o src/core/watch.o
OBSERVE_OBJS = src/observe/window.o src/observe/track.o src/observe/message.o src/observe/envelope.o \
	src/observe/capture.o src/observe/capture_row.o src/observe/attach_spec.o \
	src/observe/attach_leaf.o src/observe/attach_read.o src/observe/attach_watch.o src/observe/backfill.o \
	src/observe/vocabulary.o src/observe/rotate.o \
	src/observe/take.o src/observe/skip.o src/observe/stale.o src/observe/decode.o src/observe/decode_event.o \
	src/observe/decode_map.o src/observe/decode_row.o src/observe/value.o \
	src/observe/workspace.o src/observe/registry.o src/observe/identity.o src/observe/link.o src/observe/wish.o src/observe/forget.o src/observe/person.o src/observe/contact.o src/observe/consent.o src/observe/product.o src/observe/session.o src/observe/cart.o src/observe/order.o src/observe/order_store.o src/observe/alias.o src/observe/parcel.o src/observe/parcel_store.o \
	src/observe/engagement.o src/observe/early.o src/observe/early_optout.o src/observe/tally.o src/observe/optout.o
INTERPRET_OBJS = src/interpret/vocabulary.o src/interpret/parse.o src/interpret/policy.o \
	src/interpret/compile.o src/interpret/expr.o src/interpret/json.o \
	src/interpret/subject.o src/interpret/subject_load.o src/interpret/subject_cart.o src/interpret/rule_sql.o \
	src/interpret/feature.o src/interpret/feature_update.o src/interpret/vector.o \
	src/interpret/aggregate.o src/interpret/distinct.o src/interpret/recent.o
ORCHESTRATE_OBJS = src/orchestrate/orchestrate.o src/orchestrate/run.o \
	src/orchestrate/load.o src/orchestrate/load_gates.o src/orchestrate/linked.o src/orchestrate/suppress.o src/orchestrate/event.o \
	src/orchestrate/entry.o src/orchestrate/advance.o src/orchestrate/decide.o \
	src/orchestrate/gates.o src/orchestrate/payload.o src/orchestrate/stage.o src/orchestrate/audience.o \
	src/orchestrate/write.o src/orchestrate/preview.o
DELIVER_OBJS = src/deliver/settings.o src/deliver/work.o src/deliver/gate.o src/deliver/people.o src/deliver/linked.o \
	src/deliver/limits.o src/deliver/settle.o src/deliver/claim.o src/deliver/permit.o \
	src/deliver/sender.o src/deliver/enqueue.o src/deliver/publish.o src/deliver/call.o \
	src/deliver/outcome.o src/deliver/lease.o src/deliver/reap.o
ORCHESTRATE_OBJS += src/orchestrate/document.o src/orchestrate/journey_doc.o \
	src/orchestrate/doc_fields.o
MEASURE_OBJS =
WORKER_OBJS = src/worker/lap.o src/worker/count.o src/worker/merge.o src/worker/due.o src/worker/strangers.o src/worker/adopt.o src/worker/launcher.o src/worker/limit.o \
	src/worker/worker.o src/worker/ddl_guard.o src/worker/status.o
