//! Which items do selectors select? Kept up to date as labels and selectors change.
//!
//! An *item* (an endpoint, a network set) has labels of its own and *parents* (profiles) whose labels it inherits:
//! its own win, then those of the first parent that has the label. [`Index`] holds items, parents and selectors and
//! says which matches started or stopped with each change.
//!
//! What makes it cheap:
//!
//! * Items with the same labels and parents form a *class*; selectors are evaluated once per class.
//! * Each selector is filed under one label value (or label) that it cannot match without, the rarest one known, so a
//!   changed item meets only selectors that could match it, and a new selector only classes that it could match.
//! * Label names and values are interned; evaluation compares numbers.
//!
//! The cost of a change follows the number of matches that could change, not the number of items or selectors.
//!
//! Nothing here knows addresses, ports or policies.

mod index;
mod names;
mod program;
mod symbols;

pub use index::{Event, Index};
