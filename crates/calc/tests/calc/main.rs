//! The calculation as a whole: cases with a known answer, and laws over random histories.

mod cases;
mod dataplane;
mod properties;
mod world;
