//! Wiring only: see the library.

use target_planner::TargetPlanner;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve_function::<TargetPlanner>().await
}
