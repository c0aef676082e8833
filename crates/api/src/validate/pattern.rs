//! Regular expressions as Go reads them: the syntax of RE2.
//!
//! Only tells whether a pattern can be read. It accepts and refuses what the daemons that share the datastore do, which
//! is not what Rust's libraries do: there is no flag `x`, no nested class, repetition ends at 1000, a lone `{` is a brace.

use std::iter::Peekable;
use std::str::Chars;

/// So often may something be repeated, nested repetitions multiplied.
const MAX_REPEAT: u32 = 1000;
/// Groups may be nested so deep.
const MAX_DEPTH: usize = 1000;
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// Categories and scripts of Unicode, in lower case, without what stands between the words.
const PROPERTIES: &str = "\
    adlam ahom anatolianhieroglyphs any arabic armenian ascii assigned avestan balinese bamum bassavah batak \
    bengali bhaiksuki bopomofo brahmi braille buginese buhid c canadianaboriginal carian casedletter \
    caucasianalbanian cc cf chakma cham cherokee chorasmian closepunctuation cn cntrl co combiningmark common \
    connectorpunctuation control coptic cs cuneiform currencysymbol cypriot cyprominoan cyrillic dashpunctuation \
    decimalnumber deseret devanagari digit divesakuru dogra duployan egyptianhieroglyphs elbasan elymaic \
    enclosingmark ethiopic finalpunctuation format georgian glagolitic gothic grantha greek gujarati gunjalagondi \
    gurmukhi han hangul hanifirohingya hanunoo hatran hebrew hiragana imperialaramaic inherited initialpunctuation \
    inscriptionalpahlavi inscriptionalparthian javanese kaithi kannada katakana kawi kayahli kharoshthi \
    khitansmallscript khmer khojki khudawadi l lao latin lc lepcha letter letternumber limbu lineara linearb \
    lineseparator lisu ll lm lo lowercaseletter lt lu lycian lydian m mahajani makasar malayalam mandaic \
    manichaean marchen mark masaramgondi mathsymbol mc me medefaidrin meeteimayek mendekikakui meroiticcursive \
    meroitichieroglyphs miao mn modi modifierletter modifiersymbol mongolian mro multani myanmar n nabataean \
    nagmundari nandinagari nd newa newtailue nko nl no nonspacingmark number nushu nyiakengpuachuehmong ogham \
    olchiki oldhungarian olditalic oldnortharabian oldpermic oldpersian oldsogdian oldsoutharabian oldturkic \
    olduyghur openpunctuation oriya osage osmanya other otherletter othernumber otherpunctuation othersymbol p \
    pahawhhmong palmyrene paragraphseparator paucinhau pc pd pe pf phagspa phoenician pi po privateuse ps \
    psalterpahlavi punct punctuation rejang runic s samaritan saurashtra sc separator sharada shavian siddham \
    signwriting sinhala sk sm so sogdian sorasompeng soyombo spaceseparator spacingmark sundanese surrogate \
    sylotinagri symbol syriac tagalog tagbanwa taile taitham taiviet takri tamil tangsa tangut telugu thaana thai \
    tibetan tifinagh tirhuta titlecaseletter toto ugaritic unassigned uppercaseletter vai vithkuqi wancho \
    warangciti yezidi yi z zanabazarsquare zl zp zs";

/// Whether a pattern can be read; if not, why.
pub fn check(pattern: &str) -> Result<(), String> {
    let mut parser = Parser { rest: pattern.chars().peekable(), groups: Vec::new() };
    parser.alternation(0)?;
    match parser.rest.next() {
        None => Ok(()),
        Some(_) => Err("a \")\" closes nothing".to_owned()),
    }
}

struct Parser<'p> {
    rest: Peekable<Chars<'p>>,
    /// Names of groups so far.
    groups: Vec<String>,
}

/// What a repetition would repeat.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    /// How often it is repeated already, inside.
    Item(u32),
    Repetition(u32),
}

impl Last {
    /// After something that holds nothing: a repetition may now be repeated.
    fn again(self) -> Self {
        match self {
            Self::Repetition(times) => Self::Item(times),
            other => other,
        }
    }
}

impl Parser<'_> {
    fn take(&mut self, c: char) -> bool {
        self.rest.next_if_eq(&c).is_some()
    }

    /// Up to the end or a closing parenthesis; answers how often the most repeated part is repeated.
    fn alternation(&mut self, depth: usize) -> Result<u32, String> {
        if depth > MAX_DEPTH {
            return Err("groups are nested too deep".to_owned());
        }
        let (mut most, mut last) = (1, Last::Nothing);
        while let Some(c) = self.rest.next_if(|c| *c != ')') {
            last = match c {
                '|' => Last::Nothing,
                '(' => self.group(last, depth)?,
                '[' => {
                    self.class()?;
                    Last::Item(1)
                }
                '\\' => self.escape(last)?,
                '*' | '+' | '?' => self.repeat(last, &c.to_string(), 1)?,
                '{' => match self.bounds() {
                    None => Last::Item(1),
                    Some(bounds) => {
                        let times = bounds?;
                        self.repeat(last, "{}", times)?
                    }
                },
                _ => Last::Item(1),
            };
            if let Last::Item(times) | Last::Repetition(times) = last {
                most = most.max(times);
            }
        }
        Ok(most)
    }

    /// After an opening parenthesis.
    fn group(&mut self, last: Last, depth: usize) -> Result<Last, String> {
        if self.take('?') {
            let named = if self.take('P') {
                if !self.take('<') {
                    return Err("(?P must be followed by <name>".to_owned());
                }
                true
            } else {
                self.take('<')
            };
            if named {
                self.name()?;
            } else if self.flags()? == ')' {
                return Ok(last.again());
            }
        }
        let inside = self.alternation(depth + 1)?;
        if self.take(')') { Ok(Last::Item(inside)) } else { Err("a \"(\" is not closed".to_owned()) }
    }

    fn name(&mut self) -> Result<(), String> {
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if name.is_empty() || !self.take('>') {
            return Err(
                "the name of a group is made of letters, digits and \"_\", and ends with \">\"".to_owned()
            );
        }
        if self.groups.contains(&name) {
            return Err(format!("two groups are named {name:?}"));
        }
        self.groups.push(name);
        Ok(())
    }

    /// Flags after `(?`; answers what ended them.
    fn flags(&mut self) -> Result<char, String> {
        let (mut negated, mut any) = (false, false);
        loop {
            match self.rest.next() {
                Some('i' | 'm' | 's' | 'U') => any = true,
                Some('-') if !negated => (negated, any) = (true, false),
                Some(end @ (':' | ')')) if any || !negated => return Ok(end),
                _ => {
                    return Err(
                        "after \"(?\" only the flags i, m, s and U, :, or <name> may stand".to_owned()
                    );
                }
            }
        }
    }

    fn repeat(&mut self, last: Last, sign: &str, times: u32) -> Result<Last, String> {
        // The lazy form.
        self.take('?');
        match last {
            Last::Nothing => Err(format!("{sign} has nothing to repeat")),
            Last::Repetition(_) => Err(format!("{sign} repeats a repetition; use a group")),
            Last::Item(inside) => match inside.saturating_mul(times.max(1)) {
                total if total > MAX_REPEAT => Err(format!("repeats more than {MAX_REPEAT} times")),
                total => Ok(Last::Repetition(total)),
            },
        }
    }

    /// `n}`, `n,}` or `n,m}`; nothing if the brace is just a brace.
    fn bounds(&mut self) -> Option<Result<u32, String>> {
        let mut ahead = self.rest.clone();
        let low = number(&mut ahead)?;
        let high = if ahead.next_if_eq(&',').is_none() {
            Some(low)
        } else if ahead.peek() == Some(&'}') {
            None
        } else {
            Some(number(&mut ahead)?)
        };
        ahead.next_if_eq(&'}')?;
        self.rest = ahead;
        let most = high.unwrap_or(low);
        Some(if low > MAX_REPEAT || most > MAX_REPEAT {
            Err(format!("repeats more than {MAX_REPEAT} times"))
        } else if most < low {
            Err("the most repetitions are fewer than the least".to_owned())
        } else {
            Ok(most)
        })
    }

    /// After a backslash outside of a class.
    fn escape(&mut self, last: Last) -> Result<Last, String> {
        match self.rest.peek() {
            Some('Q') => {
                self.rest.next();
                Ok(self.quoted(last))
            }
            Some('A' | 'b' | 'B' | 'z' | 'd' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.rest.next();
                Ok(Last::Item(1))
            }
            Some('p' | 'P') => {
                self.rest.next();
                self.property()?;
                Ok(Last::Item(1))
            }
            _ => self.escaped().map(|_| Last::Item(1)),
        }
    }

    /// Literal text up to `\E` or the end.
    fn quoted(&mut self, last: Last) -> Last {
        let mut last = last.again();
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.take('E') {
                break;
            }
            last = Last::Item(1);
        }
        last
    }

    /// `N`, `{Greek}` or `{^Greek}`.
    fn property(&mut self) -> Result<(), String> {
        let mut name = String::new();
        if self.take('{') {
            loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some(c) => name.push(c),
                    None => return Err("a \"\\p{\" is not closed".to_owned()),
                }
            }
        } else {
            name.extend(self.rest.next());
        }
        let plain = name.strip_prefix('^').unwrap_or(&name);
        let word = plain.to_lowercase().replace([' ', '_', '-'], "");
        if !word.is_empty() && PROPERTIES.split_whitespace().any(|known| known == word) {
            Ok(())
        } else {
            Err(format!("{plain:?} is no class of Unicode"))
        }
    }

    /// One character after a backslash.
    fn escaped(&mut self) -> Result<char, String> {
        let octal = |c: &char| ('0'..='7').contains(c);
        let Some(c) = self.rest.next() else { return Err("a backslash stands at the end".to_owned()) };
        let code = match c {
            '1'..='7' if !self.rest.peek().is_some_and(octal) => None,
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.next_if(octal) else { break };
                    code = code * 8 + digit.to_digit(8).unwrap_or(0);
                }
                Some(code)
            }
            'x' => self.hexadecimal(),
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => Some(u32::from(match c {
                'a' => '\u{7}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                _ => '\u{b}',
            })),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c.into()),
            _ => None,
        };
        code.and_then(char::from_u32).ok_or_else(|| format!("\"\\{c}\" means nothing"))
    }

    /// `41` or `{1F600}`.
    fn hexadecimal(&mut self) -> Option<u32> {
        if self.take('{') {
            let mut code = self.rest.next()?.to_digit(16)?;
            while !self.take('}') {
                code = code.checked_mul(16)?.checked_add(self.rest.next()?.to_digit(16)?)?;
            }
            return Some(code);
        }
        Some(self.rest.next()?.to_digit(16)? * 16 + self.rest.next()?.to_digit(16)?)
    }

    /// After an opening bracket.
    fn class(&mut self) -> Result<(), String> {
        self.take('^');
        let mut first = true;
        loop {
            if !first && self.take(']') {
                return Ok(());
            }
            first = false;
            if self.named_class()? || self.short_class()? {
                continue;
            }
            let low = self.class_char()?;
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
                self.rest = ahead;
                if self.class_char()? < low {
                    return Err("a range in brackets ends before it begins".to_owned());
                }
            }
        }
    }

    /// `[:alpha:]` in brackets.
    fn named_class(&mut self) -> Result<bool, String> {
        let ahead: String = self.rest.clone().collect();
        let Some((name, _)) = ahead.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("{name:?} is no class of characters"));
        }
        for _ in 0..name.chars().count() + 4 {
            self.rest.next();
        }
        Ok(true)
    }

    /// `\d`, `\pL` and the like in brackets.
    fn short_class(&mut self) -> Result<bool, String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('\\') {
            return Ok(false);
        }
        match ahead.next() {
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => self.rest = ahead,
            Some('p' | 'P') => {
                self.rest = ahead;
                self.property()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn class_char(&mut self) -> Result<char, String> {
        match self.rest.next() {
            None => Err("a \"[\" is not closed".to_owned()),
            Some('\\') => self.escaped(),
            Some(c) => Ok(c),
        }
    }
}

/// A number without leading zeros; what is too large is one more than may be repeated.
fn number(rest: &mut Peekable<Chars<'_>>) -> Option<u32> {
    let mut digits = String::new();
    while let Some(c) = rest.next_if(char::is_ascii_digit) {
        digits.push(c);
    }
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some(digits.parse().unwrap_or(u32::MAX).min(MAX_REPEAT + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_go_reads() {
        for good in [
            "",
            "eth0",
            "^(en|wl)[Pcopsvx].*$",
            "a{1000}",
            "a{2,}",
            "a{2,3}?",
            "{",
            "a{,2}",
            "a{01}",
            "a{x}",
            "}",
            "(?i)x",
            "(?-s:x)",
            "(?)",
            "(?is-mU:x)",
            "(?P<n>a)(?<m>b)",
            "[]a]",
            "[^]a]",
            "[a-]",
            "[-a]",
            "[[a]",
            "[a&&b]",
            "[[:alpha:]x]",
            "[\\d\\pL]",
            "\\pL",
            "\\p{Greek}",
            "\\p{Uppercase_Letter}",
            "\\P{^Greek}",
            "\\Qa(\\E*",
            "\\x41",
            "\\x{1F600}",
            "\\012",
            "\\_\\-",
            "\\bx\\z",
            "()",
            "(|a)",
            "^*",
            "(a{10}){100}",
            "a*?",
            "|",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "(",
            ")",
            "a)",
            "(?x)a",
            "(?=a)",
            "(?i",
            "(?-)",
            "(?P=n)",
            "(?<n>a)(?<n>b)",
            "(?<>a)",
            "[",
            "[]",
            "[^]",
            "[b-a]",
            "[[:nope:]]",
            "a**",
            "a*+",
            "a{2}{3}",
            "a*??",
            "*",
            "(*a)",
            "|*",
            "(?i)*",
            "a{1001}",
            "a{2,1}",
            "(a{100}){11}",
            "\\",
            "\\1",
            "\\8",
            "\\C",
            "\\u0041",
            "\\x4",
            "\\x{110000}",
            "\\pX",
            "\\é",
            "\\p{Nope}",
            "[\\b]",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "[a-c(){}\\[\\]*+?|\\\\^$:<>PQE0-9,-]{0,24}") {
            let _ = check(&text);
            // What holds no sign of the syntax is always good.
            let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
            prop_assert_eq!(check(&plain), Ok(()));
        }
    }
}
