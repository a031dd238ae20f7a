/*
 * feature.h
 *		Features inside the room: their definitions and the packed vector.
 */
#ifndef JNY_FEATURE_H
#define JNY_FEATURE_H

#include "interpret/interpret.h"

/* Reads the active documents of kind feature when they have changed. */
extern void jny_features_refresh(void);
/* Names of the active features, by number from 0; NULL behind the last. */
extern const char *jny_feature_name(int i);

#endif							/* JNY_FEATURE_H */
