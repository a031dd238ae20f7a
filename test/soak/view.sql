\set n random(1, 2000)
\set s random(1, 500)
SELECT journey.track('web', 'product_viewed', jsonb_build_object('customer_id', :n::bigint), jsonb_build_object('sku', 's' || :s::bigint, 'price', :s::bigint));
