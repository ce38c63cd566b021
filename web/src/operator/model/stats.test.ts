import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DesktopStatsSchema } from "../../gen/rolltop/v1/stats_pb";
import { LOG_KEPT, appended, processorShare } from "./stats";

const stats = (atS: bigint, cpuS: bigint) =>
  create(DesktopStatsSchema, { at: { seconds: atS, nanos: 0 }, cpuTime: { seconds: cpuS, nanos: 0 } });

test("a rate is the difference of two answers", () => {
  assert.equal(processorShare(stats(10n, 1n), stats(14n, 3n)), "50.0 % of one");
  assert.equal(processorShare(undefined, stats(14n, 3n)), "");
  assert.equal(processorShare(stats(14n, 3n), stats(14n, 3n)), "", "no time has passed");
  assert.equal(processorShare(create(DesktopStatsSchema), stats(14n, 3n)), "");
});

test("a log is bounded, and loses whole lines", () => {
  assert.equal(appended("a\n", "b"), "a\nb");
  const line = `${"x".repeat(99)}\n`;
  const long = appended(line.repeat(LOG_KEPT / 100), "last");
  assert.ok(long.length <= LOG_KEPT && long.endsWith("\nlast"));
  assert.equal(long.indexOf("\n"), 99);
});
