-- Challengers that score a share of the stream beside the champion, and what they said.

create table shadows (
    id bigint generated always as identity primary key,
    version bigint not null references models,
    share double precision not null check (share > 0 and share <= 1),
    why text not null,
    started_by text not null default current_user,
    started_at timestamptz not null default now(),
    stopped_at timestamptz
);

create unique index shadows_one_at_a_time on shadows ((stopped_at is null)) where stopped_at is null;

create table shadow_rows (
    kafka_offset bigint not null,
    shadow_id bigint not null references shadows,
    champion_version bigint not null,
    scored_at timestamptz not null default now(),
    stream_id integer not null,
    partition integer not null,
    score real not null,
    champion_label text collate "C" not null,
    label text collate "C" not null,
    primary key (shadow_id, kafka_offset, partition, stream_id)
);

create view shadow_predictions as
select shadow.version, shadow.id as shadow, row.label, row.score, row.champion_version, row.champion_label,
    prediction.review_id, prediction.text, row.scored_at
from shadow_rows as row
join shadows as shadow on shadow.id = row.shadow_id
join prediction_rows as prediction using (kafka_offset, partition, stream_id);

comment on table shadows is 'Which version shadows the champion, or did: it scores a share of the stream, and labels nothing.';
comment on column shadows.share is 'The share of the records, and the most of the time, that it may have.';
comment on column shadows.stopped_at is 'Null while it goes on; there is one at a time.';
comment on table shadow_rows is 'What a challenger said of a record, and what the champion had said.';
comment on view shadow_predictions is 'What challengers said beside what the champion had said, with the reviews. Where they differ: `where label <> champion_label`.';
