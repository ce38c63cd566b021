import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Phase, type Progress, ProgressSchema } from "../gen/rolltop/v1/common_pb";
import { PHASES, type Steps, advance, fail, share } from "./phases";

function progress(phase: Phase, done: boolean, ms: number): Progress {
  const elapsed = create(DurationSchema, {
    seconds: BigInt(Math.floor(ms / 1000)),
    nanos: (ms % 1000) * 1_000_000,
  });
  return create(ProgressSchema, { phase, done, elapsed });
}

const NOTHING: Steps = new Map();

test("phases side by side each count from their own beginning", () => {
  let steps = NOTHING;
  for (const message of [
    progress(Phase.DISK, false, 2),
    progress(Phase.NETWORK, false, 3),
    progress(Phase.DISK, true, 12),
    progress(Phase.NETWORK, true, 1_033),
  ]) {
    steps = advance(steps, message);
  }
  assert.deepEqual(steps.get(Phase.DISK), { state: "done", ms: 10 });
  assert.deepEqual(steps.get(Phase.NETWORK), { state: "done", ms: 1_030 });
  assert.equal(share(steps), 2 / 6);
});

test("an end without a beginning, or clocks that run back, give no negative time", () => {
  assert.equal(advance(NOTHING, progress(Phase.DISPLAY, true, 40)).get(Phase.DISPLAY)?.ms, 40);
  const running = advance(NOTHING, progress(Phase.DISPLAY, false, 50));
  assert.equal(advance(running, progress(Phase.DISPLAY, true, 40)).get(Phase.DISPLAY)?.ms, 0);
});

test("a failure marks its phase and stops the others", () => {
  let steps = advance(NOTHING, progress(Phase.DISK, true, 5));
  steps = advance(steps, progress(Phase.NETWORK, false, 1));
  const failed = fail(steps, Phase.SESSION);
  assert.equal(failed.get(Phase.DISK)?.state, "done");
  assert.equal(failed.get(Phase.NETWORK)?.state, "waiting");
  assert.equal(failed.get(Phase.SESSION)?.state, "failed");
});

test("a failure of no known phase marks what was under way", () => {
  const steps = advance(NOTHING, progress(Phase.CONTAINER, false, 1));
  assert.equal(fail(steps, Phase.UNSPECIFIED).get(Phase.CONTAINER)?.state, "failed");
});

test("every phase of the contract is shown, once, in its order", () => {
  const known = Object.values(Phase).filter((value): value is Phase => typeof value === "number");
  assert.deepEqual(
    PHASES.map(({ phase }) => phase),
    known.filter((phase) => phase !== Phase.UNSPECIFIED),
  );
});
