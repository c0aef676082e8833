//! Selectors over symbols.

use crate::symbols::{Symbol, Symbols};
use std::sync::Arc;
use tortie_selector::{Compare, Expr};

/// An expression whose label names, and values where only equality counts, are symbols that it holds references to.
#[derive(Debug)]
pub(crate) enum Program {
    All,
    Has(Symbol),
    Equal(Symbol, Symbol),
    Text(Symbol, Compare, Arc<str>),
    /// Values are sorted.
    In(Symbol, Box<[Symbol]>),
    Not(Box<Program>),
    And(Box<[Program]>),
    Or(Box<[Program]>),
}

impl Program {
    pub(crate) fn compile(expr: &Expr, symbols: &mut Symbols) -> Self {
        let mut list = |operands: &[Expr]| operands.iter().map(|e| Self::compile(e, symbols)).collect();
        match expr {
            Expr::All | Expr::Global => Self::All,
            Expr::And(operands) => Self::And(list(operands)),
            Expr::Or(operands) => Self::Or(list(operands)),
            Expr::Not(operand) => Self::Not(Box::new(Self::compile(operand, symbols))),
            Expr::Has(label) => Self::Has(symbols.acquire(label)),
            Expr::Compare(label, op @ (Compare::Eq | Compare::Ne), value) => {
                let equal = Self::Equal(symbols.acquire(label), symbols.acquire(value));
                if *op == Compare::Ne { Self::Not(Box::new(equal)) } else { equal }
            }
            Expr::Compare(label, op, value) => Self::Text(symbols.acquire(label), *op, value.clone()),
            Expr::In { label, negated, values } => {
                let mut values: Box<[_]> = values.as_slice().iter().map(|v| symbols.acquire(v)).collect();
                values.sort_unstable();
                let one_of = Self::In(symbols.acquire(label), values);
                if *negated { Self::Not(Box::new(one_of)) } else { one_of }
            }
        }
    }

    /// Gives the symbols back.
    pub(crate) fn release(&self, symbols: &mut Symbols) {
        match self {
            Self::All => {}
            Self::Has(label) | Self::Text(label, ..) => symbols.release(*label),
            Self::Equal(label, value) => {
                symbols.release(*label);
                symbols.release(*value);
            }
            Self::In(label, values) => {
                symbols.release(*label);
                values.iter().for_each(|v| symbols.release(*v));
            }
            Self::Not(operand) => operand.release(symbols),
            Self::And(operands) | Self::Or(operands) => operands.iter().for_each(|p| p.release(symbols)),
        }
    }

    /// `get` is the value of a label.
    pub(crate) fn evaluate(&self, symbols: &Symbols, get: &impl Fn(Symbol) -> Option<Symbol>) -> bool {
        match self {
            Self::All => true,
            Self::Has(label) => get(*label).is_some(),
            Self::Equal(label, value) => get(*label) == Some(*value),
            Self::Text(label, op, text) => op.holds(get(*label).map(|v| symbols.text(v)), text),
            Self::In(label, values) => get(*label).is_some_and(|v| values.binary_search(&v).is_ok()),
            Self::Not(operand) => !operand.evaluate(symbols, get),
            Self::And(operands) => operands.iter().all(|p| p.evaluate(symbols, get)),
            Self::Or(operands) => operands.iter().any(|p| p.evaluate(symbols, get)),
        }
    }
}
