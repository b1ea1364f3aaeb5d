use proptest::prelude::*;

use super::*;
use crate::domain::rates::{MAX_RATE, format_rate};

/// Rows as `day,base,quote,rate`.
fn rows(file: &RatesFile) -> Vec<String> {
    let text =
        |row: &RateRow| format!("{},{},{},{}", date_of(row.day), row.base, row.quote, format_rate(row.rate));
    file.rows.iter().map(text).collect()
}

fn read_rows(text: &str) -> Vec<String> {
    rows(&read(text).unwrap())
}

fn wrong(text: &str) -> Vec<String> {
    read(text).unwrap_err().to_string().lines().map(|line| line.trim_start().to_owned()).collect()
}

#[test]
fn the_banks_table_of_all_days() {
    let text = "Date,USD,JPY,CYP,RUB,\n\
                2026-11-27,1.0825,165.20,N/A,N/A,\n\
                2026-11-26,1.08,N/A,0.58,,\n\
                \n\
                1999-01-04,1.1789,133.73,0.58231,25.2875,\n";
    let file = read(text).unwrap();
    assert_eq!(
        rows(&file),
        [
            "2026-11-27,EUR,USD,1.0825",
            "2026-11-27,EUR,JPY,165.2",
            "2026-11-26,EUR,USD,1.08",
            "1999-01-04,EUR,USD,1.1789",
            "1999-01-04,EUR,JPY,133.73",
            "1999-01-04,EUR,RUB,25.2875",
        ]
    );
    assert_eq!(file.passed_over, [("CYP".to_owned(), 2)].into());
}

#[test]
fn the_banks_file_of_one_day() {
    let text = "Date, USD, JPY, ISK, \r\n27 November 2026, 1.0825, 165.20, 143.10, \r\n";
    let expected = ["2026-11-27,EUR,USD,1.0825", "2026-11-27,EUR,JPY,165.2", "2026-11-27,EUR,ISK,143.1"];
    assert_eq!(read_rows(text), expected);
    assert_eq!(read_rows("Date, USD\n2 January 2026, 1.1"), ["2026-01-02,EUR,USD,1.1"]);
    assert_eq!(read_rows("date, USD\n02 January 2026, 1.1"), ["2026-01-02,EUR,USD,1.1"]);
}

#[test]
fn a_line_for_each_rate_with_or_without_its_heading() {
    let lines = "2026-01-02,USD,JPY,152.5\n2026-01-02,JPY,USD,0.0066\n2026-01-03,usd,JPY,151";
    let expected = ["2026-01-02,USD,JPY,152.5", "2026-01-02,JPY,USD,0.0066", "2026-01-03,USD,JPY,151"];
    for heading in ["", "day,base,quote,rate\n", "\u{feff}Date, Base, Quote, Rate\r\n", "\n\n"] {
        assert_eq!(read_rows(&format!("{heading}{lines}\n")), expected, "{heading:?}");
    }
    assert_eq!(read_rows("\"2026-01-02\", \"EUR\",\"USD\",\"1.1\""), ["2026-01-02,EUR,USD,1.1"]);
}

#[test]
fn every_wrong_line_is_named_with_what_is_wrong() {
    let text = "day,base,quote,rate\n\
                2026-01-02,EUR,USD,1.1\n\
                2026-02-30,EUR,USD,1.1\n\
                2026-01-03,EUR,XAU,1.1\n\
                2026-01-03,EUR,EUR,1\n\
                \n\
                2026-01-03,EUR,USD,0\n\
                2026-01-03,EUR,USD,1.123456789\n\
                2026-01-03,EUR,USD,\n\
                2026-01-03,EUR,USD,1,1\n\
                2026-01-02,eur,USD,1.2\n\
                1969-12-31,EUR,USD,1.1\n\
                2026-01-03,EUR,USD,1e70\n";
    assert_eq!(
        wrong(text),
        [
            "line 3: `2026-02-30` is no day such as 2026-01-31",
            "line 4: `XAU` is not a currency of ISO 4217",
            "line 5: EUR has no rate for itself",
            "line 7: the rate `0` of EUR in USD must be above zero",
            "line 8: the rate `1.123456789` of EUR in USD has more than 8 digits after the point",
            "line 9: it has 3 fields, not the four of day,base,quote,rate",
            "line 10: it has 5 fields, not the four of day,base,quote,rate",
            "line 11: the rate of EUR in USD for 2026-01-02 is in line 2 already",
            "line 12: `1969-12-31` is no day such as 2026-01-31",
            "line 13: the rate `1e70` of EUR in USD must be a decimal number",
        ]
    );
    let text = "Date,USD,US,EUR,USD,\n\
                27.11.2026,1.1,,,,\n\
                2026-11-27,1.1,\n\
                2026-11-27,-1.1,1.1,1.1,1.1,\n\
                27 Brumaire 2026,1.1,1.1,1.1,1.1,\n";
    assert_eq!(
        wrong(text),
        [
            "line 1: `US` is no code of a currency",
            "line 1: EUR has no rate for itself",
            "line 1: USD has two columns",
            "line 2: `27.11.2026` is no day such as 2026-01-31",
            "line 3: it has 1 rates, the heading names 4 currencies",
            "line 4: the rate `-1.1` of EUR in USD must be above zero",
            "line 5: `27 Brumaire 2026` is no day such as 2026-01-31",
        ]
    );
}

#[test]
fn a_file_without_rates_is_wrong() {
    for text in [
        "",
        "\n\n",
        "day,base,quote,rate\n",
        "Date,USD,\n",
        "Date,USD,\n2026-11-27,N/A,\n",
        "Date,CYP\n2026-11-27,1",
    ] {
        assert_eq!(wrong(text), ["line 1: there are no rates in this file"], "{text:?}");
    }
}

#[test]
fn of_many_wrong_lines_the_rest_is_counted() {
    let told = wrong(&"nonsense\n".repeat(50));
    assert_eq!(told.len(), SHOWN + 1);
    assert_eq!(told.last().unwrap(), "and 30 more");
}

proptest! {
    #[test]
    fn rates_are_written_and_read_back(
        rates in proptest::collection::btree_map((0..2_932_896_i32, 0..4_usize, 0..4_usize), 1..=MAX_RATE, 1..20),
    ) {
        const CODES: [&str; 4] = ["EUR", "USD", "JPY", "BHD"];
        let lines: Vec<String> = rates
            .iter()
            .filter(|((_, base, quote), _)| base != quote)
            .map(|((day, base, quote), rate)| {
                format!("{},{},{},{}", date_of(*day), CODES[*base], CODES[*quote], format_rate(*rate))
            })
            .collect();
        prop_assume!(!lines.is_empty());
        prop_assert_eq!(read_rows(&lines.join("\n")), lines);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(Date|[0-9]{4}-[0-9]{2}-[0-9]{2}|[A-Z]{3}|[,\"\n .N/A-]|\\PC){0,40}") {
        let _ = read(&text);
    }
}
