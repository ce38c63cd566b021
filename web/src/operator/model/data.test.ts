import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  DataResultSchema,
  DataSchema,
  VolumeCondition,
  VolumeTask,
  WorkProgressSchema,
} from "../../gen/rolltop/v1/storage_pb";
import { dataLook, resultWords, usedShare, workWords } from "./data";

test("how far work is", () => {
  const half = create(WorkProgressSchema, { task: VolumeTask.TRIM, doneBytes: 512n, totalBytes: 1024n, elapsed: { seconds: 2n } });
  assert.deepEqual(workWords(half), { text: "Trimming, 512 B of 1 KiB, for 2.0 s", share: 0.5 });
  assert.deepEqual(workWords(create(WorkProgressSchema, { task: VolumeTask.CHECK })), { text: "Checking", share: undefined });
});

test("what is being done comes before how it is, and a silent host is told", () => {
  const data = create(DataSchema, { volume: { condition: VolumeCondition.AT_REST, work: { task: VolumeTask.GROW } } });
  assert.equal(dataLook(data).label, "Growing");
  assert.equal(dataLook(create(DataSchema, { problem: "host-1 does not answer" })).label, "Out of reach");
  assert.equal(dataLook(create(DataSchema, { volume: { condition: VolumeCondition.DAMAGED } })).tone, "bad");
});

test("what came of work", () => {
  const result = create(DataResultSchema, { snapshot: { name: "s1" }, trimmedBytes: 2048n, check: { condition: VolumeCondition.SOUND } });
  assert.equal(resultWords(result, VolumeTask.SNAPSHOT), "The snapshot s1 is made.");
  assert.match(resultWords(result, VolumeTask.ROLL_BACK), /kept as s1/);
  assert.equal(resultWords(result, VolumeTask.TRIM), "2 KiB were given back to the host.");
  assert.equal(resultWords(result, VolumeTask.CHECK), "It is sound.");
});

test("how full it is", () => {
  assert.equal(usedShare({ usedBytes: 25n, sizeBytes: 100n }), 25);
  assert.equal(usedShare({ sizeBytes: 100n }), undefined);
  assert.equal(usedShare(undefined), undefined);
});
