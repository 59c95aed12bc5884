//! The private Postgres, for real.

use sqlx::{Connection, PgConnection, query, query_scalar};
use stack::Postgres;

#[tokio::test]
async fn committed_rows_outlive_a_stop_and_a_kill() -> anyhow::Result<()> {
    let mut postgres = Postgres::start()?;
    let url = postgres.create_database("kept")?;
    let mut connection = PgConnection::connect(&url).await?;
    query("create table rows (number int)").execute(&mut connection).await?;
    query("insert into rows values (1)").execute(&mut connection).await?;
    postgres.stop();
    assert_eq!(postgres.pid(), 0);
    assert!(PgConnection::connect(&url).await.is_err(), "a stopped server must not answer");

    postgres.start_again()?;
    let mut connection = PgConnection::connect(&url).await?;
    query("insert into rows values (2)").execute(&mut connection).await?;
    postgres.kill()?;
    // The process behind this connection notices a moment later.
    while query("select 1").execute(&mut connection).await.is_ok() {}

    postgres.start_again()?;
    let mut connection = PgConnection::connect(&url).await?;
    let sum: i64 = query_scalar("select sum(number) from rows").fetch_one(&mut connection).await?;
    assert_eq!(sum, 3);
    Ok(())
}

#[tokio::test]
async fn it_listens_on_loopback_alone_and_keeps_its_promises_on_disk() -> anyhow::Result<()> {
    let postgres = Postgres::start()?;
    let mut connection = PgConnection::connect(&postgres.url("postgres")).await?;
    for (setting, expected) in [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("fsync", "on"),
        ("server_encoding", "UTF8"),
    ] {
        let value: String = query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut connection).await?;
        assert_eq!(value, expected, "{setting}");
    }
    let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", postgres.pid())).unwrap_or_default();
    let url = postgres.url("postgres");
    let password = url.split([':', '@']).nth(2).expect("the address has a password");
    assert!(!arguments.contains(password), "the password is visible to every user of the machine");
    let wrong = url.replace(password, "guess");
    assert!(PgConnection::connect(&wrong).await.is_err(), "a wrong password must be refused");
    Ok(())
}

#[test]
fn a_database_that_exists_or_has_a_strange_name_is_an_error() -> anyhow::Result<()> {
    let postgres = Postgres::start()?;
    postgres.create_database("once")?;
    let again = postgres.create_database("once").expect_err("it exists");
    assert!(format!("{again:#}").contains("already exists"), "{again:#}");
    postgres.create_database("a\"; drop table x").expect_err("no plain name");
    Ok(())
}
