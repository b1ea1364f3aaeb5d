//! A shop on a real database file: account, program, affiliate, link and coupon, and short ways to send events.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};
use serde_json::json;
use uuid::{Builder, Uuid};
use waypost::{
    domain::{
        calendar::Zone,
        ids::{AccountId, AffiliateId, LinkId, Prefix, ProgramId},
        price::Target,
        program::ProgramSettings,
        reason::{ConversionKind, Rejection, Standing, Warning},
        time::{MS_PER_DAY, Timestamp},
        token::{ClickToken, KeyRing, KeyState, TokenKey},
    },
    events::{Authority, Body, Channel, Conversion, Event, Origin, Refund, VERSION},
    ledger::{
        self, Command, Effect, Intake, LedgerError, PutAffiliate, PutCoupon, PutLink, PutOverride,
        PutProgram, Terms, Whose, replay, verify,
    },
    settlement::reconcile,
    store::{
        Store, accounts,
        entities::{balance, click, commission_line, conversion, customer, posting, refund, rejected_event},
        partitions,
        streams::{self, StreamKey},
    },
};

use crate::backend::Database;

/// 2026-03-01T12:00:00Z: when things happen unless a test says otherwise.
pub const NOW: Timestamp = Timestamp(1_772_366_400_000);
/// The shop was opened 60 days before.
pub const OPENED: Timestamp = Timestamp(NOW.0 - 60 * MS_PER_DAY);
pub const MINUTE: i64 = 60_000;
pub const TERMS: Terms = Terms { max_age_days: 30, pending_time_ms: 60 * MINUTE };
pub const BOOT: Uuid = Uuid::from_u128(7);

pub const SHOP: ProgramId = ProgramId(1);
pub const JANE: AffiliateId = AffiliateId(1);
pub const JANES_LINK: LinkId = LinkId(1);

pub struct Shop {
    pub store: Store,
    pub account: AccountId,
    pub keys: Arc<KeyRing>,
    pub intake: Intake,
    numbers: AtomicU64,
    _database: Database,
}

/// A ring whose active key has this id.
pub fn ring(active: u8, others: &[(u8, KeyState)]) -> Arc<KeyRing> {
    let key = |id: u8, state| TokenKey { id, state, secret: [id; 32] };
    let mut keys = vec![key(active, KeyState::Active)];
    keys.extend(others.iter().map(|(id, state)| key(*id, *state)));
    Arc::new(KeyRing::new(keys).unwrap())
}

pub fn settings() -> ProgramSettings {
    serde_json::from_value(json!({
        "name": "Shop", "destination": "https://shop.example/", "deep_link_hosts": [], "allow_http": false,
        "referral_parameter": "ref", "click_parameter": "click_id", "cookie_time": 30,
        "override_max_cookie_time": false, "cookie_same_site": "lax", "attribution_model": "last_click",
        "referrer_policy": "no-referrer", "pixel": "held", "duplicate_window_ms": 3_600_000,
        "commission_types": [
            {"identifier": "standard", "title": "10 %", "form": "percentage", "value": 1_000_000_000},
            {"identifier": "lead", "title": "5 USD", "form": "fixed", "value": 500},
        ],
        "default_commission_type": "standard", "auto_approve_commissions": false, "payout_delay": 14,
        "refund_policy": "reverse", "program_group": null,
    }))
    .unwrap()
}

pub fn put_program(id: ProgramId, slug: &str, currency: &str, settings: ProgramSettings) -> Command {
    Command::PutProgram(Box::new(PutProgram {
        id,
        slug: slug.parse().unwrap(),
        currency: currency.parse().unwrap(),
        settings,
        from: None,
    }))
}

pub fn put_affiliate(id: AffiliateId, slug: &str, suspended: bool) -> Command {
    Command::PutAffiliate(PutAffiliate { id, slug: slug.parse().unwrap(), suspended })
}

pub fn put_link(id: LinkId, program: ProgramId, affiliate: AffiliateId, code: &str) -> Command {
    Command::PutLink(Box::new(PutLink {
        id,
        uid: Uuid::from_u128(id.0.unsigned_abs().into()),
        program,
        affiliate,
        code: code.to_owned(),
        destination: None,
        source_id: Some("newsletter".to_owned()),
        asset_id: Some(format!("banner-{code}")),
        expires_at: None,
    }))
}

pub fn put_coupon(id: u128, program: ProgramId, affiliate: AffiliateId, code: &str) -> Command {
    Command::PutCoupon(PutCoupon {
        id: Uuid::from_u128(id),
        program,
        affiliate,
        code: code.to_owned(),
        starts_at: Some(Timestamp(NOW.0 - 10 * MS_PER_DAY)),
        ends_at: Some(Timestamp(NOW.0 + 10 * MS_PER_DAY)),
    })
}

/// An override in the program `shop`, in force from then on, or from the time of the command.
pub fn put_override(
    id: u128,
    whose: Whose,
    target: Target,
    rule: serde_json::Value,
    from: Option<Timestamp>,
) -> Command {
    let rule = Some(serde_json::from_value(rule).unwrap());
    Command::PutOverride(Box::new(PutOverride {
        id: Uuid::from_u128(id),
        program: SHOP,
        whose,
        target,
        rule,
        from,
    }))
}

pub fn standing(program: ProgramId, affiliate: AffiliateId, standing: Standing) -> Command {
    Command::SetStanding { program, affiliate, standing }
}

/// A click id of this time.
pub fn click_id(at: Timestamp) -> Uuid {
    let mut random = [0; 10];
    random.copy_from_slice(&blake3::hash(Uuid::now_v7().as_bytes()).as_bytes()[..10]);
    Builder::from_unix_timestamp_millis(at.0.unsigned_abs(), &random).into_uuid()
}

impl Shop {
    /// USD, 10 % and a fixed 5.00; affiliate jane with the link `jane` and the coupon `JANE10`.
    pub async fn open() -> Self {
        let shop = Self::empty().await;
        shop.furnish(SHOP, "shop", JANE, "jane", JANES_LINK).await;
        shop.must(OPENED, put_coupon(1, SHOP, JANE, "JANE10")).await;
        shop
    }

    pub async fn empty() -> Self {
        let database = Database::create().await;
        let store = database.store().await;
        let tx = store.begin().await.unwrap();
        let account =
            accounts::create(&tx, &"demo".parse().unwrap(), "Demo", &Zone::utc(), OPENED).await.unwrap();
        tx.commit().await.unwrap();
        let keys = ring(1, &[]);
        let intake = Intake::new(keys.clone(), TERMS);
        Self { store, account, keys, intake, numbers: AtomicU64::new(1), _database: database }
    }

    /// A program with an approved affiliate and their link, whose code is the affiliate's slug.
    pub async fn furnish(
        &self,
        program: ProgramId,
        slug: &str,
        affiliate: AffiliateId,
        who: &str,
        link: LinkId,
    ) {
        self.must(OPENED, put_program(program, slug, "USD", settings())).await;
        self.must(OPENED, put_affiliate(affiliate, who, false)).await;
        self.must(OPENED, standing(program, affiliate, Standing::Approved)).await;
        self.must(OPENED, put_link(link, program, affiliate, who)).await;
    }

    /// A second account on the same store.
    pub async fn neighbour(&self) -> AccountId {
        let tx = self.store.begin().await.unwrap();
        let id =
            accounts::create(&tx, &"other".parse().unwrap(), "Other", &Zone::utc(), OPENED).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn apply_for(
        &self,
        account: AccountId,
        at: Timestamp,
        command: Command,
    ) -> Result<Effect, LedgerError> {
        let tx = self.store.begin().await.unwrap();
        let effect = ledger::apply(&tx, account, at, &command).await?;
        tx.commit().await.unwrap();
        Ok(effect)
    }

    pub async fn apply(&self, at: Timestamp, command: Command) -> Result<Effect, LedgerError> {
        self.apply_for(self.account, at, command).await
    }

    pub async fn must(&self, at: Timestamp, command: Command) -> Effect {
        self.apply(at, command).await.unwrap()
    }

    /// A conversion without anything that attributes it.
    pub fn sale(&self, amount: &str) -> Conversion {
        let decimal = |text: &str| text.parse().unwrap();
        Conversion {
            account: self.account,
            kind: ConversionKind::Conversion,
            channel: Channel::Rest,
            authority: Authority::Secret,
            fingerprint: String::new(),
            program: None,
            program_group: None,
            external_id: None,
            amount: (!amount.is_empty()).then(|| decimal(amount)),
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
            meta_data: serde_json::Map::new(),
        }
    }

    /// One of jane's, by her code.
    pub fn janes(&self, amount: &str) -> Conversion {
        Conversion { referral_code: Some("jane".to_owned()), ..self.sale(amount) }
    }

    /// One of jane's in the named program, with an external id.
    pub fn order(&self, external_id: &str, amount: &str) -> Conversion {
        let program = Some("shop".to_owned());
        Conversion { program, external_id: Some(external_id.to_owned()), ..self.janes(amount) }
    }

    pub fn refund_of(&self, conversion_external_id: &str, amount: &str) -> Refund {
        Refund {
            account: self.account,
            fingerprint: String::new(),
            external_id: None,
            conversion_id: None,
            program: Some("shop".to_owned()),
            kind: None,
            conversion_external_id: Some(conversion_external_id.to_owned()),
            amount: (!amount.is_empty()).then(|| amount.parse().unwrap()),
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        }
    }

    pub fn refund_by_id(&self, conversion: Uuid, amount: &str) -> Refund {
        let conversion_id = Some(Prefix::Conversion.format(conversion));
        Refund { program: None, conversion_external_id: None, conversion_id, ..self.refund_of("", amount) }
    }

    /// The event of a conversion as an edge makes it.
    pub fn event(&self, mut conversion: Conversion, at: Timestamp) -> Event {
        conversion.fingerprint = fingerprint(&conversion);
        let id = match (&conversion.program, &conversion.external_id) {
            (Some(program), Some(external)) => {
                named_id(&format!("{}/{program}/{}/{external}", self.account, conversion.kind))
            }
            _ => Uuid::now_v7(),
        };
        self.wrap(id, Body::Conversion(Box::new(conversion)), at)
    }

    pub fn refund_event(&self, mut refund: Refund, at: Timestamp) -> Event {
        refund.fingerprint = fingerprint(&refund);
        let id = match &refund.external_id {
            Some(external) => named_id(&format!("{}/refund/{external}", self.account)),
            None => Uuid::now_v7(),
        };
        self.wrap(id, Body::Refund(Box::new(refund)), at)
    }

    pub fn wrap(&self, id: Uuid, body: Body, received_at: Timestamp) -> Event {
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { edge: "edge-1".into(), boot: BOOT, stream: "conversions/0".into(), n };
        Event { v: VERSION, id, origin, received_at, body }
    }

    /// Through the intake, as settlement does, received and settled at once.
    pub async fn receive(&self, event: &Event) -> Effect {
        self.receive_at(event, event.received_at).await
    }

    pub async fn receive_at(&self, event: &Event, at: Timestamp) -> Effect {
        let tx = self.store.begin().await.unwrap();
        let stream = StreamKey { edge: "edge-1".to_owned(), boot: BOOT, stream: "conversions/0".to_owned() };
        let numbers = [(stream, vec![event.origin.n.cast_signed()])].into();
        let effect = self.intake.receive(&tx, event, at).await.unwrap();
        assert!(streams::see(&tx, &numbers).await.unwrap());
        tx.commit().await.unwrap();
        effect
    }

    pub async fn send(&self, conversion: Conversion) -> Effect {
        self.send_at(conversion, NOW).await
    }

    pub async fn send_at(&self, conversion: Conversion, at: Timestamp) -> Effect {
        self.receive(&self.event(conversion, at)).await
    }

    pub async fn refund(&self, refund: Refund) -> Effect {
        self.receive(&self.refund_event(refund, NOW)).await
    }

    pub async fn retry(&self, conversion: Uuid, waited_out: bool, at: Timestamp) -> Option<Effect> {
        let tx = self.store.begin().await.unwrap();
        let effect = self.intake.retry_pending(&tx, self.account, conversion, waited_out, at).await.unwrap();
        tx.commit().await.unwrap();
        effect
    }

    pub async fn give_up(&self, refund: Uuid, at: Timestamp) {
        let tx = self.store.begin().await.unwrap();
        self.intake.give_up_refund(&tx, self.account, refund, at).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn accept(&self, conversion: Uuid) -> Result<Effect, LedgerError> {
        let tx = self.store.begin().await.unwrap();
        let effect = self.intake.accept_held(&tx, self.account, conversion, NOW).await?;
        tx.commit().await.unwrap();
        Ok(effect)
    }

    pub async fn decline(&self, conversion: Uuid) -> Result<Effect, LedgerError> {
        let tx = self.store.begin().await.unwrap();
        let effect = self.intake.decline_held(&tx, self.account, conversion, NOW).await?;
        tx.commit().await.unwrap();
        Ok(effect)
    }

    pub fn token(&self, at: Timestamp, link: LinkId) -> String {
        self.sign(ClickToken { click_id: click_id(at), link, attributable: true, review: false })
    }

    pub fn sign(&self, token: ClickToken) -> String {
        self.keys.sign(&token)
    }

    /// A stored click of jane's link.
    pub async fn store_click(&self, id: Uuid, attributable: bool, tracking_id: Option<&str>) {
        let clicked_at = Timestamp::of_uuid(id).unwrap();
        let row = click::Model {
            day: clicked_at.day(),
            id,
            account_id: self.account.0,
            link_id: JANES_LINK.0,
            program_id: SHOP.0,
            affiliate_id: JANE.0,
            class: if attributable { "valid" } else { "crawler" }.to_owned(),
            attributable,
            review: false,
            clicked_at: clicked_at.0,
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
            tracking_id: tracking_id.map(str::to_owned),
            details: json!({}),
            duplicate_of: None,
        };
        let tx = self.store.begin().await.unwrap();
        partitions::ensure(&tx, &[row.day].into()).await.unwrap();
        click::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn conversion(&self, id: Uuid) -> conversion::Model {
        conversion::Entity::find_by_id(id).one(self.store.reader()).await.unwrap().unwrap()
    }

    pub async fn refund_row(&self, id: Uuid) -> refund::Model {
        refund::Entity::find_by_id(id).one(self.store.reader()).await.unwrap().unwrap()
    }

    pub async fn lines(&self, conversion: Uuid) -> Vec<commission_line::Model> {
        commission_line::Entity::find()
            .filter(commission_line::Column::ConversionId.eq(conversion))
            .order_by_asc(commission_line::Column::Number)
            .all(self.store.reader())
            .await
            .unwrap()
    }

    /// Amounts of a conversion's lines.
    pub async fn amounts(&self, conversion: Uuid) -> Vec<i64> {
        self.lines(conversion).await.into_iter().map(|line| line.amount).collect()
    }

    pub async fn customers(&self) -> Vec<customer::Model> {
        customer::Entity::find()
            .order_by_asc(customer::Column::CreatedSeq)
            .all(self.store.reader())
            .await
            .unwrap()
    }

    pub async fn rejected(&self) -> Vec<rejected_event::Model> {
        rejected_event::Entity::find()
            .order_by_asc(rejected_event::Column::Id)
            .all(self.store.reader())
            .await
            .unwrap()
    }

    /// Event, affiliate, account, amount of all postings, in order.
    pub async fn postings(&self) -> Vec<(String, i64, String, i64)> {
        posting::Entity::find()
            .order_by_asc(posting::Column::Seq)
            .order_by_asc(posting::Column::Number)
            .all(self.store.reader())
            .await
            .unwrap()
            .into_iter()
            .map(|row| (row.event, row.affiliate_id, row.ledger_account, row.amount))
            .collect()
    }

    /// Balances that are not 0, by affiliate and ledger account.
    pub async fn balances(&self) -> BTreeMap<(i64, String), i64> {
        let rows = balance::Entity::find().all(self.store.reader()).await.unwrap();
        let rows = rows.into_iter().filter(|row| row.amount != 0);
        rows.map(|row| ((row.affiliate_id, row.ledger_account), row.amount)).collect()
    }

    /// Ledger, journal and the sums of the streams all agree.
    pub async fn assert_sound(&self) {
        self.assert_verified().await;
        let sums = reconcile::reconcile(self.store.reader()).await.unwrap();
        // Clicks that a test stored by itself came through no stream.
        let differences = sums.differences.into_iter().filter(|text| !text.contains("clicks are stored"));
        assert_eq!(differences.collect::<Vec<_>>(), Vec::<String>::new());
        let replayed = self.replay().await;
        assert_eq!((replayed.differing, replayed.differences), (0, Vec::new()));
    }

    pub async fn assert_verified(&self) {
        let verified = verify::verify(self.store.reader()).await.unwrap();
        assert_eq!(verified.differences, Vec::<String>::new());
    }

    pub async fn replay(&self) -> replay::Replay {
        let folder = tempfile::tempdir().unwrap();
        let copy = Store::open(&Store::sqlite_url(&folder.path().join("copy.db"))).await.unwrap();
        let report = replay::replay(self.store.reader(), &copy).await.unwrap();
        copy.close().await.unwrap();
        report
    }
}

fn fingerprint(body: &impl serde::Serialize) -> String {
    blake3::hash(&serde_json::to_vec(body).unwrap()).to_hex()[..32].to_owned()
}

fn named_id(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    Uuid::from_bytes(bytes)
}

pub fn settled(effect: Effect) -> Uuid {
    match effect {
        Effect::Settled { id, .. } => id,
        other => panic!("not settled: {other:?}"),
    }
}

pub fn pending(effect: Effect) -> Uuid {
    match effect {
        Effect::Pending { id, .. } => id,
        other => panic!("not pending: {other:?}"),
    }
}

pub fn held(effect: Effect) -> Uuid {
    match effect {
        Effect::Held { id } => id,
        other => panic!("not held: {other:?}"),
    }
}

pub fn rejection(effect: Effect) -> (Rejection, Vec<Warning>) {
    match effect {
        Effect::Rejected { reason, passed_over, .. } => {
            (reason, passed_over.iter().map(|passed| passed.warning).collect())
        }
        other => panic!("not rejected: {other:?}"),
    }
}

pub fn reason(effect: Effect) -> Rejection {
    rejection(effect).0
}
