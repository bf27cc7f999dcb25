//! `tunneld reload`: a running daemon takes on what its file says now.

use super::client::{Client, ClientError, Target};

/// Asks the daemon, and waits until it has.
///
/// # Errors
/// There is none; or it refuses, and runs on as before: the file is wrong, or the system does not let it.
pub fn run(target: &Target) -> Result<(), ClientError> {
    Client::connect(target)?.reload()
}
