//! The least edit that turns a chain's rules into others.
//!
//! Rules that stay keep their handles and their counters, and the kernel is not asked to look at them again.

use crate::expr::RuleBody;
use std::collections::HashMap;

/// A step. Steps are in an order in which they can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Delete all rules.
    Flush,
    /// Delete the rule with this handle.
    Delete(u64),
    /// Insert the wanted rule of this index before the rule with this handle.
    Insert(usize, u64),
    /// Append the wanted rule of this index.
    Append(usize),
}

/// Beyond this many comparisons a chain is rewritten between its common start and its common end.
const MAX_CELLS: usize = 1 << 20;

/// Compares what is there with what is wanted. Nothing to do if they are equal.
pub fn rules(there: &[(u64, &RuleBody)], wanted: &[RuleBody]) -> Vec<Edit> {
    let kept = common(there, wanted);
    let mut edits = Vec::new();
    if kept.is_empty() {
        if !there.is_empty() {
            edits.push(Edit::Flush);
        }
        edits.extend((0..wanted.len()).map(Edit::Append));
        return edits;
    }
    let mut keep = kept.iter().map(|(t, _)| *t).peekable();
    for (index, (handle, _)) in there.iter().enumerate() {
        if keep.next_if_eq(&index).is_none() {
            edits.push(Edit::Delete(*handle));
        }
    }
    let mut kept = kept.into_iter().peekable();
    for index in 0..wanted.len() {
        if kept.next_if(|(_, w)| *w == index).is_some() {
            continue;
        }
        let next = kept.peek().and_then(|(t, _)| there.get(*t));
        edits.push(next.map_or(Edit::Append(index), |(handle, _)| Edit::Insert(index, *handle)));
    }
    edits
}

/// Pairs of indexes of rules that stay, in order: a longest common subsequence.
fn common(there: &[(u64, &RuleBody)], wanted: &[RuleBody]) -> Vec<(usize, usize)> {
    let mut ids: HashMap<&RuleBody, u32> = HashMap::new();
    let mut id = |body| {
        let next = ids.len() as u32;
        *ids.entry(body).or_insert(next)
    };
    let a: Vec<u32> = there.iter().map(|(_, body)| id(body)).collect();
    let b: Vec<u32> = wanted.iter().map(&mut id).collect();
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a_rest, b_rest) = (a.get(start..).unwrap_or_default(), b.get(start..).unwrap_or_default());
    let end = a_rest.iter().rev().zip(b_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let a_mid = a_rest.get(..a_rest.len() - end).unwrap_or_default();
    let b_mid = b_rest.get(..b_rest.len() - end).unwrap_or_default();
    let mut pairs: Vec<(usize, usize)> = (0..start).map(|i| (i, i)).collect();
    pairs.extend(middle(a_mid, b_mid).into_iter().map(|(i, j)| (start + i, start + j)));
    pairs.extend((0..end).map(|i| (start + a_mid.len() + i, start + b_mid.len() + i)));
    pairs
}

fn middle(a: &[u32], b: &[u32]) -> Vec<(usize, usize)> {
    if a.is_empty() || b.is_empty() || a.len().saturating_mul(b.len()) > MAX_CELLS {
        return Vec::new();
    }
    // lengths[i][j]: the longest common subsequence of a[i..] and b[j..].
    let width = b.len() + 1;
    let mut lengths = vec![0_u32; (a.len() + 1) * width];
    let at = |lengths: &[u32], i: usize, j: usize| lengths.get(i * width + j).copied().unwrap_or(0);
    for (i, x) in a.iter().enumerate().rev() {
        for (j, y) in b.iter().enumerate().rev() {
            let best = if x == y {
                at(&lengths, i + 1, j + 1) + 1
            } else {
                at(&lengths, i + 1, j).max(at(&lengths, i, j + 1))
            };
            if let Some(cell) = lengths.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x == y {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if at(&lengths, i + 1, j) >= at(&lengths, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(n: u8) -> RuleBody {
        RuleBody { exprs: Vec::new(), userdata: vec![n] }
    }

    fn apply(there: &[u8], wanted: &[u8]) -> (Vec<u8>, usize) {
        let bodies: Vec<RuleBody> = there.iter().map(|n| body(*n)).collect();
        let there: Vec<(u64, &RuleBody)> = (100..).zip(&bodies).collect();
        let wanted: Vec<RuleBody> = wanted.iter().map(|n| body(*n)).collect();
        let mut chain: Vec<(u64, u8)> = there.iter().map(|(h, b)| (*h, b.userdata[0])).collect();
        let mut kept = chain.len();
        for edit in rules(&there, &wanted) {
            let find = |chain: &[(u64, u8)], h| chain.iter().position(|(x, _)| *x == h).unwrap();
            match edit {
                Edit::Flush => {
                    kept = 0;
                    chain.clear();
                }
                Edit::Delete(h) => {
                    kept -= 1;
                    chain.remove(find(&chain, h));
                }
                Edit::Insert(i, h) => chain.insert(find(&chain, h), (0, wanted[i].userdata[0])),
                Edit::Append(i) => chain.push((0, wanted[i].userdata[0])),
            }
        }
        (chain.into_iter().map(|(_, n)| n).collect(), kept)
    }

    #[test]
    fn keeps_what_it_can() {
        for (there, wanted, kept) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], 3),
            (&[1, 2, 3], &[1, 4, 3], 2),
            (&[1, 2, 3], &[0, 1, 2, 3, 9], 3),
            (&[1, 2, 3, 4], &[2, 4, 1], 2),
            (&[1, 2], &[3], 0),
            (&[], &[3], 0),
            (&[3], &[], 0),
            (&[5, 5, 5], &[5, 5], 2),
        ] {
            assert_eq!(apply(there, wanted), (wanted.to_vec(), kept), "{there:?} -> {wanted:?}");
        }
        assert!(rules(&[], &[]).is_empty());
    }

    proptest! {
        #[test]
        fn arrives(there in prop::collection::vec(0u8..5, 0..12), wanted in prop::collection::vec(0u8..5, 0..12)) {
            let (got, _) = apply(&there, &wanted);
            prop_assert_eq!(got, wanted);
        }
    }
}
