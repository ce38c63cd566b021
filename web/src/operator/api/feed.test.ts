import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Pace, type Source, follow } from "./feed";

interface Row {
  readonly id: string;
  readonly state: string;
}

/** What a listener heard; `lists` is what listing answers, call by call. */
async function hear(lists: readonly (readonly Row[] | Code)[], changes: readonly Row[], endless = false): Promise<string[]> {
  const heard: string[] = [];
  const answers = [...lists];
  const stop = new AbortController();
  const source: Source<Row> = {
    list: async () => {
      const answer = answers.shift();
      if (answer === undefined) {
        stop.abort();
        return [];
      }
      if (typeof answer === "number") throw new ConnectError("no", answer);
      return answer;
    },
    async *watch(signal) {
      yield* changes;
      if (endless) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
    key: ({ id }) => id,
    stays: ({ state }) => state !== "gone",
    againMs: endless ? 0 : 60_000,
  };
  const bursts: (() => void)[] = [];
  const pace: Pace = { retry: async (attempt) => void heard.push(`pause ${attempt}`), burst: (tell) => void bursts.push(tell) };
  await follow(
    source,
    {
      rows: (rows) => heard.push([...rows.values()].map(({ id, state }) => `${id}=${state}`).join(" ")),
      interrupted: ({ kind }) => heard.push(kind),
    },
    stop.signal,
    pace,
  );
  // A burst that is passed on late says nothing of a stream that is over.
  for (const tell of bursts) tell();
  return heard;
}

const one = [{ id: "a", state: "up" }, { id: "b", state: "up" }];

test("all rows, then a burst of changes at once, without what is gone", async () => {
  const changed = [{ id: "c", state: "new" }, { id: "a", state: "gone" }, { id: "c", state: "up" }];
  assert.deepEqual(await hear([one], changed), ["a=up b=up", "b=up c=up", "pause 0"]);
});

test("the next list is what there is: removed rows go", async () => {
  assert.deepEqual(await hear([one, [{ id: "b", state: "up" }]], []), ["a=up b=up", "pause 0", "b=up", "pause 0"]);
});

test("listed again when it is time, without a pause", async () => {
  assert.deepEqual(await hear([one, one], [], true), ["a=up b=up", "a=up b=up"]);
});

test("a server that is away is told, with growing pauses; a lost session ends it", async () => {
  assert.deepEqual(await hear([Code.Unavailable, Code.Unavailable, Code.Unauthenticated, one], []), [
    "unreachable", "pause 0", "unreachable", "pause 1", "signed-out",
  ]);
});
