//! Replies of BIRD's control protocol (BIRD 2 user's guide, "Remote control").
//!
//! A reply is lines of `CCCC text` (last line), `CCCC-text` (more follow) or ` text` (more of the same code).

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Lines with their codes.
    pub lines: Vec<(u16, String)>,
}

/// The reply makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BIRD's reply {line:?} makes no sense")]
pub struct ReplyError {
    /// The line.
    pub line: String,
}

impl Reply {
    /// Takes a complete reply from the start of `buffer`, if there is one, and removes it. Lines that BIRD says of
    /// its own accord (they begin with `+`) are dropped.
    pub fn take(buffer: &mut String) -> Result<Option<Self>, ReplyError> {
        let mut lines = Vec::new();
        let mut used = 0;
        let mut code = 0;
        for line in buffer.split_inclusive('\n') {
            if !line.ends_with('\n') {
                return Ok(None);
            }
            used += line.len();
            let line = line.trim_end_matches(['\n', '\r']);
            if let Some(text) = line.strip_prefix(' ') {
                lines.push((code, text.to_owned()));
                continue;
            }
            if line.starts_with('+') {
                continue;
            }
            let fail = || ReplyError { line: line.to_owned() };
            let (digits, rest) = line.split_at_checked(4).ok_or_else(fail)?;
            code = digits.parse().map_err(|_| fail())?;
            lines.push((code, rest.get(1..).unwrap_or_default().to_owned()));
            if !rest.starts_with('-') {
                buffer.drain(..used);
                return Ok(Some(Self { lines }));
            }
        }
        Ok(None)
    }

    /// The error text if BIRD refused (codes 8000 and 9000).
    pub fn error(&self) -> Option<String> {
        let bad: Vec<&str> =
            self.lines.iter().filter(|(code, _)| *code >= 8000).map(|(_, t)| t.as_str()).collect();
        (!bad.is_empty()).then(|| bad.join("; "))
    }
}

/// One line of `show protocols`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolState {
    /// Name, e.g. `Mesh_10_0_0_2`.
    pub name: String,
    /// Kind, e.g. `BGP`.
    pub kind: String,
    /// `up`, `start`, `down`, ...
    pub state: String,
    /// Since when.
    pub since: String,
    /// More words, e.g. `Established`.
    pub info: String,
}

/// The lines of `show protocols`.
pub fn parse_protocols(reply: &Reply) -> Vec<ProtocolState> {
    reply
        .lines
        .iter()
        .filter(|(code, text)| *code == 1002 && !text.starts_with([' ', '\t']))
        .filter_map(|(_, text)| {
            let mut words = text.split_whitespace();
            let (name, kind, _table, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let date = words.next().unwrap_or_default();
            let mut rest: Vec<&str> = words.collect();
            let mut since = date.to_owned();
            if date.contains('-') && rest.first().is_some_and(|w| w.contains(':')) {
                since = format!("{date} {}", rest.remove(0));
            }
            Some(ProtocolState {
                name: name.to_owned(),
                kind: kind.to_owned(),
                state: state.to_owned(),
                since,
                info: rest.join(" "),
            })
        })
        .collect()
}

/// Routes of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteCount {
    /// The table, `master4` or `master6`.
    pub table: String,
    /// Routes.
    pub routes: u64,
    /// Destinations.
    pub networks: u64,
}

/// The lines of `show route count`.
pub fn parse_route_counts(reply: &Reply) -> Vec<RouteCount> {
    reply.lines.iter().filter(|(code, _)| *code == 1007).filter_map(|(_, text)| route_count(text)).collect()
}

/// `5 of 5 routes for 4 networks in table master4`.
fn route_count(line: &str) -> Option<RouteCount> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [_, "of", routes, "routes", "for", networks, "networks", "in", "table", table] => Some(RouteCount {
            table: (*table).to_owned(),
            routes: routes.parse().ok()?,
            networks: networks.parse().ok()?,
        }),
        _ => None,
    }
}

/// The version in the greeting `BIRD 2.0.12 ready.`.
pub fn parse_greeting(reply: &Reply) -> Option<&str> {
    let (_, text) = reply.lines.iter().find(|(code, _)| *code == 1)?;
    text.strip_prefix("BIRD ")?.split_whitespace().next()
}

/// A text in quotes, as commands want names of files; `None` if it cannot be written: BIRD knows no escapes.
pub fn quote(text: &str) -> Option<String> {
    crate::session::is_writable(text).then(|| format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_reply_at_a_time() {
        let mut buffer =
            String::from("0001 BIRD 2.0.12 ready.\n0002-Reading configuration from x\n0003 Reconfigured\n10");
        assert_eq!(Reply::take(&mut buffer).unwrap().unwrap().lines, [(1, "BIRD 2.0.12 ready.".to_owned())]);
        assert_eq!(Reply::take(&mut buffer).unwrap().unwrap().lines.len(), 2);
        assert_eq!(Reply::take(&mut buffer).unwrap(), None);
        assert_eq!(buffer, "10");
        assert!(Reply::take(&mut "x\n".to_owned()).is_err());
        assert!(Reply::take(&mut "äöüx yz\n".to_owned()).is_err());
    }

    #[test]
    fn counts_greeting_and_quotes() {
        let mut buffer = String::from(
            "0001 BIRD 2.0.12 ready.\n1007-5 of 5 routes for 4 networks in table master4\n\
             \x202 of 2 routes for 2 networks in table master6\n0014 Total: 7 of 7 routes for 6 networks in 2 tables\n",
        );
        assert_eq!(parse_greeting(&Reply::take(&mut buffer).unwrap().unwrap()), Some("2.0.12"));
        let counts = parse_route_counts(&Reply::take(&mut buffer).unwrap().unwrap());
        let count = |table: &str, routes, networks| RouteCount { table: table.to_owned(), routes, networks };
        assert_eq!(counts, [count("master4", 5, 4), count("master6", 2, 2)]);
        assert_eq!(quote("/run/bird.conf").as_deref(), Some("\"/run/bird.conf\""));
        assert_eq!((quote(""), quote("a\"b"), quote("a\nb")), (None, None, None));
    }

    #[test]
    fn errors() {
        let mut buffer = String::from("0002-Reading configuration from x\n8002 x:3:1 syntax error\n");
        assert_eq!(Reply::take(&mut buffer).unwrap().unwrap().error().unwrap(), "x:3:1 syntax error");
    }

    #[test]
    fn protocols() {
        let mut buffer = String::from(
            "2002-Name       Proto      Table      State  Since         Info\n\
             1002-device1    Device     ---        up     2026-11-21 10:00:00  \n\
             \x20Mesh_10_0_0_2 BGP        ---        up     2026-11-21 10:00:01  Established   \n\
             \x20Mesh_10_0_0_3 BGP        ---        start  10:00:01.123  Active        Socket: Connection refused\n0000 \n",
        );
        let states = parse_protocols(&Reply::take(&mut buffer).unwrap().unwrap());
        assert_eq!(states.len(), 3);
        assert_eq!(
            (states[1].since.as_str(), states[1].info.as_str()),
            ("2026-11-21 10:00:01", "Established")
        );
        assert_eq!(states[2].info, "Active Socket: Connection refused");
        assert_eq!(states[2].state, "start");
    }
}
