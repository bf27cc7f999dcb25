//! `tunneld reload`: a running daemon takes on what its file says now.

use super::client::{Client, ClientError, Target};

/// Asks the daemon, and waits until it has. One that is meant by its file is found without reading that: it may name
/// another interface by now, or be wrong.
///
/// # Errors
/// There is none; or it refuses, and runs on as before: the file is wrong, or the system does not let it.
pub fn run(target: &Target) -> anyhow::Result<()> {
    let Some(file) = &target.config else {
        Client::connect(target)?.reload(None)?;
        return Ok(());
    };
    let absolute = std::path::absolute(file)?;
    let mut refused = ClientError::NotRunBy(file.clone());
    for mut client in Client::connect_all() {
        match client.reload(Some(&absolute)) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // One that is busy cannot say whether it is meant.
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}
