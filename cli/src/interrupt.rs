//! Ctrl-C: once, and the scan ends with what it has; twice, and it ends.

use tokio::sync::watch;

use crate::error::INTERRUPTED;

/// Tells when somebody pressed Ctrl-C.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            // Where no signal can be listened to, Ctrl-C ends the process as it always does.
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            sender.send_replace(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(i32::from(INTERRUPTED));
            }
        });
        Self(receiver)
    }

    /// Did somebody?
    pub fn is_pressed(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when somebody does.
    pub async fn pressed(&self) {
        let mut pressed = self.0.clone();
        let seen = pressed.wait_for(|pressed| *pressed).await.is_ok();
        if !seen {
            std::future::pending::<()>().await;
        }
    }
}
