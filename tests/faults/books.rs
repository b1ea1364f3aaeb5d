//! What the store says in the end: every row that an obligation may have an effect in.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QuerySelect};
use serde_json::Value;
use uuid::Uuid;
use waypost::{
    settlement::reconcile::{Reconciliation, reconcile},
    store::entities::{
        account, affiliate, balance, click, commission_line, conversion, coupon, customer, journal_entry,
        link, posting, program, program_version, refund, rejected_event,
    },
};

#[derive(Debug)]
pub struct Books {
    pub accounts: Vec<account::Model>,
    pub programs: HashMap<i64, program::Model>,
    pub affiliates: HashMap<i64, affiliate::Model>,
    pub links: Vec<link::Model>,
    pub coupons: Vec<coupon::Model>,
    pub customers: Vec<customer::Model>,
    pub versions: Vec<program_version::Model>,
    /// By the name of their order, in `meta_data`.
    pub conversions: HashMap<String, Vec<conversion::Model>>,
    pub refunds: HashMap<String, Vec<refund::Model>>,
    pub rejected: HashMap<String, Vec<rejected_event::Model>>,
    /// By their conversion.
    pub lines: HashMap<Uuid, Vec<commission_line::Model>>,
    pub postings: Vec<posting::Model>,
    pub balances: Vec<balance::Model>,
    pub clicks: HashSet<Uuid>,
    /// The numbers of each account's journal.
    pub journal: BTreeMap<i64, Vec<i64>>,
    pub streams: Reconciliation,
}

impl Books {
    /// Reads it all.
    pub async fn read(db: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let programs = program::Entity::find().all(db).await?.into_iter().map(|row| (row.id, row)).collect();
        let affiliates =
            affiliate::Entity::find().all(db).await?.into_iter().map(|row| (row.id, row)).collect();
        let mut conversions = conversion::Entity::find().all(db).await?;
        // One that waited until another of the same order took its place has no effect.
        conversions.retain(|row| row.status != "replaced");
        let refunds = refund::Entity::find().all(db).await?;
        let rejected = rejected_event::Entity::find().all(db).await?;
        let lines = commission_line::Entity::find().all(db).await?;
        let clicks: Vec<Uuid> =
            click::Entity::find().select_only().column(click::Column::Id).into_tuple().all(db).await?;
        let entries: Vec<(i64, i64)> = journal_entry::Entity::find()
            .select_only()
            .columns([journal_entry::Column::AccountId, journal_entry::Column::Seq])
            .into_tuple()
            .all(db)
            .await?;
        let mut journal: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (account, seq) in entries {
            journal.entry(account).or_default().push(seq);
        }
        journal.values_mut().for_each(|numbers| numbers.sort_unstable());
        Ok(Self {
            accounts: account::Entity::find().all(db).await?,
            programs,
            affiliates,
            links: link::Entity::find().all(db).await?,
            coupons: coupon::Entity::find().all(db).await?,
            customers: customer::Entity::find().all(db).await?,
            versions: program_version::Entity::find().all(db).await?,
            conversions: by_key(conversions, |row| name_in(&row.input)),
            refunds: by_key(refunds, |row| name_in(&row.input)),
            rejected: by_key(rejected, |row| {
                let event: Value = serde_json::from_str(&row.event).unwrap_or_default();
                let body = event["body"].as_object().and_then(|body| body.values().next());
                body.map(name_in).unwrap_or_default()
            }),
            lines: by_key(lines, |row| row.conversion_id.unwrap_or_default()),
            postings: posting::Entity::find().all(db).await?,
            balances: balance::Entity::find().all(db).await?,
            clicks: clicks.into_iter().collect(),
            journal,
            streams: reconcile(db).await?,
        })
    }
}

/// The order's name in what was reported of it.
fn name_in(report: &Value) -> String {
    report["meta_data"]["order"].as_str().unwrap_or("of nobody").to_owned()
}

fn by_key<T, K: std::hash::Hash + Eq>(rows: Vec<T>, key: impl Fn(&T) -> K) -> HashMap<K, Vec<T>> {
    let mut found: HashMap<K, Vec<T>> = HashMap::new();
    for row in rows {
        found.entry(key(&row)).or_default().push(row);
    }
    found
}
