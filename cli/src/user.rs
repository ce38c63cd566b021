//! `rolltop user`: accounts. For operators.

use clap::{Args, Subcommand};
use rolltop_proto::v1::{CreateUserRequest, DeleteUserRequest, ListUsersRequest, Role};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    output::{Look, View},
    secret,
    view::{UserList, UserView},
};

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the accounts
    List,
    /// Make an account; its password is asked for
    Add(Add),
    /// Delete an account
    Delete {
        /// Name of the user
        name: String,
    },
}

/// Options of `user add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name of the user
    name: String,
    /// What people see
    #[arg(long, value_name = "TEXT", default_value = "")]
    full_name: String,
    /// May operate the cluster
    #[arg(long)]
    operator: bool,
    /// Make a password, and print it once
    #[arg(long, conflicts_with = "password_stdin")]
    generate_password: bool,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// The JSON of a new account; `password` is null unless it was made here.
#[derive(Serialize)]
struct Added {
    user: UserView,
    password: Option<String>,
}

impl View for Added {
    fn text(&self, look: Look) -> String {
        let mut text = self.user.text(look);
        if let Some(password) = &self.password {
            text += &format!("password   {password}\n");
        }
        text
    }
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut broker = app.broker().await?;
        match self {
            Self::List => {
                let users = within(QUICK, broker.list_users(ListUsersRequest {})).await?.users;
                app.output.show(&users.into_iter().collect::<UserList>())
            }
            Self::Add(add) => {
                let generated = add.generate_password.then(secret::generate);
                let password = match &generated {
                    Some(password) => password.clone(),
                    None => {
                        let question = format!("Password of {}: ", add.name);
                        secret::new(&question, add.password_stdin).await?
                    }
                };
                let role = if add.operator { Role::Operator } else { Role::User };
                let request = CreateUserRequest {
                    name: add.name,
                    full_name: add.full_name,
                    password,
                    role: role.into(),
                };
                let user = within(QUICK, broker.create_user(request)).await?;
                app.output.show(&Added { user: user.into(), password: generated })
            }
            Self::Delete { name } => {
                let request = DeleteUserRequest { name: name.clone() };
                within(QUICK, broker.delete_user(request)).await?;
                app.output.done(&format!("deleted user {name}"), &json!({ "deleted": name }))
            }
        }
    }
}
