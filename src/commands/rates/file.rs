//! Files of exchange rates, read as they are published: exactly, and whole or not at all.
//!
//! Two forms, told apart by their first line:
//!
//! - the table of the European Central Bank, a line for each day and a column for each currency, in units for one EUR:
//!   `Date,USD,JPY,` and `2026-01-02,1.0825,165.2,`, or in its file of one day `2 January 2026, 1.0825, 165.2,`;
//! - a line for each rate, `day,base,quote,rate`: `2026-01-02,EUR,USD,1.0825`. That heading may be left out.
//!
//! Fields may stand in double quotes. No field of either form has a comma in it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use jiff::civil::Date;

use crate::domain::{
    amount::Currency,
    calendar::{date_of, parse_day},
    rates::{RateRow, parse_rate},
};

/// Rates of one file at most.
const MAX_RATES: usize = 1_000_000;

/// Wrong lines that are written out; the rest is only counted.
const SHOWN: usize = 20;

/// What the bank writes where it has no rate.
const NONE: &str = "N/A";

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RatesFile {
    /// In the order of the file; no two have the same base, quote and day.
    pub rows: Vec<RateRow>,
    /// Rates of currencies that ISO 4217 does not have now, by their code: the bank's table goes back to 1999.
    pub passed_over: BTreeMap<String, u64>,
}

/// What is wrong with a file, line by line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    shown: Vec<String>,
    more: usize,
}

impl Wrong {
    fn add(&mut self, line: usize, what: impl fmt::Display) {
        if self.shown.len() < SHOWN {
            self.shown.push(format!("line {line}: {what}"));
        } else {
            self.more += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join("\n  "))?;
        if self.more > 0 { write!(f, "\n  and {} more", self.more) } else { Ok(()) }
    }
}

/// Reads a file of either form.
///
/// # Errors
/// Every line that cannot be read; then nothing of the file is to be used.
pub fn read(text: &str) -> Result<RatesFile, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(before, line)| (before + 1, line))
        .filter(|(_, line)| !line.trim().is_empty())
        .peekable();
    let mut reader = Reader::default();
    let heading = lines.peek().map(|&(_, line)| fields(line)).unwrap_or_default();
    if is_heading(&heading, &["day", "base", "quote", "rate"])
        || is_heading(&heading, &["date", "base", "quote", "rate"])
    {
        lines.next();
        lines.for_each(|(number, line)| reader.rate(number, &fields(line)));
    } else if heading.first().is_some_and(|first| first.eq_ignore_ascii_case("date")) {
        let number = lines.next().map_or(0, |(number, _)| number);
        let columns = reader.columns(number, &heading);
        lines.for_each(|(number, line)| reader.day(number, &columns, &fields(line)));
    } else {
        lines.for_each(|(number, line)| reader.rate(number, &fields(line)));
    }
    if reader.wrong.is_empty() && reader.file.rows.is_empty() {
        reader.wrong.add(1, "there are no rates in this file");
    }
    if reader.wrong.is_empty() { Ok(reader.file) } else { Err(reader.wrong) }
}

/// The fields of a line. A comma at its end, as the bank writes it, makes no field.
fn fields(line: &str) -> Vec<&str> {
    let mut fields: Vec<&str> = line.split(',').map(unquoted).collect();
    if fields.len() > 1 && fields.last().is_some_and(|last| last.is_empty()) {
        fields.pop();
    }
    fields
}

fn unquoted(field: &str) -> &str {
    let field = field.trim();
    let inner = field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.map_or(field, str::trim)
}

fn is_heading(fields: &[&str], names: &[&str]) -> bool {
    fields.len() == names.len()
        && fields.iter().zip(names).all(|(field, name)| field.eq_ignore_ascii_case(name))
}

/// A column of the bank's table.
enum Column {
    Currency(Currency),
    /// The code of a currency that is none any more.
    Gone(String),
    /// The heading is wrong, which was told once.
    Wrong,
}

#[derive(Default)]
struct Reader {
    file: RatesFile,
    wrong: Wrong,
    /// The line of each rate.
    known: HashMap<(Currency, Currency, i32), usize>,
}

impl Reader {
    /// The columns of the bank's table, without that of the day.
    fn columns(&mut self, number: usize, heading: &[&str]) -> Vec<Column> {
        let mut columns = Vec::new();
        for (at, code) in heading.iter().enumerate().skip(1) {
            let is_code = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
            let column = match code.parse::<Currency>() {
                _ if !is_code => Err(format!("`{code}` is no code of a currency")),
                _ if *code == "EUR" => Err("EUR has no rate for itself".to_owned()),
                _ if heading[1..at].contains(code) => Err(format!("{code} has two columns")),
                Ok(currency) => Ok(Column::Currency(currency)),
                Err(_) => Ok(Column::Gone((*code).to_owned())),
            };
            columns.push(column.unwrap_or_else(|what| {
                self.wrong.add(number, what);
                Column::Wrong
            }));
        }
        columns
    }

    /// A line of the bank's table.
    fn day(&mut self, number: usize, columns: &[Column], fields: &[&str]) {
        let (day, cells) = match fields.split_first() {
            Some((day, cells)) => (*day, cells),
            None => ("", fields),
        };
        let Some(day) = read_day(day) else {
            return self.wrong.add(number, format!("`{day}` is no day such as 2026-01-31"));
        };
        if cells.len() != columns.len() {
            let what =
                format!("it has {} rates, the heading names {} currencies", cells.len(), columns.len());
            return self.wrong.add(number, what);
        }
        let Ok(euro) = "EUR".parse::<Currency>() else { return };
        for (column, cell) in columns.iter().zip(cells) {
            if cell.is_empty() || *cell == NONE {
                continue;
            }
            match column {
                Column::Currency(quote) => self.add(number, euro, *quote, day, cell),
                Column::Gone(code) => *self.file.passed_over.entry(code.clone()).or_default() += 1,
                Column::Wrong => {}
            }
        }
    }

    /// A line of one rate.
    fn rate(&mut self, number: usize, fields: &[&str]) {
        let [day, base, quote, rate] = fields else {
            let what = format!("it has {} fields, not the four of day,base,quote,rate", fields.len());
            return self.wrong.add(number, what);
        };
        let Some(day) = read_day(day) else {
            return self.wrong.add(number, format!("`{day}` is no day such as 2026-01-31"));
        };
        let mut currency = |code: &str| {
            code.parse::<Currency>()
                .map_err(|error| self.wrong.add(number, format!("`{code}` is {error}")))
                .ok()
        };
        let (base, quote) = (currency(base), currency(quote));
        let (Some(base), Some(quote)) = (base, quote) else { return };
        if base == quote {
            return self.wrong.add(number, format!("{base} has no rate for itself"));
        }
        self.add(number, base, quote, day, rate);
    }

    fn add(&mut self, number: usize, base: Currency, quote: Currency, day: i32, text: &str) {
        let rate = match parse_rate(text) {
            Ok(rate) => rate,
            Err(error) => {
                let what = format!("the rate `{text}` of {base} in {quote} {error}");
                return self.wrong.add(number, what);
            }
        };
        if let Some(before) = self.known.insert((base, quote, day), number) {
            let what =
                format!("the rate of {base} in {quote} for {} is in line {before} already", date_of(day));
            return self.wrong.add(number, what);
        }
        if self.file.rows.len() == MAX_RATES {
            return self.wrong.add(number, format!("there are more than {MAX_RATES} rates in this file"));
        }
        self.file.rows.push(RateRow { base, quote, day, rate });
    }
}

/// `2026-01-02`, or `2 January 2026` as in the bank's file of one day; from 1970 on.
fn read_day(text: &str) -> Option<i32> {
    let written_out = || parse_day(&Date::strptime("%d %B %Y", text).ok()?.to_string());
    parse_day(text).or_else(written_out).filter(|day| *day >= 0)
}

#[cfg(test)]
mod tests;
