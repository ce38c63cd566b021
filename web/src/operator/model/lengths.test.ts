import assert from "node:assert/strict";
import { test } from "node:test";
import { lengthText, parseLength } from "./lengths";

test("lengths of time, there and back", () => {
  const cases: [string, number][] = [["90s", 90], ["30min", 1_800], ["8h", 28_800], ["2d", 172_800], ["", 0]];
  for (const [text, seconds] of cases) {
    assert.equal(parseLength(text), seconds);
    assert.equal(lengthText({ seconds: BigInt(seconds) }), text);
  }
  assert.equal(parseLength(" 5 min "), 300);
  assert.equal(lengthText(undefined), "");
});

test("what is no length of time", () => {
  for (const text of ["5", "h", "-1h", "1.5h", "1h30min", "5 weeks", "9999999999s"]) assert.equal(parseLength(text), undefined, text);
});
