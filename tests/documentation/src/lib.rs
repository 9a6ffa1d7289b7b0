//! The pages that say what stands in code: every control, every setting, every call. They are written from the code, and a
//! test fails where one of them is older.

pub mod fault_matrix;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use access_checker::AccessChecker;
use aws::operation;
use domain::control::Control;
use domain::creation;
use health_prober::HealthProber;
use key_age_checker::KeyAgeChecker;
use monitor::check::Check;
use monitor::settings::{EvaluationSettings, HomeSettings, Setting};
use rotation_checker::RotationChecker;
use serde_json::{Value, json};
use target_planner::TargetPlanner;
use usage_anomaly_scorer::UsageAnomalyScorer;

/// What is documented of a function.
struct Function {
    name: &'static str,
    controls: Vec<&'static Control>,
    settings: &'static [&'static dyn Setting],
}

impl Function {
    fn of<C: Check>() -> Self {
        Self { name: C::FUNCTION, controls: C::CONTROLS.as_ref().to_vec(), settings: C::SETTINGS }
    }

    /// The file that holds verdicts and remediation.
    fn source(&self) -> String {
        format!("functions/{}/src/controls.rs", self.name)
    }
}

fn functions() -> [Function; 6] {
    [
        Function::of::<RotationChecker>(),
        Function::of::<KeyAgeChecker>(),
        Function::of::<HealthProber>(),
        Function::of::<UsageAnomalyScorer>(),
        Function::of::<AccessChecker>(),
        Function {
            name: reporter::FUNCTION,
            controls: vec![&reporter::ACCOUNT_REACHABLE],
            settings: reporter::SETTINGS,
        },
    ]
}

/// The pages, with their paths from the root of the project.
pub fn pages() -> [(&'static str, String); 7] {
    [
        ("docs/controls.md", controls_page()),
        ("docs/controls.json", pretty(&controls_json())),
        ("docs/fault-matrix.md", fault_matrix::page()),
        ("docs/key-combinations.md", combinations_page()),
        ("docs/settings.md", settings_page()),
        ("tests/calls.json", pretty(&calls_json())),
        ("tests/settings.json", pretty(&settings_json())),
    ]
}

/// How a page says that it is not to be edited.
const WRITTEN: &str = "<!-- Written from the code by `cargo test -p documentation`. Do not edit. -->";

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn controls_page() -> String {
    let mut page = format!(
        "{WRITTEN}\n# Controls\n\nEvery key is judged by each of them. A key that a control asks nothing of is \
         `NOT_APPLICABLE`, one that could not be read `INSUFFICIENT_DATA`, both with a reason. [`controls.json`](controls.json) \
         says the same to programs.\n"
    );
    for function in functions() {
        let _ = write!(
            page,
            "\n## {}\n\nVerdict by verdict, with the words of each remediation: [`{source}`](../{source}).\n\n\
             | control | asks that | severity | stands for |\n|---|---|---|---|\n",
            function.name,
            source = function.source(),
        );
        for control in &function.controls {
            let Control { id, title, severity, other_severities, references } = control;
            let severity = match *other_severities {
                "" => severity.as_str().to_owned(),
                others => format!("{}; {others}", severity.as_str()),
            };
            let _ = writeln!(page, "| <a id=\"{id}\"></a>`{id}` | {title} | {severity} | {} |", references.join("; "));
        }
    }
    page
}

fn controls_json() -> Value {
    let of_function = |function: Function| {
        let (name, source) = (function.name, function.source());
        function.controls.into_iter().map(move |control| {
            let Control { id, title, severity, other_severities, references } = control;
            json!({
                "id": id,
                "function": name,
                "title": title,
                "severity": severity,
                "other_severities": other_severities,
                "references": references,
                "remediation": source,
            })
        })
    };
    json!({ "controls": functions().into_iter().flat_map(of_function).collect::<Vec<_>>() })
}

fn settings_page() -> String {
    let mut page = format!(
        "{WRITTEN}\n# Settings\n\nEnvironment variables of the functions; the template sets them from its parameters. One that \
         is missing or does not parse fails every invocation as `InvalidConfiguration`, and nothing is called. An empty \
         variable counts as not set.\n\n## All functions\n\n"
    );
    table(&mut page, &all_functions());
    page.push_str(
        "\nBeside them Lambda's own `AWS_LAMBDA_LOG_LEVEL` and `AWS_LAMBDA_LOG_FORMAT`, and what the AWS SDK reads, \
         `AWS_ENDPOINT_URL` for example.\n",
    );
    for function in functions() {
        let _ = write!(page, "\n## {}\n\n", function.name);
        table(&mut page, function.settings);
    }
    page.push_str("\n## target-planner\n\nBeside `METRICS_NAMESPACE` it has these alone.\n\n");
    table(&mut page, TargetPlanner::SETTINGS);
    page.push_str(
        "\n## key-manager and key-auditor\n\nBoth are one binary. Of the settings above they read those of the checks that an \
         audit runs, `FINDINGS_TABLE`, `KMS_QUOTA_SHARE` and `KMS_QUOTA_CALLERS`.\n\n",
    );
    table(&mut page, key_manager::settings::SETTINGS);
    page
}

/// Which keys there can be, and what key-manager makes of them.
fn combinations_page() -> String {
    let mut page = format!(
        "{WRITTEN}\n# Which keys there can be\n\nWhat key spec, key usage, origin, multi-Region and rotation allow each other. \
         `key-manager` refuses any other request before it calls anything; the simulated KMS of the tests refuses the same.\n\n\
         | key spec | [key usage]({specs}) | [exists]({specs}) | origin | multi-Region, of the origin | \
         rotates by itself, of the origin |\n|---|---|---|---|---|---|\n",
        specs = creation::SOURCE_OF_SPECS,
    );
    let listed = |texts: &[&str]| match texts {
        [] => "never".to_owned(),
        texts => texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", "),
    };
    for family in &creation::FAMILIES {
        let place = match family.place {
            creation::Place::Everywhere => "everywhere",
            creation::Place::China => "in China Regions only",
            creation::Place::NotChina => "not in China Regions",
        };
        let _ = writeln!(
            page,
            "| {} | {} | {place} | {} | {} | {} |",
            listed(family.specs),
            listed(family.usages),
            listed(family.origins),
            listed(family.multi_region),
            listed(family.rotates),
        );
    }
    let _ = write!(
        page,
        "\nSources, by column: key usage and where a key spec exists, [CreateKey]({specs}); the origin `EXTERNAL`, \
         [GetParametersForImport]({imports}); the origins `AWS_CLOUDHSM` and `EXTERNAL_KEY_STORE`, \
         [CreateKey, CustomKeyStoreId]({stores}); multi-Region, [CreateKey, MultiRegion]({multi_region}); rotation, \
         [EnableKeyRotation]({rotation}).\n\n`key-manager` makes keys of the origin `AWS_KMS` alone, and for the purposes \
         `database` and `backup` `SYMMETRIC_DEFAULT` keys alone: RDS and AWS Backup take no other. The key usage must be said, \
         but for `SYMMETRIC_DEFAULT`.\n",
        specs = creation::SOURCE_OF_SPECS,
        imports = creation::SOURCE_OF_IMPORTS,
        stores = creation::SOURCE_OF_KEY_STORES,
        multi_region = creation::SOURCE_OF_MULTI_REGION,
        rotation = creation::SOURCE_OF_ROTATION,
    );
    page
}

/// The default of each setting.
fn settings_json() -> Value {
    let of_functions = functions().into_iter().flat_map(|function| function.settings.iter().copied());
    let of_others = TargetPlanner::SETTINGS.iter().chain(key_manager::settings::SETTINGS).copied();
    let settings = all_functions().into_iter().chain(of_functions).chain(of_others);
    settings.map(|setting| (setting.name().to_owned(), json!(setting.default()))).collect()
}

/// The settings that all functions have.
fn all_functions() -> Vec<&'static dyn Setting> {
    [EvaluationSettings::ALL, HomeSettings::ALL, lambda::MEMBER_SETTINGS, lambda::SETTINGS].concat()
}

fn table(page: &mut String, settings: &[&dyn Setting]) {
    page.push_str("| name | default | allowed | meaning |\n|---|---|---|---|\n");
    for setting in settings {
        let default = match setting.default().as_str() {
            "" if setting.is_required() => "required".to_owned(),
            "" => "empty".to_owned(),
            default => format!("`{default}`"),
        };
        let _ = writeln!(page, "| `{}` | {default} | {} | {} |", setting.name(), setting.allowed(), setting.meaning());
    }
}

/// The calls of each function and of a scan, by service.
fn calls_json() -> Value {
    let mut calls: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    let of_functions =
        operation::ALL.iter().flat_map(|row| row.callers().iter().map(move |function| (*function, *row)));
    for (caller, row) in of_functions.chain(operation::of_scan().map(|row| ("kms-compliance", row))) {
        calls.entry(caller).or_default().entry(row.service()).or_default().insert(row.name());
    }
    json!(calls)
}
