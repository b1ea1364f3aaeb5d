//! What is put right later (MONEY 11).

use waypost::domain::reason::{LineStatus, Stop};

use super::{
    Ms,
    number::{half_even, ratio, split, whole},
    state::*,
};

impl Model {
    pub fn edit_conversion(&mut self, ix: usize, amount: i64) -> Outcome {
        let conversion = &mut self.conversions[ix];
        if conversion.state != ConversionState::Settled || amount <= conversion.refunded {
            return Outcome::Refused;
        }
        let old: Vec<i64> = conversion.parts.iter().map(|part| part.sub_amount).collect();
        let scaled = if conversion.amount > 0 {
            let sum: i64 = old.iter().sum();
            split(half_even(&(whole(sum) * ratio(amount, conversion.amount))), &old)
        } else if conversion.given_parts {
            old
        } else {
            vec![amount]
        };
        for (part, sub_amount) in conversion.parts.iter_mut().zip(scaled) {
            part.sub_amount = sub_amount;
        }
        conversion.amount = amount;
        let left = amount - conversion.refunded;
        for line in &mut conversion.lines {
            line.set = Some((line.amount, left));
        }
        self.follow_parts(ix);
        Outcome::Done
    }

    /// The sub amounts of the lines.
    fn follow_parts(&mut self, ix: usize) {
        let parts: Vec<i64> = if self.keeps(ix) {
            self.conversions[ix].parts.iter().map(|part| part.sub_amount).collect()
        } else {
            self.present_parts(ix)
        };
        for line in &mut self.conversions[ix].lines {
            line.sub_amount = parts[line.entry - 1];
        }
    }

    pub fn recalculate(&mut self, at: Ms, ix: usize, current: bool) -> Outcome {
        if self.conversions[ix].state != ConversionState::Settled {
            return Outcome::Refused;
        }
        let rules_at = if current { at } else { self.conversions[ix].occurred_at };
        let Ok(drawn) = self.price(ix, rules_at) else { return Outcome::Refused };
        let mut vanished: Vec<bool> = self.conversions[ix].lines.iter().map(|_| true).collect();
        for new in drawn {
            let same = |line: &Line| {
                (line.entry, line.level, line.affiliate, line.currency)
                    == (new.entry, new.level, new.affiliate, new.currency)
            };
            let Some(place) = self.conversions[ix].lines.iter().position(same) else {
                let number = i32::try_from(self.conversions[ix].lines.len()).unwrap() + 1;
                let line = self.start(at, ix, rules_at, new, number);
                self.conversions[ix].lines.push(line);
                continue;
            };
            vanished[place] = false;
            let mut line = self.conversions[ix].lines[place].clone();
            let was_stopped = line.reason.is_some();
            line.amount = new.amount;
            line.commission_type = new.commission_type;
            line.reason = new.reason;
            line.earned = new.earned;
            line.counts_towards_cap = new.counts_towards_cap;
            line.priced = new.priced;
            line.set = None;
            if line.reason.is_some() {
                line.disapprove();
            } else if was_stopped {
                self.begin(at, ix, rules_at, &mut line);
            }
            self.conversions[ix].lines[place] = line;
        }
        for (line, vanished) in self.conversions[ix].lines.iter_mut().zip(vanished) {
            if vanished {
                line.amount = 0;
                line.reason = Some(Stop::Recalculated);
                line.earned = false;
                line.set = None;
                line.disapprove();
            }
        }
        if self.keeps(ix) {
            self.follow_parts(ix);
        } else {
            self.reprice(ix);
        }
        Outcome::Done
    }

    pub fn delete(&mut self, ix: usize) -> Outcome {
        let conversion = &mut self.conversions[ix];
        if conversion.state != ConversionState::Settled {
            return Outcome::Refused;
        }
        conversion.state = ConversionState::Deleted;
        for line in &mut conversion.lines {
            line.disapprove();
        }
        Outcome::Done
    }
}

impl Line {
    pub fn disapprove(&mut self) {
        self.status = LineStatus::Disapproved;
        self.final_at = None;
    }
}
