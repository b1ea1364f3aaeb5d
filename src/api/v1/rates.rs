//! The exchange rates that the operator has loaded. They belong to no account: every key may read them.

use std::{fmt, str::FromStr};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::convert;
use crate::{
    api::{
        Api,
        auth::Caller,
        error::ApiError,
        page::{Page, PageParams, Query},
        values,
    },
    domain::{calendar::date_of, rates::format_rate},
    store::{
        entities::exchange_rate,
        exchange_rates::{self, RateFilter, RatePlace},
    },
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list))
}

/// One unit of `base` is `rate` units of `quote` on that day.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeRate {
    #[schema(example = "EUR")]
    pub base: String,
    #[schema(example = "USD")]
    pub quote: String,
    #[schema(example = "2026-01-31")]
    pub day: String,
    /// At most 8 digits after the point.
    #[schema(example = "1.0825")]
    pub rate: String,
    /// When it was loaded, or changed last.
    #[schema(example = "2026-01-31T16:15:00.000Z")]
    pub loaded_at: String,
}

impl ExchangeRate {
    fn of(row: exchange_rate::Model) -> Self {
        Self {
            day: date_of(row.day).to_string(),
            rate: format_rate(row.rate),
            loaded_at: convert::time(row.loaded_at),
            base: row.base,
            quote: row.quote,
        }
    }
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes the parameters; the handler reads them")]
struct RateParams {
    /// Only for one unit of this currency.
    base: Option<String>,
    /// Only in units of this currency.
    quote: Option<String>,
    /// The first day: `2026-01-31`.
    from: Option<String>,
    /// The last day, included.
    to: Option<String>,
}

/// Where a list goes on.
#[derive(Debug)]
struct Position(RatePlace);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.0.day, self.0.base, self.0.quote)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let (Some(day), Some(base), Some(quote), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let day = day.parse().map_err(|_| ())?;
        Ok(Self(RatePlace { day, base: base.to_owned(), quote: quote.to_owned() }))
    }
}

/// List exchange rates
///
/// Those that the operator has loaded: the newest day first, within a day by base and quote.
#[utoipa::path(get, path = "/v1/rates", tag = "Exchange rates", params(PageParams, RateParams),
    responses((status = 200, body = Page<ExchangeRate>)))]
async fn list(
    State(api): State<Api>,
    _caller: Caller,
    mut query: Query,
) -> Result<Json<Page<ExchangeRate>>, ApiError> {
    let fields = &mut query.fields;
    let filter = RateFilter {
        base: fields.optional("base", None, values::currency),
        quote: fields.optional("quote", None, values::currency),
        from: fields.optional("from", None, values::day),
        to: fields.optional("to", None, values::day),
    };
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && to < from
    {
        fields.wrong("to", "must not be before from");
    }
    let page = query.page::<Position>();
    query.finish()?;
    let after = page.after.as_ref().map(|position| &position.0);
    let mut rows = exchange_rates::list(api.store.reader(), filter, after, page.fetch()).await?;
    let next_cursor = page.cut(&mut rows, |row| Position(RatePlace::of(row)));
    Ok(Json(Page { data: rows.into_iter().map(ExchangeRate::of).collect(), next_cursor }))
}
