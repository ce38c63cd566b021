//! `rolltop group`: groups of users, for pools to be open to.

use clap::Subcommand;
use rolltop_proto::v1::{
    AddGroupMemberRequest, CreateGroupRequest, DeleteGroupRequest, ListGroupMembersRequest,
    ListGroupsRequest, RemoveGroupMemberRequest,
};
use serde_json::json;

use crate::{
    app::{App, QUICK, within},
    failure::Failure,
    view::{GroupList, GroupView, MemberList},
};

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the groups
    List,
    /// Make a group
    Create {
        /// Name of the group
        name: String,
        /// What people see
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Delete a group that no pool names
    Delete {
        /// Name of the group
        name: String,
    },
    /// List who is in a group
    Members {
        /// Name of the group
        name: String,
    },
    /// Put users into a group
    Add {
        /// Name of the group
        name: String,
        /// Names of the users
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
    },
    /// Take users out of a group
    Remove {
        /// Name of the group
        name: String,
        /// Names of the users
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
    },
}

impl Command {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut people = app.people().await?;
        match self {
            Self::List => {
                let groups = within(QUICK, people.list_groups(ListGroupsRequest {})).await?.groups;
                app.output.show(&groups.into_iter().collect::<GroupList>())
            }
            Self::Create { name, description } => {
                let request = CreateGroupRequest { name, description };
                let group = GroupView::from(within(QUICK, people.create_group(request)).await?);
                app.output.done(&format!("made group {}", group.name), &group)
            }
            Self::Delete { name } => {
                let request = DeleteGroupRequest { name: name.clone() };
                within(QUICK, people.delete_group(request)).await?;
                app.output.done(&format!("deleted group {name}"), &json!({ "deleted": name }))
            }
            Self::Members { name } => {
                let request = ListGroupMembersRequest { name };
                let members = within(QUICK, people.list_group_members(request)).await?.members;
                app.output.show(&members.into_iter().collect::<MemberList>())
            }
            Self::Add { name, users } => {
                for user in &users {
                    let request = AddGroupMemberRequest { name: name.clone(), user: user.clone() };
                    within(QUICK, people.add_group_member(request)).await?;
                }
                let sentence = format!("{} in group {name}", users.join(", "));
                app.output.done(&sentence, &json!({ "group": name, "added": users }))
            }
            Self::Remove { name, users } => {
                for user in &users {
                    let (name, user) = (name.clone(), user.clone());
                    let request = RemoveGroupMemberRequest { name, user };
                    within(QUICK, people.remove_group_member(request)).await?;
                }
                let sentence = format!("{} no more in group {name}", users.join(", "));
                app.output.done(&sentence, &json!({ "group": name, "removed": users }))
            }
        }
    }
}
