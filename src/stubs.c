/* Removed room by room as the rooms are built. */
#include "deliver/deliver.h"
#include "interpret/interpret.h"
#include "observe/observe.h"
#include "orchestrate/orchestrate.h"
#include "core/inbox.h"
#include "measure/measure.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
/* observe */
#include "observe/window.h"
bool __attribute__((weak)) jny_observe_take(JnyBatch *batch, int max_events) { return jny_window_open(batch, max_events); }
void __attribute__((weak)) jny_observe_finish(JnyBatch *batch) { jny_window_finish(batch); }
void __attribute__((weak)) jny_observe_maintain(const JnyNode *node) {}
/* interpret */
void __attribute__((weak)) jny_features_update(JnyBatch *batch) {}
/* orchestrate */
void __attribute__((weak)) jny_orchestrate_events(JnyBatch *batch) {}
void __attribute__((weak)) jny_orchestrate_timers(JnyBatch *batch, int limit) {}
/* deliver */
void __attribute__((weak)) jny_deliver_reap(const JnyNode *node, int limit) {}
void __attribute__((weak)) jny_deliver_announce(void) {}
void __attribute__((weak)) jny_enqueue(List *actions) {}
int64 __attribute__((weak)) jny_cancel_of(List *owners, const char *reason) { return 0; }
/* core */
/* interpret API used by orchestrate */
JnyExpr * __attribute__((weak)) jny_expr_compile(const char *s, Oid o, Oid t) { return NULL; }
JnyExpr * __attribute__((weak)) jny_expr_try(const char *s, Oid o, Oid t, char **e) { return NULL; }
int __attribute__((weak)) jny_expr_inputs(JnyExpr *e, const JnyInput **i) { return 0; }
Datum __attribute__((weak)) jny_expr_value(JnyExpr *e, JnyResolver r, void *a, bool *n) { return 0; }
JnyVerdict __attribute__((weak)) jny_expr_verdict(JnyExpr *e, JnyResolver r, void *a) { return JNY_UNKNOWN; }
JnyVerdict __attribute__((weak)) jny_expr_explain(JnyExpr *e, JnyResolver r, void *a, List **c, Jsonb **i) { return JNY_UNKNOWN; }
Datum __attribute__((weak)) jny_feature_value(bytea *f, const char *n, TimestampTz t, Oid *ty, bool *isnull) { return 0; }
bool __attribute__((weak)) jny_feature_exists(const char *n, Oid *t) { return false; }
bool __attribute__((weak)) jny_observe_skip(JnyBatch *batch, const ErrorData *error) { return true; }
void __attribute__((weak)) jny_orchestrate_skip_timer(JnyBatch *batch, const ErrorData *error) {}
