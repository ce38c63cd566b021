import { Phase, type Progress } from "../gen/rolltop/v1/common_pb";

/** The phases a person sees, in order, with the word for tests and the words for people. */
export const PHASES = [
  { phase: Phase.PLACEMENT, id: "placement", label: "Finding a place" },
  { phase: Phase.DISK, id: "disk", label: "Disk" },
  { phase: Phase.NETWORK, id: "network", label: "Network" },
  { phase: Phase.CONTAINER, id: "container", label: "Container" },
  { phase: Phase.SESSION, id: "session", label: "Your session" },
  { phase: Phase.DISPLAY, id: "display", label: "Display" },
] as const;

export type PhaseState = "waiting" | "running" | "done" | "failed";

/** What is known of one phase; `ms` is how long it took. */
export interface PhaseStep {
  readonly state: PhaseState;
  readonly beganMs?: number;
  readonly ms?: number;
}

export type Steps = ReadonlyMap<Phase, PhaseStep>;

/**
 * Adds one message of the stream. Phases may run side by side and each counts
 * by the clock of its own machine, so a phase's time is its end less its own
 * beginning, never less the end of another phase.
 */
export function advance(steps: Steps, progress: Progress): Steps {
  const at = toMs(progress.elapsed);
  const before = steps.get(progress.phase);
  const step: PhaseStep = progress.done
    ? { state: "done", ms: Math.max(0, at - (before?.beganMs ?? 0)) }
    : { state: "running", beganMs: at };
  return new Map(steps).set(progress.phase, step);
}

/** Marks where it failed; an unknown phase means whatever was under way. */
export function fail(steps: Steps, phase: Phase): Steps {
  const next = new Map(steps);
  for (const [key, step] of steps) {
    if (step.state === "running") next.set(key, { state: phase === key || phase === Phase.UNSPECIFIED ? "failed" : "waiting" });
  }
  if (phase !== Phase.UNSPECIFIED) next.set(phase, { state: "failed" });
  return next;
}

/** The share of phases that are done, 0 to 1. */
export function share(steps: Steps): number {
  return PHASES.filter(({ phase }) => steps.get(phase)?.state === "done").length / PHASES.length;
}

function toMs(elapsed: Progress["elapsed"]): number {
  return elapsed === undefined ? 0 : Number(elapsed.seconds) * 1000 + elapsed.nanos / 1e6;
}
