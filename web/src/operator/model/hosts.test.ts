import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Host, HostSchema, HostState } from "../../gen/rolltop/v1/broker_pb";
import { counted, drainProgress, hostLook, labelChange, parseLabels, room } from "./hosts";

const host = (state: HostState, desktops = 0n): Host =>
  create(HostSchema, {
    state,
    info: { cpus: 4n, memoryBytes: 100n, memoryAvailableBytes: 40n, overlayFreeBytes: 9n, desktops, maxDesktops: 10n },
  });

test("only a ready host that counts looks good", () => {
  const states = Object.values(HostState).filter((state): state is HostState => typeof state === "number");
  assert.deepEqual(states.filter((state) => hostLook({ state, revoked: false }).tone === "good"), [HostState.READY]);
  assert.equal(hostLook({ state: HostState.READY, revoked: true }).label, "Revoked");
});

test("room is that of hosts that take desktops", () => {
  const all = [host(HostState.READY, 3n), host(HostState.READY, 12n), host(HostState.DRAINING), host(HostState.LOST)];
  assert.deepEqual(room(all), {
    ready: 2, memory: 80, memoryTotal: 200, cpus: 8, desktops: 7, desktopsTotal: 20, disk: 18,
  });
});

test("a drain tells how far it is", () => {
  const drain = (remaining: bigint, deadline?: bigint) =>
    create(HostSchema, { drain: { remaining, ...(deadline !== undefined && { deadline: { seconds: deadline, nanos: 0 } }) } });
  assert.equal(drainProgress(create(HostSchema), 0), "");
  assert.match(drainProgress(drain(0n), 0), /^Empty/);
  assert.match(drainProgress(drain(1n), 0), /1 desktop is still there; they may stay/);
  assert.match(drainProgress(drain(2n, 60n), 0), /2 desktops .* ended in 1 min\./);
  assert.match(drainProgress(drain(2n, 60n), 61_000), /being ended now/);
});

test("labels are read, and what is no label is named", () => {
  assert.deepEqual({ ...parseLabels("room=b12, gpu=\n tier=1.a").labels }, { room: "b12", gpu: "", tier: "1.a" });
  for (const bad of ["room", "=x", "a b=c", `${"k".repeat(64)}=v`, "a=b/c", "a=b=c"]) {
    assert.match(parseLabels(bad).fault, /is no label/, bad);
  }
  assert.deepEqual({ ...parseLabels("__proto__=x").labels }, Object.fromEntries([["__proto__", "x"]]));
});

test("only what differs is changed", () => {
  assert.deepEqual(labelChange({ a: "1", b: "2", c: "3" }, { a: "1", b: "9", d: "4" }), {
    set: { b: "9", d: "4" },
    remove: ["c"],
  });
});

test("counts keep the order of the first", () => {
  assert.deepEqual(counted(["b", "a", "b"]), [["b", 2], ["a", 1]]);
});
