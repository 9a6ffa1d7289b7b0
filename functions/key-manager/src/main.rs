//! Wiring only: see the library.

use key_manager::KeyManager;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda::serve_function::<KeyManager>().await
}
