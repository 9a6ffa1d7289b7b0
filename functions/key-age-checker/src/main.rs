//! Wiring only: see the library.

use key_age_checker::KeyAgeChecker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve::<KeyAgeChecker>().await
}
