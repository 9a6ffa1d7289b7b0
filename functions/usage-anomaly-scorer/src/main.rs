//! Wiring only: see the library.

use usage_anomaly_scorer::UsageAnomalyScorer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve::<UsageAnomalyScorer>().await
}
