//! One variable of the environment that candle reads.
#![expect(unsafe_code, reason = "the environment is the only way to tell candle, which reads it once")]

/// candle spreads additions over a pool of its own, whose threads spin for work and take turns
/// behind one lock. We have a thread on every core already, each with its share of the texts: in
/// training the pool cost a fifth of the processor.
///
/// To be called before the program has a second thread.
pub(crate) fn keep_to_one_thread() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: `start::main` calls this first, while the program has one thread.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}
