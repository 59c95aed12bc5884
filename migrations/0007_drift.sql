-- What the stream looks like, hour by hour, against what it looked like when a version began to serve.

create table drift_references (
    version bigint primary key references models,
    taken_at timestamptz not null default now(),
    first_at timestamptz not null,
    last_at timestamptz not null,
    profile jsonb not null,
    known bytea not null
);

create table drift_hours (
    version bigint not null references models,
    hour timestamptz not null,
    predictions bigint not null,
    expected_accuracy double precision not null,
    profile jsonb not null,
    changes jsonb not null,
    alarms text[] not null,
    updated_at timestamptz not null default now(),
    primary key (hour, version)
);

comment on table drift_references is 'What each version saw first: its later hours are compared with this.';
comment on column drift_references.profile is 'Counts by class, by score and by length of the text, and the share of unknown n-grams.';
comment on column drift_references.known is 'The n-grams of the first half, as bits at their hashes.';
comment on table drift_hours is 'What each version saw in each hour: a sample of up to 2,000 predictions. `labelstream drift` and the trainer write it.';
comment on column drift_hours.predictions is 'Predictions in the sample.';
comment on column drift_hours.expected_accuracy is 'Mean of the calibrated scores: how often answers this sure are right, if the model still knows what it sees.';
comment on column drift_hours.changes is 'For classes, scores, lengths and unknown: how large the change is, and how probable one as large is by chance.';
comment on column drift_hours.alarms is 'Those that are both large and no chance.';
