-- Which consumer reads each partition, and how often its readers died there: what finds a record
-- that ends the process that reads it.

create table readers (
    from_offset bigint not null,
    attempted_offset bigint,
    stream_id integer not null references streams,
    partition integer not null,
    crashes integer not null default 0,
    attempts integer not null default 0,
    reader text collate "C",
    primary key (stream_id, partition)
);

comment on table readers is 'Who reads each partition, and how often its readers died at one place. After two, records are tried one by one; one that ends its reader three times becomes a dead letter.';
comment on column readers.reader is 'The process that reads the partition; null once it has said goodbye.';
comment on column readers.from_offset is 'The position at which it began.';
comment on column readers.crashes is 'How many readers in a row ended without a goodbye and without moving the position.';
comment on column readers.attempted_offset is 'The record that was tried last on its own.';
comment on column readers.attempts is 'How often it was tried.';
