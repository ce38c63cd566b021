import assert from "node:assert/strict";
import { test } from "node:test";
import { COMBINATIONS, MODIFIERS, press, releaseModifiers } from "./keys";

/** Stands in for a viewer and remembers which keys are down. */
function keyboard() {
  const down = new Set<number>();
  const log: string[] = [];
  return {
    down,
    log,
    sendKey(keysym: number, isDown?: boolean): void {
      if (isDown === true) down.add(keysym);
      else down.delete(keysym);
      log.push(`${isDown === true ? "+" : "-"}${keysym.toString(16)}`);
    },
  };
}

test("a combination is pressed in order, let go in reverse", () => {
  const keys = keyboard();
  press(keys, [1, 2, 3]);
  assert.deepEqual(keys.log, ["+1", "+2", "+3", "-3", "-2", "-1"]);
});

test("no combination leaves a key down", () => {
  for (const { label, keys } of COMBINATIONS) {
    const board = keyboard();
    press(board, keys);
    assert.equal(board.down.size, 0, label);
  }
});

test("every modifier is let go", () => {
  const board = keyboard();
  for (const { keysym } of MODIFIERS) board.sendKey(keysym, true);
  releaseModifiers(board);
  assert.equal(board.down.size, 0);
});
