/*
 * measure.h
 *		Arms and exposures. Uses core only.
 */
#ifndef JNY_MEASURE_H
#define JNY_MEASURE_H

#include "core/core.h"

#endif							/* JNY_MEASURE_H */
