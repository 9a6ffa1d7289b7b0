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
