-- The reasons that refusals give are those that are documented, and no other
-- is documented: what senders and analysts look up exists.
-- no invariants: it reads the sources and one table of codes.
SELECT plan(3);
\set refused `grep -ohE '(jny_refuse|jny_postpone)\([^"]*"[a-z_]+"' src/deliver/*.c | grep -oE '"[a-z_]+"' | tr -d '"' | sort -u | tr '\n' ' '`
-- entry.c's other words are the arms of an experiment
\set gates `grep -ohE 'return "[a-z_]+"|refuse(_send)?\([^"]*(""[^"]*)?"[a-z_]+"' src/orchestrate/gates.c src/orchestrate/decide.c src/orchestrate/entry.c | grep -oE '"[a-z_]+"' | tr -d '"' | grep -vE '^(treatment|control)$' | sort -u | tr '\n' ' '`
\set named `grep -ohE "[\"'][a-z_]+[\"']" src/deliver/*.c src/orchestrate/gates.c src/orchestrate/decide.c src/orchestrate/entry.c src/core/fenced.c sql/deliver/[0-9]*.sql | tr -d "\"'" | sort -u | tr '\n' ' '`
SELECT cmp_ok(cardinality(string_to_array(trim(:'refused'), ' ')) + cardinality(string_to_array(trim(:'gates'), ' ')), '>', 25, 'permits and decisions have reasons to refuse');
SELECT is_empty(format($$SELECT u FROM unnest(string_to_array(trim(%L), ' ')) u EXCEPT SELECT reason FROM journey.reason_code$$, :'refused' || :'gates'),
    'each is a reason code');
SELECT is_empty(format($$SELECT reason FROM journey.reason_code EXCEPT SELECT u FROM unnest(string_to_array(trim(%L), ' ')) u$$, :'named'),
    'and each reason code is one that the code gives');
SELECT * FROM finish();
