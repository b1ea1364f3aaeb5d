//! The demo of `waypost dev`: an account with a program, an affiliate, a link and a coupon, made in an empty store.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    exit::{Code, Failure},
    parts::{find_program, ledger_failed, store_failed},
    process::write_private,
};
use crate::{
    catalog::{KeyKind, Scope},
    domain::{
        amount::{Currency, DecimalText, Percent},
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, NameError, ProgramId, Slug},
        price::{Price, Recurrence},
        program::{
            AttributionModel, CommissionType, PixelTrust, ProgramSettings, ReferrerPolicy, RefundPolicy,
            SameSite,
        },
        reason::Standing,
        sealed::SealingKeys,
        time::Timestamp,
    },
    ledger::{Command, LedgerError, PutAffiliate, PutCoupon, PutLink, PutProgram, apply},
    store::{
        Store, accounts, keys, pixel_secrets,
        sequences::{self, Sequence},
    },
};

pub const ACCOUNT: &str = "demo";
pub const PROGRAM: &str = "demo-shop";
pub const AFFILIATE: &str = "jane";
pub const LINK: &str = "jane";
pub const COUPON: &str = "JANE10";

/// A visitor's browser. Clicks of curl itself are of class `crawler` and earn nothing.
pub const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// The demo as it stands in the store.
#[derive(Clone, Debug)]
pub struct Demo {
    pub account: AccountId,
    pub program: ProgramId,
    pub keys: DemoKeys,
}

/// The demo's keys, kept in `demo-keys.json` so that they are the same after a restart.
#[derive(Clone, Serialize, Deserialize)]
pub struct DemoKeys {
    pub secret_key: String,
    pub publishable_key: String,
}

impl std::fmt::Debug for DemoKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DemoKeys")
    }
}

/// Makes the demo in an empty store; sees to it that its program leads to `page`. `None`: the store was made by
/// somebody else, or the demo was deleted.
pub async fn ensure(
    store: &Store,
    sealing: &SealingKeys,
    folder: &Path,
    page: &str,
) -> Result<Option<Demo>, Failure> {
    let existing = accounts::find_by_slug(store.reader(), ACCOUNT).await.map_err(store_failed)?;
    let account = match existing {
        Some(row) => {
            lead_to(store, AccountId(row.id), page).await?;
            AccountId(row.id)
        }
        None if accounts::list(store.reader()).await.map_err(store_failed)?.is_empty() => {
            create(store, sealing, page).await?
        }
        None => return Ok(None),
    };
    let Some(program) = find_program(store, account, PROGRAM).await? else { return Ok(None) };
    let keys = load_or_make_keys(store, account, &folder.join("demo-keys.json")).await?;
    Ok(Some(Demo { account, program: ProgramId(program.id), keys }))
}

async fn create(store: &Store, sealing: &SealingKeys, page: &str) -> Result<AccountId, Failure> {
    let tx = store.begin().await.map_err(store_failed)?;
    let account = fill(&tx, sealing, page).await.map_err(ledger_failed)?;
    tx.commit().await.map_err(store_failed)?;
    Ok(account)
}

async fn fill(tx: &DatabaseTransaction, sealing: &SealingKeys, page: &str) -> Result<AccountId, LedgerError> {
    let at = Timestamp::now();
    let program = ProgramId(sequences::next(tx, Sequence::Program).await?);
    let affiliate = AffiliateId(sequences::next(tx, Sequence::Affiliate).await?);
    let link = LinkId(sequences::next(tx, Sequence::Link).await?);
    let account = accounts::create(tx, &slug(ACCOUNT)?, "Demo", &Zone::utc(), at).await?;
    let commands = [
        Command::PutProgram(Box::new(PutProgram {
            id: program,
            slug: slug(PROGRAM)?,
            currency: constant("USD".parse::<Currency>())?,
            settings: settings(page)?,
            from: None,
        })),
        Command::PutAffiliate(PutAffiliate { id: affiliate, slug: slug(AFFILIATE)?, suspended: false }),
        Command::SetStanding { program, affiliate, standing: Standing::Approved },
        Command::PutLink(Box::new(PutLink {
            id: link,
            uid: Uuid::now_v7(),
            program,
            affiliate,
            code: LINK.to_owned(),
            destination: None,
            source_id: None,
            asset_id: None,
            expires_at: None,
        })),
        Command::PutCoupon(PutCoupon {
            id: Uuid::now_v7(),
            program,
            affiliate,
            code: COUPON.to_owned(),
            starts_at: None,
            ends_at: None,
        }),
    ];
    for command in &commands {
        apply(tx, account, at, command).await?;
    }
    pixel_secrets::renew(tx, program, sealing, at).await?;
    Ok(account)
}

fn settings(page: &str) -> Result<ProgramSettings, LedgerError> {
    let ten = constant("10".parse::<DecimalText>())?;
    Ok(ProgramSettings {
        name: "Demo shop".to_owned(),
        destination: page.to_owned(),
        deep_link_hosts: Vec::new(),
        allow_http: true,
        referral_parameter: "ref".to_owned(),
        click_parameter: "click_id".to_owned(),
        cookie_time: 30,
        override_max_cookie_time: false,
        cookie_same_site: SameSite::Lax,
        attribution_model: AttributionModel::LastClick,
        referrer_policy: ReferrerPolicy::default(),
        pixel: PixelTrust::Open,
        duplicate_window_ms: 3_600_000,
        commission_types: vec![CommissionType {
            identifier: "standard".to_owned(),
            title: "Standard".to_owned(),
            price: Price::Percentage { value: constant(Percent::from_decimal(&ten))? },
            first_payment: None,
            recurrence: Recurrence::Forever,
            count_towards_cap: true,
        }],
        default_commission_type: "standard".to_owned(),
        auto_approve_commissions: false,
        payout_delay: 0,
        refund_policy: RefundPolicy::Reverse,
        program_group: None,
        recurring: true,
        recurring_cap: None,
        recurring_period_days: None,
        settle_in_program_currency: false,
        levels: Vec::new(),
        caps: Vec::new(),
    })
}

fn slug(text: &str) -> Result<Slug, LedgerError> {
    constant::<Slug, NameError>(text.parse())
}

/// The demo's values are constants of this file; a wrong one is a defect.
fn constant<T, E: std::fmt::Display>(value: Result<T, E>) -> Result<T, LedgerError> {
    value.map_err(|error| LedgerError::Damaged { what: "demo", detail: error.to_string() })
}

/// The page's address changes with the listener's port: the program follows, with a new version.
async fn lead_to(store: &Store, account: AccountId, page: &str) -> Result<(), Failure> {
    let Some(row) = find_program(store, account, PROGRAM).await? else { return Ok(()) };
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::new(Code::Data, format!("the demo program: {error}"));
    let mut settings: ProgramSettings =
        serde_json::from_value(row.settings).map_err(|error| unreadable(&error))?;
    // Somebody who sent it elsewhere is left alone.
    let is_demo_page =
        settings.destination.starts_with("http://127.0.0.1:") && settings.destination.ends_with("/demo");
    if settings.destination == page || !is_demo_page {
        return Ok(());
    }
    settings.destination = page.to_owned();
    let put = PutProgram {
        id: ProgramId(row.id),
        slug: row.slug.parse().map_err(|error: NameError| unreadable(&error))?,
        currency: row.currency.parse().map_err(|error| unreadable(&error))?,
        settings,
        from: None,
    };
    let tx = store.begin().await.map_err(store_failed)?;
    let command = Command::PutProgram(Box::new(put));
    apply(&tx, account, Timestamp::now(), &command).await.map_err(ledger_failed)?;
    tx.commit().await.map_err(store_failed)
}

async fn load_or_make_keys(store: &Store, account: AccountId, path: &PathBuf) -> Result<DemoKeys, Failure> {
    match fs::read(path) {
        Ok(bytes) => {
            return serde_json::from_slice(&bytes).map_err(|_| {
                Failure::new(Code::Data, format!("{} is damaged", path.display()))
                    .with_hint("Delete it: new keys are made at the next start.")
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::io("read the demo's keys", path, &error)),
    }
    let at = Timestamp::now();
    let tx = store.begin().await.map_err(store_failed)?;
    let secret = keys::create(&tx, account, "demo secret", KeyKind::Secret, &Scope::ALL, at).await;
    let publishable =
        keys::create(&tx, account, "demo publishable", KeyKind::Publishable, &[Scope::Events], at).await;
    let made = DemoKeys {
        secret_key: secret.map_err(store_failed)?.text,
        publishable_key: publishable.map_err(store_failed)?.text,
    };
    tx.commit().await.map_err(store_failed)?;
    let text = serde_json::to_vec(&made).map_err(|error| Failure::new(Code::Software, error.to_string()))?;
    write_private(path, &text).map_err(|error| Failure::io("write the demo's keys", path, &error))?;
    Ok(made)
}
