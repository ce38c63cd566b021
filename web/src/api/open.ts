import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Desktop, StartDesktopRequestSchema } from "../gen/rolltop/v1/broker_pb";
import { DesktopState, type Failure, type Progress } from "../gen/rolltop/v1/common_pb";
import type { ScreenSize } from "../model/screen-size";
import type { BrokerClient } from "./client";
import { type Problem, problemOf } from "./errors";

/** How an attempt to open a desktop ended. */
export type Opened =
  | { readonly kind: "desktop"; readonly desktop: Desktop }
  | { readonly kind: "failed"; readonly failure: Failure }
  | { readonly kind: "problem"; readonly problem: Problem };

/**
 * Asks for the caller's desktop of a pool, an existing one or a new one, and
 * tells of each step. Never throws.
 *
 * A request that the network has lost is sent once more: it is the same request
 * by its id, so whatever the first one began is joined, not begun twice.
 */
export async function openDesktop(
  broker: BrokerClient,
  pool: string,
  size: ScreenSize,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Opened> {
  const request = {
    pool,
    requestId: crypto.randomUUID(),
    width: size.width,
    height: size.height,
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  };
  const first = await ask(broker, request, onProgress, signal);
  const lost = first.kind === "problem" && first.problem.kind === "unreachable";
  return lost && !signal.aborted ? ask(broker, request, onProgress, signal) : first;
}

async function ask(
  broker: BrokerClient,
  request: MessageInitShape<typeof StartDesktopRequestSchema>,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Opened> {
  let desktop: Desktop | undefined;
  try {
    for await (const { message } of broker.startDesktop(request, { signal })) {
      if (message.case === "progress") onProgress(message.value);
      if (message.case === "desktop") desktop = message.value;
    }
  } catch (error) {
    const problem = problemOf(error);
    if (problem.failure !== undefined) return { kind: "failed", failure: problem.failure };
    return { kind: "problem", problem };
  }
  if (desktop?.failure !== undefined) return { kind: "failed", failure: desktop.failure };
  if (desktop === undefined || desktop.state === DesktopState.FAILED) {
    return { kind: "problem", problem: problemOf("the server did not say what became of the desktop") };
  }
  return { kind: "desktop", desktop };
}
