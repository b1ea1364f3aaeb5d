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
        atomic::{AtomicI64, AtomicUsize, Ordering},
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

#[derive(Debug)]
struct Known {
    version: AtomicI64,
    /// The key of the link's place; 0: deleted.
    place: u64,
}

pub(super) struct LinkTable<S = RandomState> {
    secret: S,
    places: HashMap<u64, Place, BuildHasherDefault<AsIs>>,
    known: HashMap<LinkId, Known>,
    live: AtomicUsize,
}

impl<S: BuildHasher> LinkTable<S> {
    pub(super) fn new(secret: S, collector: &Arc<Collector>) -> Self {
        Self {
            secret,
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
        if link.deleted {
            self.remove(version, link.id, guard);
        } else if !self.knows(version, link.id, guard) {
            self.set_link(version, link.id, Some(LinkEntry::pack(link)), guard);
        }
    }

    /// As [`Self::apply`], of a link that was packed before.
    pub(super) fn apply_packed(&self, version: i64, entry: LinkEntry, guard: &LocalGuard<'_>) {
        if !self.knows(version, entry.id(), guard) {
            self.set_link(version, entry.id(), Some(entry), guard);
        }
    }

    /// Keeps a tombstone unless a version as new is known.
    pub(super) fn remove(&self, version: i64, id: LinkId, guard: &LocalGuard<'_>) {
        if !self.knows(version, id, guard) {
            self.set_link(version, id, None, guard);
        }
    }

    /// Knows nothing of the link any more, not even that it was deleted.
    pub(super) fn forget(&self, id: LinkId, guard: &LocalGuard<'_>) {
        let Some(known) = self.known.get(&id, guard) else { return };
        self.known.remove(&id, guard);
        if known.place != 0 {
            self.take(known.place, id, guard);
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Any version replaces what is known.
    pub(super) fn forget_versions(&self, guard: &LocalGuard<'_>) {
        self.known.iter(guard).for_each(|(_, known)| known.version.store(i64::MIN, Ordering::Relaxed));
    }

    pub(super) fn clear(&self, guard: &LocalGuard<'_>) {
        self.places.clear(guard);
        self.known.clear(guard);
        self.live.store(0, Ordering::Relaxed);
    }

    /// Everything that is known; none: a tombstone.
    ///
    /// Of a link that changes meanwhile, what is handed out is at least as new as the version says, or it is left out.
    pub(super) fn iter<'g>(
        &self,
        guard: &'g LocalGuard<'_>,
    ) -> impl Iterator<Item = (LinkId, i64, Option<&'g LinkEntry>)> {
        self.known.iter(guard).filter_map(|(id, known)| {
            let version = known.version.load(Ordering::Relaxed);
            if known.place == 0 {
                return Some((*id, version, None));
            }
            let place = self.places.get(&known.place, guard)?;
            let entry = place.entries().iter().find(|entry| entry.id() == *id)?;
            Some((*id, version, Some(entry)))
        })
    }

    fn knows(&self, version: i64, id: LinkId, guard: &LocalGuard<'_>) -> bool {
        self.known.get(&id, guard).is_some_and(|known| known.version.load(Ordering::Relaxed) >= version)
    }

    fn set_link(&self, version: i64, id: LinkId, entry: Option<LinkEntry>, guard: &LocalGuard<'_>) {
        let old_place = self.known.get(&id, guard).map_or(0, |old| old.place);
        let place = entry.as_ref().map_or(0, |entry| self.place_of(entry.account(), entry.code()));
        // In this order a link that moves is always found by one of its two codes.
        if let Some(entry) = entry {
            self.put(place, entry, guard);
        }
        self.known.insert(id, Known { version: version.into(), place }, guard);
        if old_place != 0 && old_place != place {
            self.take(old_place, id, guard);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        catalog::model::{LinkStep, link_steps, newest, shuffled},
        domain::ids::{AffiliateId, ProgramId},
    };

    use super::*;

    #[test]
    fn a_place_is_no_larger_than_a_link() {
        assert_eq!(size_of::<Place>(), size_of::<LinkEntry>());
    }

    /// Gives every code the same hash.
    #[derive(Clone, Copy)]
    struct Collides;

    impl BuildHasher for Collides {
        type Hasher = Zero;

        fn build_hasher(&self) -> Zero {
            Zero
        }
    }

    struct Zero;

    impl Hasher for Zero {
        fn write(&mut self, _: &[u8]) {}

        fn finish(&self) -> u64 {
            0
        }
    }

    fn check<S: BuildHasher>(secret: S, steps: &[LinkStep]) {
        let collector = Arc::new(Collector::new());
        let table = LinkTable::new(secret, &collector);
        let guard = collector.enter();
        for step in steps {
            table.apply(step.version, &step.link, &guard);
        }

        let newest = newest(steps);
        let live: Vec<&LinkRecord> = newest.values().copied().filter(|link| !link.deleted).collect();
        assert_eq!(table.len(), live.len());
        for (id, link) in &newest {
            let expected = (!link.deleted).then(|| LinkEntry::pack(link));
            assert_eq!(table.by_id(*id, &guard), expected.as_ref());
        }
        for step in steps {
            let (account, code) = (step.link.account, step.link.code.as_str());
            let claims = live.iter().filter(|link| link.account == account && link.code == code);
            let expected = claims.max_by_key(|link| link.id).map(|link| LinkEntry::pack(link));
            assert_eq!(table.by_code(account, code, &guard), expected.as_ref());
        }
        // Nothing is left behind of codes that nobody has.
        let entries: usize = table.places.iter(&guard).map(|(_, place)| place.entries().len()).sum();
        assert_eq!(entries, live.len());
        assert!(table.places.iter(&guard).all(|(_, place)| !place.entries().is_empty()));
    }

    /// Of links that share places, one after another is forgotten.
    fn check_forgetting(steps: &[LinkStep]) {
        let collector = Arc::new(Collector::new());
        let table = LinkTable::new(Collides, &collector);
        let guard = collector.enter();
        for step in steps {
            table.apply(step.version, &step.link, &guard);
        }
        let mut live: Vec<LinkId> =
            newest(steps).values().filter(|link| !link.deleted).map(|link| link.id).collect();
        for id in (0..6).map(LinkId) {
            table.forget(id, &guard);
            live.retain(|other| *other != id);
            assert_eq!(table.len(), live.len());
            assert!(live.iter().all(|id| table.by_id(*id, &guard).is_some()));
        }
        assert_eq!((table.known.len(), table.places.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(steps in link_steps().prop_flat_map(shuffled)) {
            check(RandomState::new(), &steps);
            check(Collides, &steps);
            check_forgetting(&steps);
        }
    }

    #[test]
    fn a_code_goes_from_a_deleted_link_to_a_later_one() {
        let link = |id, code: &str, deleted| LinkRecord {
            id: LinkId(id),
            account: AccountId(1),
            code: code.into(),
            program: ProgramId(1),
            affiliate: AffiliateId(1),
            destination: None,
            source_id: None,
            asset_id: None,
            expires_at: None,
            deleted,
        };
        let history = [(1, link(1, "jane", false)), (2, link(1, "jane", true)), (1, link(2, "jane", false))];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let collector = Arc::new(Collector::new());
            let table = LinkTable::new(RandomState::new(), &collector);
            let guard = collector.enter();
            for step in order {
                table.apply(history[step].0, &history[step].1, &guard);
            }
            assert_eq!(table.by_code(AccountId(1), "jane", &guard).map(LinkEntry::id), Some(LinkId(2)));
            assert_eq!(table.by_id(LinkId(1), &guard), None, "{order:?}");
            assert_eq!(table.len(), 1, "{order:?}");
        }
    }
}
