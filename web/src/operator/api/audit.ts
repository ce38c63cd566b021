import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type Problem, problemOf } from "../../api/errors";
import type { OperatorClients } from "../../api/client";
import type { AuditEntry } from "../../gen/rolltop/v1/audit_pb";
import { WATCH_BACKOFF, delayMs, wait } from "../../model/backoff";
import { type AuditQuery, type Older, hasText, olderRequest, serverFilter } from "../model/audit";
import { type FileKind, fileHead, fileLines } from "../model/audit-file";

type AuditClient = Pick<OperatorClients["audit"], "listAudit" | "watchAudit">;

/** Entries that are shown at a time. */
export const PAGE = 100;
/** Pages that are looked through for rare words before a person is asked to go on. */
const MOST_PAGES = 20;
/** Of a file. */
const FILE_PAGE = 1_000;

export interface Found {
  readonly entries: readonly AuditEntry[];
  readonly nextToken: string;
  /** Of the newest one that was looked at. */
  readonly newest: Timestamp | undefined;
}

/**
 * Older entries that fit, the newest first: a page of them, or fewer when they
 * are far apart. `nextToken` is empty when there are no more.
 */
export async function olderEntries(
  audit: AuditClient,
  query: AuditQuery,
  older: Older | undefined,
  signal: AbortSignal,
): Promise<Found> {
  const { filter, pageToken: first } = olderRequest(serverFilter(query), older);
  const entries: AuditEntry[] = [];
  let pageToken = first;
  let newest: Timestamp | undefined;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await audit.listAudit({ filter, pageSize: PAGE, pageToken }, { signal });
    newest ??= answer.entries[0]?.at;
    entries.push(...answer.entries.filter((entry) => hasText(entry, query.text)));
    pageToken = answer.nextPageToken;
    if (pageToken === "" || entries.length >= PAGE) break;
  }
  return { entries, nextToken: pageToken, newest };
}

/** Who follows what is written. */
export interface TailListener {
  entry(entry: AuditEntry): void;
  interrupted(problem: Problem): void;
  /** It goes on. */
  back(): void;
}

/**
 * Each entry that fits and was written at `since` or later, until the signal. A
 * broken stream is taken up where it broke: an entry may be told twice, and none
 * is missed.
 */
export async function tail(
  audit: AuditClient,
  query: AuditQuery,
  since: Timestamp | undefined,
  listener: TailListener,
  signal: AbortSignal,
  pause = (attempt: number) => wait(delayMs(WATCH_BACKOFF, attempt, Math.random()), signal),
): Promise<void> {
  const filter = serverFilter(query);
  let from = since;
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const request = { filter: { ...filter, ...(from !== undefined && { from }) } };
      for await (const entry of audit.watchAudit(request, { signal, onHeader: () => listener.back() })) {
        attempt = 0;
        from = entry.at ?? from;
        if (hasText(entry, query.text)) listener.entry(entry);
      }
    } catch (error) {
      if (signal.aborted) return;
      const problem = problemOf(error);
      listener.interrupted(problem);
      if (problem.kind === "signed-out") return;
    }
    await pause(attempt);
  }
}

/** All entries that fit, the oldest first, as the text of a file; `told` hears how many there are so far. */
export async function auditFile(
  audit: AuditClient,
  query: AuditQuery,
  kind: FileKind,
  told: (count: number) => void,
  signal: AbortSignal,
): Promise<Blob> {
  const filter = serverFilter(query);
  const parts = [fileHead(kind)];
  let count = 0;
  let pageToken = "";
  do {
    const answer = await audit.listAudit({ filter, pageSize: FILE_PAGE, pageToken, oldestFirst: true }, { signal });
    const fit = answer.entries.filter((entry) => hasText(entry, query.text));
    parts.push(fileLines(kind, fit));
    count += fit.length;
    told(count);
    pageToken = answer.nextPageToken;
  } while (pageToken !== "");
  return new Blob(parts, { type: kind === "csv" ? "text/csv" : "application/jsonl" });
}
