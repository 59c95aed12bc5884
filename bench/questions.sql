-- Times the questions of README's "Query the labels" over a filled database:
--
--   labelstream migrate --database-url postgres://.../empty
--   psql postgres://.../empty -v predictions=5000000 -v labels=2000 -f bench/questions.sql
--
-- A month of two streams of four partitions: a tenth of the reviews came twice, a quarter of the scores
-- are uncertain, and the labels are of uncertain reviews. `labelstream status` is timed from outside.

\set ON_ERROR_STOP on
\timing off

insert into streams (pipeline, cluster_id, topic)
values ('labelstream', 'MkU3OEVBNTcwNTJENDM2Qg', 'reviews'), ('hotels', 'MkU3OEVBNTcwNTJENDM2Qg', 'hotels');

insert into position_rows (stream_id, partition, next_offset, owner_epoch, owner, predictions)
select stream_id, partition, :predictions / 8, 1, 'bench', :predictions / 8
from generate_series(1, 2) as stream_id, generate_series(0, 3) as partition;

insert into prediction_rows (stream_id, partition, kafka_offset, record_time, review_id, text, created_at,
    label, score, scores, version, precision, classified_at)
select 1 + n % 2, n / 2 % 4, n / 8, at, 'r-' || n % (:predictions * 9 / 10) * 7919::bigint % 10000019,
    '送餐很快，味道也不错，就是包装有点漏，下次还会再点' || n, at,
    case when n * 31 % 100 < 60 then '好评' else '差评' end, score, array[1 - score, score],
    1 + n * 10 / :predictions, 'f32', at
from (
    select n, 1 - (n * 7919 % 1000) / 2000.0 as score,
        now() - interval '30 days' * (:predictions - n) / :predictions as at
    from generate_series(0::bigint, :predictions - 1) as n
) as spread;

insert into dead_letter_rows (stream_id, partition, kafka_offset, reason, detail, payload, header_names,
    header_values, failed_at)
select 1 + n % 2, n / 2 % 4, :predictions + n / 8, 'not_json', 'expected ident at line 1 column 2',
    'not json {', '{}', '{}', now() - interval '30 days' * (5000 - n) / 5000
from generate_series(0, 4999) as n;

insert into labels (review_id, text, label, labeled_by, source)
select review_id, text, case when random() < 0.7 then label else '好评' end, 'bench', 'bench'
from prediction_rows where score < 0.75 order by md5(review_id) limit :labels;

vacuum analyze;

\timing on
\o /dev/null

\echo 'how many of each label, by day'
select classified_at::date as day, label, count(*) from predictions
where classified_at >= current_date - 7 group by 1, 2 order by 1, 2;

\echo 'which reviews is the model least certain of'
select review_id, text, label, round(score::numeric, 3) as score from predictions
where score < 0.75 order by predictions.score limit 3;

\echo 'where people disagree with the model'
select prediction, label, count(*), round(avg(score)::numeric, 3) as mean_score
from labeled_reviews where label is not null group by 1, 2 order by 1, 2;

\echo 'which version labeled how much, how surely, and when'
select version, count(*), round(avg(score)::numeric, 3) as mean_score,
    min(classified_at)::timestamp(0) as first, max(classified_at)::timestamp(0) as last
from predictions group by version order by version;

\echo 'what could not be read, and why'
select partition, kafka_offset, reason, detail, convert_from(payload, 'UTF8') as payload
from dead_letters order by failed_at desc limit 5;

\echo 'one review'
select prediction, label, score from labeled_reviews where review_id = 'r-7919';

\echo 'one stream of two, counted'
select count(*) from predictions where topic = 'reviews';

\o
select pg_size_pretty(pg_table_size('prediction_rows')) as heap,
    round(pg_table_size('prediction_rows')::numeric / :predictions, 1) as heap_bytes_a_row,
    round(pg_indexes_size('prediction_rows')::numeric / :predictions, 1) as index_bytes_a_row;
