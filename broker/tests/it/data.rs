//! What is kept for users: looked at, worked on, streamed, deleted; and one
//! thing at a time, starts included.

use std::sync::Arc;

use rolltop_proto::v1::{self, data_work, export_chunk, home_policy, import_data_chunk};
use tokio::sync::Semaphore;
use tonic::{Code, Status, Streaming};

use crate::support::{Gate, House, User, loop_until, reason_of};

const DATA: &str = "demo-keep";

impl User {
    async fn data(&mut self, data: &str) -> Result<v1::Data, Status> {
        let request = self.ask(v1::GetDataRequest { data: data.into() });
        Ok(self.storage.get_data(request).await?.into_inner())
    }

    async fn snapshot(&mut self, data: &str, name: &str) -> Result<v1::DataResult, Status> {
        let request = v1::CreateDataSnapshotRequest {
            data: data.into(),
            name: name.into(),
            request_id: format!("make-{name}"),
            description: String::new(),
        };
        finish(self.storage.create_snapshot(self.ask(request)).await?.into_inner()).await
    }

    async fn roll_back(&mut self, data: &str, snapshot: &str) -> Result<v1::DataResult, Status> {
        let request = v1::RollBackDataRequest {
            data: data.into(),
            snapshot: snapshot.into(),
            request_id: String::new(),
        };
        finish(self.storage.roll_back_data(self.ask(request)).await?.into_inner()).await
    }

    async fn clone_to(&mut self, data: &str, to: &str) -> Result<v1::DataResult, Status> {
        let request = v1::CloneDataRequest {
            data: data.into(),
            to: to.into(),
            request_id: format!("{data} to {to}"),
            ..Default::default()
        };
        finish(self.storage.clone_data(self.ask(request)).await?.into_inner()).await
    }

    async fn import(
        &mut self,
        start: v1::ImportDataStart,
        whole: bool,
    ) -> Result<v1::Data, Status> {
        use import_data_chunk::Message;
        let mut messages = vec![Message::Start(start), Message::Data(b"imported".to_vec())];
        if whole {
            messages.push(Message::End(v1::ExportEnd::default()));
        }
        let chunks =
            messages.into_iter().map(|message| v1::ImportDataChunk { message: Some(message) });
        let request = self.ask(tokio_stream::iter(chunks));
        Ok(self.storage.import_data(request).await?.into_inner())
    }

    /// Keeps something in a persistent desktop, which is stopped then.
    async fn keep(&mut self, house: &House, content: &[u8]) -> String {
        self.start(DATA).await.unwrap();
        self.stop(DATA).await.unwrap();
        let requests = house.agent.script.requests.lock().unwrap();
        let overlay = requests.last().unwrap().overlay.clone().unwrap();
        assert!(house.agent.script.storage.write(&overlay.persistent_name, content));
        overlay.persistent_name
    }
}

async fn finish(mut steps: Streaming<v1::DataWork>) -> Result<v1::DataResult, Status> {
    let mut progressed = false;
    while let Some(step) = steps.message().await? {
        match step.message.unwrap() {
            data_work::Message::Progress(progress) => progressed = progress.total_bytes == 2,
            data_work::Message::Result(result) => {
                assert!(progressed, "no progress was told");
                return Ok(result);
            }
        }
    }
    panic!("work ended without a result");
}

fn hold(house: &House) -> Gate {
    let gate = Arc::new(Semaphore::new(0));
    *house.agent.script.storage.gate.lock().unwrap() = Some(Arc::clone(&gate));
    gate
}

fn asked(house: &House) -> usize {
    house.agent.script.storage.asked.lock().unwrap().len()
}

#[tokio::test]
async fn users_look_after_their_own_and_operators_after_all() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    let name = anna.keep(&house, b"thesis").await;

    let data = anna.data(DATA).await.unwrap();
    assert_eq!(
        (data.id.as_str(), data.user.as_str(), data.pool.as_str(), data.host.as_str()),
        ("demo-keep/anna", "anna", "demo-keep", "h1")
    );
    assert_eq!((data.kind(), data.desktop.as_str()), (v1::VolumeKind::Overlay, ""));
    assert_eq!(data.volume.unwrap().allocated_bytes, 6);
    let list = v1::ListDataRequest { all: false };
    let mine = anna.storage.list_data(anna.ask(list)).await.unwrap().into_inner().data;
    assert_eq!(mine.iter().map(|data| data.id.as_str()).collect::<Vec<_>>(), ["demo-keep/anna"]);
    assert_eq!(ben.storage.list_data(ben.ask(list)).await.unwrap().into_inner().data, []);
    let all = v1::ListDataRequest { all: true };
    assert_eq!(olga.storage.list_data(olga.ask(all)).await.unwrap().into_inner().data.len(), 1);
    let refused = ben.storage.list_data(ben.ask(all)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "OPERATORS_ONLY");

    anna.snapshot(DATA, "before").await.unwrap();
    assert!(house.agent.script.storage.write(&name, b"ruined"));
    assert_eq!(
        reason_of(&ben.roll_back("demo-keep/anna", "before").await.unwrap_err()),
        "NOT_YOURS"
    );
    anna.roll_back(DATA, "before").await.unwrap();
    assert_eq!(house.agent.script.storage.read(&name).unwrap(), b"thesis");

    let grow = v1::GrowDataRequest { data: "demo-keep/anna".into(), size_mib: 128 };
    let refused = anna.storage.grow_data(anna.ask(grow.clone())).await.unwrap_err();
    assert_eq!(reason_of(&refused), "OPERATORS_ONLY");
    let grown = olga.storage.grow_data(olga.ask(grow)).await.unwrap().into_inner();
    let grown = finish(grown).await.unwrap().data.unwrap();
    assert_eq!(grown.volume.unwrap().size_bytes, 128 << 20);
    assert_eq!(
        reason_of(&anna.clone_to(DATA, "demo-keep/ben").await.unwrap_err()),
        "OPERATORS_ONLY"
    );
    let start = v1::ImportDataStart { data: DATA.into(), ..Default::default() };
    assert_eq!(reason_of(&anna.import(start, true).await.unwrap_err()), "OPERATORS_ONLY");
    for data in ["", "a/b/c", "../x", "home:a/b", "demo keep"] {
        assert_eq!(reason_of(&anna.data(data).await.unwrap_err()), "BAD_FIELD", "{data:?}");
    }
}

#[tokio::test]
async fn what_a_desktop_uses_is_not_replaced_or_deleted() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    anna.keep(&house, b"x").await;
    anna.snapshot(DATA, "s").await.unwrap();
    anna.start(DATA).await.unwrap();
    assert_eq!(anna.data(DATA).await.unwrap().desktop, "demo-keep/anna");
    let before = asked(&house);
    for refused in [
        anna.roll_back(DATA, "s").await.unwrap_err(),
        olga.roll_back("demo-keep/anna", "s").await.unwrap_err(),
        anna.storage
            .delete_data(anna.ask(v1::DeleteDataRequest { data: DATA.into() }))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(
            (refused.code(), reason_of(&refused).as_str()),
            (Code::FailedPrecondition, "DATA_IN_USE")
        );
        assert!(refused.message().contains("desktop demo-keep/anna; stop that first"), "{refused}");
    }
    assert_eq!(asked(&house), before, "the host was not even asked");
    anna.snapshot(DATA, "while-running").await.unwrap();
    anna.stop(DATA).await.unwrap();
    anna.roll_back(DATA, "s").await.unwrap();
}

#[tokio::test]
async fn one_thing_at_a_time_and_no_start_meanwhile() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.keep(&house, b"x").await;
    anna.snapshot(DATA, "s").await.unwrap();
    let gate = hold(&house);
    let begun = asked(&house);
    let mut roller = anna.clone();
    let rolling = tokio::spawn(async move { roller.roll_back(DATA, "s").await });
    loop_until("it goes on", async || (asked(&house) > begun).then_some(())).await;

    let busy = anna.start(DATA).await.unwrap_err();
    assert_eq!((busy.code(), reason_of(&busy).as_str()), (Code::Aborted, "DATA_BUSY"));
    assert!(busy.message().contains("is being rolled back, as anna asked"), "{busy}");
    assert_eq!(reason_of(&anna.snapshot(DATA, "t").await.unwrap_err()), "DATA_BUSY");
    let export = v1::ExportDataRequest { data: DATA.into(), snapshot: String::new() };
    let mut chunks = anna.storage.export_data(anna.ask(export)).await.unwrap().into_inner();
    assert_eq!(reason_of(&chunks.message().await.unwrap_err()), "DATA_BUSY");

    gate.add_permits(1);
    rolling.await.unwrap().unwrap();
    anna.start(DATA).await.unwrap();
}

#[tokio::test]
async fn a_start_and_a_roll_back_at_the_same_instant_do_not_both_win() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.keep(&house, b"x").await;
    anna.snapshot(DATA, "s").await.unwrap();
    for round in 0..20 {
        let gate = hold(&house);
        let (mut starter, mut roller) = (anna.clone(), anna.clone());
        let starting = tokio::spawn(async move { starter.start(DATA).await });
        let rolling = tokio::spawn(async move { roller.roll_back(DATA, "s").await });
        let started = starting.await.unwrap();
        gate.add_permits(1);
        let rolled = rolling.await.unwrap();
        match (&started, &rolled) {
            (Ok(_), Err(refused)) => assert_eq!(reason_of(refused), "DATA_IN_USE", "{round}"),
            (Err(refused), Ok(_)) => assert_eq!(reason_of(refused), "DATA_BUSY", "{round}"),
            (Ok(_), Ok(_)) => panic!("round {round}: both were done"),
            (Err(_), Err(_)) => panic!("round {round}: neither was done: {started:?} {rolled:?}"),
        }
        if started.is_ok() {
            anna.stop(DATA).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_repeated_request_joins_the_first_and_a_caller_may_leave() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.keep(&house, b"x").await;
    let gate = hold(&house);
    let ask = |mut user: User| tokio::spawn(async move { user.snapshot(DATA, "s").await });
    let leaver = ask(anna.clone());
    let begun = asked(&house);
    loop_until("the first", async || (asked(&house) > begun).then_some(())).await;
    let joiner = ask(anna.clone());
    loop_until("the second", async || (asked(&house) > begun + 1).then_some(())).await;
    leaver.abort();
    gate.add_permits(2);
    assert_eq!(joiner.await.unwrap().unwrap().snapshot.unwrap().name, "s");
    // The mark of the first goes when it is done, caller or not.
    loop_until("it is free", async || anna.start(DATA).await.ok()).await;
}

#[tokio::test]
async fn a_clone_is_noted_before_it_is_made_and_made_once() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    anna.keep(&house, b"thesis").await;
    let disks = &house.agent.script.storage;

    *disks.refusal.lock().unwrap() = Some(Status::resource_exhausted("the disk is full"));
    let refused = olga.clone_to("demo-keep/anna", "demo-keep/ben").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "the disk is full"));
    assert_eq!(reason_of(&ben.data(DATA).await.unwrap_err()), "NO_DATA", "nothing stays noted");

    let gate = hold(&house);
    let begun = asked(&house);
    let mut cloner = olga.clone();
    let cloning =
        tokio::spawn(async move { cloner.clone_to("demo-keep/anna", "demo-keep/ben").await });
    loop_until("it goes on", async || (asked(&house) > begun).then_some(())).await;
    assert_eq!(reason_of(&ben.start(DATA).await.unwrap_err()), "DATA_BUSY");
    gate.add_permits(1);
    let made = cloning.await.unwrap().unwrap().data.unwrap();
    assert_eq!(made.id, "demo-keep/ben");
    assert_eq!(disks.read("demo-keep.ben.2001").unwrap(), b"thesis");

    // The same request again gets what there is; another is refused.
    *disks.gate.lock().unwrap() = None;
    let count = asked(&house);
    let request = v1::CloneDataRequest {
        data: "demo-keep/anna".into(),
        to: "demo-keep/ben".into(),
        request_id: "demo-keep/anna to demo-keep/ben".into(),
        ..Default::default()
    };
    let mut again = olga.storage.clone_data(olga.ask(request)).await.unwrap().into_inner();
    assert!(again.message().await.is_ok());
    assert_eq!(asked(&house), count);
    let other = olga.clone_to("demo-keep/anna", "demo-keep/olga").await;
    assert_eq!(other.unwrap().data.unwrap().id, "demo-keep/olga");
    let taken = olga.clone_to("demo-keep/ben", "demo-keep/anna").await.unwrap_err();
    assert_eq!((taken.code(), reason_of(&taken).as_str()), (Code::AlreadyExists, "DATA_EXISTS"));
    assert_eq!(
        reason_of(&olga.clone_to("demo-keep/ben", "home:anna").await.unwrap_err()),
        "DATA_KINDS"
    );
    ben.start(DATA).await.unwrap();
}

#[tokio::test]
async fn data_goes_out_and_comes_in_and_half_of_it_leaves_nothing() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    let name = anna.keep(&house, b"thesis").await;
    let disks = &house.agent.script.storage;
    let export = v1::ExportDataRequest { data: DATA.into(), snapshot: String::new() };

    let mut chunks = anna.storage.export_data(anna.ask(export.clone())).await.unwrap().into_inner();
    let (mut bytes, mut ended) = (Vec::new(), false);
    while let Some(chunk) = chunks.message().await.unwrap() {
        match chunk.message.unwrap() {
            export_chunk::Message::Head(head) => assert_eq!(head.allocated_bytes, 6),
            export_chunk::Message::Data(data) => bytes.extend(data),
            export_chunk::Message::End(end) => ended = end.bytes == 6,
        }
    }
    assert!(ended && bytes == b"thesis");

    // A reader who leaves ends the host's part, and frees the data.
    disks.write(&name, &[0; 1 << 16]);
    let mut chunks = anna.storage.export_data(anna.ask(export)).await.unwrap().into_inner();
    chunks.message().await.unwrap().unwrap();
    drop(chunks);
    loop_until("the host stops", async || (*disks.given_up.lock().unwrap() == 1).then_some(()))
        .await;
    loop_until("it is free", async || anna.snapshot(DATA, "s").await.ok()).await;

    let start = || v1::ImportDataStart { data: "demo-keep/ben".into(), ..Default::default() };
    let cut = olga.import(start(), false).await.unwrap_err();
    assert_eq!(reason_of(&cut), "BAD_STREAM");
    assert_eq!(reason_of(&ben.data(DATA).await.unwrap_err()), "NO_DATA");
    let nowhere = v1::ImportDataStart { host: "h2".into(), ..start() };
    assert_eq!(reason_of(&olga.import(nowhere, true).await.unwrap_err()), "UNKNOWN_HOST");
    let imported = olga.import(start(), true).await.unwrap();
    assert_eq!((imported.id.as_str(), imported.host.as_str()), ("demo-keep/ben", "h1"));
    assert_eq!(disks.read("demo-keep.ben.2001").unwrap(), b"imported");
    assert_eq!(reason_of(&olga.import(start(), true).await.unwrap_err()), "DATA_EXISTS");
    ben.start(DATA).await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_was_begun_is_gone_on_with() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.keep(&house, b"x").await;
    let disks = &house.agent.script.storage;
    let delete = |user: &User| user.ask(v1::DeleteDataRequest { data: DATA.into() });
    *disks.refusal.lock().unwrap() = Some(Status::internal("a fault"));
    assert_eq!(anna.storage.delete_data(delete(&anna)).await.unwrap_err().code(), Code::Internal);
    assert_eq!(reason_of(&anna.start(DATA).await.unwrap_err()), "DATA_DELETING");
    assert!(anna.data(DATA).await.unwrap().problem.contains("being deleted"));
    anna.storage.delete_data(delete(&anna)).await.unwrap();
    assert_eq!(disks.names(), Vec::<String>::new());
    anna.start(DATA).await.unwrap();
}

#[tokio::test]
async fn a_home_volume_is_shared_by_pools_and_has_one_writer() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    for name in ["one", "two"] {
        let home = v1::HomePolicy { kind: Some(home_policy::Kind::VolumeMib(64)) };
        let pool = v1::Pool {
            name: name.into(),
            image: "demo:stable".into(),
            overlay_size_mib: 64,
            home: Some(home),
            ..Default::default()
        };
        let request = olga.ask(v1::PutPoolRequest { pool: Some(pool.clone()) });
        let put = olga.client.put_pool(request).await.unwrap().into_inner();
        assert_eq!(put.home, pool.home);
    }
    anna.start("one").await.unwrap();
    let home = house.agent.script.requests.lock().unwrap().last().unwrap().home.clone();
    let spec = v1::HomeVolumeSpec { name: "anna.2000".into(), size_mib: 64 };
    assert_eq!(home.unwrap().kind, Some(v1::home_spec::Kind::Volume(spec)));
    let refused = anna.start("two").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::FailedPrecondition, "DATA_IN_USE")
    );
    assert!(refused.message().contains("home:anna is in use by desktop one/anna"), "{refused}");
    assert_eq!(anna.data("home:").await.unwrap().desktop, "one/anna");
    anna.stop("one").await.unwrap();
    anna.start("two").await.unwrap();
    anna.stop("two").await.unwrap();

    // At the same instant, one of them.
    for _ in 0..10 {
        let start = |pool: &'static str| {
            let mut user = anna.clone();
            tokio::spawn(async move { user.start(pool).await.map(|_| pool) })
        };
        let (one, two) = (start("one"), start("two"));
        let outcomes = [one.await.unwrap(), two.await.unwrap()];
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        anna.stop(won[0]).await.unwrap();
    }
    // It outlives volatile overlays, and goes when named.
    assert_eq!(house.agent.script.storage.names(), ["anna.2000"]);
    let delete = anna.ask(v1::DeleteDataRequest { data: "home:".into() });
    anna.storage.delete_data(delete).await.unwrap();
    assert_eq!(house.agent.script.storage.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_home_directory_is_asked_for_by_parent_and_name() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    let kind = home_policy::Kind::Directory("/srv/homes".into());
    let pool = v1::Pool {
        name: "nfs".into(),
        image: "demo:stable".into(),
        overlay_size_mib: 64,
        home: Some(v1::HomePolicy { kind: Some(kind) }),
        ..Default::default()
    };
    olga.client.put_pool(olga.ask(v1::PutPoolRequest { pool: Some(pool) })).await.unwrap();
    anna.start("nfs").await.unwrap();
    let home = house.agent.script.requests.lock().unwrap().last().unwrap().home.clone();
    let spec = v1::HomeDirectorySpec { parent: "/srv/homes".into(), name: "anna".into() };
    assert_eq!(home.unwrap().kind, Some(v1::home_spec::Kind::Directory(spec)));
    assert_eq!(reason_of(&anna.data("home:").await.unwrap_err()), "NO_DATA");
}
