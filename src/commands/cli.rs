//! The command line. Values that are settings too become the topmost source of settings; the rest are typed arguments.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{positions::PositionsCommand, rates::RatesCommand, spool::SpoolCommand, topics::TopicsCommand};
use crate::{
    catalog::{KeyKind, Scope},
    config::{LogFormat, Override, Sources},
    domain::{
        calendar::{Zone, ZoneError},
        ids,
        time::Timestamp,
    },
};

const OVERVIEW: &str = "\
Click and conversion tracking for affiliate programs.

A visitor follows an affiliate's link: Waypost redirects and records the click. The merchant's shop reports a sale: \
Waypost finds the click that led to it and books the commission.

To see all of it work on this machine, with nothing else installed, run `waypost dev`.";

const EXAMPLES: &str = "\
Examples:
  waypost dev                                     everything in one process, with a demo shop
  waypost dev --data-dir /tmp/try                 the same, with its state somewhere else
  waypost config check --config waypost.toml      are these settings good?
  waypost key create --account demo --kind secret
  waypost link add --account demo --program demo-shop --affiliate jane --code spring
  waypost reconcile                               was every event counted exactly once?

Settings come from files (--config), then the environment (WAYPOST__EDGE__LISTEN=0.0.0.0:80), then \
--set; the later wins. docs/configuration.md explains all of them.

Exit codes: 0 done, 1 checked and found a difference, 64 wrong command line, 65 damaged data, \
66 nothing there to read, 69 something needed is not available, 70 a defect of waypost, \
73 cannot create, 74 cannot read or write, 75 in use, try again later, 77 permissions, \
78 a wrong setting.";

/// What was typed.
#[derive(Clone, Debug, Parser)]
#[command(name = "waypost", version, about = "Click and conversion tracking for affiliate programs", long_about = OVERVIEW, after_long_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// A TOML file of settings; may be given again, and the later file wins
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// The folder where Waypost keeps its state [default: .waypost]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// How log lines are written to standard error [default: auto]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// One setting, such as edge.cores=2; may be given again
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write it as KEY=VALUE, such as edge.cores=2".to_owned()),
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on this machine, with a demo shop
    #[command(
        after_long_help = "Serves redirects on port 8080, the API and the demo shop on 8081, metrics on 8082, all on 127.0.0.1 only.\nThe state is kept in .waypost and is there again at the next start."
    )]
    Dev(DevArgs),
    /// Serve redirects, pixels and events
    Edge(EdgeArgs),
    /// Turn recorded events into conversions, commissions and balances
    Settle(SettleArgs),
    /// Serve the management API
    Api(ApiArgs),
    /// Create the store's tables, or bring them up to this version
    Migrate(MigrateArgs),
    /// What waits for Kafka on this machine: inspect, replay, rescue
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Kafka's topics: create, check
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Where settlement stands in the event log: list, begin-over
    #[command(subcommand)]
    Positions(PositionsCommand),
    /// Accounts, one for each merchant: create, list
    #[command(subcommand)]
    Account(AccountCommand),
    /// API keys: create, list, revoke
    #[command(subcommand)]
    Key(KeyCommand),
    /// Referral links: add, list
    #[command(subcommand)]
    Link(LinkCommand),
    /// Exchange rates: import, list
    #[command(subcommand)]
    Rates(RatesCommand),
    /// Settings: check
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The catalog that edges get by Kafka: publish it anew
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// The secrets of programs: seal anew
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Check that every event that was taken has exactly one outcome
    #[command(
        after_long_help = "Exits with 1 when the sum does not add up, and lists the gaps by edge and start."
    )]
    Reconcile(ReconcileArgs),
    /// Apply the journal to an empty store and compare every line, posting and balance
    #[command(after_long_help = "Exits with 1 at a difference. The store in use is only read.")]
    Replay(ReplayArgs),
    /// The ledger: verify
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

/// Options of the commands that serve until they are told to stop.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Where metrics and probes are served; port 0 takes a free one [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Write the addresses as JSON to this file once everything is served
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Where redirects, pixels and events are served; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub edge_listen: Option<SocketAddr>,
    /// Where the API and the demo shop are served; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    pub api_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct EdgeArgs {
    /// Where redirects, pixels and events are served; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct SettleArgs {
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ApiArgs {
    /// Where the API is served; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {}

#[derive(Clone, Debug, Subcommand)]
pub enum AccountCommand {
    /// Create an account
    Create(AccountCreateArgs),
    /// List the accounts
    List(AccountListArgs),
}

#[derive(Clone, Debug, Args)]
pub struct AccountCreateArgs {
    /// The name in commands and settings: lower-case letters, digits, - and _
    #[arg(value_name = "SLUG")]
    pub slug: ids::Slug,
    /// The name for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub name: String,
    /// A host name under which the account's links live, without a port; may be given again
    #[arg(long = "domain", value_name = "HOST")]
    pub domains: Vec<String>,
    /// The IANA name of the time zone in which the account's days and months begin, such as Europe/Berlin; it cannot
    /// be changed later
    #[arg(long, value_name = "NAME", value_parser = zone, default_value = "UTC")]
    pub time_zone: Zone,
}

fn zone(name: &str) -> Result<Zone, ZoneError> {
    Zone::named(name)
}

#[derive(Clone, Debug, Args)]
pub struct AccountListArgs {}

#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key and show it, once
    Create(KeyCreateArgs),
    /// List the keys without their secret part
    List(KeyListArgs),
    /// Revoke a key: from then on it opens nothing
    Revoke(KeyRevokeArgs),
}

#[derive(Clone, Debug, Args)]
pub struct KeyCreateArgs {
    /// The account that the key belongs to
    #[arg(long, value_name = "SLUG")]
    pub account: ids::Slug,
    /// `secret` stays on the merchant's servers; `publishable` may stand in web pages
    #[arg(long, value_parser = key_kinds(), default_value = "secret")]
    pub kind: KeyKind,
    /// What the key may do; may be given again [default: everything but import for a secret key, events for a
    /// publishable one]
    #[arg(long = "scope", value_parser = scopes())]
    pub scopes: Vec<Scope>,
    /// What the key is for, shown in lists
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct KeyListArgs {
    /// Only the keys of this account
    #[arg(long, value_name = "SLUG")]
    pub account: Option<ids::Slug>,
}

#[derive(Clone, Debug, Args)]
pub struct KeyRevokeArgs {
    /// The key's id, as `waypost key list` shows it: key_…
    #[arg(value_name = "KEY_ID")]
    pub id: String,
}

fn key_kinds() -> impl TypedValueParser<Value = KeyKind> {
    const ALL: [KeyKind; 2] = [KeyKind::Secret, KeyKind::Publishable];
    PossibleValuesParser::new(ALL.map(KeyKind::as_str)).try_map(|text| {
        ALL.into_iter().find(|kind| kind.as_str() == text).ok_or("is neither secret nor publishable")
    })
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str))
        .try_map(|text| Scope::parse(&text).ok_or("is not a scope"))
}

#[derive(Clone, Debug, Subcommand)]
pub enum LinkCommand {
    /// Add a referral link of an affiliate in a program
    Add(LinkAddArgs),
    /// List referral links
    List(LinkListArgs),
}

#[derive(Clone, Debug, Args)]
pub struct LinkAddArgs {
    /// The account
    #[arg(long, value_name = "SLUG")]
    pub account: ids::Slug,
    /// The program that pays
    #[arg(long, value_name = "SLUG")]
    pub program: ids::Slug,
    /// The affiliate who promotes
    #[arg(long, value_name = "SLUG")]
    pub affiliate: ids::Slug,
    /// The code in the link, /r/CODE; upper and lower case differ
    #[arg(long, value_parser = code)]
    pub code: String,
    /// Where the link leads [default: the program's destination]
    #[arg(long, value_name = "URL")]
    pub destination: Option<String>,
    /// Where the link is placed, for statistics
    #[arg(long, value_name = "TEXT")]
    pub source_id: Option<String>,
    /// What the link is: a banner, a text, for statistics
    #[arg(long, value_name = "TEXT")]
    pub asset_id: Option<String>,
    /// From then on the link redirects without attributing, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Args)]
pub struct LinkListArgs {
    /// The account
    #[arg(long, value_name = "SLUG")]
    pub account: ids::Slug,
    /// Only links of this program
    #[arg(long, value_name = "SLUG")]
    pub program: Option<ids::Slug>,
    /// Only links of this affiliate
    #[arg(long, value_name = "SLUG")]
    pub affiliate: Option<ids::Slug>,
}

fn code(text: &str) -> Result<String, ids::NameError> {
    ids::check_code(text).map(|()| text.to_owned())
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("write it as RFC 3339 does, such as 2027-01-31T00:00:00Z")
}

#[derive(Clone, Debug, Subcommand)]
pub enum CatalogCommand {
    /// Publish everything anew, as newer than all that edges have, and remove what the store does not have
    #[command(
        after_long_help = "For a store that was restored from an older copy. Edges keep the newest version of each \
                           thing, and a restored store has lost the newest ones: `waypost settle` then publishes \
                           nothing and says so, until this was run. Edges serve on meanwhile."
    )]
    Republish(RepublishArgs),
}

#[derive(Clone, Debug, Args)]
pub struct RepublishArgs {
    /// Do not give out the next COUNT ids of accounts, programs, affiliates and links: as many as may have been made
    /// since the copy, where the catalog's topic is gone as well and cannot tell
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000))]
    pub skip_ids: i64,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SecretsCommand {
    /// Seal every secret in the store with the first of secrets.keys
    #[command(
        after_long_help = "To roll a key: add the new one behind the others in every process's settings and restart them; then put it \
                           first and restart them; run this; then remove the old one.\nExits with 1 when there are secrets that no \
                           key opens; rotating such a program's pixel secret gives it a new one."
    )]
    Reseal(ResealArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ResealArgs {}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the settings can be used, and which differ from the defaults
    Check(ConfigCheckArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ConfigCheckArgs {
    /// List every setting, those with their defaults too
    #[arg(long)]
    pub all: bool,
    /// Check the settings as `waypost dev` would see them
    #[arg(long)]
    pub dev: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ReconcileArgs {
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Keep the new store as this file, which must not be there yet [default: a temporary file]
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum LedgerCommand {
    /// Compare the balances with the postings that make them up
    #[command(after_long_help = "Exits with 1 at a difference.")]
    Verify(LedgerVerifyArgs),
}

#[derive(Clone, Debug, Args)]
pub struct LedgerVerifyArgs {}

impl Cli {
    /// Where the settings of this call come from.
    pub fn sources(&self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Sources {
        let mut overrides: Vec<Override> = Vec::new();
        for (key, value) in &self.global.set {
            overrides.push(Override {
                key: key.clone(),
                value: value.clone(),
                option: format!("--set {key}"),
            });
        }
        let mut option = |key: &str, option: &str, value: Option<String>| {
            if let Some(value) = value {
                overrides.push(Override { key: key.to_owned(), value, option: option.to_owned() });
            }
        };
        option("data_dir", "--data-dir", self.global.data_dir.clone());
        option("log.format", "--log-format", self.global.log_format.map(|format| format.as_str().to_owned()));
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let mut dev = false;
        let serve = match &self.command {
            Command::Dev(args) => {
                dev = true;
                option("edge.listen", "--edge-listen", text(args.edge_listen));
                option("api.listen", "--api-listen", text(args.api_listen));
                Some(&args.serve)
            }
            Command::Edge(args) => {
                option("edge.listen", "--listen", text(args.listen));
                Some(&args.serve)
            }
            Command::Api(args) => {
                option("api.listen", "--listen", text(args.listen));
                Some(&args.serve)
            }
            Command::Settle(args) => Some(&args.serve),
            Command::Config(ConfigCommand::Check(args)) => {
                dev = args.dev;
                None
            }
            Command::Migrate(_)
            | Command::Spool(_)
            | Command::Topics(_)
            | Command::Positions(_)
            | Command::Account(_)
            | Command::Key(_)
            | Command::Catalog(_)
            | Command::Secrets(_)
            | Command::Link(_)
            | Command::Rates(_)
            | Command::Reconcile(_)
            | Command::Replay(_)
            | Command::Ledger(_) => None,
        };
        if let Some(serve) = serve {
            option("admin.listen", "--admin-listen", text(serve.admin_listen));
        }
        let environment = environment.into_iter().collect();
        Sources { dev, files: self.global.config.clone(), environment, overrides }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split_whitespace()).unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_become_the_topmost_settings() {
        let cli = parse(
            "waypost dev --set edge.cores=2 --set edge.listen=127.0.0.1:1 --edge-listen 127.0.0.1:0 --data-dir /x \
             --admin-listen 127.0.0.1:9 --log-format json",
        );
        let settings = config::load(&cli.sources([])).unwrap().settings;
        assert_eq!(settings.edge.default_account, "demo");
        assert_eq!((settings.edge.cores, settings.edge.listen.port()), (2, 0));
        assert_eq!(settings.data_dir, PathBuf::from("/x"));
        assert_eq!(settings.admin.listen.port(), 9);
        assert_eq!(settings.log.format, LogFormat::Json);
        let cli = parse("waypost api --listen 127.0.0.1:7");
        let settings = config::load(&cli.sources([])).unwrap().settings;
        assert_eq!((settings.api.listen.port(), settings.edge.listen.port()), (7, 8080));
        assert_eq!(settings.edge.default_account, "");
    }

    #[test]
    fn global_options_stand_before_and_behind_the_command() {
        for line in [
            "waypost --data-dir /x ledger verify",
            "waypost ledger verify --data-dir /x --config a --config b",
        ] {
            assert_eq!(parse(line).global.data_dir.as_deref(), Some("/x"));
        }
    }

    #[test]
    fn arguments_are_typed() {
        let add = "waypost link add --account demo --program demo-shop --affiliate jane";
        let Command::Link(LinkCommand::Add(args)) =
            parse(&format!("{add} --code Spring --expires-at 2027-01-31T00:00:00Z")).command
        else {
            panic!("not link add")
        };
        assert_eq!(args.code, "Spring");
        assert_eq!(args.expires_at, Timestamp::parse("2027-01-31T00:00:00Z"));
        let Command::Key(KeyCommand::Create(args)) =
            parse("waypost key create --account demo --kind publishable --scope events --scope read").command
        else {
            panic!("not key create")
        };
        assert_eq!((args.kind, args.scopes), (KeyKind::Publishable, vec![Scope::Events, Scope::Read]));
        let Command::Account(AccountCommand::Create(args)) =
            parse("waypost account create acme --time-zone America/New_York").command
        else {
            panic!("not account create")
        };
        assert_eq!(args.time_zone.name(), "America/New_York");
        let Command::Rates(RatesCommand::List(args)) =
            parse("waypost rates list --base eur --from 1970-01-02").command
        else {
            panic!("not rates list")
        };
        assert_eq!((args.base.map(|base| base.code()), args.from), (Some("EUR"), Some(1)));
        for wrong in [
            "waypost account create acme --time-zone Mars/Base".to_owned(),
            "waypost rates import".to_owned(),
            "waypost rates list --quote DOLLAR".to_owned(),
            "waypost rates list --to today".to_owned(),
            format!("{add} --code a/b"),
            format!("{add} --code x --expires-at soon"),
            "waypost key create --account demo --kind other".to_owned(),
            "waypost key create --account Demo!".to_owned(),
            "waypost dev --edge-listen localhost".to_owned(),
            "waypost dev --set edge.cores".to_owned(),
        ] {
            assert!(Cli::try_parse_from(wrong.split_whitespace()).is_err(), "{wrong}");
        }
    }
}
