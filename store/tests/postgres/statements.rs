//! Every SQL statement is one that the migrated schema understands: each is found in the sources and
//! prepared, so that none can be forgotten.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::migrated;
use crate::sources::Source;

/// What takes a statement.
const CALLS: [&str; 5] = ["query", "query_as", "query_scalar", "raw_sql", "copy_in_raw"];

#[tokio::test]
async fn every_statement_of_the_store_fits_the_schema_and_names_its_columns() {
    let (_, mut look) = migrated().await;
    let mut statements = 0;
    for file in rust_files("store/src") {
        let source = Source::read(&file);
        assert!(!source.code.contains("AssertSqlSafe"), "{}: a statement made at run time", file.display());
        for argument in CALLS.iter().flat_map(|call| source.arguments(call)) {
            let statement = source.text(argument).filter(|text| is_statement(text));
            assert!(statement.is_some(), "{}: `{argument}` is no statement to check", file.display());
        }
        for statement in source.literals.iter().filter(|text| is_statement(text)) {
            assert!(!statement.contains('*') || statement.contains("count(*)"), "select *: {statement}");
            check(&mut look, statement).await;
            statements += 1;
        }
    }
    assert!(statements > 50, "only {statements} statements found");
}

/// Those that people are shown, and those of the other tests.
#[tokio::test]
async fn what_people_are_told_to_ask_fits_the_schema() {
    let (_, mut look) = migrated().await;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```").skip(1).step_by(2);
    let asked = blocks.filter_map(|block| Some(block[block.find("select ")?..].split_once(';')?.0.to_owned()));
    let asked: Vec<String> = asked.collect();
    assert!(asked.len() >= 5, "only {} questions found", asked.len());
    let told = Source::read(&root().join("cli/src/demo.rs")).literals;
    let told = told.iter().map(|text| text.trim().trim_end_matches(';')).filter(|text| is_statement(text));
    for statement in told.map(str::to_owned).chain(asked) {
        check(&mut look, &statement).await;
    }
}

fn is_statement(text: &str) -> bool {
    ["select ", "insert into ", "update ", "delete from ", "with ", "copy ", "lock table ", "show "]
        .iter()
        .any(|verb| text.starts_with(verb))
}

/// The server reads it, and finds every table, column, function and type.
async fn check(connection: &mut PgConnection, statement: &str) {
    let mut transaction = connection.begin().await.unwrap();
    let checked = match statement.split_once(' ').unwrap().0 {
        "copy" => match transaction.copy_in_raw(statement).await {
            Ok(copy) => copy.abort("it was only to be checked").await.map_err(drop).map_or(Ok(()), Ok),
            Err(error) => Err(error),
        },
        // These cannot be prepared.
        "lock" | "show" => sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await.map(drop),
        _ => {
            let prepare = format!("prepare checked as {statement}");
            let checked = sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *transaction).await;
            checked.map(drop)
        }
    };
    transaction.rollback().await.unwrap();
    sqlx::raw_sql("deallocate all").execute(connection).await.unwrap();
    checked.unwrap_or_else(|error| panic!("{error}: {statement}"));
}

fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
