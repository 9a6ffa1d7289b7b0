//! The command line. The comments on arguments are what `--help` and the manual say.

#![expect(clippy::doc_markdown, reason = "a terminal shows backticks as they are")]

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use domain::control::Severity;
use domain::key_policy::is_account_id;
use domain::location::{KEY_NAME_FORMS, KeyName, is_region_name};
use jiff::{SignedDuration, Timestamp};

use crate::checks;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "kms-compliance",
    version,
    about = "Judges the KMS keys of an AWS account against a fixed set of controls, from a terminal",
    long_about = "Judges the KMS keys of an AWS account against a fixed set of controls, from a terminal.\n\nNothing is \
                  deployed, written or used: a scan only reads. A verdict is right or says that it does not know.",
    after_long_help = "EXIT CODES:\n  \
        0    nothing at or above --fail-on\n  \
        1    it could not be done: no credentials, no Region reached\n  \
        2    it was called in a way that makes no sense\n  \
        3    findings at or above --fail-on\n  \
        4    incomplete: something could not be read\n  \
        130  interrupted: what was found so far is printed\n\n\
        FIRST STEPS:\n  \
        kms-compliance policy-document > policy.json   the permissions that a scan needs\n  \
        kms-compliance scan                            the keys of your profile's Region\n  \
        kms-compliance scan --all-regions --output keys.html"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at the keys of an account and print what is wrong
    Scan(Box<ScanArguments>),
    /// List the controls with their severity and what they stand for; calls nothing
    Controls(ControlsArguments),
    /// Judge the text of a key policy, before it is anywhere; calls nothing
    Policy(PolicyArguments),
    /// Print the IAM policy that a scan needs
    PolicyDocument(PolicyDocumentArguments),
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        directory: PathBuf,
    },
}

/// What is scanned, how, and what is printed.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct ScanArguments {
    /// Whose keys, and where.
    #[command(flatten)]
    pub account: AccountArguments,
    /// Look at this key only: an ID, an ARN or an alias. Repeatable; where several Regions are scanned, an ARN
    #[arg(long = "key", value_name = "KEY", value_parser = key, help_heading = "What to look at")]
    pub keys: Vec<GivenKey>,
    /// Leave this key out: it is NOT_APPLICABLE, and no call is made for it. Repeatable
    #[arg(long = "exclude-key", value_name = "KEY", value_parser = key, help_heading = "What to look at")]
    pub excluded_keys: Vec<GivenKey>,
    /// Ask for this control only; `kms-compliance controls` lists them. Repeatable
    #[arg(long = "control", value_name = "CONTROL", value_parser = PossibleValuesParser::new(checks::control_names()),
          hide_possible_values = true, help_heading = "What to look at")]
    pub controls: Vec<String>,
    /// Judge as if it were then: what will be overdue on audit day? An instant of RFC 3339, such as
    /// 2026-12-31T00:00:00Z. The controls of rotation and age know how to; the others are left out
    #[arg(long, value_name = "INSTANT", help_heading = "What to look at")]
    pub as_of: Option<Timestamp>,
    /// A setting of the checks, by the name of its environment variable (docs/settings.md). Repeatable; the environment
    /// is honoured too
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting, help_heading = "What to look at")]
    pub settings: Vec<(String, String)>,
    /// Say since when a finding is open, from the findings table of a deployed monitor in the Region. It is only read
    #[arg(long, value_name = "NAME", help_heading = "What to look at")]
    pub since_table: Option<String>,

    /// Share of each KMS request quota of the account that the scan may use (above 0, at most 1) [default: 0.2]
    #[arg(long, value_name = "SHARE", help_heading = "Pace")]
    pub quota_share: Option<String>,
    /// How long the scan may take: what it does not reach until then is not known
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time, help_heading = "Pace")]
    pub max_time: Duration,
    /// Ask about grants and last usage for as long as --max-time allows. Their quotas are small: without it they get
    /// 30 seconds, at the end
    #[arg(long, help_heading = "Pace")]
    pub ask_all: bool,

    /// The form in which the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table, help_heading = "Output")]
    pub format: Format,
    /// Write the result to this file too, in the form that its ending names: .json, .csv, .html or .txt. Repeatable; a
    /// file is replaced as a whole
    #[arg(long = "output", short, value_name = "FILE", help_heading = "Output")]
    pub outputs: Vec<PathBuf>,
    /// List findings from this severity on. The counts stay those of all
    #[arg(long, value_enum, ignore_case = true, value_name = "SEVERITY", help_heading = "Output")]
    pub severity: Option<SeverityName>,
    /// List the findings, or every evaluation [default: all for JSON, findings otherwise]
    #[arg(long, value_enum, help_heading = "Output")]
    pub only: Option<Only>,
    /// End with 3 if there are findings of this severity or a worse one
    #[arg(long, value_enum, ignore_case = true, default_value_t = FailOn::Never, value_name = "SEVERITY", help_heading = "Output")]
    pub fail_on: FailOn,
    /// Show no progress
    #[arg(long, help_heading = "Output")]
    pub no_progress: bool,
    /// When to use colours. auto: on a terminal, unless NO_COLOR is set or TERM is dumb; CLICOLOR_FORCE forces them
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", help_heading = "Output")]
    pub color: Colour,
    /// Print the result and nothing else
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
    /// Print remediation and evidence too, and what goes on
    #[arg(long, short, conflicts_with = "quiet", help_heading = "Output")]
    pub verbose: bool,
}

/// Whose keys, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Account and Region")]
pub struct AccountArguments {
    /// The profile of ~/.aws to use, those of IAM Identity Center and of credential_process included
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// A Region to scan. Repeatable [default: that of the profile or the environment]
    #[arg(long = "region", short = 'r', value_name = "REGION", value_delimiter = ',', value_parser = region)]
    pub regions: Vec<String>,
    /// Scan every Region that is enabled for the account
    #[arg(long, conflicts_with = "regions")]
    pub all_regions: bool,
    /// Assume this role first: to look at another account
    #[arg(long, value_name = "ARN", value_parser = role)]
    pub role: Option<String>,
    /// The external ID that the role asks for
    #[arg(long, value_name = "ID", requires = "role")]
    pub external_id: Option<String>,
}

/// The arguments of `controls`.
#[derive(Debug, Args)]
pub struct ControlsArguments {
    /// The form in which they are printed
    #[arg(long, value_enum, default_value_t = ShortFormat::Table)]
    pub format: ShortFormat,
}

/// The arguments of `policy`.
#[derive(Debug, Args)]
pub struct PolicyArguments {
    /// The file that holds the key policy, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The account that the key is or will be in
    #[arg(long, value_name = "ID", value_parser = account)]
    pub account: String,
    /// A setting of the check: TRUSTED_ACCOUNTS or TRUSTED_ORGANIZATION. Repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// The form in which the verdicts are printed
    #[arg(long, value_enum, default_value_t = ShortFormat::Table)]
    pub format: ShortFormat,
    /// End with 3 if there are findings of this severity or a worse one
    #[arg(long, value_enum, ignore_case = true, default_value_t = FailOn::Never, value_name = "SEVERITY")]
    pub fail_on: FailOn,
}

/// The arguments of `policy-document`.
#[derive(Debug, Args)]
pub struct PolicyDocumentArguments {
    /// With the permission to read the findings table of that name, for --since-table
    #[arg(long, value_name = "NAME")]
    pub since_table: Option<String>,
}

/// The forms of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people at a terminal
    Table,
    /// The functions' responses with every evaluation, in an array
    Json,
    /// One row a finding
    Csv,
    /// One page that people read in a browser, offline
    Html,
}

/// The forms of what is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShortFormat {
    /// For people at a terminal
    Table,
    /// For programs
    Json,
}

/// How much is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// What somebody should know of
    Findings,
    /// Every key and control
    All,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

impl Colour {
    /// The same in the words of `anstream`.
    pub fn choice(self) -> anstream::ColorChoice {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::AlwaysAnsi,
            Self::Never => anstream::ColorChoice::Never,
        }
    }
}

/// A severity, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum SeverityName {
    Low,
    Medium,
    High,
    Critical,
}

impl From<SeverityName> for Severity {
    fn from(name: SeverityName) -> Self {
        match name {
            SeverityName::Low => Self::Low,
            SeverityName::Medium => Self::Medium,
            SeverityName::High => Self::High,
            SeverityName::Critical => Self::Critical,
        }
    }
}

/// From which severity on a finding is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum FailOn {
    #[value(name = "never")]
    Never,
    Low,
    Medium,
    High,
    Critical,
}

impl FailOn {
    /// Is the worst of the findings a failure?
    pub fn is_failure(self, worst: Option<Severity>) -> bool {
        let least = match self {
            Self::Never => return false,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        };
        worst.is_some_and(|worst| worst >= least)
    }
}

/// A key as somebody named it.
#[derive(Clone, Debug)]
pub struct GivenKey {
    /// What was written.
    pub text: String,
    /// What it means.
    pub name: KeyName,
    /// The Region, if it is an ARN.
    pub region: Option<String>,
}

fn key(text: &str) -> Result<GivenKey, String> {
    let name = KeyName::parse(text).ok_or_else(|| format!("it must be {KEY_NAME_FORMS}"))?;
    let region = text.starts_with("arn:").then(|| text.split(':').nth(3).unwrap_or_default().to_owned());
    Ok(GivenKey { text: text.to_owned(), name, region })
}

fn region(text: &str) -> Result<String, String> {
    let is_name = is_region_name(text).then(|| text.to_owned());
    is_name.ok_or_else(|| "it must be the name of a Region, such as eu-west-1".to_owned())
}

fn account(text: &str) -> Result<String, String> {
    is_account_id(text).then(|| text.to_owned()).ok_or_else(|| "it must be an account ID: twelve digits".to_owned())
}

fn role(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_role = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, resource]
        if !partition.is_empty() && is_account_id(account) && resource.strip_prefix("role/").is_some_and(|it| !it.is_empty()));
    is_role.then(|| text.to_owned()).ok_or_else(|| "it must be the ARN of an IAM role".to_owned())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn time(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    parsed
        .filter(|time| *time >= Duration::from_secs(1))
        .ok_or_else(|| "it must be a time such as 90s, 5m or 1h".to_owned())
}
