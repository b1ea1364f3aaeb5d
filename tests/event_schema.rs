//! `docs/events.schema.json` and the types of `events` say the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AccountId, LinkId},
        reason::ConversionKind,
        time::Timestamp,
        traffic::TrafficClass,
    },
    events::{Authority, Body, Channel, Click, CommissionEntry, Conversion, Event, Origin, Refund, VERSION},
};

fn schema() -> Value {
    serde_json::from_str(include_str!("../docs/events.schema.json")).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::meta::validate(schema).expect("the schema is one of draft 2020-12");
    jsonschema::draft202012::new(schema).unwrap()
}

/// The schema with every object closed: what it does not describe is refused.
fn closed(mut schema: Value) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                members.values_mut().for_each(close);
                if members.get("properties").is_some_and(Value::is_object) && members.contains_key("type") {
                    members.insert("additionalProperties".to_owned(), Value::Bool(false));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    close(&mut schema);
    schema
}

/// What the edge would write.
fn written(body: Body) -> Value {
    let origin = Origin { edge: "edge-1".into(), boot: Uuid::now_v7(), stream: "conversions/0".into(), n: 1 };
    let event = Event { v: VERSION, id: Uuid::now_v7(), origin, received_at: Timestamp::now(), body };
    let bytes = event.encode();
    assert_eq!(Event::decode(&bytes).unwrap(), event);
    serde_json::from_slice(&bytes).unwrap()
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn meta_data() -> Map<String, Value> {
    let Value::Object(members) = json!({ "basket": { "items": [1, 2.5, null] } }) else { panic!() };
    members
}

const DIGITS: &str = "0123456789abcdef0123456789abcdef";

/// A click with nothing that may be left out.
fn bare_click() -> Click {
    Click {
        account: AccountId(1),
        link: LinkId(2),
        class: TrafficClass::Valid,
        attributable: true,
        review: false,
        ip_prefix: None,
        visitor: None,
        user_agent: None,
        device: "desktop".to_owned(),
        os: "Linux".to_owned(),
        browser: "Firefox".to_owned(),
        country: None,
        network: None,
        referrer: None,
        source_id: None,
        asset_id: None,
        tracking_id: None,
        sub_ids: Default::default(),
        deep_link: None,
        deep_link_refused: false,
        duplicate_of: None,
        meta_data: Map::new(),
    }
}

/// A click with everything. No `..`: a new field does not compile until it is here, and so in the schema.
fn full_click() -> Click {
    Click {
        account: AccountId(1),
        link: LinkId(2),
        class: TrafficClass::Duplicate,
        attributable: false,
        review: true,
        ip_prefix: text("203.0.113.0/24"),
        visitor: text(DIGITS),
        user_agent: text("Mozilla/5.0"),
        device: "mobile".to_owned(),
        os: "Android".to_owned(),
        browser: "Chrome".to_owned(),
        country: text("DE"),
        network: Some(u32::MAX),
        referrer: text("https://blog.example/"),
        source_id: text("sidebar"),
        asset_id: text("banner"),
        tracking_id: text("42"),
        sub_ids: [text("a"), None, None, None, text("e")],
        deep_link: text("https://shop.example/shoes"),
        deep_link_refused: true,
        duplicate_of: Some(Uuid::now_v7()),
        meta_data: meta_data(),
    }
}

fn bare_conversion() -> Conversion {
    Conversion {
        account: AccountId(1),
        kind: ConversionKind::Lead,
        channel: Channel::Pixel,
        authority: Authority::HeldPixel,
        fingerprint: DIGITS.to_owned(),
        program: None,
        program_group: None,
        external_id: None,
        amount: None,
        currency: None,
        customer_id: None,
        coupon: None,
        referral_code: None,
        click_id: None,
        asset_id: None,
        source_id: None,
        tracking_id: None,
        commission_type: None,
        commissions: Vec::new(),
        occurred_at: None,
        sub_ids: Default::default(),
        meta_data: Map::new(),
    }
}

fn full_conversion() -> Conversion {
    Conversion {
        account: AccountId(1),
        kind: ConversionKind::Conversion,
        channel: Channel::Rest,
        authority: Authority::Secret,
        fingerprint: DIGITS.to_owned(),
        program: text("demo-shop"),
        program_group: text("shops"),
        external_id: text("order-1"),
        amount: Some("1.25e2".parse().unwrap()),
        currency: text("USD"),
        customer_id: text("c-1"),
        coupon: text("JANE10"),
        referral_code: text("jane"),
        click_id: text("clk_018f0000000070008000000000000000"),
        asset_id: text("banner"),
        source_id: text("sidebar"),
        tracking_id: text("42"),
        commission_type: text("standard"),
        commissions: vec![CommissionEntry {
            sub_amount: "-.5".parse().unwrap(),
            commission_type: text("standard"),
            comment: text("shoes"),
        }],
        occurred_at: Some(Timestamp::now()),
        sub_ids: [None, text("b"), None, None, None],
        meta_data: meta_data(),
    }
}

fn bare_refund() -> Refund {
    Refund {
        account: AccountId(1),
        fingerprint: DIGITS.to_owned(),
        external_id: None,
        conversion_id: None,
        program: None,
        kind: None,
        conversion_external_id: None,
        amount: None,
        currency: None,
        reason: None,
        meta_data: Map::new(),
    }
}

fn full_refund() -> Refund {
    Refund {
        account: AccountId(1),
        fingerprint: DIGITS.to_owned(),
        external_id: text("refund-1"),
        conversion_id: text("cnv_018f0000000070008000000000000000"),
        program: text("demo-shop"),
        kind: Some(ConversionKind::Appointment),
        conversion_external_id: text("order-1"),
        amount: Some("12.".parse().unwrap()),
        currency: text("USD"),
        reason: text("returned"),
        meta_data: meta_data(),
    }
}

fn bare() -> [Body; 4] {
    [
        Body::Click(Box::new(bare_click())),
        Body::Conversion(Box::new(bare_conversion())),
        Body::Refund(Box::new(bare_refund())),
        Body::End,
    ]
}

fn full() -> [Body; 3] {
    [
        Body::Click(Box::new(full_click())),
        Body::Conversion(Box::new(full_conversion())),
        Body::Refund(Box::new(full_refund())),
    ]
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn events_of_every_kind_are_valid() {
    let validator = validator(&schema());
    for body in bare().into_iter().chain(full()) {
        let event = written(body);
        let errors: Vec<String> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:?}");
    }
}

#[test]
fn every_field_that_is_written_is_described() {
    let closed = closed(schema());
    let validator = validator(&closed);
    for body in full() {
        let event = written(body);
        assert!(validator.is_valid(&event), "{event}");
        // And the closed schema does refuse what is not described.
        for at in ["", "/origin", "/body"] {
            let mut other = event.clone();
            other.pointer_mut(at).unwrap()["surprise"] = Value::Null;
            assert!(!validator.is_valid(&other), "{other}");
        }
        let mut other = event.clone();
        let kind = other["body"].as_object_mut().unwrap().values_mut().next().unwrap();
        kind["surprise"] = Value::Null;
        assert!(!validator.is_valid(&other), "{other}");
    }
}

#[test]
fn what_is_described_is_what_is_written() {
    let schema = schema();
    for (full, bare) in full().into_iter().zip(bare()) {
        let (full, bare) = (written(full), written(bare));
        let kind = names(&full["body"]).into_iter().next().unwrap();
        let described = &schema["$defs"][kind];
        assert_eq!(names(&described["properties"]), names(&full["body"][kind]), "{kind}");
        let required: BTreeSet<&str> =
            described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(required, names(&bare["body"][kind]), "{kind}");
    }
    let conversion = written(Body::Conversion(Box::new(full_conversion())));
    let entry = &schema["$defs"]["conversion"]["properties"]["commissions"]["items"]["properties"];
    assert_eq!(names(entry), names(&conversion["body"]["conversion"]["commissions"][0]));
    assert_eq!(names(&schema["properties"]), names(&conversion));
    assert_eq!(names(&schema["properties"]["origin"]["properties"]), names(&conversion["origin"]));
}

#[test]
fn every_field_says_what_it_means() {
    fn walk(schema: &Value, path: &str) -> usize {
        let mut seen = 0;
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(!description.is_empty(), "{path}/{name} has no description");
                seen += 1;
            }
        }
        match schema {
            Value::Object(members) => {
                members.iter().map(|(name, member)| walk(member, &format!("{path}/{name}"))).sum::<usize>()
                    + seen
            }
            Value::Array(items) => items.iter().map(|item| walk(item, path)).sum::<usize>() + seen,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => seen,
        }
    }
    assert!(walk(&schema(), "") > 60);
}

#[test]
fn closed_sets_are_the_same() {
    let schema = schema();
    let described = |pointer: &str| -> BTreeSet<String> {
        let values = schema.pointer(pointer).unwrap().as_array().unwrap();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let classes = TrafficClass::ALL.map(|class| class.as_str().to_owned());
    assert_eq!(described("/$defs/click/properties/class/enum"), BTreeSet::from(classes));
    let kinds: BTreeSet<String> = ConversionKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
    assert_eq!(described("/$defs/kind/enum"), kinds);
    let written = |value: Value| value.as_str().unwrap().to_owned();
    let channels = [Channel::Pixel, Channel::Rest].map(|channel| written(json!(channel)));
    assert_eq!(described("/$defs/conversion/properties/channel/enum"), BTreeSet::from(channels));
    let authorities = [
        Authority::Secret,
        Authority::Import,
        Authority::SignedPixel,
        Authority::OpenPixel,
        Authority::HeldPixel,
        Authority::Publishable,
    ];
    let authorities = authorities.map(|authority| written(json!(authority)));
    assert_eq!(described("/$defs/conversion/properties/authority/enum"), BTreeSet::from(authorities));
    assert_eq!(schema["properties"]["v"]["const"], json!(VERSION));
}

#[test]
fn what_is_no_event_is_refused() {
    let validator = validator(&schema());
    let event = written(Body::Click(Box::new(full_click())));
    let with = |pointer: &str, value: Value| {
        let mut other = event.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        other
    };
    let click = event["body"]["click"].clone();
    let wrong = [
        with("/body", json!({ "lead": click })),
        with("/body", json!({})),
        with("/body", json!("begin")),
        with("/body", json!({ "click": click, "refund": bare_refund() })),
        with("/body", json!({ "conversion": click })),
        with("/v", json!(2)),
        with("/v", json!("1")),
        with("/id", json!("018f")),
        with("/origin/n", json!(0)),
        with("/received_at", json!("2026-01-31T12:00:00Z")),
        with("/body/click/class", json!("robot")),
        with("/body/click/sub_ids", json!(["a"])),
        with("/body/click/visitor", json!("jane")),
        with("/body/click/network", json!(-1)),
        json!([]),
        json!({}),
    ];
    for event in wrong {
        assert!(!validator.is_valid(&event), "{event}");
    }
    for amount in ["", "1,0", "NaN", ".", "1e", "--1"] {
        let mut event = written(Body::Conversion(Box::new(full_conversion())));
        event["body"]["conversion"]["amount"] = json!(amount);
        assert!(!validator.is_valid(&event), "{amount:?}");
    }
}
