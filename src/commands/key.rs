//! `waypost key create|list|revoke`. Running edges learn of a change within a second.

use sea_orm::EntityTrait;

use super::{
    cli::{KeyCommand, KeyCreateArgs, KeyListArgs, KeyRevokeArgs},
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    catalog::{KeyKind, Scope},
    config::Settings,
    domain::{
        ids::{AccountId, Prefix},
        time::Timestamp,
    },
    store::{Store, accounts, entities::api_key, keys},
};

pub fn run(command: &KeyCommand, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        match command {
            KeyCommand::Create(args) => create(&store, args).await,
            KeyCommand::List(args) => list(&store, args).await,
            KeyCommand::Revoke(args) => revoke(&store, args).await,
        }
    })
}

async fn create(store: &Store, args: &KeyCreateArgs) -> Result<(), Failure> {
    let account = AccountId(parts::find_account(store, args.account.as_str()).await?.id);
    let scopes = match (args.scopes.is_empty(), args.kind) {
        (false, _) => args.scopes.clone(),
        (true, KeyKind::Secret) => vec![Scope::Events, Scope::Read, Scope::Write],
        (true, KeyKind::Publishable) => vec![Scope::Events],
    };
    if args.kind == KeyKind::Publishable && scopes != [Scope::Events] {
        let message = "a publishable key may have the scope `events` only: anybody can read it";
        return Err(Failure::new(Code::Usage, message));
    }
    let tx = store.begin().await.map_err(parts::store_failed)?;
    let key = keys::create(&tx, account, &args.name, args.kind, &scopes, Timestamp::now())
        .await
        .map_err(parts::store_failed)?;
    tx.commit().await.map_err(parts::store_failed)?;
    say(&key.text)?;
    tracing::info!(id = Prefix::Key.format(key.id), "the key is shown this once; keep it safe");
    Ok(())
}

async fn list(store: &Store, args: &KeyListArgs) -> Result<(), Failure> {
    let accounts = match &args.account {
        Some(slug) => vec![parts::find_account(store, slug.as_str()).await?],
        None => accounts::list(store.reader()).await.map_err(parts::store_failed)?,
    };
    for account in accounts {
        let rows = keys::list(store.reader(), AccountId(account.id)).await.map_err(parts::store_failed)?;
        for row in rows {
            let state =
                row.revoked_at.map_or_else(|| "active".to_owned(), |at| format!("revoked {}", Timestamp(at)));
            let id = Prefix::Key.format(row.id);
            let line =
                [&id, &account.slug, &row.kind, &format!("{}…", row.prefix), &row.scopes, &state, &row.name];
            say(&line.map(String::as_str).join("\t"))?;
        }
    }
    Ok(())
}

async fn revoke(store: &Store, args: &KeyRevokeArgs) -> Result<(), Failure> {
    let unknown = || {
        Failure::new(Code::Data, format!("there is no key `{}`", args.id))
            .with_hint("`waypost key list` shows the ids.")
    };
    let id = Prefix::Key.parse(&args.id).ok_or_else(unknown)?;
    let row = api_key::Entity::find_by_id(id).one(store.reader()).await.map_err(parts::store_failed)?;
    let account = AccountId(row.ok_or_else(unknown)?.account_id);
    let tx = store.begin().await.map_err(parts::store_failed)?;
    keys::revoke(&tx, account, id, Timestamp::now()).await.map_err(parts::store_failed)?;
    tx.commit().await.map_err(parts::store_failed)?;
    say(&format!("{} is revoked", args.id))
}
