-- The frozen hash and what is built from it. A change of any value here
-- moves customers to other buckets and other experiment arms: it is never a
-- fix of this file.
SELECT journey.hash64('') AS empty,
       journey.hash64('a') AS a,
       journey.hash64('hello', 7) AS seeded;

SELECT key, journey.normalise(key, value) AS normalised, journey.key_hash(key, value) AS hash
FROM (VALUES ('email', '  Ann@Example.COM '), ('customer_id', ' 42 '), ('phone', '+49 30 1'), ('email', '   ')) AS t(key, value);

SELECT id, journey.bucket(id) AS bucket, round(journey.assign('salt', id)::numeric, 12) AS place
FROM (VALUES ('00000000-0000-0000-0000-000000000000'::uuid),
             ('018f0000-0000-7000-8000-000000000001'),
             ('ffffffff-ffff-ffff-ffff-ffffffffffff')) AS t(id);

-- Every bucket is used, none twice as much as its share.
SELECT count(*) AS buckets, max(n) < 200 AS even
FROM (SELECT journey.bucket(md5(i::text)::uuid), count(*) AS n FROM generate_series(1, 100000) i GROUP BY 1) AS t;
