//! The one who attaches pods, made anew when a setting that goes into interfaces' names changes.

use crate::attach::Attacher;
use crate::config::Config;
use crate::current::Current;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Makes an [`Attacher`].
type Make = Box<dyn Fn(Arc<Config>) -> Attacher + Send + Sync>;

/// The attacher of the settings in force.
pub(crate) struct Attachers {
    config: Arc<Config>,
    current: watch::Receiver<Arc<Current>>,
    make: Make,
    made: Mutex<Option<(String, Arc<Attacher>)>>,
}

impl Attachers {
    pub(crate) fn new(config: Arc<Config>, current: watch::Receiver<Arc<Current>>, make: Make) -> Self {
        Self { config, current, make, made: Mutex::new(None) }
    }

    /// Why nothing may be attached or detached now, if so.
    pub(crate) fn paused(&self) -> bool {
        self.current.borrow().paused
    }

    pub(crate) fn get(&self) -> Arc<Attacher> {
        let prefix = self.current.borrow().interface_prefix().to_owned();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((before, attacher)) if *before == prefix => attacher.clone(),
            _ => {
                let config = Config { interface_prefix: prefix.clone(), ..(*self.config).clone() };
                let attacher = Arc::new((self.make)(Arc::new(config)));
                *made = Some((prefix, attacher.clone()));
                attacher
            }
        }
    }
}
