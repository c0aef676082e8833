//! HTTP requests against the methods and paths of a rule.
//!
//! Paths are compared as a server would see them that decodes once and resolves dots. A path that servers read in
//! different ways matches nothing, so that no rule lets through what it did not name.

use std::borrow::Cow;

/// A path that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule<'a> {
    /// This path alone.
    Exact(&'a str),
    /// This path, and all below it.
    Prefix(&'a str),
}

/// A request whose path is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path of a request must begin with \"/\", found {path:?}")]
pub struct RequestPathError {
    /// The path as given.
    pub path: String,
}

/// True if a rule with these methods applies to a request. No methods, `*`, or a request without one match.
pub fn matches_method<'a>(methods: impl IntoIterator<Item = &'a str>, request: Option<&str>) -> bool {
    let Some(request) = request else { return true };
    let mut methods = methods.into_iter().peekable();
    methods.peek().is_none() || methods.any(|method| method == "*" || method == request)
}

/// True if a rule with these paths applies to a request. No paths, or a request without one match.
pub fn matches_path(paths: &[PathRule<'_>], request: Option<&str>) -> Result<bool, RequestPathError> {
    let (false, Some(request)) = (paths.is_empty(), request) else { return Ok(true) };
    if !request.starts_with('/') {
        return Err(RequestPathError { path: request.to_owned() });
    }
    let Some(request) = normalize_path(request) else { return Ok(false) };
    Ok(paths.iter().any(|path| match path {
        PathRule::Exact(path) => normalize_path(path).is_some_and(|path| path == request),
        PathRule::Prefix(path) => normalize_path(path).is_some_and(|path| is_below(&request, &path)),
    }))
}

/// A path without query, escapes, parameters of segments, dots and needless slashes. `None` if servers may disagree
/// about what it is: it is not absolute, badly escaped, escaped twice, or holds a zero byte.
pub fn normalize_path(path: &str) -> Option<String> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let decoded = decode(path.get(..end)?)?;
    if decoded.contains(&0) || is_escaped_again(&decoded) {
        return None;
    }
    // Servers on Windows take both kinds of slashes.
    let decoded: Vec<u8> = decoded.iter().map(|&b| if b == b'\\' { b'/' } else { b }).collect();
    let decoded = decoded.strip_prefix(b"/")?;
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|&b| b == b'/') {
        // Servlets cut off `;key=value` before they look at dots.
        match segment.split(|&b| b == b';').next().unwrap_or_default() {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let path = segments.join(&b"/"[..]);
    Some(format!("/{}", String::from_utf8_lossy(&path)))
}

fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Decodes `%xx`; `None` if what follows a `%` is no number.
fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(Cow::Owned(decoded))
}

/// True if a dot or slash is still escaped: a server that decodes twice would see another path.
fn is_escaped_again(decoded: &[u8]) -> bool {
    decoded.windows(3).any(|w| {
        matches!(w, [b'%', high, low] if matches!(
            (high, low.to_ascii_lowercase()),
            (b'2', b'e' | b'f') | (b'5', b'c')
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn methods() {
        for (rule, request, want) in [
            (&["GET", "HEAD"][..], Some("HEAD"), true),
            (&["GET"], Some("get"), false),
            (&["*"], Some("PATCH"), true),
            (&[], Some("PATCH"), true),
            (&["GET"], None, true),
        ] {
            assert_eq!(matches_method(rule.iter().copied(), request), want, "{rule:?} {request:?}");
        }
    }

    #[test]
    fn paths_in_their_plain_form() {
        for (path, want) in [
            ("/", Some("/")),
            ("//a///b/", Some("/a/b")),
            ("/a/./b/../c?x=/../..#y", Some("/a/c")),
            ("/../../a", Some("/a")),
            ("/a%2Fb%20c", Some("/a/b c")),
            ("/a\\..\\b", Some("/b")),
            ("/a;v=1/..;x/b;w", Some("/b")),
            ("/;x/a", Some("/a")),
            ("/%C3%A4", Some("/ä")),
            ("%2Fa", Some("/a")),
            ("\\a", Some("/a")),
            ("/a%252e", None),
            ("/a%255C", None),
            ("/a%2525", Some("/a%25")),
            ("/a%00b", None),
            ("/a%2", None),
            ("/a%zz", None),
            ("a/b", None),
            ("", None),
            ("?/a", None),
        ] {
            assert_eq!(normalize_path(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn paths_match_whole_segments() {
        let shop = [PathRule::Prefix("/shop/"), PathRule::Exact("/help")];
        for (request, want) in [
            ("/shop", true),
            ("/shop/%63art?item=1", true),
            ("/shopping", false),
            ("/shop/../admin", false),
            ("/help/", true),
            ("/help/me", false),
            ("/shop%00", false),
        ] {
            assert_eq!(matches_path(&shop, Some(request)), Ok(want), "{request}");
        }
        assert_eq!(matches_path(&[PathRule::Prefix("/")], Some("/any")), Ok(true));
        assert_eq!(matches_path(&[PathRule::Exact("%zz")], Some("/any")), Ok(false));
        assert_eq!(matches_path(&shop, None), Ok(true));
        assert_eq!(matches_path(&[], Some("odd")), Ok(true));
        assert_eq!(
            matches_path(&shop, Some("odd")).map_err(|e| e.to_string()),
            Err("the path of a request must begin with \"/\", found \"odd\"".to_owned())
        );
    }

    proptest! {
        #[test]
        fn a_plain_path_has_no_way_out(path in "/[a-z.%2ef5c/;\\\\?#]{0,24}") {
            if let Some(plain) = normalize_path(&path) {
                prop_assert!(plain.starts_with('/'));
                prop_assert!(plain == "/" || plain[1..].split('/').all(|s| !matches!(s, "" | "." | "..")), "{}", plain);
                prop_assert!(!plain.contains('\\'));
            }
        }
    }
}
