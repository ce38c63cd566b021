import assert from "node:assert/strict";
import { test } from "node:test";
import { afterClose, endMessage } from "./close";

test("a refused ticket is replaced once, then there is a pause", () => {
  assert.equal(afterClose(4000, "", false).kind, "fresh-ticket");
  assert.equal(afterClose(4000, "", true).kind, "reconnect");
});

test("taken over, sent away and ended are final", () => {
  assert.deepEqual(afterClose(4001, "", false), { kind: "taken-over" });
  assert.deepEqual(afterClose(4005, "the room is being locked", false), {
    kind: "sent-away",
    message: "The room is being locked.",
  });
  assert.deepEqual(afterClose(4002, "LOGOUT", false), { kind: "ended", message: "You logged out." });
});

test("whatever else happens, the session is thought to live", () => {
  for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 1015, 4003, 4999]) {
    const after = afterClose(code, "", false);
    assert.equal(after.kind, "reconnect", String(code));
    assert.match(after.kind === "reconnect" ? after.message : "", /programs keep running/);
  }
});

test("why a session ended", () => {
  const cases: [string, string][] = [
    ["", "You logged out."],
    ["LOGOUT", "You logged out."],
    ["OUT_OF_MEMORY", "This desktop ran out of memory."],
    ["SESSION_FAILED", "The session broke."],
    [
      "the desktop ran out of memory: its limit is 200 MiB",
      "The desktop ran out of memory: its limit is 200 MiB.",
    ],
    ["IDLE_LIMIT", "This desktop was closed, because nobody had used it for long."],
    ["IMAGE_UPDATE", "This desktop was closed for another version of it."],
    ["SOME_NEW_WORD", "The session ended (some new word)."],
    ["stopped by an operator", "Stopped by an operator."],
  ];
  for (const [reason, message] of cases) assert.equal(endMessage(reason), message);
});
