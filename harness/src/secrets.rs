//! Secrets in every variable that may hold one, and a look at everything a program prints.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Http;

/// What every secret contains.
const MARK: &str = "hunter2";

/// How long a program that goes on by itself is listened to.
const LISTENED: Duration = Duration::from_secs(2);

/// Database URLs with the mark in the password: a server that does not answer, and every way to
/// write a password that needs encoding and has none.
const DATABASES: [&str; 7] = [
    "postgres://me:hunter2@127.0.0.1:1/db",
    "postgres://me:a@hunter2@127.0.0.1:1/db",
    "postgres://me:a/hunter2@127.0.0.1:1/db",
    "postgres://me:1/a?hunter2=x@127.0.0.1:1/db",
    "postgres://me:hunter2%zz@127.0.0.1:1/db",
    "host=127.0.0.1 port=1 user=me password=a hunter2",
    "mysql://me:hunter2@127.0.0.1:1/db",
];

/// Checks that a program shows no secret: in the help of any of its commands, when it is used
/// wrongly, and when it runs against servers that are not there, with everything logged.
pub fn check_secrets(program: impl Fn() -> Command) {
    let marked = |database: &str| {
        let mut command = program();
        command.env("LABELSTREAM_DATABASE_URL", database).env("LABELSTREAM_LOG", "trace");
        command.env("LABELSTREAM_KAFKA_PROPERTY", "sasl.password=hunter2;ssl.key.password=hunter2;acks=hunter2");
        for variable in [
            "PGPASSWORD",
            "LABELSTREAM_KAFKA_SASL_PASSWORD",
            "LABELSTREAM_KAFKA_SSL_KEY_PASSWORD",
            "LABELSTREAM_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
            "LABELSTREAM_TOKEN",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ] {
            command.env(variable, MARK);
        }
        command
    };
    for path in paths(&program) {
        for last in [&["--help"][..], &["-h"], &["--no-such-flag"], &["postgres://me:hunter2@host/db"]] {
            check(marked(DATABASES[0]).args(&path).args(last));
        }
        // What listens or writes does so where it disturbs nobody.
        if path.first().is_none_or(|command| !["demo", "bench"].contains(&command.as_str())) {
            DATABASES.iter().for_each(|database| check(marked(database).args(&path)));
        }
    }
}

/// Checks a service that goes on: with its pages.
pub fn check_secrets_of_a_service(program: impl Fn() -> Command) {
    check_secrets(&program);
    for database in DATABASES {
        let http = Http::on_a_free_port();
        let mut command = program();
        command.args(["--http", &http.address.to_string(), "--checkpoints", "s3://bucket/prefix"]);
        command.env("LABELSTREAM_DATABASE_URL", database).env("LABELSTREAM_LOG", "trace");
        command.env("LABELSTREAM_KAFKA_SASL_PASSWORD", MARK).env("LABELSTREAM_TOKEN", MARK);
        for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD"] {
            command.env(variable, MARK);
        }
        let pages = ["/metrics", "/health/live", "/health/ready"];
        let look = || pages.iter().for_each(|page| refuse(&http.get(page).1, page));
        check_while(&mut command, look);
    }
}

/// Every command of the program, as its help lists them.
fn paths(program: &impl Fn() -> Command) -> Vec<Vec<String>> {
    let mut paths = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        let help = program().args(&path).arg("--help").output().expect("the program can be run");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names = commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        paths.extend(names.map(|name| [path.clone(), vec![name.to_owned()]].concat()));
        next += 1;
    }
    paths
}

fn check(command: &mut Command) {
    check_while(command, || ());
}

fn check_while(command: &mut Command, look: impl FnOnce()) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be run");
    let mut pipes: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
    let said = std::thread::scope(|scope| {
        let readers = pipes.each_mut().map(|pipe| {
            scope.spawn(move || {
                let mut said = Vec::new();
                // What a killed program leaves is read all the same.
                let _ = pipe.read_to_end(&mut said);
                String::from_utf8_lossy(&said).into_owned()
            })
        });
        let begun = Instant::now();
        let mut look = Some(look);
        while child.try_wait().expect("a child can be asked").is_none() {
            if begun.elapsed() > LISTENED {
                look.take().into_iter().for_each(|look| look());
                // It may have ended meanwhile.
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        readers.map(|reader| reader.join().expect("reading does not panic"))
    });
    said.iter().for_each(|said| refuse(said, &format!("{command:?}")));
}

fn refuse(said: &str, by: &str) {
    let shown = said.lines().find(|line| line.contains(MARK));
    assert!(shown.is_none(), "{by} shows a secret: {}", shown.unwrap_or_default());
}
