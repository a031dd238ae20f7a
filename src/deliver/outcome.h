/*
 * outcome.h
 *		A call about actions that a sender holds.
 */
#ifndef JNY_DELIVER_OUTCOME_H
#define JNY_DELIVER_OUTCOME_H

#include "deliver/claim.h"

typedef struct JnyCall
{
	JnyProof	proof;
	Datum		id_array;
	Datum		token_array;
	JnyNode		node;
	int			gucs;
} JnyCall;

extern void jny_call_open(JnyCall *call, const char *what);
extern void jny_call_close(JnyCall *call);
extern void jny_call_one(FunctionCallInfo fcinfo, JnyCall *call);
extern void jny_call_arrays(FunctionCallInfo fcinfo, JnyCall *call);
/* What the caller says of each action; values NULL = nothing. */
typedef struct JnySaid
{
	Datum	   *values;
	bool	   *nulls;
} JnySaid;

/* An array that goes along with the actions: null, or one element, a text or a numeric, per action. */
extern JnySaid jny_call_said(FunctionCallInfo fcinfo, int arg, const JnyCall *call);
/* Rows in one of these states whose token the caller knows, locked, with W_STATUS. List of JnyWork *. */
extern List *jny_call_lock(JnyCall *call, const char *const *statuses, int n);
/* boolean[]: whether it was done, in the order of the input. */
extern Datum jny_call_answers(const JnyCall *call, List *done);

/* fault: the code when it is the address's, else NULL. */
extern void jny_note_attempts(List *works, const char *outcome, bool counted, const char *fault);
extern void jny_note_errors(List *works, const char *error);
/* Back to pending at each row's retry_at. */
extern void jny_plan_retries(List *works, const char *reason);
/* The state of not knowing, by each channel's policy. */
extern void jny_to_unknown(JnyHouse *house, const JnyNode *node, List *works, const char *error);
extern TimestampTz jny_backoff(const JnyChannelRules *channel, int failures, TimestampTz now);

#endif							/* JNY_DELIVER_OUTCOME_H */
