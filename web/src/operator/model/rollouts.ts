import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Desktop } from "../../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../../gen/rolltop/v1/common_pb";
import { type Rollout, RolloutState, type RolloutSettingsSchema } from "../../gen/rolltop/v1/rollouts_pb";
import type { StateLook } from "../../model/desktops";
import { formatSeconds } from "../../model/format";
import { parseLength } from "./lengths";

export function rolloutLook(state: RolloutState): StateLook {
  switch (state) {
    case RolloutState.RUNNING:
      return { label: "Rolling out", tone: "busy" };
    case RolloutState.PAUSED:
      return { label: "Paused", tone: "still" };
    case RolloutState.HALTED:
      return { label: "Halted", tone: "bad" };
    case RolloutState.DONE:
      return { label: "Done", tone: "good" };
    case RolloutState.CANCELLED:
      return { label: "Cancelled", tone: "still" };
    default:
      return { label: "Unknown", tone: "bad" };
  }
}

/** Whether it goes on, or can be made to. */
export function isUnderWay({ state }: Pick<Rollout, "state">): boolean {
  return state === RolloutState.RUNNING || state === RolloutState.PAUSED || state === RolloutState.HALTED;
}

/** How far it is, of all desktops that were behind; 1 where there was none. */
export function rolloutShare({ total, behind, restarting }: Pick<Rollout, "total" | "behind" | "restarting">): number {
  if (total === 0) return 1;
  return Math.min(1, Math.max(0, (total - behind - restarting.length) / total));
}

/** The same in words. */
export function rolloutWords(rollout: Rollout, nowMs: number): string {
  const { total, restarted, ended, failed, behind, connected, unreachable, unplaceable, restarting } = rollout;
  const parts = [
    `${restarted} of ${total} restarted`,
    ended > 0 && `${ended} ended`,
    restarting.length > 0 && `${restarting.length} being restarted`,
    failed > 0 && `${failed} failed`,
    behind > 0 && `${behind} behind`,
    connected > 0 && `${connected} with somebody connected`,
    unreachable > 0 && `${unreachable} on hosts that do not answer`,
    unplaceable > 0 && `${unplaceable} without a host that has the version`,
    rollout.deadline !== undefined && isUnderWay(rollout) && untilWords(timestampMs(rollout.deadline) - nowMs),
  ];
  return parts.filter((part) => part !== false).join(", ");
}

function untilWords(ms: number): string {
  return ms <= 0 ? "who is connected is restarted too" : `who is connected has ${formatSeconds(ms / 1000)}`;
}

/** Desktops of a pool. */
export interface PoolCount {
  readonly all: number;
  /** Those that run. */
  readonly running: number;
  /** Those whose next start takes another version. */
  readonly behind: number;
}

export const NO_DESKTOPS: PoolCount = { all: 0, running: 0, behind: 0 };

/** Counts desktops by their pools. */
export function countedByPool(desktops: Iterable<Pick<Desktop, "pool" | "state" | "behind">>): ReadonlyMap<string, PoolCount> {
  const counts = new Map<string, PoolCount>();
  for (const { pool, state, behind } of desktops) {
    const { all, running, behind: late } = counts.get(pool) ?? NO_DESKTOPS;
    const runs = state === DesktopState.RUNNING || state === DesktopState.FROZEN;
    counts.set(pool, { all: all + 1, running: running + Number(runs), behind: late + Number(behind) });
  }
  return counts;
}

/** How a roll-out is to go, as text in a form. */
export interface SettingsDraft {
  readonly deadline: string;
  /** "10%" or "5". */
  readonly batch: string;
  readonly failures: string;
  readonly warning: string;
}

export const USUAL_SETTINGS: SettingsDraft = { deadline: "", batch: "10%", failures: "1", warning: "" };

export type RolloutSettingsInit = MessageInitShape<typeof RolloutSettingsSchema>;

/** The settings a form describes, or what is wrong with it. The server checks them again. */
export function settingsOf(draft: SettingsDraft): { readonly settings: RolloutSettingsInit } | { readonly fault: string } {
  // Nothing is the server's choice; no time at all is none.
  const length = (text: string): { seconds: bigint } | undefined | null => {
    if (text.trim() === "") return undefined;
    const seconds = parseLength(text);
    return seconds === undefined ? null : { seconds: BigInt(seconds) };
  };
  const deadline = length(draft.deadline);
  const warning = length(draft.warning);
  for (const [text, found] of [[draft.deadline, deadline], [draft.warning, warning]] as const) {
    if (found === null) return { fault: `“${text.trim()}” is no length of time. Write 30min, 8h or 2d.` };
  }
  const [, count, percent] = /^\s*([1-9][0-9]{0,2})\s*(%?)\s*$/.exec(draft.batch) ?? [];
  if (count === undefined || Number(count) > 100) {
    return { fault: `“${draft.batch.trim()}” is no batch. Write 10% of them, or a number of desktops: 100 at most.` };
  }
  if (!/^\s*[1-9][0-9]{0,2}\s*$/.test(draft.failures) || Number(draft.failures) > 100) {
    return { fault: `“${draft.failures.trim()}” is no number of failures from 1 to 100.` };
  }
  return {
    settings: {
      batch: percent === "%" ? { case: "percent", value: Number(count) } : { case: "desktops", value: Number(count) },
      maxFailures: Number(draft.failures),
      ...(deadline && { deadline }),
      ...(warning && { warning }),
    },
  };
}
