//! `openapi.json` says what is served, and what is served is what it says.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{isolation::world, support::Server};

pub const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

pub async fn document(server: &Server) -> Value {
    server.shop.get("/openapi.json").await.ok(200)
}

/// The operations of the document: method, path, operation.
pub fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                all.push((method, path.clone(), operation.clone()));
            }
        }
    }
    all
}

fn refs(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                found.insert(target.clone());
            }
            map.values().for_each(|value| refs(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| refs(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = Server::start().await;
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Waypost");
    let mut targets = BTreeSet::new();
    refs(&document, &mut targets);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
    let mut ids = BTreeSet::new();
    let operations = operations(&document);
    assert!(operations.len() > 45, "{}", operations.len());
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (method, path, operation) in operations {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id.clone()), "{id} is there twice");
        assert!(operation["summary"].is_string(), "{method} {path}");
        assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
        for status in ["401", "403", "429"] {
            assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
        }
        let described: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let segments: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(described, segments, "{method} {path}");
    }
    assert_eq!(document["components"]["securitySchemes"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn the_page_to_read_it_needs_nothing_from_elsewhere() {
    let server = Server::start().await;
    let page = server.shop.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("swagger-ui"));
    assert!(!page.text.contains("https://"), "{}", page.text);
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        let answer = server.shop.get(&format!("/docs/{file}")).await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'self'"));
    }
    assert!(server.shop.get("/docs/swagger-initializer.js").await.text.contains("/openapi.json"));
}

/// The names after "known are:" in the refusal of a field that nobody knows.
fn known(problem: &Value) -> BTreeSet<String> {
    let errors = problem["errors"].as_array().unwrap();
    let error = errors.iter().find(|error| error["field"] == "nobody_knows_this").unwrap();
    let message = error["message"].as_str().unwrap();
    let names = message.strip_prefix("is not known here; known are: ").unwrap();
    names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_fields_of_the_document_are_those_that_are_read() {
    let server = Server::start().await;
    let document = document(&server).await;
    let world = world(&server).await;
    let mut compared = 0;
    for (method, path, operation) in operations(&document) {
        let path = world.fill(&path);
        if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let properties = schema.as_str().map(|target| {
                document.pointer(&format!("{}/properties", &target[1..])).unwrap().as_object().unwrap()
            });
            let documented: BTreeSet<String> =
                properties.into_iter().flat_map(|map| map.keys().cloned()).collect();
            let answer = server.shop.with(method.clone(), &path, &json!({"nobody_knows_this": 1})).await;
            assert_eq!(answer.status, 422, "{method} {path} {}", answer.text);
            assert_eq!(known(&answer.json()), documented, "{method} {path}");
            compared += 1;
        }
        let documented: BTreeSet<String> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        if !documented.is_empty() {
            let answer = server.shop.get(&format!("{path}?nobody_knows_this=1")).await;
            assert_eq!(answer.status, 422, "{method} {path} {}", answer.text);
            assert_eq!(known(&answer.json()), documented, "{method} {path}");
            compared += 1;
        }
    }
    assert!(compared > 25, "{compared}");
}

/// What creates a thing requires more than what changes it, unless the change is all that the body is for.
#[tokio::test]
async fn the_document_says_what_a_body_must_have() {
    let server = Server::start().await;
    let document = document(&server).await;
    for (path, required) in [
        ("/v1/conversions/{conversion}", json!(["amount"])),
        ("/v1/commissions/{commission}", json!(["amount"])),
        ("/v1/customers/{customer}", Value::Null),
        ("/v1/links/{link}", Value::Null),
    ] {
        let body = &document["paths"][path]["patch"]["requestBody"]["content"]["application/json"]["schema"];
        let schema = document.pointer(&body["$ref"].as_str().unwrap()[1..]).unwrap();
        assert_eq!(schema["required"], required, "{path}");
    }
}

#[tokio::test]
async fn answers_are_of_the_documented_shape() {
    let server = Server::start().await;
    let document = document(&server).await;
    let world = world(&server).await;
    let mut checked = 0;
    for (method, path, operation) in operations(&document) {
        if method != Method::GET {
            continue;
        }
        let filled = world.fill(&path);
        let answer = server.shop.get(&filled).await;
        assert_eq!(answer.status, 200, "{filled} {}", answer.text);
        let json = answer.json();
        if let Some(rows) = json.get("data") {
            assert!(!rows.as_array().unwrap().is_empty(), "nothing to look at in {filled}");
        }
        let mut schema = operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{filled}: {errors:?}\n{json:#}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}

#[tokio::test]
async fn no_answer_holds_a_secret() {
    let server = Server::start().await;
    let document = document(&server).await;
    let world = world(&server).await;
    let secret = server.shop.get("/v1/programs/summer/pixel-secret").await.ok(200);
    let secret = secret["pixel_secret"].as_str().unwrap();
    let hash = data_encoding::HEXLOWER.encode(&waypost::store::keys::hash(&server.shop.key));
    for (method, path, _) in operations(&document) {
        if method != Method::GET || path.ends_with("/pixel-secret") {
            continue;
        }
        let text = server.shop.get(&world.fill(&path)).await.text;
        for private in [secret, &server.shop.key, &hash, "fingerprint", "pixel_secret", "account_id"] {
            assert!(!text.contains(private), "{path} shows {private}: {text}");
        }
    }
}
