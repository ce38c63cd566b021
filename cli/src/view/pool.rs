//! Pools.

use rolltop_proto::v1::{Pool, home_policy::Kind};
use serde::Serialize;

use super::{desktop::LimitsView, or_empty, some};
use crate::output::{Column, Fields, Look, Table, Tone, View, gib_or_mib};

/// `{"pools": […]}`
#[derive(Debug, Serialize)]
pub(crate) struct PoolList {
    pools: Vec<PoolView>,
}

/// One pool. `users` empty: everyone who can sign in.
#[derive(Debug, Serialize)]
pub(crate) struct PoolView {
    name: String,
    title: Option<String>,
    description: Option<String>,
    image: String,
    persistent: bool,
    overlay_size_mib: i64,
    limits: Option<LimitsView>,
    runtime: Option<String>,
    users: Vec<String>,
    home: Option<HomeView>,
}

/// `{"volume_mib": …}` or `{"directory": …}`; null: homes are in the overlay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum HomeView {
    VolumeMib(i64),
    Directory(String),
}

impl From<Pool> for PoolView {
    fn from(pool: Pool) -> Self {
        Self {
            title: some(&pool.title),
            description: some(&pool.description),
            runtime: some(&pool.runtime),
            name: pool.name,
            image: pool.image,
            persistent: pool.persistent,
            overlay_size_mib: pool.overlay_size_mib,
            limits: pool.limits.map(LimitsView::from),
            users: pool.users,
            home: pool.home.and_then(|home| home.kind).map(|kind| match kind {
                Kind::VolumeMib(size_mib) => HomeView::VolumeMib(size_mib),
                Kind::Directory(path) => HomeView::Directory(path),
            }),
        }
    }
}

impl FromIterator<Pool> for PoolList {
    fn from_iter<I: IntoIterator<Item = Pool>>(pools: I) -> Self {
        Self { pools: pools.into_iter().map(PoolView::from).collect() }
    }
}

impl View for PoolList {
    fn text(&self, look: Look) -> String {
        let mut table = Table::new(
            [
                Column::Left("POOL"),
                Column::Left("TITLE"),
                Column::Left("IMAGE"),
                Column::Left("DATA"),
                Column::Right("DISK"),
                Column::Left("LIMITS"),
            ],
            "no pools",
        );
        for pool in &self.pools {
            let plain = |text| (Tone::Normal, text);
            table.row([
                plain(pool.name.clone()),
                plain(or_empty(pool.title.as_ref())),
                plain(pool.image.clone()),
                plain(pool.data().to_owned()),
                plain(gib_or_mib(pool.overlay_size_mib)),
                plain(pool.limits_sentence()),
            ]);
        }
        table.render(look.paint)
    }
}

impl View for PoolView {
    fn text(&self, look: Look) -> String {
        let users = match self.users.as_slice() {
            [] => "everyone who can sign in".to_owned(),
            users => users.join(", "),
        };
        let mut fields = Fields::default();
        fields
            .field("pool", &self.name)
            .field("title", or_empty(self.title.as_ref()))
            .field("description", or_empty(self.description.as_ref()))
            .field("image", &self.image)
            .field("data", self.data())
            .field("disk", gib_or_mib(self.overlay_size_mib))
            .field("homes", self.homes())
            .field("limits", self.limits_sentence())
            .field("runtime", or_empty(self.runtime.as_ref()))
            .field("users", users);
        fields.render(look.paint)
    }
}

impl PoolView {
    fn data(&self) -> &'static str {
        if self.persistent { "kept" } else { "volatile" }
    }

    fn homes(&self) -> String {
        match &self.home {
            None => "with the desktop".to_owned(),
            Some(HomeView::VolumeMib(size_mib)) => {
                format!("a volume of {} per user", gib_or_mib(*size_mib))
            }
            Some(HomeView::Directory(path)) => format!("directories in {path}"),
        }
    }

    fn limits_sentence(&self) -> String {
        self.limits.as_ref().map_or_else(|| "none".to_owned(), LimitsView::sentence)
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::Limits;
    use serde_json::json;

    use super::*;
    use crate::view::testing::look;

    fn sample() -> Pool {
        Pool {
            name: "demo".into(),
            title: "Demo".into(),
            image: "demo:stable".into(),
            overlay_size_mib: 1024,
            limits: Some(Limits { memory_mib: 512, cpu_millis: 0, pids: 200 }),
            ..Pool::default()
        }
    }

    #[test]
    fn json() {
        assert_eq!(
            serde_json::to_value(PoolView::from(sample())).unwrap(),
            json!({
                "name": "demo",
                "title": "Demo",
                "description": null,
                "image": "demo:stable",
                "persistent": false,
                "overlay_size_mib": 1024,
                "limits": {"memory_mib": 512, "cpu_millis": null, "pids": 200},
                "runtime": null,
                "users": [],
                "home": null,
            })
        );
    }

    #[test]
    fn text() {
        let list: PoolList = [sample()].into_iter().collect();
        assert_eq!(
            list.text(look()),
            "POOL  TITLE  IMAGE        DATA       DISK  LIMITS\n\
             demo  Demo   demo:stable  volatile  1 GiB  512 MiB memory, 200 processes\n"
        );
        let one = PoolView::from(sample()).text(look());
        assert!(one.contains("users        everyone who can sign in\n"), "{one}");
    }
}
