//! The node agent's settings: Felix's parameters, by Felix's names, as one table.
//!
//! The [table](PARAMETERS) says everything about a parameter; parsing, precedence, getters and the reference document
//! follow from it. Nothing here reads the environment, a file or the clock: settings arrive as text, and what has to be
//! asked of the machine is asked through [`Host`].

pub mod conform;
mod derived;
mod document;
mod ini;
mod parameter;
mod parse;
mod resolve;
mod sources;
mod table;
mod value;

pub use derived::{Inconsistency, Provider};
pub use document::document;
pub use ini::{FileError, from_file};
pub use parameter::{Kind, Parameter, TextForm};
pub use parse::ParseError;
pub use resolve::{Config, Problem, Setting};
pub use sources::{Host, Source, Sources, from_environment};
pub use table::PARAMETERS;
pub use value::{Dscp, HostPort, Span, TableRange, Transport, Value};

/// The parameter of this name, whatever its case.
pub fn describe(name: &str) -> Option<&'static Parameter> {
    table::find(name).and_then(|index| PARAMETERS.get(index))
}
