import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Host, HostSchema, HostState } from "../../gen/rolltop/v1/broker_pb";
import { Loads, SAMPLES, SAMPLE_MS, loadOf } from "./load";

const host = (state = HostState.READY): Host =>
  create(HostSchema, {
    name: "h1",
    state,
    info: { memoryBytes: 200n, memoryAvailableBytes: 150n, desktops: 3n, maxDesktops: 4n },
  });

test("how full a host is", () => {
  assert.deepEqual(loadOf(host(), 7), { atMs: 7, memory: 25, desktops: 75 });
  assert.equal(loadOf(host(HostState.LOST), 7), undefined);
  assert.equal(loadOf(create(HostSchema), 7), undefined);
  const empty = create(HostSchema, { info: {} });
  assert.deepEqual(loadOf(empty, 7), { atMs: 7, memory: 0, desktops: 0 });
});

test("samples are apart, bounded, and go with their host", () => {
  const loads = new Loads();
  const hosts = new Map([["h1", host()]]);
  loads.note(hosts, 0);
  loads.note(hosts, SAMPLE_MS - 1);
  assert.equal(loads.of("h1").length, 1);
  for (let step = 1; step < SAMPLES + 5; step += 1) loads.note(hosts, step * SAMPLE_MS);
  assert.equal(loads.of("h1").length, SAMPLES);
  assert.equal(loads.of("h1").at(-1)?.atMs, (SAMPLES + 4) * SAMPLE_MS);
  loads.note(new Map(), SAMPLES * SAMPLE_MS * 2);
  assert.deepEqual(loads.of("h1"), []);
});
