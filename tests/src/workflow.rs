//! From a CSV of labeled reviews to rows in Postgres, typed as a person types it.
