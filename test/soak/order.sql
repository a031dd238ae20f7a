\set n random(1, 2000)
\set s random(1, 1000000000)
SELECT journey.track('web', 'order_placed', jsonb_build_object('customer_id', :n::bigint), jsonb_build_object('order_id', 'o' || :s::bigint, 'amount', :n::bigint, 'currency', 'EUR', 'cart_id', 'c' || :n::bigint));
