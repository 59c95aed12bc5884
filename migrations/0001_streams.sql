-- The first release: where each stream stands, what the models said, what people said, and which model serves.
-- The words are those of ARCHITECTURE.md; the comments at the end are for whoever opens the database with psql.

-- Where each partition stands, and who may write it --------------------------------------------------------------------

create table positions (
    pipeline text collate "C" not null,
    cluster_id text collate "C" not null,
    topic text collate "C" not null,
    partition integer not null,
    topic_id text collate "C",
    next_offset bigint not null check (next_offset >= 0),
    owner_epoch bigint not null,
    owner text not null,
    claimed_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    predictions bigint not null default 0,
    dead_letters bigint not null default 0,
    tombstones bigint not null default 0,
    last_error text,
    last_error_at timestamptz,
    primary key (pipeline, cluster_id, topic, partition)
) with (fillfactor = 50); -- room for each batch's update on the same page

-- What became of each record -------------------------------------------------------------------------------------------

create table predictions (
    pipeline text collate "C" not null,
    cluster_id text collate "C" not null,
    topic text collate "C" not null,
    partition integer not null,
    kafka_offset bigint not null,
    record_time timestamptz,
    review_id text collate "C" not null,
    text text not null,
    created_at timestamptz,
    attributes jsonb,
    label text collate "C" not null,
    score real not null,
    scores real[] not null,
    version bigint not null, -- of models; no foreign key: its check would cost more than any index here
    classified_at timestamptz not null default now(),
    -- The numbers first: they tell nearly all keys apart, which halves the cost of the index.
    primary key (kafka_offset, partition, topic, cluster_id, pipeline)
);

-- What the stream pays for on every row is this and the primary key; the other two cost next to nothing. A hash index
-- is cheaper still, until some review id (the record's key, where the message has none) comes back a million times.
create index predictions_by_review on predictions (review_id);
-- Least certain first. Partial, because most predictions are certain: ask with `where score < 0.75 order by score`.
create index predictions_least_certain on predictions (score) where score < 0.75;
-- By day and by version, both of which grow with the table: a block range index is a thousandth of a B-tree.
create index predictions_by_day on predictions using brin (classified_at, record_time, version)
    with (pages_per_range = 32, autosummarize = on);

create table dead_letters (
    pipeline text collate "C" not null,
    cluster_id text collate "C" not null,
    topic text collate "C" not null,
    partition integer not null,
    kafka_offset bigint not null,
    record_time timestamptz,
    reason text collate "C" not null,
    detail text not null,
    key bytea,
    payload bytea,
    header_names text[] not null,
    header_values bytea[] not null,
    failed_at timestamptz not null default now(),
    replayed_at timestamptz,
    primary key (kafka_offset, partition, topic, cluster_id, pipeline),
    check (cardinality(header_names) = cardinality(header_values))
);

create index dead_letters_by_time on dead_letters (failed_at);

create table gaps (
    pipeline text collate "C" not null,
    cluster_id text collate "C" not null,
    topic text collate "C" not null,
    partition integer not null,
    from_offset bigint not null,
    to_offset bigint not null,
    reason text not null,
    found_at timestamptz not null default now(),
    primary key (pipeline, cluster_id, topic, partition, from_offset),
    check (from_offset < to_offset)
);

-- What people said -----------------------------------------------------------------------------------------------------

create table labels (
    id bigint generated always as identity primary key,
    review_id text collate "C",
    text text not null,
    label text collate "C" not null,
    labeled_by text not null,
    labeled_at timestamptz not null default now(),
    source text not null
);

create index labels_by_review on labels (review_id, labeled_at desc, id desc) where review_id is not null;

-- Which models there are, and which one serves -------------------------------------------------------------------------

create table rounds (
    round bigint generated always as identity primary key,
    trigger text not null,
    parameters jsonb not null,
    dataset_fingerprint text,
    champion bigint,
    candidate bigint,
    champion_metrics jsonb,
    candidate_metrics jsonb,
    verdict text check (verdict in ('accepted', 'rejected', 'abandoned')),
    reason text,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    check ((verdict is null) = (finished_at is null))
);

create table models (
    version bigint generated always as identity primary key,
    status text not null default 'registered' check (status in ('registered', 'rejected')),
    uri text not null,
    manifest_sha256 text not null check (manifest_sha256 ~ '^[0-9a-f]{64}$'),
    labels text[] not null check (cardinality(labels) >= 2),
    metrics jsonb not null default '{}' check (jsonb_typeof(metrics) = 'object'),
    parent bigint references models,
    round bigint references rounds,
    created_at timestamptz not null default now(),
    unique (manifest_sha256, uri)
);

alter table rounds
    add foreign key (champion) references models,
    add foreign key (candidate) references models;

create table deployments (
    id bigint generated always as identity primary key,
    alias text not null,
    version bigint not null references models,
    why text not null,
    deployed_at timestamptz not null default now()
);

create index deployments_by_alias on deployments (alias, id desc);

-- What people said and what was deployed stays as it was ----------------------------------------------------------------

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: add a row, the newest wins', tg_table_name
        using errcode = 'restrict_violation';
end
$$;

create trigger labels_are_append_only before update or delete or truncate on labels
    for each statement execute function refuse_change();
create trigger deployments_are_append_only before update or delete or truncate on deployments
    for each statement execute function refuse_change();

-- For analysts ----------------------------------------------------------------------------------------------------------

-- "No newer one exists" rather than "distinct on": a filter by review or by day then reads only the rows it asks for.
create view labeled_reviews as
select
    prediction.pipeline,
    prediction.topic,
    prediction.review_id,
    prediction.text,
    prediction.created_at,
    prediction.attributes,
    prediction.label as prediction,
    prediction.score,
    prediction.version,
    prediction.classified_at,
    newest_label.label,
    newest_label.labeled_by,
    newest_label.labeled_at
from predictions as prediction
left join lateral (
    select label, labeled_by, labeled_at
    from labels
    where labels.review_id = prediction.review_id
    order by labeled_at desc, id desc
    limit 1
) as newest_label on true
where not exists (
    select from predictions as newer
    where newer.review_id = prediction.review_id
        and newer.pipeline = prediction.pipeline
        and (newer.classified_at, newer.cluster_id, newer.topic, newer.partition, newer.kafka_offset)
            > (prediction.classified_at, prediction.cluster_id, prediction.topic, prediction.partition, prediction.kafka_offset)
);

comment on table positions is 'Where each partition of a stream stands: predictions + dead letters + tombstones + gaps = the records before next_offset, each exactly once.';
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

comment on table predictions is 'What a model said of each review: one row for each record that was a review.';
comment on column predictions.kafka_offset is 'The offset of the record in its partition.';
comment on column predictions.record_time is 'The timestamp of the Kafka record.';
comment on column predictions.review_id is 'From the message, else the record''s key, else topic/partition/offset.';
comment on column predictions.created_at is 'When the review was written, as its message says.';
comment on column predictions.attributes is 'The fields of the message that mean nothing to labelstream.';
comment on column predictions.label is 'The most probable label.';
comment on column predictions.score is 'Its probability. Least certain first: where score < 0.75 order by score.';
comment on column predictions.scores is 'The probability of each label, in the order of models.labels of this version.';
comment on column predictions.version is 'The model that said so: models.version.';
comment on column predictions.classified_at is 'When this was written. By day: where classified_at >= ''2026-11-22'' and classified_at < ''2026-11-23''.';

comment on table dead_letters is 'Records that could not become reviews, byte for byte as Kafka held them.';
comment on column dead_letters.reason is 'A stable code to group by.';
comment on column dead_letters.detail is 'What was wrong, for people.';
comment on column dead_letters.header_names is 'The names of the headers, in their order.';
comment on column dead_letters.header_values is 'Their values; null where a header had none.';
comment on column dead_letters.replayed_at is 'When it was last published again.';

comment on table gaps is 'Offsets that were gone from Kafka before they were read: from_offset up to, and without, to_offset.';

comment on table labels is 'What people said of reviews. Append-only: of one review the newest labeled_at wins, then the highest id.';
comment on column labels.review_id is 'The review, where it has an id; else the text alone says what was labeled.';
comment on column labels.source is 'Where the label came from, such as a file or a tool.';

comment on table rounds is 'Each retraining, from its dataset to its verdict.';
comment on column rounds.trigger is 'What started it: new labels, the schedule, a command.';
comment on column rounds.verdict is 'Null while it runs.';

comment on table models is 'Every registered checkpoint.';
comment on column models.status is 'registered, or rejected by the gate. Which one serves is in deployments.';
comment on column models.uri is 'Where the checkpoint store keeps it.';
comment on column models.labels is 'The names of the classes, in the order of predictions.scores.';

comment on table deployments is 'Which version took which role, when and why. Append-only: the newest row of an alias is in force.';

comment on view labeled_reviews is 'The newest prediction of each review beside the newest label that a person gave it (null where nobody did). Filter by review_id, or by classified_at.';
