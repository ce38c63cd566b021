import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Desktop, Pool } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { formatAge } from "./format";

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
  readonly tone: "good" | "busy" | "bad";
}

export function stateLook(state: DesktopState): StateLook {
  switch (state) {
    case DesktopState.RUNNING:
      return { label: "Running", tone: "good" };
    case DesktopState.PLANNED:
    case DesktopState.PREPARING:
    case DesktopState.STARTING:
      return { label: "Starting", tone: "busy" };
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
