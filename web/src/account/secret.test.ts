import assert from "node:assert/strict";
import { test } from "node:test";
import { squares } from "./qr-path";
import { daysOf, grouped } from "./secret";

test("a secret in groups", () => {
  assert.equal(grouped("ABCDEFGHIJ"), "ABCD EFGH IJ");
  assert.equal(grouped(""), "");
});

test("days of a token", () => {
  assert.equal(daysOf(" 30 "), 30);
  assert.equal(daysOf("366"), 366);
  for (const bad of ["", "0", "367", "-1", "1.5", "a week"]) assert.equal(daysOf(bad), undefined, bad);
});

test("a QR code has three finders, and a path over every dark square", () => {
  const { size, dark, path } = squares("otpauth://totp/Rolltop:ada?secret=JBSWY3DPEHPK3PXP&issuer=Rolltop");
  const finder = [0, 1, 2, 3, 4, 5, 6].map((x) => ((x === 0 || x === 6) ? "#######" : x === 1 || x === 5 ? "#.....#" : "#.###.#"));
  const quiet = 4;
  for (const [left, top] of [[quiet, quiet], [size - quiet - 7, quiet], [quiet, size - quiet - 7]] as const) {
    const seen = finder.map((_, y) => [...Array(7).keys()].map((x) => (dark(left + x, top + y) ? "#" : ".")).join(""));
    assert.deepEqual(seen, finder);
  }
  let count = 0;
  for (let y = 0; y < size; y += 1) for (let x = 0; x < size; x += 1) if (dark(x, y)) count += 1;
  const widths = [...path.matchAll(/h([0-9]+)v1h-\1z/g)].map(([, width]) => Number(width));
  assert.equal(widths.reduce((sum, width) => sum + width, 0), count);
});
