import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type AuditEntry, type AuditFilterSchema, AuditOutcome } from "../../gen/rolltop/v1/audit_pb";
import type { StateLook } from "../../model/desktops";
import { matches } from "./table";

/** Rows on the page at most: more would make a browser slow. */
export const MOST_ROWS = 1_000;

/** What is looked for, as text in a form; empty: all. */
export interface AuditQuery {
  readonly user: string;
  readonly act: string;
  /** "pool", "desktop", ...; with an empty name all of that kind. */
  readonly kind: string;
  readonly name: string;
  readonly outcome: AuditOutcome;
  /** As `<input type="datetime-local">` has it, by the clock of this machine. */
  readonly from: string;
  readonly to: string;
  /** Words anywhere in an entry. The server knows nothing of it. */
  readonly text: string;
}

export const EVERYTHING: AuditQuery = {
  user: "",
  act: "",
  kind: "",
  name: "",
  outcome: AuditOutcome.UNSPECIFIED,
  from: "",
  to: "",
  text: "",
};

/** The kinds of things that acts are done to. */
export const KINDS = ["desktop", "pool", "host", "user", "group", "data", "token"] as const;

export const OUTCOMES = [
  AuditOutcome.OK,
  AuditOutcome.BEGUN,
  AuditOutcome.REFUSED,
  AuditOutcome.FAILED,
  AuditOutcome.UNKNOWN,
] as const;

export type ServerFilter = MessageInitShape<typeof AuditFilterSchema>;

/** The part of it that the server answers. */
export function serverFilter({ user, act, kind, name, outcome, from, to }: AuditQuery): ServerFilter {
  const start = moment(from);
  const end = moment(to);
  return {
    user: user.trim(),
    act,
    object: kind === "" ? "" : `${kind}:${name.trim()}`,
    outcome,
    ...(start !== undefined && { from: start }),
    ...(end !== undefined && { to: end }),
  };
}

function moment(local: string): Timestamp | undefined {
  const ms = Date.parse(local);
  return Number.isNaN(ms) ? undefined : timestampFromMs(ms);
}

/** Whether an entry has all words of the text. */
export function hasText(entry: AuditEntry, text: string): boolean {
  if (text.trim() === "") return true;
  const { act, user, via, from, object, reason, details } = entry;
  const more = Object.entries(details).flat();
  return matches([act, user, via, from, object, outcomeName(entry.outcome), reason, ...more].join(" "), text.trim());
}

/** An outcome as the command line has it. */
export function outcomeName(outcome: AuditOutcome): string {
  return (AuditOutcome[outcome] ?? "unknown").toLowerCase();
}

export function outcomeLook(outcome: AuditOutcome): StateLook {
  switch (outcome) {
    case AuditOutcome.OK:
      return { label: "Done", tone: "good" };
    case AuditOutcome.BEGUN:
      return { label: "Begun", tone: "still" };
    case AuditOutcome.REFUSED:
      return { label: "Refused", tone: "bad" };
    case AuditOutcome.FAILED:
      return { label: "Failed", tone: "bad" };
    default:
      return { label: "Unknown", tone: "still" };
  }
}

/** Entries on the page, the newest first, and how to go on beyond the oldest. */
export interface Trail {
  readonly rows: readonly AuditEntry[];
  /** Where older ones begin; undefined: there are none. */
  readonly older: Older | undefined;
  /** Newer ones have made room for older ones. */
  readonly past: boolean;
}

/** A token of the server, or a time that older ones are not after. */
export type Older = { readonly token: string } | { readonly notAfterMs: number };

export const NO_TRAIL: Trail = { rows: [], older: undefined, past: false };

/** With an entry that has just been written; the oldest make room. */
export function withNew(trail: Trail, entry: AuditEntry): Trail {
  if (trail.past || trail.rows.some(({ id }) => id === entry.id)) return trail;
  const rows = [entry, ...trail.rows];
  if (rows.length <= MOST_ROWS) return { ...trail, rows };
  const kept = rows.slice(0, MOST_ROWS);
  return { ...trail, rows: kept, older: { notAfterMs: at(kept.at(-1) ?? entry) } };
}

/** With a page of older ones; the newest make room. */
export function withOlder(trail: Trail, entries: readonly AuditEntry[], nextToken: string): Trail {
  const known = new Set(trail.rows.map(({ id }) => id));
  const all = [...trail.rows, ...entries.filter(({ id }) => !known.has(id))];
  const rows = all.slice(-MOST_ROWS);
  return {
    rows,
    older: nextToken === "" ? undefined : { token: nextToken },
    past: trail.past || rows.length < all.length,
  };
}

/** What to ask the server for to get older ones. */
export function olderRequest(filter: ServerFilter, older: Older | undefined): { filter: ServerFilter; pageToken: string } {
  if (older === undefined) return { filter, pageToken: "" };
  if ("token" in older) return { filter, pageToken: older.token };
  // Those of the same millisecond come again, and are known by their ids.
  return { filter: { ...filter, to: timestampFromMs(older.notAfterMs + 1) }, pageToken: "" };
}

function at(entry: AuditEntry): number {
  return entry.at === undefined ? 0 : timestampMs(entry.at);
}
