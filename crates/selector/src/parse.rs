//! Tokens to the expression tree.

use crate::ast::{Compare, Expr, Values};
use crate::error::{ParseError, Problem};
use crate::token::{Token, TokenKind, tokenize};

/// Limit of nested parentheses, in the text and in its canonical form.
const MAX_DEPTH: usize = 256;

pub(crate) fn parse(text: &str) -> Result<Expr, ParseError> {
    let tokens = tokenize(text)?;
    let mut parser = Parser { text, tokens: &tokens, parentheses: 0 };
    if parser.peek() == TokenKind::Eof {
        return Ok(Expr::All);
    }
    let (root, _) = parser.or()?;
    match parser.peek() {
        TokenKind::Eof => Ok(root),
        found => parser.error(Problem::ExpectedEnd { found: found.to_string() }, fix_for_end(found)),
    }
}

/// A tree and how deep its canonical text nests parentheses.
type Parsed = Result<(Expr, usize), ParseError>;

struct Parser<'a> {
    text: &'a str,
    /// What is left; the last is always `Eof`, which is never taken.
    tokens: &'a [Token<'a>],
    parentheses: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> TokenKind<'a> {
        self.tokens.first().map_or(TokenKind::Eof, |t| t.kind)
    }

    fn take(&mut self) -> TokenKind<'a> {
        let kind = self.peek();
        if kind != TokenKind::Eof {
            self.tokens = self.tokens.get(1..).unwrap_or_default();
        }
        kind
    }

    fn eat(&mut self, kind: TokenKind<'_>) -> bool {
        let found = self.peek() == kind;
        if found {
            self.take();
        }
        found
    }

    /// An error at the next token.
    fn error<T>(&self, problem: Problem, fix: Option<String>) -> Result<T, ParseError> {
        let offset = self.tokens.first().map_or(self.text.len(), |t| t.offset);
        Err(ParseError { selector: self.text.to_owned(), offset, problem, fix })
    }

    fn or(&mut self) -> Parsed {
        self.joined(TokenKind::Or, Self::and, Expr::Or)
    }

    fn and(&mut self) -> Parsed {
        self.joined(TokenKind::And, Self::operation, Expr::And)
    }

    fn joined(
        &mut self,
        separator: TokenKind<'_>,
        operand: fn(&mut Self) -> Parsed,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Parsed {
        let (first, mut depth) = operand(self)?;
        if self.peek() != separator {
            return Ok((first, depth));
        }
        let mut operands = vec![first];
        while self.eat(separator) {
            let (node, d) = operand(self)?;
            operands.push(node);
            depth = depth.max(d);
        }
        if depth >= MAX_DEPTH {
            return self.error(Problem::TooDeep { limit: MAX_DEPTH }, None);
        }
        Ok((join(operands), depth + 1))
    }

    fn operation(&mut self) -> Parsed {
        let mut negated = false;
        while self.eat(TokenKind::Not) {
            negated = !negated;
        }
        let (node, depth) = match self.peek() {
            TokenKind::LParen => self.parenthesis()?,
            _ => (self.test()?, 0),
        };
        Ok((if negated { Expr::Not(Box::new(node)) } else { node }, depth))
    }

    fn parenthesis(&mut self) -> Parsed {
        if self.parentheses >= MAX_DEPTH {
            return self.error(Problem::TooDeep { limit: MAX_DEPTH }, None);
        }
        self.take();
        self.parentheses += 1;
        let inner = self.or()?;
        self.parentheses -= 1;
        if !self.eat(TokenKind::RParen) {
            let found = self.peek();
            let fix = fix_for_end(found).or_else(|| Some("close the parenthesis".to_owned()));
            return self.error(Problem::ExpectedParenthesis { found: found.to_string() }, fix);
        }
        Ok(inner)
    }

    fn test(&mut self) -> Result<Expr, ParseError> {
        match self.peek() {
            TokenKind::All => {
                self.take();
                Ok(Expr::All)
            }
            TokenKind::Global => {
                self.take();
                Ok(Expr::Global)
            }
            TokenKind::Has(label) => {
                self.take();
                Ok(Expr::Has(label.into()))
            }
            TokenKind::Label(label) => {
                self.take();
                self.label_test(label)
            }
            found => {
                let fix = match found {
                    TokenKind::StringLiteral(name) => Some(format!("names of labels are not quoted: {name}")),
                    TokenKind::RParen => {
                        Some("parentheses must not be empty; everything is all()".to_owned())
                    }
                    _ => None,
                };
                self.error(Problem::ExpectedTest { found: found.to_string() }, fix)
            }
        }
    }

    fn label_test(&mut self, label: &str) -> Result<Expr, ParseError> {
        let compare = match self.peek() {
            TokenKind::Eq => Compare::Eq,
            TokenKind::Ne => Compare::Ne,
            TokenKind::Contains => Compare::Contains,
            TokenKind::StartsWith => Compare::StartsWith,
            TokenKind::EndsWith => Compare::EndsWith,
            TokenKind::In | TokenKind::NotIn => {
                let negated = self.take() == TokenKind::NotIn;
                return Ok(Expr::In { label: label.into(), negated, values: self.values()? });
            }
            found => {
                let fix = match (label, found) {
                    ("has" | "all" | "global", TokenKind::LParen) => {
                        format!("no space between {label} and (")
                    }
                    ("and" | "AND", _) => "write && for and".to_owned(),
                    ("or" | "OR", _) => "write || for or".to_owned(),
                    ("not" | "NOT", _) => "write ! for not".to_owned(),
                    _ => format!("to test that the label exists, write has({label})"),
                };
                return self.error(Problem::ExpectedLabelOperator { label: label.to_owned() }, Some(fix));
            }
        };
        self.take();
        let value = self.peek();
        let TokenKind::StringLiteral(value) = value else {
            let fix = match value {
                TokenKind::Label(word) => Some(format!("write \"{word}\"")),
                _ => None,
            };
            return self.error(Problem::ExpectedString { found: value.to_string() }, fix);
        };
        self.take();
        Ok(Expr::Compare(label.into(), compare, value.into()))
    }

    fn values(&mut self) -> Result<Values, ParseError> {
        if !self.eat(TokenKind::LBrace) {
            let found = self.peek();
            let fix = match found {
                TokenKind::StringLiteral(value) => Some(format!("write {{\"{value}\"}}")),
                _ => Some("write {\"first\", \"second\"}".to_owned()),
            };
            return self.error(Problem::ExpectedSet { found: found.to_string() }, fix);
        }
        let mut values = Vec::new();
        // A comma may follow the last value.
        while let TokenKind::StringLiteral(value) = self.peek() {
            self.take();
            values.push(value.into());
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        if !self.eat(TokenKind::RBrace) {
            let found = self.peek();
            let fix = match found {
                TokenKind::Label(word) => Some(format!("write \"{word}\"")),
                TokenKind::StringLiteral(_) => Some("separate values by commas".to_owned()),
                _ => None,
            };
            return self.error(Problem::ExpectedBrace { found: found.to_string() }, fix);
        }
        Ok(Values::new(values))
    }
}

/// How to go on after a complete expression.
fn fix_for_end(found: TokenKind<'_>) -> Option<String> {
    match found {
        TokenKind::Comma => Some("join tests by &&".to_owned()),
        TokenKind::Label(word) if word.eq_ignore_ascii_case("and") => Some("write && for and".to_owned()),
        TokenKind::Label(word) if word.eq_ignore_ascii_case("or") => Some("write || for or".to_owned()),
        TokenKind::Label(_) | TokenKind::Has(_) | TokenKind::Not => Some("join tests by && or ||".to_owned()),
        TokenKind::RParen => Some("this parenthesis was never opened".to_owned()),
        _ => None,
    }
}
