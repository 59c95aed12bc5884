-- What the page for people adds: who looks at which review, what was passed over, what classes
-- mean, who changed what, and which trainer waits for how many labels.

create table label_leases (
    leased_until timestamptz not null,
    holder text collate "C" not null,
    text_digest bytea primary key
);

create table label_passes (
    id bigint generated always as identity primary key,
    passed_at timestamptz not null default now(),
    cannot_say boolean not null,
    passed_by text not null,
    text_digest bytea not null
);

create index label_passes_by_text on label_passes (text_digest);

create table label_suspects (
    label_id bigint primary key,
    probability real not null,
    found_at timestamptz not null default now(),
    claimed text collate "C" not null
);

create table guidelines (
    id bigint generated always as identity primary key,
    written_at timestamptz not null default now(),
    class text collate "C" not null,
    guideline text not null,
    written_by text not null default current_user
);

create table changes (
    id bigint generated always as identity primary key,
    changed_at timestamptz not null default now(),
    changed_by text not null default current_user,
    change text not null
);

create table trainers (
    trainer text primary key,
    min_new_labels bigint,
    schedule text,
    seen_at timestamptz not null default now()
);

create trigger guidelines_are_append_only before update or delete or truncate on guidelines
    for each statement execute function refuse_change();
create trigger changes_are_append_only before update or delete or truncate on changes
    for each statement execute function refuse_change();

comment on table label_leases is 'Which browser shows which text to be labeled, until when: no two are given one.';
comment on column label_leases.text_digest is 'SHA-256 of the text in UTF-8.';
comment on table label_passes is 'Texts that people passed over: skipped, or looked at without being able to say. One that two people cannot say is asked no more.';
comment on table label_suspects is 'Labels that models contradict which have not learned them. One is settled when its text has a newer label.';
comment on column label_suspects.claimed is 'The class that they claim.';
comment on table guidelines is 'What each class means, in the words of those who decide. Append-only: the newest of a class wins.';
comment on table changes is 'What people changed on the page, and who it was: promotions, rollbacks, shadows, rounds, replays, guidelines. Append-only.';
comment on table trainers is 'The trainers, when each was seen last, and what starts its rounds by itself.';
