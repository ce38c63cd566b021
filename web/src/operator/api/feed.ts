import { type Problem, problemOf } from "../../api/errors";
import { WATCH_BACKOFF, delayMs, wait } from "../../model/backoff";

/** Where rows come from. */
export interface Source<T> {
  /** All there are now. */
  readonly list: (signal: AbortSignal) => Promise<readonly T[]>;
  /** Each one that changes. */
  readonly watch: (signal: AbortSignal) => AsyncIterable<T>;
  readonly key: (row: T) => string;
  /** Whether a changed row is still one; what is not is taken away. */
  readonly stays: (row: T) => boolean;
  /** All are listed again after this long: a stream need not tell of what was removed. */
  readonly againMs: number;
}

/** Who wants the rows. */
export interface FeedListener<T> {
  rows(rows: ReadonlyMap<string, T>): void;
  interrupted(problem: Problem): void;
}

/** Waits before asking again after a fault, and before passing on a burst of changes. */
export interface Pace {
  readonly retry: (attempt: number, signal: AbortSignal) => Promise<void>;
  readonly burst: (tell: () => void) => void;
}

/** Changes in a burst are drawn at once: thousands of rows change when a class signs in. */
const BURST_MS = 200;

const PACE: Pace = {
  retry: (attempt, signal) => wait(delayMs(WATCH_BACKOFF, attempt, Math.random()), signal),
  burst: (tell) => void setTimeout(tell, BURST_MS),
};

/** Keeps a listener informed until the signal is aborted or the session is lost. */
export async function follow<T>(
  source: Source<T>,
  listener: FeedListener<T>,
  signal: AbortSignal,
  pace: Pace = PACE,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const rows = await source.list(signal);
      if (signal.aborted) return;
      attempt = 0;
      const known = new Map(rows.filter(source.stays).map((row) => [source.key(row), row]));
      listener.rows(new Map(known));
      if (await changes(source, known, listener, signal, pace)) continue;
    } catch (error) {
      if (signal.aborted) return;
      const problem = problemOf(error);
      listener.interrupted(problem);
      if (problem.kind === "signed-out") return;
    }
    await pace.retry(attempt, signal);
  }
}

/** Follows the stream; true when it is time to list again, false when it broke. */
async function changes<T>(
  source: Source<T>,
  known: Map<string, T>,
  listener: FeedListener<T>,
  signal: AbortSignal,
  pace: Pace,
): Promise<boolean> {
  const stop = new AbortController();
  let due = false;
  let waiting = false;
  let over = false;
  const leave = (): void => stop.abort();
  const timer = setTimeout(() => {
    due = true;
    leave();
  }, source.againMs);
  signal.addEventListener("abort", leave);
  const tell = (): void => {
    waiting = false;
    if (!over && !signal.aborted) listener.rows(new Map(known));
  };
  try {
    for await (const row of source.watch(stop.signal)) {
      if (signal.aborted) break;
      if (source.stays(row)) known.set(source.key(row), row);
      else known.delete(source.key(row));
      if (!waiting) {
        waiting = true;
        pace.burst(tell);
      }
    }
  } catch {
    // Streams break whenever something on the way grows tired of them; if the
    // server is away, listing again says so.
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", leave);
    if (waiting) tell();
    over = true;
  }
  return due;
}
