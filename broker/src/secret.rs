//! Random secrets that are handed out once and kept only as a digest.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// 256 random bits, as text: a session token or a ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Longest text worth looking up: 32 bytes make 43 characters.
const MAX_TEXT: usize = 64;

/// Letters and digits that cannot be mistaken for one another.
const PASSWORD_ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// 5 bits each: 100 bits.
const PASSWORD_LENGTH: usize = 20;

// === impl Secret ===

impl Secret {
    /// A new one.
    pub fn random() -> Self {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// One that a client sent; `None` if it cannot be one of ours.
    pub fn received(text: &str) -> Option<Self> {
        let plausible = !text.is_empty()
            && text.len() <= MAX_TEXT
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        plausible.then(|| Self(text.to_owned()))
    }

    /// The text, for the one who may have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in its place. Plain SHA-256 is enough for 256 random
    /// bits: there is nothing to guess.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A password for a person to type once: groups of five, such as
/// `kfm3x-a9wqe-…`.
pub fn generate_password() -> String {
    let mut rng = rand::rng();
    let mut password = String::with_capacity(PASSWORD_LENGTH + PASSWORD_LENGTH / 5);
    for place in 0..PASSWORD_LENGTH {
        if place > 0 && place % 5 == 0 {
            password.push('-');
        }
        let pick = rng.random_range(0..PASSWORD_ALPHABET.len());
        password.extend(PASSWORD_ALPHABET.get(pick).map(|letter| char::from(*letter)));
    }
    password
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_the_trip_and_hides_in_logs() {
        let secret = Secret::random();
        assert_eq!(Secret::received(secret.expose()), Some(secret.clone()));
        assert!(!format!("{secret:?}").contains(secret.expose()));
        assert_eq!(secret.digest().len(), 64);
        assert_ne!(Secret::random(), secret);
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_looked_up() {
        for text in ["", "a b", "a/b", "a\0b", "é", &"x".repeat(300)] {
            assert_eq!(Secret::received(text), None, "{text:?}");
        }
    }

    #[test]
    fn generated_passwords_differ_and_can_be_typed() {
        let (one, two) = (generate_password(), generate_password());
        assert_ne!(one, two);
        assert_eq!(one.len(), 23);
        assert!(one.bytes().all(|b| b == b'-' || PASSWORD_ALPHABET.contains(&b)));
    }
}
