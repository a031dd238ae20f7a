/*
 * fault.h
 *		Named places where a build with -DJOURNEY_FAULTS can be made to fail.
 *
 * JNY_FAULT("name") is nothing in any other build. test/crash/faults.tsv
 * lists the names, each with what is half done there; lint compares the two.
 * Memory, locks: none. In a transaction; JNY_FAULT_COMMITTED() stands behind
 * the commit, where nothing may raise an error any more.
 */
#ifndef JNY_FAULT_H
#define JNY_FAULT_H

#ifdef JOURNEY_FAULTS
extern void jny_fault_init(void);
extern void jny_fault_visit(const char *name, bool committed);

#define JNY_FAULT(name) jny_fault_visit(name, false)
#define JNY_FAULT_COMMITTED(name) jny_fault_visit(name, true)
#else
#define jny_fault_init() ((void) 0)
#define JNY_FAULT(name) ((void) 0)
#define JNY_FAULT_COMMITTED(name) ((void) 0)
#endif

#endif							/* JNY_FAULT_H */
