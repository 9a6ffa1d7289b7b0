//! Wiring only: see the library.

use health_prober::HealthProber;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve::<HealthProber>().await
}
