//! What is spoken with the peer.

use super::error::Fault;
use super::value::Value;
use crate::crypto::Cipher;
use crate::wire::{Layer, Profile};

const ACCEPTED_PROFILES: &str = r#""wireguard" or "tunneld""#;
const ACCEPTED_CIPHERS: &str = r#""chacha20-poly1305" or "aes-256-gcm""#;

pub(super) fn resolve(
    profile: Option<Value<'_>>,
    cipher: Option<Value<'_>>,
    layer: Layer,
) -> Result<Profile, Fault> {
    let chosen = cipher.as_ref().map_or(Ok(Cipher::default()), parse_cipher)?;
    let tunneld = Profile::Tunneld { cipher: chosen, layer };
    let profile = match profile {
        None => Profile::WireGuard,
        Some(value) => match value.expect_text(ACCEPTED_PROFILES)? {
            "wireguard" if layer == Layer::Ethernet => {
                return Err(value.fault(
                    r#"carries IP packets, and [interface] mode is "tap""#,
                    r#""tunneld", on both ends"#,
                ));
            }
            "wireguard" => Profile::WireGuard,
            "tunneld" => tunneld,
            _ => return Err(value.fault("is no profile", ACCEPTED_PROFILES)),
        },
    };
    match cipher {
        Some(value) if profile.cipher() != chosen => Err(value.fault(
            "is not WireGuard's cipher",
            r#""chacha20-poly1305", or profile = "tunneld" in the same section, on both ends"#,
        )),
        _ => Ok(profile),
    }
}

fn parse_cipher(value: &Value<'_>) -> Result<Cipher, Fault> {
    let text = value.expect_text(ACCEPTED_CIPHERS)?;
    let found = Cipher::ALL.into_iter().find(|cipher| cipher.name() == text);
    found.ok_or_else(|| value.fault("is no cipher", ACCEPTED_CIPHERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_name_every_cipher_and_profile() {
        let quoted = |name: &str| format!("{name:?}");
        assert!(Cipher::ALL.iter().all(|cipher| ACCEPTED_CIPHERS.contains(&quoted(cipher.name()))));
        let tunneld = Profile::Tunneld { cipher: Cipher::default(), layer: Layer::Ip };
        for profile in [Profile::WireGuard, tunneld] {
            assert!(ACCEPTED_PROFILES.contains(&quoted(profile.name())));
        }
    }
}
