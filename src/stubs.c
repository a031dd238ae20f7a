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
/* interpret */
void __attribute__((weak)) jny_features_update(JnyBatch *batch) {}
/* orchestrate */
void __attribute__((weak)) jny_orchestrate_events(JnyBatch *batch) {}
void __attribute__((weak)) jny_orchestrate_timers(JnyBatch *batch, int limit) {}
/* interpret: until features are merged */
#include "interpret/feature.h"
void __attribute__((weak)) jny_features_refresh(void) {}
const char * __attribute__((weak)) jny_feature_name(int i) { return NULL; }
Datum __attribute__((weak)) jny_feature_value(bytea *f, const char *n, TimestampTz t, Oid *ty, bool *isnull) { return 0; }
bool __attribute__((weak)) jny_feature_exists(const char *n, Oid *t) { return false; }
bool __attribute__((weak)) jny_observe_skip(JnyBatch *batch, const ErrorData *error) { return true; }
void __attribute__((weak)) jny_orchestrate_skip_timer(JnyBatch *batch, const ErrorData *error) {}
uint32 __attribute__((weak)) jny_expr_parts(JnyExpr *e) { return 0; }
Oid __attribute__((weak)) jny_expr_type(JnyExpr *e) { return InvalidOid; }
Datum __attribute__((weak)) jny_subject_resolve(void *s, const JnyInput *i, bool *n) { *n = true; return 0; }
void __attribute__((weak)) jny_subjects_load(JnySubjectContext **s, int n, uint32 p) {}
Jsonb * __attribute__((weak)) jny_value_jsonb(Datum v, Oid t, bool n) { return NULL; }
bool __attribute__((weak)) jny_subject_find(Jsonb *s, pg_uuid_t *p) { return false; }
