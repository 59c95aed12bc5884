-- Which reviews people were asked to label, and why those: what true numbers are estimated from.

create table picks (
    id bigint generated always as identity primary key,
    picked_at timestamptz not null default now(),
    classified_at timestamptz,
    version bigint,
    probability double precision check (probability > 0 and probability <= 1),
    score real,
    way text collate "C" not null check (way in ('audit', 'uncertain', 'diverse', 'disagreement')),
    review_id text collate "C",
    prediction text collate "C",
    picked_by text not null default current_user,
    text text not null,
    check ((way = 'audit') = (probability is not null))
);

-- A label answers a pick of its review, and of its text.
create view picked_labels as
select pick.id, picked_at, way, probability, version, prediction, score, classified_at, pick.review_id, pick.text,
    answer.label, answer.labeled_by, answer.labeled_at
from picks as pick
left join lateral (
    select label, labeled_by, labeled_at
    from labels
    where labels.review_id = pick.review_id or labels.text = pick.text
    order by labeled_at desc, id desc limit 1
) as answer on true;

comment on table picks is 'The reviews that `labelstream labels next` asked people to label.';
comment on column picks.way is 'Why this one: audit (drawn at random from the stream), uncertain, diverse (unlike the others), disagreement (two models say different things).';
comment on column picks.probability is 'How probable it was for this prediction to be drawn; of an audit alone.';
comment on column picks.version is 'The version that had labeled it; null where none had.';
comment on column picks.prediction is 'What that version had said; null where none had.';
comment on view picked_labels is 'Every pick beside the newest label that a person gave its review or its text (null where nobody did).';
