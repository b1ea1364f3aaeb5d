//! `waypost rates import|list`: the table of exchange rates, which all accounts share.

mod file;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{
    config::Settings,
    domain::{
        amount::Currency,
        calendar::{date_of, parse_day},
        rates::format_rate,
        time::Timestamp,
    },
    store::{
        Store,
        exchange_rates::{self, RateFilter, RatePlace},
    },
};

/// Bytes of a file at most; the bank's table of all days has less than a tenth.
const MAX_BYTES: u64 = 32 << 20;

/// Rows that are listed at once.
const PAGE: u64 = 1_000;

#[derive(Clone, Debug, Subcommand)]
pub enum RatesCommand {
    /// Load rates from a file
    #[command(after_long_help = "Two kinds of files are read:\n  \
                           the table of the European Central Bank   Date,USD,JPY,…    units for one EUR\n  \
                           a line for each rate                     day,base,quote,rate\n\n\
                           All of a file is loaded, or with a wrong line nothing. Rates that are there already are \
                           replaced. Conversions that wait for a rate are tried again; what was settled stays as it is.")]
    Import(RatesImportArgs),
    /// List the rates, newest first, as `rates import` reads them
    List(RatesListArgs),
}

#[derive(Clone, Debug, Args)]
pub struct RatesImportArgs {
    /// The file; - reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct RatesListArgs {
    /// Only rates for one unit of this currency
    #[arg(long, value_name = "CODE")]
    pub base: Option<Currency>,
    /// Only rates in units of this currency
    #[arg(long, value_name = "CODE")]
    pub quote: Option<Currency>,
    /// The first day, such as 2027-01-31
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: Option<i32>,
    /// The last day
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub to: Option<i32>,
}

fn day(text: &str) -> Result<i32, &'static str> {
    parse_day(text).ok_or("write it as 2027-01-31")
}

pub fn run(command: &RatesCommand, settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        match command {
            RatesCommand::Import(args) => import(&store, args).await,
            RatesCommand::List(args) => list(&store, args).await,
        }
    })
}

async fn import(store: &Store, args: &RatesImportArgs) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let file = file::read(&text).map_err(|wrong| {
        let message = format!("{} cannot be loaded:\n  {wrong}", shown(&args.file));
        Failure::new(Code::Data, message).with_hint(
            "Nothing of it was loaded. `waypost rates import --help` tells what a file looks like.",
        )
    })?;
    let days = file.rows.iter().map(|row| row.day);
    let days = days.clone().min().zip(days.max());
    let rates = file.rows.len();
    let tx = store.begin().await.map_err(parts::store_failed)?;
    let changed =
        exchange_rates::load(&tx, file.rows, Timestamp::now()).await.map_err(parts::store_failed)?;
    tx.commit().await.map_err(parts::store_failed)?;
    let span = match days {
        Some((first, last)) if first == last => format!(" of {}", date_of(first)),
        Some((first, last)) => format!(" of {} to {}", date_of(first), date_of(last)),
        None => String::new(),
    };
    say(&format!("loaded {rates} rates{span}, new or changed: {changed}"))?;
    if !file.passed_over.is_empty() {
        let codes: Vec<&str> = file.passed_over.keys().map(String::as_str).collect();
        let passed: u64 = file.passed_over.values().sum();
        say(&format!("passed over {passed} rates of currencies that are none now: {}", codes.join(", ")))?;
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// The text of a file that is not too large.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        Failure::io("read", path, &error)
            .with_hint("Name a file that this user may read, or - for standard input.")
    };
    let mut bytes = Vec::new();
    let limit = MAX_BYTES + 1;
    if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{} has more than {} MiB", shown(path), MAX_BYTES >> 20);
        return Err(Failure::new(Code::Data, message).with_hint("Load it in parts."));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Failure::new(Code::Data, format!("{}, line {line}: this is no text in UTF-8", shown(path)))
            .with_hint("Nothing of it was loaded. A .zip has to be unpacked first.")
    })
}

async fn list(store: &Store, args: &RatesListArgs) -> Result<(), Failure> {
    let filter = RateFilter { base: args.base, quote: args.quote, from: args.from, to: args.to };
    let mut after: Option<RatePlace> = None;
    loop {
        let rows = exchange_rates::list(store.reader(), filter, after.as_ref(), PAGE).await;
        let rows = rows.map_err(parts::store_failed)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(RatePlace::of(last));
        let lines: Vec<String> = rows
            .iter()
            .map(|row| format!("{},{},{},{}", date_of(row.day), row.base, row.quote, format_rate(row.rate)))
            .collect();
        say(&lines.join("\n"))?;
    }
}
