//! Every way not to get in says what to do, and none says the password.

use std::net::TcpListener;
use std::process::Command;

use sqlx::Connection;
use store::{Store, StoreError};

use crate::{SERVER, empty_database};

const PASSWORD: &str = "sEcReT-4711";

async fn refusal(url: &str) -> StoreError {
    let error = Store::connect(url, 1).await.expect_err("should not get in");
    let said = format!("{error} {error:?}");
    assert!(!said.contains(PASSWORD) && !said.contains("4711"), "{said}");
    error
}

/// The test server's address with another part in the place of one of its own.
fn with(replace: impl Fn(&mut url::Url)) -> String {
    let mut url: url::Url = SERVER.url("postgres").parse().unwrap();
    replace(&mut url);
    url.to_string()
}

#[tokio::test]
async fn a_wrong_password_is_final_and_says_where_to_look() {
    let error = refusal(&with(|url| url.set_password(Some(PASSWORD)).unwrap())).await;
    assert!(matches!(error, StoreError::Refused(_)) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("check the user and the password"), "{error}");
}

#[tokio::test]
async fn a_missing_database_is_final_and_says_how_to_make_it() {
    let error = refusal(&with(|url| url.set_path("/nowhere"))).await;
    assert!(matches!(error, StoreError::Refused(_)) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("\"nowhere\" does not exist: create it"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let error = refusal(&format!("postgres://user:{PASSWORD}@127.0.0.1:1/labelstream")).await;
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_final_and_shows_what_one_looks_like() {
    for url in ["", "localhost", "mysql://user@host/database"] {
        let error = refusal(url).await;
        assert!(matches!(error, StoreError::Address(_)) && !error.is_transient(), "{error}");
        assert!(error.to_string().contains("postgres://user:password@host:5432/database"), "{error}");
    }
    for url in [
        format!("postgres://user:{PASSWORD}@host:port/database"),
        format!("postgres://user:{PASSWORD}@host/database?sslmode=perhaps"),
        format!("postgres://user:{PASSWORD}/@host/database"),
        format!("postgres://user:a@{PASSWORD}@host/database"),
    ] {
        let error = refusal(&url).await;
        assert!(matches!(error, StoreError::Address(_)), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_transient_and_the_store_survives_it() {
    let mut server = stack::Postgres::start().unwrap();
    let store = Store::connect(&server.create_database("reviews").unwrap(), 4).await.unwrap();
    store.migrate().await.unwrap();
    server.stop();
    let error = store.ping().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.start_again().unwrap();
    store.ping().await.unwrap();
    server.kill().unwrap();
    let error = store.champion().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.start_again().unwrap();
    assert_eq!(store.champion().await.unwrap(), None);
}

#[tokio::test]
async fn a_role_without_rights_is_told_so() {
    let url = empty_database();
    let store = Store::connect(&url, 1).await.unwrap();
    store.migrate().await.unwrap();
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::raw_sql("create role guest login password 'guest'").execute(&mut admin).await.unwrap();
    let mut url: url::Url = url.parse().unwrap();
    url.set_username("guest").unwrap();
    url.set_password(Some("guest")).unwrap();
    let guest = Store::connect(url.as_str(), 1).await.unwrap();
    let error = guest.champion().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

/// Host, port, user, password and database of the test's server.
fn parts() -> [String; 5] {
    let url: url::Url = empty_database().parse().unwrap();
    let port = url.port().unwrap().to_string();
    let [host, user, password] =
        [url.host_str(), Some(url.username()), url.password()].map(|part| part.unwrap().to_owned());
    [host, port, user, password, url.path().trim_start_matches('/').to_owned()]
}

#[tokio::test]
async fn what_psql_connects_with_connects() {
    let [host, port, user, password, database] = parts();
    let secret: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let [nobody, again] = [(); 2].map(|()| stack::free_port().unwrap());
    for url in [
        format!("host={host} port={port} user={user} password='{password}' dbname={database}"),
        format!("postgresql://{user}:{secret}@{host}:{port}/{database}?connect_timeout=7&application_name=mine"),
        format!("postgres://{user}:{secret}@{host}:{nobody},{host}:{port}/{database}?target_session_attrs=read-write"),
        format!("postgres://{host}:{nobody},{host}:{again},{host}:{port}/{database}?user={user}&password={secret}"),
        format!("postgres://{user}:{secret}@nowhere.invalid/{database}?host={host}&port={port}&sslmode=allow"),
        format!("postgres://{user}:{secret}@ignored/{database}?hostaddr={host}&port={port}&keepalives_idle=20"),
    ] {
        let store = Store::connect(&url, 1).await.unwrap_or_else(|error| panic!("{error}"));
        store.server_version().await.unwrap();
        assert!(!format!("{store:?}").contains(&password));
        if let Ok(psql) = Command::new("psql").args(["-Atc", "select 1", &url]).output() {
            assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
        }
    }
}

#[tokio::test]
async fn options_reach_the_session_and_a_wrong_kind_of_server_is_not_taken() {
    let [host, port, user, password, database] = parts();
    let base = format!("postgres://{user}:{password}@{host}:{port}/{database}");
    let options = "options=-c%20default_transaction_read_only%3Don";
    let error = Store::connect(&format!("{base}?{options}&target_session_attrs=read-write"), 1).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("target_session_attrs"), "{error}");
    Store::connect(&format!("{base}?{options}&target_session_attrs=read-only"), 1).await.unwrap();
    let error = Store::connect(&format!("{base}?target_session_attrs=standby"), 1).await.unwrap_err();
    assert!(error.to_string().contains("target_session_attrs"), "{error}");
}

/// As a service of an operating system finds a server of the same machine, and over IPv6.
#[tokio::test]
async fn a_socket_and_an_ipv6_literal_lead_to_the_server() {
    let [host, port, user, password, database] = parts();
    let directory = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
    let target = format!("{host}:{port}");
    let forward = target.clone();
    std::thread::spawn(move || {
        for client in socket.incoming().flatten() {
            let server = std::net::TcpStream::connect(&forward).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (server, client);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    let place = directory.path().display().to_string();
    let encoded = place.replace('/', "%2F");
    for url in [
        format!("postgres://{user}:{password}@{encoded}/{database}"),
        format!("postgres:///{database}?host={place}&user={user}&password={password}"),
        format!("host={place} user={user} password={password} dbname={database} sslmode=require"),
    ] {
        Store::connect(&url, 1).await.unwrap_or_else(|error| panic!("{error}"));
    }
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return stack::not_run("this machine has no IPv6");
    };
    let here = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = std::net::TcpStream::connect(&target).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (server, client);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    Store::connect(&format!("postgres://{user}:{password}@[::1]:{here}/{database}"), 1).await.unwrap();
}

/// Two servers under one address: when the one that writes becomes one that only reads, the other
/// is taken.
#[tokio::test]
async fn of_several_hosts_the_one_that_writes_is_taken_and_taken_anew() {
    let [mut first, second] = [(); 2].map(|()| stack::Postgres::start().unwrap());
    let urls = [&first, &second].map(|server| server.create_database("reviews").unwrap());
    let parsed = urls.clone().map(|url| url.parse::<url::Url>().unwrap());
    for url in &urls {
        let mut admin = sqlx::PgConnection::connect(url).await.unwrap();
        let role = "create role shared superuser login password 'shared'";
        sqlx::raw_sql(role).execute(&mut admin).await.unwrap();
        Store::connect(url, 1).await.unwrap().migrate().await.unwrap();
    }
    let [one, two] = parsed.map(|url| url.port().unwrap());
    let url =
        format!("postgres://shared:shared@127.0.0.1:{one},127.0.0.1:{two}/reviews?target_session_attrs=read-write");
    let store = Store::connect(&url, 2).await.unwrap();
    store.add_class("on the first").await.unwrap();
    let mut admin = sqlx::PgConnection::connect(&urls[0]).await.unwrap();
    let demote = "alter database reviews set default_transaction_read_only = on;
        select pg_terminate_backend(pid) from pg_stat_activity where datname = 'reviews' and pid <> pg_backend_pid()";
    sqlx::raw_sql(demote).execute(&mut admin).await.unwrap();
    let mut refused = 0;
    while let Err(error) = store.add_class("on the second").await {
        assert!(error.is_transient() && refused < 10, "{error}");
        refused += 1;
    }
    assert_eq!(store.classes().await.unwrap(), ["on the second"]);
    // And one that is gone.
    first.stop();
    assert_eq!(store.classes().await.unwrap(), ["on the second"]);
}
