//! `waypost link add|list`. Running edges learn of a new link within a second.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::{
    cli::{LinkAddArgs, LinkCommand, LinkListArgs},
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    domain::{
        destination::check_destination,
        ids::{AccountId, AffiliateId, LinkId, Prefix, ProgramId, Slug},
        program::ProgramSettings,
        time::Timestamp,
    },
    ledger::{Command, LedgerError, PutLink, apply},
    store::{
        Store, accounts,
        entities::{affiliate, link, program},
        sequences::{self, Sequence},
    },
};

pub fn run(command: &LinkCommand, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        match command {
            LinkCommand::Add(args) => add(&store, args).await,
            LinkCommand::List(args) => list(&store, args).await,
        }
    })
}

async fn add(store: &Store, args: &LinkAddArgs) -> Result<(), Failure> {
    let account = AccountId(parts::find_account(store, args.account.as_str()).await?.id);
    let program = find_program(store, account, &args.program).await?;
    let affiliate = find_affiliate(store, account, &args.affiliate).await?;
    if let Some(destination) = &args.destination {
        let settings: ProgramSettings = serde_json::from_value(program.settings)
            .map_err(|error| Failure::new(Code::Data, format!("the program cannot be read: {error}")))?;
        check_destination(destination, settings.allow_http)
            .map_err(|error| Failure::new(Code::Usage, format!("--destination: {error}")))?;
    }
    let tx = store.begin().await.map_err(parts::store_failed)?;
    accounts::lock(&tx, [account]).await.map_err(parts::store_failed)?;
    let id = sequences::next(&tx, Sequence::Link).await.map_err(parts::store_failed)?;
    let put = PutLink {
        id: LinkId(id),
        uid: Uuid::now_v7(),
        program: ProgramId(program.id),
        affiliate: AffiliateId(affiliate.id),
        code: args.code.clone(),
        destination: args.destination.clone(),
        source_id: args.source_id.clone(),
        asset_id: args.asset_id.clone(),
        expires_at: args.expires_at,
    };
    let uid = put.uid;
    let command = Command::PutLink(Box::new(put));
    apply(&tx, account, Timestamp::now(), &command).await.map_err(|error| match error {
        LedgerError::Conflict { .. } => {
            Failure::new(Code::CantCreate, format!("the code `{}` is taken in this account", args.code))
        }
        other => parts::ledger_failed(other),
    })?;
    tx.commit().await.map_err(parts::store_failed)?;
    say(&format!("{}\t/r/{}", Prefix::Link.format(uid), args.code))
}

async fn list(store: &Store, args: &LinkListArgs) -> Result<(), Failure> {
    let account = AccountId(parts::find_account(store, args.account.as_str()).await?.id);
    let mut query = link::Entity::find()
        .filter(link::Column::AccountId.eq(account.0))
        .filter(link::Column::DeletedAt.is_null())
        .order_by_asc(link::Column::Id);
    if let Some(slug) = &args.program {
        query = query.filter(link::Column::ProgramId.eq(find_program(store, account, slug).await?.id));
    }
    if let Some(slug) = &args.affiliate {
        query = query.filter(link::Column::AffiliateId.eq(find_affiliate(store, account, slug).await?.id));
    }
    for row in query.all(store.reader()).await.map_err(parts::store_failed)? {
        let destination = row.destination.as_deref().unwrap_or("(the program's)");
        say(&format!("{}\t/r/{}\t{destination}", Prefix::Link.format(row.uid), row.code))?;
    }
    Ok(())
}

async fn find_program(store: &Store, account: AccountId, slug: &Slug) -> Result<program::Model, Failure> {
    let row = parts::find_program(store, account, slug.as_str()).await?;
    row.ok_or_else(|| Failure::new(Code::Data, format!("the account has no program `{slug}`")))
}

async fn find_affiliate(store: &Store, account: AccountId, slug: &Slug) -> Result<affiliate::Model, Failure> {
    let row = affiliate::Entity::find()
        .filter(affiliate::Column::AccountId.eq(account.0))
        .filter(affiliate::Column::Slug.eq(slug.as_str()))
        .filter(affiliate::Column::DeletedAt.is_null())
        .one(store.reader())
        .await
        .map_err(parts::store_failed)?;
    row.ok_or_else(|| Failure::new(Code::Data, format!("the account has no affiliate `{slug}`")))
}
