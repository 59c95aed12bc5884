//! Several replicas that train as one.

use trainer::{Base, Hyperparameters, RunOptions, Settings};

use crate::task::{Run, dataset, options, plain_settings, settings, weights};

fn replica(rank: usize, threads: usize, address: &str) -> RunOptions {
    let (address, token) = (address.to_owned(), "of this run".into());
    let replica = trainer::Replica { rank, count: 2, address, local_rank: rank, token };
    RunOptions { threads, replica: Some(replica), ..options() }
}

#[test]
fn two_replicas_with_half_of_each_batch_take_the_steps_of_one() {
    let data = dataset(72);
    let settings = Hyperparameters { batch_size: 16, epochs: 2, eval_steps: Some(3), ..settings() };
    let one = Run::new(&settings, &data, &Base::NewBert);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let replica = |rank| Settings { hyperparameters: settings.clone(), options: replica(rank, 1, &free) };
    let follower = std::thread::scope(|scope| {
        let follower = scope.spawn(|| trainer::follow(&replica(1), &data, &Base::NewBert));
        let two = Run::with(&replica(0), &data, &Base::NewBert);
        // Two replicas of one thread add up the same shards in the same order as one of two
        // threads: not a bit differs.
        assert!(weights(&two.out()) == weights(&one.out()), "two replicas went another way than one");
        assert_eq!(two.losses, one.losses);
        follower.join().unwrap()
    });
    follower.unwrap();
}

/// Somebody who says nothing, one who talks HTTP, one who sends without end, and one with another
/// token come first; the run takes none of them, and goes on.
#[test]
fn strangers_at_the_port_are_turned_away_and_the_run_goes_on() {
    use std::io::Write as _;

    let data = dataset(32);
    let settings = Hyperparameters { batch_size: 16, epochs: 1, ..settings() };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let of = |rank| Settings { hyperparameters: settings.clone(), options: replica(rank, 1, &free) };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| trainer::fit(&of(0), &data, &Base::NewBert, &out, &mut |_| Ok(())));
        let connect = || loop {
            match std::net::TcpStream::connect(&free) {
                Ok(stream) => return stream,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        };
        let silent = connect();
        connect().write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        connect().write_all(&[0xff; 4096]).unwrap();
        let mut other = of(1);
        other.options.replica.as_mut().unwrap().token = "of another run".into();
        let refused = trainer::follow(&other, &data, &Base::NewBert).unwrap_err();
        assert!(format!("{refused:#}").contains("another token"), "{refused:#}");
        trainer::follow(&of(1), &data, &Base::NewBert).unwrap();
        first.join().unwrap().unwrap();
        drop(silent);
    });
}

#[test]
fn a_replica_with_other_settings_or_threads_is_sent_away() {
    for (learning_rate, threads) in [(1e-4, 2), (1e-3, 1)] {
        is_sent_away(learning_rate, threads);
    }
}

/// Beside a first replica with the rate 0.001 and two threads.
fn is_sent_away(learning_rate: f64, threads: usize) {
    let data = dataset(32);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let replica = |rank, learning_rate, threads| Settings {
        hyperparameters: Hyperparameters { learning_rate, ..plain_settings() },
        options: replica(rank, threads, &free),
    };
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| trainer::follow(&replica(1, learning_rate, threads), &data, &Base::NewBert));
        let out = directory.path().join("out");
        let error =
            trainer::fit(&replica(0, 1e-3, 2), &data, &Base::NewBert, &out, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("replica 1 has other settings"), "{error}");
        assert!(follower.join().unwrap().is_err());
    });
}
