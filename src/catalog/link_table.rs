//! Links by (account, code) and by id, small enough for tens of millions.
//!
//! A look-up by code goes to the link itself: the map's key is a 64-bit hash of (account, code) under a secret of
//! this process, and its value the link. Codes of one hash share a place, and so do links that claim one code while
//! deliveries are out of order; the entry itself says whose it is. By id only the version and the place are kept,
//! also of deleted links.

use std::{
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use papaya::{HashMap, LocalGuard};
use seize::Collector;

use crate::domain::ids::{AccountId, LinkId};

use super::{LinkEntry, LinkRecord};

/// The keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The links of one hash. Nearly always one: the size of that case is what counts.
#[derive(Clone, Debug)]
enum Place {
    One(LinkEntry),
    Many(Box<Claims>),
}

/// By ascending id. A type of its own, so that a box of it is thin and [`Place`] no larger than a [`LinkEntry`].
#[derive(Clone, Debug)]
struct Claims(Vec<LinkEntry>);

impl Place {
    fn entries(&self) -> &[LinkEntry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(claims) => &claims.0,
        }
    }

    fn of(mut entries: Vec<LinkEntry>) -> Option<Self> {
        match entries.len() {
            0 => None,
            1 => entries.pop().map(Self::One),
            _ => {
                entries.sort_by_key(LinkEntry::id);
                Some(Self::Many(Box::new(Claims(entries))))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    version: i64,
    /// The key of the link's place; 0: deleted.
    place: u64,
}

pub(super) struct LinkTable {
    secret: RandomState,
    places: HashMap<u64, Place, BuildHasherDefault<AsIs>>,
    known: HashMap<LinkId, Known>,
    live: AtomicUsize,
}

impl LinkTable {
    pub(super) fn new(collector: &Arc<Collector>) -> Self {
        Self {
            secret: RandomState::new(),
            places: HashMap::builder()
                .hasher(BuildHasherDefault::default())
                .shared_collector(Arc::clone(collector))
                .build(),
            known: HashMap::builder().shared_collector(Arc::clone(collector)).build(),
            live: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn by_code<'g>(
        &self,
        account: AccountId,
        code: &str,
        guard: &'g LocalGuard<'_>,
    ) -> Option<&'g LinkEntry> {
        let place = self.places.get(&self.place_of(account, code), guard)?;
        // The greater id is the later link.
        place.entries().iter().rev().find(|entry| entry.is_of(account, code))
    }

    pub(super) fn by_id<'g>(&self, id: LinkId, guard: &'g LocalGuard<'_>) -> Option<&'g LinkEntry> {
        let known = self.known.get(&id, guard)?;
        let place = self.places.get(&known.place, guard)?;
        place.entries().iter().find(|entry| entry.id() == id)
    }

    /// Keeps `link` unless a version as new is known. Writers come one after another.
    pub(super) fn apply(&self, version: i64, link: &LinkRecord, guard: &LocalGuard<'_>) {
        let old = self.known.get(&link.id, guard).copied();
        if old.is_some_and(|old| old.version >= version) {
            return;
        }
        let old_place = old.map_or(0, |old| old.place);
        let place = if link.deleted { 0 } else { self.place_of(link.account, &link.code) };
        // In this order a link that moves is always found by one of its two codes.
        if place != 0 {
            self.put(place, LinkEntry::pack(link), guard);
        }
        self.known.insert(link.id, Known { version, place }, guard);
        if old_place != 0 && old_place != place {
            self.take(old_place, link.id, guard);
        }
        match (old_place != 0, place != 0) {
            (false, true) => {
                self.live.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.live.fetch_sub(1, Ordering::Relaxed);
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Never 0.
    fn place_of(&self, account: AccountId, code: &str) -> u64 {
        self.secret.hash_one((account.0, code)).max(1)
    }

    fn put(&self, place: u64, entry: LinkEntry, guard: &LocalGuard<'_>) {
        let others = self.places.get(&place, guard).map(Place::entries).unwrap_or_default();
        let mut entries: Vec<LinkEntry> =
            others.iter().filter(|other| other.id() != entry.id()).cloned().collect();
        entries.push(entry);
        self.set(place, entries, guard);
    }

    fn take(&self, place: u64, id: LinkId, guard: &LocalGuard<'_>) {
        let entries = self.places.get(&place, guard).map(Place::entries).unwrap_or_default();
        let left = entries.iter().filter(|entry| entry.id() != id).cloned().collect();
        self.set(place, left, guard);
    }

    fn set(&self, place: u64, entries: Vec<LinkEntry>, guard: &LocalGuard<'_>) {
        match Place::of(entries) {
            Some(entries) => self.places.insert(place, entries, guard),
            None => self.places.remove(&place, guard),
        };
    }
}
