//! Everything that is done, by name, and who may: the one table that rights are
//! checked against. What is noted bears these names too.

use std::fmt;

use super::Scope;
use crate::state::Role;

use Right::{Anyone, Only, Own, OwnOr};

/// Who run the cluster.
const OPERATORS: &[Role] = &[Role::Operator, Role::Admin];
/// Who may look at everything.
const READERS: &[Role] = &[Role::Auditor, Role::Operator, Role::Admin];
/// Who say who may what.
const ADMINS: &[Role] = &[Role::Admin];

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Everybody, signed in or not.
    Anyone,
    /// Everybody who is signed in, with what is theirs.
    Own,
    /// The same, and these with everybody's.
    OwnOr(&'static [Role]),
    /// These.
    Only(&'static [Role]),
}

/// What a token needs for an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// `read`.
    Read,
    /// `desktops` with one's own, `operate` with others'.
    Use,
    /// `operate`.
    Run,
    /// `admin`; with what is one's own a session.
    People,
    /// A session: a person is there.
    Person,
}

/// Each act with its name, which is part of the API, who may, what a token for
/// it needs, and what it is.
macro_rules! acts {
    ($($act:ident $name:literal $kind:ident $(($roles:ident))? $need:ident, $about:literal;)*) => {
        /// Something that is done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Act {
            $(#[doc = $about] $act,)*
        }

        impl Act {
            /// Every act.
            pub const ALL: &[Self] = &[$(Self::$act,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$act => $name,)* }
            }

            /// Who may.
            pub fn right(self) -> Right {
                match self { $(Self::$act => Right::$kind $(($roles))?,)* }
            }

            fn need(self) -> Need {
                match self { $(Self::$act => Need::$need,)* }
            }

            /// What it is, for people.
            pub fn about(self) -> &'static str {
                match self { $(Self::$act => $about,)* }
            }
        }
    };
}

acts! {
    SignIn "sign-in" Anyone Read, "Show who one is, and open a session";
    SignOut "sign-out" Own Person, "End one's session";
    AllowProgram "allow-program" Own Person, "Let a program sign in as oneself, from the browser";
    ChangePassword "change-password" OwnOr(OPERATORS) People, "Set a password; others' who are users";
    ReadUsers "read-users" Only(READERS) Read, "List accounts";
    CreateUser "create-user" Only(OPERATORS) People, "Make an account of a user";
    DeleteUser "delete-user" Only(OPERATORS) People, "Delete an account of a user";
    SetRole "set-role" Only(ADMINS) People, "Give a role; and what else is done to accounts of those who have one";

    SetUpSecond "set-up-second-factor" Own Person, "Begin or end to require codes at one's own sign-in";
    ResetSecond "reset-second-factor" Only(OPERATORS) People, "Take away the second factor of a user who lost it";
    UnlockUser "unlock-user" Only(OPERATORS) People, "Let somebody sign in again who guessed too often";

    ReadGroups "read-groups" Only(READERS) Read, "List groups and their members";
    CreateGroup "create-group" Only(OPERATORS) People, "Make a group";
    DeleteGroup "delete-group" Only(OPERATORS) People, "Delete a group";
    AddMember "add-member" Only(OPERATORS) People, "Put a user into a group";
    RemoveMember "remove-member" Only(OPERATORS) People, "Take a user out of a group";

    ReadDesktops "read-desktops" OwnOr(READERS) Read, "List and watch desktops";
    LookInto "look-into" OwnOr(OPERATORS) Read, "Read what a desktop uses, runs and writes; noted for others' desktops";
    StartDesktop "start-desktop" OwnOr(OPERATORS) Use, "Have a desktop started";
    StopDesktop "stop-desktop" OwnOr(OPERATORS) Use, "Have a desktop ended";
    FreezeDesktop "freeze-desktop" Only(OPERATORS) Run, "Hold a desktop still";
    ThawDesktop "thaw-desktop" Only(OPERATORS) Run, "Let it go on";
    SetDesktopLimits "set-desktop-limits" Only(OPERATORS) Run, "Change the limits of a desktop that runs";
    DisconnectSession "disconnect-session" OwnOr(OPERATORS) Use, "End the connection of who looks at a desktop; the session goes on";
    LogOutSession "log-out-session" OwnOr(OPERATORS) Use, "Have the programs of a session end";
    KillSession "kill-session" OwnOr(OPERATORS) Use, "End a session without asking";
    SendMessage "send-message" Only(OPERATORS) Run, "Show a text to the users of desktops";
    OpenConnection "open-connection" Own Use, "Get a ticket to look at a desktop; noted when refused";
    Connect "connect" Own Use, "Look at a desktop: from here on";
    Disconnect "disconnect" Own Use, "Look at a desktop: until here, and why it ended";
    Exec "exec" OwnOr(OPERATORS) Use, "Run a command in a desktop";
    ExecAsRoot "exec-as-root" Only(OPERATORS) Run, "Run a command in a desktop as its root";

    ReadPools "read-pools" OwnOr(READERS) Read, "List pools that are open to oneself, or all";
    PutPool "put-pool" Only(OPERATORS) Run, "Make or change a pool";
    DeletePool "delete-pool" Only(OPERATORS) Run, "Delete a pool";
    StartRollout "start-rollout" Only(OPERATORS) Run, "Have the desktops of a pool restarted that are behind";
    PauseRollout "pause-rollout" Only(OPERATORS) Run, "Restart no further ones for now";
    ResumeRollout "resume-rollout" Only(OPERATORS) Run, "Go on with that";
    CancelRollout "cancel-rollout" Only(OPERATORS) Run, "Leave the others as they are";
    RollBackImage "roll-back-image" Only(OPERATORS) Run, "Set a pool to an earlier version, and restart what does not run it";
    ReadImages "read-images" Only(READERS) Read, "List images";

    ReadData "read-data" OwnOr(READERS) Read, "List kept data and its snapshots";
    SnapshotData "snapshot-data" OwnOr(OPERATORS) Use, "Make a snapshot of kept data";
    DeleteSnapshot "delete-snapshot" OwnOr(OPERATORS) Use, "Delete one";
    RollBackData "roll-back-data" OwnOr(OPERATORS) Use, "Make kept data what it was";
    TrimData "trim-data" OwnOr(OPERATORS) Use, "Give back unused blocks";
    CheckData "check-data" OwnOr(OPERATORS) Use, "Look through kept data for damage";
    GrowData "grow-data" Only(OPERATORS) Run, "Make kept data larger";
    CloneData "clone-data" Only(OPERATORS) Run, "Copy kept data";
    ExportData "export-data" OwnOr(OPERATORS) Use, "Take kept data out";
    ImportData "import-data" Only(OPERATORS) Run, "Bring kept data in";
    AdoptData "adopt-data" Only(OPERATORS) Run, "Note what a host keeps and nobody knows of";
    DeleteData "delete-data" OwnOr(OPERATORS) Use, "Delete kept data";

    ReadHosts "read-hosts" Only(READERS) Read, "List and watch hosts";
    PutHost "put-host" Only(OPERATORS) Run, "Make a host known, or change its address";
    DeleteHost "delete-host" Only(OPERATORS) Run, "Take a host out";
    ForgetHost "forget-host" Only(OPERATORS) Run, "Give up what is on a host that will not come back";
    DrainHost "drain-host" Only(OPERATORS) Run, "Have a host get rid of its desktops";
    UndrainHost "undrain-host" Only(OPERATORS) Run, "Let a host have desktops again";
    SetHostLabels "set-host-labels" Only(OPERATORS) Run, "Change the labels of a host";
    MakeEnrolToken "make-enrol-token" Only(OPERATORS) Run, "Make a token for a machine to become a host";
    EnrolHost "enrol-host" Anyone Read, "Become a host, with such a token";
    RevokeHost "revoke-host" Only(OPERATORS) Run, "Refuse a host's certificates from now on";

    ReadTokens "read-tokens" OwnOr(READERS) Read, "List tokens";
    CreateToken "create-token" Own Person, "Make a token for programs";
    RevokeToken "revoke-token" OwnOr(ADMINS) People, "End a token";

    Operate "operate" Only(OPERATORS) Run, "What has no act of its own: see where a desktop would be placed";
    ReadAudit "read-audit" Only(READERS) Read, "Read what was noted";
    AuditLost "audit-lost" Anyone Read, "Entries were lost; the broker notes it";
}

// === impl Act ===

impl Act {
    /// The scope a token needs for it, with one's own or with others'; none: no
    /// token will do, so that one that was stolen makes no others and locks
    /// nobody out.
    pub fn scope(self, own: bool) -> Option<Scope> {
        match (self.need(), own) {
            (Need::Read, _) => Some(Scope::Read),
            (Need::Use, true) => Some(Scope::Desktops),
            (Need::Use, false) | (Need::Run, _) => Some(Scope::Operate),
            (Need::People, true) if matches!(self.right(), OwnOr(_)) => None,
            (Need::People, _) => Some(Scope::Admin),
            (Need::Person, _) => None,
        }
    }

    /// The act of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|act| act.name() == name)
    }
}

// === impl Right ===

impl Right {
    /// Whether someone of this role may, with what is `own` or not.
    pub fn admits(self, role: Role, own: bool) -> bool {
        match self {
            Anyone => true,
            Own => own,
            OwnOr(roles) => own || roles.contains(&role),
            Only(roles) => roles.contains(&role),
        }
    }

    /// Whether everybody who is signed in may, with what is theirs.
    pub fn owned(self) -> bool {
        matches!(self, Own | OwnOr(_))
    }

    /// Who may with what is another's.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Anyone | Own => &[],
            OwnOr(roles) | Only(roles) => roles,
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_has_a_name_of_its_own() {
        for act in Act::ALL {
            assert_eq!(Act::of(act.name()), Some(*act));
        }
        assert_eq!(Act::of("put pool"), None);
    }

    #[test]
    fn owners_look_after_their_own_and_operators_after_all() {
        let may = |act: Act, role, own| act.right().admits(role, own);
        assert!(may(Act::TrimData, Role::User, true) && !may(Act::TrimData, Role::User, false));
        assert!(!may(Act::GrowData, Role::User, true) && may(Act::GrowData, Role::Operator, false));
        assert!(may(Act::TrimData, Role::Operator, false));
        assert!(!may(Act::OpenConnection, Role::Operator, false), "a screen is its user's");
    }

    #[test]
    fn auditors_look_and_change_nothing_and_admins_may_what_operators_may() {
        for act in Act::ALL {
            let may = |role| act.right().admits(role, false);
            let reads = act.name().starts_with("read-") || act.right() == Anyone;
            assert_eq!(may(Role::Auditor), reads, "{act}");
            assert!(may(Role::Admin) || !may(Role::Operator), "{act}");
        }
    }

    /// The table as people read it.
    fn documentation() -> String {
        let mut table =
            "| act | with one's own | with everybody's | scope | what it is |\n|---|---|---|---|---|\n"
                .to_owned();
        for act in Act::ALL {
            let own = match act.right() {
                Anyone => "anybody",
                Own | OwnOr(_) => "everybody",
                Only(_) => "",
            };
            let roles: Vec<String> = act.right().roles().iter().map(Role::to_string).collect();
            let mut scopes: Vec<String> = [true, false]
                .map(|own| act.scope(own).map_or("-".to_owned(), |s| s.to_string()))
                .to_vec();
            if matches!(act.right(), Only(_)) {
                scopes.remove(0);
            } else if matches!(act.right(), Own | Anyone) {
                scopes.pop();
            }
            scopes.dedup();
            let (roles, scopes) = (roles.join(", "), scopes.join(", "));
            table += &format!("| `{act}` | {own} | {roles} | {scopes} | {} |\n", act.about());
        }
        table
    }

    #[test]
    fn the_documentation_has_this_very_table() {
        let page = include_str!("../../../docs/people.md");
        let table = documentation();
        assert!(page.contains(&table), "docs/people.md is to have this table:\n{table}");
    }

    #[test]
    fn no_token_makes_another_or_locks_its_owner_out() {
        for act in [Act::CreateToken, Act::ChangePassword, Act::RevokeToken, Act::SignOut] {
            assert_eq!(act.scope(true), None, "{act}");
        }
        assert_eq!(Act::ChangePassword.scope(false), Some(Scope::Admin));
        assert_eq!(Act::StopDesktop.scope(true), Some(Scope::Desktops));
        assert_eq!(Act::StopDesktop.scope(false), Some(Scope::Operate));
        assert_eq!(Act::ReadHosts.scope(false), Some(Scope::Read));
    }

    #[test]
    fn nobody_has_a_right_by_accident() {
        for act in Act::ALL {
            match act.right() {
                // What anybody can do, signed in or not: this list is all of it.
                Anyone => assert!(matches!(act, Act::SignIn | Act::EnrolHost | Act::AuditLost)),
                right @ (Own | OwnOr(_) | Only(_)) => {
                    assert!(!right.admits(Role::User, false), "{act}");
                }
            }
        }
    }
}
