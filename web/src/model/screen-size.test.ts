import assert from "node:assert/strict";
import { test } from "node:test";
import { firstScreenSize } from "./screen-size";

test("the first size follows the window within bounds", () => {
  const cases: [number, number, number, number][] = [
    [1280.6, 800.2, 1280, 800],
    [390, 844, 390, 844],
    [0, 0, 320, 240],
    [10_000, 9_999, 3840, 2160],
    [Number.NaN, Number.POSITIVE_INFINITY, 320, 240],
  ];
  for (const [width, height, wide, high] of cases) {
    assert.deepEqual(firstScreenSize({ width, height }), { width: wide, height: high });
  }
});
