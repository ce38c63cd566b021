//! Groups and who is in them.

use rolltop_proto::v1::{Group, GroupMember};
use serde::Serialize;

use super::{ago, or_empty, some, time};
use crate::output::{Column, Look, Table, Tone, View};

/// `{"groups": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct GroupList {
    groups: Vec<GroupView>,
}

/// One group.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GroupView {
    pub(crate) name: String,
    description: Option<String>,
    members: u64,
    created_at: Option<String>,
}

/// `{"members": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct MemberList {
    members: Vec<MemberView>,
}

#[derive(Clone, Debug, Serialize)]
struct MemberView {
    user: String,
    source: String,
    since: Option<String>,
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        Self {
            description: some(&group.description),
            name: group.name,
            members: group.members,
            created_at: time(group.created_at),
        }
    }
}

impl FromIterator<Group> for GroupList {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        Self { groups: groups.into_iter().map(GroupView::from).collect() }
    }
}

impl FromIterator<GroupMember> for MemberList {
    fn from_iter<I: IntoIterator<Item = GroupMember>>(members: I) -> Self {
        let members = members.into_iter().map(|member| {
            let GroupMember { user, source, since } = member;
            MemberView { user, source, since: time(since) }
        });
        Self { members: members.collect() }
    }
}

impl View for GroupList {
    fn text(&self, look: Look) -> String {
        let columns = [
            Column::Left("GROUP"),
            Column::Right("MEMBERS"),
            Column::Left("CREATED"),
            Column::Left("DESCRIPTION"),
        ];
        let mut table = Table::new(columns, "no groups");
        for group in &self.groups {
            table.row([
                (Tone::Normal, group.name.clone()),
                (Tone::Normal, group.members.to_string()),
                (Tone::Normal, ago(group.created_at.as_ref(), look)),
                (Tone::Normal, or_empty(group.description.as_ref())),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for MemberList {
    fn text(&self, look: Look) -> String {
        let columns = [Column::Left("USER"), Column::Left("SOURCE"), Column::Left("SINCE")];
        let mut table = Table::new(columns, "nobody is in it");
        for member in &self.members {
            table.row([
                (Tone::Normal, member.user.clone()),
                (Tone::Normal, member.source.clone()),
                (Tone::Normal, ago(member.since.as_ref(), look)),
            ]);
        }
        table.render(look.paint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::testing::{earlier, look};

    #[test]
    fn groups_and_members() {
        let group = Group {
            name: "staff".into(),
            members: 2,
            created_at: earlier(3 * 86_400),
            ..Group::default()
        };
        let list: GroupList = [group].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "GROUP  MEMBERS  CREATED  DESCRIPTION\nstaff        2  3 d ago  -\n"
        );
        assert_eq!(serde_json::to_value(&list).unwrap()["groups"][0]["description"], json!(null));
        let member = GroupMember { user: "ada".into(), source: "ldap".into(), since: earlier(60) };
        let list: MemberList = [member].into_iter().collect();
        assert_eq!(list.text(look()), "USER  SOURCE  SINCE\nada   ldap    1 min ago\n");
    }
}
