//! `rolltop user`: accounts. For operators.

use clap::{Args, Subcommand, ValueEnum};
use rolltop_proto::v1::{
    CreateUserRequest, DeleteUserRequest, ListUsersRequest, ResetTotpRequest, Role,
    SetUserRoleRequest, UnlockUserRequest,
};
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
    /// Give a user a role; ends their sessions
    SetRole {
        /// Name of the user
        name: String,
        /// What they may do from now on
        role: RoleWord,
    },
    /// Take away the second factor of somebody who lost it; ends their sessions
    ResetTotp {
        /// Name of the user
        name: String,
    },
    /// Let somebody sign in again who was locked out by wrong passwords
    ///
    /// At the broker that is asked: another one remembers until its lock ends.
    Unlock {
        /// Name of the user
        name: String,
    },
    /// Delete an account
    Delete {
        /// Name of the user
        name: String,
    },
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleWord {
    /// Use desktops
    User,
    /// And look at everything
    Auditor,
    /// And run the cluster
    Operator,
    /// And say who may what
    Admin,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::User => Self::User,
            RoleWord::Auditor => Self::Auditor,
            RoleWord::Operator => Self::Operator,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// Options of `user add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name of the user
    name: String,
    /// What people see
    #[arg(long, value_name = "TEXT", default_value = "")]
    full_name: String,
    /// What they may do
    #[arg(long, value_enum, default_value = "user")]
    role: RoleWord,
    /// The same as --role operator
    #[arg(long, conflicts_with = "role")]
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
                let role = if add.operator { RoleWord::Operator } else { add.role };
                let request = CreateUserRequest {
                    name: add.name,
                    full_name: add.full_name,
                    password,
                    role: Role::from(role).into(),
                };
                let user = within(QUICK, broker.create_user(request)).await?;
                app.output.show(&Added { user: user.into(), password: generated })
            }
            Self::SetRole { name, role } => {
                let request = SetUserRoleRequest { name, role: Role::from(role).into() };
                let mut people = app.people().await?;
                let user = UserView::from(within(QUICK, people.set_user_role(request)).await?);
                app.output.done(&format!("{} is {} now", user.name, user.role), &user)
            }
            Self::ResetTotp { name } => {
                let request = ResetTotpRequest { name: name.clone() };
                within(QUICK, app.people().await?.reset_totp(request)).await?;
                let sentence = format!("{name} signs in without a code now");
                app.output.done(&sentence, &json!({ "reset": name }))
            }
            Self::Unlock { name } => {
                let request = UnlockUserRequest { name: name.clone() };
                let mut people = app.people().await?;
                let was = within(QUICK, people.unlock_user(request)).await?.was_remembered;
                let sentence = match was {
                    true => format!("{name} may try again"),
                    false => format!("this broker remembers no wrong password of {name}"),
                };
                app.output.done(&sentence, &json!({ "unlocked": name, "was_remembered": was }))
            }
            Self::Delete { name } => {
                let request = DeleteUserRequest { name: name.clone() };
                within(QUICK, broker.delete_user(request)).await?;
                app.output.done(&format!("deleted user {name}"), &json!({ "deleted": name }))
            }
        }
    }
}
