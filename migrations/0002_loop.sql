-- The loop: which classes people may use, rounds with an owner, what each consumer made of each version.

-- What people may say ---------------------------------------------------------------------------------------------------

create table classes (
    label text collate "C" primary key check (btrim(label) <> ''),
    added_at timestamptz not null default now()
);

insert into classes (label) select distinct unnest(labels) from models;

-- By trigger, so that the release before this one, which knows nothing of classes, adds them too.
create function add_classes() returns trigger language plpgsql as $$
begin
    insert into classes (label) select unnest(new.labels) on conflict do nothing;
    return null;
end
$$;

create trigger models_add_their_classes after insert on models
    for each row execute function add_classes();

alter table labels
    alter column labeled_by set default current_user,
    alter column source set default 'sql';

create index labels_by_text on labels using hash (text);

-- LS001 is this system's own error code: a label that is refused.
create function complete_label() returns trigger language plpgsql as $$
begin
    if new.text is null and new.review_id is null then
        raise exception 'a label needs a review_id or a text' using errcode = 'LS001';
    end if;
    if new.text is null then
        select text into new.text from predictions where review_id = new.review_id order by classified_at desc limit 1;
        if new.text is null then
            raise exception 'there is no review "%" to take the text from', new.review_id
                using errcode = 'LS001', hint = 'give the text as well';
        end if;
    end if;
    if btrim(new.label) = '' then
        raise exception 'a label must not be empty' using errcode = 'LS001';
    end if;
    if not exists (select from classes where label = new.label) and exists (select from classes) then
        raise exception '"%" is not a known class: they are %', new.label,
            (select string_agg('"' || label || '"', ', ' order by label) from classes)
            using errcode = 'LS001', hint = 'a new class is added with `labelstream labels add-class`';
    end if;
    return new;
end
$$;

create trigger labels_are_completed before insert on labels
    for each row execute function complete_label();

-- Rounds: one at a time, by an owner who can be fenced --------------------------------------------------------------------

alter table rounds
    add column owner text,
    add column owner_epoch bigint not null default 0,
    add column lease_until timestamptz,
    add column labels_seen bigint,
    add column progress jsonb,
    add column evidence jsonb,
    add column baseline_metrics jsonb;

create unique index rounds_one_at_a_time on rounds ((finished_at is null)) where finished_at is null;

create table round_requests (
    id bigint generated always as identity primary key,
    parameters jsonb not null default '{}',
    requested_by text not null default current_user,
    requested_at timestamptz not null default now(),
    round bigint references rounds
);

-- What became of a version -------------------------------------------------------------------------------------------------

alter table models add column collected_at timestamptz;

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

-- Told as old as it is when it is labeled anew ----------------------------------------------------------------------------

comment on column predictions.classified_at is 'When this was first written; scoring it again with a newer model leaves it. By day: where classified_at >= ''2026-11-22'' and classified_at < ''2026-11-23''.';

comment on table classes is 'The classes that a label may name: those of every registered model, and what `labelstream labels add-class` adds. While there are none, any label is taken.';
comment on column labels.text is 'Left out where there is a review_id, it is taken from that review''s newest prediction.';
comment on column rounds.owner is 'Who works on it: host and process.';
comment on column rounds.owner_epoch is 'Counts the owners; one with an older epoch can write nothing.';
comment on column rounds.lease_until is 'Until then nobody else may take an unfinished round over.';
comment on column rounds.labels_seen is 'How many labels there were when its dataset was taken.';
comment on column rounds.progress is 'How far it is.';
comment on column rounds.evidence is 'The numbers on which the gate decided.';
comment on column rounds.baseline_metrics is 'The linear model trained beside the candidate.';
comment on table round_requests is 'Rounds that people asked for; round is null until one was begun for it.';
comment on column models.collected_at is 'When its files were deleted from the checkpoint store; it cannot serve any more.';
comment on table model_load_status is 'What each consumer made of each version. updated_at of a serving one is renewed while it serves.';
comment on column model_load_status.reason is 'Why it was refused.';
