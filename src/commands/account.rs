//! `waypost account create|list`.

use sea_orm::DbErr;

use super::{
    cli::{AccountCommand, AccountCreateArgs},
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    domain::time::Timestamp,
    store::{Store, accounts},
};

pub fn run(command: &AccountCommand, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        match command {
            AccountCommand::Create(args) => create(&store, args).await,
            AccountCommand::List(_) => list(&store).await,
        }
    })
}

async fn create(store: &Store, args: &AccountCreateArgs) -> Result<(), Failure> {
    if accounts::find_by_slug(store.reader(), args.slug.as_str())
        .await
        .map_err(parts::store_failed)?
        .is_some()
    {
        return Err(Failure::new(Code::CantCreate, format!("there is an account `{}` already", args.slug)));
    }
    let name = if args.name.is_empty() { args.slug.as_str() } else { &args.name };
    let at = Timestamp::now();
    let tx = store.begin().await.map_err(parts::store_failed)?;
    let account =
        accounts::create(&tx, &args.slug, name, &args.time_zone, at).await.map_err(parts::store_failed)?;
    for host in &args.domains {
        let host = host.to_ascii_lowercase();
        accounts::add_domain(&tx, account, &host, None, at).await.map_err(|error| match error {
            DbErr::RecordNotInserted => {
                Failure::new(Code::CantCreate, format!("the host `{host}` is an account's already"))
            }
            other => parts::store_failed(other),
        })?;
    }
    tx.commit().await.map_err(parts::store_failed)?;
    say(&format!("account {} is made; its first key: waypost key create --account {}", args.slug, args.slug))
}

async fn list(store: &Store) -> Result<(), Failure> {
    for row in accounts::list(store.reader()).await.map_err(parts::store_failed)? {
        say(&format!("{}\t{}\t{}\t{}", row.slug, Timestamp(row.created_at), row.time_zone, row.name))?;
    }
    Ok(())
}
