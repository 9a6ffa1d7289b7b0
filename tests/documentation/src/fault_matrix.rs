//! The fault matrix: what the functions' tests hold every call to. The results are written by hand, in each function's
//! `tests/fault_matrix.json`; its test runs every cell and fails where one differs, so a result of this page is both what is
//! meant to come and what came.

use std::fmt::Write as _;

use simulated_fleet::fault_matrix::{CANNOT_OCCUR, FAULTS, Matrix};

use crate::WRITTEN;

/// The functions' files.
const MATRICES: &[&str] = &[
    include_str!("../../../functions/access-checker/tests/fault_matrix.json"),
    include_str!("../../../functions/health-prober/tests/fault_matrix.json"),
    include_str!("../../../functions/key-age-checker/tests/fault_matrix.json"),
    include_str!("../../../functions/rotation-checker/tests/fault_matrix.json"),
    include_str!("../../../functions/target-planner/tests/fault_matrix.json"),
    include_str!("../../../functions/usage-anomaly-scorer/tests/fault_matrix.json"),
];

/// What the parts of a result mean.
const WORDS: &[(&str, &str)] = &[
    (
        "right",
        "the answer is right and whole, what changed is told: the fault was absorbed, or took nothing that a verdict needs",
    ),
    (
        "not known: *reason*",
        "what needs the call is `INSUFFICIENT_DATA` with that reason, for the keys whose calls failed; all else is right and told",
    ),
    (
        "not reached",
        "the run's time was up: it says `complete: false` and `keys_not_reached`; all else is right and told",
    ),
    (
        "broken off",
        "the listing ended too early: the run says `complete: false`, judges the keys that it knows of, and resolves nothing of the others",
    ),
    ("without names", "all is right and told, but the findings' keys go by their ARNs, not by their aliases"),
    ("fails: *error type*", "the invocation fails by that error, and the next run tells all that this one did not"),
    (
        "noticed: *reason*",
        "the plan has every account all the same, and the answer says by that notice what is not known of them",
    ),
    ("told again", "and a change comes twice: nobody knows whether its first alert went out"),
];

/// Why a cell cannot occur.
const REASONS: &[(&str, &str)] = &[
    ("– one answer", "the call has one answer, which has no pages"),
    ("– marker alone", "a page is the last one by having no marker: nothing says that there is more"),
];

/// What each fault is, in the order of the columns.
const MEANINGS: [&str; 14] = [
    "the service refuses: access denied",
    "throttled three times, then not",
    "status 500 with the service's own error, each time",
    "the connection is closed before a byte of an answer. One address serves all calls of a test, so that the connection to one call alone cannot be refused before it is made; the transport reports both alike, as a failure to dispatch",
    "half the body, then the connection is closed; what the call does is done",
    "nothing, ever; the invocation has 10 s",
    "the body comes a byte a second and never to its end; the invocation has 24 s, longer than three tries; what the call does is done",
    "status 200 and a body that is no answer; what the call does is done",
    "status 200 and half the body, whole as far as HTTP knows; what the call does is done. Half of the XML of STS and SNS holds all that is read",
    "one page without an entry that says that there is more",
    "a page that says that there is more and not where",
    "the same page and marker, again and again",
    "the service's clock is five hours ahead: it refuses what is not signed by it, and says its time",
    "the service refuses: the credentials have expired",
];

/// The page.
pub(crate) fn page() -> String {
    let mut page = format!(
        "{WRITTEN}\n# What each failing call leads to\n\nEach AWS call that a function makes, with each of fourteen faults: what the contract \
         says comes of it, written by hand in `functions/<function>/tests/fault_matrix.json`. `cargo test -p <function> --test fault_matrix` \
         runs every cell with the function's real binary against the [simulated fleet](../tests/simulated-fleet/README.md) and fails \
         where another result comes; `FAULT_MATRIX_CELLS=DescribeKey,hang` before it runs one cell.\n\nIn every cell the answer comes within the \
         invocation's deadline, no error is taken for a verdict, and nothing panics. After the fault one healthy run is right, tells \
         what was not told, and nothing twice but where it says `told again`; the ledger then holds what it would have held, and the \
         run after it tells nothing.\n\n| result | meaning |\n|---|---|\n"
    );
    for (word, meaning) in WORDS.iter().chain(REASONS) {
        let _ = writeln!(page, "| {word} | {meaning} |");
    }
    page.push_str("\n| fault | what happens to the call |\n|---|---|\n");
    for ((_, fault), meaning) in FAULTS.iter().zip(MEANINGS) {
        let _ = writeln!(page, "| {fault} | {meaning} |");
    }
    page.push_str(
        "\nA fault stays for the whole run, unless it says otherwise. It hits calls about some of the keys where a call names \
         a key, and all calls of the operation otherwise.\n\nNot in these tables: `reporter`, whose failing calls \
         `functions/reporter/tests/over_http.rs` and `two_tellers.rs` try, and `key-manager`, whose failing calls \
         `functions/key-manager/tests/fault_walk.rs` tries.\n",
    );
    for text in MATRICES {
        let Matrix { function, rows } = Matrix::read(text);
        let _ = write!(page, "\n## {function}\n\n| call |");
        for (_, fault) in FAULTS {
            let _ = write!(page, " {fault} |");
        }
        let _ = write!(page, "\n|---|{}\n", "---|".repeat(FAULTS.len()));
        for (call, results) in rows {
            let _ = write!(page, "| {call} |");
            for (fault, _) in FAULTS {
                let _ = write!(page, " {} |", results.get(fault).map_or("", String::as_str));
            }
            page.push('\n');
        }
    }
    page
}

/// Results of the matrices that have no meaning above.
pub fn without_meaning() -> Vec<String> {
    let begins =
        |part: &str| WORDS.iter().any(|(word, _)| part.starts_with(word.split('*').next().unwrap_or_default()));
    let has_meaning = |result: &str| {
        if result.starts_with(CANNOT_OCCUR) {
            return REASONS.iter().any(|(reason, _)| *reason == result);
        }
        result.split("; ").flat_map(|part| part.split(", told").enumerate()).all(|(place, part)| match place {
            0 => begins(part),
            _ => part == " again",
        })
    };
    let rows = MATRICES.iter().flat_map(|text| Matrix::read(text).rows);
    let results = rows.flat_map(|(_, results)| results.into_values());
    results.filter(|result| !has_meaning(result)).collect()
}
