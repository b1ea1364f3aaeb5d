//! Looking at the brokers' topics and making them, with a reason in words where the brokers cannot be used.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    admin::{
        AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    config::{FromClientConfig, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext},
};
use tokio::{task, time::sleep};

use super::{
    client,
    logs::{self, ClientLog},
    topics::{Found, Plan},
};
use crate::config::KafkaSettings;

/// How long the brokers are tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at topics that were just made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);

/// Why the topics cannot be seen or made. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// librdkafka refuses the settings.
    #[error("{}", client::describe(.0))]
    Settings(KafkaError),
    #[error("the brokers' certificate is not accepted, or they do not speak TLS: {0}")]
    Tls(String),
    #[error("the brokers do not accept the user name and password: {0}")]
    Credentials(String),
    #[error("no broker answers: {0}")]
    Unreachable(String),
    #[error("the brokers refuse: {0}")]
    Refused(String),
}

/// A connection for administration.
pub struct Admin {
    admin: AdminClient<DefaultClientContext>,
    probe: Arc<BaseProducer<Probe>>,
    found: HashMap<String, Found>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Connects, and looks at all topics.
    pub async fn connect(settings: &KafkaSettings) -> Result<Self, AdminError> {
        let mut config = client::connection(settings);
        logs::ask_for(&mut config);
        let probe: BaseProducer<Probe> =
            config.create_with_context(Probe::default()).map_err(AdminError::Settings)?;
        let probe = Arc::new(probe);
        let found = look(&probe).await?;
        let admin = AdminClient::from_config(&config).map_err(AdminError::Settings)?;
        Ok(Self { admin, probe, found })
    }

    /// The topics of these plans as the brokers have them, in their order.
    pub async fn describe(&self, plans: &[Plan]) -> Result<Vec<Option<Found>>, AdminError> {
        let known = plans.iter().filter(|plan| self.found.contains_key(&plan.name));
        let asked: Vec<_> = known.map(|plan| ResourceSpecifier::Topic(&plan.name)).collect();
        let mut configs = HashMap::new();
        if !asked.is_empty() {
            let answers = self.admin.describe_configs(&asked, &options()).await.map_err(refused)?;
            for answer in answers {
                let resource = answer.map_err(|code| AdminError::Refused(code.to_string()))?;
                let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
                let values = resource.entries.into_iter();
                let values: BTreeMap<String, String> =
                    values.filter_map(|entry| Some((entry.name, entry.value?))).collect();
                configs.insert(name, values);
            }
        }
        let describe = |plan: &Plan| {
            let config = configs.remove(&plan.name)?;
            Some(Found { config, ..self.found.get(&plan.name)?.clone() })
        };
        Ok(plans.iter().map(describe).collect())
    }

    /// How many partitions a topic has; `None`: it was not there.
    pub fn partitions(&self, plan: &Plan) -> Option<usize> {
        self.found.get(&plan.name).map(|found| found.partitions)
    }

    /// Makes a topic. False where it was there already; it stays as it was.
    pub async fn create(&self, plan: &Plan) -> Result<bool, AdminError> {
        if self.found.contains_key(&plan.name) {
            return Ok(false);
        }
        let values: Vec<_> = plan.config.iter().map(|(key, rule)| (*key, rule.value())).collect();
        let topic = NewTopic {
            name: &plan.name,
            num_partitions: plan.partitions,
            replication: TopicReplication::Fixed(plan.replication),
            config: values.iter().map(|(key, value)| (*key, value.as_str())).collect(),
        };
        let answers = self.admin.create_topics([&topic], &options()).await.map_err(refused)?;
        match answers.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((name, code))) => {
                let hint = match code {
                    RDKafkaErrorCode::InvalidReplicationFactor => {
                        format!("; there are fewer brokers than replicas ({})", plan.replication)
                    }
                    _ => String::new(),
                };
                Err(AdminError::Refused(format!("{name} cannot be made: {code}{hint}")))
            }
            None => Err(AdminError::Refused(format!("no answer for {}", plan.name))),
        }
    }

    /// Waits until the brokers tell of these topics: they answer for a new one before all of them know it.
    pub async fn until_known(&self, plans: &[Plan]) -> Result<(), AdminError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = look(&self.probe).await?;
            let known = |plan: &Plan| found.get(&plan.name).is_some_and(|found| found.partitions > 0);
            match plans.iter().find(|plan| !known(plan)) {
                None => return Ok(()),
                Some(plan) if Instant::now() >= deadline => {
                    let why = format!("{} was made, and no broker tells of it", plan.name);
                    return Err(AdminError::Unreachable(why));
                }
                Some(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// All topics, or the reason why they cannot be seen.
async fn look(probe: &Arc<BaseProducer<Probe>>) -> Result<HashMap<String, Found>, AdminError> {
    let probe = Arc::clone(probe);
    let found = task::spawn_blocking(move || look_blocking(&probe)).await;
    found.map_err(|error| AdminError::Unreachable(error.to_string()))?
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST))
}

fn refused(error: KafkaError) -> AdminError {
    AdminError::Refused(error.to_string())
}

/// Blocks for [`PATIENCE`] at most.
fn look_blocking(probe: &BaseProducer<Probe>) -> Result<HashMap<String, Found>, AdminError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = probe.client().fetch_metadata(None, Duration::from_millis(500));
        // What went wrong meanwhile is heard here.
        probe.poll(if asked.is_ok() { Duration::ZERO } else { Duration::from_millis(100) });
        match asked {
            Ok(metadata) => {
                let describe = |topic: &rdkafka::metadata::MetadataTopic| {
                    let partitions = topic.partitions();
                    let replicas = partitions.iter().map(|partition| partition.replicas().len());
                    let found = Found {
                        partitions: partitions.len(),
                        replication: replicas.min().unwrap_or_default(),
                        config: BTreeMap::new(),
                    };
                    (topic.name().to_owned(), found)
                };
                return Ok(metadata.topics().iter().map(describe).collect());
            }
            Err(error) => {
                let heard = probe.context();
                // What no waiting mends.
                let cause = heard.cause.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(cause) = cause {
                    return Err(cause);
                }
                if Instant::now() >= deadline {
                    let why = heard.log.reasons().pop().unwrap_or_else(|| error.to_string());
                    return Err(AdminError::Unreachable(why));
                }
            }
        }
    }
}

/// Listens to what librdkafka says of the connection.
#[derive(Default)]
struct Probe {
    log: ClientLog,
    cause: Mutex<Option<AdminError>>,
}

impl ClientContext for Probe {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // Says only how many, and hides why.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        self.log.remember(reason);
        let cause = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::SSL) => AdminError::Tls(reason.to_owned()),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                AdminError::Credentials(reason.to_owned())
            }
            _ => return,
        };
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
    }
}

impl ProducerContext for Probe {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
