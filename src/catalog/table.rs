//! The table that every core reads while the feed writes.
//!
//! Reading takes no lock, waits for nobody and touches no count that cores share. The higher version of a key
//! replaces the lower in any order of arrival; a deleted thing is remembered by its version, so that no late
//! delivery brings it back.

use std::{
    hash::RandomState,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use papaya::LocalGuard;
use seize::Collector;

use crate::domain::ids::{AccountId, AffiliateId, LinkId, ProgramId};

use super::{
    AccountRecord, AffiliateRecord, CatalogRecord, DomainRecord, KeyRecord, LinkEntry, ProgramRecord,
    RecordKey, Versioned,
    link_table::LinkTable,
    versions::{Named, NamedVersions, Versions},
};

impl Named for AccountRecord {
    type Id = AccountId;

    fn id(&self) -> AccountId {
        self.id
    }

    /// Slugs of accounts are unique in the deployment.
    fn scope(&self) -> i64 {
        0
    }

    fn name(&self) -> &str {
        &self.slug
    }
}

impl Named for ProgramRecord {
    type Id = ProgramId;

    fn id(&self) -> ProgramId {
        self.id
    }

    fn scope(&self) -> i64 {
        self.account.0
    }

    fn name(&self) -> &str {
        &self.slug
    }
}

/// One thing that is known, as it is handed over.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// The most frequent, as it is kept.
    Link(i64, &'a LinkEntry),
    RemovedLink(i64, LinkId),
    Other(Versioned),
}

/// What an edge knows.
pub struct Catalog {
    /// One for all tables, so that one pin protects what is read of any.
    collector: Arc<Collector>,
    /// Held while a record is applied. Readers never take it.
    writer: Mutex<()>,
    accounts: NamedVersions<AccountRecord>,
    domains: Versions<Box<str>, DomainRecord>,
    keys: Versions<[u8; 32], KeyRecord>,
    programs: NamedVersions<ProgramRecord>,
    affiliates: Versions<AffiliateId, AffiliateRecord>,
    links: LinkTable,
    loaded: AtomicBool,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("links", &self.link_count()).finish_non_exhaustive()
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    pub fn new() -> Self {
        let collector = Arc::new(Collector::new());
        Self {
            writer: Mutex::new(()),
            accounts: NamedVersions::new(&collector),
            domains: Versions::new(&collector),
            keys: Versions::new(&collector),
            programs: NamedVersions::new(&collector),
            affiliates: Versions::new(&collector),
            links: LinkTable::new(RandomState::new(), &collector),
            loaded: AtomicBool::new(false),
            collector,
        }
    }

    /// Takes in one record. Older versions never replace newer, whatever the order of arrival; deleted things stay
    /// as tombstones. A key whose hash is not 64 hex digits can belong to nobody and is passed over.
    pub fn apply(&self, record: Versioned) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = self.collector.enter();
        let version = record.version;
        match record.record {
            CatalogRecord::Account(account) => self.accounts.apply(version, account, true, &guard),
            CatalogRecord::Domain(domain) => {
                let host = domain.host.as_str().into();
                self.domains.apply(version, host, (!domain.deleted).then_some(domain), &guard);
            }
            CatalogRecord::Key(key) => match read_hash(&key.hash) {
                Some(hash) => self.keys.apply(version, hash, (!key.revoked).then_some(key), &guard),
                None => {
                    tracing::warn!(account = %key.account, "an API key's hash in the catalog is unreadable")
                }
            },
            CatalogRecord::Program(program) => {
                let live = !program.deleted;
                self.programs.apply(version, *program, live, &guard);
            }
            CatalogRecord::Affiliate(affiliate) => {
                let id = affiliate.id;
                self.affiliates.apply(version, id, (!affiliate.deleted).then_some(affiliate), &guard);
            }
            CatalogRecord::Link(link) => self.links.apply(version, &link, &guard),
            CatalogRecord::Removed(key) => self.remove(version, key, &guard),
        }
    }

    fn remove(&self, version: i64, key: RecordKey, guard: &LocalGuard<'_>) {
        match key {
            RecordKey::Account(id) => self.accounts.remove(version, id, guard),
            RecordKey::Domain(host) => self.domains.apply(version, host.into(), None, guard),
            RecordKey::Key(hash) => {
                if let Some(hash) = read_hash(&hash) {
                    self.keys.apply(version, hash, None, guard);
                }
            }
            RecordKey::Program(id) => self.programs.remove(version, id, guard),
            RecordKey::Affiliate(id) => self.affiliates.apply(version, id, None, guard),
            RecordKey::Link(id) => self.links.remove(version, id, guard),
        }
    }

    /// Takes in a link that was packed before, as [`Self::apply`] would.
    pub(super) fn apply_packed(&self, version: i64, entry: LinkEntry) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.links.apply_packed(version, entry, &self.collector.enter());
    }

    /// Hands over everything that is known, also what is only known to be gone.
    ///
    /// What is applied meanwhile may be handed over or not. What is not was applied after the call began.
    pub(super) fn each<E>(&self, mut take: impl FnMut(Known<'_>) -> Result<(), E>) -> Result<(), E> {
        let guard = self.collector.enter();
        let mut other = |version, record: Option<CatalogRecord>, key: RecordKey| {
            let record = record.unwrap_or(CatalogRecord::Removed(key));
            take(Known::Other(Versioned { version, record }))
        };
        for (id, version, record) in self.accounts.iter(&guard) {
            other(version, record.cloned().map(CatalogRecord::Account), RecordKey::Account(*id))?;
        }
        for (host, version, record) in self.domains.iter(&guard) {
            other(version, record.cloned().map(CatalogRecord::Domain), RecordKey::Domain(host.to_string()))?;
        }
        for (hash, version, record) in self.keys.iter(&guard) {
            let key = RecordKey::Key(data_encoding::HEXLOWER.encode(hash));
            other(version, record.cloned().map(CatalogRecord::Key), key)?;
        }
        for (id, version, record) in self.programs.iter(&guard) {
            let record = record.map(|program| CatalogRecord::Program(Box::new(program.clone())));
            other(version, record, RecordKey::Program(*id))?;
        }
        for (id, version, record) in self.affiliates.iter(&guard) {
            other(version, record.cloned().map(CatalogRecord::Affiliate), RecordKey::Affiliate(*id))?;
        }
        for (id, version, entry) in self.links.iter(&guard) {
            take(match entry {
                Some(entry) => Known::Link(version, entry),
                None => Known::RemovedLink(version, id),
            })?;
        }
        Ok(())
    }

    /// Forgets what `keep` does not want, also that it was deleted; answers how many.
    pub fn retain(&self, mut keep: impl FnMut(&RecordKey) -> bool) -> usize {
        let mut unwanted = Vec::new();
        let mut look = |key: RecordKey| {
            if !keep(&key) {
                unwanted.push(key);
            }
        };
        let never: Result<(), std::convert::Infallible> = self.each(|known| {
            look(match known {
                Known::Link(_, entry) => RecordKey::Link(entry.id()),
                Known::RemovedLink(_, id) => RecordKey::Link(id),
                Known::Other(versioned) => versioned.record.key(),
            });
            Ok(())
        });
        let Ok(()) = never;
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = self.collector.enter();
        for key in &unwanted {
            match key {
                RecordKey::Account(id) => self.accounts.forget(*id, &guard),
                RecordKey::Domain(host) => self.domains.forget(host.as_str(), &guard),
                RecordKey::Key(hash) => {
                    if let Some(hash) = read_hash(hash) {
                        self.keys.forget(&hash, &guard);
                    }
                }
                RecordKey::Program(id) => self.programs.forget(*id, &guard),
                RecordKey::Affiliate(id) => self.affiliates.forget(id, &guard),
                RecordKey::Link(id) => self.links.forget(*id, &guard),
            }
        }
        unwanted.len()
    }

    /// Whatever is applied from here on replaces what is known, however old: it comes from somebody who counts anew.
    pub fn forget_versions(&self) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = self.collector.enter();
        self.accounts.forget_versions(&guard);
        self.domains.forget_versions(&guard);
        self.keys.forget_versions(&guard);
        self.programs.forget_versions(&guard);
        self.affiliates.forget_versions(&guard);
        self.links.forget_versions(&guard);
    }

    /// Knows nothing any more.
    pub fn clear(&self) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = self.collector.enter();
        self.accounts.clear(&guard);
        self.domains.clear(&guard);
        self.keys.clear(&guard);
        self.programs.clear(&guard);
        self.affiliates.clear(&guard);
        self.links.clear(&guard);
    }

    /// A reader for one request. While it lives nothing that was replaced meanwhile is freed: do not keep it longer,
    /// and not across an await that may take long.
    pub fn read(&self) -> CatalogReader<'_> {
        CatalogReader { catalog: self, guard: self.collector.enter() }
    }

    /// Whether the feed has brought everything there was at start.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    pub fn mark_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Live links.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }
}

fn read_hash(hex: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// Reads the catalog; only what is live is found.
pub struct CatalogReader<'a> {
    catalog: &'a Catalog,
    guard: LocalGuard<'a>,
}

impl std::fmt::Debug for CatalogReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CatalogReader")
    }
}

impl CatalogReader<'_> {
    /// `host` in lower case and without a port.
    pub fn domain(&self, host: &str) -> Option<&DomainRecord> {
        self.catalog.domains.get(host, &self.guard)
    }

    pub fn account(&self, id: AccountId) -> Option<&AccountRecord> {
        self.catalog.accounts.get(id, &self.guard)
    }

    pub fn account_by_slug(&self, slug: &str) -> Option<&AccountRecord> {
        self.catalog.accounts.by_name(0, slug, &self.guard)
    }

    /// The key with this BLAKE3 hash, unless it is revoked.
    pub fn key(&self, hash: &[u8; 32]) -> Option<&KeyRecord> {
        self.catalog.keys.get(hash, &self.guard)
    }

    pub fn program(&self, id: ProgramId) -> Option<&ProgramRecord> {
        self.catalog.programs.get(id, &self.guard)
    }

    pub fn program_by_slug(&self, account: AccountId, slug: &str) -> Option<&ProgramRecord> {
        self.catalog.programs.by_name(account.0, slug, &self.guard)
    }

    pub fn affiliate(&self, id: AffiliateId) -> Option<&AffiliateRecord> {
        self.catalog.affiliates.get(&id, &self.guard)
    }

    /// The link that `code` leads to in that account.
    pub fn link(&self, account: AccountId, code: &str) -> Option<&LinkEntry> {
        self.catalog.links.by_code(account, code, &self.guard)
    }

    pub fn link_by_id(&self, id: LinkId) -> Option<&LinkEntry> {
        self.catalog.links.by_id(id, &self.guard)
    }
}
