//! Tables in which the higher version of a key replaces the lower, in any order of arrival.
//!
//! What is deleted stays as a tombstone that knows its version and nothing else. Writers come one after another (the
//! catalog sees to that); readers never wait.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use papaya::{Equivalent, HashMap, LocalGuard};
use seize::Collector;

/// The newest known version of one key; no record: a tombstone.
struct Kept<R> {
    version: AtomicI64,
    record: Option<R>,
}

/// Records by their key.
pub(super) struct Versions<K, R> {
    kept: HashMap<K, Kept<R>>,
}

impl<K: Hash + Eq + Send + 'static, R: Send + 'static> Versions<K, R> {
    pub(super) fn new(collector: &Arc<Collector>) -> Self {
        Self { kept: HashMap::builder().shared_collector(Arc::clone(collector)).build() }
    }

    pub(super) fn get<'g, Q>(&self, key: &Q, guard: &'g LocalGuard<'_>) -> Option<&'g R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.kept.get(key, guard)?.record.as_ref()
    }

    fn knows(&self, version: i64, key: &K, guard: &LocalGuard<'_>) -> bool {
        self.kept.get(key, guard).is_some_and(|kept| kept.version.load(Ordering::Relaxed) >= version)
    }

    /// Any version replaces what is kept.
    pub(super) fn forget_versions(&self, guard: &LocalGuard<'_>) {
        self.kept.iter(guard).for_each(|(_, kept)| kept.version.store(i64::MIN, Ordering::Relaxed));
    }

    /// Everything that is known; none: a tombstone.
    pub(super) fn iter<'g>(
        &self,
        guard: &'g LocalGuard<'_>,
    ) -> impl Iterator<Item = (&'g K, i64, Option<&'g R>)> {
        self.kept
            .iter(guard)
            .map(|(key, kept)| (key, kept.version.load(Ordering::Relaxed), kept.record.as_ref()))
    }

    /// Knows nothing of the key any more, not even that it was deleted.
    pub(super) fn forget<Q>(&self, key: &Q, guard: &LocalGuard<'_>)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.kept.remove(key, guard);
    }

    pub(super) fn clear(&self, guard: &LocalGuard<'_>) {
        self.kept.clear(guard);
    }

    /// Keeps `record` unless a version as new is known; none: the key is deleted.
    pub(super) fn apply(&self, version: i64, key: K, record: Option<R>, guard: &LocalGuard<'_>) {
        if !self.knows(version, &key, guard) {
            self.kept.insert(key, Kept { version: version.into(), record }, guard);
        }
    }
}

/// A record that is found by a name too, unique in its scope.
pub(super) trait Named: Send + 'static {
    type Id: Copy + Hash + Ord + Send + 'static;

    fn id(&self) -> Self::Id;
    /// Names are unique within a scope.
    fn scope(&self) -> i64;
    fn name(&self) -> &str;
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Name {
    scope: i64,
    text: Box<str>,
}

/// A name to look for, hashed as [`Name`] is.
#[derive(Hash)]
struct NameRef<'a> {
    scope: i64,
    text: &'a str,
}

impl Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.scope == name.scope && *self.text == *name.text
    }
}

/// Records by id and by name.
///
/// While deliveries are out of order two ids may claim one name; the greater id, which is the later one, has it.
pub(super) struct NamedVersions<R: Named> {
    records: Versions<R::Id, R>,
    /// Ascending ids of live records.
    names: HashMap<Name, Vec<R::Id>>,
}

impl<R: Named> NamedVersions<R> {
    pub(super) fn new(collector: &Arc<Collector>) -> Self {
        Self {
            records: Versions::new(collector),
            names: HashMap::builder().shared_collector(Arc::clone(collector)).build(),
        }
    }

    pub(super) fn get<'g>(&self, id: R::Id, guard: &'g LocalGuard<'_>) -> Option<&'g R> {
        self.records.get(&id, guard)
    }

    pub(super) fn by_name<'g>(&self, scope: i64, text: &str, guard: &'g LocalGuard<'_>) -> Option<&'g R> {
        let ids = self.names.get(&NameRef { scope, text }, guard)?;
        let records = ids.iter().rev().filter_map(|id| self.records.get(id, guard));
        // A name is listed a moment before its record is in, and a moment longer.
        records.into_iter().find(|record| record.scope() == scope && record.name() == text)
    }

    /// Everything that is known; none: a tombstone.
    pub(super) fn iter<'g>(
        &self,
        guard: &'g LocalGuard<'_>,
    ) -> impl Iterator<Item = (&'g R::Id, i64, Option<&'g R>)> {
        self.records.iter(guard)
    }

    /// As [`Versions::apply`]; a record is live or deleted.
    pub(super) fn apply(&self, version: i64, record: R, live: bool, guard: &LocalGuard<'_>) {
        let id = record.id();
        if self.records.knows(version, &id, guard) {
            return;
        }
        let old = self.records.get(&id, guard);
        let renamed = |old: &&R| !live || old.scope() != record.scope() || old.name() != record.name();
        let leaves = old.filter(renamed);
        if live {
            self.list(&record, guard);
        }
        self.records.apply(version, id, live.then_some(record), guard);
        if let Some(old) = leaves {
            self.unlist(old, guard);
        }
    }

    /// As [`Versions::forget_versions`].
    pub(super) fn forget_versions(&self, guard: &LocalGuard<'_>) {
        self.records.forget_versions(guard);
    }

    /// Knows nothing of the id any more, not even that it was deleted.
    pub(super) fn forget(&self, id: R::Id, guard: &LocalGuard<'_>) {
        let old = self.records.get(&id, guard);
        self.records.forget(&id, guard);
        if let Some(old) = old {
            self.unlist(old, guard);
        }
    }

    pub(super) fn clear(&self, guard: &LocalGuard<'_>) {
        self.names.clear(guard);
        self.records.clear(guard);
    }

    /// Keeps a tombstone unless a version as new is known.
    pub(super) fn remove(&self, version: i64, id: R::Id, guard: &LocalGuard<'_>) {
        if self.records.knows(version, &id, guard) {
            return;
        }
        let old = self.records.get(&id, guard);
        self.records.apply(version, id, None, guard);
        if let Some(old) = old {
            self.unlist(old, guard);
        }
    }

    fn list(&self, record: &R, guard: &LocalGuard<'_>) {
        let (scope, text, id) = (record.scope(), record.name(), record.id());
        let mut ids = self.names.get(&NameRef { scope, text }, guard).cloned().unwrap_or_default();
        if let Err(place) = ids.binary_search(&id) {
            ids.insert(place, id);
            self.names.insert(Name { scope, text: text.into() }, ids, guard);
        }
    }

    fn unlist(&self, record: &R, guard: &LocalGuard<'_>) {
        let (scope, text, id) = (record.scope(), record.name(), record.id());
        let Some(ids) = self.names.get(&NameRef { scope, text }, guard) else { return };
        let left: Vec<R::Id> = ids.iter().copied().filter(|other| *other != id).collect();
        if left.is_empty() {
            self.names.remove(&NameRef { scope, text }, guard);
        } else {
            self.names.insert(Name { scope, text: text.into() }, left, guard);
        }
    }
}
