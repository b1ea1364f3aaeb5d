//! The OpenAPI 3.1 document, made of the handlers that are served, and the page to read it.
//!
//! What all operations share (the key, the problems, the path's parameters, `Idempotency-Key`) is added here, so
//! that it is said once and cannot be forgotten.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, License, ObjectBuilder, OpenApi, Ref, RefOr, Required,
        ResponseBuilder, Schema, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
        tag::TagBuilder,
    },
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    Api,
    error::{FieldError, Problem},
};

const INTRODUCTION: &str = "\
Manage programs, affiliates, groups, overrides, links and coupons; read clicks, conversions, commissions and \
balances; review what waits; record what was paid.

**Keys**: a secret key as `Authorization: Bearer …`, `X-Api-Key` or `Api-Key`. Reading needs the scope `read`, \
changing `write`, reporting conversions and refunds `events`.

**Ids**: programs and affiliates go by slugs, all else by prefixed ids such as `cnv_…`. What belongs to another \
account answers as what does not exist.

**Money**: decimal texts in major units with a currency beside. **Times**: RFC 3339 in UTC.

**Lists**: newest first, `limit` up to 100; give `next_cursor` as `cursor` until it is null.

**Repeats**: with an `Idempotency-Key` a POST takes effect once; for 24 hours its repeat gets the same answer.

**Errors**: RFC 9457 problem documents; `code` is for programs, `errors` names every value that cannot be taken.";

/// What the variable segments of paths are.
const SEGMENTS: &[(&str, &str, &str)] = &[
    ("program", "The program's slug", "summer"),
    ("affiliate", "The affiliate's slug", "jane"),
    ("group", "The group's id", "grp_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("override", "The override's id", "ovr_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("link", "The link's id", "lnk_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("coupon", "The coupon's id", "cpn_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("bonus", "The bonus's id", "bon_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("host", "The host name", "go.shop.example"),
    ("click", "The click's id", "clk_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("conversion", "The conversion's id", "cnv_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("refund", "The refund's id", "rfd_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("customer", "The customer's id", "cus_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("contact", "Your id of the customer", "c-1001"),
    ("commission", "The commission's id", "com_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("payment", "The payment's id", "pay_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("payout", "The payout's id", "pyo_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
    ("currency", "The currency's code", "USD"),
    ("rejected", "The rejected event's id", "rej_018d5f2c8a7b7c3d9e4f5a6b7c8d9e0f"),
];

/// The sections in which operations are shown.
const TAGS: &[(&str, &str)] = &[
    ("Programs", "What the merchant pays for, with its rules"),
    ("Affiliates", "Who promotes"),
    ("Enrolments", "How affiliates stand in programs"),
    ("Groups", "Affiliates that share overrides"),
    ("Parents", "Who stands above whom and earns the levels"),
    ("Overrides", "Prices of one affiliate or group"),
    ("Links", "Referral codes"),
    ("Coupons", "Codes that attribute without a click"),
    ("Bonuses", "What reaching a target pays"),
    ("Domains", "Host names of links and pixels"),
    ("Clicks", "Followed links"),
    ("Conversions", "Leads, appointments and sales"),
    ("Refunds", "Money that went back to buyers"),
    ("Customers", "Buyers as you know them, and whose they are"),
    ("Held conversions", "Reported without proof, waiting for somebody"),
    ("Commissions", "What affiliates earn, and how it came about"),
    ("Balances", "What affiliates have, and the postings behind it"),
    ("Payments", "Money that was sent"),
    ("Payouts", "Money that is to be sent, and the least that may be"),
    ("Statistics", "Counts of clicks"),
    ("Rejected events", "What was not taken, and why"),
    ("Exchange rates", "By which amounts in other currencies count"),
];

/// Completes the document of the routes.
pub fn assemble(routes: OpenApiRouter<Api>) -> (Router<Api>, OpenApi) {
    let (router, mut document) = routes.split_for_parts();
    document.info = InfoBuilder::new()
        .title("Waypost")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(License::new("MIT OR Apache-2.0")))
        .build();
    document.tags = Some(
        TAGS.iter()
            .map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build())
            .collect(),
    );
    let components = document.components.get_or_insert_default();
    add_security(components);
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    document.security = Some(
        ["bearer", "x_api_key", "api_key"]
            .map(|name| SecurityRequirement::new(name, [] as [&str; 0]))
            .to_vec(),
    );
    for (path, item) in &mut document.paths.paths {
        complete(path, item, components);
    }
    (router, document)
}

fn add_security(components: &mut Components) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A secret key: `wp_sk_…`"))
        .build();
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("x_api_key", header("X-Api-Key"));
    components.add_security_scheme("api_key", header("Api-Key"));
}

fn complete(path: &str, item: &mut PathItem, components: &mut Components) {
    let segments: Vec<Parameter> = path.split('/').filter_map(segment).collect();
    let operations = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    for (method, operation) in operations {
        let Some(operation) = operation else { continue };
        operation.operation_id = Some(operation_id(method, path));
        operation.parameters.get_or_insert_default().splice(0..0, segments.iter().cloned().map(RefOr::T));
        for (status, text) in [
            ("401", "The key is missing or not valid"),
            ("403", "The key lacks the scope"),
            ("429", "Too many requests; see `Retry-After`"),
            ("default", "What else is wrong; `code` says what"),
        ] {
            operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(text));
        }
        if !segments.is_empty() {
            let missing = || problem("There is none in this account");
            operation.responses.responses.entry("404".to_owned()).or_insert_with(missing);
        }
        if operation.request_body.is_some() {
            let wrong = || problem("Values that cannot be taken, each named in `errors`");
            operation.responses.responses.entry("422".to_owned()).or_insert_with(wrong);
        }
    }
    if let Some(post) = &mut item.post {
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Up to 255 characters of your choice: the request takes effect once"))
            .schema(Some(text("1f3870be-order-1001")));
        post.parameters.get_or_insert_default().push(RefOr::T(key.build()));
    }
    if let Some(patch) = &mut item.patch {
        nothing_required(patch, components);
    }
}

/// `get_programs_program` for `GET /v1/programs/{program}`: names of handlers repeat, paths do not.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/v1").split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

fn text(example: &str) -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).examples([example]).build())
}

fn segment(segment: &str) -> Option<Parameter> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let (_, description, example) = SEGMENTS.iter().find(|(known, ..)| *known == name)?;
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(*description))
        .schema(Some(text(example)));
    Some(parameter.build())
}

fn problem(text: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    ResponseBuilder::new().description(text).content("application/problem+json", content).build().into()
}

/// What creates a thing requires fields that what changes it does not: `LinkInput` becomes `LinkChange`. A body that is
/// only ever sent to change a thing is called `…Change` itself and says what it requires.
fn nothing_required(operation: &mut Operation, components: &mut Components) {
    const PREFIX: &str = "#/components/schemas/";
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::Ref(reference)) = &mut content.schema else { continue };
        let Some(name) = reference.ref_location.strip_prefix(PREFIX) else { continue };
        if name.ends_with("Change") {
            continue;
        }
        let Some(RefOr::T(Schema::Object(input))) = components.schemas.get(name) else { continue };
        let mut change = input.clone();
        change.required.clear();
        let name = name.replace("Input", "Change");
        reference.ref_location = format!("{PREFIX}{name}");
        components.schemas.insert(name, RefOr::T(Schema::Object(change)));
    }
}

/// `/openapi.json` and `/docs`. Both need no key: they say nothing of any account.
pub fn routes(document: OpenApi) -> Router<Api> {
    // A document of texts, maps and lists always serialises.
    let json = document.to_json().unwrap_or_default();
    let serve = move || {
        let json = json.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() }
    };
    let page: Router<Api> = SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into();
    Router::new().route("/openapi.json", get(serve)).merge(page)
}
