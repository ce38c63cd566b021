import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { BrokerClient } from "./api/client";
import type { Problem } from "./api/errors";
import type { User } from "./gen/rolltop/v1/broker_pb";

/** Who is signed in, and how to say that this is over. */
export interface Session {
  readonly broker: BrokerClient;
  readonly user: User;
  /** The server does not know us any more, or the person left. */
  readonly ended: (notice: string) => void;
}

export const SessionContext = createContext<Session | undefined>(undefined);

/** The session of the page; only pages behind the sign-in may ask. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === undefined) throw new Error("this page is shown to signed-in people only");
  return session;
}

/** Ends the session if that is what a problem means; true when it did. */
export function endsSession(session: Session, problem: Problem): boolean {
  if (problem.kind !== "signed-out") return false;
  session.ended("Your sign-in has expired. Please sign in again; your desktops keep running.");
  return true;
}
