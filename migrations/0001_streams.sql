-- The way of a review: where each partition stands, and what became of each record.
--
-- The words are those of ARCHITECTURE.md. Rows refer to their stream by a number; people query the
-- views at the end, which show its names. The comments on them are what `\d+` in psql shows.

create table streams (
    id integer generated always as identity primary key,
    pipeline text collate "C" not null,
    cluster_id text collate "C" not null,
    topic text collate "C" not null,
    unique (pipeline, cluster_id, topic)
);

-- Where each partition stands, and who may write it ----------------------------------------------

create table position_rows (
    next_offset bigint not null check (next_offset >= 0),
    owner_epoch bigint not null,
    stream_id integer not null references streams,
    partition integer not null,
    predictions bigint not null default 0,
    dead_letters bigint not null default 0,
    tombstones bigint not null default 0,
    claimed_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_error_at timestamptz,
    owner text not null,
    topic_id text collate "C",
    last_error text,
    primary key (stream_id, partition)
) with (fillfactor = 50); -- room for each batch's update on the same page

-- What became of each record -----------------------------------------------------------------------

-- In the tables that grow, the columns of fixed width come first, the widest before the others, so
-- that no row has padding. Their stream_id is no foreign key, for its check would cost more than an
-- index: a row is only written behind its position, whose stream_id is one.

create table prediction_rows (
    kafka_offset bigint not null,
    record_time timestamptz,
    created_at timestamptz,
    classified_at timestamptz not null default now(),
    version bigint not null, -- of models, and no foreign key either
    stream_id integer not null,
    partition integer not null,
    score real not null,
    review_id text collate "C" not null,
    label text collate "C" not null,
    precision text not null,
    scores real[] not null,
    text text not null,
    attributes jsonb,
    -- The offset first: it tells nearly all keys apart.
    primary key (kafka_offset, partition, stream_id)
);

-- What the stream pays for on every row is this and the primary key; the other two cost next to
-- nothing. A hash index is cheaper still, until some review id (the record's key, where the message
-- has none) comes back a million times.
create index predictions_by_review on prediction_rows (review_id);
-- Least certain first. Partial, because most predictions are certain: ask with
-- `where score < 0.75 order by score`.
create index predictions_least_certain on prediction_rows (score) where score < 0.75;
-- By day and by version, both of which grow with the table: a block range index is a thousandth of
-- a B-tree.
create index predictions_by_day on prediction_rows using brin (classified_at, record_time, version)
    with (pages_per_range = 32, autosummarize = on);

create table dead_letter_rows (
    kafka_offset bigint not null,
    record_time timestamptz,
    failed_at timestamptz not null default now(),
    replayed_at timestamptz,
    stream_id integer not null,
    partition integer not null,
    reason text collate "C" not null,
    detail text not null,
    key bytea,
    payload bytea,
    header_names text[] not null,
    header_values bytea[] not null,
    primary key (kafka_offset, partition, stream_id),
    check (cardinality(header_names) = cardinality(header_values))
);

create index dead_letters_by_time on dead_letter_rows (failed_at);

create table gap_rows (
    from_offset bigint not null,
    to_offset bigint not null,
    found_at timestamptz not null default now(),
    stream_id integer not null,
    partition integer not null,
    reason text not null,
    primary key (stream_id, partition, from_offset),
    check (from_offset < to_offset)
);

-- For analysts: the same with the names of the stream ------------------------------------------------

-- A left join on a unique key: where no name is asked for, the planner leaves streams out.

create view positions as
select stream.pipeline, stream.cluster_id, stream.topic, partition, topic_id, next_offset, owner_epoch,
    owner, claimed_at, updated_at, predictions, dead_letters, tombstones, last_error, last_error_at
from position_rows left join streams as stream on stream.id = stream_id;

create view predictions as
select stream.pipeline, stream.cluster_id, stream.topic, partition, kafka_offset, record_time, review_id,
    text, created_at, attributes, label, score, scores, version, precision, classified_at
from prediction_rows left join streams as stream on stream.id = stream_id;

create view dead_letters as
select stream.pipeline, stream.cluster_id, stream.topic, partition, kafka_offset, record_time, reason,
    detail, key, payload, header_names, header_values, failed_at, replayed_at
from dead_letter_rows left join streams as stream on stream.id = stream_id;

create view gaps as
select stream.pipeline, stream.cluster_id, stream.topic, partition, from_offset, to_offset, reason, found_at
from gap_rows left join streams as stream on stream.id = stream_id;

comment on table streams is 'What is read: one pipeline''s reading of one topic of one Kafka cluster.';
comment on column streams.pipeline is 'The name under which a classification runs: the consumer group.';
comment on column streams.cluster_id is 'The id that the Kafka cluster gives itself.';

comment on table position_rows is 'The rows of the view positions.';
comment on table prediction_rows is 'The rows of the view predictions: delete old ones here.';
comment on table dead_letter_rows is 'The rows of the view dead_letters: delete old ones here.';
comment on table gap_rows is 'The rows of the view gaps.';

comment on view positions is 'Where each partition of a stream stands: predictions + dead letters + tombstones + gaps = the records before next_offset, each exactly once.';
comment on column positions.pipeline is 'The name under which a classification runs: the consumer group.';
comment on column positions.cluster_id is 'The id that the Kafka cluster gives itself.';
comment on column positions.topic_id is 'Kafka''s own id of the topic when it was first claimed; null where the broker tells none. Another one means that the topic was made again.';
comment on column positions.next_offset is 'The first offset whose effect is not here yet.';
comment on column positions.owner_epoch is 'Counts the claims; a consumer with an older one can write nothing.';
comment on column positions.updated_at is 'When next_offset last moved.';
comment on column positions.predictions is 'How many predictions were ever written.';
comment on column positions.dead_letters is 'How many dead letters were ever written.';
comment on column positions.tombstones is 'How many records without a value were skipped.';
comment on column positions.last_error is 'Why the partition last stood still; over if last_error_at is before updated_at.';

comment on view predictions is 'What a model said of each review: one row for each record that was a review. Rows are deleted from prediction_rows.';
comment on column predictions.pipeline is 'The name under which a classification runs: the consumer group.';
comment on column predictions.cluster_id is 'The id that the Kafka cluster gives itself.';
comment on column predictions.kafka_offset is 'The offset of the record in its partition.';
comment on column predictions.record_time is 'The timestamp of the Kafka record.';
comment on column predictions.review_id is 'From the message, else the record''s key, else topic/partition/offset.';
comment on column predictions.created_at is 'When the review was written, as its message says.';
comment on column predictions.attributes is 'The fields of the message that mean nothing to labelstream.';
comment on column predictions.label is 'The most probable class.';
comment on column predictions.score is 'Its probability. Least certain first: where score < 0.75 order by score.';
comment on column predictions.scores is 'The probability of each class, in the order of models.labels of this version.';
comment on column predictions.version is 'The model that said so: models.version.';
comment on column predictions.precision is 'The numbers that the version computed with: f32, bf16 or int8.';
comment on column predictions.classified_at is 'When this was first written; scoring it again with a newer model leaves it. By day: where classified_at >= ''2026-11-22'' and classified_at < ''2026-11-23''.';

comment on view dead_letters is 'Records that could not become reviews, byte for byte as Kafka held them. Rows are deleted from dead_letter_rows.';
comment on column dead_letters.reason is 'A stable code to group by.';
comment on column dead_letters.detail is 'What was wrong, for people.';
comment on column dead_letters.header_names is 'The names of the headers, in their order.';
comment on column dead_letters.header_values is 'Their values; null where a header had none.';
comment on column dead_letters.replayed_at is 'When it was last published again.';

comment on view gaps is 'Offsets that were gone from Kafka before they were read: from_offset up to, and without, to_offset.';
