//! Which etcd can be asked for progress.

/// True if a report of progress asked for by a watch is true.
///
/// Until 3.4.24 and 3.5.7 the report could overtake changes that were still on their way
/// (<https://github.com/etcd-io/etcd/issues/15220>), so that it said too much. Those versions are never asked; a watch
/// then reports progress only when etcd does so by itself.
pub(crate) fn has_true_progress(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor)), Some(Some(patch))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    match (major, minor) {
        (0..3, _) | (3, 0..4) => false,
        (3, 4) => patch >= 25,
        (3, 5) => patch >= 8,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_report_too_early_are_not_asked() {
        for version in ["3.6.0", "3.5.8", "3.5.21", "3.4.25", "3.4.30-debian", "4.0.0", "3.7.0-alpha.0"] {
            assert!(has_true_progress(version), "{version}");
        }
        for version in ["3.4.23", "3.5.7", "3.3.99", "2.3.8", "", "not provided", "3.5"] {
            assert!(!has_true_progress(version), "{version}");
        }
    }
}
