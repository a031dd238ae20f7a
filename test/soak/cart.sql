\set n random(1, 2000)
\set s random(1, 500)
SELECT journey.track('web', 'cart_item_added', jsonb_build_object('customer_id', :n::bigint), jsonb_build_object('sku', 's' || :s::bigint, 'quantity', 1, 'price', :s::bigint, 'cart_id', 'c' || :n::bigint));
