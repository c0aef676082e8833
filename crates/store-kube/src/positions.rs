//! Where watches over several kinds have got to.
//!
//! Such a watch gets the changes of each kind in order, but those of different kinds as they come. The revision of the
//! last change does not say how far the other kinds are, so a watch that goes on from there must start each kind
//! where it was.

use std::collections::VecDeque;

/// How many watches are remembered; more than any program has.
const REMEMBERED: usize = 64;

/// Position of each kind, in the order of the kinds of the prefix.
pub(crate) type Marks = Vec<u64>;

#[derive(Debug)]
struct Slot {
    id: u64,
    prefix: String,
    revision: u64,
    marks: Marks,
}

/// The last position of every watch.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    slots: VecDeque<Slot>,
    next: u64,
}

impl Positions {
    /// A watch starts; answers its number.
    pub(crate) fn open(&mut self, prefix: &str, revision: u64, marks: &[u64]) -> u64 {
        self.next += 1;
        if self.slots.len() >= REMEMBERED {
            self.slots.pop_front();
        }
        let slot = Slot { id: self.next, prefix: prefix.to_owned(), revision, marks: marks.to_vec() };
        self.slots.push_back(slot);
        self.next
    }

    /// A watch has delivered everything up to these marks, and `revision` last.
    pub(crate) fn moved(&mut self, id: u64, revision: u64, marks: &[u64]) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
            slot.revision = revision;
            marks.clone_into(&mut slot.marks);
        }
    }

    /// Where the kinds were when a watch of the prefix had delivered `revision` last.
    pub(crate) fn at(&self, prefix: &str, revision: u64) -> Option<Marks> {
        let last = self.slots.iter().rev().find(|slot| slot.prefix == prefix && slot.revision == revision);
        last.map(|slot| slot.marks.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_of_a_watch_is_found_by_what_it_delivered() {
        let mut positions = Positions::default();
        let watch = positions.open("/a/", 10, &[10, 10]);
        assert_eq!(positions.at("/a/", 10), Some(vec![10, 10]));
        positions.moved(watch, 14, &[14, 11]);
        assert_eq!(positions.at("/a/", 14), Some(vec![14, 11]));
        assert_eq!((positions.at("/a/", 10), positions.at("/b/", 14)), (None, None));
        for n in 0..REMEMBERED as u64 {
            positions.open("/c/", n, &[n]);
        }
        assert_eq!(positions.at("/a/", 14), None, "the oldest is forgotten");
        positions.moved(watch, 15, &[15, 15]);
        assert_eq!(positions.at("/c/", 7), Some(vec![7]));
    }
}
