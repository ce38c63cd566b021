import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Desktop, Pool } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { formatAge, formatSeconds, sentence } from "./format";

export type Desktops = ReadonlyMap<string, Desktop>;

/** The desktops worth showing: all but those of which nothing is left. */
export function shown(desktops: readonly Desktop[]): Desktops {
  return new Map(
    desktops
      .filter(({ state }) => state !== DesktopState.GONE)
      .map((desktop) => [desktop.id, desktop]),
  );
}

/** The same after one of them changed. */
export function updated(desktops: Desktops, desktop: Desktop): Desktops {
  return shown([...new Map(desktops).set(desktop.id, desktop).values()]);
}

/** How a desktop's state looks to its user. */
export interface StateLook {
  readonly label: string;
  readonly tone: "good" | "busy" | "bad" | "still";
}

export function stateLook(state: DesktopState): StateLook {
  switch (state) {
    case DesktopState.RUNNING:
      return { label: "Running", tone: "good" };
    case DesktopState.PLANNED:
    case DesktopState.PREPARING:
    case DesktopState.STARTING:
    case DesktopState.WARM:
      return { label: "Starting", tone: "busy" };
    case DesktopState.FROZEN:
      return { label: "Paused", tone: "busy" };
    case DesktopState.STOPPING:
      return { label: "Closing", tone: "busy" };
    case DesktopState.FAILED:
      return { label: "Failed", tone: "bad" };
    case DesktopState.GONE:
      return { label: "Closed", tone: "busy" };
    case DesktopState.UNSPECIFIED:
      return { label: "Unknown", tone: "bad" };
  }
}

/** "for 12 minutes", or nothing while it has not started. */
export function runningFor(desktop: Desktop, nowMs: number): string {
  return desktop.startedAt === undefined ? "" : formatAge(timestampMs(desktop.startedAt), nowMs);
}

/** That and why a desktop will be ended, whatever goes on in it; or nothing. */
export function endNotice(desktop: Pick<Desktop, "endsAt" | "endsBecause">, nowMs: number): string {
  if (desktop.endsAt === undefined) return "";
  const minutes = Math.floor((timestampMs(desktop.endsAt) - nowMs) / 60_000);
  const when = minutes < 1 ? "in less than a minute" : `in ${formatSeconds(minutes * 60)}`;
  const why = sentence(desktop.endsBecause);
  return ["This desktop will be closed", `${when}.`, why, "Save your work."]
    .filter((part) => part !== "")
    .join(" ");
}

/** What an operator wants its user to know; nothing once it is read or out of date. */
export function unreadNotice(desktop: Desktop, readId: string, nowMs: number): string {
  const { notice } = desktop;
  if (notice === undefined || notice.id === readId) return "";
  if (notice.expiresAt !== undefined && timestampMs(notice.expiresAt) <= nowMs) return "";
  return notice.text;
}

/** The title people know a pool by. */
export function poolTitle(pool: Pick<Pool, "title" | "name">): string {
  return pool.title === "" ? pool.name : pool.title;
}

/** What is lost when a desktop ends, as a warning. */
export function endWarning(persistent: boolean): string {
  return persistent
    ? "Its programs are closed; save your work first. Your files are kept for next time."
    : "Its programs are closed and everything in it is deleted, files too. This cannot be undone.";
}
