-- What numbers a model computed with: int8 is quicker, and now and then another label than f32.

alter table predictions add column precision text not null default 'f32';

comment on column predictions.precision is 'The numbers that the version computed with: f32, bf16 or int8.';
