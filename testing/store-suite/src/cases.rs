//! The cases, by what they are about.

pub mod basic;
pub mod survival;
pub mod watching;
pub mod writing;
