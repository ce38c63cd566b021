import { type Problem, problemOf } from "../api/errors";
import { type AfterClose, CONNECTION_LOST, afterClose } from "./close";

/** Where a viewer stands. The last four are final. */
export type ViewerState =
  | { readonly kind: "connecting" }
  | { readonly kind: "connected" }
  | { readonly kind: "interrupted"; readonly message: string }
  | { readonly kind: "taken-over" }
  | { readonly kind: "sent-away"; readonly message: string }
  | { readonly kind: "ended"; readonly message: string }
  | { readonly kind: "signed-out"; readonly problem: Problem };

/** What the loop needs from the world. */
export interface Surroundings {
  /** Gets the path of a WebSocket that is good for one connection. */
  ticket(signal: AbortSignal): Promise<string>;
  /** Draws one connection until it closes; tells when it works. */
  show(path: string, onConnected: () => void): Promise<{ code: number; reason: string }>;
  /** Pauses before try number `attempt`, counted from 0. */
  pause(attempt: number): Promise<void>;
  onState(state: ViewerState): void;
}

/** Connects again and again until a state is final or the signal is aborted. */
export async function keepShown(world: Surroundings, stopped: AbortSignal): Promise<void> {
  let attempt = 0;
  let renewed = false;
  const onConnected = (): void => {
    attempt = 0;
    renewed = false;
    world.onState({ kind: "connected" });
  };
  while (!stopped.aborted) {
    if (attempt === 0) world.onState({ kind: "connecting" });
    const next = await connectOnce(world, stopped, () => renewed, onConnected);
    if (stopped.aborted) return;
    if (next.kind === "fresh-ticket") {
      renewed = true;
      continue;
    }
    if (next.kind !== "reconnect") return world.onState(next);
    world.onState({ kind: "interrupted", message: next.message });
    await world.pause(attempt);
    attempt += 1;
  }
}

/** One ticket, one connection; what to do when it is over. */
async function connectOnce(
  world: Surroundings,
  stopped: AbortSignal,
  renewed: () => boolean,
  onConnected: () => void,
): Promise<AfterClose | SignedOut> {
  let path: string;
  try {
    path = await world.ticket(stopped);
  } catch (error) {
    return afterRefusal(problemOf(error));
  }
  if (stopped.aborted) return { kind: "reconnect", message: "" };
  const { code, reason } = await world.show(path, onConnected);
  return afterClose(code, reason, renewed());
}

type SignedOut = Extract<ViewerState, { kind: "signed-out" }>;

/** What a refused ticket request means for the viewer. */
function afterRefusal(problem: Problem): AfterClose | SignedOut {
  switch (problem.kind) {
    case "signed-out":
      return { kind: "signed-out", problem };
    case "missing":
    case "conflict":
      return { kind: "ended", message: "The session ended while you were away." };
    case "unreachable":
    case "cancelled":
      return { kind: "reconnect", message: CONNECTION_LOST };
    case "refused":
      return { kind: "reconnect", message: `${problem.message} Trying again…` };
  }
}
