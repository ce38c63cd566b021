//! `rolltop token`: tokens for programs.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use rolltop_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest};
use serde_json::json;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    view::{NewTokenView, TokenList},
};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token, and print it once
    ///
    /// A program sends it as "authorization: Bearer TOKEN"; rolltop takes it from
    /// ROLLTOP_TOKEN. It may do what its scopes say, and never more than you may.
    Create {
        /// What it is for
        name: String,
        /// What it may be used for
        #[arg(long, required = true, value_enum, value_delimiter = ',', value_name = "SCOPE,…")]
        scope: Vec<ScopeWord>,
        /// How long it is good, such as 12h or 90d; 366d at most
        #[arg(long, default_value = "30d", value_name = "TIME", value_parser = crate::duration::parse)]
        valid: Duration,
    },
    /// List your tokens
    List {
        /// Another's
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        user: String,
        /// Everybody's
        #[arg(long, conflicts_with = "user")]
        all: bool,
    },
    /// End a token, and what was begun with it
    Revoke {
        /// Its id, as `list` shows it
        id: String,
        /// Another's; for admins
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        user: String,
    },
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeWord {
    /// Look at things
    Read,
    /// Have desktops, and look after data, of your own
    Desktops,
    /// Run the cluster
    Operate,
    /// Accounts, groups and roles
    Admin,
}

// === impl ScopeWord ===

impl ScopeWord {
    fn of_the_api(self) -> String {
        match self {
            Self::Read => "read",
            Self::Desktops => "desktops",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
        .to_owned()
    }
}

// === impl Command ===

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut people = app.people().await?;
        match self {
            Self::Create { name, scope, valid } => {
                let scopes = scope.into_iter().map(ScopeWord::of_the_api).collect();
                let life = prost_types::Duration::try_from(valid).ok();
                let request = CreateTokenRequest { name, scopes, life };
                let made = within(QUICK, people.create_token(request)).await?;
                app.output.show(&NewTokenView::from(made))
            }
            Self::List { user, all } => {
                let request = ListTokensRequest { user, all };
                let tokens = within(QUICK, people.list_tokens(request)).await?.tokens;
                app.output.show(&tokens.into_iter().collect::<TokenList>())
            }
            Self::Revoke { id, user } => {
                let request = RevokeTokenRequest { id: id.clone(), user };
                within(QUICK, people.revoke_token(request)).await?;
                app.output.done(&format!("token {id} is good no more"), &json!({ "revoked": id }))
            }
        }
    }
}
