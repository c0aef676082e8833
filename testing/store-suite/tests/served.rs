//! The embedded store in a process of its own, through its socket.

use tortie_store_suite::{Subject, conformance, served, survival};

async fn subject() -> Subject {
    served::subject(env!("CARGO_BIN_EXE_tortie-store-suite-server")).await
}

conformance!(subject);
survival!(subject);
