-- What a dump of the data alone needs to be restored, whatever the search_path; deleted labels; and
-- where a pass of `rescore` stands. All of it is tolerated by the release before.

-- Rounds refer to models; were models to refer to rounds or to each other as well, nothing could be
-- restored first. Neither is ever deleted, and a model's round is held while its number is written.
alter table models drop constraint models_round_fkey, drop constraint models_parent_fkey;

-- The tables are those beside the one with the trigger, whatever the search_path of the caller or
-- of the migration: pg_dump empties it, and "$user" is another schema for another role. What is set
-- here ends with the function, since the function sets the same.
create or replace function complete_label() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    ids text := pg_get_serial_sequence(format('%I.%I', tg_table_schema, tg_table_name), 'id');
begin
    perform set_config('search_path', format('%I, pg_temp', tg_table_schema), true);
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
        -- An id that the sequence has not come to is of a dump, which is restored as it is: the
        -- label may be older than the first class.
        if has_sequence_privilege(ids, 'usage') and new.id > coalesce(pg_sequence_last_value(ids::regclass), 0) then
            return new;
        end if;
        raise exception '"%" is not a known class: they are %', new.label,
            (select string_agg('"' || name || '"', ', ' order by name) from classes)
            using errcode = 'LS001', hint = 'a new class is added with `labelstream labels add-class`';
    end if;
    return new;
end
$$;

create or replace function add_classes() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('search_path', format('%I, pg_temp', tg_table_schema), true);
    insert into classes (name) select unnest(new.labels) on conflict do nothing;
    return null;
end
$$;

create or replace function refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% is append-only: add a row, the newest wins', tg_table_name
        using errcode = 'restrict_violation';
end
$$;

alter table rounds add column last_label bigint;
comment on column rounds.last_label is 'The highest id of a label that it has seen: what is new does not hang on what was deleted.';

create table rescores (
    version bigint not null,
    older_than bigint not null,
    kafka_offset bigint not null,
    partition integer not null,
    stream_id integer not null,
    updated_at timestamptz not null default now(),
    primary key (version, older_than)
);
comment on table rescores is 'How far a pass of `labelstream rescore` has come through the predictions, in the order of their offsets; gone when it is through.';
