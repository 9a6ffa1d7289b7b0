//! Wiring only: see the library.

use reporter::Reporter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve_function::<Reporter>().await
}
