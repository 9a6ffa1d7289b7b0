//! Wiring only: see the library.

use access_checker::AccessChecker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve::<AccessChecker>().await
}
