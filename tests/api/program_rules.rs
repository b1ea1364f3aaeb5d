//! What a merchant may say in a program's rules, what is refused, and the versions it makes.

use serde_json::{Value, json};
use waypost::domain::time::{MS_PER_DAY, Timestamp};

use crate::support::{Server, program};

fn days_ago(days: i64) -> String {
    Timestamp(Timestamp::now().0 - days * MS_PER_DAY).to_string()
}

fn with(field: &str, value: Value) -> Value {
    let mut body = program("summer");
    body[field] = value;
    body
}

fn percent(value: &str) -> Value {
    json!({"form": "percentage", "value": value})
}

fn tiers(measure: &str, mode: &str, brackets: Value) -> Value {
    json!({"measure": measure, "period": "month", "mode": mode, "brackets": brackets})
}

fn tiered(tiers: Value) -> Value {
    json!([{"form": "tiered", "tiers": tiers}])
}

fn bracket(from: &str, form: &str, value: &str) -> Value {
    json!({"from": from, "form": form, "value": value})
}

#[tokio::test]
async fn rules_are_answered_as_they_were_given() {
    let server = Server::start().await;
    let shop = &server.shop;
    let mut body = program("summer");
    let brackets = json!([bracket("0.00", "percentage", "5"), bracket("1000.00", "percentage", "7.5")]);
    let rules = json!({
        "commission_types": [
            {
                "identifier": "standard", "title": "Sales", "form": "tiered",
                "tiers": {"measure": "revenue", "period": "quarter", "mode": "marginal", "brackets": brackets},
                "first_payment": {"form": "fixed", "value": "20.00"},
                "recurrence": "repeating", "times": 12, "count_towards_cap": false,
            },
            {
                "identifier": "lead", "title": "Leads", "form": "fixed", "value": "1.50",
                "first_payment": null, "recurrence": "once", "count_towards_cap": true,
            },
        ],
        "recurring": false, "recurring_cap": 5, "recurring_period_days": 365,
        "settle_in_program_currency": true,
        "levels": [percent("2"), {"form": "fixed", "value": "0.10"}],
        "caps": [
            {"scope": "affiliate", "period": "month", "measure": "amount", "limit": "500.00"},
            {"scope": "program", "period": "lifetime", "measure": "conversions", "limit": "1000"},
        ],
    });
    body.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    let made = shop.post("/v1/programs", body).await.ok(201);
    for (name, value) in rules.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!(made["warnings"], json!([]));
    assert_eq!(shop.get("/v1/programs/summer").await.ok(200), made);
    // What is not given stays, null and an empty list clear.
    let changed = json!({"recurring_cap": null, "levels": [], "caps": null, "recurring": true});
    let changed = shop.patch("/v1/programs/summer", changed).await.ok(200);
    assert_eq!(changed["recurring_period_days"], 365);
    for (name, value) in [
        ("recurring_cap", json!(null)),
        ("levels", json!([])),
        ("caps", json!([])),
        ("recurring", json!(true)),
        ("commission_types", rules["commission_types"].clone()),
    ] {
        assert_eq!(changed[name], value, "{name}");
    }
}

#[tokio::test]
async fn rules_that_make_no_sense_are_named() {
    let server = Server::start().await;
    let whole = |brackets: Value| tiered(tiers("revenue", "whole", brackets));
    let low = || bracket("0", "percentage", "5");
    let cap = |measure: &str, limit: &str| json!([{"scope": "program", "period": "day", "measure": measure, "limit": limit}]);
    let kind = |field: &str, value: Value| json!([{"form": "percentage", "value": "1", field: value}]);
    let two_caps = json!([cap("amount", "5")[0], cap("amount", "6")[0]]);
    let tiers_of = "commission_types[0].tiers";
    let brackets_of = format!("{tiers_of}.brackets");
    let cases: Vec<(&str, Value, String)> = vec![
        ("commission_types", tiered(json!([])), tiers_of.to_owned()),
        (
            "commission_types",
            tiered(json!({"period": "day", "brackets": [low()]})),
            format!("{tiers_of}.measure"),
        ),
        (
            "commission_types",
            tiered(json!({"measure": "count", "brackets": [low()]})),
            format!("{tiers_of}.period"),
        ),
        ("commission_types", tiered(tiers("sales", "whole", json!([low()]))), format!("{tiers_of}.measure")),
        ("commission_types", tiered(tiers("count", "part", json!([low()]))), format!("{tiers_of}.mode")),
        ("commission_types", tiered(json!({"measure": "count", "period": "month"})), brackets_of.clone()),
        ("commission_types", whole(json!([])), brackets_of.clone()),
        (
            "commission_types",
            whole(json!([bracket("1", "percentage", "5")])),
            format!("{brackets_of}[0].from"),
        ),
        // They descend, or stand still.
        (
            "commission_types",
            whole(json!([low(), bracket("10", "percentage", "6"), bracket("5", "percentage", "7")])),
            format!("{brackets_of}[2].from"),
        ),
        (
            "commission_types",
            whole(json!([low(), bracket("0", "percentage", "6")])),
            format!("{brackets_of}[1].from"),
        ),
        (
            "commission_types",
            whole(json!([low(), bracket("5", "fixed", "7")])),
            format!("{brackets_of}[1].form"),
        ),
        (
            "commission_types",
            whole(json!([low(), bracket("5", "tiered", "7")])),
            format!("{brackets_of}[1].form"),
        ),
        (
            "commission_types",
            whole(json!([low(), bracket("5.001", "percentage", "7")])),
            format!("{brackets_of}[1].from"),
        ),
        (
            "commission_types",
            whole(json!([low(), bracket("5", "percentage", "101")])),
            format!("{brackets_of}[1].value"),
        ),
        (
            "commission_types",
            tiered(tiers("count", "whole", json!([low(), bracket("1.5", "percentage", "7")]))),
            format!("{brackets_of}[1].from"),
        ),
        ("commission_types", tiered(tiers("count", "marginal", json!([low()]))), format!("{tiers_of}.mode")),
        (
            "commission_types",
            tiered(tiers("revenue", "marginal", json!([bracket("0", "fixed", "1")]))),
            format!("{tiers_of}.mode"),
        ),
        (
            "commission_types",
            whole(json!([{"from": "0", "form": "fixed"}])),
            format!("{brackets_of}[0].value"),
        ),
        (
            "commission_types",
            json!([{"form": "tiered", "value": "1", "tiers": tiers("count", "whole", json!([low()]))}]),
            "commission_types[0].value".to_owned(),
        ),
        ("commission_types", kind("tiers", tiers("count", "whole", json!([low()]))), tiers_of.to_owned()),
        ("commission_types", kind("first_payment", json!(5)), "commission_types[0].first_payment".to_owned()),
        (
            "commission_types",
            kind("first_payment", json!({"form": "tiered", "value": "1"})),
            "commission_types[0].first_payment.form".to_owned(),
        ),
        (
            "commission_types",
            kind("first_payment", json!({"form": "fixed", "value": "0.005"})),
            "commission_types[0].first_payment.value".to_owned(),
        ),
        ("commission_types", kind("recurrence", json!("twice")), "commission_types[0].recurrence".to_owned()),
        ("commission_types", kind("recurrence", json!("repeating")), "commission_types[0].times".to_owned()),
        ("commission_types", kind("times", json!(3)), "commission_types[0].times".to_owned()),
        (
            "commission_types",
            json!([{"form": "percentage", "value": "1", "recurrence": "repeating", "times": 0}]),
            "commission_types[0].times".to_owned(),
        ),
        (
            "commission_types",
            kind("count_towards_cap", json!("no")),
            "commission_types[0].count_towards_cap".to_owned(),
        ),
        ("recurring", json!("no"), "recurring".to_owned()),
        ("recurring_cap", json!(0), "recurring_cap".to_owned()),
        ("recurring_period_days", json!(-1), "recurring_period_days".to_owned()),
        ("settle_in_program_currency", json!(1), "settle_in_program_currency".to_owned()),
        ("levels", json!({}), "levels".to_owned()),
        ("levels", json!([percent("100.1")]), "levels[0].value".to_owned()),
        ("levels", json!([percent("1"), {"form": "tiered"}]), "levels[1].form".to_owned()),
        ("levels", json!(vec![percent("1"); 21]), "levels".to_owned()),
        ("caps", json!([5]), "caps[0]".to_owned()),
        (
            "caps",
            json!([{"scope": "all", "period": "day", "measure": "amount", "limit": 1}]),
            "caps[0].scope".to_owned(),
        ),
        (
            "caps",
            json!([{"scope": "program", "period": "hour", "measure": "amount", "limit": 1}]),
            "caps[0].period".to_owned(),
        ),
        ("caps", cap("clicks", "5"), "caps[0].measure".to_owned()),
        ("caps", cap("amount", "0"), "caps[0].limit".to_owned()),
        ("caps", cap("amount", "-1"), "caps[0].limit".to_owned()),
        ("caps", cap("amount", "0.001"), "caps[0].limit".to_owned()),
        ("caps", cap("conversions", "0"), "caps[0].limit".to_owned()),
        ("caps", cap("conversions", "2.5"), "caps[0].limit".to_owned()),
        ("caps", two_caps, "caps[1]".to_owned()),
        ("effective_from", json!("yesterday"), "effective_from".to_owned()),
        ("effective_from", json!(days_ago(-1)), "effective_from".to_owned()),
    ];
    for (field, value, named) in cases {
        let refused = server.shop.post("/v1/programs", with(field, value.clone())).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![named]), "{field} {value}");
    }
    assert!(server.shop.all("/v1/programs", 5).await.is_empty());
}

#[tokio::test]
async fn amounts_of_another_currency_must_be_given_anew() {
    let server = Server::start().await;
    let shop = &server.shop;
    let mut body = with("levels", json!([{"form": "fixed", "value": "1"}]));
    body["caps"] = json!([{"scope": "program", "period": "day", "measure": "amount", "limit": "9"}]);
    let brackets = json!([bracket("0", "percentage", "5"), bracket("9", "percentage", "6")]);
    body["commission_types"] = tiered(tiers("revenue", "whole", brackets));
    shop.post("/v1/programs", body.clone()).await.ok(201);
    let refused = shop.patch("/v1/programs/summer", json!({"currency": "JPY"})).await;
    let mut named = refused.fields();
    named.sort();
    assert_eq!(
        (refused.status, named),
        (422, ["caps", "commission_types", "levels"].map(str::to_owned).into())
    );
    let mut yen = json!({"currency": "JPY"});
    for name in ["caps", "commission_types", "levels"] {
        yen[name] = body[name].clone();
    }
    let made = shop.patch("/v1/programs/summer", yen).await.ok(200);
    assert_eq!((&made["levels"][0]["value"], &made["caps"][0]["limit"]), (&json!("1"), &json!("9")));
    // Counts and percentages are the same in every currency.
    let body = json!({
        "commission_types": tiered(tiers("count", "whole", json!([bracket("0", "percentage", "5")]))),
        "levels": [percent("1")],
        "caps": [{"scope": "program", "period": "day", "measure": "conversions", "limit": 9}],
    });
    shop.patch("/v1/programs/summer", body).await.ok(200);
    shop.patch("/v1/programs/summer", json!({"currency": "USD"})).await.ok(200);
    // An override holds an amount.
    let own = json!({"affiliate": "jane", "level": 2, "form": "fixed", "value": "1"});
    shop.post("/v1/affiliates", json!({"id": "jane"})).await.ok(201);
    shop.post("/v1/programs/summer/overrides", own).await.ok(201);
    let refused = shop.patch("/v1/programs/summer", json!({"currency": "EUR"})).await;
    assert_eq!((refused.status, refused.fields()), (409, vec!["currency".to_owned()]));
}

#[tokio::test]
async fn rules_that_may_exceed_the_sale_carry_a_warning() {
    let server = Server::start().await;
    let shop = &server.shop;
    shop.post("/v1/programs", with("levels", json!([percent("60"), percent("30")]))).await.ok(201);
    let warned = |answer: &Value| answer["warnings"] == json!(["rules_above_100_percent"]);
    assert!(!warned(&shop.get("/v1/programs/summer").await.ok(200)));
    let types = json!([{"form": "percentage", "value": "10", "first_payment": percent("10.00000001")}]);
    let changed = shop.patch("/v1/programs/summer", json!({"commission_types": types})).await.ok(200);
    assert!(warned(&changed), "{changed}");
    assert!(warned(&shop.get("/v1/programs").await.ok(200)["data"][0]));
    let own =
        json!({"affiliate": "jane", "commission_type": "standard", "form": "percentage", "value": "10"});
    shop.post("/v1/affiliates", json!({"id": "jane"})).await.ok(201);
    let made = shop.post("/v1/programs/summer/overrides", own).await.ok(201);
    assert_eq!(made["warnings"], json!([]));
    let path = format!("/v1/overrides/{}", made["id"].as_str().unwrap());
    assert!(warned(&shop.put(&path, percent("10.01")).await.ok(200)));
    assert!(warned(&shop.get("/v1/programs/summer/overrides").await.ok(200)["data"][0]));
    let versions = shop.all("/v1/programs/summer/versions", 5).await;
    assert_eq!(versions.iter().map(warned).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn every_change_is_a_version_and_may_begin_in_the_past() {
    let server = Server::start().await;
    let shop = &server.shop;
    let tens = days_ago(10);
    let made = shop.post("/v1/programs", with("effective_from", json!(tens))).await.ok(201);
    assert_eq!(made["version"], 1);
    shop.patch("/v1/programs/summer", json!({"cookie_time": 7})).await.ok(200);
    // What is not given is as it was then; what is in force now stays.
    let fives = days_ago(5);
    let backdated = json!({"payout_delay": 3, "effective_from": fives});
    let answer = shop.patch("/v1/programs/summer", backdated.clone()).await.ok(200);
    assert_eq!(
        (&answer["version"], &answer["cookie_time"], &answer["payout_delay"]),
        (&json!(2), &json!(7), &json!(30))
    );
    let versions = shop.all("/v1/programs/summer/versions", 1).await;
    let told = |version: &Value| {
        let settings = &version["settings"];
        json!([version["version"], version["in_force"], settings["cookie_time"], settings["payout_delay"]])
    };
    assert_eq!(
        versions.iter().map(told).collect::<Vec<_>>(),
        [json!([3, false, 30, 3]), json!([2, true, 7, 30]), json!([1, false, 30, 30])]
    );
    assert_eq!((&versions[0]["from"], &versions[2]["from"]), (&json!(fives), &json!(tens)));
    // The same again changes nothing; before the first version it does, for then levels and caps begin.
    shop.patch("/v1/programs/summer", backdated).await.ok(200);
    assert_eq!(shop.all("/v1/programs/summer/versions", 5).await.len(), 3);
    shop.patch("/v1/programs/summer", json!({"effective_from": days_ago(20)})).await.ok(200);
    let versions = shop.all("/v1/programs/summer/versions", 5).await;
    assert_eq!((versions.len(), told(&versions[0])), (4, json!([4, false, 30, 30])));
    // A currency has no versions.
    let both = json!({"currency": "EUR", "effective_from": days_ago(1)});
    let refused = shop.patch("/v1/programs/summer", both).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["effective_from".to_owned()]));
    let replaced = with("effective_from", json!(days_ago(1)));
    assert_eq!(shop.put("/v1/programs/summer", replaced).await.ok(200)["version"], 2);
    assert_eq!(shop.all("/v1/programs/summer/versions", 5).await[0]["settings"]["cookie_time"], 30);
}
