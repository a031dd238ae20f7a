/*
 * rulenames.h
 *		Spellings that the parser and the compiler of rules agree on.
 */
#ifndef JNY_RULENAMES_H
#define JNY_RULENAMES_H

/* Stands for the reserved word in front of a dot; of the same length. */
#define JNY_ORDER_ALIAS "_ordr"
#define JNY_ORDER_NAME "order"

#endif							/* JNY_RULENAMES_H */
