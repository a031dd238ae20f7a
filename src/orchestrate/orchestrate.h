/*
 * orchestrate.h
 *		Stages, journeys, decisions. Uses core, interpret and deliver's enqueue.
 */
#ifndef JNY_ORCHESTRATE_H
#define JNY_ORCHESTRATE_H

#include "core/batch.h"

/*
 * For each event in order: record suppressions, judge exits and goals, wake
 * waits, then entries; then stages. Everything is written set-based at the end.
 */
extern void jny_orchestrate_events(JnyBatch *batch);
/* Wakes at most limit due timers and steps their enrollments. */
extern void jny_orchestrate_timers(JnyBatch *batch, int limit);

/*
 * Ends the enrollment whose timer is due first, with reason 'error' and the
 * message in its transition, when a lap of one timer has failed.
 */
extern void jny_orchestrate_skip_timer(JnyBatch *batch, const ErrorData *error);

#endif							/* JNY_ORCHESTRATE_H */
