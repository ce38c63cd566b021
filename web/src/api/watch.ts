import type { Desktop, Pool } from "../gen/rolltop/v1/broker_pb";
import { WATCH_BACKOFF, delayMs, wait } from "../model/backoff";
import type { BrokerClient } from "./client";
import { type Problem, problemOf } from "./errors";

/** Who wants to know what the caller has and may open. */
export interface Listener {
  /** These, and no others. */
  all(desktops: readonly Desktop[], pools: readonly Pool[]): void;
  /** This one is new or has changed. */
  changed(desktop: Desktop): void;
  /** The news has stopped; it will be asked for again unless signed out. */
  interrupted(problem: Problem): void;
}

/** How long to wait before asking again; a test does not wait at all. */
type Pause = (attempt: number, signal: AbortSignal) => Promise<void>;

const backoff: Pause = (attempt, signal) =>
  wait(delayMs(WATCH_BACKOFF, attempt, Math.random()), signal);

/** Keeps a listener informed until the signal is aborted or the session is lost. */
export async function watchDesktops(
  broker: BrokerClient,
  listener: Listener,
  signal: AbortSignal,
  pause: Pause = backoff,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const [{ desktops }, { pools }] = await Promise.all([
        broker.listDesktops({}, { signal }),
        broker.listPools({}, { signal }),
      ]);
      if (signal.aborted) return;
      attempt = 0;
      listener.all(desktops, pools);
      await follow(broker, listener, signal);
    } catch (error) {
      if (signal.aborted) return;
      const problem = problemOf(error);
      listener.interrupted(problem);
      if (problem.kind === "signed-out") return;
    }
    await pause(attempt, signal);
  }
}

/**
 * Passes on changes until the stream ends. A broken stream alone is no news for
 * a person: streams break whenever something on the way grows tired of them. If
 * the server is away, listing again will say so.
 */
async function follow(broker: BrokerClient, listener: Listener, signal: AbortSignal): Promise<void> {
  try {
    for await (const desktop of broker.watchDesktops({}, { signal })) {
      if (signal.aborted) return;
      listener.changed(desktop);
    }
  } catch {
    // See above.
  }
}
