//! Text to tokens.

use crate::error::{ParseError, Problem};
use std::fmt;

/// The longest label name that a selector may contain, in bytes.
pub const MAX_LABEL_LENGTH: usize = 512;

/// A token and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind<'a>,
    /// Byte offset in the selector.
    pub offset: usize,
}

/// Kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the grammar in lib.rs says what each is")]
pub enum TokenKind<'a> {
    Label(&'a str),
    StringLiteral(&'a str),
    Has(&'a str),
    LBrace,
    RBrace,
    Comma,
    Eq,
    Ne,
    In,
    Not,
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    All,
    Global,
    LParen,
    RParen,
    And,
    Or,
    Eof,
}

impl<'a> TokenKind<'a> {
    /// Calico's name of the kind, as `TokStringLiteral`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Label(_) => "TokLabel",
            Self::StringLiteral(_) => "TokStringLiteral",
            Self::Has(_) => "TokHas",
            Self::LBrace => "TokLBrace",
            Self::RBrace => "TokRBrace",
            Self::Comma => "TokComma",
            Self::Eq => "TokEq",
            Self::Ne => "TokNe",
            Self::In => "TokIn",
            Self::Not => "TokNot",
            Self::NotIn => "TokNotIn",
            Self::Contains => "TokContains",
            Self::StartsWith => "TokStartsWith",
            Self::EndsWith => "TokEndsWith",
            Self::All => "TokAll",
            Self::Global => "TokGlobal",
            Self::LParen => "TokLParen",
            Self::RParen => "TokRParen",
            Self::And => "TokAnd",
            Self::Or => "TokOr",
            Self::Eof => "TokEOF",
        }
    }

    /// The label or the text of a string.
    pub fn value(self) -> Option<&'a str> {
        match self {
            Self::Label(v) | Self::StringLiteral(v) | Self::Has(v) => Some(v),
            _ => None,
        }
    }
}

/// As errors name it.
impl fmt::Display for TokenKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Label(v) => return write!(f, "the word {v:?}"),
            Self::StringLiteral(v) => return write!(f, "the string {v:?}"),
            Self::Has(v) => return write!(f, "has({v})"),
            Self::Eof => return f.write_str("the end"),
            Self::LBrace => "{",
            Self::RBrace => "}",
            Self::Comma => ",",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::In => "in",
            Self::Not => "!",
            Self::NotIn => "not in",
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
            Self::All => "all()",
            Self::Global => "global()",
            Self::LParen => "(",
            Self::RParen => ")",
            Self::And => "&&",
            Self::Or => "||",
        };
        write!(f, "{text:?}")
    }
}

/// True if the text could stand as a label name in a selector.
pub fn is_valid_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LABEL_LENGTH && text.bytes().all(is_label_byte)
}

/// The tokens of a selector; the last is [`TokenKind::Eof`].
pub fn tokenize(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer { text, rest: text };
    let mut tokens: Vec<Token<'_>> = Vec::new();
    loop {
        lexer.skip_space();
        let offset = lexer.offset();
        let previous = tokens.last().map(|t| t.kind);
        let kind = lexer.next(previous)?;
        tokens.push(Token { kind, offset });
        if kind == TokenKind::Eof {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn offset(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, prefix: &str) -> bool {
        self.rest.strip_prefix(prefix).map(|rest| self.rest = rest).is_some()
    }

    fn error<T>(&self, offset: usize, problem: Problem, fix: Option<String>) -> Result<T, ParseError> {
        Err(ParseError { selector: self.text.to_owned(), offset, problem, fix })
    }

    fn next(&mut self, previous: Option<TokenKind<'a>>) -> Result<TokenKind<'a>, ParseError> {
        let Some(first) = self.rest.bytes().next() else {
            return Ok(TokenKind::Eof);
        };
        let single = match first {
            b'(' => Some(TokenKind::LParen),
            b')' => Some(TokenKind::RParen),
            b'{' => Some(TokenKind::LBrace),
            b'}' => Some(TokenKind::RBrace),
            b',' => Some(TokenKind::Comma),
            _ => None,
        };
        if let Some(kind) = single {
            self.rest = &self.rest[1..];
            return Ok(kind);
        }
        match first {
            b'"' => self.string('"'),
            b'\'' => self.string('\''),
            b'=' => self.doubled("==", TokenKind::Eq),
            b'&' => self.doubled("&&", TokenKind::And),
            b'|' => self.doubled("||", TokenKind::Or),
            b'!' if self.eat("!=") => Ok(TokenKind::Ne),
            b'!' => {
                self.rest = &self.rest[1..];
                Ok(TokenKind::Not)
            }
            _ => match previous {
                Some(TokenKind::Label(label)) => self.operator(label),
                _ => self.function_or_label(),
            },
        }
    }

    fn doubled(&mut self, expected: &'static str, kind: TokenKind<'a>) -> Result<TokenKind<'a>, ParseError> {
        if self.eat(expected) {
            return Ok(kind);
        }
        self.error(self.offset(), Problem::ExpectedOperator { expected }, Some(format!("write {expected}")))
    }

    fn string(&mut self, quote: char) -> Result<TokenKind<'a>, ParseError> {
        let inner = &self.rest[1..];
        let Some((value, rest)) = inner.split_once(quote) else {
            let fix = Some(format!("add a closing {quote}"));
            return self.error(self.offset(), Problem::UnterminatedString, fix);
        };
        self.rest = rest;
        Ok(TokenKind::StringLiteral(value))
    }

    /// The word operator that must follow a label.
    fn operator(&mut self, label: &str) -> Result<TokenKind<'a>, ParseError> {
        let words: [(&[&str], TokenKind<'a>); 5] = [
            (&["contains"], TokenKind::Contains),
            (&["starts", "with"], TokenKind::StartsWith),
            (&["ends", "with"], TokenKind::EndsWith),
            (&["not", "in"], TokenKind::NotIn),
            (&["in"], TokenKind::In),
        ];
        for (words, kind) in words {
            if let Some(rest) = strip_words(self.rest, words) {
                self.rest = rest;
                return Ok(kind);
            }
        }
        let fix = match label.to_ascii_lowercase().as_str() {
            "and" => Some("write && for and".to_owned()),
            "or" => Some("write || for or".to_owned()),
            "not" => Some("write ! for not".to_owned()),
            _ => Some(
                "one of ==, !=, in, not in, contains, starts with, ends with; a value must be quoted"
                    .to_owned(),
            ),
        };
        self.error(self.offset(), Problem::ExpectedLabelOperator { label: label.to_owned() }, fix)
    }

    fn function_or_label(&mut self) -> Result<TokenKind<'a>, ParseError> {
        if self.eat("has(") {
            self.skip_space();
            let label = self.label()?;
            return self.close("has", TokenKind::Has(label));
        }
        if self.eat("all(") {
            return self.close("all", TokenKind::All);
        }
        if self.eat("global(") {
            return self.close("global", TokenKind::Global);
        }
        self.label().map(TokenKind::Label)
    }

    fn close(&mut self, function: &'static str, kind: TokenKind<'a>) -> Result<TokenKind<'a>, ParseError> {
        self.skip_space();
        if self.eat(")") {
            return Ok(kind);
        }
        self.error(self.offset(), Problem::UnclosedFunction { function }, Some("add a closing )".to_owned()))
    }

    fn label(&mut self) -> Result<&'a str, ParseError> {
        let end = self.rest.bytes().position(|b| !is_label_byte(b)).unwrap_or(self.rest.len());
        // Label bytes are ASCII, so this is a character boundary.
        let (label, rest) = self.rest.split_at(end);
        if label.is_empty() {
            let quoted = self.rest.starts_with(['"', '\'']);
            let fix = quoted.then(|| "names of labels are not quoted".to_owned());
            return self.error(self.offset(), Problem::ExpectedLabel, fix);
        }
        if label.len() > MAX_LABEL_LENGTH {
            return self.error(self.offset(), Problem::LabelTooLong { length: label.len() }, None);
        }
        self.rest = rest;
        Ok(label)
    }
}

/// What follows the words. Space between them is optional, and the last must end there.
fn strip_words<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = text;
    for word in words {
        rest = rest.strip_prefix(word)?;
        // `a in b` goes on to complain about the missing quotes, `a not in b` about the operator, as Calico does.
        if words.len() > 1 {
            rest = rest.trim_start_matches([' ', '\t']);
        }
    }
    if rest.bytes().next().is_some_and(is_label_byte) { None } else { Some(rest) }
}

fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-')
}
