//! The page over a real Postgres: asked as a program asks it, and in a real Chromium.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod browser;
mod site;

mod access;
mod deciding;
mod hostile;
mod labeling;
mod large;
mod looks;
mod open_page;
mod views;
