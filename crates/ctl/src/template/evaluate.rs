//! A tree and data to text.

use super::TemplateError;
use super::parse::{Node, Operand, Pipeline};
use crate::resources::columns::{go_text, join_with};
use serde_json::{Map, Value};
use std::cmp::Ordering;

pub(super) fn render(nodes: &[Node], data: &Value, as_number: &str) -> Result<String, TemplateError> {
    let mut run = Run {
        out: String::new(),
        variables: vec![(String::new(), data.clone())],
        as_number: as_number.to_owned(),
    };
    run.nodes(nodes, data)?;
    Ok(run.out)
}

struct Run {
    out: String,
    /// The innermost last; the one without a name is the data.
    variables: Vec<(String, Value)>,
    as_number: String,
}

impl Run {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let outer = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.out.push_str(&go_text(&value));
            }
            Node::Set(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                    Some(variable) => variable.1 = value,
                    None => self.variables.push((name.clone(), value)),
                }
            }
            Node::If(condition, body, or_else) => {
                let value = self.pipeline(condition, dot)?;
                self.nodes(if truth(&value) { body } else { or_else }, dot)?;
            }
            Node::With(condition, body, or_else) => {
                let value = self.pipeline(condition, dot)?;
                if truth(&value) { self.nodes(body, &value)? } else { self.nodes(or_else, dot)? }
            }
            Node::Range { variables, over, body, or_else } => {
                let over = self.pipeline(over, dot)?;
                self.range(variables, over, body, or_else, dot)?;
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        variables: &[String],
        over: Value,
        body: &[Node],
        or_else: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match over {
            Value::Array(items) => items.into_iter().enumerate().map(|(i, v)| (i.into(), v)).collect(),
            Value::Object(map) => {
                let mut entries: Vec<(String, Value)> = map.into_iter().collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.into_iter().map(|(k, v)| (k.into(), v)).collect()
            }
            Value::Null => Vec::new(),
            Value::String(text) if text.is_empty() => Vec::new(),
            other => return Err(TemplateError::new(format!("range cannot go over {}", go_text(&other)))),
        };
        if items.is_empty() {
            return self.nodes(or_else, dot);
        }
        for (index, item) in items {
            let outer = self.variables.len();
            match variables {
                [name] => self.variables.push((name.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), index));
                    self.variables.push((second.clone(), item.clone()));
                }
                [] => {}
            }
            self.nodes(body, &item)?;
            self.variables.truncate(outer);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in pipeline {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(
        &mut self,
        command: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Null) };
        if let Operand::Function(name) = first {
            let mut arguments = rest.iter().map(|o| self.operand(o, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            return self.call(name, &arguments);
        }
        if !rest.is_empty() || piped.is_some() {
            return Err(TemplateError::new("a value is not a function and takes no arguments"));
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Value(value) => Ok(value.clone()),
            Operand::Fields(path) => Ok(field(dot, path)),
            Operand::Variable(name, path) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) =
                    variable.ok_or_else(|| TemplateError::new(format!("undefined variable ${name}")))?;
                Ok(field(value, path))
            }
            Operand::Inner(pipeline, path) => Ok(field(&self.pipeline(pipeline, dot)?, path)),
            Operand::Function(name) => self.call(name, &[]),
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
        let need = |count: usize| {
            if arguments.len() < count {
                Err(TemplateError::new(format!("{name} needs {count} arguments")))
            } else {
                Ok(())
            }
        };
        let argument = |i: usize| arguments.get(i).unwrap_or(&Value::Null);
        Ok(match name {
            "len" => {
                need(1)?;
                match argument(0) {
                    Value::Array(items) => items.len().into(),
                    Value::Object(map) => map.len().into(),
                    Value::String(text) => text.len().into(),
                    Value::Null => 0.into(),
                    other => return Err(TemplateError::new(format!("{} has no length", go_text(other)))),
                }
            }
            "index" => index(arguments)?,
            "eq" => {
                need(2)?;
                arguments.iter().skip(1).any(|a| compare(argument(0), a) == Some(Ordering::Equal)).into()
            }
            "ne" | "lt" | "le" | "gt" | "ge" => {
                need(2)?;
                let order = compare(argument(0), argument(1));
                match name {
                    "ne" => order != Some(Ordering::Equal),
                    "lt" => order == Some(Ordering::Less),
                    "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    "gt" => order == Some(Ordering::Greater),
                    _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                }
                .into()
            }
            "and" => arguments.iter().find(|a| !truth(a)).or(arguments.last()).cloned().unwrap_or_default(),
            "or" => arguments.iter().find(|a| truth(a)).or(arguments.last()).cloned().unwrap_or_default(),
            "not" => {
                need(1)?;
                (!truth(argument(0))).into()
            }
            "print" => arguments.iter().map(go_text).collect::<Vec<_>>().concat().into(),
            "println" => (arguments.iter().map(go_text).collect::<Vec<_>>().join(" ") + "\n").into(),
            "printf" => {
                need(1)?;
                printf(&go_text(argument(0)), arguments.get(1..).unwrap_or_default()).into()
            }
            "join" => {
                need(2)?;
                join_with(argument(0), &go_text(argument(1)), 0).into()
            }
            "joinAndTruncate" => {
                need(3)?;
                let limit = argument(2).as_u64().unwrap_or(0) as usize;
                join_with(argument(0), &go_text(argument(1)), limit).into()
            }
            "config" if argument(0).as_str().is_some_and(|n| n.eq_ignore_ascii_case("asnumber")) => {
                self.as_number.clone().into()
            }
            "html" | "js" | "urlquery" => {
                return Err(TemplateError::new(format!("function {name:?} is not available here")));
            }
            _ => return Err(TemplateError::new(format!("function {name:?} not defined"))),
        })
    }
}

/// Follows fields. What is not there is null, as an empty field is left out of JSON.
fn field(value: &Value, path: &[String]) -> Value {
    let mut value = value.clone();
    for name in path {
        value = one_field(&value, name);
    }
    value
}

fn one_field(value: &Value, name: &str) -> Value {
    match value {
        // Results come in a list, usually of one; its fields are meant then.
        Value::Array(items) => match items.as_slice() {
            [one] => one_field(one, name),
            _ => Value::Null,
        },
        Value::Object(map) => {
            if let Some(found) = find(map, name) {
                return found.clone();
            }
            match name {
                "TypeMeta" => return value.clone(),
                "ObjectMeta" | "ListMeta" => return map.get("metadata").cloned().unwrap_or_default(),
                _ => {}
            }
            // Go promotes the fields of embedded structures.
            let metadata = map.get("metadata").and_then(Value::as_object);
            let promoted = metadata.and_then(|metadata| find(metadata, name)).cloned();
            promoted.unwrap_or_else(|| missing(name))
        }
        _ => missing(name),
    }
}

fn find<'m>(map: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    map.get(name).or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

/// The empty value of a field that JSON leaves out; lists and text print as nothing.
fn missing(name: &str) -> Value {
    const POINTERS: [&str; 4] = ["order", "datastoreReady", "assignmentMode", "defaultAction"];
    const SWITCHES: [&str; 8] = [
        "natOutgoing",
        "disabled",
        "disableBGPExport",
        "doNotTrack",
        "preDNAT",
        "applyOnForward",
        "strictAffinity",
        "autoAllocateBlocks",
    ];
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    if POINTERS.iter().any(is) {
        Value::Null
    } else if SWITCHES.iter().any(is) {
        false.into()
    } else {
        "".into()
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (a == b).then_some(Ordering::Equal),
    }
}

fn index(arguments: &[Value]) -> Result<Value, TemplateError> {
    let Some((value, keys)) = arguments.split_first() else {
        return Err(TemplateError::new("index needs a value"));
    };
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Array(items), Value::Number(at)) => {
                let item = at.as_u64().and_then(|at| items.get(at as usize));
                item.cloned().ok_or_else(|| {
                    TemplateError::new(format!("index {at} is out of range, there are {} items", items.len()))
                })?
            }
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| "".into()),
            (other, key) => {
                let (other, key) = (go_text(other), go_text(key));
                return Err(TemplateError::new(format!("cannot index {other} with {key}")));
            }
        };
    }
    Ok(value)
}

/// Go's `%s %v %d %q %t %f %%` with a width.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = rest.next_if(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ' ')) {
            flags.push(flag);
        }
        let Some(verb) = rest.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(argument) = arguments.next() else {
            text.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let shown = match verb {
            'q' => Value::String(go_text(argument)).to_string(),
            _ => go_text(argument),
        };
        let width: usize =
            flags.trim_start_matches(['-', '+', ' ']).split('.').next().unwrap_or("").parse().unwrap_or(0);
        // A width beyond reason is a mistake, not a wish for megabytes.
        let width = width.min(1000);
        if flags.starts_with('-') {
            text.push_str(&format!("{shown:<width$}"));
        } else {
            text.push_str(&format!("{shown:>width$}"));
        }
    }
    text
}
