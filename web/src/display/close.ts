import { sentence } from "../model/format";

/** Close codes of the gateway's WebSocket. */
export const CloseCode = {
  TICKET_REFUSED: 4000,
  TAKEN_OVER: 4001,
  SESSION_ENDED: 4002,
  HOST_AWAY: 4003,
  SENT_AWAY: 4005,
} as const;

/** The session is not the connection: that is what to say first when the latter breaks. */
export const CONNECTION_LOST = "Connection lost, reconnecting… Your programs keep running.";

/** What to do after a connection ended. */
export type AfterClose =
  /** Ask for a new ticket and come back at once. */
  | { readonly kind: "fresh-ticket" }
  /** The desktop is shown somewhere else now. */
  | { readonly kind: "taken-over" }
  /** Somebody has ended the connection; the session goes on. */
  | { readonly kind: "sent-away"; readonly message: string }
  /** Nothing is left to come back to. */
  | { readonly kind: "ended"; readonly message: string }
  /** The session lives; come back after a pause. */
  | { readonly kind: "reconnect"; readonly message: string };

/**
 * Decides from a close event. A refused ticket is replaced once per working
 * connection: after that, waiting is kinder to the server than insisting.
 */
export function afterClose(code: number, reason: string, ticketRenewed: boolean): AfterClose {
  switch (code) {
    case CloseCode.TICKET_REFUSED:
      return ticketRenewed
        ? { kind: "reconnect", message: "The server did not accept the connection. Trying again…" }
        : { kind: "fresh-ticket" };
    case CloseCode.TAKEN_OVER:
      return { kind: "taken-over" };
    case CloseCode.SENT_AWAY:
      return { kind: "sent-away", message: sentence(reason) };
    case CloseCode.SESSION_ENDED:
      return { kind: "ended", message: endMessage(reason) };
    case CloseCode.HOST_AWAY:
    default:
      return { kind: "reconnect", message: CONNECTION_LOST };
  }
}

const END_MESSAGES = new Map([
  ["LOGOUT", "You logged out."],
  ["STOPPED", "This desktop was ended."],
  ["IDLE_LIMIT", "This desktop was closed, because nobody had used it for long."],
  ["DISCONNECTED_LIMIT", "This desktop was closed, because nobody had been connected to it for long."],
  ["TIME_LIMIT", "This desktop was closed: it has run for as long as it may."],
  ["IMAGE_UPDATE", "This desktop was closed for another version of it."],
  ["INIT_EXITED", "This desktop shut itself down."],
  ["OUT_OF_MEMORY", "This desktop ran out of memory."],
  ["SESSION_FAILED", "The session broke."],
]);

/** A sentence for why a session ended: from its stable word, or the server's own sentence. */
export function endMessage(reason: string): string {
  const word = reason.trim();
  if (word === "") return "You logged out.";
  const known = END_MESSAGES.get(word);
  if (known !== undefined) return known;
  if (/^[A-Z][A-Z0-9_]*$/.test(word)) {
    return `The session ended (${word.toLowerCase().replaceAll("_", " ")}).`;
  }
  return sentence(word);
}
