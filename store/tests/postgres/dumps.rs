//! A dump of the data alone, of one migrated database, restored into another.

use std::process::{Command, Output};

use sqlx::{Connection, PgConnection};
use store::{Outcome, Store};

use crate::{claim, empty_database, migrated, predictions, reviews};

/// Runs a program of the server's that is in PATH.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            stack::not_run(format!("there is no {program} to test dumps with: {error}"));
            None
        }
    }
}

/// Everything that a deployment writes, the odd cases among it.
const ROWS: &str = "
    insert into labels (text, label) values ('from before there were classes', 'odd');
    insert into rounds (trigger, parameters, verdict, finished_at, labels_seen, last_label)
        values ('command', '{}', 'accepted', now(), 1, 1);
    insert into models (uri, manifest_sha256, labels, round)
        values ('file:///x', repeat('a', 64), '{one,two}', 1);
    insert into models (uri, manifest_sha256, labels, parent) values ('file:///y', repeat('b', 64), '{one,two}', 1);
    update rounds set champion = 1, candidate = 2;
    insert into round_requests (round) values (1);
    insert into deployments (alias, version, why) values ('champion', 1, 'first'), ('champion', 2, 'second');
    insert into model_load_status (consumer, pipeline, version, status) values ('c', 'p', 2, 'serving');
    insert into labels (text, label, review_id) values ('好吃', 'one', 'r-1'), ('难吃', 'two', null)";

const TABLES: [&str; 9] = [
    "classes",
    "deployments",
    "labels",
    "model_load_status",
    "models",
    "position_rows",
    "prediction_rows",
    "round_requests",
    "rounds",
];

async fn counts(connection: &mut PgConnection) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in TABLES {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        counts.push(sqlx::query_scalar(count).fetch_one(&mut *connection).await.unwrap());
    }
    counts
}

#[tokio::test]
async fn a_dump_of_the_data_is_restored_whole_and_numbers_go_on_after_it() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    assert_eq!(store.write(reviews(), &predictions(&claim, 3)).await.unwrap(), Outcome::Written);
    sqlx::raw_sql(ROWS).execute(&mut look).await.unwrap();
    let database: String = sqlx::query_scalar("select current_database()").fetch_one(&mut look).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dump.sql");
    let (from, file) = (crate::SERVER.url(&database), file.to_str().unwrap());
    let dump = ["--data-only", "--exclude-table=_sqlx*", "--file", file, &from];
    let Some(dumped) = run("pg_dump", &dump) else { return };
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let warned = String::from_utf8_lossy(&dumped.stderr);
    assert!(!warned.contains("circular"), "{warned}");

    let to = empty_database();
    let restored = Store::connect(&to, 2).await.unwrap();
    restored.migrate().await.unwrap();
    let Some(psql) = run("psql", &["--set=ON_ERROR_STOP=1", "--quiet", "--file", file, &to]) else { return };
    assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
    let mut there = PgConnection::connect(&to).await.unwrap();
    assert_eq!(counts(&mut there).await, counts(&mut look).await);

    sqlx::raw_sql(
        "insert into labels (text, label) values ('new', 'one');
        insert into models (uri, manifest_sha256, labels) values ('file:///z', repeat('c', 64), '{one,two}')",
    )
    .execute(&mut there)
    .await
    .unwrap();
    let last: (i64, i64) = sqlx::query_as("select (select max(id) from labels), (select max(version) from models)")
        .fetch_one(&mut there)
        .await
        .unwrap();
    assert_eq!(last, (4, 3));
    let unknown = sqlx::raw_sql("insert into labels (text, label) values ('x', 'odd')").execute(&mut there).await;
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("is not a known class"), "what is no restore is looked at as ever: {unknown}");
}

/// In a schema of its own, for a role whose search_path is another.
#[tokio::test]
async fn triggers_find_the_tables_beside_theirs_whatever_the_search_path() {
    let url = empty_database();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create schema \"Its own\"").execute(&mut admin).await.unwrap();
    let store = Store::connect(&format!("{url}?options=-csearch_path%3D%22Its%5C%20own%22"), 1).await.unwrap();
    store.migrate().await.unwrap();
    sqlx::raw_sql(
        "insert into \"Its own\".models (uri, manifest_sha256, labels)
            values ('file:///x', repeat('a', 64), '{one,two}');
        create role stranger_with_a_path login password 'stranger';
        grant usage on schema \"Its own\" to stranger_with_a_path;
        grant select, insert on all tables in schema \"Its own\" to stranger_with_a_path;
        create schema stranger_with_a_path;
        create table stranger_with_a_path.classes (name text);
        grant all on schema stranger_with_a_path to stranger_with_a_path;
        set role stranger_with_a_path;
        insert into \"Its own\".labels (text, label) values ('好吃', 'one')",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    for path in ["set search_path = ''", "set search_path = pg_catalog", "reset search_path"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(path)).execute(&mut admin).await.unwrap();
        let insert = "insert into \"Its own\".labels (text, label) values ('好吃', 'three')";
        let refused = sqlx::raw_sql(insert).execute(&mut admin).await.unwrap_err().to_string();
        assert!(refused.contains("not a known class"), "{path}: {refused}");
    }
    assert_eq!(store.count_labels().await.unwrap(), 1);
}
