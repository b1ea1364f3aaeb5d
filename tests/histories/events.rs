//! Events as the edges make them: sales, refunds, and the same again.

use uuid::Uuid;
use waypost::{
    domain::{ids::AccountId, reason::ConversionKind, time::Timestamp},
    events::{Authority, Body, Channel, CommissionEntry, Conversion, Event, Origin, Refund, VERSION},
};

use crate::{
    model::{ConversionState, DAY, Model, Ms},
    plan::{Stage, currency, having, named, pick},
    rules,
    steps::{AFFILIATES, CURRENCIES, History, PROGRAMS, Sale},
};

fn fingerprint(body: &impl serde::Serialize) -> String {
    blake3::hash(&serde_json::to_vec(body).unwrap()).to_hex()[..32].to_owned()
}

impl Stage {
    pub fn new_id(&mut self) -> Uuid {
        self.made += 1;
        named(&format!("{}/made/{}", self.base, self.made))
    }

    pub fn wrap(&mut self, id: Option<String>, body: Body, at: Ms) -> Event {
        let id = id.map_or_else(|| self.new_id(), |name| named(&name));
        // Of no stream.
        let origin = Origin { edge: "".into(), boot: Uuid::nil(), stream: "".into(), n: 0 };
        Event { v: VERSION, id, origin, received_at: Timestamp(at), body }
    }

    pub fn sale(&mut self, history: &History, at: Ms, account: AccountId, sale: &Sale) -> Event {
        let slug = format!("p{}", sale.program);
        let digits = currency(sale.currency.unwrap_or(history.programs[sale.program].0));
        let text = |minor: i64| {
            let text = digits.format(minor);
            let extra = match (sale.odd, text.contains('.')) {
                (0, _) => String::new(),
                (odd, true) => odd.to_string(),
                (odd, false) => format!(".{odd}"),
            };
            format!("{text}{extra}").parse().unwrap()
        };
        let who = |code: &str| format!("p{}{code}{}", sale.program, sale.affiliate);
        let other = (sale.affiliate + sale.inputs.others) % AFFILIATES;
        let parts = sale.parts.iter().map(|(sub_amount, kind)| CommissionEntry {
            sub_amount: text(*sub_amount),
            commission_type: kind.map(|n| rules::TYPES[n].to_owned()),
            comment: None,
        });
        let click = sale.inputs.click.map(|n| {
            let click = &self.clicks[n].0;
            click.token.clone().unwrap_or_else(|| click.id.to_string())
        });
        let ago = sale.ago.unwrap_or(0);
        let mut body = Conversion {
            account,
            kind: if sale.lead { ConversionKind::Lead } else { ConversionKind::Conversion },
            channel: Channel::Rest,
            authority: match (sale.held, ago > 30 * DAY) {
                (true, _) => Authority::HeldPixel,
                (false, true) => Authority::Import,
                (false, false) => Authority::Secret,
            },
            fingerprint: String::new(),
            program: sale.named.then(|| slug.clone()),
            program_group: sale.grouped.then(|| rules::GROUP.to_owned()),
            external_id: sale.order.map(|order| format!("o-{order}")),
            amount: sale.amount.map(text),
            currency: sale.currency.map(|n| CURRENCIES[n].to_owned()),
            customer_id: sale.customer.map(|n| format!("c-{n}")),
            coupon: sale.inputs.coupon.then(|| who("a")),
            referral_code: sale.inputs.code.then(|| format!("p{}a{other}", sale.program)),
            click_id: click,
            asset_id: sale.inputs.asset.then(|| format!("banner-{}", who("a"))),
            source_id: sale.inputs.asset.then(|| "letter".to_owned()),
            tracking_id: sale.inputs.tracking.map(|n| format!("visitor-{n}")),
            commission_type: sale.commission_type.map(|n| rules::TYPES[n].to_owned()),
            commissions: parts.collect(),
            occurred_at: sale.ago.map(|ago| Timestamp(at - ago)),
            sub_ids: Default::default(),
            meta_data: serde_json::Map::new(),
        };
        body.fingerprint = fingerprint(&body);
        let id = match (&body.program, &body.external_id) {
            (Some(program), Some(external)) => {
                Some(format!("{}/{program}/{}/{external}", self.base, body.kind))
            }
            _ => None,
        };
        self.wrap(id, Body::Conversion(Box::new(body)), at)
    }

    pub fn refund(
        &self,
        model: &Model,
        account: AccountId,
        (of, by_id, order): (usize, bool, Option<u8>),
        permille: Option<i64>,
        id: Option<u8>,
    ) -> Option<Refund> {
        let known = having(model, |state| {
            matches!(state, ConversionState::Settled | ConversionState::Deleted | ConversionState::Pending(_))
        });
        let mut body = Refund {
            account,
            fingerprint: String::new(),
            external_id: id.map(|id| format!("r-{id}")),
            conversion_id: None,
            program: None,
            kind: None,
            conversion_external_id: None,
            amount: None,
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        };
        let named = |body: &mut Refund, program: i64, kind: ConversionKind, external: String| {
            body.program = Some(model.programs[&program].slug.clone());
            body.kind = (kind != ConversionKind::Conversion).then_some(kind);
            body.conversion_external_id = Some(external);
        };
        let (amount, of) = match order {
            // Of one that may not be there.
            Some(order) => {
                let program = self.program(of % PROGRAMS);
                named(&mut body, program, ConversionKind::Conversion, format!("o-{order}"));
                (10_000, model.programs[&program].currency)
            }
            None => {
                let ix = *pick(&known, of)?;
                let conversion = &model.conversions[ix];
                let Body::Conversion(input) = &conversion.event.body else { return None };
                match (&input.external_id, conversion.claimed_in) {
                    (Some(external), Some(program)) if !by_id => {
                        named(&mut body, program, input.kind, external.clone());
                    }
                    _ => body.conversion_id = Some(format!("ix_{ix}")),
                }
                (conversion.amount - conversion.refunded, conversion.currency.unwrap_or(currency(0)))
            }
        };
        body.amount = permille.map(|permille| {
            // Of what is left, so that it may come out at the whole.
            of.format((amount * permille + 999) / 1_000).parse().unwrap()
        });
        body.fingerprint = fingerprint(&body);
        Some(body)
    }

    /// All that is left, back.
    pub fn refund_rest(&mut self, account: AccountId, ix: usize, at: Ms) -> Event {
        let mut body = Refund {
            account,
            fingerprint: String::new(),
            external_id: None,
            // Told apart by the driver: it knows the engine's ids.
            conversion_id: Some(format!("ix_{ix}")),
            program: None,
            kind: None,
            conversion_external_id: None,
            amount: None,
            currency: None,
            reason: None,
            meta_data: serde_json::Map::new(),
        };
        body.fingerprint = fingerprint(&body);
        self.wrap(None, Body::Refund(Box::new(body)), at)
    }

    /// What an event says once more, under an id of its own.
    pub fn again(&mut self, event: &Event, at: Ms) -> Event {
        Event { id: self.new_id(), received_at: Timestamp(at), ..event.clone() }
    }
}
