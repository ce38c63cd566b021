//! `rolltop totp`: codes from a device as the second factor of one's sign-in.

use clap::Subcommand;
use rolltop_proto::v1::{
    BeginTotpRequest, BeginTotpResponse, ConfirmTotpRequest, ConfirmTotpResponse,
    DisableTotpRequest,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{Look, View, clean},
    secret,
};

/// What can be done with one's second factor.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin: make a secret for an authenticator app
    ///
    /// Nothing is asked for at sign-in before `confirm`.
    Enrol {
        /// Read your present password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Show that the app has the secret; from now on signing in takes a code
    ///
    /// Prints recovery codes, once: each signs in once, in place of a code.
    Confirm {
        /// What the app shows
        code: String,
    },
    /// End it
    Disable {
        /// What the app shows, or a recovery code
        code: String,
        /// Read your present password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
}

/// What the app has to know.
#[derive(Serialize)]
struct Begun {
    secret: String,
    uri: String,
}

impl View for Begun {
    fn text(&self, _look: Look) -> String {
        format!(
            "Add this to your authenticator app, as a QR code or typed:\n  {}\n  secret: {}\n\
             Then run `rolltop totp confirm CODE` with what it shows.\n",
            clean(&self.uri),
            clean(&self.secret),
        )
    }
}

/// What to keep.
#[derive(Serialize)]
struct Confirmed {
    recovery_codes: Vec<String>,
}

impl View for Confirmed {
    fn text(&self, _look: Look) -> String {
        let codes: Vec<String> = self.recovery_codes.iter().map(|code| clean(code)).collect();
        format!(
            "Signing in takes a code from now on. Keep these where the app is not; each signs you in\n\
             once if the app is lost, and they are shown this once:\n  {}\n",
            codes.join("\n  ")
        )
    }
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut people = app.people().await?;
        let present = async |piped| secret::present("Your present password: ", piped).await;
        match self {
            Self::Enrol { password_stdin } => {
                let current_password = present(password_stdin).await?;
                let request = BeginTotpRequest { current_password };
                let BeginTotpResponse { secret, uri } =
                    within(QUICK, people.begin_totp(request)).await?;
                app.output.show(&Begun { secret, uri })
            }
            Self::Confirm { code } => {
                let request = ConfirmTotpRequest { code };
                let ConfirmTotpResponse { recovery_codes } =
                    within(QUICK, people.confirm_totp(request)).await?;
                app.output.show(&Confirmed { recovery_codes })
            }
            Self::Disable { code, password_stdin } => {
                let current_password = present(password_stdin).await?;
                let request = DisableTotpRequest { current_password, code };
                within(QUICK, people.disable_totp(request)).await?;
                let sentence = "signing in takes no code any more";
                app.output.done(sentence, &json!({ "second_factor": false }))
            }
        }
    }
}
