import assert from "node:assert/strict";
import { test } from "node:test";
import { DISPLAY_BACKOFF, WATCH_BACKOFF, delayMs, wait } from "./backoff";

test("the delay doubles up to the maximum", () => {
  const policy = { firstMs: 100, maxMs: 1_000 };
  const delays = [0, 1, 2, 3, 4, 5, 1_000].map((attempt) => delayMs(policy, attempt, 0));
  assert.deepEqual(delays, [50, 100, 200, 400, 500, 500, 500]);
});

test("chance spreads the upper half and stays within the bounds", () => {
  for (const policy of [DISPLAY_BACKOFF, WATCH_BACKOFF]) {
    for (let attempt = 0; attempt < 40; attempt += 1) {
      const [low, high] = [delayMs(policy, attempt, 0), delayMs(policy, attempt, 0.999)];
      assert.ok(low < high, `no spread at attempt ${attempt}`);
      assert.ok(low >= policy.firstMs / 2 && high <= policy.maxMs);
    }
  }
});

test("an aborted wait ends at once", async () => {
  const stop = new AbortController();
  const waiting = wait(2 ** 30, stop.signal);
  stop.abort();
  await waiting;
  await wait(2 ** 30, stop.signal);
});
