//! The model's acts as commands of the engine.

use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;
use waypost::{
    domain::{
        ids::{AffiliateId, LinkId, ProgramId},
        reason::ConversionKind,
        time::Timestamp,
    },
    events::{Authority, Channel, Conversion},
    ledger::{
        Adjust, Command, Evidence, Pay, PayoutEnd, PutAffiliate, PutBonus, PutCoupon, PutGroup, PutLink,
        PutOverride, PutProgram, RulesOf, Whose,
    },
    store::entities::{commission_line, customer},
};

use crate::{
    drive::Engine,
    model::{Act, Holder, LineKey, Ms, Payment, PaymentState},
};

impl Engine {
    pub async fn command(&mut self, tx: &DatabaseTransaction, act: &Act) -> Command {
        let from = |from: &Option<Ms>| from.map(Timestamp);
        match act {
            Act::PutProgram { program, slug, currency, settings, from: starts } => {
                Command::PutProgram(Box::new(PutProgram {
                    id: ProgramId(*program),
                    slug: slug.parse().unwrap(),
                    currency: *currency,
                    settings: (**settings).clone(),
                    from: from(starts),
                }))
            }
            Act::PutAffiliate { affiliate, suspended } => Command::PutAffiliate(PutAffiliate {
                id: AffiliateId(*affiliate),
                slug: format!("a{affiliate}").parse().unwrap(),
                suspended: *suspended,
            }),
            Act::SetStanding { program, affiliate, standing } => Command::SetStanding {
                program: ProgramId(*program),
                affiliate: AffiliateId(*affiliate),
                standing: *standing,
            },
            Act::PutLink(link) => {
                self.links.insert(link.id, (link.program, link.affiliate));
                Command::PutLink(Box::new(PutLink {
                    id: LinkId(link.id),
                    uid: Uuid::from_u128(link.id.unsigned_abs().into()),
                    program: ProgramId(link.program),
                    affiliate: AffiliateId(link.affiliate),
                    code: link.code.clone(),
                    destination: None,
                    source_id: Some(link.source.clone()),
                    asset_id: Some(link.asset.clone()),
                    expires_at: None,
                }))
            }
            Act::PutCoupon(coupon) => Command::PutCoupon(PutCoupon {
                id: coupon.id,
                program: ProgramId(coupon.program),
                affiliate: AffiliateId(coupon.affiliate),
                code: coupon.code.clone(),
                starts_at: from(&coupon.starts_at),
                ends_at: from(&coupon.ends_at),
            }),
            Act::PutGroup(id) => Command::PutGroup(PutGroup {
                id: *id,
                slug: format!("g{}", &id.simple().to_string()[..20]).parse().unwrap(),
                title: "Group".to_owned(),
            }),
            Act::Approve(key) => Command::ApproveLine { line: self.line(tx, key).await },
            Act::Disapprove(key) => Command::DisapproveLine { line: self.line(tx, key).await },
            Act::Reopen(key) => Command::ReopenLine { line: self.line(tx, key).await },
            Act::EditLine(key, amount) => {
                Command::EditLine { line: self.line(tx, key).await, amount: *amount, comment: None }
            }
            Act::Adjust { id, affiliate, program, currency, amount } => Command::Adjust(Box::new(Adjust {
                id: *id,
                affiliate: AffiliateId(*affiliate),
                program: program.map(ProgramId),
                currency: *currency,
                amount: *amount,
                comment: "by hand".to_owned(),
            })),
            Act::EditConversion(ix, amount) => {
                Command::EditConversion { conversion: self.conversions[ix], amount: *amount }
            }
            Act::Recalculate(ix, current) => Command::Recalculate {
                conversion: self.conversions[ix],
                rules: if *current { RulesOf::Current } else { RulesOf::Then },
            },
            Act::Delete(ix) => Command::DeleteConversion { conversion: self.conversions[ix] },
            Act::SetGroup { affiliate, group } => {
                Command::SetGroup { affiliate: AffiliateId(*affiliate), group: *group }
            }
            Act::SetParent { affiliate, parent } => {
                Command::SetParent { affiliate: AffiliateId(*affiliate), parent: parent.map(AffiliateId) }
            }
            Act::PutOverride { program, whose, target, rule, from: starts } => {
                let whose = match whose {
                    Holder::Affiliate(id) => Whose::Affiliate(AffiliateId(*id)),
                    Holder::Group(id) => Whose::Group(*id),
                };
                // One for each of its kind.
                let subject = format!("{program} {whose:?} {target:?}");
                let new = self.new_id();
                let id = *self.overrides.entry(subject).or_insert(new);
                Command::PutOverride(Box::new(PutOverride {
                    id,
                    program: ProgramId(*program),
                    whose,
                    target: target.clone(),
                    rule: rule.clone(),
                    from: from(starts),
                }))
            }
            Act::PutBonus { bonus, program, settings, from: starts } => {
                Command::PutBonus(Box::new(PutBonus {
                    id: *bonus,
                    program: ProgramId(*program),
                    settings: settings.clone(),
                    from: from(starts),
                }))
            }
            Act::DeleteBonus(bonus) => Command::DeleteBonus { bonus: *bonus },
            Act::Award { bonus, affiliate, interval } => Command::AwardBonus {
                bonus: *bonus,
                affiliate: AffiliateId(*affiliate),
                interval: Timestamp(*interval),
            },
            Act::CreateCustomer { program, customer, code, track } => Command::CreateCustomer {
                id: self.new_id(),
                inputs: Box::new(self.by_code(*program, customer, code)),
                track: *track,
                evidence: Box::new(Evidence::default()),
            },
            Act::MoveCustomer { customer, affiliate } => Command::MoveCustomer {
                customer: self.customer(tx, *customer).await,
                affiliate: AffiliateId(*affiliate),
                link: None,
            },
            Act::SetCanceled { customer, canceled } => {
                Command::SetCanceled { customer: self.customer(tx, *customer).await, canceled: *canceled }
            }
            Act::RecordPayment(payment) => Command::RecordPayment(Box::new(pay(payment))),
            Act::CancelPayment(id) => Command::CancelPayment { payment: *id },
            Act::CreatePayout(payout) => Command::CreatePayout(Box::new(pay(payout))),
            Act::EndPayout(id, end) => Command::EndPayout {
                payout: *id,
                end: match end {
                    PaymentState::Paid => PayoutEnd::Paid,
                    PaymentState::Failed => PayoutEnd::Failed,
                    _ => PayoutEnd::Cancelled,
                },
            },
            Act::SetMinimum(currency, amount) => {
                Command::SetPayoutMinimum { currency: *currency, amount: *amount }
            }
            Act::Receive(_)
            | Act::StoreClick(_)
            | Act::LoadRates(_)
            | Act::Expire
            | Act::Accept(_)
            | Act::Decline(_) => panic!("no command of its own: {act:?}"),
        }
    }

    async fn line(&self, tx: &impl ConnectionTrait, key: &LineKey) -> Uuid {
        use commission_line::Column;
        match key {
            LineKey::Of(ix, number) => {
                let found = commission_line::Entity::find()
                    .filter(Column::ConversionId.eq(self.conversions[ix]))
                    .filter(Column::Number.eq(*number));
                found.one(tx).await.unwrap().unwrap().id
            }
            LineKey::Loose(place) => self.loose(tx).await[*place].id,
        }
    }

    /// Lines of no conversion, in the order of their making.
    pub async fn loose(&self, db: &impl ConnectionTrait) -> Vec<commission_line::Model> {
        use commission_line::Column;
        let found = commission_line::Entity::find()
            .filter(Column::AccountId.eq(self.account.0))
            .filter(Column::ConversionId.is_null())
            .order_by_asc(Column::CreatedSeq)
            .order_by_asc(Column::Number);
        found.all(db).await.unwrap()
    }

    /// In the order in which they were born.
    pub async fn customers(&self, db: &impl ConnectionTrait) -> Vec<customer::Model> {
        let found = customer::Entity::find().filter(customer::Column::AccountId.eq(self.account.0));
        found.order_by_asc(customer::Column::CreatedSeq).all(db).await.unwrap()
    }

    async fn customer(&self, tx: &impl ConnectionTrait, place: usize) -> Uuid {
        self.customers(tx).await[place].id
    }

    fn by_code(&self, program: i64, customer: &str, code: &str) -> Conversion {
        Conversion {
            account: self.account,
            kind: ConversionKind::Lead,
            channel: Channel::Rest,
            authority: Authority::Secret,
            fingerprint: String::new(),
            program: Some(format!("p{}", program % 100 - 1)),
            program_group: None,
            external_id: None,
            amount: None,
            currency: None,
            customer_id: Some(customer.to_owned()),
            coupon: None,
            referral_code: Some(code.to_owned()),
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
}

fn pay(payment: &Payment) -> Pay {
    Pay {
        id: payment.id,
        affiliate: AffiliateId(payment.affiliate),
        currency: payment.currency,
        amount: payment.amount,
        comment: None,
    }
}
