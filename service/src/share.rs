//! Shares on the command line.

/// Parses a share of something: a number above 0, and at most 1.
///
/// # Errors
/// Anything else.
pub fn share(text: &str) -> Result<f64, String> {
    let share = number(text)?;
    if 0.0 < share && share <= 1.0 { Ok(share) } else { Err("must be above 0 and at most 1".to_owned()) }
}

/// The same where it may be 0: nothing at all.
///
/// # Errors
/// Anything else.
pub fn share_or_none(text: &str) -> Result<f64, String> {
    let share = number(text)?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be between 0 and 1".to_owned()) }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "must be a number, such as 0.2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_or_all_and_only_where_it_may_be_nothing() {
        assert_eq!((share("0.1"), share("1"), share_or_none("0")), (Ok(0.1), Ok(1.0), Ok(0.0)));
        for wrong in ["0", "1.5", "-1", "NaN", "half"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert!(share_or_none("1.5").is_err() && share_or_none("NaN").is_err());
    }
}
