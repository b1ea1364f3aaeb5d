//! Every measure must be what the conversions of its program come to.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};

use super::Verification;
use crate::{
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, ProgramId},
        measures::{EVERYBODY, Kept, Sum},
        time::Timestamp,
    },
    ledger::{
        LedgerError, bonuses,
        measures::{self, Key, Moved},
    },
    store::{
        accounts,
        entities::{measure, program},
    },
};

/// Account, affiliate, subject, period, its start, rate.
type MeasureKey = (i64, i64, String, String, i64, String);

/// A number, and an amount before the rate.
type Sums = BTreeMap<MeasureKey, Sum>;

pub(super) async fn compare(db: &impl ConnectionTrait, found: &mut Verification) -> Result<(), LedgerError> {
    for account in accounts::list(db).await? {
        let zone = Zone::named(&account.time_zone);
        let zone = zone.map_err(|error| LedgerError::damaged("time zone", error))?;
        let programs = program::Entity::find()
            .filter(program::Column::AccountId.eq(account.id))
            .order_by_asc(program::Column::Id)
            .all(db)
            .await?;
        for program in programs {
            compare_program(db, &zone, &program, found).await?;
        }
    }
    let strangers =
        measure::Entity::find()
            .filter(measure::Column::ProgramId.not_in_subquery(
                program::Entity::find().select_only().column(program::Column::Id).into_query(),
            ))
            .count(db)
            .await?;
    if strangers > 0 {
        found.differences.push(format!("{strangers} measures belong to programs that are not stored"));
    }
    Ok(())
}

async fn compare_program(
    db: &impl ConnectionTrait,
    zone: &Zone,
    program: &program::Model,
    found: &mut Verification,
) -> Result<(), LedgerError> {
    let sums = add_up(db, zone, program).await?;
    let mut stored = Sums::new();
    for row in measure::Entity::find().filter(measure::Column::ProgramId.eq(program.id)).all(db).await? {
        let key = (row.account_id, row.affiliate_id, row.subject, row.period, row.starts_at, row.rate);
        stored.insert(key, Sum { count: row.count, amount: row.amount });
    }
    found.measures += stored.len() as u64;
    let keys: BTreeSet<_> = stored.keys().chain(sums.keys()).collect();
    for key in keys {
        // What comes to nothing may be kept or not.
        let kept = stored.get(key).copied().unwrap_or_default();
        let sum = sums.get(key).copied().unwrap_or_default();
        if kept != sum {
            found.differences.push(difference(program.id, key, kept, sum));
        }
    }
    Ok(())
}

/// What the measures of a program come to.
async fn add_up(db: &impl ConnectionTrait, zone: &Zone, row: &program::Model) -> Result<Sums, LedgerError> {
    let (account, program) = (AccountId(row.account_id), ProgramId(row.id));
    let kept: Vec<Kept> = serde_json::from_value(row.measured.clone())
        .map_err(|error| LedgerError::damaged("measures", error))?;
    let mut sums = Moved::new();
    if !kept.is_empty() {
        sums = measures::sums(db, account, zone, program, &kept).await?;
    }
    for bonus in bonuses::of_program(db, program).await? {
        for (affiliate, by_rate) in bonuses::all_time_sums(db, account, zone, &bonus).await? {
            for (rate, sum) in by_rate {
                let key = Key::of_bonus(account, program, affiliate, bonus.id, &rate);
                sums.insert(key, sum);
            }
        }
    }
    let row_key = |key: Key| {
        let period = key.period.as_str().to_owned();
        (key.account.0, key.owner.0, key.subject, period, key.starts_at.0, key.rate)
    };
    Ok(sums.into_iter().map(|(key, sum)| (row_key(key), sum)).collect())
}

fn difference(program: i64, key: &MeasureKey, kept: Sum, sum: Sum) -> String {
    let (account, affiliate, subject, period, starts_at, rate) = key;
    let owner = if AffiliateId(*affiliate) == EVERYBODY {
        "all affiliates".to_owned()
    } else {
        format!("affiliate {affiliate}")
    };
    format!(
        "account {account}, program {program}, {owner}: the measure {subject} by {period} from {} at the rate {rate} is \
         kept as {} of {}, its conversions come to {} of {} (minor units)",
        Timestamp(*starts_at),
        kept.count,
        kept.amount,
        sum.count,
        sum.amount,
    )
}
