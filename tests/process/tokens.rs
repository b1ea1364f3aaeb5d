//! Click ids that do not prove what they should: nothing is attributed, and the reason is kept.

use data_encoding::BASE64URL_NOPAD;
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use uuid::{NoContext, Timestamp, Uuid};
use waypost::{
    domain::{
        ids::{AccountId, AffiliateId, LinkId, ProgramId},
        program::ProgramSettings,
        reason::Standing,
        time::Timestamp as Moment,
        token::ClickToken,
    },
    ledger::{Command, PutAffiliate, PutLink, PutProgram, apply},
    store::{
        Store, accounts,
        entities::{conversion, link, program, rejected_event},
        sequences::{self, Sequence},
    },
};

use crate::{
    folder::Folder,
    running::{Waypost, eventually},
};

/// Days of the demo's window.
const WINDOW: u64 = 30;

/// A token as it would have been signed that many days ago.
fn signed(folder: &Folder, link: LinkId, days_ago: u64) -> String {
    let seconds = u64::try_from(Moment::now().0).unwrap() / 1000 - days_ago * 86_400;
    let click_id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0));
    folder.keys().sign(&ClickToken { click_id, link, attributable: true, review: false })
}

fn altered(token: &str, byte: usize) -> String {
    let mut bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
    bytes[byte] ^= 1;
    BASE64URL_NOPAD.encode(&bytes)
}

/// Makes a program with an approved affiliate and a link in `account`, with the settings of the demo's.
async fn add_program(store: &Store, account: AccountId, slug: &str) -> LinkId {
    let demo = program::Entity::find_by_id(1).one(store.reader()).await.unwrap().unwrap();
    let settings: ProgramSettings = serde_json::from_value(demo.settings).unwrap();
    let tx = store.begin().await.unwrap();
    let program = ProgramId(sequences::next(&tx, Sequence::Program).await.unwrap());
    let affiliate = AffiliateId(sequences::next(&tx, Sequence::Affiliate).await.unwrap());
    let link = LinkId(sequences::next(&tx, Sequence::Link).await.unwrap());
    let slug: waypost::domain::ids::Slug = slug.parse().unwrap();
    let put_link = PutLink {
        id: link,
        uid: Uuid::now_v7(),
        program,
        affiliate,
        code: slug.to_string(),
        destination: None,
        source_id: None,
        asset_id: None,
        expires_at: None,
    };
    for command in [
        Command::PutProgram(Box::new(PutProgram {
            id: program,
            slug: slug.clone(),
            currency: "USD".parse().unwrap(),
            settings,
            from: None,
        })),
        Command::PutAffiliate(PutAffiliate { id: affiliate, slug, suspended: false }),
        Command::SetStanding { program, affiliate, standing: Standing::Approved },
        Command::PutLink(Box::new(put_link)),
    ] {
        apply(&tx, account, Moment::now(), &command).await.unwrap();
    }
    tx.commit().await.unwrap();
    link
}

/// Why an order was rejected, and the warnings with it.
async fn refusal(waypost: &Waypost, store: &Store, order: &str, token: &str) -> (String, String) {
    let event = json!({"program": "demo-shop", "external_id": order, "amount": "50.00", "click_id": token});
    waypost.accepted("conversion", &event).await;
    let row = eventually("a rejection", async || {
        let rows = rejected_event::Entity::find().all(store.reader()).await.unwrap();
        rows.into_iter().find(|row| {
            let event: Value = serde_json::from_str(&row.event).unwrap();
            event["body"]["conversion"]["external_id"] == order
        })
    })
    .await;
    (row.reason, row.warnings.to_string())
}

#[tokio::test]
async fn a_click_that_proves_nothing_attributes_nothing() {
    let folder = Folder::new();
    let waypost = folder.dev().await;
    let store = folder.store().await;
    let demo = accounts::find_by_slug(store.reader(), "demo").await.unwrap().unwrap();
    let jane = link::Entity::find().one(store.reader()).await.unwrap().unwrap();
    let jane = LinkId(jane.id);
    let sibling = add_program(&store, AccountId(demo.id), "sibling").await;
    folder.ok(&["account", "create", "stranger"]);
    let stranger = accounts::find_by_slug(store.reader(), "stranger").await.unwrap().unwrap();
    let foreign = add_program(&store, AccountId(stranger.id), "demo-shop").await;

    let token = waypost.follow("jane").await.token;
    let crawled = folder.keys().sign(&ClickToken {
        click_id: Uuid::now_v7(),
        link: jane,
        attributable: false,
        review: false,
    });
    // Byte 1 holds the flags, 2 to 17 the click id, 18 to 25 the link, then the tag.
    let cases = [
        ("made up", "A".repeat(51), "unattributed", r#"["unknown_click"]"#),
        ("forged tag", altered(&token, 37), "unattributed", r#"["click_forged"]"#),
        ("altered link", altered(&token, 25), "unattributed", r#"["click_forged"]"#),
        ("altered flags", altered(&token, 1), "unattributed", r#"["click_forged"]"#),
        ("altered time", altered(&token, 3), "unattributed", r#"["click_forged"]"#),
        ("expired", signed(&folder, jane, WINDOW + 1), "unattributed", r#"["click_expired"]"#),
        ("not attributable", crawled, "unattributed", r#"["click_invalid_traffic"]"#),
        ("another program's", signed(&folder, sibling, 0), "program_mismatch", "[]"),
        ("another account's", signed(&folder, foreign, 0), "unattributed", r#"["unknown_click"]"#),
        ("nobody's link", signed(&folder, LinkId(9_999), 0), "unattributed", r#"["unknown_click"]"#),
    ];
    for (order, token, reason, warnings) in &cases {
        let found = refusal(&waypost, &store, order, token).await;
        assert_eq!(found, ((*reason).to_owned(), (*warnings).to_owned()), "{order}");
    }
    assert!(conversion::Entity::find().all(store.reader()).await.unwrap().is_empty());

    // The same orders with what is right, the last day of the window included: nothing was claimed.
    for (order, token) in [("forged tag", token), ("expired", signed(&folder, jane, WINDOW - 1))] {
        let event =
            json!({"program": "demo-shop", "external_id": order, "amount": "50.00", "click_id": token});
        waypost.accepted("conversion", &event).await;
    }
    eventually("two conversions", async || {
        let rows = conversion::Entity::find().all(store.reader()).await.unwrap();
        (rows.iter().filter(|row| row.status == "settled").count() == 2).then_some(())
    })
    .await;
    waypost.stop().await;
    let rejected = rejected_event::Entity::find().all(store.reader()).await.unwrap();
    assert_eq!(rejected.len(), cases.len());
    folder.assert_adds_up();
    folder.assert_log_is_discreet();
}
