-- What a rule may not be: every refusal with its SQLSTATE, message, hint and
-- the character it points at.
SET client_min_messages = warning;
SELECT journey.install() <> '' AS installed;
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE FUNCTION refuse(rule text, OUT code text, OUT message text, OUT hint text, OUT "position" integer)
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM journey.explain_rule(rule, '{}');
    message := 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    "position" := (journey.check_rule(rule))."position";
END
$$;
\x on

-- one expression, nothing else
SELECT * FROM refuse('true FROM pg_class');
SELECT * FROM refuse('true WHERE true');
SELECT * FROM refuse('true LIMIT 1');
SELECT * FROM refuse('DISTINCT true');
SELECT * FROM refuse('true UNION SELECT true');
SELECT * FROM refuse('true; DROP TABLE journey.event');
SELECT * FROM refuse('true) OR (true');
SELECT * FROM refuse('event.amount > 5 AND');
SELECT * FROM refuse('1, 2');
SELECT * FROM refuse('*');
SELECT * FROM refuse('event.* IS NULL');
SELECT * FROM refuse('');
SELECT * FROM refuse('event.step = ''shipping');
SELECT * FROM refuse('cart.items');

-- names
SELECT * FROM refuse('cart.itms > 2');
SELECT * FROM refuse('evnt.step = ''shipping''');
SELECT * FROM refuse('nothing_like_it > 1');
SELECT * FROM refuse('step.remind.burnt');
SELECT * FROM refuse('session.product_views >= 3');
SELECT * FROM refuse('score.lower(''replenishment'', key) > 1');
SELECT * FROM refuse('confidence.needs_incentive >= ''medium''');
SELECT * FROM refuse('source.age(key) > interval ''2 hours''');

-- nothing that looks into tables, files or settings
SELECT * FROM refuse('(SELECT count(*) FROM journey.profile) > 0');
SELECT * FROM refuse('EXISTS (SELECT 1)');
SELECT * FROM refuse('event.sku IN (SELECT sku FROM journey.product)');
SELECT * FROM refuse('pg_sleep(1) IS NULL');
SELECT * FROM refuse('lo_import(''/etc/passwd'') IS NULL');
SELECT * FROM refuse('pg_read_file(''/etc/passwd'') <> ''''');
SELECT * FROM refuse('current_setting(''data_directory'') <> ''''');
SELECT * FROM refuse('set_config(''search_path'', ''public'', false) <> ''''');
SELECT * FROM refuse('''pg_authid''::regclass IS NULL');
SELECT * FROM refuse('pg_get_viewdef(1) <> ''''');
SELECT * FROM refuse('current_user = ''postgres''');
SELECT * FROM refuse('random() > 0.5');
SELECT * FROM refuse('repeat(''x'', 1000000000) <> ''''');
SELECT * FROM refuse('public.refuse(''true'') IS NULL');

-- no aggregates, sets, windows, rows, parameters
SELECT * FROM refuse('count(event.sku) > 1');
SELECT * FROM refuse('count(*) > 1');
SELECT * FROM refuse('row_number() OVER () > 1');
SELECT * FROM refuse('generate_series(1, 2) > 1');
SELECT * FROM refuse('ROW(event.sku, 1) IS NULL');
SELECT * FROM refuse('$1');

-- types of its own house only
SELECT * FROM refuse('1::public.positive > 0');
SELECT * FROM refuse('1::information_schema.cardinal_number > 0');
SELECT * FROM refuse('event.sku::pg_class IS NULL');
SELECT * FROM refuse('event.sku::pg_catalog.pg_class.relname%TYPE = ''x''');
SELECT * FROM refuse('event.points > 5');

-- words that would be frozen when the rule is compiled
SELECT * FROM refuse('timestamptz ''now'' < now');
SELECT * FROM refuse('event.occurred_at > ''yesterday''');
SELECT * FROM refuse('current_time < ''12:00''');

-- accepted
SELECT rule, (journey.check_rule(rule)).ok FROM unnest(ARRAY[
    'event.step = ''shipping'' and cart.items > 0',
    'order.status = ''paid'' and "order".lines > 1',
    'source.age(''shipments'') <= interval ''2 hours''',
    'now() - interval ''3 days'' < current_timestamp and current_date = now::date',
    'entry.bought_at::timestamptz + product.replenish_after * entry.quantity::int < now',
    'product.available > 0 and profile.shipping_exits::int >= 2',
    'cart.categories && array[''shoes'', ''socks''] and not cart.skus @> array[event.sku]',
    'case when stage = ''loyalty'' then true else orders.count >= 3 end',
    'event.url ~* ''/sale/'' or event.category like ''outdoor%'' escape ''!''',
    'coalesce(profile.zone, ''UTC'') in (''UTC'', ''Europe/Berlin'')',
    'extract(hour from now) between 8 and 20',
    'consent.email_marketing = ''granted''',
    'step.tell.clicked and not step.tell.refused']) AS rule;
\x off

-- psql points into the rule, not into the statement around it
SELECT * FROM journey.explain_rule('event.step = ''shipping'' and cart.itms > 0', '{}');
