//! The pages hold what the code says.

use std::fs;
use std::path::Path;

#[test]
fn pages_are_as_the_code_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut written = Vec::new();
    for (path, expected) in documentation::pages() {
        let file = root.join(path);
        if fs::read_to_string(&file).unwrap_or_default() != expected {
            fs::write(&file, expected).unwrap();
            written.push(path);
        }
    }
    assert!(written.is_empty(), "these were older than the code and are written anew, commit them: {written:?}");
}

#[test]
fn every_result_of_the_fault_matrix_has_a_meaning() {
    let without_meaning = documentation::fault_matrix::without_meaning();
    assert!(without_meaning.is_empty(), "{without_meaning:?}");
}
