import assert from "node:assert/strict";
import { test } from "node:test";
import { create, equals } from "@bufbuild/protobuf";
import { PoolSchema, Strategy } from "../../gen/rolltop/v1/broker_pb";
import { draftOf, poolOf } from "./pool-form";

const full = create(PoolSchema, {
  name: "class-7b",
  title: "Class 7b",
  description: "For the second floor",
  image: "demo:stable",
  persistent: true,
  overlaySizeMib: 2048n,
  limits: {
    memoryMib: 512n,
    cpuMillis: 1500n,
    pids: 300n,
    networkDownBits: 50_000_000n,
    networkUpBits: 10_000_000n,
    diskReadBytes: 20_000_000n,
    diskWriteBytes: 10_000_000n,
    diskOps: 500n,
  },
  runtime: "runc",
  users: ["ada", "grace"],
  groups: ["staff"],
  warm: 3,
  maxDesktops: 40,
  closed: "Back at noon.",
  timeLimits: { idle: { seconds: 1800n }, disconnected: { seconds: 28_800n }, total: { seconds: 172_800n }, warning: { seconds: 90n } },
  home: { kind: { case: "volumeMib", value: 1024n } },
  network: { egress: ["allow 10.0.0.0/8 tcp 443", "deny all"] },
  hosts: { strategy: Strategy.PACK, require: ["room=b12"], forbid: ["old"], prefer: ["gpu"], avoid: ["slow=1"] },
});

test("a pool goes through the form and comes out the same", () => {
  const { pool, faults } = poolOf(draftOf(full), full);
  assert.deepEqual(faults, {});
  assert.ok(equals(PoolSchema, pool, full));
  assert.ok(equals(PoolSchema, poolOf(draftOf(full)).pool, full), "as a new pool too");
});

test("what the page does not know of a pool stays", () => {
  const before = create(PoolSchema, { ...full });
  before.$unknown = [{ no: 900, wireType: 0, data: new Uint8Array([7]) }];
  assert.deepEqual(poolOf({ ...draftOf(before), title: "Other" }, before).pool.$unknown, before.$unknown);
  assert.equal(before.title, "Class 7b", "the pool it came from is not touched");
});

test("each kind of home", () => {
  const draft = draftOf(full);
  assert.equal(poolOf({ ...draft, home: "overlay" }, full).pool.home, undefined);
  const { pool, faults } = poolOf({ ...draft, home: "directory", homeDirectory: "/srv/homes" }, full);
  assert.deepEqual(pool.home?.kind, { case: "directory", value: "/srv/homes" });
  assert.deepEqual(faults, {});
});

test("faults are told by field", () => {
  const bad = poolOf({
    ...draftOf(),
    name: "Class 7b",
    image: "demo",
    diskMib: "",
    memoryMib: "lots",
    maxDesktops: "99999999999",
    idle: "soon",
    home: "directory",
    homeDirectory: "homes",
  }).faults;
  assert.deepEqual(Object.keys(bad).sort(), ["diskMib", "homeDirectory", "idle", "image", "maxDesktops", "memoryMib", "name"]);
  assert.match(bad.memoryMib ?? "", /“lots” is no whole number\./);
});

test("an empty limit is none", () => {
  const draft = { ...draftOf(full), memoryMib: "", cpuMillis: " ", pids: "" };
  const { pool, faults } = poolOf(draft, full);
  assert.deepEqual(faults, {});
  assert.deepEqual([pool.limits?.memoryMib, pool.limits?.cpuMillis, pool.limits?.pids], [0n, 0n, 0n]);
});
