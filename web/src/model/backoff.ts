/** How long to wait between tries, in milliseconds. */
export interface BackoffPolicy {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** For a connection a person is waiting for. */
export const DISPLAY_BACKOFF: BackoffPolicy = { firstMs: 300, maxMs: 8_000 };

/** For the list of desktops, which may be a little late. */
export const WATCH_BACKOFF: BackoffPolicy = { firstMs: 1_000, maxMs: 30_000 };

/**
 * The delay before try number `attempt`, counted from 0. It doubles up to the
 * maximum; the upper half is random, so that the viewers of a restarted host
 * do not all come back in the same instant. `random` is in [0, 1).
 */
export function delayMs(policy: BackoffPolicy, attempt: number, random: number): number {
  const full = Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(attempt, 30));
  return Math.round(full / 2 + (full / 2) * random);
}

/** Waits, or returns early when the signal is aborted or the network comes back. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      globalThis.removeEventListener?.("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    globalThis.addEventListener?.("online", done);
    if (signal.aborted) done();
  });
}
