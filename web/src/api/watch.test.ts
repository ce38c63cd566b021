import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { Broker } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { watchDesktops } from "./watch";

const DEMO = { id: "demo/ada", pool: "demo", state: DesktopState.RUNNING };

/** What a listener heard while `lists` said, call by call, what listing answers. */
async function hear(lists: readonly ("fine" | Code)[], streamBreaks = false): Promise<string[]> {
  const heard: string[] = [];
  const stop = new AbortController();
  const answers = [...lists];
  const transport = createRouterTransport(({ service }) => {
    service(Broker, {
      listDesktops() {
        const answer = answers.shift();
        if (answer !== undefined && answer !== "fine") throw new ConnectError("no", answer);
        return { desktops: [DEMO] };
      },
      listPools: () => ({ pools: [{ name: "demo" }] }),
      async *watchDesktops() {
        yield { ...DEMO, state: DesktopState.STOPPING };
        if (streamBreaks) throw new ConnectError("cut", Code.Unavailable);
      },
    });
  });
  await watchDesktops(
    createClient(Broker, transport),
    {
      all: (desktops, pools) => heard.push(`all ${desktops.length} ${pools.length}`),
      changed: (desktop) => heard.push(`changed ${DesktopState[desktop.state]}`),
      interrupted: (problem) => heard.push(problem.kind),
    },
    stop.signal,
    async (attempt) => {
      heard.push(`pause ${attempt}`);
      if (answers.length === 0) stop.abort();
    },
  );
  return heard;
}

test("everything first, then what changes, then again", async () => {
  const once = ["all 1 1", "changed STOPPING", "pause 0"];
  assert.deepEqual(await hear(["fine", "fine"]), [...once, ...once]);
});

test("a stream that breaks is nobody's trouble", async () => {
  assert.deepEqual(await hear(["fine"], true), ["all 1 1", "changed STOPPING", "pause 0"]);
});

test("a server that is away is told, and the pauses grow until it is back", async () => {
  assert.deepEqual(await hear([Code.Unavailable, Code.Unavailable, "fine"]), [
    "unreachable", "pause 0", "unreachable", "pause 1", "all 1 1", "changed STOPPING", "pause 0",
  ]);
});

test("a lost session ends it", async () => {
  assert.deepEqual(await hear([Code.Unauthenticated, "fine"]), ["signed-out"]);
});
