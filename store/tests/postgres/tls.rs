//! Connections with TLS, as libpq would make them.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use stack::{Certificates, Postgres};
use store::{Store, StoreError};

/// A server with a certificate for 127.0.0.1, which its own process reads from its data directory.
fn server(certificates: &Certificates) -> Postgres {
    let postgres = Postgres::start().unwrap();
    let (key, certificate) = certificates.signed("server", "IP:127.0.0.1", "2").unwrap();
    for (file, text) in [("server.key", key), ("server.crt", certificate)] {
        let write = format!(
            "do $do$ begin execute format(
                'copy (select regexp_split_to_table($pem${text}$pem$, E''\\n'')) to program %L',
                'umask 077 && cat > ' || current_setting('data_directory') || '/{file}'
            ); end $do$"
        );
        postgres.execute(&write).unwrap();
    }
    postgres.execute("alter system set ssl = on").unwrap();
    postgres.execute("select pg_reload_conf()").unwrap();
    postgres
}

/// Settings are read again a moment later.
async fn until_it_speaks_tls(postgres: &Postgres) {
    let url = &format!("{}?sslmode=require", postgres.url("postgres"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = PgConnection::connect(url).await {
        assert!(Instant::now() < deadline, "{error}: {}", postgres.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sslmode_means_what_it_means_to_libpq() {
    let certificates = match Certificates::new() {
        Ok(certificates) => certificates,
        Err(error) => return stack::not_run(format!("{error:#}")),
    };
    let postgres = server(&certificates);
    let plain = format!("{}?sslmode=disable", postgres.url("postgres"));
    let mut look = PgConnection::connect(&plain).await.unwrap();
    until_it_speaks_tls(&postgres).await;
    let mut is_encrypted = async |parameters: &str| {
        let store = Store::connect(&format!("{}?{parameters}", postgres.url("postgres")), 1).await?;
        store.ping().await?;
        let sessions = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)
            where application_name = 'labelstream'";
        let encrypted: bool = sqlx::query_scalar(sessions).fetch_one(&mut look).await?;
        store.close().await;
        Ok::<bool, StoreError>(encrypted)
    };
    let [ca, other] = ["ca", "other"].map(|name| certificates.authority(name).display().to_string());
    assert!(!is_encrypted("sslmode=disable").await.unwrap());
    for mode in ["prefer", "require"] {
        assert!(is_encrypted(&format!("sslmode={mode}")).await.unwrap(), "{mode}");
    }
    for mode in ["verify-ca", "verify-full"] {
        assert!(is_encrypted(&format!("sslmode={mode}&sslrootcert={ca}")).await.unwrap(), "{mode}");
        let refused = is_encrypted(&format!("sslmode={mode}&sslrootcert={other}")).await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
}
