//! Where a position lies in what Kafka has.

use super::*;

#[test]
fn a_position_is_inside_below_or_beyond_what_kafka_has() {
    let place = |position| Place::of(NextOffset(position), (10, 20));
    assert_eq!(place(9), Place::Below { low: NextOffset(10) });
    assert_eq!(place(10), Place::Inside);
    assert_eq!(place(20), Place::Inside);
    assert_eq!(place(21), Place::Beyond { high: 20 });
    assert_eq!(Place::of(NextOffset(0), (0, 0)), Place::Inside);
}
