//! Accounts.

use rolltop_proto::v1::User;
use serde::Serialize;

use super::{ago, or_empty, some, time, words};
use crate::output::{Column, Fields, Look, Table, Tone, View};

/// `{"users": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct UserList {
    users: Vec<UserView>,
}

/// One account.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UserView {
    pub(crate) name: String,
    full_name: Option<String>,
    pub(crate) role: &'static str,
    /// The user's id inside every desktop.
    uid: u32,
    created_at: Option<String>,
    groups: Vec<String>,
    second_factor: bool,
    /// Who says whether a password is right.
    source: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            full_name: some(&user.full_name),
            name: user.name,
            role: words::role(user.role),
            uid: user.uid,
            created_at: time(user.created_at),
            groups: user.groups,
            second_factor: user.second_factor,
            source: user.source,
        }
    }
}

impl FromIterator<User> for UserList {
    fn from_iter<I: IntoIterator<Item = User>>(users: I) -> Self {
        Self { users: users.into_iter().map(UserView::from).collect() }
    }
}

// === impl UserView ===

impl UserView {
    /// By whose word, and whether with a code.
    fn sign_in(&self) -> String {
        let code = if self.second_factor { ", with a code" } else { "" };
        format!("{}{code}", self.source)
    }
}

impl View for UserList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("USER"),
                Column::Left("FULL NAME"),
                Column::Left("ROLE"),
                Column::Right("UID"),
                Column::Left("CREATED"),
                Column::Left("SIGN-IN"),
                Column::Left("GROUPS"),
            ],
            "no users",
        );
        for user in &self.users {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(user.name.clone()),
                plain(or_empty(user.full_name.as_ref())),
                plain(user.role.to_owned()),
                plain(user.uid.to_string()),
                plain(ago(user.created_at.as_ref(), look)),
                plain(user.sign_in()),
                plain(user.groups.join(", ")),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for UserView {
    fn text(&self, look: Look) -> String {
        let mut fields = Fields::default();
        fields
            .field("user", &self.name)
            .field("full name", or_empty(self.full_name.as_ref()))
            .field("role", self.role)
            .field("uid", self.uid.to_string())
            .field("sign-in", self.sign_in());
        if let Some(created) = &self.created_at {
            fields.field("created", format!("{created} ({})", ago(Some(created), look)));
        }
        if !self.groups.is_empty() {
            fields.field("groups", self.groups.join(", "));
        }
        fields.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::Role;
    use serde_json::json;

    use super::*;
    use crate::view::testing::{earlier, look};

    fn sample() -> User {
        User {
            name: "ada".into(),
            full_name: "Ada Lovelace".into(),
            role: Role::Operator.into(),
            uid: 10_001,
            created_at: earlier(86_400 * 3),
            groups: vec!["staff".into()],
            second_factor: true,
            source: "ldap".into(),
        }
    }

    #[test]
    fn json() {
        let list: UserList = [sample()].into_iter().collect();
        assert_eq!(
            serde_json::to_value(list).unwrap(),
            json!({"users": [{
                "name": "ada",
                "full_name": "Ada Lovelace",
                "role": "operator",
                "uid": 10_001,
                "created_at": "2025-12-30T03:04:05Z",
                "groups": ["staff"],
                "second_factor": true,
                "source": "ldap",
            }]})
        );
    }

    #[test]
    fn text() {
        let list: UserList = [sample()].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "USER  FULL NAME     ROLE        UID  CREATED  SIGN-IN            GROUPS\n\
             ada   Ada Lovelace  operator  10001  3 d ago  ldap, with a code  staff\n"
        );
    }
}
