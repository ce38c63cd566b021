import assert from "node:assert/strict";
import { test } from "node:test";
import { pathOf, place, ticks } from "./scale";

test("marks are round and reach as far as the values", () => {
  assert.deepEqual(ticks(100), [0, 50, 100]);
  assert.deepEqual(ticks(7), [0, 2, 4, 6, 8]);
  assert.deepEqual(ticks(0.3), [0, 0.1, 0.2, 0.3]);
  assert.deepEqual(ticks(0), [0, 1]);
  for (const max of [0.013, 1, 3.3, 99, 1234, 5e6]) {
    const marks = ticks(max);
    assert.ok((marks.at(-1) ?? 0) >= max * 0.999 && marks.length >= 2 && marks.length <= 5, `${max}: ${marks}`);
  }
});

const frame = { fromX: 0, toX: 10, maxY: 4, width: 100, height: 40 };

test("points are drawn in their place, at the edge if they lie outside", () => {
  assert.deepEqual(place(frame, { x: 5, y: 1 }), { x: 50, y: 30 });
  assert.deepEqual(place(frame, { x: -5, y: 99 }), { x: 0, y: 0 });
  assert.deepEqual(place({ ...frame, toX: 0 }, { x: 0, y: 0 }), { x: 0, y: 40 });
});

test("a path goes through all of them", () => {
  assert.equal(pathOf(frame, [{ x: 0, y: 0 }, { x: 10, y: 4 }]), "M0 40L100 0");
  assert.equal(pathOf(frame, []), "");
});
