//! The fault matrix: each call of a function × each kind of fault, what the contract says comes of it, and what does.
//!
//! The expected results of a function stand, written by hand, in its `tests/fault_matrix.json`: for each call a word for
//! the result, and the faults that it is the result of. [`Matrix::check`] runs every cell of it, many at once.

#![expect(
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests fails by panicking"
)]

pub mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

/// The faults, in the order of the table's columns: each with its name and the words above its column.
pub const FAULTS: [(&str, &str); 14] = [
    ("denied", "denied"),
    ("throttled", "throttled for a while"),
    ("server_error", "500s"),
    ("refused", "connection refused"),
    ("cut", "reset in mid-body"),
    ("hang", "hang"),
    ("drip", "slow drip"),
    ("garbled", "garbled"),
    ("truncated", "truncated"),
    ("empty_page", "empty page, then more"),
    ("no_marker", "Truncated without marker"),
    ("same_marker", "marker loop"),
    ("clock_skew", "clock skew"),
    ("expired", "expired credentials"),
];

/// How a result begins that says why a cell cannot occur.
pub const CANNOT_OCCUR: &str = "–";

/// Cells that run at the same time and keep the machine busy.
const BUSY_CELLS_AT_A_TIME: usize = 8;

/// Cells that run beside them and wait for time-outs.
const WAITING_CELLS_AT_A_TIME: usize = 64;

/// One call with one fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The call: an operation's name; behind it, where that matters, `from call 2 on` or `in eu-west-1`.
    pub call: String,
    /// The fault's name.
    pub fault: &'static str,
}

impl Cell {
    /// The operation that is called.
    pub fn operation(&self) -> &str {
        self.call.split(' ').next().unwrap_or_default()
    }

    /// The fault as a fleet file has it. Throttling ends by itself, before a call gives up; the others stay.
    pub fn fault_in_fleet(&self) -> Value {
        let healthy = self.healthy_before();
        match self.fault {
            "throttled" => json!({"kind": "throttled", "times": 3, "after_calls": healthy}),
            kind => json!({"kind": kind, "after_calls": healthy}),
        }
    }

    /// How many calls of the operation go well before.
    pub fn healthy_before(&self) -> u64 {
        let from =
            self.call.split_once(" from call ").and_then(|(_, from)| from.split(' ').next()?.parse::<u64>().ok());
        from.unwrap_or(1).saturating_sub(1)
    }

    /// The Region that the call is made to, where that is not the run's own.
    pub fn region(&self) -> Option<&str> {
        self.call.split_once(" in ").map(|(_, region)| region)
    }

    /// Does nobody answer in time?
    fn waits(&self) -> bool {
        matches!(self.fault, "hang" | "drip")
    }

    /// How long the invocation with the fault may take. A hang goes on until the run's time is up; to a slow drip each
    /// call's own time-outs put an end.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(match self.fault {
            "drip" => 24,
            _ => 10,
        })
    }
}

/// The expected results of one function.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The function.
    pub function: String,
    /// By call, in the order of their names, the result of each fault.
    pub rows: Vec<(String, BTreeMap<&'static str, String>)>,
}

impl Matrix {
    /// Reads a function's file, and sees that each call has a result for each fault, and one only.
    pub fn read(text: &str) -> Self {
        let file: Value = serde_json::from_str(text).unwrap();
        let function = file.get("function").and_then(Value::as_str).unwrap().to_owned();
        let calls = file.get("calls").and_then(Value::as_object).unwrap();
        let rows = calls.iter().map(|(call, results)| (call.clone(), row(&function, call, results))).collect();
        Self { function, rows }
    }

    /// The matrix has each call that `calls.json` lists for the function, and no other.
    pub fn assert_has_every_call(&self) {
        let lists: Value = serde_json::from_str(include_str!("../../calls.json")).unwrap();
        let services = lists.get(&self.function).and_then(Value::as_object).unwrap();
        let listed = services.values().flat_map(|calls| calls.as_array().unwrap());
        let listed: BTreeSet<&str> = listed.map(|call| call.as_str().unwrap()).collect();
        let rows: BTreeSet<&str> =
            self.rows.iter().map(|(call, _)| call.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(rows, listed, "{}: rows of the matrix, and calls of the function", self.function);
    }

    /// Runs every cell that can occur and compares. All that differ are told at once.
    ///
    /// A run gives the word for what came of its cell, or says what must never be.
    pub async fn check(&self, run: impl AsyncFn(&Cell) -> Result<String, String>) {
        self.assert_has_every_call();
        let mut cells = Vec::new();
        for (call, results) in &self.rows {
            for (fault, expected) in results {
                if !expected.starts_with(CANNOT_OCCUR) && is_chosen(call, fault) {
                    cells.push((Cell { call: call.clone(), fault }, expected));
                }
            }
        }
        assert!(!cells.is_empty());
        let count = cells.len();
        let run = &run;
        let run_all = async |cells: Vec<(Cell, &String)>, at_a_time: usize| -> Vec<String> {
            let wrong = stream::iter(cells).map(async |(cell, expected)| {
                let came = run(&cell).await.unwrap_or_else(|never| format!("NEVER: {never}"));
                (came != *expected)
                    .then(|| format!("{} × {}: expected `{expected}`, came `{came}`", cell.call, cell.fault))
            });
            wrong.buffer_unordered(at_a_time).filter_map(async |wrong| wrong).collect().await
        };
        let (waiting, busy): (Vec<_>, Vec<_>) = cells.into_iter().partition(|(cell, _)| cell.waits());
        let wrong = join(run_all(waiting, WAITING_CELLS_AT_A_TIME), run_all(busy, BUSY_CELLS_AT_A_TIME)).await;
        let wrong = [wrong.0, wrong.1].concat();
        assert!(wrong.is_empty(), "{}: {} of {count} cells:\n{}", self.function, wrong.len(), wrong.join("\n"));
    }
}

fn row(function: &str, call: &str, results: &Value) -> BTreeMap<&'static str, String> {
    let mut row = BTreeMap::new();
    for (result, faults) in results.as_object().unwrap() {
        for fault in faults.as_str().unwrap().split_whitespace() {
            let Some((fault, _)) = FAULTS.iter().find(|(name, _)| *name == fault) else {
                panic!("{function}: {call}: there is no fault `{fault}`");
            };
            assert_eq!(row.insert(*fault, result.clone()), None, "{function}: {call}: `{fault}` stands twice");
        }
    }
    for (fault, _) in FAULTS {
        assert!(row.contains_key(fault), "{function}: {call}: `{fault}` has no result");
    }
    row
}

/// By hand, `FAULT_MATRIX_CELLS=DescribeKey,hang` runs the cells of that call or fault alone.
#[expect(clippy::disallowed_methods, reason = "for people who look into one cell")]
fn is_chosen(call: &str, fault: &str) -> bool {
    match std::env::var("FAULT_MATRIX_CELLS") {
        Ok(chosen) => chosen.split(',').all(|it| it == fault || call.starts_with(it)),
        Err(_) => true,
    }
}
