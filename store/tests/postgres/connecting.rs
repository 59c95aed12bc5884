//! Every way not to get in says what to do, and none says the password.

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
