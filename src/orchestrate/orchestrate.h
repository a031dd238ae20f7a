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

#endif							/* JNY_ORCHESTRATE_H */
