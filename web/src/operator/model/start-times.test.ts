import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Desktop, DesktopSchema } from "../../gen/rolltop/v1/broker_pb";
import { KEPT_MS, Starts, percentile, startOf, steps } from "./start-times";

const started = (id: string, atS: number, elapsed: number[]): Desktop =>
  create(DesktopSchema, {
    id,
    startedAt: { seconds: BigInt(atS), nanos: 0 },
    phases: elapsed.map((ms) => ({ done: true, elapsed: { seconds: 0n, nanos: ms * 1_000_000 } })),
  });

test("a start took as long as its last phase", () => {
  assert.deepEqual(startOf(started("a/b", 5, [3, 90, 40])), { atMs: 5_000, tookMs: 90 });
  assert.equal(startOf(started("a/b", 5, [])), undefined);
  assert.equal(startOf(create(DesktopSchema)), undefined);
});

test("what is told twice is noted once, and forgotten after an hour", () => {
  const starts = new Starts();
  for (let times = 0; times < 3; times += 1) starts.note(started("a/b", 10, [7]));
  starts.note(started("a/c", 5, [9]));
  assert.deepEqual(starts.recent(10_000).map(({ tookMs }) => tookMs), [9, 7]);
  assert.deepEqual(starts.recent(6_000 + KEPT_MS).map(({ tookMs }) => tookMs), [7]);
});

test("percentiles are values that occurred", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile([7], 0.99), 7);
  assert.equal(percentile([], 0.5), 0);
});

test("steps without a start are left out", () => {
  const starts = [0, 10, 2_500].map((atMs) => ({ atMs, tookMs: atMs + 1 }));
  assert.deepEqual(steps(starts, 1_000), [
    { atMs: 0, p50: 1, p99: 11, count: 2 },
    { atMs: 2_000, p50: 2_501, p99: 2_501, count: 1 },
  ]);
});
