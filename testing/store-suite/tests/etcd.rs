//! A real etcd.

use tortie_store_suite::{Subject, conformance, etcd, survival};

async fn subject() -> Subject {
    etcd::subject().await
}

conformance!(subject);
survival!(subject);
