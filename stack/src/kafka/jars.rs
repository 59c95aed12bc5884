//! Kafka's jars: fetched once with Maven into the user's cache directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::machine::{cache_directory, program};

const VERSION: &str = "4.3.0";

/// What Maven is asked for: the broker, and something to write its log with.
const POM: &str = r#"<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>labelstream</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.2</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.2</version></dependency>
  </dependencies>
</project>
"#;

/// What this machine lacks to run a broker.
pub fn missing() -> anyhow::Result<Option<&'static str>> {
    Ok(if program("java").is_none() {
        Some("Apache Kafka needs Java 17 or newer, and there is no `java` in PATH: install a JRE")
    } else if program("mvn").is_none() && !directory()?.join("lib").is_dir() {
        Some("Apache Kafka is fetched with Maven, and there is no `mvn` in PATH: install maven")
    } else {
        None
    })
}

/// The Java class path of an Apache Kafka broker.
pub fn class_path() -> anyhow::Result<String> {
    if let Some(missing) = missing()? {
        bail!(missing);
    }
    let kafka = directory()?;
    let jars = kafka.join("lib");
    if !jars.is_dir() {
        fetch(&kafka)?;
    }
    let jars = jars.to_str().context("the cache directory's name is not UTF-8")?;
    Ok(format!("{jars}/*"))
}

fn directory() -> anyhow::Result<PathBuf> {
    Ok(cache_directory()?.join(format!("kafka-{VERSION}")))
}

/// Fetches beside `kafka` and renames, so that two runs at a time do not meet.
fn fetch(kafka: &Path) -> anyhow::Result<()> {
    tracing::info!(version = VERSION, "fetching apache kafka, once");
    let cache = kafka.parent().unwrap_or(kafka);
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let download = tempfile::Builder::new().prefix("kafka-").tempdir_in(cache)?;
    fs::write(download.path().join("pom.xml"), POM.replace("VERSION", VERSION))?;
    let maven = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib"])
        .current_dir(&download)
        .stdin(Stdio::null())
        .output()
        .context("cannot run mvn")?;
    let said = String::from_utf8_lossy(&maven.stdout);
    ensure!(maven.status.success(), "mvn could not fetch Apache Kafka:\n{}", said.trim());
    // The other run's files are the same as ours, so losing the race is as good as winning it.
    let renamed = fs::rename(download.path(), kafka);
    ensure!(kafka.join("lib").is_dir(), "cannot put Apache Kafka's jars into {}: {renamed:?}", kafka.display());
    Ok(())
}
