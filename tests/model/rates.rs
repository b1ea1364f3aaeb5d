//! What one currency is in another on a day (MONEY 5).

use waypost::domain::amount::Currency;

use super::{
    Ms,
    calendar::day_number,
    number::{Q, ratio, ten_to},
    state::Model,
};

impl Model {
    /// The row of the day, or of the nearest of the seven days before it.
    fn row(&self, base: Currency, quote: Currency, day: i32) -> Option<Q> {
        (day - 7..=day).rev().find_map(|day| {
            let rows = self.rates.iter().rev();
            let mut rows = rows.filter(|row| (row.base, row.quote, row.day) == (base, quote, day));
            rows.next().map(|row| ratio(row.rate, 100_000_000))
        })
    }

    fn direct_or_inverse(&self, base: Currency, quote: Currency, day: i32) -> Option<Q> {
        self.row(base, quote, day).or_else(|| self.row(quote, base, day).map(|rate| rate.recip()))
    }

    /// Minor units of `quote` for a minor unit of `base`.
    pub fn factor(&self, base: Currency, quote: Currency, at: Ms) -> Option<Q> {
        if base == quote {
            return Some(ratio(1, 1));
        }
        let day = day_number(at, &self.zone);
        let euro: Currency = "EUR".parse().unwrap();
        let rate = self.direct_or_inverse(base, quote, day).or_else(|| {
            Some(self.direct_or_inverse(base, euro, day)? * self.direct_or_inverse(euro, quote, day)?)
        })?;
        Some(rate * ten_to(quote.exponent().cast_signed() - base.exponent().cast_signed()))
    }
}
