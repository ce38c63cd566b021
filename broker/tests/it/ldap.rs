//! People of a directory: a real slapd, in a directory of its own.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use rolltop_proto::v1::{self, Role};
use tonic::Status;

use crate::support::{House, PASSWORD, User, loop_until, reason_of};

const SLAPD: &str = "/usr/sbin/slapd";
const SLAPADD: &str = "/usr/sbin/slapadd";
const SEARCHER: &str = "the searcher's password";

/// A directory with ada, ben and eve; ada teaches, ben learns.
struct Slapd {
    dir: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Slapd {
    async fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let authority = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(at("cert.pem"), authority.cert.pem()).unwrap();
        fs::write(at("key.pem"), authority.signing_key.serialize_pem()).unwrap();
        fs::write(at("password"), format!("{SEARCHER}\n")).unwrap();
        fs::create_dir(at("db")).unwrap();
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             pidfile {pid}\nTLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\nsecurity tls=1\n\
             database mdb\nsuffix dc=school\nrootdn cn=root,dc=school\ndirectory {db}\nmaxsize 10485760\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=cn=searcher,dc=school read by * none\n",
            pid = at("slapd.pid"),
            cert = at("cert.pem"),
            key = at("key.pem"),
            db = at("db"),
        );
        fs::write(at("slapd.conf"), config).unwrap();
        let mut ldif = "dn: dc=school\nobjectClass: dcObject\nobjectClass: organization\no: School\ndc: school\n\n".to_owned();
        ldif += &format!(
            "dn: cn=searcher,dc=school\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: searcher\nuserPassword: {SEARCHER}\n\n"
        );
        for (name, full) in [("ada", "Ada Lovelace"), ("ben", "Ben"), ("eve", "Eve")] {
            ldif += &format!(
                "dn: uid={name},dc=school\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {full}\nsn: x\nuserPassword: {PASSWORD} of {name}\n\n"
            );
        }
        for (group, member) in [("All Teachers", "ada"), ("pupils", "ben")] {
            ldif += &format!(
                "dn: cn={group},dc=school\nobjectClass: groupOfNames\ncn: {group}\nmember: uid={member},dc=school\n\n"
            );
        }
        fs::write(at("data.ldif"), ldif).unwrap();
        let added = Command::new(SLAPADD)
            .args(["-f", &at("slapd.conf"), "-l", &at("data.ldif")])
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        // Free at this moment; should another take it first, slapd says so.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new(SLAPD)
            .args(["-d", "0", "-f", &at("slapd.conf"), "-h", &format!("ldap://127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let slapd = Self { dir, server, port };
        loop_until("slapd listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        slapd
    }

    fn config(&self) -> String {
        let at = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        format!(
            "[ldap]\nurl = \"ldap://localhost:{}\"\nca = {:?}\nbind_dn = \"cn=searcher,dc=school\"\n\
             bind_password_file = {:?}\nuser_base = \"dc=school\"\ngroup_base = \"dc=school\"\n\
             groups = [\"All Teachers=teachers\", \"pupils=pupils\", \"pupils=not-there\"]\n\
             roles = [\"All Teachers=auditor\"]\n[sign_in]\naddress_attempts = 1000\n",
            self.port,
            at("cert.pem"),
            at("password"),
        )
    }

    fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        // Stopped by the test already: nothing to end.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

async fn sign_in(house: &House, name: &str, password: &str) -> Result<User, Status> {
    let request =
        v1::SignInRequest { name: name.into(), password: password.into(), ..Default::default() };
    let token = house.client().await.sign_in(request).await?.into_inner().token;
    Ok(User { token, ..house.sign_in("olga").await })
}

async fn me(user: &mut User) -> v1::User {
    user.client.who_am_i(user.ask(v1::WhoAmIRequest {})).await.unwrap().into_inner()
}

#[tokio::test]
async fn people_of_a_directory_sign_in_with_its_passwords_groups_and_roles() {
    if !Path::new(SLAPD).exists() {
        println!("skipped: needs slapd");
        return;
    }
    let mut slapd = Slapd::new().await;
    let house = House::with(&slapd.config()).await;
    let mut olga = house.sign_in("olga").await;
    for name in ["teachers", "pupils"] {
        let group = v1::CreateGroupRequest { name: name.into(), ..Default::default() };
        olga.people.create_group(olga.ask(group)).await.unwrap();
    }
    let of = |name: &str| format!("{PASSWORD} of {name}");

    for (name, password) in [
        ("ada", "wrong".to_owned()),
        ("eve", String::new()),
        ("eve", of("ben")),
        ("nobody", of("nobody")),
        ("*", of("ada")),
        ("ada)(uid=*", of("ada")),
    ] {
        let refused = sign_in(&house, name, &password).await.err().unwrap();
        assert_eq!(reason_of(&refused), "WRONG_CREDENTIALS", "{name} {password:?}");
    }

    let mut ada = sign_in(&house, "ada", &of("ada")).await.unwrap();
    let account = me(&mut ada).await;
    assert_eq!((account.full_name.as_str(), account.role()), ("Ada Lovelace", Role::Auditor));
    assert_eq!(account.groups, ["teachers"]);
    let again = me(&mut sign_in(&house, "ada", &of("ada")).await.unwrap()).await;
    assert_eq!(again.uid, account.uid, "one account");

    // Ben is somebody else here: accounts of this cluster come first.
    sign_in(&house, "ben", &of("ben")).await.err().unwrap();
    sign_in(&house, "ben", PASSWORD).await.unwrap();
    let mut eve = sign_in(&house, "eve", &of("eve")).await.unwrap();
    assert_eq!((me(&mut eve).await.role(), me(&mut eve).await.groups), (Role::User, vec![]));

    // The password is the directory's.
    let change = v1::ChangePasswordRequest {
        current_password: of("eve"),
        new_password: "another password".into(),
        ..Default::default()
    };
    let refused = eve.client.change_password(eve.ask(change)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "DIRECTORY_PASSWORD");

    // Without the directory, accounts of this cluster still sign in, and nobody is locked.
    slapd.stop();
    for _ in 0..5 {
        let refused = sign_in(&house, "ada", &of("ada")).await.err().unwrap();
        assert_eq!(reason_of(&refused), "DIRECTORY_UNAVAILABLE");
    }
    house.sign_in("anna").await;
    me(&mut ada).await;
}

#[tokio::test]
async fn a_directory_with_another_certificate_is_told_no_password() {
    if !Path::new(SLAPD).exists() {
        println!("skipped: needs slapd");
        return;
    }
    let slapd = Slapd::new().await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let path = slapd.dir.path().join("other.pem");
    fs::write(&path, other.cert.pem()).unwrap();
    let config = slapd.config().replace("cert.pem", "other.pem");
    let house = House::with(&config).await;
    let refused = sign_in(&house, "ada", &format!("{PASSWORD} of ada")).await.err().unwrap();
    assert_eq!(reason_of(&refused), "DIRECTORY_UNAVAILABLE");
}
