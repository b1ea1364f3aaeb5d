//! Our place in a group, whichever client holds it: one that has fallen silent is replaced.
//!
//! The other client joins as any other instance would, after the old one has left; the partitions that it is given are
//! of a new generation, so settlement begins them from its stored positions.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rdkafka::{ClientConfig, config::FromClientConfigAndContext, consumer::BaseConsumer, error::KafkaError};
use tokio::sync::Notify;
use tracing::warn;

use super::{
    client,
    group::{Ended, Group, Listener, Patience},
};
use crate::{stream::Topic, telemetry::kafka_consumer::KafkaConsumerMetrics};

/// Between two tries: to make a client, which fails for want of memory, threads or a certificate that was there, and to
/// close one, which waits for questions that are under way.
const AGAIN: Duration = Duration::from_secs(1);

/// A member of a group, by the client that it has now.
pub(super) struct Membership {
    config: ClientConfig,
    group: Mutex<Arc<Group>>,
    /// There may be records, or the assignment has changed.
    pub changed: Arc<Notify>,
}

impl Membership {
    pub fn join(
        config: ClientConfig,
        topic: Topic,
        name: String,
        metrics: KafkaConsumerMetrics,
    ) -> Result<Self, KafkaError> {
        let group = Group::new(topic, name, consumer(&config)?, metrics)?;
        let changed = Arc::clone(&group.changed);
        Ok(Self { config, group: Mutex::new(Arc::new(group)), changed })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Group>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group by its client of now. Its last owner waits until the client is closed: not for a task that must not
    /// block.
    pub fn current(&self) -> Arc<Group> {
        Arc::clone(&self.lock())
    }

    /// Asks the group what needs no waiting.
    pub fn with<T>(&self, ask: impl FnOnce(&Group) -> T) -> T {
        ask(&self.lock())
    }

    /// Follows the group until it is stopped, by one client after another.
    pub fn follow(&self, mut patience: Patience) {
        loop {
            let group = self.current();
            if group.follow(&mut patience) == Ended::Stopped {
                return;
            }
            let next = loop {
                if group.is_stopped() {
                    return;
                }
                match consumer(&self.config).and_then(|consumer| group.again(consumer)) {
                    Ok(next) => break next,
                    Err(error) => {
                        let error = client::describe(&error);
                        warn!(topic = group.name(), error, "a consumer cannot be made anew");
                    }
                }
                thread::sleep(AGAIN);
            };
            *self.lock() = Arc::new(next);
            self.changed.notify_one();
            // Closing a client that hears nothing may take long. A thread that cannot be started closes it here.
            let _ = thread::Builder::new().name("kafka-closing".to_owned()).spawn(move || close(group));
        }
    }
}

fn consumer(config: &ClientConfig) -> Result<BaseConsumer<Listener>, KafkaError> {
    BaseConsumer::from_config_and_context(config, Listener::default())
}

/// As its last owner: questions that are under way end first.
fn close(group: Arc<Group>) {
    while Arc::strong_count(&group) > 1 {
        thread::sleep(AGAIN);
    }
}
