import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Desktop, DesktopSchema } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { endNotice, poolTitle, runningFor, shown, stateLook, updated, unreadNotice } from "./desktops";

const desktop = (id: string, state: DesktopState): Desktop => create(DesktopSchema, { id, state });

test("a desktop that is gone is shown no more", () => {
  const before = shown([
    desktop("demo/ada", DesktopState.RUNNING),
    desktop("old/ada", DesktopState.GONE),
  ]);
  assert.deepEqual([...before.keys()], ["demo/ada"]);
  assert.equal(updated(before, desktop("demo/ada", DesktopState.GONE)).size, 0);
});

test("a change replaces the desktop and keeps its place", () => {
  const before = shown([
    desktop("a/ada", DesktopState.STARTING),
    desktop("b/ada", DesktopState.RUNNING),
  ]);
  const after = updated(before, desktop("a/ada", DesktopState.RUNNING));
  assert.deepEqual([...after.keys()], ["a/ada", "b/ada"]);
  assert.equal(after.get("a/ada")?.state, DesktopState.RUNNING);
  assert.equal(before.get("a/ada")?.state, DesktopState.STARTING);
});

test("only a running desktop looks good", () => {
  const states = Object.values(DesktopState).filter((s): s is DesktopState => typeof s === "number");
  const good = states.filter((state) => stateLook(state).tone === "good");
  assert.deepEqual(good, [DesktopState.RUNNING]);
});

test("an end that is foreseen is told with its reason", () => {
  const endsAt = { seconds: 1_000n, nanos: 0 };
  const leaving = create(DesktopSchema, { endsAt, endsBecause: "host1 is being drained" });
  assert.equal(
    endNotice(leaving, 1_000_000 - 90 * 60_000),
    "This desktop will be closed in 1 h 30 min. Host1 is being drained. Save your work.",
  );
  assert.match(endNotice(leaving, 1_000_000 - 59_000), /closed in less than a minute\./);
  // The clocks need not agree.
  assert.match(endNotice(leaving, 2_000_000), /closed in less than a minute\./);
  const silent = create(DesktopSchema, { endsAt });
  assert.equal(
    endNotice(silent, 1_000_000 - 120_000),
    "This desktop will be closed in 2 min. Save your work.",
  );
  assert.equal(endNotice(create(DesktopSchema), 0), "");
});

test("since when, and by what name", () => {
  const startedAt = { seconds: 1_000n, nanos: 0 };
  const running = create(DesktopSchema, { startedAt });
  assert.equal(runningFor(running, 1_000_000 + 120_000), "for 2 minutes");
  assert.equal(runningFor(create(DesktopSchema), 0), "");
  assert.equal(poolTitle({ name: "demo", title: "" }), "demo");
  assert.equal(poolTitle({ name: "demo", title: "Demo desktop" }), "Demo desktop");
});

test("a notice is shown until it is read or out of date", () => {
  const notice = { id: "7", text: "Maintenance at five.", expiresAt: { seconds: 100n, nanos: 0 } };
  const desktop = create(DesktopSchema, { notice });
  assert.equal(unreadNotice(desktop, "", 99_000), "Maintenance at five.");
  assert.equal(unreadNotice(desktop, "7", 99_000), "", "read");
  assert.equal(unreadNotice(desktop, "6", 100_000), "", "out of date");
  assert.equal(unreadNotice(create(DesktopSchema, {}), "", 0), "");
});
