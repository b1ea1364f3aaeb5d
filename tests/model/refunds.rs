//! Refunds (MONEY 8).

use waypost::{
    domain::{
        program::RefundPolicy,
        reason::{ConversionKind, Rejection, Waits},
    },
    events::{self, Body, Event},
};

use super::{
    Ms,
    number::{half_even, minor, ratio, whole},
    settle::said,
    state::*,
    versions::settings,
};

fn refund_said(event: &Event) -> &events::Refund {
    match &event.body {
        Body::Refund(refund) => refund,
        _ => panic!("no refund: {event:?}"),
    }
}

impl Model {
    pub fn receive_refund(&mut self, at: Ms, event: &Event) -> Outcome {
        let input = refund_said(event);
        let same = self.refunds.iter().find(|other| {
            let own_id =
                input.external_id.is_some() && refund_said(&other.event).external_id == input.external_id;
            other.state != RefundState::Gone && (other.event.id == event.id || own_id)
        });
        if let Some(same) = same {
            return if refund_said(&same.event).fingerprint == input.fingerprint {
                Outcome::Duplicate
            } else {
                Outcome::Rejected(Rejection::IdempotencyConflict)
            };
        }
        let mut refund = Refund {
            event: event.clone(),
            state: RefundState::Pending,
            waits_until: at + self.pending_time,
            of: None,
            named: None,
            amount: 0,
        };
        if let Some(text) = &input.conversion_id {
            // The place of the conversion here; the driver knows its id.
            let ix = text.strip_prefix("ix_").and_then(|place| place.parse().ok());
            refund.of = ix;
        } else if let (Some(slug), Some(external)) = (&input.program, &input.conversion_external_id) {
            let Some(program) = self.program_named(slug) else {
                return Outcome::Rejected(Rejection::UnknownProgram);
            };
            refund.named =
                Some((program, input.kind.unwrap_or(ConversionKind::Conversion), external.clone()));
        }
        match self.conversion_of(&refund) {
            Some(ix) => match self.refund(ix, input) {
                Ok(amount) => {
                    self.refunds.push(Refund { state: RefundState::Settled, of: Some(ix), amount, ..refund });
                    Outcome::Settled
                }
                Err(reason) => Outcome::Rejected(reason),
            },
            None => {
                self.refunds.push(refund);
                Outcome::Pending(Waits::ConversionMissing)
            }
        }
    }

    /// The settled or deleted conversion that a refund is for.
    fn conversion_of(&self, refund: &Refund) -> Option<usize> {
        self.conversions.iter().enumerate().position(|(ix, each)| {
            matches!(each.state, ConversionState::Settled | ConversionState::Deleted)
                && self.is_of(refund, ix)
        })
    }

    fn is_of(&self, refund: &Refund, ix: usize) -> bool {
        let conversion = &self.conversions[ix];
        let input = said(&conversion.event);
        refund.of == Some(ix)
            || refund.named.as_ref().is_some_and(|(program, kind, external)| {
                conversion.claimed_in == Some(*program)
                    && input.kind == *kind
                    && input.external_id.as_ref() == Some(external)
            })
    }

    /// Those that came first, in order of arrival.
    pub fn wake_refunds(&mut self, _at: Ms, ix: usize) {
        for place in 0..self.refunds.len() {
            let refund = &self.refunds[place];
            if refund.state != RefundState::Pending || !self.is_of(refund, ix) {
                continue;
            }
            let input = refund_said(&refund.event).clone();
            let result = self.refund(ix, &input);
            let refund = &mut self.refunds[place];
            refund.of = Some(ix);
            match result {
                Ok(amount) => (refund.state, refund.amount) = (RefundState::Settled, amount),
                Err(_) => refund.state = RefundState::Gone,
            }
        }
    }

    pub fn give_up_refunds(&mut self, at: Ms) {
        for place in 0..self.refunds.len() {
            let refund = &self.refunds[place];
            if refund.state == RefundState::Pending && refund.waits_until <= at {
                let waits = (0..self.conversions.len()).any(|ix| {
                    let state = self.conversions[ix].state;
                    matches!(state, ConversionState::Pending(_) | ConversionState::Held)
                        && self.is_of(refund, ix)
                });
                if !waits {
                    self.refunds[place].state = RefundState::Gone;
                }
            }
        }
    }

    fn refund(&mut self, ix: usize, input: &events::Refund) -> Result<i64, Rejection> {
        let conversion = &self.conversions[ix];
        if conversion.state == ConversionState::Deleted {
            return Err(Rejection::ConversionDeleted);
        }
        let currency = conversion.currency.unwrap();
        if input.currency.as_ref().is_some_and(|code| code.parse() != Ok(currency)) {
            return Err(Rejection::RefundCurrencyMismatch);
        }
        let amount = match &input.amount {
            Some(text) => {
                let (exact, amount, _) = minor(text.as_str(), currency.exponent());
                if exact < whole(0) {
                    return Err(Rejection::AmountNegative);
                }
                if amount == 0 {
                    return Err(Rejection::RefundOfNothing);
                }
                amount
            }
            None => conversion.left(),
        };
        if conversion.refunded_whole() || amount > conversion.left() {
            return Err(Rejection::RefundExceedsConversion);
        }
        let conversion = &mut self.conversions[ix];
        conversion.refunded += amount;
        conversion.refunds += 1;
        if !self.keeps(ix) {
            self.reprice(ix);
        }
        Ok(amount)
    }

    /// Whether refunds leave the lines.
    pub fn keeps(&self, ix: usize) -> bool {
        let conversion = &self.conversions[ix];
        let rules = settings(&self.programs[&conversion.program], conversion.occurred_at).0;
        rules.refund_policy == RefundPolicy::Keep
    }

    /// Every line at what is left of its conversion; none is raised.
    pub fn reprice(&mut self, ix: usize) {
        let parts = self.present_parts(ix);
        let conversion = &mut self.conversions[ix];
        let (amount, left) = (conversion.amount, conversion.amount - conversion.refunded);
        let nothing_left = conversion.amount == 0 && conversion.refunds > 0;
        for line in &mut conversion.lines {
            line.sub_amount = parts[line.entry - 1];
            let now = match line.set {
                _ if nothing_left => 0,
                // Nothing has changed.
                _ if amount == 0 => line.amount,
                Some((_, 0)) => 0,
                Some((set, of)) => half_even(&(whole(set) * ratio(left, of))),
                None => {
                    let price = half_even(&line.priced.exact(line.sub_amount, &ratio(left, amount)));
                    line.priced.rest.map_or(price, |rest| price.min(rest))
                }
            };
            line.amount = line.amount.min(now);
        }
    }
}
