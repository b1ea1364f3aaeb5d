//! Clicks: stored in bulk, counted per day from the rows that were new.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    batch::{BatchError, Fault, Notes, Read, Tally, decode, fresh},
    consumer::TakeBatch,
    conversions,
};
use crate::{
    domain::{reason::Outcome, time::Timestamp},
    events::{Body, Click, Event},
    ledger::{Intake, LedgerError, intake::stream_of},
    store::{
        bulk,
        entities::{click, click_rollup, link},
        partitions,
        streams::StreamKey,
    },
    stream::Delivery,
};

/// Links that a consumer remembers; then it begins anew.
const REMEMBERED_LINKS: usize = 100_000;

/// What a click's row needs of its link; it never changes.
#[derive(Clone, Copy, Debug)]
struct LinkFacts {
    account: i64,
    program: i64,
    affiliate: i64,
}

pub(super) struct ClickBatches {
    intake: Arc<Intake>,
    retention_days: u32,
    arrived: Arc<Notify>,
    links: HashMap<i64, LinkFacts>,
    /// Days that have a partition.
    days: BTreeSet<i32>,
    /// Those of the batch under way.
    new_days: BTreeSet<i32>,
}

/// Where a click came from, and what is counted of it.
struct Origin<'a> {
    stream: StreamKey,
    day: i32,
    /// Of the topic.
    partition: i32,
    click: &'a Click,
    link: LinkFacts,
}

/// A rollup's key: link, day, class, country, device, partition of the topic. By the partition, instances that settle
/// clicks of one link at once count in rows of their own.
type RollupKey<'a> = (i64, i32, &'static str, &'a str, &'a str, i32);

impl ClickBatches {
    /// `arrived` is told when clicks were stored.
    pub fn new(intake: Arc<Intake>, retention_days: u32, arrived: Arc<Notify>) -> Self {
        Self {
            intake,
            retention_days,
            arrived,
            links: HashMap::new(),
            days: BTreeSet::new(),
            new_days: BTreeSet::new(),
        }
    }

    /// Looks up the links of a batch that are not remembered.
    async fn learn(&mut self, tx: &DatabaseTransaction, events: &[(Event, i32)]) -> Result<(), BatchError> {
        let mut unknown: Vec<i64> = events
            .iter()
            .filter_map(|(event, _)| click_of(event))
            .map(|click| click.link.0)
            .filter(|id| !self.links.contains_key(id))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        if self.links.len() + unknown.len() > REMEMBERED_LINKS {
            self.links.clear();
            unknown =
                events.iter().filter_map(|(event, _)| click_of(event)).map(|click| click.link.0).collect();
        }
        for row in link::Entity::find().filter(link::Column::Id.is_in(unknown)).all(tx).await? {
            let facts =
                LinkFacts { account: row.account_id, program: row.program_id, affiliate: row.affiliate_id };
            self.links.insert(row.id, facts);
        }
        Ok(())
    }

    /// The link of a click, if it is one of the click's account.
    fn link_of(&self, click: &Click) -> Option<LinkFacts> {
        self.links.get(&click.link.0).copied().filter(|link| link.account == click.account.0)
    }

    /// Stores events, each with the partition that it came in.
    async fn store(
        &mut self,
        tx: &DatabaseTransaction,
        events: Vec<(Event, i32)>,
        at: Timestamp,
        notes: &mut Notes,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        self.learn(tx, &events).await?;
        let oldest = at.day().saturating_sub_unsigned(self.retention_days);
        let mut rows = Vec::with_capacity(events.len());
        let mut days = BTreeSet::new();
        let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
        let mut origins: HashMap<Uuid, Origin<'_>> = HashMap::with_capacity(events.len());
        for (event, partition) in &events {
            let Some(click) = click_of(event) else {
                return Err(LedgerError::NotFound("click in this event").into());
            };
            let link = self.link_of(click).ok_or(LedgerError::NotFound("link"))?;
            let clicked_at =
                Timestamp::of_uuid(event.id).ok_or(LedgerError::NotFound("time in the click id"))?;
            let stream = stream_of(event);
            if clicked_at.day() < oldest {
                notes.counts.add(&stream, Outcome::Late, 1);
                *outcomes.entry(Outcome::Late).or_default() += 1;
                continue;
            }
            let day = clicked_at.day();
            days.insert(day);
            origins.insert(event.id, Origin { stream, day, partition: *partition, click, link });
            rows.push(row(event.id, clicked_at, click, link));
        }
        self.make_room(tx, &days).await?;
        let stored = insert(tx, rows).await?;
        let mut counted = Vec::with_capacity(stored.len());
        for id in &stored {
            if let Some(origin) = origins.remove(id) {
                notes.counts.add(&origin.stream, Outcome::Stored, 1);
                *outcomes.entry(Outcome::Stored).or_default() += 1;
                counted.push(origin);
            }
        }
        // What is left was there before.
        for origin in origins.values() {
            notes.counts.add(&origin.stream, Outcome::DuplicateDelivery, 1);
            *outcomes.entry(Outcome::DuplicateDelivery).or_default() += 1;
        }
        roll_up(tx, &counted).await?;
        for (outcome, events) in outcomes {
            tally.add(outcome, events);
        }
        Ok(())
    }

    /// Makes the partitions of these days, unless a batch that was committed has found or made them.
    async fn make_room(&mut self, tx: &DatabaseTransaction, days: &BTreeSet<i32>) -> Result<(), BatchError> {
        self.new_days = days.difference(&self.days).copied().collect();
        Ok(partitions::ensure(tx, &self.new_days).await?)
    }
}

impl TakeBatch for ClickBatches {
    async fn take(
        &mut self,
        tx: &DatabaseTransaction,
        batch: &[Delivery],
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        self.new_days.clear();
        let mut events = Vec::with_capacity(batch.len());
        let mut ids = HashSet::with_capacity(batch.len());
        let (batch, mut notes) = fresh(tx, decode(batch)?, tally).await?;
        for read in batch {
            match read {
                Read::Event { event, partition } if ids.insert(event.id) => events.push((*event, partition)),
                // The same click twice in one batch, under two numbers.
                Read::Event { event, .. } => {
                    notes.counts.add(&stream_of(&event), Outcome::DuplicateDelivery, 1);
                    tally.add(Outcome::DuplicateDelivery, 1);
                }
                Read::Refused { .. } | Read::Unreadable { .. } => {
                    conversions::keep(&self.intake, tx, &read, None, at, &mut notes, tally).await?;
                }
            }
        }
        let stored = self.store(tx, events, at, &mut notes, tally).await;
        if stored.is_err() {
            // Somebody may have taken a partition away that was known to be there.
            self.days.clear();
        }
        stored?;
        notes.write(tx, at).await
    }

    async fn refuse(
        &mut self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        fault: Fault,
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        self.new_days.clear();
        conversions::refuse(&self.intake, tx, delivery, fault, at, tally).await
    }

    fn committed(&mut self) {
        self.days.append(&mut self.new_days);
        self.arrived.notify_one();
    }
}

fn click_of(event: &Event) -> Option<&Click> {
    match &event.body {
        Body::Click(click) => Some(click),
        Body::Conversion(_) | Body::Refund(_) | Body::End => None,
    }
}

fn row(id: Uuid, clicked_at: Timestamp, click: &Click, link: LinkFacts) -> click::ActiveModel {
    click::ActiveModel {
        day: Set(clicked_at.day()),
        id: Set(id),
        account_id: Set(click.account.0),
        link_id: Set(click.link.0),
        program_id: Set(link.program),
        affiliate_id: Set(link.affiliate),
        class: Set(click.class.as_str().to_owned()),
        attributable: Set(click.attributable),
        review: Set(click.review),
        clicked_at: Set(clicked_at.0),
        ip_prefix: Set(click.ip_prefix.clone()),
        visitor: Set(click.visitor.clone()),
        user_agent: Set(click.user_agent.clone()),
        device: Set(click.device.clone()),
        os: Set(click.os.clone()),
        browser: Set(click.browser.clone()),
        country: Set(click.country.clone()),
        network: Set(click.network.map(i64::from)),
        referrer: Set(click.referrer.clone()),
        source_id: Set(click.source_id.clone()),
        asset_id: Set(click.asset_id.clone()),
        tracking_id: Set(click.tracking_id.clone()),
        details: Set(json!({
            "sub_ids": click.sub_ids,
            "deep_link": click.deep_link,
            "deep_link_refused": click.deep_link_refused,
            "meta_data": click.meta_data,
        })),
        duplicate_of: Set(click.duplicate_of),
    }
}

/// Stores rows that are not there; answers the ids of those that were new.
async fn insert(tx: &DatabaseTransaction, rows: Vec<click::ActiveModel>) -> Result<Vec<Uuid>, BatchError> {
    let mut stored = Vec::with_capacity(rows.len());
    for mut insert in bulk::inserts(tx, &rows)? {
        insert
            .on_conflict(OnConflict::columns([click::Column::Day, click::Column::Id]).do_nothing().to_owned())
            .returning_col(click::Column::Id);
        for row in tx.query_all(&insert).await? {
            stored.push(row.try_get("", "id")?);
        }
    }
    Ok(stored)
}

/// Adds clicks that were stored to the counts of their day.
async fn roll_up(tx: &DatabaseTransaction, stored: &[Origin<'_>]) -> Result<(), BatchError> {
    use click_rollup::Column;
    let mut counts: BTreeMap<RollupKey<'_>, (LinkFacts, i64)> = BTreeMap::new();
    for origin in stored {
        let click = origin.click;
        let country = click.country.as_deref().unwrap_or_default();
        let class = click.class.as_str();
        let key = (click.link.0, origin.day, class, country, click.device.as_str(), origin.partition);
        counts.entry(key).or_insert((origin.link, 0)).1 += 1;
    }
    let rows =
        counts.into_iter().map(|((link_id, day, class, country, device, partition), (link, clicks))| {
            click_rollup::ActiveModel {
                link_id: Set(link_id),
                day: Set(day),
                class: Set(class.to_owned()),
                country: Set(country.to_owned()),
                device: Set(device.to_owned()),
                partition: Set(partition),
                account_id: Set(link.account),
                program_id: Set(link.program),
                affiliate_id: Set(link.affiliate),
                clicks: Set(clicks),
            }
        });
    let sum = Expr::col((click_rollup::Entity, Column::Clicks)).add(Expr::col(("excluded", Column::Clicks)));
    for mut insert in bulk::inserts(tx, &rows.collect::<Vec<_>>())? {
        insert.on_conflict(
            OnConflict::columns([
                Column::LinkId,
                Column::Day,
                Column::Class,
                Column::Country,
                Column::Device,
                Column::Partition,
            ])
            .value(Column::Clicks, sum.clone())
            .to_owned(),
        );
        tx.execute(&insert).await?;
    }
    Ok(())
}
