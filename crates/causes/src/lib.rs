//! An error with its causes, as one line for people.

use std::error::Error;

/// The error and what caused it, from the outside in, each told once: `cannot read x: permission denied`.
///
/// A cause whose words are already there (many libraries repeat them in their own message) is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let deep =
            |outer| Told(outer, Some(Box::new(Told("no route", Some(Box::new(Told("os error 113", None)))))));
        assert_eq!(chain(&deep("cannot connect")), "cannot connect: no route: os error 113");
        assert_eq!(chain(&deep("cannot connect: no route")), "cannot connect: no route: os error 113");
        assert_eq!(chain(&Told("alone", None)), "alone");
    }
}
