import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { AuditEntry } from "../../gen/rolltop/v1/audit_pb";
import { outcomeName } from "./audit";

export type FileKind = "jsonl" | "csv";

const or = (text: string): string | null => (text === "" ? null : text);

/** One entry as `rolltop audit export` prints it, and its line end. */
function jsonLine(entry: AuditEntry): string {
  const { id, act, user, via, from, object, outcome, reason, details } = entry;
  const line = {
    id,
    at: time(entry) === "" ? null : time(entry),
    act,
    user: or(user),
    via: or(via),
    from: or(from),
    object: or(object),
    outcome: outcomeName(outcome),
    reason: or(reason),
    details: Object.fromEntries(Object.entries(details).sort(([one], [other]) => (one < other ? -1 : 1))),
  };
  return `${JSON.stringify(line)}\n`;
}

const COLUMNS = ["id", "at", "act", "user", "via", "from", "object", "outcome", "reason", "details"];

function csvLine(entry: AuditEntry): string {
  const { id, act, user, via, from, object, outcome, reason, details } = entry;
  const more = Object.entries(details).map(([key, value]) => `${key}=${value}`).sort().join("; ");
  return csvRow([id, time(entry), act, user, via, from, object, outcomeName(outcome), reason, more]);
}

/** RFC 4180. What a spreadsheet would take for a formula is made text of: names come from outside. */
export function csvRow(cells: readonly string[]): string {
  const quoted = cells.map((cell) => {
    const text = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  });
  return `${quoted.join(",")}\r\n`;
}

/** What a file of this kind begins with. */
export function fileHead(kind: FileKind): string {
  return kind === "csv" ? csvRow(COLUMNS) : "";
}

/** Entries as text of such a file. */
export function fileLines(kind: FileKind, entries: readonly AuditEntry[]): string {
  return entries.map(kind === "csv" ? csvLine : jsonLine).join("");
}

function time({ at }: AuditEntry): string {
  return at === undefined ? "" : timestampDate(at).toISOString();
}
