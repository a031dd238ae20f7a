/*
 * worker.h
 *		The lap, the background worker and its launcher. Nobody includes this
 *		but worker/ and journey.c.
 */
#ifndef JNY_WORKER_H
#define JNY_WORKER_H

#include "core/batch.h"

/* One lap in the current transaction, as the current user. False when another consumer is at it. */
extern bool jny_lap(JnyBatch *batch, int max_events);

#endif							/* JNY_WORKER_H */
