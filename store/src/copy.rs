//! The binary form of `copy`.
