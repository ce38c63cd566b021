import assert from "node:assert/strict";
import { test } from "node:test";
import { Keysym, keysymOf, typedBetween } from "./typing";

test("the difference of two states of the box", () => {
  const cases: [string, string, number, string][] = [
    ["", "", 0, ""],
    ["", "a", 0, "a"],
    ["hell", "hello", 0, "o"],
    ["hello", "hell", 1, ""],
    ["teh", "the", 2, "he"],
    ["abc", "", 3, ""],
    ["😀", "😁", 1, "😁"],
    ["a😀", "a", 1, ""],
  ];
  for (const [before, after, backspaces, text] of cases) {
    assert.deepEqual(typedBetween(before, after), { backspaces, text }, `${before} to ${after}`);
  }
});

test("replaying the difference gives the new state", () => {
  const samples = ["", "a", "ab", "ba", "grüße", "日本", "日本語", "😀b", "a\nb"];
  for (const before of samples) {
    for (const after of samples) {
      const { backspaces, text } = typedBetween(before, after);
      const kept = Array.from(before);
      kept.length -= backspaces;
      assert.equal(kept.join("") + text, after);
    }
  }
});

test("characters become keysyms", () => {
  assert.equal(keysymOf("a"), 0x61);
  assert.equal(keysymOf("ü"), 0xfc);
  assert.equal(keysymOf("€"), 0x010020ac);
  assert.equal(keysymOf("😀"), 0x0101f600);
  assert.equal(keysymOf("\n"), Keysym.RETURN);
  assert.equal(keysymOf("\t"), Keysym.TAB);
});
