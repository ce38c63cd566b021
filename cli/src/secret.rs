//! Passwords: typed, piped in, or made.

use rand::seq::IndexedRandom as _;

use crate::{
    failure::Failure,
    terminal::{ask_secret, is_interactive, read_secret_line},
};

/// Letters and digits that are not mistaken for each other when read out.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// 5.8 bits each: 116 bits, out of reach of any guessing.
const GENERATED_LENGTH: usize = 20;

/// A password nobody has used, from the system's random source.
pub(crate) fn generate() -> String {
    let mut random = rand::rng();
    let pick = || ALPHABET.choose(&mut random).map(|byte| char::from(*byte));
    std::iter::from_fn(pick).take(GENERATED_LENGTH).collect()
}

/// A password of somebody: from standard input if `piped`, else asked for.
pub(crate) async fn present(question: &str, piped: bool) -> Result<String, Failure> {
    if piped {
        return Ok(read_secret_line()?);
    }
    can_ask()?;
    Ok(ask_secret(question).await?)
}

/// A new password: as [`present`], but typed twice.
pub(crate) async fn new(question: &str, piped: bool) -> Result<String, Failure> {
    let password = present(question, piped).await?;
    if !piped && ask_secret("Again: ").await? != password {
        return Err(Failure::usage("the two passwords differ").hint("try again"));
    }
    Ok(password)
}

fn can_ask() -> Result<(), Failure> {
    if is_interactive() {
        return Ok(());
    }
    let failure = Failure::usage("there is no terminal to ask for the password at");
    Err(failure.hint("give it on standard input with --password-stdin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_passwords_are_long_legible_and_new() {
        let (one, two) = (generate(), generate());
        assert_eq!(one.len(), GENERATED_LENGTH);
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)));
        assert!(!one.contains(['0', 'O', '1', 'l', 'I', 'o']));
        assert_ne!(one, two);
    }
}
