import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ViewerState, keepShown } from "./keep-shown";

/** One try: refused a ticket, or shown (having worked or not) until a close code. */
type Try = { refused: Code } | { close: number; reason?: string; worked?: boolean };

/** Plays a script of tries; the signal is aborted when it has run out. */
async function play(script: readonly Try[]): Promise<{ states: string[]; pauses: number[] }> {
  const states: string[] = [];
  const pauses: number[] = [];
  const stop = new AbortController();
  const tries = [...script];
  let now: Try | undefined;
  await keepShown(
    {
      async ticket() {
        now = tries.shift();
        if (now === undefined) stop.abort();
        else if ("refused" in now) throw new ConnectError("no", now.refused);
        return "/gateway?ticket=1";
      },
      async show(_path, onConnected) {
        assert.ok(now !== undefined && "close" in now);
        if (now.worked === true) onConnected();
        return { code: now.close, reason: now.reason ?? "" };
      },
      async pause(attempt) {
        pauses.push(attempt);
      },
      onState: (state: ViewerState) => states.push(state.kind),
    },
    stop.signal,
  );
  return { states, pauses };
}

test("a refused ticket is replaced at once, a second time after a pause", async () => {
  const { states, pauses } = await play([{ close: 4000 }, { close: 4000 }, { close: 4001, worked: true }]);
  assert.deepEqual(states, ["connecting", "connecting", "interrupted", "connected", "taken-over"]);
  assert.deepEqual(pauses, [0]);
});

test("pauses grow while nothing works, and begin anew after a connection that did", async () => {
  const { states, pauses } = await play([
    { close: 1006, worked: true },
    { refused: Code.Unavailable },
    { close: 4003 },
    { close: 1006, worked: true },
    { close: 4002, reason: "LOGOUT" },
  ]);
  assert.deepEqual(pauses, [0, 1, 2, 0]);
  assert.deepEqual(states, [
    "connecting", "connected",
    "interrupted", "interrupted", "interrupted",
    "connected",
    "interrupted", "ended",
  ]);
});

test("no desktop to come back to, or no right to it, ends the tries", async () => {
  const cases: [Code, string][] = [
    [Code.NotFound, "ended"],
    [Code.FailedPrecondition, "ended"],
    [Code.Unauthenticated, "signed-out"],
  ];
  for (const [refused, last] of cases) {
    const { states, pauses } = await play([{ close: 1006, worked: true }, { refused }]);
    assert.equal(states.at(-1), last);
    assert.deepEqual(pauses, [0]);
  }
});

test("a page that was left says nothing more", async () => {
  assert.deepEqual(await play([]), { states: ["connecting"], pauses: [] });
});
