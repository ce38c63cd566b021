import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { DesktopState } from "../../gen/rolltop/v1/common_pb";
import { RolloutSchema, RolloutState } from "../../gen/rolltop/v1/rollouts_pb";
import { USUAL_SETTINGS, countedByPool, rolloutLook, rolloutShare, rolloutWords, settingsOf } from "./rollouts";

test("how far a roll-out is", () => {
  const rollout = create(RolloutSchema, {
    state: RolloutState.RUNNING,
    total: 10,
    restarted: 4,
    ended: 1,
    behind: 4,
    connected: 3,
    restarting: [{ desktop: "demo/ada" }],
    deadline: timestampFromMs(600_000),
  });
  assert.equal(rolloutShare(rollout), 0.5);
  assert.equal(
    rolloutWords(rollout, 0),
    "4 of 10 restarted, 1 ended, 1 being restarted, 4 behind, 3 with somebody connected, who is connected has 10 min",
  );
  assert.match(rolloutWords(rollout, 700_000), /is restarted too$/);
  assert.equal(rolloutShare(create(RolloutSchema)), 1);
});

test("every state has a look of its own", () => {
  const states = Object.values(RolloutState).filter((one): one is RolloutState => typeof one === "number");
  assert.equal(new Set(states.map((state) => rolloutLook(state).label)).size, states.length);
});

test("the form's words are settings, and faults are told", () => {
  assert.deepEqual(settingsOf(USUAL_SETTINGS), { settings: { batch: { case: "percent", value: 10 }, maxFailures: 1 } });
  assert.deepEqual(settingsOf({ deadline: "2h", batch: "5", failures: "3", warning: "10min" }), {
    settings: {
      batch: { case: "desktops", value: 5 },
      maxFailures: 3,
      deadline: { seconds: 7_200n },
      warning: { seconds: 600n },
    },
  });
  assert.deepEqual(settingsOf({ ...USUAL_SETTINGS, deadline: "0s", warning: "0min" }), {
    settings: { batch: { case: "percent", value: 10 }, maxFailures: 1, deadline: { seconds: 0n }, warning: { seconds: 0n } },
  });
  for (const bad of [{ deadline: "soon" }, { batch: "0" }, { batch: "101%" }, { batch: "all" }, { failures: "" }, { failures: "0" }]) {
    assert.ok("fault" in settingsOf({ ...USUAL_SETTINGS, ...bad }), JSON.stringify(bad));
  }
});

test("desktops are counted by their pools", () => {
  const desktops = [
    { pool: "lab", state: DesktopState.RUNNING, behind: true },
    { pool: "lab", state: DesktopState.STARTING, behind: false },
    { pool: "office", state: DesktopState.FROZEN, behind: false },
  ];
  assert.deepEqual(countedByPool(desktops).get("lab"), { all: 2, running: 1, behind: 1 });
  assert.deepEqual(countedByPool(desktops).get("office"), { all: 1, running: 1, behind: 0 });
});
