//! Text to a tree.

use super::TemplateError;
use serde_json::Value;
use std::collections::VecDeque;

/// Deepest nesting, so that a template cannot exhaust the stack.
const MAX_DEPTH: usize = 100;

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    /// Prints its value.
    Print(Pipeline),
    /// `$x := ...` or `$x = ...`.
    Set(String, Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range {
        variables: Vec<String>,
        over: Pipeline,
        body: Vec<Node>,
        or_else: Vec<Node>,
    },
}

/// Commands; each gets the value of the one before as its last argument.
pub(super) type Pipeline = Vec<Vec<Operand>>;

/// A word of a command.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Value(Value),
    /// `.a.b`: fields of the current value.
    Fields(Vec<String>),
    /// `$x.a.b`; the name without the dollar sign.
    Variable(String, Vec<String>),
    /// `(...).a.b`
    Inner(Pipeline, Vec<String>),
    Function(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Field(String),
    Variable(String),
    Literal(Value),
    Symbol(&'static str),
    Space,
}

enum Piece {
    Text(String),
    Action(VecDeque<Token>),
}

/// What ended a list of nodes.
enum Stop {
    OfText,
    End,
    /// `else`, with what follows it: nothing, or `if ...`.
    Else(VecDeque<Token>),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = pieces(text)?;
    match nodes(&mut pieces, 0)? {
        (nodes, Stop::OfText) => Ok(nodes),
        (_, Stop::End) => Err(TemplateError::new("unexpected {{end}}")),
        (_, Stop::Else(_)) => Err(TemplateError::new("unexpected {{else}}")),
    }
}

/// Splits into text and actions, and trims as `{{-` and `-}}` ask for.
fn pieces(mut text: &str) -> Result<VecDeque<Piece>, TemplateError> {
    let mut pieces = VecDeque::new();
    let mut trim = false;
    loop {
        let (before, rest) = match text.find("{{") {
            Some(at) => (&text[..at], Some(&text[at + 2..])),
            None => (text, None),
        };
        let before = if trim { before.trim_start() } else { before };
        let Some(mut rest) = rest else {
            pieces.push_back(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        let trims_left = rest.starts_with('-') && rest[1..].starts_with(char::is_whitespace);
        let before = if trims_left { before.trim_end() } else { before };
        pieces.push_back(Piece::Text(before.to_owned()));
        if trims_left {
            rest = &rest[1..];
        }
        let end = action_end(rest).ok_or_else(|| {
            let start: String = rest.chars().take(20).collect();
            TemplateError::new(format!("unclosed action: {{{{{start}"))
        })?;
        let mut action = &rest[..end];
        text = &rest[end + 2..];
        trim = action.ends_with('-') && action[..action.len() - 1].ends_with(char::is_whitespace);
        if trim {
            action = &action[..action.len() - 1];
        }
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push_back(Piece::Action(tokens(action)?));
        }
    }
}

/// Where the `}}` is that is not inside a quotation.
fn action_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

fn tokens(text: &str) -> Result<VecDeque<Token>, TemplateError> {
    let mut tokens = VecDeque::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let name_end =
            |from: &str| from.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(from.len());
        let mut taken = c.len_utf8();
        tokens.push_back(match c {
            c if c.is_whitespace() => {
                taken = rest.len() - rest.trim_start().len();
                Token::Space
            }
            '(' => Token::Symbol("("),
            ')' => Token::Symbol(")"),
            '|' => Token::Symbol("|"),
            ',' => Token::Symbol(","),
            '=' => Token::Symbol("="),
            ':' if rest.starts_with(":=") => {
                taken = 2;
                Token::Symbol("=")
            }
            '.' => {
                let length = name_end(&rest[1..]);
                taken += length;
                Token::Field(rest[1..=length].to_owned())
            }
            '$' => {
                let length = name_end(&rest[1..]);
                taken += length;
                Token::Variable(rest[1..=length].to_owned())
            }
            '"' => {
                taken = quoted_end(rest)
                    .ok_or_else(|| TemplateError::new(format!("unterminated quotation: {rest}")))?;
                let value = serde_json::from_str(&rest[..taken])
                    .map_err(|e| TemplateError::new(format!("bad quotation {}: {e}", &rest[..taken])))?;
                Token::Literal(value)
            }
            '`' => {
                let length = rest[1..]
                    .find('`')
                    .ok_or_else(|| TemplateError::new(format!("unterminated quotation: {rest}")))?;
                taken = length + 2;
                Token::Literal(rest[1..=length].into())
            }
            c if c.is_ascii_digit() || c == '-' || c == '+' => {
                taken = rest[1..]
                    .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E')))
                    .map_or(rest.len(), |n| n + 1);
                let number = rest[..taken].trim_start_matches('+');
                let value = serde_json::from_str(number)
                    .map_err(|_| TemplateError::new(format!("bad number {number}")))?;
                Token::Literal(value)
            }
            c if c.is_alphabetic() || c == '_' => {
                taken = name_end(rest);
                match &rest[..taken] {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.to_owned()),
                }
            }
            other => return Err(TemplateError::new(format!("unexpected {other:?} in {{{{{text}}}}}"))),
        });
        rest = &rest[taken..];
    }
    Ok(tokens)
}

fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn nodes(pieces: &mut VecDeque<Piece>, depth: usize) -> Result<(Vec<Node>, Stop), TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError::new("nested too deeply"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop_front() {
        let mut action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let keyword = match action.front() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        match keyword.as_str() {
            "end" => return Ok((nodes, Stop::End)),
            "else" => {
                action.pop_front();
                skip_space(&mut action);
                return Ok((nodes, Stop::Else(action)));
            }
            "if" | "with" | "range" => {
                action.pop_front();
                nodes.push(block(&keyword, action, pieces, depth + 1)?);
            }
            "define" | "template" | "block" | "break" | "continue" => {
                return Err(TemplateError::new(format!("{{{{{keyword}}}}} is not available here")));
            }
            _ => nodes.push(match assignment(&mut action) {
                Some(name) => Node::Set(name, pipeline(&mut action, depth)?),
                None => Node::Print(pipeline(&mut action, depth)?),
            }),
        }
    }
    Ok((nodes, Stop::OfText))
}

fn block(
    keyword: &str,
    mut action: VecDeque<Token>,
    pieces: &mut VecDeque<Piece>,
    depth: usize,
) -> Result<Node, TemplateError> {
    let mut variables = Vec::new();
    if keyword == "range" {
        variables = range_variables(&mut action);
    }
    let condition = pipeline(&mut action, depth)?;
    let missing = || TemplateError::new(format!("{{{{{keyword}}}}} without {{{{end}}}}"));
    let (body, end) = nodes(pieces, depth)?;
    let or_else = match end {
        Stop::OfText => return Err(missing()),
        Stop::End => Vec::new(),
        Stop::Else(mut rest) => match rest.pop_front() {
            None => match nodes(pieces, depth)? {
                (or_else, Stop::End) => or_else,
                _ => return Err(missing()),
            },
            // `else if` ends with the `end` of the whole.
            Some(Token::Word(word)) if word == "if" || word == "with" => {
                vec![block(&word, rest, pieces, depth + 1)?]
            }
            Some(_) => return Err(TemplateError::new("expected if, or nothing, after else")),
        },
    };
    Ok(match keyword {
        "if" => Node::If(condition, body, or_else),
        "with" => Node::With(condition, body, or_else),
        _ => Node::Range { variables, over: condition, body, or_else },
    })
}

/// Takes `$i, $x :=` off the front.
fn range_variables(action: &mut VecDeque<Token>) -> Vec<String> {
    let end = action.iter().position(|t| *t == Token::Symbol("="));
    let Some(end) = end else { return Vec::new() };
    action
        .drain(..=end)
        .filter_map(|token| match token {
            Token::Variable(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// Takes `$x :=` off the front.
fn assignment(action: &mut VecDeque<Token>) -> Option<String> {
    let words: Vec<&Token> = action.iter().filter(|t| **t != Token::Space).take(2).collect();
    let [Token::Variable(name), Token::Symbol("=")] = words.as_slice() else { return None };
    let name = name.clone();
    let end = action.iter().position(|t| *t == Token::Symbol("="))?;
    action.drain(..=end);
    Some(name)
}

fn skip_space(tokens: &mut VecDeque<Token>) {
    while tokens.front() == Some(&Token::Space) {
        tokens.pop_front();
    }
}

fn pipeline(tokens: &mut VecDeque<Token>, depth: usize) -> Result<Pipeline, TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError::new("nested too deeply"));
    }
    let mut commands = Vec::new();
    let mut command: Vec<Operand> = Vec::new();
    loop {
        skip_space(tokens);
        match tokens.front() {
            None | Some(Token::Symbol(")")) => break,
            Some(Token::Symbol("|")) => {
                tokens.pop_front();
                commands.push(std::mem::take(&mut command));
            }
            Some(_) => command.push(operand(tokens, depth)?),
        }
    }
    commands.push(command);
    if commands.iter().any(Vec::is_empty) {
        return Err(TemplateError::new("a value is missing"));
    }
    Ok(commands)
}

fn operand(tokens: &mut VecDeque<Token>, depth: usize) -> Result<Operand, TemplateError> {
    Ok(match tokens.pop_front() {
        Some(Token::Literal(value)) => Operand::Value(value),
        Some(Token::Word(word)) => Operand::Function(word),
        Some(Token::Variable(name)) => Operand::Variable(name, fields(tokens)),
        Some(Token::Field(name)) => {
            let mut path = if name.is_empty() { Vec::new() } else { vec![name] };
            path.extend(fields(tokens));
            Operand::Fields(path)
        }
        Some(Token::Symbol("(")) => {
            let inner = pipeline(tokens, depth + 1)?;
            if tokens.pop_front() != Some(Token::Symbol(")")) {
                return Err(TemplateError::new("unclosed ("));
            }
            Operand::Inner(inner, fields(tokens))
        }
        other => return Err(TemplateError::new(format!("unexpected {other:?}"))),
    })
}

/// The fields that follow without a space.
fn fields(tokens: &mut VecDeque<Token>) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some(Token::Field(name)) = tokens.front() {
        fields.push(name.clone());
        tokens.pop_front();
    }
    fields
}
