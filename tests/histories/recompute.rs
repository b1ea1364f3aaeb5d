//! Works a line's amount out of its explanation alone, as somebody with a pocket calculator would: the rule, the
//! measure, the rate and the refunds as the steps tell them.

use serde_json::Value;
use waypost::domain::{
    amount::Currency,
    explanation::{Step, StepKind},
};

use crate::model::number::{Q, decimal, floor, half_even, ratio, ten_to, whole};

/// What has been told so far.
pub struct Told {
    /// The line's.
    currency: Currency,
    /// Minor units of the program's currency for one of the conversion's.
    rate: Option<(Currency, Q)>,
    price: Price,
    /// The amount as of this step.
    amount: i64,
    /// Set by hand, and what was left of the conversion then.
    set: Option<(i64, i64)>,
    /// A recalculation of which the price is being told.
    anew: Option<Value>,
    /// A recalculation came to no such line.
    ended: bool,
    /// It was made by a recalculation after refunds, and a rule is said to have stopped it.
    made_stopped: bool,
}

/// The last rule and the figures that go with it.
#[derive(Default)]
struct Price {
    rule: Value,
    measure: Value,
    caps: Vec<Value>,
    calculation: Value,
}

type Found<T> = Result<T, String>;

fn text<'a>(data: &'a Value, name: &str) -> Found<&'a str> {
    data[name].as_str().ok_or_else(|| format!("no {name} in {data}"))
}

fn currency(data: &Value, name: &str) -> Found<Currency> {
    text(data, name)?.parse().map_err(|_| format!("no currency {name} in {data}"))
}

fn exact_minor(text: &str, currency: Currency) -> Q {
    decimal(text) * ten_to(currency.exponent().cast_signed())
}

fn minor(data: &Value, name: &str, currency: Currency) -> Found<i64> {
    let exact = exact_minor(text(data, name)?, currency);
    if exact.is_integer() { Ok(half_even(&exact)) } else { Err(format!("{name} in {data} is no amount")) }
}

fn fraction(data: &Value, name: &str) -> Found<Q> {
    let text = text(data, name)?;
    text.parse().map_err(|_| format!("no fraction {name} in {data}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: T, found: T) -> Found<()> {
    if told == found { Ok(()) } else { Err(format!("{what}: told {told:?}, it is {found:?}")) }
}

impl Told {
    /// What the line is worth in the end.
    pub fn follow(steps: &[Step], currency: Currency) -> Found<i64> {
        let price = Price::default();
        let mut told = Self {
            currency,
            rate: None,
            price,
            amount: 0,
            set: None,
            anew: None,
            ended: false,
            made_stopped: false,
        };
        for (place, step) in steps.iter().enumerate() {
            let priced = steps
                .get(place + 1)
                .is_some_and(|next| matches!(next.step, StepKind::Rate | StepKind::Level | StepKind::Rule));
            told.take(step, priced)?;
        }
        Ok(told.amount)
    }

    fn take(&mut self, step: &Step, priced_next: bool) -> Found<()> {
        let data = &step.data;
        let of_a_price = match step.step {
            StepKind::Rate
            | StepKind::Level
            | StepKind::Rule
            | StepKind::Measure
            | StepKind::Limits
            | StepKind::Calculation => true,
            StepKind::Refund => data.get("amount_before").is_none(),
            _ => false,
        };
        if !of_a_price {
            self.priced_anew()?;
        }
        match step.step {
            StepKind::Rate => self.rate = Some((currency(data, "to")?, fraction(data, "minor_units")?)),
            StepKind::Rule => self.price = Price { rule: data.clone(), ..Price::default() },
            StepKind::Measure => self.price.measure = data.clone(),
            StepKind::Limits if data.get("cap").is_some() => self.price.caps.push(data.clone()),
            StepKind::Calculation => self.calculated(data)?,
            StepKind::Review if data["status"] == "disapproved" => self.amount = 0,
            StepKind::Review if self.made_stopped => {
                return Err(format!("a rule stopped it, and it started {}", data["status"]));
            }
            StepKind::Review => {}
            StepKind::Refund => self.refunded(data)?,
            StepKind::Change if priced_next => {
                same("the amount before", minor(data, "amount_before", self.currency)?, self.amount)?;
                self.anew = Some(data.clone());
            }
            StepKind::Change => self.changed(data)?,
            StepKind::PassedOver
            | StepKind::Attribution
            | StepKind::Window
            | StepKind::Level
            | StepKind::Limits
            | StepKind::Warning
            | StepKind::Paid
            | StepKind::Result => {}
        }
        Ok(())
    }

    fn calculated(&mut self, data: &Value) -> Found<()> {
        self.price.calculation = data.clone();
        let told = minor(data, "amount", self.currency)?;
        if data.get("sub_amount").is_none() {
            // A bonus, or a line by hand.
            self.amount = if data.get("pays").is_some() { self.bonus(data)? } else { told };
            return same("the amount", told, self.amount);
        }
        let paid_in = currency(data, "conversion_currency")?;
        let sub_amount = minor(data, "sub_amount", paid_in)?;
        let exact = self.priced(sub_amount)?;
        same("rounded", told, half_even(&exact))?;
        same("before rounding", fraction(data, "exact_minor_units")?, exact)?;
        if let Some(rest) = self.rest()? {
            same("what the caps left", Some(rest), self.left_by_caps()?)?;
        }
        self.set = None;
        (self.ended, self.made_stopped) = (false, false);
        self.amount = told.min(self.rest()?.unwrap_or(told));
        Ok(())
    }

    fn bonus(&self, data: &Value) -> Found<i64> {
        let pays = &data["pays"];
        let value = pays["value"].as_i64().ok_or_else(|| format!("no value in {pays}"))?;
        let exact = match pays["form"].as_str() {
            Some("fixed") => whole(value),
            _ => fraction(&self.price.measure, "exact_minor_units")? * whole(value) * ten_to(-10),
        };
        same("before rounding", fraction(data, "exact_minor_units")?, exact.clone())?;
        Ok((half_even(&exact) - minor(data, "paid_before", self.currency)?).max(0))
    }

    fn rest(&self) -> Found<Option<i64>> {
        let data = &self.price.calculation;
        if data["rest"].is_null() { Ok(None) } else { minor(data, "rest", self.currency).map(Some) }
    }

    /// What the caps and the lines before it in its conversion leave for a line.
    fn left_by_caps(&self) -> Found<Option<i64>> {
        let amounts = self.price.caps.iter().filter(|data| data["cap"]["measure"] == "amount");
        let lefts = amounts.map(|data| {
            let limit = data["cap"]["limit"].as_i64().ok_or_else(|| format!("no limit in {data}"))?;
            Ok(whole(limit) - fraction(data, "before")?)
        });
        let Some(left) = lefts.collect::<Found<Vec<Q>>>()?.into_iter().min() else { return Ok(None) };
        let taken = &self.price.calculation["rest_taken"];
        let left =
            if taken.is_null() { left } else { left - fraction(&self.price.calculation, "rest_taken")? };
        let rate = self.rate.as_ref().filter(|(program, _)| *program != self.currency);
        Ok(Some(floor(&rate.map_or(left.clone(), |(_, rate)| left / rate))))
    }

    /// What a sub amount is worth by the rule, before rounding.
    fn priced(&self, sub_amount: i64) -> Found<Q> {
        match self.flat()? {
            Some(Flat::Fixed(value)) => Ok(value),
            Some(Flat::Share(share)) => Ok(self.in_line_currency(whole(sub_amount) * share)),
            None => self.by_brackets(sub_amount),
        }
    }

    fn in_line_currency(&self, amount: Q) -> Q {
        match &self.rate {
            Some((program, rate)) if *program == self.currency => amount * rate,
            _ => amount,
        }
    }

    fn in_program_currency(&self, sub_amount: i64) -> Q {
        self.rate.as_ref().map_or(whole(sub_amount), |(_, rate)| whole(sub_amount) * rate)
    }

    fn program_currency(&self) -> Currency {
        self.rate.as_ref().map_or(self.currency, |(program, _)| *program)
    }

    fn flat(&self) -> Found<Option<Flat>> {
        let rule = &self.price.rule;
        match text(rule, "form")? {
            "fixed" => Ok(Some(Flat::Fixed(exact_minor(text(rule, "value")?, self.program_currency())))),
            "percentage" => Ok(Some(Flat::Share(decimal(text(rule, "value")?) * ratio(1, 100)))),
            _ => match self.price.measure["bracket"].as_u64() {
                Some(place) => {
                    let place = usize::try_from(place).map_err(|error| error.to_string())?;
                    same("the bracket", place, self.reached()?)?;
                    self.pays(&rule["brackets"][place]).map(Some)
                }
                None => Ok(None),
            },
        }
    }

    fn pays(&self, bracket: &Value) -> Found<Flat> {
        let text = text(bracket, "pays")?;
        let number = |text: &str| decimal(text.split(' ').next().unwrap_or_default());
        if text.ends_with('%') {
            return Ok(Flat::Share(number(text) * ratio(1, 100)));
        }
        Ok(Flat::Fixed(number(text) * ten_to(self.program_currency().exponent().cast_signed())))
    }

    /// Where the brackets begin, in what is measured.
    fn borders(&self) -> Found<Vec<Q>> {
        let by_count = self.price.measure["measure"] == "count";
        let program = self.program_currency();
        let all = self.price.rule["brackets"].as_array().ok_or("no brackets")?;
        all.iter()
            .map(|bracket| {
                let from = text(bracket, "from")?.split(' ').next().unwrap_or_default();
                Ok(if by_count { decimal(from) } else { exact_minor(from, program) })
            })
            .collect()
    }

    /// The bracket that is reached with the whole of the line.
    fn reached(&self) -> Found<usize> {
        let before = fraction(&self.price.measure, "before")?;
        let calculation = &self.price.calculation;
        let reached = if self.price.measure["measure"] == "count" {
            before + whole(1)
        } else {
            let paid_in = currency(calculation, "conversion_currency")?;
            before + self.in_program_currency(minor(calculation, "sub_amount", paid_in)?)
        };
        let borders = self.borders()?;
        Ok(borders.iter().rposition(|from| *from <= reached).unwrap_or(0))
    }

    fn by_brackets(&self, sub_amount: i64) -> Found<Q> {
        let begin = fraction(&self.price.measure, "before")?;
        let end = &begin + self.in_program_currency(sub_amount);
        let borders = self.borders()?;
        let mut sum = whole(0);
        for (place, from) in borders.iter().enumerate() {
            let Flat::Share(share) = self.pays(&self.price.rule["brackets"][place])? else {
                return Err("a part of a fixed amount".to_owned());
            };
            let from = from.clone().max(begin.clone());
            let to = borders.get(place + 1).map_or(end.clone(), |next| next.clone().min(end.clone()));
            if from < to {
                sum += (to - from) * share;
            }
        }
        match &self.rate {
            Some((program, rate)) if *program != self.currency => Ok(sum / rate),
            _ => Ok(sum),
        }
    }

    /// What the line is worth with this much left of its conversion and of its part of it.
    fn left_of_it(&self, left: i64, sub_amount: i64) -> Found<Q> {
        if self.ended {
            return Ok(whole(0));
        }
        if let Some((amount, of)) = self.set {
            return Ok(whole(amount) * ratio(left, of));
        }
        let calculation = &self.price.calculation;
        let amount = minor(calculation, "conversion_amount", currency(calculation, "conversion_currency")?)?;
        match self.flat()? {
            Some(Flat::Fixed(value)) => Ok(value * ratio(left, amount)),
            Some(Flat::Share(_)) | None => self.priced(sub_amount),
        }
    }

    /// With the caps, and never raised.
    fn bounded(&self, exact: &Q) -> Found<i64> {
        let bound = if self.set.is_none() { self.rest()? } else { None };
        let amount = half_even(exact).min(self.amount);
        Ok(amount.min(bound.unwrap_or(amount)))
    }

    fn refunded(&mut self, data: &Value) -> Found<()> {
        let after = minor(data, "amount_after", self.currency)?;
        if data["policy"] == "keep" {
            return same("a refund that is kept", after, self.amount);
        }
        let paid_in = currency(data, "conversion_currency")?;
        let left = minor(data, "left", paid_in)?;
        if data.get("amount_before").is_some() {
            same("the amount before", minor(data, "amount_before", self.currency)?, self.amount)?;
        } else {
            self.split(left, minor(data, "sub_amount", paid_in)?)?;
            self.made_stopped = self.anew.is_none() && data["stopped"] == true;
        }
        let exact = if left == 0 {
            whole(0)
        } else {
            let exact = self.left_of_it(left, minor(data, "sub_amount", paid_in)?)?;
            same("before rounding", fraction(data, "exact_minor_units")?, exact.clone())?;
            exact
        };
        self.amount = if self.made_stopped || self.stopped_anew()? { 0 } else { self.bounded(&exact)? };
        same("after the refund", after, self.amount)
    }

    /// The part of what is left is split by largest remainder: within a unit of its exact share.
    fn split(&self, left: i64, sub_amount: i64) -> Found<()> {
        let calculation = &self.price.calculation;
        let paid_in = currency(calculation, "conversion_currency")?;
        let amount = minor(calculation, "conversion_amount", paid_in)?;
        let share = match amount {
            0 => whole(0),
            _ => whole(minor(calculation, "sub_amount", paid_in)?) * ratio(left, amount),
        };
        let least = floor(&share) - 1;
        if (least..=least + 3).contains(&sub_amount) {
            return Ok(());
        }
        Err(format!("a part of {sub_amount}, which is not that of {share}"))
    }

    /// The price of a recalculation is told to its end: it comes to what the recalculation made of the line.
    fn priced_anew(&mut self) -> Found<()> {
        if self.stopped_anew()? {
            self.amount = 0;
        }
        let Some(change) = self.anew.take() else { return Ok(()) };
        same("priced anew", minor(&change, "amount_after", self.currency)?, self.amount)
    }

    /// A rule stops the line in the recalculation that is being told, which shows in its status.
    fn stopped_anew(&self) -> Found<bool> {
        let Some(change) = &self.anew else { return Ok(false) };
        Ok(change["status_after"] == "disapproved" && minor(change, "amount_after", self.currency)? == 0)
    }

    fn changed(&mut self, data: &Value) -> Found<()> {
        let paid_in = currency(data, "conversion_currency")?;
        let left = if data["left"].is_null() { None } else { Some(minor(data, "left", paid_in)?) };
        let after = match data.get("amount_before") {
            Some(_) => {
                same("the amount before", minor(data, "amount_before", self.currency)?, self.amount)?;
                minor(data, "amount_after", self.currency)?
            }
            None => {
                let amount = minor(data, "amount", self.currency)?;
                same("an amount that stays", amount, self.amount)?;
                amount
            }
        };
        self.amount = after;
        if data["reason"] == "recalculated" {
            self.ended = true;
            return same("a line that ended", after, 0);
        }
        if let Some(left) = left {
            self.set = Some((after, left));
        }
        Ok(())
    }
}

enum Flat {
    /// Minor units of the program's currency.
    Fixed(Q),
    Share(Q),
}
