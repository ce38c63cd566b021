import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Desktop } from "../../gen/rolltop/v1/broker_pb";

/** A start that went well. */
export interface Start {
  /** When the desktop was there, ms since 1970. */
  readonly atMs: number;
  readonly tookMs: number;
}

/** Starts are noted for this long, and never more than this many. */
export const KEPT_MS = 3_600_000;
const MOST = 20_000;

/** How long a desktop took until its last phase was done; undefined if it is not up. */
export function startOf(desktop: Desktop): Start | undefined {
  if (desktop.startedAt === undefined) return undefined;
  const ends = desktop.phases.filter(({ done }) => done).flatMap(({ elapsed }) => (elapsed ? [durationMs(elapsed)] : []));
  if (ends.length === 0) return undefined;
  return { atMs: timestampMs(desktop.startedAt), tookMs: Math.max(...ends) };
}

/** The starts of the last hour, by desktop and moment: told twice, noted once. */
export class Starts {
  readonly #noted = new Map<string, Start>();

  note(desktop: Desktop): void {
    const start = startOf(desktop);
    if (start === undefined) return;
    this.#noted.set(`${desktop.id} ${desktop.epoch} ${start.atMs}`, start);
    if (this.#noted.size <= MOST) return;
    for (const [oldest] of this.#noted) {
      this.#noted.delete(oldest);
      break;
    }
  }

  /** Those of the last hour, in the order of time. */
  recent(nowMs: number): readonly Start[] {
    for (const [key, { atMs }] of this.#noted) if (atMs < nowMs - KEPT_MS) this.#noted.delete(key);
    return [...this.#noted.values()].sort((one, other) => one.atMs - other.atMs);
  }
}

/** The smallest value that at least `share` (0 to 1) of all values do not exceed; 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

/** One step of the plot. */
export interface Step {
  readonly atMs: number;
  readonly p50: number;
  readonly p99: number;
  readonly count: number;
}

/** Percentiles per `stepMs`; steps without a start are left out. */
export function steps(starts: readonly Start[], stepMs: number): Step[] {
  const byStep = new Map<number, number[]>();
  for (const { atMs, tookMs } of starts) {
    const step = Math.floor(atMs / stepMs) * stepMs;
    byStep.set(step, [...(byStep.get(step) ?? []), tookMs]);
  }
  return [...byStep].map(([atMs, took]) => ({
    atMs,
    p50: percentile(took, 0.5),
    p99: percentile(took, 0.99),
    count: took.length,
  }));
}
