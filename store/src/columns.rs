//! How the types of this crate are read from and written to columns, without sqlx's derive macros:
//! they would build its driver a second time.

/// Reads a struct from a row: each field from the column of its name, and a flattened one from
/// columns of its own.
macro_rules! from_row {
    ($name:ident { $($field:ident),+ $(, ..$flattened:ident)? }) => {
        impl<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> for $name {
            fn from_row(row: &'r sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: sqlx::Row::try_get(row, stringify!($field))?,)+
                    $($flattened: sqlx::FromRow::from_row(row)?,)?
                })
            }
        }
    };
}

/// Stores a number with a name of its own as a `bigint`.
macro_rules! bigint {
    ($name:ident) => {
        crate::columns::stored_as!($name, i64, |number| number.0, |stored| Ok(Self(stored)));
    };
}

/// Stores an enum as a `text`, each variant as its word.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        crate::columns::stored_as!(
            $name,
            &str,
            |variant| match variant { $(Self::$variant => $word,)+ },
            |stored| match stored {
                $($word => Ok(Self::$variant),)+
                other => Err(format!("{other:?} is no {}", stringify!($name)).into()),
            }
        );
    };
}

macro_rules! stored_as {
    ($name:ident, $stored:ty, |$value:ident| $write:expr, |$column:ident| $read:expr) => {
        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <$stored as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(other: &sqlx::postgres::PgTypeInfo) -> bool {
                <$stored as sqlx::Type<sqlx::Postgres>>::compatible(other)
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                to: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                let $value = self;
                let stored: $stored = $write;
                sqlx::Encode::<sqlx::Postgres>::encode(stored, to)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(from: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                let $column = <$stored as sqlx::Decode<sqlx::Postgres>>::decode(from)?;
                $read
            }
        }
    };
}

pub(crate) use {bigint, from_row, stored_as, words};
