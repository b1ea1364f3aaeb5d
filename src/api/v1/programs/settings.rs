//! A program's settings as clients write them.

use utoipa::ToSchema;

use super::{
    limits::{self, CapInput, Recurring},
    types::{CommissionTypeInput, commission_types},
};
use crate::{
    api::{
        fields::{Fields, Input},
        v1::prices::FlatPriceInput,
        values,
    },
    domain::{
        amount::Currency,
        price::{Cap, CapMeasure, FlatPrice},
        program::{
            AttributionModel, CommissionType, PixelTrust, ProgramSettings, ReferrerPolicy, RefundPolicy,
            SameSite,
        },
    },
};

pub(super) const MAX_NAME: usize = 200;
const MAX_DEEP_LINK_HOSTS: usize = 100;
/// Ten years.
const MAX_DAYS: u32 = 3650;
const MS_PER_DAY: u32 = 86_400_000;
const MS_PER_HOUR: u32 = 3_600_000;

/// Of a setting that holds amounts and was not given with another currency.
pub(super) const ANEW: &str = "must be given anew: it holds amounts of the old currency";

pub const ATTRIBUTION_MODELS: &[(&str, AttributionModel)] =
    &[("last_click", AttributionModel::LastClick), ("first_click", AttributionModel::FirstClick)];
pub const PIXEL_TRUSTS: &[(&str, PixelTrust)] =
    &[("signed", PixelTrust::Signed), ("held", PixelTrust::Held), ("open", PixelTrust::Open)];
pub const SAME_SITES: &[(&str, SameSite)] = &[("lax", SameSite::Lax), ("none", SameSite::None)];
pub const REFUND_POLICIES: &[(&str, RefundPolicy)] =
    &[("reverse", RefundPolicy::Reverse), ("keep", RefundPolicy::Keep)];
const REFERRER_POLICIES: &[ReferrerPolicy] = &[
    ReferrerPolicy::NoReferrer,
    ReferrerPolicy::Origin,
    ReferrerPolicy::StrictOriginWhenCrossOrigin,
    ReferrerPolicy::UnsafeUrl,
];

/// A program to create or change. Everything but `name`, `currency`, `destination` and `commission_types` has a
/// default.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it describes the body; the handler reads it field by field")]
#[schema(example = json!({
    "id": "summer", "name": "Summer sale", "currency": "USD", "destination": "https://shop.example/",
    "commission_types": [{"form": "percentage", "value": "10"}],
}))]
pub struct ProgramInput {
    /// Slug: `a-z`, `0-9`, `-`, `_`; made of the name where it is missing. It cannot be changed.
    #[schema(max_length = 64)]
    pub id: Option<String>,
    #[schema(max_length = 200)]
    pub name: String,
    /// ISO 4217. It cannot be changed once there is a conversion.
    pub currency: String,
    /// Where links lead that have no destination of their own: an absolute https URL, macros allowed in its path,
    /// query and fragment.
    #[schema(max_length = 2048)]
    pub destination: String,
    /// Hosts that `?to=` may name: `shop.example`, or `*.shop.example` for every host below it. Default: none.
    #[schema(max_items = 100)]
    pub deep_link_hosts: Option<Vec<String>>,
    /// Whether destinations and deep links may be http. Default: false.
    pub allow_http: Option<bool>,
    /// Query parameter that carries the referral code. Default: `ref`.
    #[schema(max_length = 64)]
    pub referral_parameter: Option<String>,
    /// Query parameter that carries the click token. Default: `click_id`.
    #[schema(max_length = 64)]
    pub click_parameter: Option<String>,
    /// Days of the attribution window and of the cookie. Default: 30.
    #[schema(minimum = 1, maximum = 3650)]
    pub cookie_time: Option<u32>,
    /// Whether a click counts however old it is. Default: false.
    pub override_max_cookie_time: Option<bool>,
    /// `lax` or `none`. Default: `lax`.
    pub cookie_same_site: Option<String>,
    /// `last_click` or `first_click`. Default: `last_click`.
    pub attribution_model: Option<String>,
    /// `no-referrer`, `origin`, `strict-origin-when-cross-origin` or `unsafe-url`.
    pub referrer_policy: Option<String>,
    /// How far an unsigned pixel is believed: `signed` (not at all), `held` (after review) or `open`.
    /// Default: `held`.
    pub pixel: Option<String>,
    /// Milliseconds in which a second click of the same visitor on the same link does not count. Default: 1 hour.
    #[schema(maximum = 86400000)]
    pub duplicate_window_ms: Option<u32>,
    #[schema(min_items = 1, max_items = 50)]
    pub commission_types: Vec<CommissionTypeInput>,
    /// The type of a conversion that names none. Default: the first.
    pub default_commission_type: Option<String>,
    /// Default: false.
    pub auto_approve_commissions: Option<bool>,
    /// Days from the conversion until an approved commission may be withdrawn. Default: 30.
    #[schema(maximum = 3650)]
    pub payout_delay: Option<u32>,
    /// What a refund does to commissions: `reverse` or `keep`. Default: `reverse`.
    pub refund_policy: Option<String>,
    /// Programs of one group are named together.
    pub program_group: Option<String>,
    /// Whether a customer earns commissions again and again; else each commission type once. Default: true.
    pub recurring: Option<bool>,
    /// Conversions of one customer that earn at the most, of all types that count towards it. Default: any number.
    #[schema(minimum = 1, maximum = 1000000)]
    pub recurring_cap: Option<u32>,
    /// Days after a customer's first conversion in which others earn. Default: for ever.
    #[schema(minimum = 1, maximum = 1000000)]
    pub recurring_period_days: Option<u32>,
    /// Whether every commission is converted to the program's currency. Default: false, in the conversion's.
    pub settle_in_program_currency: Option<bool>,
    /// What the affiliate's parent, grandparent, … earn besides: the first is level 2. Default: none.
    #[schema(max_items = 20)]
    pub levels: Option<Vec<FlatPriceInput>>,
    /// What the program pays at the most. Default: no limit.
    #[schema(max_items = 24)]
    pub caps: Option<Vec<CapInput>>,
    /// From when on these settings are in force (RFC 3339), not in the future. Default: from now on. What happened
    /// since is priced anew only where it is recalculated.
    pub effective_from: Option<String>,
}

/// Reads the settings; what is not given is as in `base`, or the default. `None` only where an error was noted.
pub fn read(
    fields: &mut Fields,
    base: Option<(&ProgramSettings, Currency)>,
) -> Option<(ProgramSettings, Currency)> {
    let old = base.map(|(settings, _)| settings);
    let name = fields.required("name", old.map(|old| old.name.clone()), values::text(MAX_NAME));
    let currency = fields.required("currency", base.map(|(_, currency)| currency), values::currency);
    let allow_http = fields.or("allow_http", old.is_some_and(|old| old.allow_http), values::boolean);
    let destination = fields.required(
        "destination",
        old.map(|old| old.destination.clone()),
        values::destination(allow_http),
    );
    if let (Some(kept), false) = (&destination, allow_http)
        && kept.starts_with("http://")
    {
        fields.wrong("allow_http", "cannot be false while the destination is http");
    }
    let hosts = old.map(|old| old.deep_link_hosts.clone()).unwrap_or_default();
    let deep_link_hosts = fields.or("deep_link_hosts", hosts, deep_link_hosts);
    let (referral_parameter, click_parameter) = parameters(fields, old);
    let types = commission_types(fields, base, currency);
    let limits = Recurring::read(fields, old);
    let (levels, caps) = levels_and_caps(fields, base, currency);
    let default_type = default_type(fields, old, types.as_deref());
    let get = |read: fn(&ProgramSettings) -> u32, default: u32| old.map_or(default, read);
    let settings = ProgramSettings {
        name: name.unwrap_or_default(),
        destination: destination.unwrap_or_default(),
        deep_link_hosts,
        allow_http,
        referral_parameter,
        click_parameter,
        cookie_time: fields.or("cookie_time", get(|o| o.cookie_time, 30), values::integer(1..=MAX_DAYS)),
        override_max_cookie_time: fields.or(
            "override_max_cookie_time",
            old.is_some_and(|old| old.override_max_cookie_time),
            values::boolean,
        ),
        cookie_same_site: fields.or(
            "cookie_same_site",
            old.map(|old| old.cookie_same_site).unwrap_or_default(),
            values::word(SAME_SITES),
        ),
        attribution_model: fields.or(
            "attribution_model",
            old.map(|old| old.attribution_model).unwrap_or_default(),
            values::word(ATTRIBUTION_MODELS),
        ),
        referrer_policy: fields.or(
            "referrer_policy",
            old.map(|old| old.referrer_policy).unwrap_or_default(),
            values::one_of(REFERRER_POLICIES, ReferrerPolicy::as_str),
        ),
        pixel: fields.or("pixel", old.map(|old| old.pixel).unwrap_or_default(), values::word(PIXEL_TRUSTS)),
        duplicate_window_ms: fields.or(
            "duplicate_window_ms",
            get(|o| o.duplicate_window_ms, MS_PER_HOUR),
            values::integer(0..=MS_PER_DAY),
        ),
        commission_types: types.unwrap_or_default(),
        default_commission_type: default_type,
        auto_approve_commissions: fields.or(
            "auto_approve_commissions",
            old.is_some_and(|old| old.auto_approve_commissions),
            values::boolean,
        ),
        payout_delay: fields.or("payout_delay", get(|o| o.payout_delay, 30), values::integer(0..=MAX_DAYS)),
        refund_policy: fields.or(
            "refund_policy",
            old.map(|old| old.refund_policy).unwrap_or_default(),
            values::word(REFUND_POLICIES),
        ),
        program_group: fields.optional(
            "program_group",
            old.and_then(|old| old.program_group.clone()),
            |input| values::slug(input).map(String::from),
        ),
        recurring: limits.recurring,
        recurring_cap: limits.cap,
        recurring_period_days: limits.period_days,
        settle_in_program_currency: fields.or(
            "settle_in_program_currency",
            old.is_some_and(|old| old.settle_in_program_currency),
            values::boolean,
        ),
        levels,
        caps,
    };
    Some((settings, currency?)).filter(|_| !fields.has_errors())
}

/// The query parameters of the redirect, which must differ.
fn parameters(fields: &mut Fields, old: Option<&ProgramSettings>) -> (String, String) {
    let parameter = |input: &Input| {
        let text = values::text(64)(input)?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.bytes().all(fits) {
            Ok(text)
        } else {
            Err("may only have letters, digits, '-', '_' and '.'".to_owned())
        }
    };
    let referral = old.map_or_else(|| "ref".to_owned(), |old| old.referral_parameter.clone());
    let click = old.map_or_else(|| "click_id".to_owned(), |old| old.click_parameter.clone());
    let referral = fields.or("referral_parameter", referral, parameter);
    let click = fields.or("click_parameter", click, parameter);
    if referral == click {
        fields.wrong("click_parameter", "must differ from referral_parameter");
    }
    (referral, click)
}

fn deep_link_hosts(input: &Input) -> Result<Vec<String>, String> {
    let hosts: Vec<String> = input.json("a list of texts")?;
    if hosts.len() > MAX_DEEP_LINK_HOSTS {
        return Err(format!("may have {MAX_DEEP_LINK_HOSTS} entries at most"));
    }
    let fits = |host: &String| match host.strip_prefix("*.") {
        // `*.com` would open every shop of the world.
        Some(suffix) => values::is_host(suffix) && suffix.contains('.'),
        None => values::is_host(host),
    };
    match hosts.iter().position(|host| !fits(host)) {
        None => Ok(hosts),
        Some(n) => Err(format!("has at [{n}] no host name such as shop.example or *.shop.example")),
    }
}

/// Amounts of another currency cannot stay: they must be given anew.
fn levels_and_caps(
    fields: &mut Fields,
    base: Option<(&ProgramSettings, Currency)>,
    currency: Option<Currency>,
) -> (Vec<FlatPrice>, Vec<Cap>) {
    let (mut old_levels, mut old_caps) =
        base.map(|(old, _)| (old.levels.clone(), old.caps.clone())).unwrap_or_default();
    let mut of_old_currency = Vec::new();
    if base.is_some_and(|(_, old)| currency.is_some_and(|currency| currency != old)) {
        if !fields.has("levels") && old_levels.iter().any(|level| level.is_amount()) {
            of_old_currency.push("levels");
            old_levels.clear();
        }
        if !fields.has("caps") && old_caps.iter().any(|cap| cap.measure == CapMeasure::Amount) {
            of_old_currency.push("caps");
            old_caps.clear();
        }
    }
    for name in of_old_currency {
        fields.wrong(name, ANEW);
    }
    (limits::levels(fields, old_levels, currency), limits::caps(fields, old_caps, currency))
}

fn default_type(
    fields: &mut Fields,
    old: Option<&ProgramSettings>,
    types: Option<&[CommissionType]>,
) -> String {
    let first = types.and_then(|types| types.first()).map(|first| first.identifier.clone());
    let base = old.map(|old| old.default_commission_type.clone()).or(first).unwrap_or_default();
    let default = fields.or("default_commission_type", base, Input::text);
    if types.is_some_and(|types| types.iter().all(|one| one.identifier != default)) {
        fields.wrong("default_commission_type", "must be the identifier of one of the commission types");
    }
    default
}
