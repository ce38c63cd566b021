import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAge, formatBytes, formatMs, formatSeconds, sentence } from "./format";

test("milliseconds", () => {
  const cases: [number, string][] = [
    [-5, "0 ms"],
    [0.4, "0 ms"],
    [7, "7 ms"],
    [999.4, "999 ms"],
    [999.5, "1.0 s"],
    [1234, "1.2 s"],
    [59_940, "59.9 s"],
    [59_960, "1 min"],
    [65_000, "1 min 5 s"],
  ];
  for (const [ms, text] of cases) assert.equal(formatMs(ms), text);
});

test("seconds show the two largest units", () => {
  const cases: [number, string][] = [
    [0, "0 s"],
    [0.2, "1 s"],
    [59, "59 s"],
    [60, "1 min"],
    [125, "2 min 5 s"],
    [3_600, "1 h"],
    [3_601, "1 h"],
    [7_380, "2 h 3 min"],
    [273_600, "3 d 4 h"],
  ];
  for (const [seconds, text] of cases) assert.equal(formatSeconds(seconds), text);
});

test("bytes", () => {
  const cases: [bigint | number, string][] = [
    [0, "0 B"],
    [-1n, "0 B"],
    [1023, "1023 B"],
    [1024n, "1 KiB"],
    [1536, "1.5 KiB"],
    [1024 * 1024 - 1, "1 MiB"],
    [200n * 1024n * 1024n, "200 MiB"],
    [5n * 1024n ** 5n, "5120 TiB"],
  ];
  for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text);
});

test("ages", () => {
  const minute = 60_000;
  const cases: [number, string][] = [
    [-minute, "just now"],
    [minute - 1, "just now"],
    [minute, "for 1 minute"],
    [59 * minute, "for 59 minutes"],
    [60 * minute, "for 1 hour"],
    [47 * 60 * minute, "for 47 hours"],
    [48 * 60 * minute, "for 2 days"],
  ];
  for (const [age, text] of cases) assert.equal(formatAge(1_000, 1_000 + age), text);
});

test("messages become sentences", () => {
  assert.equal(sentence("no host has room"), "No host has room.");
  assert.equal(sentence("  Really? "), "Really?");
  assert.equal(sentence(""), "");
});
