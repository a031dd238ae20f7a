-- Rules: three values, the author's words, the owner's rights, and news that
-- reach the cache.
SELECT plan(52);
SELECT journey.set_clock('2026-03-02 10:00+00');
SELECT journey.track('web', 'cart_item_added', '{"customer_id": "42"}', '{"sku": "J1", "cart_id": "C1", "quantity": 1, "price": 10}');
SELECT journey.track('web', 'cart_item_added', '{"customer_id": "42"}', '{"sku": "S1", "cart_id": "C1", "quantity": 2, "price": 5}');
SELECT journey.run_until_idle();
INSERT INTO journey.product (sku, name, category, available, changed_at)
VALUES ('J1', 'Jacket', 'jackets', 3, now()), ('S1', 'Socks', 'socks', 0, now());
UPDATE journey.profile SET traits = '{"city": "Berlin", "points": 12, "nothing": null}', zone = 'Pacific/Auckland';

CREATE FUNCTION pg_temp.verdicts(rule text, context jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
    AS $$SELECT string_agg(clause || ' -> ' || verdict, E'\n') FROM journey.explain_rule(rule, '{"customer_id": "42"}', context)$$;
CREATE FUNCTION pg_temp.verdict(rule text, context jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
    AS $$SELECT CASE WHEN bool_or(verdict = 'false') THEN 'false' WHEN bool_and(verdict = 'true') THEN 'true' ELSE 'unknown' END
         FROM journey.explain_rule(rule, '{"customer_id": "42"}', context)$$;

-- three values
SELECT is(pg_temp.verdict('profile.nix = ''x'''), 'unknown', 'what is not known is unknown, not false');
SELECT is(pg_temp.verdict('profile.nothing is null'), 'true', 'a JSON null is a null');
SELECT is(pg_temp.verdict('profile.nix = ''x'' and cart.items < 0'), 'false', 'unknown and false is false');
SELECT is(pg_temp.verdict('profile.nix = ''x'' or cart.items > 0'), 'true', 'unknown or true is true');
SELECT is(pg_temp.verdict('not (profile.nix = ''x'')'), 'unknown', 'not unknown is unknown');
SELECT is(pg_temp.verdict('event.type = ''x'''), 'unknown', 'without an event its names are unknown');
SELECT is(pg_temp.verdict('profile.city::int > 3'), 'unknown', 'a cast that fails is unknown');
SELECT is(pg_temp.verdict('profile.city::int > 3 and cart.items < 0'), 'false', 'and does not hide a clause that is false');
SELECT is(pg_temp.verdict('1 / (cart.lines - 2) > 0'), 'unknown', 'a division by zero is unknown');
SELECT results_eq($$SELECT verdict, "values" ->> '<error>' FROM journey.explain_rule('profile.city::int > 3', '{"customer_id": "42"}')$$,
                  $$VALUES ('unknown', 'invalid input syntax for type integer: "Berlin"')$$, 'and the reason is told');
SELECT results_eq($$SELECT clause, verdict, "values" FROM journey.explain_rule('1/0 = 1 and cart.items > 0', '{"customer_id": "42"}')$$,
                  $$VALUES ('1/0 = 1', 'unknown', '{"<error>": "division by zero"}'::jsonb), ('cart.items > 0', 'true', '{"cart.items": 3}')$$,
                  'also of a clause that fails whoever it is judged for: the others are shown beside it');
SELECT is(pg_temp.verdict('1/0 = 1 and cart.items < 0'), 'false', 'nor does that hide a clause that is false');
SELECT is(pg_temp.verdict('case when cart.items > 0 then cart.items else cart.items / 0 + 1/0 end = 3'), 'true', 'a branch that is not taken does not fail');
SELECT is((SELECT ok FROM journey.check_rule('1/0 = 1')), true, 'it is a rule, if never a true one');
SELECT is_empty($$SELECT * FROM journey.explain_rule('true', '{"customer_id": "nobody"}')$$, 'no rows for an unknown person');

-- the vocabulary, from the tables
SELECT is(pg_temp.verdict('cart.id = ''C1'' and cart.items = 3 and cart.lines = 2 and cart.value = 20'), 'true', 'cart.*');
SELECT is(pg_temp.verdict('cart.top_sku = ''J1'' and cart.top_category = ''jackets'' and cart.skus = array[''J1'', ''S1'']'), 'true',
          'the best line is the one of the highest value, ties by sku');
SELECT is(pg_temp.verdict('product.available = 0', '{"entry": {"top_sku": "S1"}}'), 'true', 'product.* of the entry');
SELECT is(pg_temp.verdict('product.available = 3', '{"entry": {"top_sku": "S1"}, "event": {"props": {"sku": "J1"}}}'), 'true', 'the event''s sku comes first');
SELECT is(pg_temp.verdict('consent.email_marketing = ''unknown'''), 'true', 'no consent row is the state unknown');
SELECT is(pg_temp.verdict('orders.count = 0 and orders.sum = 0'), 'true', 'no orders count as 0');
SELECT is(pg_temp.verdict('orders.days_since > 1'), 'unknown', 'days since an order that never was are unknown');
SELECT is(pg_temp.verdict('step.remind.sent and not step.remind.clicked', '{"steps": {"remind": {"sent": "2026-03-01"}}}'), 'true', 'step.*');
SELECT is(pg_temp.verdict('entry.bought_at::timestamptz < now', '{"entry": {"bought_at": "2026-03-02T09:59:00Z"}}'), 'true', 'entry.* with a cast');
SELECT is(pg_temp.verdict('event.amount > 50 and event.amount::text = ''50.5''', '{"event": {"props": {"amount": "50.50"}}}'), 'false',
          'a typed property is a number, whatever the text');

-- clauses in the author's words
SELECT is(pg_temp.verdicts('cart.items between 1 and 5  and profile.city in (''a and b'', ''Berlin'')'),
          E'cart.items between 1 and 5 -> true\nprofile.city in (''a and b'', ''Berlin'') -> true', 'BETWEEN keeps its AND, so does a string');
SELECT is(pg_temp.verdicts('(cart.items > 1 and (cart.lines > 1 AND not (stage = ''x'' and stage = ''y'')))'),
          E'cart.items > 1 -> true\ncart.lines > 1 -> true\nnot (stage = ''x'' and stage = ''y'') -> true', 'nested parentheses open, others stay');
SELECT is(pg_temp.verdicts('case when cart.items > 1 and cart.lines > 1 then true end and cart.items > 100'),
          E'case when cart.items > 1 and cart.lines > 1 then true end -> true\ncart.items > 100 -> false', 'CASE keeps its AND');
SELECT is(pg_temp.verdicts('cart.items > 1 and cart.lines > 1 or cart.items > 100'),
          'cart.items > 1 and cart.lines > 1 or cart.items > 100 -> true', 'a condition with OR on top is one clause');
SELECT is(pg_temp.verdicts(E'cart.items > 1 -- pieces and more\n and order.status = ''paid'''),
          E'cart.items > 1 -- pieces and more -> true\norder.status = ''paid'' -> unknown', 'comments and the word order');
SELECT results_eq($$SELECT "values" FROM journey.explain_rule('cart.items > 1 and now::date > ''2026-03-02''', '{"customer_id": "42"}')$$,
                  $$VALUES ('{"cart.items": 3}'::jsonb), ('{"now": "2026-03-02T10:00:00+00:00", "profile.zone": "Pacific/Auckland"}')$$,
                  'each clause shows what it read, the zone where it matters');

-- one clock, the person's zone
SELECT is(pg_temp.verdict('now() = timestamptz ''2026-03-02 10:00+00'' and current_timestamp = now and clock_timestamp() = now'), 'true',
          'every clock of SQL is the test clock');
SELECT is(pg_temp.verdict('extract(hour from now) = 23'), 'true', 'hours are the person''s');
SET timezone = 'America/New_York';
SELECT is(pg_temp.verdict('extract(hour from now) = 23 and ''2026-03-02 10:00''::timestamptz = now'), 'true',
          'whatever the session''s; a literal without a zone is UTC');
RESET timezone;

-- what changes reaches compiled rules
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
CREATE FUNCTION shop.inner_answer() RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION shop.answer() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN shop.inner_answer(); END';
SELECT is((journey.check_rule('shop.answer() = 42')).ok, false, 'a user''s function is not allowed by itself');
SELECT is(journey.allow_function('shop.answer()'), 'shop.answer()', 'an administrator allows it');
SELECT is(pg_temp.verdict('shop.answer() = 42'), 'true', 'then it can be called');
CREATE OR REPLACE FUNCTION shop.inner_answer() RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 43';
SELECT is(pg_temp.verdict('shop.answer() = 42'), 'false', 'a function folded into a constant does not outlive what it called');
CREATE OR REPLACE FUNCTION shop.answer() RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 44';
SELECT is(pg_temp.verdict('shop.answer() = 44'), 'true', 'nor its own replacement');
DROP FUNCTION shop.answer();
SELECT throws_ok($$SELECT * FROM journey.explain_rule('shop.answer() = 44', '{"customer_id": "42"}')$$, '42883', NULL, 'nor being dropped');
SELECT is((journey.check_rule('profile.points > 5')).ok, false, 'an undeclared trait is text');
SELECT journey.define_name('profile.points', 'numeric', 'loyalty points');
SELECT is(pg_temp.verdict('profile.points > 5'), 'true', 'a declared one has its type');
SELECT throws_ok($$SELECT journey.define_name('cart.foo', 'text', 'x')$$, '22023', NULL, 'only names that stand for data of the house can be declared');
SELECT throws_ok($$SELECT journey.define_name('event.type', 'numeric', 'x')$$, '22023', 'the type of "event.type" is fixed', 'and not those that journey itself knows');

-- whose rights
CREATE FUNCTION shop.who() RETURNS text STABLE LANGUAGE sql AS 'SELECT current_user::text';
REVOKE ALL ON FUNCTION shop.who() FROM PUBLIC;
SELECT journey.allow_function('shop.who()');
CREATE ROLE interpret_author; GRANT journey_author TO interpret_author; GRANT EXECUTE ON FUNCTION shop.who() TO interpret_author;
CREATE ROLE interpret_other; GRANT journey_author TO interpret_other;
SET ROLE interpret_author;
SELECT is((SELECT verdict FROM journey.explain_rule('shop.who() = ''interpret_author''', '{"customer_id": "42"}')), 'true',
          'a rule runs as its owner');
RESET ROLE;
SET ROLE interpret_other;
SELECT is((SELECT error FROM journey.check_rule('shop.who() = ''interpret_author''')), 'permission denied for function who',
          'and has no right that the owner lacks');
RESET ROLE;
SELECT is((journey.check_rule('shop.who() = ''x''')).error, 'permission denied for function who', 'a superuser''s is tried as journey_owner');
DROP ROLE interpret_other;
DROP OWNED BY interpret_author; DROP ROLE interpret_author;
SELECT is(journey.disallow_function('shop.who()'), true, 'the permission can be taken back');

-- a text is what it is
SELECT is((SELECT count(*) FROM journey.vocabulary v WHERE served AND v.name !~ '[*]' AND NOT (journey.check_rule(
           CASE split_part(v.name, '.', 1) WHEN 'order' THEN '"order".' || split_part(v.name, '.', 2) ELSE v.name END || ' is null')).ok), 0::bigint,
          'every name that is listed can be read');
SELECT is((SELECT count(*) FROM journey.allowed_function WHERE shipped AND to_regprocedure(signature) IS NULL), 0::bigint,
          'every shipped function exists');

-- bounded memory over 100,000 different rules
SELECT count(*) FROM generate_series(1, 100000) AS i CROSS JOIN LATERAL journey.check_rule('cart.items > ' || i || ' and event.sku = ''x''') AS c WHERE c.ok;
SELECT cmp_ok((SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'journey rule%'), '<',
              (SELECT pg_size_bytes(current_setting('journey.rule_cache')) * 1.1), 'the cache keeps within journey.rule_cache');
SELECT is_empty('SELECT * FROM journey.check_invariants()', 'invariants hold');
SELECT * FROM finish();
