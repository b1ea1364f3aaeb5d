//! Clicks: stored in bulk, counted per day from the rows that were new.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, Set, TryInsertResult,
    sea_query::{Expr, OnConflict},
};
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    batch::{BatchError, Read, Tally, decode, see},
    consumer::TakeBatch,
    conversions,
};
use crate::{
    domain::{ids::AccountId, reason::Outcome, time::Timestamp},
    events::{Body, Click, Event},
    ledger::{Intake, LedgerError, intake::stream_of},
    store::{
        entities::{click, click_rollup, link},
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
}

/// A rollup's key: link, day, class, country, device, and the partition of the topic, so that consumers never meet on
/// a row.
type RollupKey = (i64, i32, &'static str, String, String, i32);

/// A click of the batch.
struct Clicked {
    event: Box<Event>,
    partition: i32,
}

impl ClickBatches {
    /// `arrived` is told when clicks were stored.
    pub fn new(intake: Arc<Intake>, retention_days: u32, arrived: Arc<Notify>) -> Self {
        Self { intake, retention_days, arrived, links: HashMap::new() }
    }

    /// Looks up the links of a batch that are not remembered.
    async fn learn(&mut self, tx: &DatabaseTransaction, events: &[Clicked]) -> Result<(), BatchError> {
        let mut unknown: Vec<i64> = events
            .iter()
            .filter_map(|clicked| click_of(&clicked.event))
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
            unknown = events
                .iter()
                .filter_map(|clicked| click_of(&clicked.event))
                .map(|click| click.link.0)
                .collect();
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

    async fn store(
        &mut self,
        tx: &DatabaseTransaction,
        mut events: Vec<Clicked>,
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        self.learn(tx, &events).await?;
        // Consumers that meet on the same clicks, delivered by two partitions, take them in one order.
        events.sort_by_key(|clicked| clicked.event.id);
        let oldest = at.day().saturating_sub_unsigned(self.retention_days);
        let mut rows = Vec::with_capacity(events.len());
        let mut given: HashMap<Uuid, (StreamKey, i32)> = HashMap::new();
        for Clicked { event, partition } in &events {
            let Some(click) = click_of(event) else {
                return Err(LedgerError::NotFound("click in this event").into());
            };
            let link = self.link_of(click).ok_or(LedgerError::NotFound("link"))?;
            let clicked_at =
                Timestamp::of_uuid(event.id).ok_or(LedgerError::NotFound("time in the click id"))?;
            let stream = stream_of(event);
            if clicked_at.day() < oldest {
                tally.end(&stream, Outcome::Late);
                continue;
            }
            given.insert(event.id, (stream, *partition));
            rows.push(row(event.id, clicked_at, click, link));
        }
        let inserted = if rows.is_empty() {
            Vec::new()
        } else {
            let inserted = click::Entity::insert_many(rows)
                .on_conflict_do_nothing_on([click::Column::Day, click::Column::Id])
                .exec_with_returning_many(tx)
                .await?;
            match inserted {
                TryInsertResult::Inserted(rows) => rows,
                TryInsertResult::Empty | TryInsertResult::Conflicted => Vec::new(),
            }
        };
        let mut stored = Vec::with_capacity(inserted.len());
        for row in inserted {
            if let Some((stream, partition)) = given.remove(&row.id) {
                tally.end(&stream, Outcome::Stored);
                stored.push((row, partition));
            }
        }
        for (stream, _) in given.into_values() {
            tally.end(&stream, Outcome::DuplicateDelivery);
        }
        roll_up(tx, &stored).await
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
        let mut events = Vec::with_capacity(batch.len());
        let mut ids = HashSet::with_capacity(batch.len());
        for read in see(tx, decode(batch)?, tally).await? {
            match read {
                Read::Event { event, partition } if ids.insert(event.id) => {
                    events.push(Clicked { event, partition });
                }
                // The same click twice in one batch, under two numbers.
                Read::Event { event, .. } => tally.end(&stream_of(&event), Outcome::DuplicateDelivery),
                Read::Unreadable { text, detail } => {
                    self.intake.refuse(tx, AccountId(0), Err(&text), detail, at, &mut tally.counts).await?;
                    tally.add(Outcome::Rejected);
                }
            }
        }
        self.store(tx, events, at, tally).await
    }

    async fn refuse(
        &mut self,
        tx: &DatabaseTransaction,
        delivery: &Delivery,
        detail: String,
        at: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), BatchError> {
        conversions::refuse(&self.intake, tx, delivery, detail, at, tally).await
    }

    fn committed(&mut self) {
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

/// Adds rows that were stored to the counts of their day.
async fn roll_up(tx: &DatabaseTransaction, stored: &[(click::Model, i32)]) -> Result<(), BatchError> {
    use click_rollup::Column;
    let mut counts: BTreeMap<RollupKey, (&click::Model, i64)> = BTreeMap::new();
    for (row, partition) in stored {
        let class = crate::domain::traffic::TrafficClass::parse(&row.class)
            .ok_or_else(|| LedgerError::Damaged { what: "click", detail: row.class.clone() })?;
        let country = row.country.clone().unwrap_or_default();
        let key = (row.link_id, row.day, class.as_str(), country, row.device.clone(), *partition);
        counts.entry(key).or_insert((row, 0)).1 += 1;
    }
    if counts.is_empty() {
        return Ok(());
    }
    let rows = counts.into_iter().map(|((link, day, class, country, device, partition), (row, clicks))| {
        click_rollup::ActiveModel {
            link_id: Set(link),
            day: Set(day),
            class: Set(class.to_owned()),
            country: Set(country),
            device: Set(device),
            partition: Set(partition),
            account_id: Set(row.account_id),
            program_id: Set(row.program_id),
            affiliate_id: Set(row.affiliate_id),
            clicks: Set(clicks),
        }
    });
    let sum = Expr::col((click_rollup::Entity, Column::Clicks)).add(Expr::col(("excluded", Column::Clicks)));
    click_rollup::Entity::insert_many(rows)
        .on_conflict(
            OnConflict::columns([
                Column::LinkId,
                Column::Day,
                Column::Class,
                Column::Country,
                Column::Device,
                Column::Partition,
            ])
            .value(Column::Clicks, sum)
            .to_owned(),
        )
        .exec_without_returning(tx)
        .await?;
    Ok(())
}
