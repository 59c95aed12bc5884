//! Several replicas that train as one.

use trainer::{Base, Hyperparameters, RunOptions, Settings};

use crate::task::{Run, dataset, options, plain_settings, settings, weights};

fn replica(rank: usize, threads: usize, address: &str) -> RunOptions {
    let replica = trainer::Replica { rank, count: 2, address: address.to_owned(), local_rank: rank };
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
