//! The versions of a program's settings.

use axum::{Json, extract::State};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use super::view::{ProgramVersion, read_settings};
use crate::{
    api::{
        Api, Segment,
        auth::Caller,
        error::ApiError,
        page::{Page, PageParams, Query},
        v1::lookup,
    },
    domain::{program::ProgramSettings, time::Timestamp},
    store::entities::{program, program_version},
};

/// List the versions of a program's settings
///
/// Newest first, as they were written. In force at a time is the one with the latest `from` not after it; of two with
/// the same `from` the later written.
#[utoipa::path(get, path = "/v1/programs/{program}/versions", tag = "Programs", params(PageParams),
    responses((status = 200, body = Page<ProgramVersion>)))]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Segment(slug): Segment,
    mut query: Query,
) -> Result<Json<Page<ProgramVersion>>, ApiError> {
    let db = api.store.reader();
    let program = lookup::program(db, caller.account, &slug).await?;
    let page = query.page::<i32>();
    query.finish()?;
    let find = program_version::Entity::find().filter(program_version::Column::ProgramId.eq(program.id));
    let mut rows = page.of(find, program_version::Column::Version).all(db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.version);
    let data = rows.into_iter().map(|row| ProgramVersion::of(row, &program)).collect::<Result<_, _>>()?;
    Ok(Json(Page { data, next_cursor }))
}

/// What a backdated change begins with.
pub struct Then {
    pub settings: ProgramSettings,
    /// Else it is the first version, which begins later.
    pub in_force: bool,
}

/// The settings of a program at a time; before its first version those of the first.
pub async fn at(
    db: &impl ConnectionTrait,
    program: &program::Model,
    time: Timestamp,
) -> Result<Then, ApiError> {
    use program_version::Column;
    let versions = || program_version::Entity::find().filter(Column::ProgramId.eq(program.id));
    let in_force = versions()
        .filter(Column::StartsAt.lte(time.0))
        .order_by_desc(Column::StartsAt)
        .order_by_desc(Column::Version)
        .one(db)
        .await?;
    if let Some(row) = in_force {
        return Ok(Then { settings: read_settings(row.settings)?, in_force: true });
    }
    let first = versions().order_by_asc(Column::StartsAt).order_by_asc(Column::Version).one(db).await?;
    let first = first.ok_or_else(|| ApiError::internal("a program without a version"))?;
    Ok(Then { settings: read_settings(first.settings)?, in_force: false })
}

/// The identifiers of a program's commission types, now and at the time when a backdated rule begins.
pub async fn types_of(
    db: &impl ConnectionTrait,
    program: &program::Model,
    from: Option<Timestamp>,
) -> Result<Vec<String>, ApiError> {
    let mut types = read_settings(program.settings.clone())?.commission_types;
    if let Some(from) = from {
        types.extend(at(db, program, from).await?.settings.commission_types);
    }
    Ok(types.into_iter().map(|one| one.identifier).collect())
}
