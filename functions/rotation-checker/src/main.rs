//! Wiring only: see the library.

use rotation_checker::RotationChecker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve::<RotationChecker>().await
}
