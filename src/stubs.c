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
/* orchestrate */
void __attribute__((weak)) jny_orchestrate_events(JnyBatch *batch) {}
void __attribute__((weak)) jny_orchestrate_timers(JnyBatch *batch, int limit) {}
bool __attribute__((weak)) jny_observe_skip(JnyBatch *batch, const ErrorData *error) { return true; }
void __attribute__((weak)) jny_orchestrate_skip_timer(JnyBatch *batch, const ErrorData *error) {}
