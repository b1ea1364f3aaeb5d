//! A conversion comes in, waits, is held, settles (MONEY 2, 3).

use waypost::{
    domain::{
        amount::Currency,
        reason::{CustomerTrack, Rejection, Waits},
    },
    events::{self, Authority, Body, Event},
};

use super::{
    Ms,
    attribution::{Found, NotFound},
    calendar::DAY,
    number::{half_even, minor, ratio, whole},
    state::*,
    versions::{commission_type, settings},
};

const LARGEST: i64 = 1_000_000_000_000_000;

pub fn said(event: &Event) -> &events::Conversion {
    match &event.body {
        Body::Conversion(conversion) => conversion,
        _ => panic!("no conversion: {event:?}"),
    }
}

/// What a conversion is worth, in minor units.
struct Worth {
    currency: Currency,
    amount: i64,
    parts: Vec<Part>,
}

impl Conversion {
    /// A repeat of it is one.
    pub fn is_live(&self) -> bool {
        matches!(
            self.state,
            ConversionState::Settled | ConversionState::Deleted | ConversionState::Pending(_)
        )
    }

    pub fn refunded_whole(&self) -> bool {
        if self.amount == 0 { self.refunds > 0 } else { self.refunded == self.amount }
    }

    pub fn left(&self) -> i64 {
        self.amount - self.refunded
    }
}

impl Model {
    /// The one that has claimed an external id.
    fn claimed(&self, program: i64, input: &events::Conversion, but: usize) -> bool {
        self.conversions.iter().enumerate().any(|(ix, other)| {
            let other_said = said(&other.event);
            ix != but
                && other.is_live()
                && other.claimed_in == Some(program)
                && other_said.kind == input.kind
                && input.external_id.is_some()
                && other_said.external_id == input.external_id
        })
    }

    pub fn receive_conversion(&mut self, at: Ms, event: &Event) -> Outcome {
        let input = said(event);
        let holds = matches!(input.authority, Authority::HeldPixel | Authority::Publishable);
        if let Some(same) =
            self.conversions.iter().find(|other| other.event.id == event.id && other.is_live())
        {
            if holds || said(&same.event).fingerprint == input.fingerprint {
                return Outcome::Duplicate;
            }
            return Outcome::Rejected(Rejection::IdempotencyConflict);
        }
        let named = match &input.program {
            Some(slug) => match self.program_named(slug) {
                Some(program) => Some(program),
                None => return Outcome::Rejected(Rejection::UnknownProgram),
            },
            None => None,
        };
        if named.is_some_and(|program| self.claimed(program, input, usize::MAX)) {
            return Outcome::Duplicate;
        }
        let received_at = event.received_at.0;
        let occurred_at = input.occurred_at.map_or(received_at, |at| at.0);
        if occurred_at > received_at + 5 * 60_000 {
            return Outcome::Rejected(Rejection::OccurredInFuture);
        }
        if occurred_at < received_at - 30 * DAY && input.authority != Authority::Import {
            return Outcome::Rejected(Rejection::OccurredTooLongAgo);
        }
        let same_held = |other: &Conversion| {
            other.state == ConversionState::Held
                && other.event.id == event.id
                && said(&other.event).fingerprint == input.fingerprint
        };
        if holds && self.conversions.iter().any(same_held) {
            return Outcome::Duplicate;
        }
        let state = if holds { ConversionState::Held } else { ConversionState::Gone };
        self.conversions.push(Conversion {
            event: event.clone(),
            state,
            waits_until: at + self.pending_time,
            waited_out: false,
            claimed_in: named,
            found: None,
            seq: None,
            program: 0,
            affiliate: 0,
            customer: None,
            currency: None,
            amount: 0,
            refunded: 0,
            refunds: 0,
            occurred_at,
            parts: Vec::new(),
            given_parts: false,
            factor: ratio(1, 1),
            review: false,
            lines: Vec::new(),
        });
        if holds { Outcome::Held } else { self.attempt(at, self.conversions.len() - 1) }
    }

    pub fn accept(&mut self, at: Ms, ix: usize) -> Outcome {
        if self.conversions[ix].state != ConversionState::Held {
            return Outcome::Refused;
        }
        let id = self.conversions[ix].event.id;
        if self.conversions.iter().any(|other| other.event.id == id && other.is_live()) {
            self.conversions[ix].state = ConversionState::Gone;
            return Outcome::Duplicate;
        }
        self.conversions[ix].waits_until = at + self.pending_time;
        let outcome = self.attempt(at, ix);
        if matches!(outcome, Outcome::Rejected(_)) {
            self.conversions[ix].state = ConversionState::Held;
        }
        outcome
    }

    pub fn decline(&mut self, ix: usize) -> Outcome {
        if self.conversions[ix].state != ConversionState::Held {
            return Outcome::Refused;
        }
        self.conversions[ix].state = ConversionState::Gone;
        Outcome::Declined
    }

    /// Tries them again, one after the other.
    pub fn retry(&mut self, at: Ms, woken: &[usize]) {
        for &ix in woken {
            self.seq += 1;
            self.attempt(at, ix);
            self.award_alltime(at);
        }
    }

    /// From the first input on.
    fn attempt(&mut self, at: Ms, ix: usize) -> Outcome {
        let outcome = match self.consider(ix) {
            Ok((found, worth)) => self.settle(at, ix, found, worth),
            Err(outcome) => outcome,
        };
        self.conversions[ix].state = match outcome {
            Outcome::Settled => ConversionState::Settled,
            Outcome::Pending(waits) => ConversionState::Pending(waits),
            _ => ConversionState::Gone,
        };
        if outcome == Outcome::Settled {
            self.replace_held(ix);
            self.wake_refunds(at, ix);
        }
        outcome
    }

    fn consider(&self, ix: usize) -> Result<(Found, Worth), Outcome> {
        let conversion = &self.conversions[ix];
        let input = said(&conversion.event);
        let happened = conversion.occurred_at;
        let found =
            self.attribute(input, happened, conversion.waited_out).map_err(|missing| match missing {
                NotFound::Waits(waits) => Outcome::Pending(waits),
                NotFound::Rejected(reason) => Outcome::Rejected(reason),
            })?;
        if self.claimed(found.program, input, ix) {
            return Err(Outcome::Duplicate);
        }
        self.admit(found.program, found.affiliate, happened).map_err(Outcome::Rejected)?;
        let worth = self.worth(found.program, input, happened).map_err(Outcome::Rejected)?;
        Ok((found, worth))
    }

    fn worth(&self, program: i64, input: &events::Conversion, happened: Ms) -> Result<Worth, Rejection> {
        let program = &self.programs[&program];
        let currency = match &input.currency {
            Some(code) => code.parse().map_err(|_| Rejection::UnknownCurrency)?,
            None => program.currency,
        };
        let amount_of = |text: &str| {
            let (exact, amount, _) = minor(text, currency.exponent());
            if exact < whole(0) {
                return Err(Rejection::AmountNegative);
            }
            if exact > whole(LARGEST) {
                return Err(Rejection::AmountTooLarge);
            }
            Ok(amount)
        };
        let default = &settings(program, happened).0.default_commission_type;
        let kind_of = |given: Option<&String>| {
            let name = given.unwrap_or(default);
            commission_type(program, name, happened)
                .map(|kind| kind.identifier.clone())
                .ok_or(Rejection::UnknownCommissionType)
        };
        let mut parts = Vec::new();
        for entry in &input.commissions {
            let sub_amount = amount_of(entry.sub_amount.as_str())?;
            parts.push(Part {
                sub_amount,
                commission_type: kind_of(entry.commission_type.as_ref().or(input.commission_type.as_ref()))?,
            });
        }
        let amount = match &input.amount {
            Some(text) => amount_of(text.as_str())?,
            None => parts.iter().map(|part| part.sub_amount).sum(),
        };
        if parts.is_empty() {
            parts
                .push(Part { sub_amount: amount, commission_type: kind_of(input.commission_type.as_ref())? });
        }
        Ok(Worth { currency, amount, parts })
    }

    fn settle(&mut self, at: Ms, ix: usize, found: Found, worth: Worth) -> Outcome {
        let happened = self.conversions[ix].occurred_at;
        let quote = self.programs[&found.program].currency;
        self.conversions[ix].claimed_in = Some(found.program);
        let Some(factor) = self.factor(worth.currency, quote, happened) else {
            self.conversions[ix].found = Some((found.program, found.affiliate));
            return Outcome::Pending(Waits::RateMissing);
        };
        let too_large = |amount: i64| whole(amount) * &factor > whole(LARGEST);
        if too_large(worth.amount) || worth.parts.iter().any(|part| too_large(part.sub_amount)) {
            return Outcome::Rejected(Rejection::AmountTooLarge);
        }
        let name = said(&self.conversions[ix].event).customer_id.clone();
        let customer = name.map(|name| {
            self.customer_named(found.program, &name).unwrap_or_else(|| {
                self.customers.push(Customer {
                    program: found.program,
                    name,
                    affiliate: found.affiliate,
                    link: found.link,
                    track: CustomerTrack::New,
                    cancellations: Vec::new(),
                });
                self.customers.len() - 1
            })
        });
        let seq = self.seq;
        let conversion = &mut self.conversions[ix];
        conversion.seq = Some(seq);
        conversion.program = found.program;
        conversion.affiliate = found.affiliate;
        conversion.customer = customer;
        conversion.currency = Some(worth.currency);
        conversion.amount = worth.amount;
        conversion.given_parts = !said(&conversion.event).commissions.is_empty();
        conversion.parts = worth.parts;
        conversion.factor = factor;
        conversion.review = found.review;
        let drawn = self.price(ix, happened).unwrap();
        for (line, number) in drawn.into_iter().zip(1..) {
            let line = self.start(at, ix, happened, line, number);
            self.conversions[ix].lines.push(line);
        }
        Outcome::Settled
    }

    /// Held ones with the same external id are its duplicates.
    fn replace_held(&mut self, ix: usize) {
        let input = said(&self.conversions[ix].event).clone();
        let program = self.conversions[ix].program;
        if input.external_id.is_none() {
            return;
        }
        for other in &mut self.conversions {
            let other_said = said(&other.event);
            if other.state == ConversionState::Held
                && other.claimed_in == Some(program)
                && (other_said.kind, &other_said.external_id) == (input.kind, &input.external_id)
            {
                other.state = ConversionState::Gone;
            }
        }
    }

    /// The sub amounts at what is left, by largest remainder from the original ones (MONEY 8).
    pub fn present_parts(&self, ix: usize) -> Vec<i64> {
        let conversion = &self.conversions[ix];
        let originals: Vec<i64> = conversion.parts.iter().map(|part| part.sub_amount).collect();
        if conversion.amount == 0 {
            let kept = if conversion.refunds > 0 { 0 } else { 1 };
            return originals.iter().map(|part| part * kept).collect();
        }
        let sum: i64 = originals.iter().sum();
        let total = half_even(&(whole(sum) * ratio(conversion.left(), conversion.amount)));
        super::number::split(total, &originals)
    }
}
