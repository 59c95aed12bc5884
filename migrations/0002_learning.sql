-- The way of a label: what people said, which models there are, which one serves, and the rounds
-- that make the next one.

-- What people said ---------------------------------------------------------------------------------

create table classes (
    name text collate "C" primary key check (btrim(name) <> ''),
    added_at timestamptz not null default now()
);

create table labels (
    id bigint generated always as identity primary key,
    review_id text collate "C",
    text text not null,
    label text collate "C" not null,
    labeled_by text not null default current_user,
    labeled_at timestamptz not null default now(),
    source text not null default 'sql'
);

create index labels_by_review on labels (review_id, labeled_at desc, id desc) where review_id is not null;
create index labels_by_text on labels using hash (text);

-- The functions find their tables where this migration made them, whatever the caller's search_path:
-- pg_restore has none. LS001 is this system's own error code: a label that is refused.
create function complete_label() returns trigger language plpgsql set search_path from current as $$
begin
    if new.text is null and new.review_id is null then
        raise exception 'a label needs a review_id or a text' using errcode = 'LS001';
    end if;
    if new.text is null then
        select text into new.text from prediction_rows
        where review_id = new.review_id order by classified_at desc limit 1;
        if new.text is null then
            raise exception 'there is no review "%" to take the text from', new.review_id
                using errcode = 'LS001', hint = 'give the text as well';
        end if;
    end if;
    if btrim(new.label) = '' then
        raise exception 'a label must not be empty' using errcode = 'LS001';
    end if;
    if not exists (select from classes where name = new.label) and exists (select from classes) then
        raise exception '"%" is not a known class: they are %', new.label,
            (select string_agg('"' || name || '"', ', ' order by name) from classes)
            using errcode = 'LS001', hint = 'a new class is added with `labelstream labels add-class`';
    end if;
    return new;
end
$$;

create trigger labels_are_completed before insert on labels
    for each row execute function complete_label();

-- Which models there are, and which one serves -----------------------------------------------------

create table rounds (
    round bigint generated always as identity primary key,
    trigger text not null,
    parameters jsonb not null,
    owner text,
    owner_epoch bigint not null default 0,
    lease_until timestamptz,
    dataset_fingerprint text,
    labels_seen bigint,
    progress jsonb,
    champion bigint,
    candidate bigint,
    champion_metrics jsonb,
    candidate_metrics jsonb,
    baseline_metrics jsonb,
    evidence jsonb,
    verdict text check (verdict in ('accepted', 'rejected', 'abandoned')),
    reason text,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    check ((verdict is null) = (finished_at is null))
);

create unique index rounds_one_at_a_time on rounds ((finished_at is null)) where finished_at is null;

create table round_requests (
    id bigint generated always as identity primary key,
    parameters jsonb not null default '{}',
    requested_by text not null default current_user,
    requested_at timestamptz not null default now(),
    round bigint references rounds
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
    collected_at timestamptz,
    unique (manifest_sha256, uri)
);

alter table rounds
    add foreign key (champion) references models,
    add foreign key (candidate) references models;

create function add_classes() returns trigger language plpgsql set search_path from current as $$
begin
    insert into classes (name) select unnest(new.labels) on conflict do nothing;
    return null;
end
$$;

create trigger models_add_their_classes after insert on models
    for each row execute function add_classes();

create table model_load_status (
    consumer text not null,
    pipeline text not null,
    version bigint not null references models,
    status text not null check (status in ('loading', 'serving', 'refused')),
    reason text,
    updated_at timestamptz not null default now(),
    primary key (consumer, version),
    check ((status = 'refused') = (reason is not null))
);

create table deployments (
    id bigint generated always as identity primary key,
    alias text not null,
    version bigint not null references models,
    why text not null,
    deployed_at timestamptz not null default now()
);

create index deployments_by_alias on deployments (alias, id desc);

-- What people said and what was deployed stays as it was -------------------------------------------

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

-- For analysts ----------------------------------------------------------------------------------------

-- "No newer one exists" rather than "distinct on": a filter by review or by day then reads only the
-- rows that it asks for.
create view newest_predictions as
select pipeline, topic, review_id, text, created_at, attributes, label, score, version, classified_at
from predictions as prediction
where not exists (
    select from predictions as newer
    where newer.review_id = prediction.review_id
        and newer.pipeline = prediction.pipeline
        and (newer.classified_at, newer.cluster_id, newer.topic, newer.partition, newer.kafka_offset)
            > (prediction.classified_at, prediction.cluster_id, prediction.topic, prediction.partition,
                prediction.kafka_offset)
);

-- In two halves: with `where label is not null` the planner leaves the second one out, and what is
-- left costs by the labels, however many predictions there are.
create view labeled_reviews as
select pipeline, topic, review_id, text, created_at, attributes, prediction.label as prediction, score,
    version, classified_at, newest_label.label, labeled_by, labeled_at
from newest_predictions as prediction
join (
    select distinct on (review_id) review_id, label, labeled_by, labeled_at
    from labels
    where review_id is not null
    order by review_id, labeled_at desc, id desc
) as newest_label using (review_id)
union all
select pipeline, topic, review_id, text, created_at, attributes, label, score, version, classified_at,
    null, null, null
from newest_predictions as prediction
where not exists (select from labels where labels.review_id = prediction.review_id);

comment on table classes is 'The classes that a label may name: those of every registered model, and what `labelstream labels add-class` adds. While there are none, any label is taken.';

comment on table labels is 'What people said of reviews. Append-only: of one review the newest labeled_at wins, then the highest id.';
comment on column labels.review_id is 'The review, where it has an id; else the text alone says what was labeled.';
comment on column labels.text is 'Left out where there is a review_id, it is taken from that review''s newest prediction.';
comment on column labels.source is 'Where the label came from, such as a file or a tool.';

comment on table rounds is 'Each retraining, from its dataset to its verdict.';
comment on column rounds.trigger is 'What started it: new labels, the schedule, a command.';
comment on column rounds.owner is 'Who works on it: host and process.';
comment on column rounds.owner_epoch is 'Counts the owners; one with an older epoch can write nothing.';
comment on column rounds.lease_until is 'Until then nobody else may take an unfinished round over.';
comment on column rounds.labels_seen is 'How many labels there were when its dataset was taken.';
comment on column rounds.progress is 'How far it is.';
comment on column rounds.evidence is 'The numbers on which the gate decided.';
comment on column rounds.baseline_metrics is 'The linear model trained beside the candidate.';
comment on column rounds.verdict is 'Null while it runs.';
comment on table round_requests is 'Rounds that people asked for; round is null until one was begun for it.';

comment on table models is 'Every registered checkpoint.';
comment on column models.status is 'registered, or rejected by the gate. Which one serves is in deployments.';
comment on column models.uri is 'Where the checkpoint store keeps it.';
comment on column models.labels is 'The names of the classes, in the order of predictions.scores.';
comment on column models.collected_at is 'When its files were deleted from the checkpoint store; it cannot serve any more.';
comment on table model_load_status is 'What each consumer made of each version. updated_at of a serving one is renewed while it serves.';
comment on column model_load_status.reason is 'Why it was refused.';

comment on table deployments is 'Which version took which role, when and why. Append-only: the newest row of an alias is in force.';

comment on view newest_predictions is 'Of each review in each pipeline the newest prediction. Filter by review_id, or by classified_at.';
comment on view labeled_reviews is 'The newest prediction of each review beside the newest label that a person gave it (null where nobody did). Filter by `label is not null`, by review_id, or by classified_at.';
comment on column labeled_reviews.prediction is 'What the model said.';
comment on column labeled_reviews.label is 'What a person said; null where nobody did.';
