//! What every long-running process needs: settings with provenance, logs, metrics, health, a small HTTP server, signals.
//!
//! Only this crate reads the environment. Parsing settings never binds, opens or connects.

pub mod felix;
pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod settings;
pub mod shutdown;

pub use health::{Health, Reporter};
pub use metrics::Registry;
pub use settings::{Setting, SettingError, Settings, Source};
