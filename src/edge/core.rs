//! What one core works with. Nothing of it is shared with another core but what is read without a lock.

use std::{cell::RefCell, fmt, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    click::PendingClick, click_ids::ClickIds, click_record, closing::Closing, origin::Stream,
    pending_clicks::PendingClicks,
};
use crate::{
    catalog::{Catalog, CatalogReader, DomainRecord},
    config::EdgeSettings,
    domain::{ids::AccountId, sealed::SealingKeys, time::Timestamp, token::KeyRing},
    events::{Body, Event, VERSION},
    stream::{EventSink, Record, Topic},
    telemetry::edge::EdgeMetrics,
    visitor::{Agent, Geo, GeoReader, Place, RecentVisits, TrustedProxies, UserAgents, VisitorHasher},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Room for a `Location` of the usual size, so that the buffer grows once at most.
const LOCATION: usize = 1024;

/// What an edge is made of. Cloned for each core.
#[derive(Clone)]
pub struct EdgeParts {
    /// Name of this edge in events, unique in the deployment.
    pub name: Arc<str>,
    pub catalog: Arc<Catalog>,
    pub keys: Arc<KeyRing>,
    /// Opens the programs' pixel secrets.
    pub sealing: Arc<SealingKeys>,
    pub geo: Arc<Geo>,
    pub hasher: VisitorHasher,
    pub proxies: TrustedProxies,
    /// User agents that each core remembers.
    pub user_agents: usize,
    pub recent: Arc<dyn RecentVisits>,
    pub sink: Arc<dyn EventSink>,
    pub metrics: EdgeMetrics,
}

impl fmt::Debug for EdgeParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeParts")
            .field("name", &self.name)
            .field("catalog", &self.catalog)
            .finish_non_exhaustive()
    }
}

/// The settings that requests are held to.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub default_account: Box<str>,
    pub body_bytes: usize,
    pub body_time: Duration,
    pub batch_events: usize,
    pub pixel_wait: Duration,
    pub append_time: Duration,
}

/// Buffers that are filled anew for each request.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub location: Vec<u8>,
    pub cookie: Vec<u8>,
    pub token: String,
    pub record: Vec<u8>,
}

/// One core of the edge.
pub struct Core {
    pub(crate) parts: EdgeParts,
    pub(crate) limits: Limits,
    pub(crate) clicks: Stream,
    pub(crate) conversions: Stream,
    pub(crate) clicks_pending: PendingClicks,
    /// What goes on after its request was answered.
    pub(crate) tasks: TaskTracker,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) closing: Rc<Closing>,
    ids: RefCell<ClickIds>,
    agents: RefCell<UserAgents>,
    geo: RefCell<GeoReader>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("parts", &self.parts)
            .field("clicks", &self.clicks)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Core `number` of one run (`boot`) of an edge.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn new(
        number: usize,
        boot: Uuid,
        settings: &EdgeSettings,
        parts: EdgeParts,
    ) -> Result<Self, getrandom::Error> {
        Ok(Self {
            limits: Limits {
                default_account: settings.default_account.as_str().into(),
                body_bytes: settings.max_body_bytes,
                body_time: Duration::from_millis(settings.body_read_timeout_ms),
                batch_events: settings.max_batch_events,
                pixel_wait: Duration::from_millis(settings.pixel_wait_ms),
                append_time: Duration::from_millis(settings.append_timeout_ms),
            },
            clicks: Stream::new(&parts.name, boot, "clicks", number),
            conversions: Stream::new(&parts.name, boot, "conversions", number),
            clicks_pending: PendingClicks::default(),
            tasks: TaskTracker::new(),
            scratch: RefCell::new(Scratch { location: Vec::with_capacity(LOCATION), ..Scratch::default() }),
            closing: Rc::new(Closing::default()),
            ids: RefCell::new(ClickIds::new()?),
            agents: RefCell::new(UserAgents::new(parts.user_agents)),
            geo: RefCell::new(parts.geo.reader()),
            parts,
        })
    }

    pub(crate) fn metrics(&self) -> &EdgeMetrics {
        &self.parts.metrics
    }

    /// A new UUIDv7.
    pub(crate) fn new_id(&self, now: Timestamp) -> Uuid {
        self.ids.borrow_mut().next(now)
    }

    pub(crate) fn random(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.ids.borrow_mut().random();
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn agent(&self, user_agent: &str) -> Agent {
        self.agents.borrow_mut().look(user_agent)
    }

    pub(crate) fn place(&self, ip: IpAddr) -> Place {
        self.geo.borrow_mut().look_up(ip)
    }

    /// The visitor's address: the peer's, or what trusted proxies say.
    pub(crate) fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        self.parts.proxies.client_ip(peer, forwarded)
    }

    /// Whose host it is.
    pub(crate) fn account<'a>(
        &self,
        reader: &'a CatalogReader<'_>,
        host: &str,
    ) -> Option<(AccountId, Option<&'a DomainRecord>)> {
        if let Some(domain) = reader.domain(host) {
            return Some((domain.account, Some(domain)));
        }
        let default = &*self.limits.default_account;
        if default.is_empty() {
            None
        } else {
            reader.account_by_slug(default).map(|account| (account.id, None))
        }
    }

    /// A click as its record, stamped: from here on it belongs to the event log. `texts` are those in which it was told.
    /// The payload is written at the end of `buffer`, which the records of a batch share.
    pub fn write_down(
        &self,
        buffer: &mut BytesMut,
        click: (&PendingClick, &[u8]),
        duplicate_of: Option<Uuid>,
        now: Timestamp,
    ) -> Record {
        let stamp = self.clicks.next();
        let payload = click_record::write(
            (buffer, &mut self.scratch.borrow_mut().record),
            click,
            duplicate_of,
            stamp,
            now,
        );
        Record { topic: Topic::Clicks, key: None, payload }
    }

    /// An event, stamped and serialised. From here on it belongs to the event log.
    pub(crate) fn record(&self, topic: Topic, id: Uuid, received_at: Timestamp, body: Body) -> Record {
        let stream = match topic {
            Topic::Clicks => &self.clicks,
            Topic::Conversions => &self.conversions,
        };
        let event = Event { v: VERSION, id, origin: stream.next().into(), received_at, body };
        // Clicks need no order; conversions of an account keep theirs.
        let key = match topic {
            Topic::Clicks => None,
            Topic::Conversions => event.account(),
        };
        Record { topic, key, payload: event.encode().into() }
    }
}
