import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import {
  Broker,
  type StartDesktopRequest,
  type StartDesktopResponseSchema,
} from "../gen/rolltop/v1/broker_pb";
import { DesktopState, FailureSchema, Phase } from "../gen/rolltop/v1/common_pb";
import { type Opened, openDesktop } from "./open";

// Browsers have it; Node 18 does not yet.
if (!("crypto" in globalThis)) Object.defineProperty(globalThis, "crypto", { value: webcrypto });

type Answer = MessageInitShape<typeof StartDesktopResponseSchema>;

/** What the broker makes of a request: it streams answers, and then perhaps an error. */
interface Reply {
  readonly answers?: readonly Answer[];
  readonly error?: ConnectError;
  readonly abort?: true;
}

/** Opens "demo" at a broker that streams these answers and then perhaps an error. */
function open(answers: readonly Answer[], error?: ConnectError) {
  return openWith([{ answers, ...(error && { error }) }]);
}

/** Opens "demo" at a broker with a reply for each request it is to get. */
async function openWith(replies: readonly Reply[]) {
  const requests: StartDesktopRequest[] = [];
  const page = new AbortController();
  const transport = createRouterTransport(({ service }) => {
    service(Broker, {
      async *startDesktop(request) {
        const reply = replies[requests.length];
        requests.push(request);
        assert.ok(reply, "a request too many");
        yield* reply.answers ?? [];
        if (reply.abort) page.abort();
        if (reply.error !== undefined) throw reply.error;
      },
    });
  });
  const phases: Phase[] = [];
  const opened: Opened = await openDesktop(
    createClient(Broker, transport),
    "demo",
    { width: 800, height: 600 },
    ({ phase }) => phases.push(phase),
    page.signal,
  );
  return { opened, phases, requests };
}

const progress = (phase: Phase): Answer => ({ message: { case: "progress", value: { phase } } });
const desktop = (state: DesktopState, reason?: string): Answer => ({
  message: { case: "desktop", value: { state, ...(reason && { failure: { reason } }) } },
});

test("progress, then the desktop", async () => {
  const { opened, phases, requests } = await open([
    progress(Phase.PLACEMENT),
    progress(Phase.DISK),
    desktop(DesktopState.RUNNING),
  ]);
  assert.equal(opened.kind, "desktop");
  assert.deepEqual(phases, [Phase.PLACEMENT, Phase.DISK]);
  const [request] = requests;
  assert.deepEqual([request?.pool, request?.width, request?.height], ["demo", 800, 600]);
  assert.match(request?.requestId ?? "", /^[0-9a-f-]{36}$/);
  assert.notEqual(request?.timeZone, "");
});

test("a failure is one however it comes: with the desktop or with an error", async () => {
  const error = new ConnectError("failed", Code.FailedPrecondition, undefined, [
    { desc: FailureSchema, value: { reason: "the display did not answer" } },
  ]);
  for (const { opened } of [
    await open([desktop(DesktopState.FAILED, "the display did not answer")]),
    await open([progress(Phase.DISPLAY)], error),
  ]) {
    assert.equal(opened.kind === "failed" && opened.failure.reason, "the display did not answer");
  }
});

test("an error, or a stream that just ends, is a problem in words", async () => {
  const refused = await open([], new ConnectError("no host has room", Code.ResourceExhausted));
  assert.equal(refused.opened.kind === "problem" && refused.opened.problem.message, "No host has room.");
  for (const answers of [[], [desktop(DesktopState.FAILED)]]) {
    assert.equal((await open(answers)).opened.kind, "problem");
  }
});

const lost = new ConnectError("Failed to fetch", Code.Unavailable);

test("a request that the network lost is sent once more, as the same request", async () => {
  const { opened, phases, requests } = await openWith([
    { answers: [progress(Phase.PLACEMENT)], error: lost },
    { answers: [progress(Phase.PLACEMENT), desktop(DesktopState.RUNNING)] },
  ]);
  assert.equal(opened.kind, "desktop");
  assert.deepEqual(phases, [Phase.PLACEMENT, Phase.PLACEMENT]);
  assert.deepEqual(requests[1], requests[0]);
});

test("a request is sent no third time, and not when nobody waits any more", async () => {
  const twice = await openWith([{ error: lost }, { error: lost }]);
  assert.equal(twice.opened.kind === "problem" && twice.opened.problem.kind, "unreachable");
  assert.equal(twice.requests.length, 2);
  const left = await openWith([{ abort: true, error: lost }]);
  assert.equal(left.opened.kind, "problem");
  assert.equal(left.requests.length, 1);
});

test("what the broker itself has answered is not asked again", async () => {
  const { requests } = await open([], new ConnectError("no host has room", Code.ResourceExhausted));
  assert.equal(requests.length, 1);
});
