//! Does a key's usage leave its own baseline?

pub mod score;
